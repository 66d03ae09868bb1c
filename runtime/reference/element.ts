// Maps, reductions, joins and gathers on the CPU: strided loops around the scalar semantics in the op records.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Attrs, DType, ReduceOp, MapOp } from '../../dsl/graph/op.ts';
import { elementCount, stridesOf, type KnownAxis, type Values } from './values.ts';
import { copyRun, forEachOuter, mergeTrailing, type AxisTable } from './view.ts';

// ---- maps -------------------------------------------------------------------------------------------------------

/** A run of output axes along which every operand moves with a constant stride. */
interface Run {
  readonly size: number;
  readonly strides: readonly number[];
}

/** Output axes, outermost first, with neighbours joined wherever all operands allow it. Operands lacking an axis stand still along it. */
function runsOf(operands: readonly Values[], out: readonly KnownAxis[]): readonly Run[] {
  const strides = operands.map((x) => stridesOf(x.axes));
  const runs: Run[] = [];
  for (const axis of out) {
    if (axis.size === 1) continue;
    const run: Run = { size: axis.size, strides: strides.map((of) => of.get(axis.name) ?? 0) };
    const outer = runs.at(-1);
    if (outer !== undefined && outer.strides.every((stride, k) => stride === (run.strides[k] ?? 0) * run.size)) {
      runs[runs.length - 1] = { size: outer.size * run.size, strides: run.strides };
    } else runs.push(run);
  }
  return runs;
}

export function evaluateMap(
  op: MapOp,
  operands: readonly Values[],
  attrs: Attrs,
  out: readonly KnownAxis[],
  dtype: DType,
): Float64Array {
  const data = new Float64Array(elementCount(out));
  if (data.length === 0) return data;
  const runs = runsOf(operands, out);
  const inner = runs.at(-1) ?? { size: 1, strides: operands.map(() => 0) };
  // One array for the operands of all elements: the records take an array, and a fresh one each would cost more than the function.
  const x = operands.map(() => 0);
  const at = operands.map(() => 0);
  let start = 0;
  const walk = (depth: number): void => {
    const run = runs[depth];
    if (run === undefined || depth >= runs.length - 1) {
      innerLoop(op, operands, attrs, dtype, x, at, inner, data, start);
      start += inner.size;
      return;
    }
    for (let i = 0; i < run.size; i++) {
      walk(depth + 1);
      for (let k = 0; k < at.length; k++) at[k] = (at[k] ?? 0) + (run.strides[k] ?? 0);
    }
    for (let k = 0; k < at.length; k++) at[k] = (at[k] ?? 0) - run.size * (run.strides[k] ?? 0);
  };
  walk(0);
  return data;
}

function innerLoop(
  op: MapOp,
  operands: readonly Values[],
  attrs: Attrs,
  dtype: DType,
  x: number[],
  at: readonly number[],
  inner: Run,
  out: Float64Array,
  start: number,
): void {
  const [a, b] = [operands[0]?.data ?? out, operands[1]?.data ?? out];
  let [p, q] = [at[0] ?? 0, at[1] ?? 0];
  const [dp = 0, dq = 0] = inner.strides;
  if (operands.length === 1) {
    for (let i = 0; i < inner.size; i++, p += dp) {
      x[0] = a[p] ?? NaN;
      out[start + i] = op.eval(x, dtype, attrs);
    }
  } else if (operands.length === 2) {
    for (let i = 0; i < inner.size; i++, p += dp, q += dq) {
      x[0] = a[p] ?? NaN;
      x[1] = b[q] ?? NaN;
      out[start + i] = op.eval(x, dtype, attrs);
    }
  } else {
    for (let i = 0; i < inner.size; i++) {
      for (let k = 0; k < operands.length; k++)
        x[k] = operands[k]?.data[(at[k] ?? 0) + i * (inner.strides[k] ?? 0)] ?? NaN;
      out[start + i] = op.eval(x, dtype, attrs);
    }
  }
}

// ---- reductions ------------------------------------------------------------------------------------------------------

const tableOf = (size: number, stride: number): AxisTable => ({
  offset: Int32Array.from({ length: size }, (_, i) => i * stride),
  inside: undefined,
});

/** Reduces away the axes that `out` lacks; elements are combined in row-major order, in doubles. */
export function evaluateReduce(op: ReduceOp, x: Values, out: readonly KnownAxis[]): Float64Array {
  const data = new Float64Array(elementCount(out)).fill(op.identity);
  const strides = stridesOf(out);
  const tables = mergeTrailing(x.axes.map((axis) => tableOf(axis.size, strides.get(axis.name) ?? 0)));
  if (x.data.length === 0) return data;
  const inner = tables.at(-1)?.offset ?? new Int32Array(1);
  const still = inner.every((offset) => offset === inner[0]);
  let from = 0;
  forEachOuter(tables.slice(0, -1), 0, (base) => {
    if (still) {
      const at = base + (inner[0] ?? 0);
      let value = data[at] ?? op.identity;
      for (let i = 0; i < inner.length; i++) value = op.combine(value, x.data[from + i] ?? NaN);
      data[at] = value;
    } else {
      for (let i = 0; i < inner.length; i++) {
        const at = base + (inner[i] ?? 0);
        data[at] = op.combine(data[at] ?? op.identity, x.data[from + i] ?? NaN);
      }
    }
    from += inner.length;
  });
  return data;
}

// ---- joins and gathers ------------------------------------------------------------------------------------------

export function evaluateJoin(parts: readonly Values[], name: string, out: readonly KnownAxis[]): Float64Array {
  const data = new Float64Array(elementCount(out));
  const place = out.findIndex((axis) => axis.name === name);
  const outer = elementCount(out.slice(0, place));
  const inner = elementCount(out.slice(place + 1));
  const step = (out[place]?.size ?? 0) * inner;
  let start = 0;
  for (const part of parts) {
    const width = (part.axes[place]?.size ?? 0) * inner;
    for (let i = 0; i < outer; i++) copyRun(data, i * step + start, part.data, i * width, width);
    start += width;
  }
  return data;
}

/** out[i…, rest…] = x[name = index[i…], rest…]; shared axes are batch axes; positions are clamped into the axis. */
export function evaluateGather(x: Values, index: Values, name: string, out: readonly KnownAxis[]): Float64Array {
  const data = new Float64Array(elementCount(out));
  if (data.length === 0) return data;
  const strides = stridesOf(x.axes);
  const length = x.axes.find((axis) => axis.name === name)?.size ?? 0;
  if (length === 0)
    throw new OpabiniaError(`axis '${name}' is empty in this run: there is nothing to gather`, { op: 'gather' });
  const stride = strides.get(name) ?? 0;
  const rest = mergeTrailing(
    out.slice(index.axes.length).map((axis) => tableOf(axis.size, strides.get(axis.name) ?? 0)),
  );
  const inner = rest.at(-1)?.offset ?? new Int32Array(1);
  let row = 0;
  let at = 0;
  forEachOuter(
    index.axes.map((axis) => tableOf(axis.size, strides.get(axis.name) ?? 0)),
    0,
    (batch) => {
      const position = Math.max(0, Math.min(length - 1, index.data[row++] ?? 0));
      forEachOuter(rest.slice(0, -1), batch + position * stride, (base) => {
        for (let i = 0; i < inner.length; i++) data[at++] = x.data[base + (inner[i] ?? 0)] ?? NaN;
      });
    },
  );
  return data;
}
