// Contraction by matrix units: a workgroup stages tiles of both operands in half precision, two steps of the sum at a time, and each of its
// subgroups multiplies fragments of them into sums that stay in registers. While one step is multiplied the next is fetched: one barrier a step.
import { code } from '../../dsl/wgsl.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import { add, constantIndex, divide, remainder, scale } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, sharedBytes, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/element-format.ts';
import { choicesOf, type DeviceProfile, type MatrixUnit } from '../profile.ts';
import { indexOf, productOf, storeResult } from './contract.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';
import { matrixUnitOf } from './matrix-unit-of.ts';
import { productKey, tileCost, tileOf, type TileSpace } from './tiles.ts';
import { fragmentOf, layOut, stage, stagedElements, type Side } from './staged-tile.ts';

/** Steps of the sum in workgroup memory: one that is multiplied, one that is fetched. */
const steps = 2;

interface Tile {
  /** Subgroups of a workgroup, and fragments of each, along rows and columns. */
  readonly subgroups: readonly [down: number, across: number];
  readonly blocks: readonly [rows: number, columns: number];
  /** Summed elements staged at once. */
  readonly depth: number;
}

/** From the largest, which reads each operand least often, to the one that fills most workgroups. */
const tiles: readonly Pick<Tile, 'subgroups' | 'blocks'>[] = [
  { subgroups: [2, 2], blocks: [4, 4] },
  { subgroups: [2, 2], blocks: [2, 4] },
  { subgroups: [2, 2], blocks: [2, 2] },
  { subgroups: [2, 2], blocks: [1, 2] },
  { subgroups: [1, 4], blocks: [1, 1] },
];

/** Rows or columns that a workgroup computes. */
function tileSides({ subgroups, blocks }: Pick<Tile, 'subgroups' | 'blocks'>, { m, n }: MatrixUnit) {
  return [subgroups[0] * blocks[0] * m, subgroups[1] * blocks[1] * n] as const;
}

export function tilesOfMatrices(contract: Node, unit: MatrixUnit, profile: DeviceProfile): TileSpace<Tile> {
  const product = productOf(contract);
  const { matrixBlocks, matrixWorkgroups } = choicesOf(profile);
  const [m, n] = [product.m.most, product.n.most];
  const depths = [32, 16].filter((depth) => depth % unit.k === 0);
  const staged = tiles
    .flatMap((tile) => depths.map((depth): Tile => ({ ...tile, depth })))
    .filter((tile) => bytesOf(tile, unit) <= profile.maxWorkgroupBytes);
  const legal = staged.filter((tile) => {
    const [rows, columns] = tileSides(tile, unit);
    return (
      tile.subgroups[0] * tile.subgroups[1] * (profile.subgroupSize ?? 1) <= profile.maxWorkgroupThreads &&
      Math.ceil(m / rows) <= profile.maxGrid &&
      Math.ceil(n / columns) <= profile.maxGrid
    );
  });
  // Of each tile the deepest that fits.
  const fitting = staged
    .filter((tile, i) => staged.findIndex(({ blocks }) => blocks === tile.blocks) === i)
    .filter(({ blocks }) => blocks.every((count) => count <= matrixBlocks));
  const isBusy = (tile: Tile): boolean => {
    const [rows, columns] = tileSides(tile, unit);
    const [down, across] = [Math.ceil(m / rows), Math.ceil(n / columns)];
    const wasted = (down * rows * across * columns) / (m * n);
    return wasted <= 1.5 && down * across * count(product.batch).most >= matrixWorkgroups;
  };
  const usual = fitting.find(isBusy) ?? fitting.at(-1);
  if (usual === undefined)
    throw new OpabiniaError('no tile of matrix units fits the workgroup memory', { op: 'contract' });
  return {
    key: `${productKey('contraction by matrix units', product)} ${unit.m}×${unit.n}×${unit.k}`,
    usual,
    legal,
    nameOf: ({ subgroups, blocks, depth }) => `${subgroups.join('×')} of ${blocks.join('×')}, ${depth} deep`,
    cost: (tile) => {
      const [rows, columns] = tileSides(tile, unit);
      const shape = { rows, columns, ownRows: tile.blocks[0], ownColumns: tile.blocks[1] };
      return tileCost(product, shape, profile) * (1 + 1 / tile.depth);
    },
  };
}

/** Terms of each part of a sum, at least: below, adding the parts up costs what their tiles gain. */
const leastPart = 256;

/**
 * Parts that the sum of a product is made in, where its smallest tiles do not fill the device: as many as make tiles of middle size do so,
 * of equal lengths that vectors and blocks divide. 1 where it is left whole.
 */
export function partsOfSum(contract: Node, unit: MatrixUnit, profile: DeviceProfile): number {
  const product = productOf(contract);
  const { matrixWorkgroups } = choicesOf(profile);
  const tilesOf = (tile: Pick<Tile, 'subgroups' | 'blocks'>): number => {
    const [rows, columns] = tileSides(tile, unit);
    return Math.ceil(product.m.most / rows) * Math.ceil(product.n.most / columns) * count(product.batch).most;
  };
  const [, , middle, , smallest] = tiles;
  if (middle === undefined || smallest === undefined || tilesOf(smallest) >= matrixWorkgroups) return 1;
  const length = product.k.most;
  const most = Math.min(Math.ceil(matrixWorkgroups / tilesOf(middle)), Math.floor(length / leastPart));
  for (let parts = most; parts > 1; parts--)
    if (length % (parts * unit.k) === 0 && (length / parts) % 4 === 0) return parts;
  return 1;
}

/** Of workgroup memory, whichever way the operands are staged. */
function bytesOf({ subgroups, blocks, depth }: Tile, unit: MatrixUnit): number {
  const staged = tileSides({ subgroups, blocks }, unit).reduce((sum, side) => sum + stagedElements(side, depth), 0);
  const spread = subgroups[0] * subgroups[1] * unit.m * blocks[1] * unit.n;
  return sharedBytes([
    { name: '', type: 'f16', length: steps * staged },
    { name: '', type: 'f32', length: spread },
  ]);
}

export function scheduleContractMatrix(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const { profile } = context;
  const product = productOf(group.contract);
  const unit = matrixUnitOf(group.contract.inputs, profile);
  const lanes = profile.subgroupSize;
  if (unit === undefined || lanes === undefined)
    throw new OpabiniaError('the device has no matrix units for this product', { op: 'contract' });
  const { a, b, m, n, k, names, width } = product;
  const tile = tileOf(tilesOfMatrices(group.contract, unit, profile), profile);
  const { subgroups, blocks, depth } = tile;
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
  const rows: Side = {
    node: a,
    axes: product.rows,
    size: m,
    tile: tileRows,
    first: firstRow,
    at: (row, place) => indexOf(product, batch, row, undefined, place),
  };
  const columns: Side = {
    node: b,
    axes: product.columns,
    size: n,
    tile: tileColumns,
    first: scale(indexVariable('group.y', columnTiles), tileColumns),
    at: (column, place) => indexOf(product, batch, constantIndex(0), column, place),
  };
  const sum = { axes: product.sum, size: k, staged: depth };
  const stagedRows = layOut(frame, group, 'staged_rows', rows, sum, steps);
  const stagedColumns = layOut(frame, group, 'staged_columns', columns, sum, steps);
  const sums = Array.from({ length: blocks[0] }, () =>
    Array.from({ length: blocks[1] }, () => {
      const name = body.names.fresh('sums');
      body.matrix({ kind: 'sums', name, unit });
      return name;
    }),
  );

  const stepsOfSum = ceilDivide(k, depth);
  body.loop(`${names.sum}_step`, add(stepsOfSum, constantIndex(1)), (outer, step) => {
    outer.when(`${indexText(step)} < ${indexText(stepsOfSum)}`, (fetch) => {
      const now = { sum, start: scale(step, depth), copy: remainder(step, constantIndex(steps)), threads };
      stage(frame, fetch, rows, stagedRows, now);
      stage(frame, fetch, columns, stagedColumns, now);
    });
    outer.when(`${indexText(step)} > 0u`, (multiply) => {
      const copy = remainder(add(step, constantIndex(1)), constantIndex(steps));
      multiply.loop(`${names.sum}_in_step`, constantIndex(depth / unit.k), (inside, part) => {
        const from = { unit, copy, place: scale(part, unit.k) };
        const ofRows = sums.map((_, i) =>
          fragmentOf(inside, 'rows', stagedRows, {
            ...from,
            other: add(scale(down, blocks[0] * unit.m), constantIndex(i * unit.m)),
          }),
        );
        const ofColumns = Array.from({ length: blocks[1] }, (_, j) =>
          fragmentOf(inside, 'columns', stagedColumns, {
            ...from,
            other: add(scale(across, blocks[1] * unit.n), constantIndex(j * unit.n)),
          }),
        );
        sums.forEach((row, i) =>
          row.forEach((into, j) =>
            inside.matrix({ kind: 'multiply', into, rows: ofRows[i] ?? '', columns: ofColumns[j] ?? '' }),
          ),
        );
      });
    });
    outer.barrier();
  });

  // Fragments cannot be taken apart in registers: each row of them goes through workgroup memory, a slice for every subgroup.
  const type = typeOf('f32', width);
  const unitsAcross = (blocks[1] * unit.n) / width;
  const slice = unit.m * unitsAcross;
  const spread = frame.share('sums_of_subgroup', type, subgroups[0] * subgroups[1] * slice);
  const own = scale(subgroup, slice);
  const units = divide(n, constantIndex(width));
  sums.forEach((row, i) => {
    row.forEach((name, j) =>
      body.matrix({
        kind: 'spread',
        into: spread,
        at: indexText(add(own, constantIndex((j * unit.n) / width))),
        stride: unitsAcross,
        sums: name,
      }),
    );
    body.barrier();
    body.loop(
      'kept',
      constantIndex(slice),
      (each, at) => {
        const rowInBlock = each.named('row_in_block', divide(at, constantIndex(unitsAcross)));
        const unitInBlock = each.named('column_in_block', remainder(at, constantIndex(unitsAcross)));
        const rowAt = add(firstRow, scale(down, blocks[0] * unit.m), constantIndex(i * unit.m), rowInBlock);
        const columnAt = add(
          scale(indexVariable('group.y', columnTiles), tileColumns / width),
          scale(across, unitsAcross),
          unitInBlock,
        );
        const rowOfResult = each.index(names.row, indexText(rowAt), m);
        const columnOfResult = each.index(names.column, indexText(columnAt), units);
        each.when(
          `${indexText(rowOfResult)} < ${indexText(m)} && ${indexText(columnOfResult)} < ${indexText(units)}`,
          (store) => {
            const value = store.let('total', code(`${spread}[${indexText(add(own, at))}]`, type));
            const index = indexOf(product, batch, rowOfResult, elementAt(columnOfResult, width), undefined, store);
            storeResult(frame, store, group, product, index, value);
          },
        );
      },
      { from: indexVariable('lane', constantIndex(lanes)), step: lanes },
    );
    if (i < sums.length - 1) body.barrier();
  });
  return frame.finish(
    `contraction ${tileRows}×${tileColumns} by matrix units ${unit.m}×${unit.n}×${unit.k}`,
    threads,
    [rowTiles, columnTiles, batches],
    { subgroups: true, matrices: true },
  );
}
