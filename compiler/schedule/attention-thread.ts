// Attention as one streaming kernel without subgroups: a thread holds one query row and walks the keys. Neighbouring threads read the same
// keys at the same time, which a cache serves once.
import { code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { indexText } from '../index/index-text.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { count, flatStem, Frame, namedAxes, threadItems, type Context } from './frame.ts';
import { StreamingRow } from './streaming-softmax.ts';

const threads = 64;

export function scheduleAttentionThread(group: Extract<Group, { template: 'attention' }>, context: Context): Kernel {
  const frame = new Frame(context, group);
  const row = new StreamingRow(frame, group);
  const rowAxes = [...group.attention.batch, ...group.attention.rows];
  const { grid, item, test } = threadItems(
    frame.body,
    flatStem(rowAxes),
    count(rowAxes),
    threads,
    context.profile.maxGrid,
  );
  frame.body.when(test, (body) => {
    const index = namedAxes(body, item, rowAxes);
    const query = body.array('query', row.depthType, row.depthUnits.most);
    const result = body.array('result', row.widthType, row.widthUnits.most);
    row.loadQuery(body, index, query);
    const running = row.stream(body, index, query, result);
    const { total } = running;
    row.storeStatistics(body, index, running);
    body.loop(row.widthStem, row.widthUnits, (inside, d) =>
      row.store(inside, index, d, code(`${result}[${indexText(d)}] / ${total.text}`, row.widthType)),
    );
  });
  return frame.finish('attention, one row a thread', threads, grid);
}
