// The record of an op: everything the project knows of it stands in one literal. Structural code asks `kind`, and what else a record
// says of its op (`role`, `shows`, `converts` …), never `name`.
import type { Axis, Size } from '../axis/axis.ts';
import type { Node } from './graph.ts';
import type { Code, WgslType } from '../wgsl.ts';

export type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u32' | 'bool';

export interface TensorType {
  readonly axes: readonly Axis[];
  readonly dtype: DType;
}

export type Attr = number | string | boolean | Size | Float64Array | readonly Attr[] | { readonly [key: string]: Attr };
export type Attrs = { readonly [key: string]: Attr };

/** The attributes of an op, typed and checked (`attributes.ts`). Throws `OpabiniaError` that names the op and the attribute. */
export type Reader<A> = (attrs: Attrs) => A;

/** What a reader gives. */
export type Read<R> = R extends Reader<infer A> ? A : never;

/** Thrown as text by a shape rule; the builder adds op, path and place. */
export class Refusal {
  readonly what: string;
  readonly advice: string | undefined;
  constructor(what: string, advice?: string) {
    this.what = what;
    this.advice = advice;
  }
}

/**
 * The arithmetic an index map is written in. The interpreter instantiates it with numbers, the compiler with expressions,
 * so that «which input element is this output element» is said once, in the op's record.
 */
export interface IndexMath<I, C> {
  of(size: Size): I;
  add(a: I, b: I): I;
  multiply(a: I, by: Size): I;
  divide(a: I, by: Size): I;
  remainder(a: I, by: Size): I;
  /** least ≤ a < end */
  within(a: I, least: Size, end: Size): C;
}

/** Where one output element of a view comes from: an index per input axis, and when a guard fails, a constant instead. */
export interface ViewSource<I, C> {
  readonly index: ReadonlyMap<string, I>;
  readonly guards: readonly C[];
  /** The value where a guard fails. */
  readonly otherwise: number;
}

interface Common {
  readonly name: string;
  /** One line for the op table. */
  readonly doc: string;
}

/** Builds nodes inside a gradient rule. */
export interface GradientMath {
  /** A scalar function by name. Numbers become constants of the dtype of the first operand that is not bool. */
  op(name: string, ...operands: readonly (Node | number | undefined)[]): Node;
  cast(x: Node, dtype: DType): Node;
  /** Σ over the named axes; 16-bit floats are summed in f32. */
  sum(x: Node, axes: readonly string[]): Node;
  /** Of the elements of a bool that are true, the first along the named axes, which are counted in the order given. */
  first(mask: Node, axes: readonly string[]): Node;
  view(op: ViewOp, x: Node, attrs: Attrs): Node;
}

/**
 * What a leaf stands for. Given from outside, under its attr `name`: `input` at each run, `param` from the checkpoint, `state` as the
 * run before left it, `loaded` computed from parameters by another graph. Known where it is read: `constant` (attr `values`, row-major),
 * `index` (element i of the only axis is i), `extent` (attr `size`: the value of a size in this run).
 */
export type SourceRole = 'input' | 'param' | 'state' | 'loaded' | 'constant' | 'index' | 'extent';

/** A leaf of the graph. */
export interface SourceOp extends Common {
  readonly kind: 'source';
  readonly role: SourceRole;
  infer(inputs: readonly TensorType[], attrs: Attrs): TensorType;
  /** True when the value is the same in every run once the parameters are known. */
  readonly fixed: boolean;
}

/** Scalar function of k operands, aligned by axis name. */
export interface MapOp extends Common {
  readonly kind: 'map';
  readonly arity: number;
  /** True when the result is the operand itself in another dtype (attr `to`), as near as that dtype holds it. */
  readonly converts: boolean;
  /** True when two operands may change places. */
  readonly commutes: boolean;
  /** 0 when the result is one of the operands, or as exact as they are in any float dtype; 1 when it is rounded. */
  readonly rounding: 0 | 1;
  /** True when a small change of an operand can change the result by a large amount. */
  readonly jumps: boolean;
  /** True when only what reads the result computes it, never the kernel that makes the operand: it is computed a second time. */
  readonly apart: boolean;
  /** Result dtype, or a refusal. */
  dtype(operands: readonly DType[], attrs: Attrs): DType | Refusal;
  /** Reference semantics in double precision. */
  eval(x: readonly number[], dtype: DType, attrs: Attrs): number;
  /** Lowering; operands are of one width. */
  wgsl(x: readonly Code[], result: WgslType, attrs: Attrs): Code;
  /**
   * VJP: what the gradient `dy` of the result is for each operand, on the axes of the result; undefined where it is zero everywhere.
   * Where a function has no derivative, PyTorch's choice. Without this field, a gradient through the op is an error.
   */
  grad?(math: GradientMath, dy: Node, y: Node, x: readonly Node[]): readonly (Node | undefined)[];
  /** Floating-point operations per element. */
  readonly flops: number;
  /** Where generated tests draw operands. */
  readonly sample: readonly [number, number];
  /** Bound of |lowered − exact| in f32 for the exact result `y` of operands `x`: the WGSL accuracy table, composed. */
  accuracy(y: number, x: readonly number[]): number;
}

/** Reduces axes away with an associative operation. */
export interface ReduceOp extends Common {
  readonly kind: 'reduce';
  /** The axes that are reduced away. */
  readonly read: Reader<{ readonly axes: readonly string[] }>;
  readonly identity: number;
  combine(a: number, b: number): number;
  /** The identity in the element's own type: integers have other limits than floats. */
  identityOf(dtype: DType): number;
  wgsl(a: Code, b: Code): Code;
  /** Largest relative error per step, in units of rounding: 1 for a sum, 0 for a selection. */
  readonly rounding: 0 | 1;
  /** VJP: the gradient of the operand, on its axes or, where it is the same along the reduced ones, without them. */
  grad?(math: GradientMath, dy: Node, y: Node, x: Node, axes: readonly string[]): Node;
}

/**
 * Which elements of its operand a view shows.
 * `each`: every one once, at other places. `range`: each at most once, those of a range of one axis (attrs `axis`, `start`, `size`, `step`).
 * `repeated`: every one, the same along new axes; the operand's axes keep their names. `windows`: some several times, some not at all.
 * `padded`: every one once, and a constant around them (attr `value`).
 */
export type Shows = 'each' | 'range' | 'repeated' | 'windows' | 'padded';

/** Attributes as the text of a graph has them: shorter, without what the axes of the operand say. */
export interface TextForm {
  /** Undefined when the attributes cannot be said in this form, and stand as they are. */
  write(attrs: Attrs, operand: readonly Axis[]): Attrs | undefined;
  /** What `write` wrote, and attributes that stand as they are; a string says what is wrong. */
  read(written: Attrs, operand: readonly Axis[]): Attrs | string;
}

/** An index map: no arithmetic on elements, never a copy by itself. */
export interface ViewOp<A = unknown> extends Common {
  readonly kind: 'view';
  readonly read: Reader<A>;
  readonly shows: Shows;
  /** Undefined when attributes stand in a text as they are. */
  readonly text?: TextForm;
  infer(x: TensorType, attrs: Attrs): TensorType | Refusal;
  source<I, C>(math: IndexMath<I, C>, out: ReadonlyMap<string, I>, attrs: Attrs, x: TensorType): ViewSource<I, C>;
  /** VJP, which for a linear map is its transpose: each element of the operand gets the sum of what showed it. */
  transpose(math: GradientMath, dy: Node, attrs: Attrs, x: TensorType): Node;
  /** For a one-to-one view: the output index of an input index. */
  target?<I, C>(
    math: IndexMath<I, C>,
    index: ReadonlyMap<string, I>,
    attrs: Attrs,
    x: TensorType,
  ): ReadonlyMap<string, I>;
}

/** Lays tensors end to end along one axis. */
export interface JoinOp extends Common {
  readonly kind: 'join';
  readonly read: Reader<{ readonly axis: string }>;
  infer(inputs: readonly TensorType[], attrs: Attrs): TensorType | Refusal;
}

/** Reads rows of the first operand, along one axis, at positions held by the second; shared axes are batch axes. */
export interface GatherOp extends Common {
  readonly kind: 'gather';
  readonly read: Reader<{ readonly axis: string }>;
  infer(x: TensorType, index: TensorType, attrs: Attrs): TensorType | Refusal;
}

/** The one product: Σ over the axes that both operands have and the output has not. */
export interface ContractOp extends Common {
  readonly kind: 'contract';
  /** The axes of the output, in order. */
  readonly read: Reader<{ readonly axes: readonly string[] }>;
  infer(a: TensorType, b: TensorType, attrs: Attrs): TensorType | Refusal;
}

/** Adds rows of the first operand up at positions held by the second (attrs `axis`, `size`, `axes`): the adjoint of a gather. */
export interface ScatterOp extends Common {
  readonly kind: 'scatter';
  readonly read: Reader<{ readonly axis: string; readonly axes: readonly string[]; readonly size: Size }>;
  infer(updates: TensorType, index: TensorType, attrs: Attrs): TensorType | Refusal;
}

/** The positions of the elements along an axis, in order (attrs `axis`, `size`, `descending`). */
export interface SortOp extends Common {
  readonly kind: 'sort';
  readonly read: Reader<{ readonly axis: string; readonly size: Size; readonly descending: boolean }>;
  infer(x: TensorType, attrs: Attrs): TensorType | Refusal;
}

export type Op = SourceOp | MapOp | ReduceOp | ViewOp | JoinOp | GatherOp | ScatterOp | SortOp | ContractOp;
export type Kind = Op['kind'];

export const dtypes = ['f32', 'f16', 'bf16', 'i32', 'u32', 'bool'] as const satisfies readonly DType[];

export function isDType(text: unknown): text is DType {
  return dtypes.some((dtype) => dtype === text);
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';
}

export function isInteger(dtype: DType): boolean {
  return dtype === 'i32' || dtype === 'u32';
}
