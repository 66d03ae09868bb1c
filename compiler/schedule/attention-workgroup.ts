// Attention of few query rows over many keys (a decode step) on GPUs: one workgroup per row. Every thread streams its own keys with a
// running maximum and sum of its own; at the end the threads' results are merged in workgroup memory (Flash-Decoding, Dao et al. 2023).
import { code, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { constantIndex } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { count, flatStem, Frame, indexVariable, lineGrid, namedAxes, type Context } from './frame.ts';
import { StreamingRow } from './streaming-softmax.ts';

const threads = 64;

export function scheduleAttentionWorkgroup(group: Extract<Group, { template: 'attention' }>, context: Context): Kernel {
  const frame = new Frame(context, group);
  const row = new StreamingRow(frame, group);
  const { widthType, widthUnits } = row;
  const rowAxes = [...group.attention.batch, ...group.attention.rows];
  const rows = count(rowAxes);
  const line = lineGrid(rows, context.profile.maxGrid);
  const query = frame.share('query', row.depthType, row.depthUnits.most);
  const tops = frame.share('largest_of_each', 'f32', threads);
  const totals = frame.share('total_of_each', 'f32', threads);
  const outs = frame.share('result_of_each', widthType, threads);
  const item = frame.body.index(flatStem(rowAxes), line.item, rows);
  const own = (memory: string, type: Code['type'] = 'f32') => code(`${memory}[thread]`, type);

  frame.body.when(line.exact ? 'true' : `${indexText(item)} < ${indexText(rows)}`, (body) => {
    const index = namedAxes(body, item, rowAxes);
    const walk = { from: indexVariable('thread', constantIndex(threads)), step: threads };
    row.loadQuery(body, index, query, walk);
    body.barrier();
    const result = body.array('result', widthType, widthUnits.most);
    const { top, total } = row.stream(body, index, query, result, walk);

    // Merge: the largest maximum of all, then every thread's sum and result brought to it. A thread without keys has weight 0.
    body.assign(own(tops).text, top);
    body.barrier();
    const best = reduceShared(body, tops, 'f32', (x, y) => `max(${x}, ${y})`);
    const share = body.let('share', code(`select(exp(${top.text} - ${best}), 0.0f, ${total.text} == 0.0f)`, 'f32'));
    body.assign(own(totals).text, wgsl`(${total} * ${share})`);
    body.barrier();
    const sum = reduceShared(body, totals, 'f32', (x, y) => `${x} + ${y}`);
    body.when('thread == 0u', (store) =>
      row.storeStatistics(store, index, { top: code(best, 'f32'), total: code(sum, 'f32') }),
    );
    body.loop(row.widthStem, widthUnits, (each, d) => {
      each.assign(
        own(outs).text,
        wgsl`(${code(`${result}[${indexText(d)}]`, widthType)} * ${splat(share, widthType)})`,
      );
      each.barrier();
      const merged = reduceShared(each, outs, widthType, (x, y) => `${x} + ${y}`);
      each.when('thread == 0u', (store) => row.store(store, index, d, code(`${merged} / ${sum}`, widthType)));
      each.barrier();
    });
  });
  return frame.finish('attention, one row a workgroup', threads, line.grid);
}

/** Reductions workgroup memory to its first element by a tree and reads it. */
function reduceShared(
  body: Frame['body'],
  memory: string,
  type: Code['type'],
  combine: (x: string, y: string) => string,
): string {
  for (let half = threads / 2; half >= 1; half /= 2) {
    body.when(`thread < ${half}u`, (inside) =>
      inside.assign(`${memory}[thread]`, code(combine(`${memory}[thread]`, `${memory}[thread + ${half}u]`), type)),
    );
    body.barrier();
  }
  return body.let('reduced', code(`${memory}[0]`, type)).text;
}
