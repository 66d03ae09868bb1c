// Attention of few query rows over many keys (a decode step) on GPUs: one workgroup per row, whose threads walk the keys together, a tile of
// them at a time. Scores are made by some neighbouring threads to a key, which read it side by side; a thread to a key then weighs it, against a
// running maximum of the whole row (online softmax: Milakov and Gimelshein 2018); and a thread to each part of the result, or several that share
// the keys, adds up the values, again side by side.
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { innerAxes } from '../match/attention.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { count, flatStem, Frame, indexVariable, lineGrid, namedAxes, type Context } from './frame.ts';
import { lowest, StreamingRow } from './streaming-softmax.ts';

/** Of a workgroup, and keys of a tile: each is weighed by one. */
const threads = 256;
/** Threads that make one score, at most: with vectors of half precision they read 64 bytes side by side. */
const mostLanes = 8;
/** Keys that a thread reads, or values, before it uses any. */
const together = 4;

const upToPower = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)));

export function scheduleAttentionWorkgroup(group: Extract<Group, { template: 'attention' }>, context: Context): Kernel {
  const frame = new Frame(context, group);
  const row = new StreamingRow(frame, group);
  const { attention } = group;
  const { widthType, depthUnits, widthUnits } = row;
  const { key: keyAxis } = innerAxes(attention);
  const rowAxes = [...attention.batch, ...attention.rows];
  const rows = count(rowAxes);
  const keyCount = count([keyAxis]);
  const line = lineGrid(rows, context.profile.maxGrid);
  const lanes = Math.min(mostLanes, upToPower(depthUnits.most));
  const keysAtOnce = threads / lanes;
  const keysTogether = Math.min(together, lanes);
  /** Parts of the result that a thread has, and threads that share one. */
  const held = Math.ceil(widthUnits.most / threads);
  const sharing = held > 1 ? 1 : upToPower(threads / Math.max(1, widthUnits.most));
  const query = frame.share('query', row.depthType, depthUnits.most);
  const partial = frame.share('part_of_score', 'f32', lanes * threads);
  const weights = frame.share('weight_of_key', 'f32', threads);
  const scratch = frame.share('of_each', 'f32', threads);
  const outs = sharing > 1 ? frame.share('result_of_each', widthType, sharing * widthUnits.most) : '';
  const item = frame.body.index(flatStem(rowAxes), line.item, rows);
  const thread = indexVariable('thread', constantIndex(threads));

  frame.body.when(line.exact ? 'true' : `${indexText(item)} < ${indexText(rows)}`, (body) => {
    const index = namedAxes(body, item, rowAxes);
    row.loadQuery(body, index, query, { from: thread, step: threads });
    const lane = body.named('lane_of_key', remainder(thread, constantIndex(lanes)));
    const slot = body.named('key_of_lanes', divide(thread, constantIndex(lanes)));
    const unit = held > 1 ? thread : body.named('unit', remainder(thread, widthUnits));
    const part = held > 1 ? constantIndex(0) : body.named('part', divide(thread, widthUnits));
    const result =
      held > 1 ? body.array('result', widthType, held) : body.var('result', splat(literal(0, 'f32'), widthType)).text;
    const resultOf = (e: Index): Code => code(held > 1 ? `${result}[${indexText(e)}]` : result, widthType);
    /** The parts of the result that are this thread's. */
    const eachHeld = (block: Block, write: (inside: Block, own: Code, d: Index) => void): void => {
      if (held === 1) {
        const all = sharing * widthUnits.most === threads;
        block.when(all ? 'true' : `${indexText(thread)} < ${sharing * widthUnits.most}u`, (inside) =>
          write(inside, resultOf(constantIndex(0)), unit),
        );
        return;
      }
      block.loop('held', constantIndex(held), (each, e) => {
        const d = each.named('unit', add(scale(e, threads), thread));
        each.when(`${indexText(d)} < ${indexText(widthUnits)}`, (inside) =>
          write(inside, resultOf(e), clamp(d, widthUnits)),
        );
      });
    };
    if (held > 1)
      body.loop('held', constantIndex(held), (inside, e) =>
        inside.assign(resultOf(e).text, splat(literal(0, 'f32'), widthType)),
      );
    const top = body.var('largest', lowest);
    const total = body.var('total', literal(0, 'f32'));
    const end = row.end(body, index);
    body.barrier();

    body.loop(
      `${axisStem(keyAxis.name)}_tile`,
      ceilDivide(keyCount, threads),
      (tile, t) => {
        const start = scale(t, threads);
        const left = tile.let('left', code(`min(${end} - ${indexText(start)}, ${threads}u)`, 'u32')).text;
        const keyAt = (inTile: Index): Map<string, Index> =>
          new Map(index).set(keyAxis.name, clamp(add(start, inTile), keyCount));
        // Loops over a tile are as long for all threads: what lies behind its last key is read from there, and weighs nothing.
        tile.loop(
          'some_keys',
          constantIndex(threads / keysAtOnce),
          (inside, turn) => {
            const own = Array.from({ length: keysTogether }, (_, e) =>
              add(scale(add(turn, constantIndex(e)), keysAtOnce), slot),
            );
            const scores = own.map(() => inside.var('score', literal(0, 'f32')));
            const unitsEach = Math.ceil(depthUnits.most / lanes);
            inside.loop('depth_turn', constantIndex(unitsEach), (deep, step) => {
              const d = add(scale(step, lanes), lane);
              const isWhole = depthUnits.most % lanes === 0;
              const safe = isWhole ? d : clamp(d, depthUnits);
              const units = own.map((key) => row.keyUnit(deep, keyAt(key), safe));
              deep.when(isWhole ? 'true' : `${indexText(d)} < ${indexText(depthUnits)}`, (sum) =>
                units.forEach((k, e) => {
                  const score = scores[e];
                  if (score !== undefined) sum.assign(score.text, row.withUnit(score, query, safe, k));
                }),
              );
            });
            own.forEach((key, e) =>
              inside.assign(`${partial}[${indexText(add(scale(lane, threads), key))}]`, scores[e] ?? literal(0, 'f32')),
            );
          },
          { step: keysTogether, endText: `((${left} + ${keysAtOnce - 1}u) / ${keysAtOnce}u)` },
        );
        tile.barrier();

        const parts = Array.from(
          { length: lanes },
          (_, l) => `${partial}[${indexText(add(thread, constantIndex(l * threads)))}]`,
        );
        const score = tile.let('score', code(parts.join(' + '), 'f32'));
        frame.lowering.held.set(attention.scores, () => score);
        const isKey = `${indexText(thread)} < ${left}`;
        const logit = frame.lowering.value(tile, attention.logits, keyAt(thread), 1);
        const own = tile.let('logit', code(`select(${lowest.text}, ${logit.text}, ${isKey})`, 'f32', logit.needs));
        const best = reduceShared(tile, own, (x, y) => `max(${x}, ${y})`);
        const next = tile.let('next', code(`max(${top.text}, ${best})`, 'f32'));
        const decay = tile.let('decay', code(`exp(${top.text} - ${next.text})`, 'f32'));
        const weight = tile.let('weight', code(`select(0.0f, exp(${own.text} - ${next.text}), ${isKey})`, 'f32'));
        tile.assign(top.text, next);
        tile.assign(total.text, wgsl`fma(${total}, ${decay}, ${weight})`);
        tile.assign(`${weights}[thread]`, weight);
        tile.barrier();

        eachHeld(tile, (mine, sum, d) => {
          mine.assign(sum.text, wgsl`(${sum} * ${splat(decay, widthType)})`);
          const many = Math.min(together, threads / sharing);
          mine.loop(
            'value_turn',
            constantIndex(threads / sharing),
            (inside, turn) => {
              const keys = Array.from({ length: many }, (_, e) =>
                add(scale(add(turn, constantIndex(e)), sharing), part),
              );
              const values = keys.map((key) => row.valueUnit(inside, keyAt(key), d));
              keys.forEach((key, e) => {
                const value = values[e];
                if (value === undefined) return;
                const own = splat(code(`${weights}[${indexText(key)}]`, 'f32'), widthType);
                inside.assign(sum.text, wgsl`fma(${own}, ${value}, ${sum})`);
              });
            },
            { step: many, endText: `((${left} + ${sharing - 1}u) / ${sharing}u)` },
          );
        });
        tile.barrier();
      },
      { endText: `((${end} + ${threads - 1}u) / ${threads}u)` },
    );

    const sum = reduceShared(body, total, (x, y) => `${x} + ${y}`);
    body.when('thread == 0u', (store) => row.storeStatistics(store, index, { top, total: code(sum, 'f32') }));
    if (sharing > 1) {
      const at = (beyond: number): string => `${outs}[${indexText(add(thread, constantIndex(beyond)))}]`;
      const units = widthUnits.most;
      eachHeld(body, (inside, own) => inside.assign(at(0), own));
      body.barrier();
      for (let half = sharing / 2; half >= 1; half /= 2) {
        body.when(`thread < ${half * units}u`, (inside) =>
          inside.assign(at(0), code(`${at(0)} + ${at(half * units)}`, widthType)),
        );
        body.barrier();
      }
      body.when(`thread < ${units}u`, (store) =>
        row.store(store, index, clamp(thread, widthUnits), code(`${at(0)} / ${sum}`, widthType)),
      );
    } else eachHeld(body, (store, own, d) => row.store(store, index, d, code(`${own.text} / ${sum}`, widthType)));
  });
  return frame.finish('attention, one row a workgroup', threads, line.grid);

  /** One value of all that the threads have, by a tree. */
  function reduceShared(block: Block, own: Code, combine: (x: string, y: string) => string): string {
    block.assign(`${scratch}[thread]`, own);
    block.barrier();
    for (let half = threads / 2; half >= 1; half /= 2) {
      block.when(`thread < ${half}u`, (inside) =>
        inside.assign(
          `${scratch}[thread]`,
          code(combine(`${scratch}[thread]`, `${scratch}[thread + ${half}u]`), 'f32'),
        ),
      );
      block.barrier();
    }
    return block.let('reduced', code(`${scratch}[0]`, 'f32')).text;
  }
}
