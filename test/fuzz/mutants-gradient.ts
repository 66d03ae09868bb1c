// Mistakes in gradient rules, planted while a gradient graph is made: differences must see each.
import type { GradientMath, MapOp, ReduceOp, ViewOp } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { reduceMax, reduceMin, sum } from '../../dsl/ops/reduce.ts';
import { gather } from '../../dsl/ops/gather.ts';
import { scatter } from '../../dsl/ops/scatter.ts';
import { broadcast, flip, pad, rearrange, slice, window } from '../../dsl/ops/view.ts';
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { BackwardMath } from '../../dsl/gradient/backward-math.ts';
import { kindRules } from '../../dsl/gradient/vjp.ts';
import { renamed } from '../../dsl/tensor.ts';
import { patched } from './mutants-record.ts';
import type { Mutant } from './mutants.ts';

const scaled =
  (factor: number) =>
  (m: GradientMath, dy: Node): Node =>
    m.op('mul', dy, factor);

/** The rule of a scalar function, given a gradient that is wrong. */
const map = (
  name: string,
  what: string,
  change: (m: GradientMath, parts: readonly (Node | undefined)[], x: readonly Node[]) => readonly (Node | undefined)[],
): Mutant =>
  patched(
    `gradient of ${name}: ${what}`,
    `${name} hands on a gradient that is ${what}`,
    mapOp(name) as { grad?: NonNullable<MapOp['grad']> },
    'grad',
    (old) => (m, dy, y, x) => change(m, old?.(m, dy, y, x) ?? [], x),
  );
const double = (m: GradientMath, parts: readonly (Node | undefined)[]) =>
  parts.map((part) => part && scaled(2)(m, part));
const negated = (m: GradientMath, parts: readonly (Node | undefined)[]) =>
  parts.map((part) => part && m.op('neg', part));
const swapped = (_m: GradientMath, parts: readonly (Node | undefined)[]) => parts.toReversed();
const firstOnly = (_m: GradientMath, [first]: readonly (Node | undefined)[]) => [first, undefined, undefined];
const dropped = () => [undefined, undefined, undefined];

const reduction = (op: ReduceOp): Mutant =>
  patched(
    `gradient of ${op.name} doubled`,
    `${op.name} hands on twice its gradient`,
    op as { grad?: NonNullable<ReduceOp['grad']> },
    'grad',
    (old) => (m, dy, y, x, axes) => old?.(m, scaled(2)(m, dy), y, x, axes) ?? dy,
  );
const view = (op: ViewOp, what: string, change: (old: ViewOp['transpose']) => ViewOp['transpose']): Mutant =>
  patched(
    `gradient of ${op.name}: ${what}`,
    `${op.name} hands on a gradient that is ${what}`,
    op as { transpose: ViewOp['transpose'] },
    'transpose',
    change,
  );
const doubled =
  (old: ViewOp['transpose']): ViewOp['transpose'] =>
  (m, dy, attrs, x) =>
    scaled(2)(m, old(m, dy, attrs, x));

/** The rules that no record has: how each is wrong, one mutant for each way. */
const kind = <K extends keyof typeof kindRules>(
  name: K,
  what: string,
  change: (old: (typeof kindRules)[K]) => (typeof kindRules)[K],
): Mutant => patched(`gradient of ${name}: ${what}`, `the rule of ${name} is wrong: ${what}`, kindRules, name, change);

/** Two axes of one size are taken for one another, where there are such. */
function transposed(math: BackwardMath, x: Node): Node {
  const { axes } = x.type;
  const pair = axes.flatMap((a, i) =>
    axes.slice(i + 1).flatMap((b) => (sameNumber(a, b) ? [[a.name, b.name]] : [])),
  )[0];
  const [a, b] = pair ?? [];
  if (a === undefined || b === undefined) return x;
  const names = axes.map((axis) => axis.name);
  return renamed(
    'gradients',
    math.tensor(x),
    new Map([
      [a, b],
      [b, a],
    ]),
    names,
  ).node;
}
const sameNumber = (a: Axis, b: Axis): boolean => typeof a.size === 'number' && a.size > 1 && a.size === b.size;

/** The first slice along each axis that should have been summed. */
function firsts(math: BackwardMath, x: Node, axes: readonly string[]): Node {
  const one = axes.reduce((part, axis) => math.view(slice, part, { axis, start: 0, size: 1, step: 1 }), x);
  return math.sum(one, axes);
}

/** What rows that are read more than once get is lost. */
function withoutRepeats(math: BackwardMath, dy: Node, table: Node, index: Node, axis: string): Node {
  const { axes, dtype } = dy.type;
  const attrs = { axis, size: axisOf(table.type.axes, axis)?.size ?? 0, axes: table.type.axes.map((a) => a.name) };
  const readers = math.make(scatter, [math.filled(1, axes, 'f32'), index], attrs);
  const own = math.narrowed(math.make(gather, [readers, index], { axis }), axes);
  return math.op('mul', dy, math.cast(math.op('eq', own, 1), dtype));
}

/** Mistakes in the rules of kinds, and in what all rules are written with. */
export const ruleMutants: readonly Mutant[] = [
  kind('join', 'nothing for the last part', (old) => (math, dy, inputs, axis) => {
    const made = old(math, dy, inputs, axis);
    return made.map((part, i) => (i > 0 && i === made.length - 1 ? scaled(0)(math, part) : part));
  }),
  kind(
    'join',
    'every part that of the first',
    (old) => (math, dy, inputs, axis) => inputs.map((input) => old(math, dy, [input], axis)[0] ?? dy),
  ),
  kind(
    'gather',
    'rows that are read again are lost',
    (old) => (math, dy, table, index, axis) =>
      old(math, withoutRepeats(math, dy, table, index, axis), table, index, axis),
  ),
  kind(
    'scatter',
    'of the wrong sign',
    (old) => (math, dy, updates, index, axis) => math.op('neg', old(math, dy, updates, index, axis)),
  ),
  kind(
    'contract',
    'an operand transposed',
    (old) => (math, dy, other, operand) => old(math, dy, transposed(math, other), operand),
  ),
  kind(
    'contract',
    'of another scale',
    (old) => (math, dy, other, operand) => scaled(1.5)(math, old(math, dy, other, operand)),
  ),
  patched(
    'gradient of a broadcast: the sum is forgotten',
    'an operand with fewer axes gets the gradient of the first of its copies',
    BackwardMath.prototype as { narrowed: BackwardMath['narrowed'] },
    'narrowed',
    (old) =>
      function (this: BackwardMath, x, axes) {
        const missing = x.type.axes.map((axis) => axis.name).filter((name) => axisOf(axes, name) === undefined);
        return old.call(this, missing.length === 0 ? x : firsts(this, x, missing), axes);
      },
  ),
];

export const gradientMutants: readonly Mutant[] = [
  ...ruleMutants,
  map('neg', 'of the wrong sign', negated),
  map('abs', 'of the wrong sign', negated),
  map('exp', 'doubled', double),
  map('sqrt', 'doubled', double),
  map('rsqrt', 'of the wrong sign', negated),
  map('tanh', 'doubled', double),
  map('sin', 'of the wrong sign', negated),
  map('cos', 'of the wrong sign', negated),
  map('sigmoid', 'doubled', double),
  map('add', 'lost for the second operand', firstOnly),
  map('sub', 'that of a sum', (m, [a, b]) => [a, b && m.op('neg', b)]),
  map('mul', 'that of the other operand', swapped),
  map('div', 'lost for the divisor', firstOnly),
  map('min', 'that of the larger', swapped),
  map('max', 'that of the smaller', swapped),
  map('where', 'that of the other operand', (_m, [test, yes, no]) => [test, no, yes]),
  map('cast', 'lost', dropped),
  reduction(sum),
  reduction(reduceMax),
  reduction(reduceMin),
  view(rearrange, 'doubled', doubled),
  view(broadcast, 'doubled', doubled),
  view(slice, 'doubled', doubled),
  view(slice, 'as if it began at 0', (old) => (m, dy, attrs, x) => {
    const moved =
      Number(attrs['start']) > 0 && typeof attrs['start'] === 'number'
        ? { ...attrs, start: attrs['start'] - 1 }
        : attrs;
    return old(m, dy, moved, x);
  }),
  view(pad, 'doubled', doubled),
  view(flip, 'not turned', () => (_m, dy) => dy),
  view(window, 'doubled', doubled),
  view(
    window,
    'without the stride',
    (old) => (m, dy, attrs, x) =>
      old(m, dy, Number(attrs['stride'] ?? 1) > 1 ? { ...attrs, stride: Number(attrs['stride']) - 1 } : attrs, x),
  ),
];
