// Contraction by matrix units: a workgroup stages tiles of both operands in half precision, and each of its subgroups multiplies fragments of
// them into sums that stay in registers. While one step of the sum is multiplied the next comes into registers, and from there into the other
// copy of the tile: one barrier a step. Weights that lie block by block are not staged: their fragments come from memory as they lie.
import { code } from '../../dsl/wgsl.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, sharedBytes, type Block, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/element-format.ts';
import { choicesOf, type DeviceProfile, type MatrixUnit } from '../profile.ts';
import { indexOf, productOf, storeResult } from './contract.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';
import { matrixUnitOf } from './matrix-unit-of.ts';
import { stripBytes, stripOf } from './left-statistics.ts';
import { mergedBytes, mergeTileRows } from './merged-statistics.ts';
import { productKey, tileCost, tileOf, type TileSpace } from './tiles.ts';
import { fetch, fragmentOf, layOut, stage, stagedElements, turnsOf, type Side } from './staged-tile.ts';
import { columnBlocks, storedBlocks, storedFragment } from './stored-blocks.ts';

/** Steps of the sum in workgroup memory: one that is multiplied, one that is fetched. */
const steps = 2;

/** Loads of a thread for one step up to which they are in registers while the step before is multiplied; more would leave none for sums. */
const mostFetched = 16;

/** Columns of results that a subgroup writes at once: 64 bytes of half precision side by side, and little workgroup memory; fewer of many subgroups. */
const spreadColumns = 32;
const spreadOfAll = 128;

interface Tile {
  /** Subgroups of a workgroup, and squares of results of each, as long as the longer side of a block, along rows and columns. */
  readonly subgroups: readonly [down: number, across: number];
  readonly squares: readonly [rows: number, columns: number];
  /** Summed elements staged at once. */
  readonly depth: number;
  /** Columns are not staged: they lie in memory block by block. */
  readonly inBlocks: boolean;
}

type Shape = Pick<Tile, 'subgroups' | 'squares'>;

/** From the largest, which reads each operand least often, to the one that fills most workgroups. */
const tiles: readonly Shape[] = [
  { subgroups: [2, 2], squares: [4, 4] },
  { subgroups: [2, 2], squares: [2, 4] },
  { subgroups: [2, 2], squares: [2, 2] },
  { subgroups: [2, 2], squares: [1, 2] },
  { subgroups: [1, 4], squares: [1, 1] },
];

/** Blocks of a subgroup, along rows and along columns. */
function blocksOf({ squares }: Shape, { m, n }: MatrixUnit) {
  const side = Math.max(m, n);
  return [(squares[0] * side) / m, (squares[1] * side) / n] as const;
}

/** Rows or columns that a workgroup computes. */
function tileSides(shape: Shape, unit: MatrixUnit) {
  const [down, across] = blocksOf(shape, unit);
  return [shape.subgroups[0] * down * unit.m, shape.subgroups[1] * across * unit.n] as const;
}

/** Blocks side by side that a subgroup writes at once: as many as are a divisor of all of them. */
function spreadBlocks(shape: Shape, unit: MatrixUnit): number {
  const [, across] = blocksOf(shape, unit);
  const columns = Math.min(spreadColumns, spreadOfAll / (shape.subgroups[0] * shape.subgroups[1]));
  for (let blocks = Math.min(across, Math.max(1, Math.floor(columns / unit.n))); blocks > 1; blocks--)
    if (across % blocks === 0) return blocks;
  return 1;
}

/** Worth a measurement besides: as large, shared out among more subgroups, whose sums take fewer registers; and larger ones. */
const others: readonly Shape[] = [
  { subgroups: [2, 4], squares: [4, 2] },
  { subgroups: [4, 2], squares: [2, 4] },
  { subgroups: [4, 4], squares: [2, 2] },
  { subgroups: [2, 4], squares: [2, 2] },
  { subgroups: [2, 4], squares: [4, 4] },
  { subgroups: [4, 2], squares: [4, 4] },
];

type ProductGroup = Extract<Group, { template: 'contract' }>;

export function tilesOfMatrices(group: ProductGroup, unit: MatrixUnit, profile: DeviceProfile): TileSpace<Tile> {
  const product = productOf(group.contract);
  const { matrixBlocks, productWorkgroups } = choicesOf(profile);
  const [m, n] = [product.m.most, product.n.most];
  const depths = [32, 16].filter((depth) => depth % unit.k === 0);
  const isLegal = (tile: Tile): boolean => {
    const [rows, columns] = tileSides(tile, unit);
    const threads = tile.subgroups[0] * tile.subgroups[1] * (profile.subgroupSize ?? 1);
    return (
      bytesOf(tile, unit) + besidesBytes(tile, unit, group) <= profile.maxWorkgroupBytes &&
      threads <= profile.maxWorkgroupThreads &&
      Math.ceil(m / rows) <= profile.maxGrid &&
      Math.ceil(n / columns) <= profile.maxGrid
    );
  };
  const isStored = storedBlocks(product, unit, profile) !== undefined;
  const legalOf = (shapes: readonly Shape[]): readonly Tile[] =>
    shapes
      .flatMap((shape) =>
        depths.flatMap((depth): readonly Tile[] => {
          const tile = { ...shape, depth, inBlocks: false };
          return isStored && product.k.most % depth === 0 ? [{ ...tile, inBlocks: true }, tile] : [tile];
        }),
      )
      .filter(isLegal);
  const usualOnes = legalOf(tiles);
  const inBlocks = usualOnes.filter((tile) => tile.inBlocks);
  // As they lie where they can be, and of each tile the deepest that fits.
  const candidates = inBlocks.length > 0 ? inBlocks : usualOnes;
  const fitting = candidates
    .filter((tile, i) => candidates.findIndex(({ squares }) => squares === tile.squares) === i)
    .filter(({ squares }) => squares.every((count) => count <= matrixBlocks));
  const isBusy = (tile: Tile): boolean => {
    const [rows, columns] = tileSides(tile, unit);
    const [down, across] = [Math.ceil(m / rows), Math.ceil(n / columns)];
    const wasted = (down * rows * across * columns) / (m * n);
    return wasted <= 1.5 && down * across * count(product.batch).most >= productWorkgroups;
  };
  const usual = fitting.find(isBusy) ?? fitting.at(-1);
  if (usual === undefined)
    throw new OpabiniaError('no tile of matrix units fits the workgroup memory', { op: 'contract' });
  return {
    key: `${productKey('contraction by matrix units', product)} ${unit.m}×${unit.n}×${unit.k}${isStored ? ' in blocks' : ''}`,
    usual,
    legal: [...usualOnes, ...legalOf(others)],
    nameOf: ({ subgroups, squares, depth, inBlocks: asTheyLie }) =>
      `${subgroups.join('×')} of ${squares.join('×')}, ${depth} deep${asTheyLie ? ', columns in blocks' : ''}`,
    cost: (tile) => {
      const [rows, columns] = tileSides(tile, unit);
      const shape = { rows, columns, ownRows: tile.squares[0], ownColumns: tile.squares[1] };
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
  const { productWorkgroups } = choicesOf(profile);
  const tilesOf = (tile: Shape): number => {
    const [rows, columns] = tileSides(tile, unit);
    return Math.ceil(product.m.most / rows) * Math.ceil(product.n.most / columns) * count(product.batch).most;
  };
  const [, , middle, , smallest] = tiles;
  if (middle === undefined || smallest === undefined || tilesOf(smallest) >= productWorkgroups) return 1;
  const length = product.k.most;
  const most = Math.min(Math.ceil(productWorkgroups / tilesOf(middle)), Math.floor(length / leastPart));
  for (let parts = most; parts > 1; parts--)
    if (length % (parts * unit.k) === 0 && (length / parts) % 4 === 0) return parts;
  return 1;
}

/** Of workgroup memory, whichever way the operands are staged. */
function bytesOf(tile: Tile, unit: MatrixUnit): number {
  const { subgroups, depth, inBlocks } = tile;
  const [rows, columns] = tileSides(tile, unit);
  const staged = [rows, ...(inBlocks ? [] : [columns])].reduce((sum, side) => sum + stagedElements(side, depth), 0);
  const spread = subgroups[0] * subgroups[1] * unit.m * spreadBlocks(tile, unit) * unit.n;
  return sharedBytes([
    { name: '', type: 'f16', length: steps * staged },
    { name: '', type: 'f32', length: spread },
  ]);
}

/** And of that for what is merged of rows before, and for what is left of them. */
function besidesBytes(tile: Tile, unit: MatrixUnit, group: ProductGroup): number {
  const [rows, columns] = tileSides(tile, unit);
  const strip = stripBytes(group, tile.subgroups[0] * unit.m * columns);
  return strip + mergedBytes(productOf(group.contract), group, rows);
}

/**
 * Columns of a segment of a row that the kernel of a product leaves statistics of, in whichever tile: as many as the narrowest has. Undefined
 * where columns are not those of one axis of a fixed size, or workgroup memory may not do.
 */
export function segmentOf(contract: Node, profile: DeviceProfile): number | undefined {
  const unit = matrixUnitOf(contract.inputs, profile);
  const { columns } = productOf(contract);
  const [column, ...more] = columns;
  if (unit === undefined || column === undefined || more.length > 0 || typeof column.size !== 'number')
    return undefined;
  const sides = [...tiles, ...others].map((tile) => tileSides(tile, unit)[1]);
  const segment = Math.min(...sides);
  // Of single precision, by a product that keeps two statistics of each of its own rows.
  const fits = tiles.some((shape) => {
    const tile: Tile = { ...shape, depth: Math.max(16, unit.k), inBlocks: false };
    const [rows, width] = tileSides(tile, unit);
    const strip = 4 * tile.subgroups[0] * unit.m * width;
    return bytesOf(tile, unit) + strip + 8 * rows <= profile.maxWorkgroupBytes;
  });
  return fits && sides.every((side) => side % segment === 0) ? segment : undefined;
}

export function scheduleContractMatrix(group: ProductGroup, context: Context): Kernel {
  const { profile } = context;
  const product = productOf(group.contract);
  const unit = matrixUnitOf(group.contract.inputs, profile);
  const lanes = profile.subgroupSize;
  if (unit === undefined || lanes === undefined)
    throw new OpabiniaError('the device has no matrix units for this product', { op: 'contract' });
  const { a, b, m, n, k, names, width } = product;
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
  const stored = tile.inBlocks ? storedBlocks(product, unit, profile) : undefined;
  const stagedColumns = stored === undefined ? layOut(frame, group, 'staged_columns', columns, sum, steps) : undefined;
  const sums = Array.from({ length: blocks[0] }, () =>
    Array.from({ length: blocks[1] }, () => {
      const name = body.names.fresh('sums');
      body.matrix({ kind: 'sums', name, unit });
      return name;
    }),
  );

  const stepsOfSum = ceilDivide(k, depth);
  const sides = [
    [rows, stagedRows] as const,
    ...(stagedColumns === undefined ? [] : [[columns, stagedColumns] as const]),
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
      const ofRows = sums.map((_, i) =>
        fragmentOf(inside, 'rows', stagedRows, {
          ...from,
          other: add(scale(down, blocks[0] * unit.m), constantIndex(i * unit.m)),
        }),
      );
      const ofColumns = Array.from({ length: blocks[1] }, (_, j) => {
        const inTile = add(scale(across, blocks[1]), constantIndex(j));
        if (stagedColumns !== undefined)
          return fragmentOf(inside, 'columns', stagedColumns, { ...from, other: scale(inTile, unit.n) });
        if (stored === undefined) throw new TypeError('columns that neither lie in blocks nor are staged');
        const block = add(scale(indexVariable('group.y', columnTiles), tileColumns / unit.n), inTile);
        const last = constantIndex(columnBlocks(product, unit));
        const terms = add(scale(step, depth / unit.k), part);
        return storedFragment(frame, inside, product, stored, unit, { batch, columns: clamp(block, last), terms });
      });
      sums.forEach((row, i) =>
        row.forEach((into, j) =>
          inside.matrix({ kind: 'multiply', into, rows: ofRows[i] ?? '', columns: ofColumns[j] ?? '' }),
        ),
      );
    });
    if (isHeld) writes.forEach((write) => write(outer));
    outer.barrier();
  });

  // Fragments cannot be taken apart in registers: some of a row of them at a time go through workgroup memory, a slice for every subgroup.
  const type = typeOf('f32', width);
  const together = spreadBlocks(tile, unit);
  const unitsAcross = (together * unit.n) / width;
  const slice = unit.m * unitsAcross;
  const spread = frame.share('sums_of_subgroup', type, subgroups[0] * subgroups[1] * slice);
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
  const pieces = sums.flatMap((row, i) =>
    Array.from({ length: piecesOfRow }, (_, piece) => ({
      i,
      first: piece * together,
      names: row.slice(piece * together, (piece + 1) * together),
    })),
  );
  pieces.forEach(({ i, first, names: some }, piece) => {
    some.forEach((name, j) =>
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
            const value = store.let('total', code(`${spread}[${indexText(add(own, at))}]`, type));
            const index = indexOf(product, batch, rowOfResult, elementAt(columnOfResult, width), undefined, store);
            storeResult(frame, store, group, product, index, value);
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
    `contraction ${tileRows}×${tileColumns} by matrix units ${unit.m}×${unit.n}×${unit.k}${tile.inBlocks ? ', columns in blocks' : ''}${group.merges === true ? ', statistics of rows merged' : ''}${strip === undefined ? '' : ', statistics left'}`,
    threads,
    [rowTiles, columnTiles, batches],
    { subgroups: true, matrices: true },
  );
}
