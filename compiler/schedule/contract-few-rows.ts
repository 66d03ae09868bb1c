// Contraction of a few rows (a decode step) on GPUs: bound by reading the weights once. Neighbouring threads read neighbouring columns, the
// sum is split over the rest of the workgroup and reduced in workgroup memory.
import { code, literal, splat, wgsl } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/lower.ts';
import { indexOf, inRange, productOf, storeResult } from './contract.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';

/** Vectors (or elements) of columns side by side, and parts of the sum. */
const across = 16;
const parts = 16;

/** Rows that a workgroup computes together. */
const rowsTogether = 4;

export function scheduleContractFewRows(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const product = productOf(group.contract);
  const { a, b, m, n, k, names, width } = product;
  const rows = Math.min(rowsTogether, m.most);
  const threads = across * parts;
  const frame = new Frame(context, group);
  const { lowering, body } = frame;
  const type = typeOf('f32', width);
  const units = divide(n, constantIndex(width));
  const rowTiles = ceilDivide(m, rows);
  const columnTiles = ceilDivide(units, across);
  const batches = count(product.batch);
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const thread = indexVariable('thread', constantIndex(threads));
  const part = body.named('part', divide(thread, constantIndex(across)));
  const inTile = body.named('column_in_tile', remainder(thread, constantIndex(across)));
  const unit = add(scale(indexVariable('group.x', columnTiles), across), inTile);
  const columnOf = (u: Index): Index => elementAt(u, width);
  const firstRow = scale(indexVariable('group.y', rowTiles), rows);
  const partial = frame.share('partial', type, rows * threads);
  const acc = Array.from({ length: rows }, () => body.var('sum', splat(literal(0, 'f32'), type)));

  body.loop(
    names.sum,
    k,
    (inside, kk) => {
      const weights = splat(
        lowering.value(
          inside,
          b,
          indexOf(product, batch, constantIndex(0), inRange(columnOf(unit), n, width), kk),
          width,
        ),
        type,
      );
      acc.forEach((c, i) => {
        const row = clamp(add(firstRow, constantIndex(i)), m);
        const factor = splat(lowering.value(inside, a, indexOf(product, batch, row, undefined, kk), 1), type);
        inside.assign(c.text, wgsl`fma(${factor}, ${weights}, ${c})`);
      });
    },
    { from: part, step: parts },
  );

  const at = (i: number, beyond = 0) =>
    `${partial}[${indexText(add(constantIndex(i * threads + beyond * across), thread))}]`;
  acc.forEach((c, i) => body.assign(at(i), c));
  body.barrier();
  for (let half = parts / 2; half >= 1; half /= 2) {
    body.when(`${indexText(part)} < ${half}u`, (inside) =>
      acc.forEach((_, i) => inside.assign(at(i), code(`${at(i)} + ${at(i, half)}`, type))),
    );
    body.barrier();
  }
  body.when(`${indexText(part)} == 0u && ${indexText(unit)} < ${indexText(units)}`, (inside) => {
    const own = inside.index(names.column, indexText(unit), units);
    acc.forEach((_, i) => {
      const row = inside.index(names.row, indexText(add(firstRow, constantIndex(i))), m);
      inside.when(rows === 1 ? 'true' : `${indexText(row)} < ${indexText(m)}`, (store) => {
        const value = store.let('total', code(at(i), type));
        storeResult(frame, store, group, product, indexOf(product, batch, row, columnOf(own), undefined, store), value);
      });
    });
  });
  return frame.finish(`contraction of ${rows} rows`, threads, [columnTiles, rowTiles, batches]);
}
