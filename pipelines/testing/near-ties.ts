// What rounding makes of near ties: of elements that lie nearer to their maximum than their errors, any may be equal to it and share its gradient.
import type { Node } from '../../dsl/graph/graph.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { reduceMax, reduceMin, sum } from '../../dsl/ops/reduce.ts';
import { evaluateMap } from '../../runtime/reference/element.ts';
import type { Values } from '../../runtime/reference/values.ts';
import type { Bounded } from './bounded.ts';

/** For operands of which the second may be other than the exact one: the values, and a bound for each. */
type Divide = (operands: readonly [Bounded, Bounded]) => Bounded;

/** WGSL lets subnormal numbers be flushed, and drivers read what they like from one. */
export const tiny = 2 ** -126;

const [equal, divide] = [mapOp('eq'), mapOp('div')];

/** The bound of `x = max x`, and of what is divided among those that are equal; undefined for other nodes. */
export function errorOfTies(
  node: Node,
  y: Values,
  of: (node: Node) => Bounded,
  quotient: Divide,
): Float64Array | undefined {
  const [a, b] = node.inputs;
  if (a === undefined || b === undefined) return undefined;
  if (isTie(node)) return tieError(of(a), of(b), b.op === reduceMin ? -1 : 1);
  const counted = underCasts(b);
  const tie = counted.inputs[0] === undefined ? undefined : underCasts(counted.inputs[0]);
  if (node.op !== divide || counted.op !== sum || tie === undefined || !isTie(tie)) return undefined;
  const count = of(b);
  const [few, many] = countsOf(of(tie), count).map((data) => {
    const shares = quotient([of(a), { ...count, data, error: new Float64Array(data.length) }]);
    return shares.error.map((e, i) => e + Math.abs((shares.data[i] ?? NaN) - (y.data[i] ?? NaN)));
  });
  return few?.map((e, i) => Math.max(e, many?.[i] ?? NaN));
}

function underCasts(node: Node): Node {
  const [x] = node.inputs;
  return node.op.kind === 'map' && node.op.converts && x !== undefined ? underCasts(x) : node;
}

/** `x = max x` or `x = min x`. */
export function isTie({ op, inputs: [x, extreme] }: Node): boolean {
  return op === equal && (extreme?.op === reduceMax || extreme?.op === reduceMin) && extreme.inputs[0] === x;
}

/**
 * An extreme is found again to the last bit, so an element that no other can reach is equal to it for sure. Of several that can, each may be
 * or not, unless all of them are exact.
 */
function tieError(x: Bounded, extreme: Bounded, sign: number): Float64Array {
  const row = rowsOf(x, extreme);
  const [sure, near, error] = [fill(extreme, -Infinity), fill(extreme, 0), fill(extreme, 0)];
  const moved = (i: number): number => {
    const size = Math.abs(x.data[i] ?? NaN);
    return Math.max(x.error[i] ?? NaN, x.dtype === 'f32' && size > 0 && size < tiny ? tiny : 0);
  };
  row.forEach((r, i) => (sure[r] = Math.max(sure[r] ?? NaN, sign * (x.data[i] ?? NaN) - moved(i))));
  const isNear = row.map((r, i) => Number(!(sign * (x.data[i] ?? NaN) + moved(i) < (sure[r] ?? NaN))));
  row.forEach((r, i) => {
    if (isNear[i] === 0) return;
    near[r] = (near[r] ?? NaN) + 1;
    error[r] = Math.max(error[r] ?? NaN, moved(i));
  });
  return isNear.map((is, i) => Number(is === 1 && (near[row[i] ?? NaN] ?? 0) > 1 && error[row[i] ?? NaN] !== 0));
}

/** The fewest and the most that may be equal to their extreme, of which there always is one. */
function countsOf(tie: Bounded, count: Bounded): readonly Float64Array[] {
  const [few, many] = [fill(count, 0), fill(count, 0)];
  rowsOf(tie, count).forEach((r, i) => {
    const [is, open] = [tie.data[i] ?? NaN, tie.error[i] ?? NaN];
    few[r] = (few[r] ?? NaN) + (open === 0 ? is : 0);
    many[r] = (many[r] ?? NaN) + (open === 0 ? is : 1);
  });
  // Without a near tie the count is what it is: none where a NaN is the extreme.
  return [few.map((n, i) => Math.min(Math.max(n, 1), many[i] ?? NaN)), many];
}

const fill = (of: Values, value: number): Float64Array => new Float64Array(of.data.length).fill(value);

/** Of each element, the place of its row among the reduced. */
function rowsOf(x: Values, reduced: Values): Float64Array {
  const places = { ...reduced, data: Float64Array.from(reduced.data, (_, i) => i) };
  return evaluateMap({ ...equal, eval: ([, place = NaN]) => place }, [x, places], {}, x.axes, 'f32');
}
