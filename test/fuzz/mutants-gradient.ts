// Mistakes in gradient rules, planted while a gradient graph is made: differences must see each.
import type { GradientMath, MapOp, ReduceOp, ViewOp } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { reduceMax, reduceMin, sum } from '../../dsl/ops/reduce.ts';
import { broadcast, flip, pad, rearrange, slice, window } from '../../dsl/ops/view.ts';
import type { Node } from '../../dsl/graph/graph.ts';
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

export const gradientMutants: readonly Mutant[] = [
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
