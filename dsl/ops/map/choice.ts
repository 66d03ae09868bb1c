// One operand or another, as it is.
import type { Node } from '../../graph/graph.ts';
import { Refusal, type GradientMath, type MapOp } from '../../graph/op.ts';
import { call, wgsl, type Code } from '../../wgsl.ts';
import { within } from './accuracy.ts';
import { agree } from './dtype-rules.ts';
import { binary, map } from './row.ts';
import { largest, smallest } from './wgsl-functions.ts';

/** What `dy` is for `x`, which was taken where it is above `other`: half of it where they are equal, as in PyTorch. */
function chosen(m: GradientMath, dy: Node, x: Node | undefined, other: Node | undefined): Node {
  return m.op('where', m.op('lt', x, other), 0, m.op('where', m.op('eq', x, other), m.op('mul', dy, 0.5), dy));
}

export const choices: readonly MapOp[] = [
  binary({
    name: 'min',
    rounding: 0,
    doc: 'the smaller; NaN wins',
    commutes: true,
    f: (x, y) => Math.min(x, y),
    w: (x, y) => call(smallest, x, y),
    accuracy: within(0),
    grad: (m, dy, _y, [a, b]) => [chosen(m, dy, b, a), chosen(m, dy, a, b)],
  }),
  binary({
    name: 'max',
    rounding: 0,
    doc: 'the larger; NaN wins',
    commutes: true,
    f: (x, y) => Math.max(x, y),
    w: (x, y) => call(largest, x, y),
    accuracy: within(0),
    grad: (m, dy, _y, [a, b]) => [chosen(m, dy, a, b), chosen(m, dy, b, a)],
  }),
  map({
    name: 'where',
    rounding: 0,
    doc: 'the second operand where the first is true, else the third',
    arity: 3,
    flops: 1,
    sample: [-4, 4],
    accuracy: within(0),
    dtype: ([test, ...values]) =>
      test === 'bool'
        ? agree(values)
        : new Refusal(`the mask must be bool, not ${test ?? 'missing'}`, 'compare first, e.g. x.gt(0)'),
    eval: ([test, yes = NaN, no = NaN]) => (test !== 0 ? yes : no),
    wgsl: ([test, yes, no]) => wgsl`select(${no as Code}, ${yes as Code}, ${test as Code})`,
    grad: (m, dy, _y, [test]) => [undefined, m.op('where', test, dy, 0), m.op('where', test, 0, dy)],
  }),
];
