// Views on the CPU: the op's own index map, turned into one table of offsets per output axis wherever the map allows it.
import { evaluateSize, type SymbolValues } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Attrs, IndexMath, TensorType, ViewOp, ViewSource } from '../../dsl/graph/op.ts';
import { elementCount, knownAxes, stridesOf, type KnownAxis, type Values } from './values.ts';

/** Where each index of one output axis reads: `offset` is added up over the axes; `inside` is 0 where a guard fails. */
export interface AxisTable {
  readonly offset: Int32Array;
  readonly inside: Uint8Array | undefined;
}

/** out[i, j, …] = data[base + Σ table[axis].offset[index]], or `otherwise` where a guard fails. */
export interface TableMap {
  readonly base: number;
  readonly tables: readonly AxisTable[];
  readonly otherwise: number;
}

/** One view node in one run. */
export interface View {
  readonly op: ViewOp;
  readonly attrs: Attrs;
  /** The operand's type in the graph. */
  readonly of: TensorType;
  /** The axes of the result. */
  readonly out: readonly KnownAxis[];
  readonly symbols: SymbolValues;
  /** The constant that stands where a guard fails, as the dtype holds it. */
  round(otherwise: number): number;
}

/** The view's values; shares the operand's data when nothing moves. */
export function evaluateView(view: View, x: Values): Float64Array {
  const map = viewTables(view, x);
  if (map === undefined) return viewByElement(view, x);
  return isIdentity(map, view.out) && elementCount(view.out) === x.data.length
    ? x.data
    : copyByTables(x.data, map, view.out);
}

// ---- index maps as tables ---------------------------------------------------------------------------------------

/** An index that is a sum of functions of one output axis each. */
interface Sum {
  readonly constant: number;
  readonly parts: ReadonlyMap<string, Float64Array>;
}
/** A guard that looks at one output axis at most. */
type Test = boolean | { readonly axis: string; readonly inside: Uint8Array };

/** Thrown inside when an index map mixes axes; the caller falls back to one evaluation per element. */
class Inseparable extends Error {}

function tableMath(symbols: SymbolValues): IndexMath<Sum, Test> {
  const number = (size: Parameters<typeof evaluateSize>[0]) => evaluateSize(size, symbols);
  const single = (a: Sum, f: (index: number) => number): Sum => {
    if (a.parts.size > 1) throw new Inseparable();
    for (const [axis, table] of a.parts)
      return { constant: 0, parts: new Map([[axis, table.map((index) => f(index + a.constant))]]) };
    return { constant: f(a.constant), parts: a.parts };
  };
  return {
    of: (size) => ({ constant: number(size), parts: new Map() }),
    add(a, b) {
      const parts = new Map(a.parts);
      for (const [axis, table] of b.parts) {
        const known = parts.get(axis);
        parts.set(axis, known === undefined ? table : table.map((index, i) => index + (known[i] ?? 0)));
      }
      return { constant: a.constant + b.constant, parts };
    },
    multiply(a, by) {
      const times = number(by);
      return {
        constant: a.constant * times,
        parts: new Map([...a.parts].map(([axis, table]) => [axis, table.map((index) => index * times)])),
      };
    },
    divide: (a, by) => {
      const divisor = number(by);
      return single(a, (index) => Math.floor(index / divisor));
    },
    remainder: (a, by) => {
      const divisor = number(by);
      return single(a, (index) => index - Math.floor(index / divisor) * divisor);
    },
    within(a, least, end) {
      if (a.parts.size > 1) throw new Inseparable();
      const [low, high] = [number(least), number(end)];
      for (const [axis, table] of a.parts)
        return {
          axis,
          inside: Uint8Array.from(table, (index) => Number(index + a.constant >= low && index + a.constant < high)),
        };
      return a.constant >= low && a.constant < high;
    },
  };
}

/** The view as tables, or undefined when its index map mixes output axes in a division, a remainder or a guard. */
export function viewTables({ op, attrs, of, out, symbols, round }: View, x: Values): TableMap | undefined {
  const starts = new Map(
    out.map((axis): [string, Sum] => [
      axis.name,
      { constant: 0, parts: new Map([[axis.name, Float64Array.from({ length: axis.size }, (_, i) => i)]]) },
    ]),
  );
  let source: ViewSource<Sum, Test>;
  try {
    source = op.source(tableMath(symbols), starts, attrs, of);
  } catch (error) {
    if (error instanceof Inseparable) return undefined;
    throw error;
  }
  const strides = stridesOf(x.axes);
  const otherwise = round(source.otherwise);
  let base = 0;
  const offsets = new Map(out.map((axis) => [axis.name, new Int32Array(axis.size)]));
  for (const axis of x.axes) {
    const stride = strides.get(axis.name) ?? 0;
    const index = source.index.get(axis.name);
    if (index === undefined)
      throw new OpabiniaError(`the view gives no index for axis '${axis.name}'`, { op: op.name });
    base += index.constant * stride;
    for (const [name, table] of index.parts) {
      const offset = offsets.get(name);
      table.forEach((i, at) => {
        if (offset !== undefined) offset[at] = (offset[at] ?? 0) + i * stride;
      });
    }
  }
  const masks = new Map<string, Uint8Array>();
  for (const guard of source.guards) {
    if (guard === true) continue;
    if (guard === false)
      return {
        base: 0,
        tables: out.map((axis) => ({ offset: new Int32Array(axis.size), inside: new Uint8Array(axis.size) })),
        otherwise,
      };
    const known = masks.get(guard.axis);
    masks.set(
      guard.axis,
      known === undefined ? guard.inside : guard.inside.map((inside, i) => inside & (known[i] ?? 0)),
    );
  }
  return {
    base,
    tables: out.map((axis) => ({
      offset: offsets.get(axis.name) ?? new Int32Array(axis.size),
      inside: masks.get(axis.name),
    })),
    otherwise,
  };
}

function isIdentity(map: TableMap, out: readonly KnownAxis[]): boolean {
  if (map.base !== 0) return false;
  const strides = stridesOf(out);
  return out.every((axis, k) => {
    const table = map.tables[k];
    const stride = strides.get(axis.name) ?? 0;
    return (
      table !== undefined && table.inside === undefined && table.offset.every((offset, i) => offset === i * stride)
    );
  });
}

// ---- execution --------------------------------------------------------------------------------------------------

/** Longest inner loop that is merged from several axes: long enough to hide the outer loop, short enough for the cache. */
const mergedLength = 2048;

/** Two neighbouring axes as one. */
function mergeTables(outer: AxisTable, inner: AxisTable): AxisTable {
  const width = inner.offset.length;
  const offset = new Int32Array(outer.offset.length * width);
  const inside = outer.inside === undefined && inner.inside === undefined ? undefined : new Uint8Array(offset.length);
  for (let i = 0; i < outer.offset.length; i++) {
    for (let j = 0; j < width; j++) {
      offset[i * width + j] = (outer.offset[i] ?? 0) + (inner.offset[j] ?? 0);
      if (inside !== undefined) inside[i * width + j] = (outer.inside?.[i] ?? 1) & (inner.inside?.[j] ?? 1);
    }
  }
  return { offset, inside };
}

/** The trailing axes merged while the product stays short, so that the inner loop is worth its start. */
export function mergeTrailing(tables: readonly AxisTable[]): readonly AxisTable[] {
  const merged = tables.filter(
    (table) => table.offset.length !== 1 || table.inside !== undefined || table.offset[0] !== 0,
  );
  for (let inner = merged.pop(); ;) {
    const outer = merged.at(-1);
    if (inner === undefined) return [{ offset: new Int32Array(1), inside: undefined }];
    if (outer === undefined || outer.offset.length * inner.offset.length > mergedLength) return [...merged, inner];
    merged.pop();
    inner = mergeTables(outer, inner);
  }
}

export function copyByTables(data: Float64Array, map: TableMap, axes: readonly KnownAxis[]): Float64Array {
  const out = new Float64Array(elementCount(axes));
  if (out.length === 0) return out;
  const tables = mergeTrailing(map.tables);
  const inner = tables[tables.length - 1]?.offset ?? new Int32Array(1);
  const inside = tables[tables.length - 1]?.inside;
  const contiguous = inside === undefined && inner.every((offset, i) => offset === i + (inner[0] ?? 0));
  let at = 0;
  forEachOuter(tables.slice(0, -1), map.base, (base, kept) => {
    if (!kept) out.fill(map.otherwise, at, at + inner.length);
    else if (contiguous) copyRun(out, at, data, base + (inner[0] ?? 0), inner.length);
    else if (inside === undefined)
      for (let i = 0; i < inner.length; i++) out[at + i] = data[base + (inner[i] ?? 0)] ?? NaN;
    else
      for (let i = 0; i < inner.length; i++)
        out[at + i] = inside[i] === 1 ? (data[base + (inner[i] ?? 0)] ?? NaN) : map.otherwise;
    at += inner.length;
  });
  return out;
}

/** `length` neighbours; short runs in a loop, which is cheaper than the view that `set` needs. */
export function copyRun(out: Float64Array, at: number, data: Float64Array, from: number, length: number): void {
  if (length > 64) out.set(data.subarray(from, from + length), at);
  else for (let i = 0; i < length; i++) out[at + i] = data[from + i] ?? NaN;
}

/** Calls `visit` with the summed offset of every index of the tables, last table fastest. */
export function forEachOuter(
  tables: readonly AxisTable[],
  base: number,
  visit: (base: number, inside: boolean) => void,
): void {
  const walk = (depth: number, offset: number, inside: boolean): void => {
    const table = tables[depth];
    if (table === undefined) return visit(offset, inside);
    for (let i = 0; i < table.offset.length; i++)
      walk(depth + 1, offset + (table.offset[i] ?? 0), inside && (table.inside?.[i] ?? 1) === 1);
  };
  walk(0, base, true);
}

/** Any view, one evaluation of the index map per element: slow, and the meaning of the tables above. */
export function viewByElement({ op, attrs, of, out, symbols, round }: View, x: Values): Float64Array {
  const number = (size: Parameters<typeof evaluateSize>[0]) => evaluateSize(size, symbols);
  const math: IndexMath<number, boolean> = {
    of: number,
    add: (a, b) => a + b,
    multiply: (a, by) => a * number(by),
    divide: (a, by) => Math.floor(a / number(by)),
    remainder: (a, by) => a - Math.floor(a / number(by)) * number(by),
    within: (a, least, end) => a >= number(least) && a < number(end),
  };
  const strides = stridesOf(knownAxes(of.axes, symbols));
  const data = new Float64Array(elementCount(out));
  const index = new Map(out.map((axis) => [axis.name, 0]));
  for (let at = 0; at < data.length; at++) {
    let rest = at;
    for (const axis of out.toReversed()) {
      index.set(axis.name, rest % axis.size);
      rest = Math.floor(rest / axis.size);
    }
    const source = op.source(math, index, attrs, of);
    const offset = x.axes.reduce(
      (sum, axis) => sum + (source.index.get(axis.name) ?? NaN) * (strides.get(axis.name) ?? 0),
      0,
    );
    data[at] = source.guards.every(Boolean) ? (x.data[offset] ?? NaN) : round(source.otherwise);
  }
  return data;
}
