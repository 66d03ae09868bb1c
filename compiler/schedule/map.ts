// One thread per element, or per four neighbours along the last axis; several results on the same axes share it.
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import { constantIndex, divide, type Index } from '../index/index-math.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { canStoreVector, quad } from '../kernel/quad.ts';
import {
  count,
  elementAt,
  flatStem,
  Frame,
  isQuartered,
  namedAxes,
  takeApart,
  threadItems,
  type Context,
} from './frame.ts';

export const threads = 64;

export function scheduleMap(group: Group, context: Context): Kernel {
  const { roots } = group;
  const [root] = roots;
  if (root === undefined) throw new TypeError('a group without a root');
  const frame = new Frame(context, group);
  const { axes } = root.type;
  const last = axes.at(-1);
  const wide = isQuartered(last) && roots.every((each) => canStoreVector(context.target(each), takeApart(quad, axes)));
  const items: Index = wide ? divide(count(axes), constantIndex(4)) : count(axes);
  const { grid, item, test } = threadItems(
    frame.body,
    flatStem(axes, wide ? 4 : 1),
    items,
    threads,
    context.profile.maxGrid,
  );
  frame.body.when(test, (body) => {
    const width = wide ? 4 : 1;
    const index = namedAxes(body, elementAt(item, width), axes);
    const value = (each: Node) => frame.lowering.value(body, each, index, width);
    // Results that go over what was read are all there before the first is stored.
    const results = roots.length === 1 ? [value(root)] : roots.map((each) => body.let('result', value(each)));
    roots.forEach((each, i) => {
      const result = results[i];
      if (result !== undefined) frame.lowering.store(body, context.target(each), index, result, width);
    });
  });
  return frame.finish('map', threads, grid);
}
