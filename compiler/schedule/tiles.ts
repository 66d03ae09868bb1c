// The tile of a template: the usual one, or one of the others that are legal, where it was measured to be faster. Whichever it is, sums are
// made in one order, so that results have the same bits.
import type { TensorType } from '../../dsl/graph/op.ts';
import type { DeviceProfile } from '../profile.ts';
import type { Product } from './contract.ts';
import { count } from './frame.ts';

/** What a template leaves open for one kernel. */
export interface TileSpace<T> {
  /** What the kernel computes, as far as its speed depends on it. */
  readonly key: string;
  /** Taken where nothing was measured. */
  readonly usual: T;
  /** Those that the device's limits allow. */
  readonly legal: readonly T[];
  readonly nameOf: (tile: T) => string;
  readonly cost: (tile: T) => number;
}

/** The same for whoever measures. */
export interface Tunable {
  readonly key: string;
  readonly usual: string;
  /** The other tiles, those first that the cost model likes best. */
  readonly others: readonly string[];
}

/** A name that is none of a legal tile's counts for nothing: templates change, and what was measured stays. */
export function tileOf<T>({ key, usual, legal, nameOf }: TileSpace<T>, { tiles }: DeviceProfile): T {
  const wanted = tiles !== undefined && Object.hasOwn(tiles, key) ? tiles[key] : undefined;
  return wanted === undefined ? usual : (legal.find((tile) => nameOf(tile) === wanted) ?? usual);
}

export function tunable<T>({ key, usual, legal, nameOf, cost }: TileSpace<T>): Tunable {
  const own = nameOf(usual);
  return {
    key,
    usual: own,
    others: legal
      .filter((tile) => nameOf(tile) !== own)
      .toSorted((a, b) => cost(a) - cost(b))
      .map(nameOf),
  };
}

/** Sizes, dtypes and the order of axes of a product: `contraction by shuffles 577×1024×4096 f32 mk f32 kn`. */
export function productKey(template: string, product: Product): string {
  const { a, b, m, n, k, batch, rows, columns, sum } = product;
  const sizes = [m, n, k].map((size) => size.most).join('×');
  const batches = count(batch).most;
  const layout = ({ axes, dtype }: TensorType): string => {
    const roleOf = (name: string): string =>
      (
        [
          ['b', batch],
          ['m', rows],
          ['n', columns],
          ['k', sum],
        ] as const
      ).find(([, own]) => own.some((axis) => axis.name === name))?.[0] ?? '';
    return `${dtype} ${axes.map((axis) => roleOf(axis.name)).join('')}`;
  };
  return `${template} ${sizes}${batches === 1 ? '' : ` of ${batches}`} ${layout(a.type)} ${layout(b.type)}`;
}

/** What a tile of a product is, as far as the cost model asks. */
export interface TileShape {
  /** Results of a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Results of one thread: rows, and loads of columns (vectors). */
  readonly ownRows: number;
  readonly ownColumns: number;
}

/** What a load costs beside a multiply-add, from where a thread's operands are (a software device is bound by loads), and from memory. */
const loadCost = { software: 4, hardware: 2 };
const memoryCost = 8;
/** Workgroups that keep a device busy; fewer leave a part of it idle. */
const busyWorkgroups = { software: 8, hardware: 96 };
/** How much faster than memory the caches give what neighbouring workgroups read again. */
const cacheGain = 8;

/** Seconds, good enough to say which tiles are worth a measurement: padding, loads beside arithmetic, idle cores, operands read again. */
export function tileCost(product: Product, tile: TileShape, profile: DeviceProfile): number {
  const kind = profile.software ? 'software' : 'hardware';
  const [m, n, k] = [product.m.most, product.n.most, product.k.most];
  const batches = count(product.batch).most;
  const [down, across] = [Math.ceil(m / tile.rows), Math.ceil(n / tile.columns)];
  const padded = down * tile.rows * across * tile.columns * k * batches;
  const each =
    1 + loadCost[kind] * (1 / tile.ownRows + 1 / tile.ownColumns) + memoryCost * (1 / tile.rows + 1 / tile.columns);
  const idle = Math.max(1, busyWorkgroups[kind] / (down * across * batches));
  const arithmetic = ((2 * padded) / profile.flopsPerSecond) * each * idle;
  const read = 4 * batches * (m * k * across + n * k * down);
  return Math.max(arithmetic, read / (profile.bytesPerSecond * cacheGain));
}
