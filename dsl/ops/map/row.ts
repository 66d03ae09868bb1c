// What most rows have in common: one operand or two, a function of numbers, and its expression in WGSL.
import type { DType, MapOp } from '../../graph/op.ts';
import type { Code } from '../../wgsl.ts';
import { within } from './accuracy.ts';
import { comparison, floats, numbers, type Rule } from './dtype-rules.ts';

const integer = (value: number, dtype: DType): number =>
  dtype === 'i32' ? value | 0 : dtype === 'u32' ? value >>> 0 : value;

interface Row extends Omit<
  MapOp,
  'kind' | 'converts' | 'commutes' | 'rounding' | 'jumps' | 'apart' | 'eval' | 'wgsl' | 'accuracy'
> {
  readonly converts?: boolean;
  readonly commutes?: boolean;
  readonly rounding?: MapOp['rounding'];
  readonly jumps?: boolean;
  readonly apart?: boolean;
  readonly eval: MapOp['eval'];
  readonly wgsl: MapOp['wgsl'];
  readonly accuracy?: MapOp['accuracy'];
}

export const map = (row: Row): MapOp => ({
  kind: 'map',
  converts: false,
  commutes: false,
  rounding: 1,
  jumps: false,
  apart: false,
  accuracy: within(1),
  ...row,
});

type Unary = Pick<MapOp, 'name' | 'doc' | 'sample'> &
  Pick<Row, 'rounding' | 'jumps'> & {
    readonly f: (x: number) => number;
    readonly w: (x: Code) => Code;
    readonly grad?: NonNullable<MapOp['grad']>;
    readonly accuracy?: MapOp['accuracy'];
    readonly flops?: number;
    readonly rule?: Rule;
  };
export const unary = ({ f, w, flops = 1, rule = floats, ...row }: Unary): MapOp =>
  map({
    ...row,
    arity: 1,
    flops,
    dtype: rule,
    eval: ([x = NaN], dtype) => integer(f(x), dtype),
    wgsl: ([x]) => w(x as Code),
  });

type Binary = Pick<MapOp, 'name' | 'doc'> &
  Pick<Row, 'commutes' | 'rounding' | 'jumps'> & {
    readonly f: (x: number, y: number, dtype: DType) => number;
    readonly w: (x: Code, y: Code) => Code;
    readonly grad?: NonNullable<MapOp['grad']>;
    readonly accuracy?: MapOp['accuracy'];
    readonly rule?: Rule;
    readonly sample?: readonly [number, number];
    readonly flops?: number;
  };
export const binary = ({ f, w, rule = numbers, sample = [-4, 4], flops = 1, ...row }: Binary): MapOp =>
  map({
    ...row,
    arity: 2,
    flops,
    sample,
    dtype: rule,
    eval: ([x = NaN, y = NaN], dtype) => integer(f(x, y, dtype), dtype),
    wgsl: ([x, y]) => w(x as Code, y as Code),
  });

export const compare = (
  name: string,
  doc: string,
  f: (x: number, y: number) => boolean,
  w: (x: Code, y: Code) => Code,
  commutes = false,
): MapOp =>
  binary({ name, doc, commutes, rounding: 0, jumps: true, rule: comparison, f: (x, y) => Number(f(x, y)), w });
