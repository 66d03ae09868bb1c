// How many rows a subgroup takes of an attention by shuffles.
import type { Group } from '../fuse/group.ts';
import { innerAxes } from '../match/attention/attention.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { count, isQuartered } from './frame.ts';
import { tunable, type TileSpace, type Tunable } from './tiles.ts';

export type AttentionGroup = Extract<Group, { template: 'attention' }>;

/**
 * Vectors of the result that a lane keeps, at most, and of an attention that is little work: keys and values are loaded once for all rows of a
 * tile, and the driver compiles a tile of many rows for a second. Attention of 577 tokens, 16 × 64: 31 ms by 8 rows, 25 by 16, 22 by 32.
 */
const mostVectors = 64;
const fewVectors = 24;
/** Operations below which it is little work, in multiples of what a kernel should have to be worth compiling well. */
const littleWork = 25;

/** Query and result of every row stay in registers: fewer rows for wide heads. */
export function tilesOfRows({ attention }: AttentionGroup, profile: DeviceProfile): TileSpace<number> {
  const lanes = profile.subgroupSize ?? 8;
  const { depth, width } = innerAxes(attention);
  const [rows, keys] = [count(attention.rows).most, count(attention.keys).most];
  const ends = [count([depth]).most, count([width]).most] as const;
  const steps = [depth, width].map((axis, i) => Math.ceil((ends[i] ?? 1) / ((isQuartered(axis) ? 4 : 1) * lanes)));
  const batches = count(attention.batch).most;
  const work = 2 * rows * keys * batches * (ends[0] + ends[1]);
  const most = (vectors: number): number => Math.max(1, Math.floor(vectors / Math.max(...steps, 1)));
  const legal = [32, 16, 8, 4, 2, 1].filter((tile) => tile <= most(mostVectors) && tile < 2 * rows);
  const usual = work < littleWork * choicesOf(profile).leastWork ? Math.min(8, most(fewVectors)) : Infinity;
  return {
    key: `attention by shuffles ${rows}×${keys} of ${batches} ${attention.query.type.dtype} ${ends.join('→')}`,
    usual: legal.find((tile) => tile <= usual) ?? 1,
    legal,
    nameOf: String,
    // Keys and values are loaded once for a tile.
    cost: (tile) => Math.ceil(rows / tile) * keys * batches * (tile + 4),
  };
}

export function attentionRowTiles(group: AttentionGroup, profile: DeviceProfile): Tunable {
  return tunable(tilesOfRows(group, profile));
}
