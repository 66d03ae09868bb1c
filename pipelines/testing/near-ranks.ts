// What rounding makes of an order: an element has its rank for sure where no other may lie on its other side.
import type { sort } from '../../dsl/ops/sort.ts';
import { evaluateSort } from '../../runtime/reference/scatter-sort.ts';
import { elementCount, stridesOf, type Values } from '../../runtime/reference/values.ts';
import type { Bounded } from './bounded.ts';

/** For each position of a sort 0 where it is sure, and ∞ where it may be another's. */
export function errorOfRanks(x: Bounded, y: Values, { axis, descending }: ReturnType<typeof sort.read>): Float64Array {
  const error = new Float64Array(y.data.length);
  if (x.error.every((e) => e === 0)) return error;
  const length = x.axes.find(({ name }) => name === axis)?.size ?? 0;
  const kept = y.axes.find(({ name }) => name === axis)?.size ?? 0;
  const rows = x.axes.filter(({ name }) => name !== axis);
  const order = evaluateSort(x, axis, descending, x.axes);
  const [from, to] = [stridesOf(x.axes), stridesOf(y.axes)];
  for (let row = 0; row < elementCount(rows); row++) {
    const offset = (strides: ReadonlyMap<string, number>): number => {
      let [sum, rest] = [0, row];
      for (const { name, size } of rows.toReversed()) {
        sum += (rest % size) * (strides.get(name) ?? 0);
        rest = Math.floor(rest / size);
      }
      return sum;
    };
    const [start, target] = [offset(from), offset(to)];
    const ranked = Array.from({ length }, (_, rank): Interval => {
      const i = start + (order[start + rank * (from.get(axis) ?? 0)] ?? NaN) * (from.get(axis) ?? 0);
      return interval(x.data[i] ?? NaN, x.error[i] ?? NaN, descending);
    });
    sureOf(ranked).forEach((isSure, rank) => {
      if (!isSure && rank < kept) error[target + rank * (to.get(axis) ?? 0)] = Infinity;
    });
  }
  return error;
}

/** From where to where an element may lie, rising as the ranks do. Equal numbers that are exact keep their order. */
interface Interval {
  readonly low: number;
  readonly high: number;
  readonly isExact: boolean;
}

/** NaN is larger than every number. */
function interval(value: number, error: number, descending: boolean): Interval {
  const [middle, isExact] = [(Number.isNaN(value) ? Infinity : value) * (descending ? -1 : 1), error === 0];
  if (!Number.isFinite(middle))
    return { low: isExact ? middle : -Infinity, high: isExact ? middle : Infinity, isExact };
  return { low: middle - error, high: middle + error, isExact };
}

function sureOf(ranked: readonly Interval[]): readonly boolean[] {
  const below = isClear(
    ranked,
    (x) => x.high,
    (x) => x.low,
  );
  const above = isClear(
    ranked.toReversed(),
    (x) => -x.low,
    (x) => -x.high,
  ).toReversed();
  return below.map((is, i) => is && above[i] === true);
}

/** Whether `near` of each is above `far` of all before it. */
function isClear(ranked: readonly Interval[], far: (x: Interval) => number, near: (x: Interval) => number): boolean[] {
  let [exact, inexact] = [-Infinity, -Infinity];
  return ranked.map((x, i) => {
    const is = i === 0 || (near(x) > inexact && (x.isExact || near(x) > exact));
    if (x.isExact) exact = Math.max(exact, far(x));
    else inexact = Math.max(inexact, far(x));
    return is;
  });
}
