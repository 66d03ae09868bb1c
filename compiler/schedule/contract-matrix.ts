// Contraction by matrix units: a workgroup stages tiles of both operands in half precision, and each of its subgroups multiplies fragments of
// them into sums that stay in registers. While one step of the sum is multiplied the next comes into registers, and from there into the other
// copy of the tile: one barrier a step. Weights that lie block by block are not staged: their fragments come from memory as they lie. Several
// products of the same rows stage these once.
import { code } from '../../dsl/wgsl.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/element-format.ts';
import { indexOf, productsOf, rangesText, storeProducts } from './contract.ts';
import { count, Frame, indexVariable, namedAxes, type Context } from './frame.ts';
import { matrixUnitOf } from './matrix-unit-of.ts';
import { blocksOf, blocksOfEach, spreadBlocks, steps, tilesOfMatrices, tileSides } from './matrix-tiles.ts';
import { stripOf } from './left-statistics.ts';
import { mergeTileRows } from './merged-statistics.ts';
import { tileOf } from './tiles.ts';
import { fetch, fragmentOf, layOut, stage, turnsOf, type Side } from './staged-tile.ts';
import { columnBlocks, storedFragment } from './stored-blocks.ts';

type ProductGroup = Extract<Group, { template: 'contract' }>;

/** Loads of a thread for one step up to which they are in registers while the step before is multiplied; more would leave none for sums. */
const mostFetched = 16;

export function scheduleContractMatrix(group: ProductGroup, context: Context): Kernel {
  const { profile } = context;
  const products = productsOf(group);
  const [product] = products;
  const unit = matrixUnitOf(group.contract.inputs, profile);
  const lanes = profile.subgroupSize;
  if (unit === undefined || lanes === undefined)
    throw new OpabiniaError('the device has no matrix units for this product', { op: 'contract' });
  const { a, m, n, k, names, width } = product;
  const tile = tileOf(tilesOfMatrices(group, unit, profile), profile);
  const { subgroups, depth } = tile;
  const blocks = blocksOf(tile, unit);
  const [tileRows, tileColumns] = tileSides(tile, unit);
  const threads = subgroups[0] * subgroups[1] * lanes;
  const frame = new Frame(context, group);
  const { body } = frame;
  const rowTiles = ceilDivide(m, tileRows);
  const columnTiles = ceilDivide(n, tileColumns);
  const batches = count(product.batch);
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const subgroup = indexVariable('subgroup', constantIndex(subgroups[0] * subgroups[1]));
  const down = body.named('subgroup_row', divide(subgroup, constantIndex(subgroups[1])));
  const across = body.named('subgroup_column', remainder(subgroup, constantIndex(subgroups[1])));
  const firstRow = scale(indexVariable('group.x', rowTiles), tileRows);
  const tileOfRows = { product, batch, firstRow, tileRows, subgroups: subgroups[0] * subgroups[1], lanes };
  const rows: Side = {
    node: a,
    ...(group.merges === true ? { show: mergeTileRows(frame, group, tileOfRows) } : {}),
    axes: product.rows,
    size: m,
    tile: tileRows,
    first: firstRow,
    at: (row, place) => indexOf(product, batch, row, undefined, place),
  };
  const columns = products.map((own): Side => ({
    node: own.b,
    axes: own.columns,
    size: n,
    tile: tileColumns,
    first: scale(indexVariable('group.y', columnTiles), tileColumns),
    at: (column, place) => indexOf(own, batch, constantIndex(0), column, place),
  }));
  const sum = { axes: product.sum, size: k, staged: depth };
  const stagedRows = layOut(frame, group, 'staged_rows', rows, sum, steps);
  const stored = tile.inBlocks ? blocksOfEach(products, unit, profile) : undefined;
  const stagedColumns =
    stored === undefined ? columns.map((side) => layOut(frame, group, 'staged_columns', side, sum, steps)) : [];
  const sums = products.map(() =>
    Array.from({ length: blocks[0] }, () =>
      Array.from({ length: blocks[1] }, () => {
        const name = body.names.fresh('sums');
        body.matrix({ kind: 'sums', name, unit });
        return name;
      }),
    ),
  );

  const stepsOfSum = ceilDivide(k, depth);
  const sides = [
    [rows, stagedRows] as const,
    ...columns.flatMap((side, p) => {
      const staged = stagedColumns[p];
      return staged === undefined ? [] : [[side, staged] as const];
    }),
  ];
  const stepAt = (at: Index) => ({ sum, start: scale(at, depth), copy: remainder(at, constantIndex(steps)), threads });
  const isHeld = sides.every(([, staged]) => turnsOf(staged, threads) <= mostFetched / 2);
  // A sum of a run may be empty, and then there is nothing to load.
  body.when(k.least > 0 ? 'true' : `${indexText(k)} > 0u`, (first) =>
    sides.forEach(([side, staged]) => stage(frame, first, side, staged, stepAt(constantIndex(0)))),
  );
  body.barrier();
  body.loop(`${names.sum}_step`, stepsOfSum, (outer, step) => {
    const next = stepAt(add(step, constantIndex(1)));
    const writes = isHeld
      ? sides.map(([side, staged]) => fetch(frame, outer, side, staged, next))
      : sides.map(
          ([side, staged]) =>
            (into: Block) =>
              stage(frame, into, side, staged, next),
        );
    if (!isHeld) writes.forEach((write) => write(outer));
    const copy = remainder(step, constantIndex(steps));
    outer.loop(`${names.sum}_in_step`, constantIndex(depth / unit.k), (inside, part) => {
      const from = { unit, copy, place: scale(part, unit.k) };
      const ofRows = Array.from({ length: blocks[0] }, (_, i) =>
        fragmentOf(inside, 'rows', stagedRows, {
          ...from,
          other: add(scale(down, blocks[0] * unit.m), constantIndex(i * unit.m)),
        }),
      );
      products.forEach((own, p) => {
        const ofColumns = Array.from({ length: blocks[1] }, (_, j) => {
          const inTile = add(scale(across, blocks[1]), constantIndex(j));
          const [staged, asTheyLie] = [stagedColumns[p], stored?.[p]];
          if (staged !== undefined)
            return fragmentOf(inside, 'columns', staged, { ...from, other: scale(inTile, unit.n) });
          if (asTheyLie === undefined) throw new TypeError('columns that neither lie in blocks nor are staged');
          const block = add(scale(indexVariable('group.y', columnTiles), tileColumns / unit.n), inTile);
          const last = constantIndex(columnBlocks(own, unit));
          const terms = add(scale(step, depth / unit.k), part);
          return storedFragment(frame, inside, own, asTheyLie, unit, { batch, columns: clamp(block, last), terms });
        });
        sums[p]?.forEach((row, i) =>
          row.forEach((into, j) =>
            inside.matrix({ kind: 'multiply', into, rows: ofRows[i] ?? '', columns: ofColumns[j] ?? '' }),
          ),
        );
      });
    });
    if (isHeld) writes.forEach((write) => write(outer));
    outer.barrier();
  });

  // Fragments cannot be taken apart in registers: some of a row of them at a time go through workgroup memory, a slice for every subgroup.
  const type = typeOf('f32', width);
  const together = spreadBlocks(tile, unit);
  const unitsAcross = (together * unit.n) / width;
  const slice = unit.m * unitsAcross;
  const spreads = products.map(() => frame.share('sums_of_subgroup', type, subgroups[0] * subgroups[1] * slice));
  const own = scale(subgroup, slice);
  const units = divide(n, constantIndex(width));
  const columnTile = indexVariable('group.y', columnTiles);
  const rowsOfStrip = subgroups[0] * unit.m;
  const strip = stripOf(frame, group, {
    product,
    batch,
    rows: rowsOfStrip,
    columns: tileColumns,
    columnTile,
    subgroups: subgroups[0] * subgroups[1],
    lanes,
  });
  const piecesOfRow = blocks[1] / together;
  const pieces = Array.from({ length: blocks[0] * piecesOfRow }, (_, piece) => ({
    i: Math.floor(piece / piecesOfRow),
    first: (piece % piecesOfRow) * together,
  }));
  pieces.forEach(({ i, first }, piece) => {
    sums.forEach((ofProduct, p) =>
      ofProduct[i]?.slice(first, first + together).forEach((name, j) =>
        body.matrix({
          kind: 'spread',
          into: spreads[p] ?? '',
          at: indexText(add(own, constantIndex((j * unit.n) / width))),
          stride: unitsAcross,
          sums: name,
        }),
      ),
    );
    body.barrier();
    body.loop(
      'kept',
      constantIndex(slice),
      (each, at) => {
        const rowInBlock = each.named('row_in_block', divide(at, constantIndex(unitsAcross)));
        const unitInBlock = each.named('column_in_block', remainder(at, constantIndex(unitsAcross)));
        const rowAt = add(firstRow, scale(down, blocks[0] * unit.m), constantIndex(i * unit.m), rowInBlock);
        const unitInTile = add(
          scale(across, (blocks[1] * unit.n) / width),
          constantIndex((first * unit.n) / width),
          unitInBlock,
        );
        const columnAt = add(scale(columnTile, tileColumns / width), unitInTile);
        const rowOfResult = each.index(names.row, indexText(rowAt), m);
        const columnOfResult = each.index(names.column, indexText(columnAt), units);
        each.when(
          `${indexText(rowOfResult)} < ${indexText(m)} && ${indexText(columnOfResult)} < ${indexText(units)}`,
          (store) => {
            const values = spreads.map((spread) =>
              store.let('total', code(`${spread}[${indexText(add(own, at))}]`, type)),
            );
            const place = { batch, row: rowOfResult, unit: columnOfResult };
            const index = storeProducts(frame, store, group, place, values);
            strip?.keep(store, add(scale(down, unit.m), rowInBlock), unitInTile, index);
          },
        );
      },
      { from: indexVariable('lane', constantIndex(lanes)), step: lanes },
    );
    const isStrip = strip !== undefined && piece % piecesOfRow === piecesOfRow - 1;
    if (isStrip || piece < pieces.length - 1) body.barrier();
    if (!isStrip) return;
    strip.reduce(body, (row) =>
      add(
        firstRow,
        scale(divide(row, constantIndex(unit.m)), blocks[0] * unit.m),
        constantIndex(i * unit.m),
        remainder(row, constantIndex(unit.m)),
      ),
    );
  });
  return frame.finish(
    `contraction ${tileRows}×${tileColumns}${group.beside === undefined ? '' : ` of ${products.length} products`} by matrix units ${unit.m}×${unit.n}×${unit.k}${tile.inBlocks ? ', columns in blocks' : ''}${group.merges === true ? ', statistics of rows merged' : ''}${strip === undefined ? '' : ', statistics left'}${rangesText(group)}`,
    threads,
    [rowTiles, columnTiles, batches],
    { subgroups: true, matrices: true },
  );
}
