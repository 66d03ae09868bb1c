// Tiles of a product by matrix units: which there are for a device and a product, which is taken, and what follows from all of them: parts of
// a sum, and segments of a row that statistics are left of.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import { sharedBytes } from '../kernel/kernel.ts';
import { choicesOf, type DeviceProfile, type MatrixUnit } from '../profile.ts';
import { productOf, productsOf, type Product } from './contract.ts';
import { count } from './frame.ts';
import { matrixUnitOf } from './matrix-unit-of.ts';
import { stripBytes } from './left-statistics.ts';
import { mergedBytes } from './merged-statistics.ts';
import { productKey, tileCost, type TileSpace } from './tiles.ts';
import { stagedElements } from './staged-tile.ts';
import { storedBlocks, type StoredBlocks } from './stored-blocks.ts';

/** Steps of the sum in workgroup memory: one that is multiplied, one that is fetched. */
export const steps = 2;

/** Columns of results that a subgroup writes at once: 64 bytes of half precision side by side, and little workgroup memory; fewer of many subgroups. */
const spreadColumns = 32;
const spreadOfAll = 128;

export interface Tile {
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
export function blocksOf({ squares }: Shape, { m, n }: MatrixUnit) {
  const side = Math.max(m, n);
  return [(squares[0] * side) / m, (squares[1] * side) / n] as const;
}

/** Rows or columns that a workgroup computes. */
export function tileSides(shape: Shape, unit: MatrixUnit) {
  const [down, across] = blocksOf(shape, unit);
  return [shape.subgroups[0] * down * unit.m, shape.subgroups[1] * across * unit.n] as const;
}

/** Blocks side by side that a subgroup writes at once: as many as are a divisor of all of them. */
export function spreadBlocks(shape: Shape, unit: MatrixUnit): number {
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

/** Shapes that leave a subgroup as many sums for several products as it has for one: fewer columns of each. */
function ofEach(shapes: readonly Shape[], products: number): readonly Shape[] {
  return shapes.map(({ subgroups, squares: [rows, columns] }) => ({
    subgroups,
    squares: [rows, Math.ceil(columns / products)],
  }));
}

/** Those of `tiles` for so many products; of several, one more that has room in the least workgroup memory that there is. */
function usualShapes(products: number): readonly Shape[] {
  return [...ofEach(tiles, products), ...(products === 1 ? [] : [{ subgroups: [1, 2], squares: [1, 1] } as const])];
}

/** How the columns of each product lie, where those of all are blocks in memory. */
export function blocksOfEach(
  products: readonly Product[],
  unit: MatrixUnit,
  profile: DeviceProfile,
): readonly StoredBlocks[] | undefined {
  const each = products.flatMap((product) => storedBlocks(product, unit, profile) ?? []);
  return each.length === products.length ? each : undefined;
}

export function tilesOfMatrices(group: ProductGroup, unit: MatrixUnit, profile: DeviceProfile): TileSpace<Tile> {
  const products = productsOf(group);
  const [product] = products;
  const { matrixBlocks, productWorkgroups } = choicesOf(profile);
  const [m, n] = [product.m.most, product.n.most];
  const depths = [32, 16].filter((depth) => depth % unit.k === 0);
  const isLegal = (tile: Tile): boolean => {
    const [rows, columns] = tileSides(tile, unit);
    const threads = tile.subgroups[0] * tile.subgroups[1] * (profile.subgroupSize ?? 1);
    return (
      bytesOf(tile, unit, products.length) + besidesBytes(tile, unit, group) <= profile.maxWorkgroupBytes &&
      threads <= profile.maxWorkgroupThreads &&
      Math.ceil(m / rows) <= profile.maxGrid &&
      Math.ceil(n / columns) <= profile.maxGrid
    );
  };
  const isStored = blocksOfEach(products, unit, profile) !== undefined;
  const legalOf = (shapes: readonly Shape[]): readonly Tile[] =>
    shapes
      .flatMap((shape) =>
        depths.flatMap((depth): readonly Tile[] => {
          const tile = { ...shape, depth, inBlocks: false };
          return isStored && product.k.most % depth === 0 ? [{ ...tile, inBlocks: true }, tile] : [tile];
        }),
      )
      .filter(isLegal);
  const usualOnes = legalOf(usualShapes(products.length));
  const inBlocks = usualOnes.filter((tile) => tile.inBlocks);
  // As they lie where they can be, and of each tile the deepest that fits.
  const candidates = inBlocks.length > 0 ? inBlocks : usualOnes;
  const fitting = candidates
    .filter((tile, i) => candidates.findIndex(({ squares }) => squares.join() === tile.squares.join()) === i)
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
    key: `${productKey(`contraction by matrix units${products.length === 1 ? '' : ` of ${products.length}`}`, product)} ${unit.m}×${unit.n}×${unit.k}${isStored ? ' in blocks' : ''}`,
    usual,
    legal: [...usualOnes, ...legalOf(ofEach(others, products.length))],
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
 * of equal lengths that vectors and blocks divide. 1 where it is left whole. `columns`: of the product, or of a slice of it.
 */
export function partsOfSum(contract: Node, unit: MatrixUnit, profile: DeviceProfile, columns?: number): number {
  const product = productOf(contract);
  const n = columns ?? product.n.most;
  const { productWorkgroups } = choicesOf(profile);
  const tilesOf = (tile: Shape): number => {
    const [rows, across] = tileSides(tile, unit);
    return Math.ceil(product.m.most / rows) * Math.ceil(n / across) * count(product.batch).most;
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
function bytesOf(tile: Tile, unit: MatrixUnit, products: number): number {
  const { subgroups, depth, inBlocks } = tile;
  const [rows, columns] = tileSides(tile, unit);
  const staged = stagedElements(rows, depth) + (inBlocks ? 0 : products * stagedElements(columns, depth));
  const spread = subgroups[0] * subgroups[1] * unit.m * spreadBlocks(tile, unit) * unit.n;
  return sharedBytes([
    { name: '', type: 'f16', length: steps * staged },
    { name: '', type: 'f32', length: products * spread },
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
    return bytesOf(tile, unit, 1) + strip + 8 * rows <= profile.maxWorkgroupBytes;
  });
  return fits && sides.every((side) => side % segment === 0) ? segment : undefined;
}

/** Whether workgroup memory has room for two products of the same rows, and for two statistics of each row. */
export function hasRoomForTwo(contract: Node, profile: DeviceProfile): boolean {
  const unit = matrixUnitOf(contract.inputs, profile);
  if (unit === undefined) return false;
  return usualShapes(2).some((shape) => {
    const tile: Tile = { ...shape, depth: Math.max(16, unit.k), inBlocks: false };
    return bytesOf(tile, unit, 2) + 8 * tileSides(tile, unit)[0] <= profile.maxWorkgroupBytes;
  });
}
