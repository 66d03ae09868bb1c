// Which template makes the kernel of a group: a table of named rows, the first that fits.
import { elementsOf } from '../../dsl/axis/axes.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { besidesOf, type Besides, type Group } from '../fuse/group.ts';
import { bindingsOf, sharedBytes, type Kernel } from '../kernel/kernel.ts';
import type { RowOperand } from '../match/row-statistics.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { attentionTile, scheduleAttentionMatrix } from './attention-matrix.ts';
import { attentionRowTiles } from './attention-row-tiles.ts';
import { scheduleAttentionSubgroup } from './attention-subgroup.ts';
import { scheduleAttentionThread } from './attention-thread.ts';
import { fitsRows, scheduleAttentionRows, scheduleAttentionWorkgroup } from './attention-workgroup.ts';
import { scheduleContractFewRows } from './contract-few-rows.ts';
import { productOf } from './contract.ts';
import { scheduleContractMatrix } from './contract-matrix.ts';
import { scheduleContractSubgroup, tilesBySubgroup } from './contract-subgroup.ts';
import { scheduleContractTile, tilesInWorkgroup } from './contract-tile.ts';
import { count, type Context } from './frame.ts';
import { scheduleMap } from './map.ts';
import {
  hasRoomForTwo,
  partsOfSum as partsByMatrices,
  segmentOf as segmentByMatrices,
  tilesOfMatrices,
} from './matrix-tiles.ts';
import { matrixUnitOf, withoutMatrixUnits } from './matrix-unit-of.ts';
import { scheduleRegionSubgroup } from './region-attention-subgroup.ts';
import { scheduleRegionWorkgroup } from './region-attention-workgroup.ts';
import { scheduleRows } from './rows.ts';
import { scheduleStreamingProduct } from './streaming-product.ts';
import { hasRowBlocks, isLongScatter, scheduleScatter, scheduleScatterBlocks, scheduleScatterRows } from './scatter.ts';
import { fitsWorkgroup, isMerged, scheduleCountingSort, scheduleSort } from './sort.ts';
import { scheduleMergeSort } from './merge-sort.ts';
import { tunable, type Tunable } from './tiles.ts';
import { scheduleSerialContract, scheduleSerialRows } from './serial.ts';

type GroupOf<T extends Group['template']> = Extract<Group, { template: T }>;

interface Template<T extends Group['template']> {
  readonly name: string;
  readonly when: string;
  readonly needsShuffles?: true;
  /** It can make what fits, and nothing else. */
  readonly needsMatrices?: true;
  /** What it can do besides its product. */
  readonly besides?: readonly Besides[];
  /** What it leaves open. */
  readonly tiles?: (group: GroupOf<T>, profile: DeviceProfile) => Tunable | undefined;
  fits(group: GroupOf<T>, profile: DeviceProfile): boolean;
  schedule(group: GroupOf<T>, context: Context): Kernel | readonly Kernel[];
}

type Templates = { readonly [T in Group['template']]: readonly Template<T>[] };

/** Lanes exchange values by shuffles where every subgroup has the same number of lanes and loads are what costs. */
const byShuffles = (profile: DeviceProfile): boolean => profile.software && profile.subgroupSize !== undefined;

/** A reduction of fewer elements than this is walked by one thread. */
const shortReduce = 16;

export const templates: Templates = {
  attention: [
    {
      name: 'attention by shuffles',
      needsShuffles: true,
      when: 'loads cost more than arithmetic',
      fits: (_, profile) => byShuffles(profile),
      tiles: attentionRowTiles,
      schedule: scheduleAttentionSubgroup,
    },
    {
      name: 'attention by workgroups',
      when: 'few rows to fill the device with, many keys to each',
      fits: (group, profile) => isDecode(group, profile),
      schedule: scheduleAttentionWorkgroup,
    },
    {
      name: 'attention by matrix units',
      needsMatrices: true,
      when: 'half precision, and a device with matrix units for it',
      fits: (group, profile) => typeof attentionTile(group, profile) !== 'string',
      schedule: scheduleAttentionMatrix,
    },
    {
      name: 'attention of four rows',
      when: 'rows enough, many keys to each, and workgroup memory for four of them',
      fits: (group, profile) => fitsRows(group, profile),
      schedule: scheduleAttentionRows,
    },
    { name: 'attention by threads', when: 'otherwise', fits: () => true, schedule: scheduleAttentionThread },
  ],
  region: [
    {
      name: 'region attention by shuffles',
      needsShuffles: true,
      when: 'loads cost more than arithmetic',
      fits: (_, profile) => byShuffles(profile),
      schedule: scheduleRegionSubgroup,
    },
    {
      name: 'region attention by workgroups',
      when: 'otherwise',
      fits: () => true,
      schedule: scheduleRegionWorkgroup,
    },
  ],
  contract: [
    {
      name: 'streaming product',
      when: 'one operand is computed where it is summed',
      fits: (group) => group.streams !== undefined,
      schedule: scheduleStreamingProduct,
    },
    {
      name: 'serial contraction',
      when: 'no tile to speak of: few rows and columns to a batch, or a short sum',
      fits: (group, profile) => isThin(group, profile),
      schedule: scheduleSerialContract,
    },
    {
      name: 'contraction by shuffles',
      needsShuffles: true,
      when: 'loads cost more than arithmetic',
      fits: (_, profile) => byShuffles(profile),
      tiles: ({ contract }, profile) => tunable(tilesBySubgroup(contract, profile)),
      schedule: scheduleContractSubgroup,
    },
    {
      name: 'contraction of few rows',
      besides: ['rows', 'beside', 'ranges'],
      when: 'the weights are read once, and that is all',
      fits: (group, profile) => isFewRows(group.contract, profile),
      schedule: scheduleContractFewRows,
    },
    {
      name: 'contraction by matrix units',
      needsMatrices: true,
      besides: ['merges', 'leaves', 'beside', 'ranges'],
      when: 'half precision on both sides, and a device with matrix units for it',
      fits: ({ contract }, profile) => withoutMatrixUnits(contract, profile) === undefined,
      tiles: (group, profile) => {
        const unit = matrixUnitOf(group.contract.inputs, profile);
        return unit === undefined ? undefined : tunable(tilesOfMatrices(group, unit, profile));
      },
      schedule: scheduleContractMatrix,
    },
    {
      name: 'contraction in workgroup memory',
      besides: ['rows', 'beside', 'ranges'],
      when: 'otherwise',
      fits: () => true,
      tiles: (group, profile) => tunable(tilesInWorkgroup(group, profile)),
      schedule: scheduleContractTile,
    },
  ],
  rows: [
    {
      name: 'serial rows',
      when: 'short reductions, or the contiguous axis is not reduced',
      fits: isShortOrStrided,
      schedule: scheduleSerialRows,
    },
    { name: 'rows', when: 'otherwise', fits: () => true, schedule: scheduleRows },
  ],
  scatter: [
    {
      name: 'scatter by blocks of rows',
      when: 'loads cost more than arithmetic: a thread looks for the positions of many rows at once',
      fits: ({ scatter }, profile) => byShuffles(profile) && hasRowBlocks(scatter),
      schedule: scheduleScatterBlocks,
    },
    {
      name: 'scatter by workgroups',
      when: 'a row is long: its workgroup looks for its terms together',
      fits: ({ scatter }) => isLongScatter(scatter),
      schedule: scheduleScatterRows,
    },
    { name: 'scatter', when: 'otherwise', fits: () => true, schedule: scheduleScatter },
  ],
  sort: [
    {
      name: 'sort in workgroup memory',
      when: 'the elements, or twice the ranks asked for, fit into it',
      fits: (group, profile) => fitsWorkgroup(group.sort, profile),
      schedule: scheduleSort,
    },
    {
      name: 'sort in merge passes',
      when: 'a row does not fit, and most of its ranks are asked for',
      fits: (group, profile) => isMerged(group.sort, profile),
      schedule: scheduleMergeSort,
    },
    { name: 'sort by counting', when: 'otherwise', fits: () => true, schedule: scheduleCountingSort },
  ],
  map: [{ name: 'map', when: 'always', fits: () => true, schedule: scheduleMap }],
};

/** So few rows that one thread a row would leave most of a GPU idle. */
function isDecode(group: GroupOf<'attention'>, profile: DeviceProfile): boolean {
  const { attention } = group;
  const rows = count([...attention.batch, ...attention.rows]).most;
  return rows <= choicesOf(profile).splitAttentionRows && count(attention.keys).most >= 128;
}

function isFewRows(contract: Node, profile: DeviceProfile): boolean {
  const { m, n } = productOf(contract);
  return m.most <= choicesOf(profile).splitProductRows && n.most >= 16;
}

/** The rows of a product whose sum is split over a workgroup; undefined for every other. */
export function splitRows(contract: Node, profile: DeviceProfile): RowOperand | undefined {
  return reducibleRows(contract, profile, isFewRows);
}

/**
 * The rows of a product whose workgroup can reduce them before it sums, and make other products of them; undefined for every other. Those in
 * workgroup memory read their rows once more for it, little beside arithmetic on as many columns; by matrix units that would be most of the time (`mergedRows`).
 */
export function reducedRows(contract: Node, profile: DeviceProfile): RowOperand | undefined {
  return reducibleRows(contract, profile, (node) => {
    if (isFewRows(node, profile)) return true;
    const isTile = withoutMatrixUnits(node, profile) !== undefined;
    return isTile && productOf(node).n.most >= choicesOf(profile).reducedRowsColumns;
  });
}

/**
 * The rows of a product by matrix units, whose kernel merges what others have left of them and normalises while it stages them: little
 * beside the arithmetic of as many columns, while to read them all once more would be most of the time.
 */
export function mergedRows(contract: Node, profile: DeviceProfile): RowOperand | undefined {
  return reducibleRows(contract, profile, (node) => {
    const isElsewhere = isFewRows(node, profile) || withoutMatrixUnits(node, profile) !== undefined;
    return !isElsewhere && productOf(node).n.most >= choicesOf(profile).reducedRowsColumns;
  });
}

/** The rows of a product whose kernel can make another one of them; undefined for every other. */
export function pairedRows(contract: Node, profile: DeviceProfile): RowOperand | undefined {
  return (
    reducedRows(contract, profile) ?? (hasRoomForTwo(contract, profile) ? mergedRows(contract, profile) : undefined)
  );
}

/** Columns of a segment that the kernel of a product leaves statistics of; undefined where it can leave none. */
export function segmentOf(contract: Node, profile: DeviceProfile): number | undefined {
  const isElsewhere = byShuffles(profile) || !isTiled(contract, profile) || isFewRows(contract, profile);
  return isElsewhere || withoutMatrixUnits(contract, profile) !== undefined
    ? undefined
    : segmentByMatrices(contract, profile);
}

/** Parts that the sum of a product, or of a slice of so many columns, is made in, side by side; 1 for one that is left whole. */
export function partsOfSum(contract: Node, profile: DeviceProfile, columns?: number): number {
  const unit = withoutMatrixUnits(contract, profile) === undefined ? matrixUnitOf(contract.inputs, profile) : undefined;
  const isElsewhere = unit === undefined || !isTiled(contract, profile) || isFewRows(contract, profile);
  return isElsewhere ? 1 : partsByMatrices(contract, unit, profile, columns);
}

function reducibleRows(
  contract: Node,
  profile: DeviceProfile,
  is: (contract: Node, profile: DeviceProfile) => boolean,
): RowOperand | undefined {
  if (contract.op.kind !== 'contract' || byShuffles(profile) || !isTiled(contract, profile)) return undefined;
  if (!is(contract, profile)) return undefined;
  const { a, sum } = productOf(contract);
  return { rows: a, sum: sum.map(({ name }) => name) };
}

function isThin(group: GroupOf<'contract'>, profile: DeviceProfile): boolean {
  const p = productOf(group.contract);
  const batches = count(p.batch).most;
  if (batches > profile.maxGrid) return true;
  if (p.k.most < 4) return true;
  return p.n.most < 4 || (p.m.most * p.n.most < 32 && batches > 8);
}

function isShortOrStrided(group: GroupOf<'rows'>): boolean {
  const x = group.reductions[0]?.inputs[0];
  const reduced = reducedAxes(group.reductions[0]);
  if (x === undefined) return true;
  const length = elementsOf(x.type.axes.filter((a) => reduced.includes(a.name)));
  const last = x.type.axes.at(-1);
  const rows = elementsOf(x.type.axes.filter((a) => !reduced.includes(a.name)));
  return (length < shortReduce && rows > 1) || (last !== undefined && !reduced.includes(last.name) && rows > 1);
}

/** True when a contraction will be made by a tiled template, so that a layout of its weights pays. */
export function isTiled(contract: Node, profile: DeviceProfile): boolean {
  return !isThin({ template: 'contract', contract, chain: [], nodes: new Set([contract]), roots: [contract] }, profile);
}

export interface Scheduled {
  readonly kernel: Kernel;
  readonly template: string;
}

/** The kernels of a group, in order: one, except where a long row is sorted in passes. */
export function schedule(group: Group, context: Context): readonly Scheduled[] {
  switch (group.template) {
    case 'attention':
      return pick(templates.attention, group, context);
    case 'region':
      return pick(templates.region, group, context);
    case 'contract':
      return pick(templates.contract, group, context);
    case 'rows':
      return pick(templates.rows, group, context);
    case 'scatter':
      return pick(templates.scatter, group, context);
    case 'sort':
      return pick(templates.sort, group, context);
    case 'map':
      return pick(templates.map, group, context);
    default:
      return group satisfies never;
  }
}

/** What the template that made a group's kernel leaves open; undefined where it leaves nothing. */
export function tunableOf(group: Group, template: string, profile: DeviceProfile): Tunable | undefined {
  switch (group.template) {
    case 'attention':
      return templates.attention.find((row) => row.name === template)?.tiles?.(group, profile);
    case 'contract':
      return templates.contract.find((row) => row.name === template)?.tiles?.(group, profile);
    default:
      return undefined;
  }
}

/** The first template that fits the group and whose kernel fits the device; when none does, any whose kernel does. */
function pick<T extends Group['template']>(
  rows: readonly Template<T>[],
  group: GroupOf<T>,
  context: Context,
): readonly Scheduled[] {
  const fitting = rows.filter((row) => row.fits(group, context.profile));
  const besides = besidesOf(group);
  let tight: Limit | undefined;
  for (const row of new Set([...fitting, ...rows])) {
    if (row.needsShuffles === true && !byShuffles(context.profile)) continue;
    if (row.needsMatrices === true && !fitting.includes(row)) continue;
    if (besides.some((one) => row.besides?.includes(one) !== true)) continue;
    for (const oneBindingEach of [false, true]) {
      const kernels = [row.schedule(group, { ...context, oneBindingEach })].flat();
      const over = kernels.map((kernel) => overLimit(kernel, context)).find((limit) => limit !== undefined);
      if (over === undefined) return kernels.map((kernel) => ({ kernel, template: row.name }));
      tight ??= over;
    }
  }
  const [root] = group.roots;
  throw new OpabiniaError(`a kernel needs ${tight?.needs ?? 'a template'}`, {
    op: root?.op.name,
    path: root?.origin.path,
    place: root?.origin.place,
    advice: tight === undefined ? largest : tight.advice,
  });
}

/** What a kernel needs and the device does not allow, and what helps, where anything does. */
interface Limit {
  readonly needs: string;
  readonly advice: string | undefined;
}

const largest = 'shrink the batch or the largest axis';

function overLimit(kernel: Kernel, { profile, hasSymbols }: Context): Limit | undefined {
  const { grid, threads, shared, slots } = kernel;
  const bindings = slots.reduce((sum, slot) => sum + bindingsOf(slot), hasSymbols ? 1 : 0);
  const [widest] = slots.toSorted((a, b) => bindingsOf(b) - bindingsOf(a));
  const parts = widest === undefined ? 0 : bindingsOf(widest);
  if (bindings > profile.maxBindings)
    return {
      needs: `${bindings} buffers, the device '${profile.name}' allows ${profile.maxBindings}${parts > 1 ? `: a tensor is bound in ${parts} parts of ${profile.maxBindingBytes} bytes, the most that it binds at once` : ''}`,
      advice:
        parts > 1 ? 'hold that tensor in f16 or quantized, shrink it, or take a device that binds more' : undefined,
    };
  const over = (needs: string): Limit => ({ needs, advice: largest });
  // Two writable bindings of one tensor overlap, which WebGPU refuses.
  const written = slots.filter((slot) => slot.write).map((slot) => slot.storage);
  if (new Set(written).size < written.length) return over('one tensor written through two bindings');
  if (grid.some((n) => n.most > profile.maxGrid))
    return over(
      `a grid of ${grid.map((n) => n.most).join('×')} workgroups, the device allows ${profile.maxGrid} along an axis`,
    );
  if (threads > profile.maxWorkgroupThreads)
    return over(`${threads} threads in a workgroup, the device allows ${profile.maxWorkgroupThreads}`);
  const bytes = sharedBytes(shared);
  return bytes > profile.maxWorkgroupBytes
    ? over(`${bytes} bytes of workgroup memory, the device allows ${profile.maxWorkgroupBytes}`)
    : undefined;
}
