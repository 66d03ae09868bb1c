// When a workgroup takes one row of attention, or four: a decode step, and rows where there are no matrix units.
import { innerAxes } from '../match/attention/attention.ts';
import { sharedBytes, type Kernel } from '../kernel/kernel.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { count, type Context } from './frame.ts';
import {
  mostLanes,
  RowsOfWorkgroup,
  unitsOf,
  upToPower,
  usualThreads,
  type AttentionGroup,
} from './rows-of-workgroup.ts';

import { lanesOf } from './workgroup-reduction.ts';

const mostThreads = 1024;

/** A row a workgroup. */
export function scheduleAttentionWorkgroup(group: AttentionGroup, context: Context): Kernel {
  return new RowsOfWorkgroup(group, context, 1, threadsOf(group, context.profile)).kernel();
}

/** Four rows a workgroup: keys and values are read once for them. */
export function scheduleAttentionRows(group: AttentionGroup, context: Context): Kernel {
  return new RowsOfWorkgroup(group, context, 4, usualThreads).kernel();
}

/**
 * Rows so few that each may have a core of the device for itself get as many threads as their keys are worth, where these need little workgroup
 * memory: what is on its way from memory is what a core waits for.
 */
function threadsOf({ attention }: AttentionGroup, profile: DeviceProfile): number {
  const { depth, width } = innerAxes(attention);
  const lanes = Math.min(mostLanes[1], upToPower(unitsOf(depth)));
  const rows = count([...attention.batch, ...attention.rows]).most;
  const keys = count(attention.keys).most;
  const fits = (threads: number): boolean => {
    const shared = [
      { name: '', type: 'vec4f', length: unitsOf(depth) + upToPower(threads / unitsOf(width)) * unitsOf(width) },
      { name: '', type: 'f32', length: 3 * threads },
    ] as const;
    return threads <= profile.maxWorkgroupThreads && sharedBytes(shared) <= profile.maxWorkgroupBytes;
  };
  let threads = usualThreads;
  if (lanesOf(profile, threads, lanes) === undefined || rows > choicesOf(profile).wideAttentionRows) return threads;
  while (threads < mostThreads && 2 * threads <= keys && fits(2 * threads)) threads *= 2;
  return threads;
}

/** Whether four rows are worth a workgroup, and fit into one. */
export function fitsRows({ attention }: AttentionGroup, profile: DeviceProfile): boolean {
  const { depth, width } = innerAxes(attention);
  const [deep, wide, threads] = [unitsOf(depth), unitsOf(width), usualThreads];
  if (wide > threads || threads > profile.maxWorkgroupThreads) return false;
  const bytes = sharedBytes([
    { name: '', type: 'vec4f', length: 4 * deep + (mostLanes[4] + 2) * threads },
    { name: '', type: 'vec4f', length: upToPower(threads / wide) * wide },
  ]);
  const { batch, rows, keys } = attention;
  return (
    bytes <= profile.maxWorkgroupBytes &&
    count(rows).most >= 4 &&
    count(keys).most >= threads / 2 &&
    Math.max(count(batch).most, Math.ceil(count(rows).most / 4)) <= profile.maxGrid
  );
}
