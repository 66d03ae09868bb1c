// One thread per element, or per four neighbours along the last axis.
import type { Group } from '../fuse/group.ts';
import { add, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { canStoreVector, quad } from '../kernel/lower.ts';
import { count, Frame, isQuartered, takeApart, threadItems, type Context } from './frame.ts';

export const threads = 64;

export function scheduleMap(group: Group, context: Context): Kernel {
  const [root] = group.roots;
  if (root === undefined) throw new TypeError('a group without a root');
  const frame = new Frame(context, group);
  const { axes } = root.type;
  const target = context.target(root);
  const last = axes.at(-1);
  const wide = isQuartered(last) && canStoreVector(target, takeApart(quad, axes));
  const items: Index = wide ? divide(count(axes), constantIndex(4)) : count(axes);
  const { grid, item, test } = threadItems(frame.body, items, threads, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const flat = wide ? add(scale(item, 4), quad) : item;
    const index = takeApart(flat, axes);
    const width = wide ? 4 : 1;
    frame.lowering.store(body, target, index, frame.lowering.value(body, root, index, width), width);
  });
  return frame.finish('map', threads, grid);
}
