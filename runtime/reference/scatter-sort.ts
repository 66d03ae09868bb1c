// Scatters and sorts on the CPU.
import { OpabiniaError } from '../../dsl/error.ts';
import { elementCount, stridesOf, type KnownAxis, type Values } from './values.ts';

/** Sums of updates by position, in doubles, terms in the order of the updates; positions are clamped into the axis. */
export function evaluateScatter(updates: Values, index: Values, name: string, out: readonly KnownAxis[]): Float64Array {
  const data = new Float64Array(elementCount(out));
  const length = out.find((axis) => axis.name === name)?.size ?? 0;
  if (updates.data.length === 0 || data.length === 0) {
    if (length === 0 && updates.data.length > 0)
      throw new OpabiniaError(`axis '${name}' is empty in this run: there is nowhere to add`, { op: 'scatter' });
    return data;
  }
  const [to, at] = [stridesOf(out), stridesOf(index.axes)];
  const stride = to.get(name) ?? 0;
  const position = updates.axes.map(() => 0);
  for (const value of updates.data) {
    const offset = (strides: ReadonlyMap<string, number>): number =>
      updates.axes.reduce((sum, axis, i) => sum + (position[i] ?? 0) * (strides.get(axis.name) ?? 0), 0);
    const row = Math.max(0, Math.min(length - 1, index.data[offset(at)] ?? 0));
    const target = offset(to) + row * stride;
    data[target] = (data[target] ?? 0) + value;
    advance(position, updates.axes);
  }
  return data;
}

/** Positions in order along `name`: equal elements keep theirs, NaN is the largest. */
export function evaluateSort(x: Values, name: string, isFalling: boolean, out: readonly KnownAxis[]): Float64Array {
  const data = new Float64Array(elementCount(out));
  const [from, to] = [stridesOf(x.axes), stridesOf(out)];
  const length = x.axes.find((axis) => axis.name === name)?.size ?? 0;
  const kept = out.find((axis) => axis.name === name)?.size ?? 0;
  const rows = x.axes.filter((axis) => axis.name !== name);
  const position = rows.map(() => 0);
  const count = elementCount(rows);
  for (let row = 0; row < count; row++) {
    const offset = (strides: ReadonlyMap<string, number>): number =>
      rows.reduce((sum, axis, i) => sum + (position[i] ?? 0) * (strides.get(axis.name) ?? 0), 0);
    const [start, target] = [offset(from), offset(to)];
    const value = (i: number): number => x.data[start + i * (from.get(name) ?? 0)] ?? NaN;
    const order = Array.from({ length }, (_, i) => i).sort((i, j) => {
      const between = compare(value(i), value(j));
      return (isFalling ? -between : between) || i - j;
    });
    for (let rank = 0; rank < kept; rank++) data[target + rank * (to.get(name) ?? 0)] = order[rank] ?? NaN;
    advance(position, rows);
  }
  return data;
}

function compare(a: number, b: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The next index, row-major. */
function advance(position: number[], axes: readonly KnownAxis[]): void {
  for (let i = axes.length - 1; i >= 0; i--) {
    const next = (position[i] ?? 0) + 1;
    if (next < (axes[i]?.size ?? 0)) {
      position[i] = next;
      return;
    }
    position[i] = 0;
  }
}
