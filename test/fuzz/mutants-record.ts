// Mistakes in how the compiler reads the records of ops: index maps, identities, scalar functions, and where kernels write.
import type { Placement } from '../../compiler/kernel/storage.ts';
import { templates } from '../../compiler/schedule/index.ts';
import type { Context } from '../../compiler/schedule/frame.ts';
import { constantIndex } from '../../compiler/index/index-math.ts';
import { axisOf, multiplySizes } from '../../dsl/axis/axis.ts';
import type { DType, MapOp, ViewOp } from '../../dsl/graph/op.ts';
import { reduceMax, reduceMin, sum } from '../../dsl/ops/reduce.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { flip, pad, slice, window } from '../../dsl/ops/view.ts';
import { code, like, literal, scalarType, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Mutant } from './mutants.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/** Replaces one property while the compiler, or whoever installs it, runs. */
export function patched<T extends object, K extends keyof T>(
  name: string,
  what: string,
  of: T,
  key: K,
  make: (old: T[K]) => T[K],
): Mutant {
  return {
    name,
    what,
    install: () => {
      const old = of[key];
      of[key] = make(old);
      return () => {
        of[key] = old;
      };
    },
  };
}

const lowering = (name: string, what: string, op: MapOp, change: (x: readonly Code[], made: Code) => Code): Mutant =>
  patched(name, what, op, 'wgsl', (old) => (x, result, attrs) => change(x, old(x, result, attrs)));
const view = (name: string, what: string, op: ViewOp, source: (old: ViewOp['source']) => ViewOp['source']): Mutant =>
  patched(name, what, op, 'source', source);

/** Every template is given another place to write. */
function placed(name: string, what: string, change: (target: Placement) => Placement): Mutant {
  return {
    name,
    what,
    install: () => {
      const rows = Object.values(templates).flat() as { schedule(group: unknown, context: Context): unknown }[];
      const old = rows.map((row) => row.schedule);
      for (const [i, row] of rows.entries())
        row.schedule = (group, context) =>
          old[i]?.call(row, group, { ...context, target: (node) => change(context.target(node)) });
      return () => {
        for (const [i, row] of rows.entries()) row.schedule = old[i] ?? row.schedule;
      };
    },
  };
}

const atZero = ({ storage, starts }: Placement): Placement => ({
  storage,
  ...(starts === undefined ? {} : { starts: new Map([...starts].map(([axis]) => [axis, constantIndex(0)])) }),
});
const is = (x: Code | undefined, type: string): x is Code => x !== undefined && scalarType(x.type) === type;
const plain =
  (name: 'max' | 'min') =>
  (x: readonly Code[], made: Code): Code =>
    is(x[0], 'f32') && x[1] !== undefined
      ? code(`${name}(${x[0].text}, ${x[1].text})`, made.type, [...x[0].needs, ...x[1].needs])
      : made;
const identity =
  (value: number) =>
  (old: (dtype: DType) => number) =>
  (dtype: DType): number =>
    old(dtype) === value ? old(dtype) : value;

export const recordMutants: readonly Mutant[] = [
  placed('concat offset', 'the parts of a concatenation are all written at its start', (target) =>
    target.storage.node.op.kind === 'join' ? atZero(target) : target,
  ),
  placed('update at the wrong place', 'a state is written at its start', (target) =>
    target.storage.node.op.name === 'state' ? atZero(target) : target,
  ),
  view(
    'guard of pad dropped',
    'padding holds the nearest element instead of the constant',
    pad,
    (old) => (math, out, attrs, x) => {
      const made = old(math, out, attrs, x);
      const name = alongAxis({ attrs });
      const index = made.index.get(name);
      const end = axisOf(x.axes, name)?.size ?? 1;
      return {
        index: new Map(made.index).set(
          name,
          index === undefined ? math.of(0) : math.remainder(math.add(index, math.of(multiplySizes(8, end))), end),
        ),
        guards: [],
        otherwise: made.otherwise,
      };
    },
  ),
  view('padded with zeros', 'padding is always 0', pad, (old) => (math, out, attrs, x) => ({
    ...old(math, out, attrs, x),
    otherwise: 0,
  })),
  view(
    'stride of windows',
    'windows move by one element',
    window,
    (old) => (math, out, attrs, x) => old(math, out, { ...attrs, stride: 1 }, x),
  ),
  view(
    'dilation of windows',
    'elements of a window are neighbours',
    window,
    (old) => (math, out, attrs, x) => old(math, out, { ...attrs, dilation: 1 }, x),
  ),
  view('flip off by one', 'a flipped axis is turned by one element', flip, (old) => (math, out, attrs, x) => {
    const made = old(math, out, attrs, x);
    const name = alongAxis({ attrs });
    const index = made.index.get(name);
    return index === undefined
      ? made
      : {
          ...made,
          index: new Map(made.index).set(
            name,
            math.remainder(math.add(index, math.of(1)), axisOf(x.axes, name)?.size ?? 1),
          ),
        };
  }),
  view(
    'start of slices',
    'a slice starts at the first element',
    slice,
    (old) => (math, out, attrs, x) => old(math, out, { ...attrs, start: 0 }, x),
  ),
  view(
    'step of slices',
    'a slice takes neighbours',
    slice,
    (old) => (math, out, attrs, x) => old(math, out, { ...attrs, step: 1 }, x),
  ),
  patched('identity of max', 'the largest element is at least 0', reduceMax, 'identityOf', identity(0)),
  patched('identity of min', 'the smallest element is at most 0', reduceMin, 'identityOf', identity(0)),
  patched('identity of sum', 'a sum starts from 1', sum, 'identityOf', () => () => 1),
  patched(
    'reduction loses NaN',
    'the largest element is a number although one is not',
    reduceMax,
    'wgsl',
    (old) => (a, b) => plain('max')([a, b], old(a, b)),
  ),
  lowering('max loses NaN', 'max(NaN, x) is x', mapOp('max'), plain('max')),
  lowering(
    'rsqrt off by 1e-3',
    'rsqrt is a thousandth too large',
    mapOp('rsqrt'),
    (_x, made) => wgsl`(${made} * ${splat(literal(1.001, 'f32'), made.type)})`,
  ),
  lowering(
    'exp off by 2e-5',
    'exp is good to 16 bits',
    mapOp('exp'),
    (_x, made) => wgsl`(${made} * ${splat(literal(1.00002, 'f32'), made.type)})`,
  ),
  lowering(
    'integer division rounds down',
    'a negative quotient of whole numbers is rounded down',
    mapOp('div'),
    ([x, y], made) =>
      is(x, 'i32') && y !== undefined
        ? code(
            `(${made.text} - select(${like(made.type, 'i32')}(0), ${like(made.type, 'i32')}(1), ((${x.text} % ${y.text}) != ${like(made.type, 'i32')}(0)) & ((${x.text} < ${like(made.type, 'i32')}(0)) != (${y.text} < ${like(made.type, 'i32')}(0)))))`,
            made.type,
            made.needs,
          )
        : made,
  ),
  lowering('remainder of the wrong sign', 'a remainder takes the sign of the divisor', mapOp('mod'), ([x, y], made) =>
    is(x, 'f32') && y !== undefined ? wgsl`(${x} - ${y} * floor(${x} / ${y}))` : made,
  ),
  lowering('cast by its bits', 'a whole number is read as the bits of a float', mapOp('cast'), ([x], made) =>
    x !== undefined && scalarType(made.type) === 'f32' && (is(x, 'i32') || is(x, 'u32'))
      ? code(`bitcast<${made.type}>(${x.text})`, made.type, x.needs)
      : made,
  ),
  lowering('cast rounds', 'a cast to a whole number rounds to the nearest', mapOp('cast'), ([x], made) =>
    is(x, 'f32') && (scalarType(made.type) === 'i32' || scalarType(made.type) === 'u32')
      ? code(`${made.type}(round(${x.text}))`, made.type, x.needs)
      : made,
  ),
  lowering('floor towards zero', 'negative numbers are cut off', mapOp('floor'), ([x], made) =>
    x === undefined ? made : wgsl`trunc(${x})`,
  ),
  lowering('shift without sign', 'the sign of a shifted number is lost', mapOp('shiftRight'), ([x, y], made) =>
    is(x, 'i32') && y !== undefined
      ? code(
          `bitcast<${made.type}>(bitcast<${like(made.type, 'u32')}>(${x.text}) >> (${like(made.type, 'u32')}(${y.text}) & ${splat(literal(31, 'u32'), made.type).text}))`,
          made.type,
          made.needs,
        )
      : made,
  ),
  lowering('select the wrong way', 'where takes the other operand', mapOp('where'), ([test, yes, no], made) =>
    test === undefined || yes === undefined || no === undefined ? made : wgsl`select(${yes}, ${no}, ${test})`,
  ),
];
