// The product on the CPU: operands laid out as [batch, rows, sum] and [batch, columns, sum], then blocks of 4×4 dot products in doubles.
import type { Roles } from '../../dsl/ops/contract.ts';
import { elementCount, stridesOf, type KnownAxis, type Values } from './values.ts';
import { copyByTables, type AxisTable } from './view.ts';

/** `x` with its axes in the order of `names`; shares the data when that moves nothing. */
export function permute(x: Values, names: readonly string[]): Float64Array {
  const strides = stridesOf(x.axes);
  const axes = names.map((name): KnownAxis => ({ name, size: x.axes.find((axis) => axis.name === name)?.size ?? 1 }));
  const moving = (list: readonly KnownAxis[]) =>
    list
      .filter((axis) => axis.size !== 1)
      .map((axis) => axis.name)
      .join('\n');
  if (moving(axes) === moving(x.axes)) return x.data;
  const tables = axes.map((axis): AxisTable => ({
    offset: Int32Array.from({ length: axis.size }, (_, i) => i * (strides.get(axis.name) ?? 0)),
    inside: undefined,
  }));
  return copyByTables(x.data, { base: 0, tables, otherwise: 0 }, axes);
}

/** Σ over `roles.sum`, row-major in the order of `out`, accumulated in doubles. */
export function evaluateContract(
  a: Values,
  b: Values,
  roles: Roles,
  out: readonly KnownAxis[],
  dtype: Values['dtype'],
): Float64Array {
  const names = (axes: Roles['batch']) => axes.map((axis) => axis.name);
  const [batch, rows, columns, sum] = [names(roles.batch), names(roles.rows), names(roles.columns), names(roles.sum)];
  const left = permute(a, [...batch, ...rows, ...sum]);
  const right = permute(b, [...batch, ...columns, ...sum]);
  const sizeOf = (list: readonly string[]) =>
    elementCount(list.map((name) => [...a.axes, ...b.axes].find((axis) => axis.name === name) ?? { name, size: 1 }));
  const made = [...batch, ...rows, ...columns].map(
    (name) => out.find((axis) => axis.name === name) ?? { name, size: 1 },
  );
  const data = multiply(left, right, sizeOf(batch), sizeOf(rows), sizeOf(columns), sizeOf(sum));
  return permute(
    { axes: made, dtype, data },
    out.map((axis) => axis.name),
  );
}

const depthBlock = 512;
const columnBlock = 64;

/** c[b, r, c] = Σ_s left[b, r, s] · right[b, c, s] */
function multiply(
  left: Float64Array,
  right: Float64Array,
  batches: number,
  rows: number,
  columns: number,
  depth: number,
): Float64Array {
  const out = new Float64Array(batches * rows * columns);
  for (let batch = 0; batch < batches; batch++) {
    for (let from = 0; from < depth; from += depthBlock) {
      const length = Math.min(depthBlock, depth - from);
      for (let first = 0; first < columns; first += columnBlock) {
        const end = Math.min(columns, first + columnBlock);
        for (let row = 0; row < rows; row += 4) {
          const a = (batch * rows + row) * depth + from;
          for (let column = first; column < end; column += 4) {
            const b = (batch * columns + column) * depth + from;
            const c = (batch * rows + row) * columns + column;
            if (row + 4 <= rows && column + 4 <= end) dots4x4(left, right, out, a, b, c, depth, columns, length);
            else
              dotsEdge(
                left,
                right,
                out,
                a,
                b,
                c,
                depth,
                columns,
                length,
                Math.min(4, rows - row),
                Math.min(4, end - column),
              );
          }
        }
      }
    }
  }
  return out;
}

function dotsEdge(
  left: Float64Array,
  right: Float64Array,
  out: Float64Array,
  a: number,
  b: number,
  c: number,
  depth: number,
  columns: number,
  length: number,
  rows: number,
  width: number,
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const [l, r] = [a + i * depth, b + j * depth];
      let sum = 0;
      for (let k = 0; k < length; k++) sum += (left[l + k] ?? 0) * (right[r + k] ?? 0);
      const at = c + i * columns + j;
      out[at] = (out[at] ?? 0) + sum;
    }
  }
}

// Sixteen sums at once: each element that is loaded is used four times, and the sums do not wait for each other.
function dots4x4(
  left: Float64Array,
  right: Float64Array,
  out: Float64Array,
  a0: number,
  b0: number,
  c: number,
  depth: number,
  columns: number,
  length: number,
): void {
  const [a1, a2, a3] = [a0 + depth, a0 + 2 * depth, a0 + 3 * depth];
  const [b1, b2, b3] = [b0 + depth, b0 + 2 * depth, b0 + 3 * depth];
  let s00 = 0,
    s01 = 0,
    s02 = 0,
    s03 = 0,
    s10 = 0,
    s11 = 0,
    s12 = 0,
    s13 = 0;
  let s20 = 0,
    s21 = 0,
    s22 = 0,
    s23 = 0,
    s30 = 0,
    s31 = 0,
    s32 = 0,
    s33 = 0;
  for (let k = 0; k < length; k++) {
    const x0 = left[a0 + k] ?? 0;
    const x1 = left[a1 + k] ?? 0;
    const x2 = left[a2 + k] ?? 0;
    const x3 = left[a3 + k] ?? 0;
    let y = right[b0 + k] ?? 0;
    s00 += x0 * y;
    s10 += x1 * y;
    s20 += x2 * y;
    s30 += x3 * y;
    y = right[b1 + k] ?? 0;
    s01 += x0 * y;
    s11 += x1 * y;
    s21 += x2 * y;
    s31 += x3 * y;
    y = right[b2 + k] ?? 0;
    s02 += x0 * y;
    s12 += x1 * y;
    s22 += x2 * y;
    s32 += x3 * y;
    y = right[b3 + k] ?? 0;
    s03 += x0 * y;
    s13 += x1 * y;
    s23 += x2 * y;
    s33 += x3 * y;
  }
  addRow(out, c, s00, s01, s02, s03);
  addRow(out, c + columns, s10, s11, s12, s13);
  addRow(out, c + 2 * columns, s20, s21, s22, s23);
  addRow(out, c + 3 * columns, s30, s31, s32, s33);
}

function addRow(out: Float64Array, at: number, a: number, b: number, c: number, d: number): void {
  out[at] = (out[at] ?? 0) + a;
  out[at + 1] = (out[at + 1] ?? 0) + b;
  out[at + 2] = (out[at + 2] ?? 0) + c;
  out[at + 3] = (out[at + 3] ?? 0) + d;
}
