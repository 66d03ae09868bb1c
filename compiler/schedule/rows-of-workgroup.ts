// Attention on GPUs without matrix units: a workgroup takes one query row (a decode step) or four of them, and its threads walk the keys
// together, a tile of them at a time. Scores are made by some neighbouring threads to a key, which read it side by side; a thread to a key then
// weighs it, against a running maximum of the whole row (online softmax: Milakov and Gimelshein 2018); and a thread to each part of the result,
// or several that share the keys, adds up the values, again side by side. What is kept for each key is a number, or a vector of one for each row.
// What threads have to tell one another goes through workgroup memory, or by shuffles as far as a subgroup's lanes are a number that is known.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { sum as sumOf } from '../../dsl/ops/reduce.ts';
import { code, isVector, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { innerAxes } from '../match/attention/attention.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { typeOf } from '../kernel/element-format.ts';
import type { IndexMap } from '../kernel/storage.ts';
import {
  count,
  flatStem,
  Frame,
  indexVariable,
  isQuartered,
  lineGrid,
  namedAxes,
  reduceLanes,
  takeApart,
  type Context,
} from './frame.ts';
import { largest, lowest, StreamingRow } from './streaming-softmax.ts';
import { lanesOf, reduceThreads } from './workgroup-reduction.ts';
import { tileEnd } from './tile-end.ts';

export type AttentionGroup = Extract<Group, { template: 'attention' }>;

/** Of a workgroup, and keys of a tile: each is weighed by one. */
export const usualThreads = 256;
/** Threads that make one score, at most: vectors of half precision, or half as many of whole, are 64 bytes side by side. */
export const mostLanes = { 1: 8, 4: 4 } as const;
/** Keys that a thread reads, or values, before it uses any, and loads of them that are written out one after the other. */
const keysTogether = 4;
const valuesTogether = { 1: 8, 4: 4 } as const;
const mostLoads = 16;

export const upToPower = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)));

export function unitsOf(axis: Axis): number {
  return count([axis]).most / (isQuartered(axis) ? 4 : 1);
}

export class RowsOfWorkgroup {
  readonly #group: AttentionGroup;
  readonly #frame: Frame;
  readonly #row: StreamingRow;
  readonly #rows: 1 | 4;
  /** What is kept of a key: a number for each row. */
  readonly #perKey: Code['type'];
  readonly #threads: number;
  /** Threads that make one score. */
  readonly #lanes: number;
  /** Lanes of a subgroup, where they exchange values by shuffles. */
  readonly #shuffles: number | undefined;
  readonly #scratch: string;

  constructor(group: AttentionGroup, context: Context, rows: 1 | 4, threads: number) {
    this.#group = group;
    this.#frame = new Frame(context, group);
    this.#row = new StreamingRow(this.#frame, group);
    this.#rows = rows;
    this.#perKey = typeOf('f32', rows);
    this.#threads = threads;
    this.#lanes = Math.min(mostLanes[rows], upToPower(this.#row.depthUnits.most));
    this.#shuffles = lanesOf(context.profile, threads, this.#lanes);
    this.#scratch = this.#frame.share('of_each', this.#perKey, threads);
  }

  kernel(): Kernel {
    const frame = this.#frame;
    const { attention } = this.#group;
    const { maxGrid } = frame.context.profile;
    if (this.#rows === 1) {
      const rowAxes = [...attention.batch, ...attention.rows];
      const line = lineGrid(count(rowAxes), maxGrid);
      const item = frame.body.index(flatStem(rowAxes), line.item, count(rowAxes));
      frame.body.when(line.exact ? 'true' : `${indexText(item)} < ${indexText(count(rowAxes))}`, (body) => {
        const index = namedAxes(body, item, rowAxes);
        this.#attend(body, [{ index, test: 'true' }], (inside) => this.#row.end(inside, index));
      });
      return this.#finish('attention, one row a workgroup', line.grid);
    }
    const m = count(attention.rows);
    const rowTiles = ceilDivide(m, this.#rows);
    const batches = count(attention.batch);
    const { body } = frame;
    const batch = namedAxes(body, body.index(flatStem(attention.batch), 'group.y', batches), attention.batch);
    const firstRow = scale(indexVariable('group.x', rowTiles), this.#rows);
    const rows = Array.from({ length: this.#rows }, (_, i) => {
      const at = add(firstRow, constantIndex(i));
      return {
        index: new Map([...batch, ...takeApart(clamp(at, m), attention.rows)]),
        test: at.most < m.least ? 'true' : `${indexText(at)} < ${indexText(m)}`,
      };
    });
    const keyCount = count([innerAxes(attention).key]);
    this.#attend(body, rows, (inside) =>
      tileEnd(inside, this.#group, { batch, firstRow, tile: this.#rows, keyCount, m }),
    );
    return this.#finish('attention, four rows a workgroup', [rowTiles, batches, constantIndex(1)]);
  }

  #finish(template: string, grid: Kernel['grid']): Kernel {
    return this.#frame.finish(template, this.#threads, grid, { subgroups: this.#shuffles !== undefined });
  }

  #attend(
    body: Block,
    rows: readonly { readonly index: IndexMap; readonly test: string }[],
    endOf: (body: Block) => string,
  ): void {
    const { attention } = this.#group;
    const [frame, row, perKey, rowCount] = [this.#frame, this.#row, this.#perKey, this.#rows];
    const { widthType, depthUnits, widthUnits } = row;
    const { key: keyAxis } = innerAxes(attention);
    const keyCount = count([keyAxis]);
    const [threads, lanes, shuffles] = [this.#threads, this.#lanes, this.#shuffles];
    const keysAtOnce = threads / lanes;
    const some = Math.min(keysTogether, lanes);
    /** Parts of the result that a thread has, and threads that share one. */
    const held = Math.ceil(widthUnits.most / threads);
    const sharing = held > 1 ? 1 : upToPower(threads / Math.max(1, widthUnits.most));
    const queries = rows.map(() => frame.share('query', row.depthType, depthUnits.most));
    const partial = frame.share('part_of_score', perKey, (shuffles === undefined ? lanes : 1) * threads);
    const weights = frame.share('weight_of_key', perKey, threads);
    const outs = sharing > 1 ? frame.share('result_of_each', widthType, sharing * widthUnits.most) : '';
    // Neighbours in a subgroup are neighbours here, whichever threads of the workgroup they are.
    const thread =
      shuffles === undefined
        ? indexVariable('thread', constantIndex(threads))
        : body.index('place', `subgroup * ${shuffles}u + lane`, constantIndex(threads));
    const zero = splat(literal(0, 'f32'), widthType);
    /** Of row `i`, out of what is kept of a key. */
    const ofRow = (value: Code, i: number): Code =>
      isVector(perKey) ? code(`${value.text}.${'xyzw'[i] ?? 'x'}`, 'f32') : value;
    const ofRows = (values: readonly Code[]): Code =>
      isVector(perKey)
        ? code(
            `vec4f(${values.map(({ text }) => text).join(', ')})`,
            perKey,
            values.flatMap(({ needs }) => [...needs]),
          )
        : (values[0] ?? literal(0, 'f32'));

    rows.forEach(({ index }, i) => row.loadQuery(body, index, queries[i] ?? '', { from: thread, step: threads }));
    const lane = body.named('lane_of_key', remainder(thread, constantIndex(lanes)));
    const slot = body.named('key_of_lanes', divide(thread, constantIndex(lanes)));
    const unit = held > 1 ? thread : body.named('unit', remainder(thread, widthUnits));
    const part = held > 1 ? constantIndex(0) : body.named('part', divide(thread, widthUnits));
    const results = rows.map(() => (held > 1 ? body.array('result', widthType, held) : body.var('result', zero).text));
    const resultOf = (i: number, e: Index): Code =>
      code(held > 1 ? `${results[i] ?? ''}[${indexText(e)}]` : (results[i] ?? ''), widthType);
    /** The parts of the results that are this thread's. */
    const eachHeld = (block: Block, write: (inside: Block, own: readonly Code[], d: Index) => void): void => {
      if (held === 1) {
        const all = sharing * widthUnits.most === threads;
        block.when(all ? 'true' : `${indexText(thread)} < ${sharing * widthUnits.most}u`, (inside) =>
          write(
            inside,
            rows.map((_, i) => resultOf(i, constantIndex(0))),
            unit,
          ),
        );
        return;
      }
      block.loop('held', constantIndex(held), (each, e) => {
        const d = each.named('unit', add(scale(e, threads), thread));
        each.when(`${indexText(d)} < ${indexText(widthUnits)}`, (inside) =>
          write(
            inside,
            rows.map((_, i) => resultOf(i, e)),
            clamp(d, widthUnits),
          ),
        );
      });
    };
    if (held > 1)
      body.loop('held', constantIndex(held), (inside, e) =>
        rows.forEach((_, i) => inside.assign(resultOf(i, e).text, zero)),
      );
    const top = body.var('largest', splat(lowest, perKey));
    const total = body.var('total', splat(literal(0, 'f32'), perKey));
    const end = endOf(body);
    body.barrier();

    body.loop(
      `${axisStem(keyAxis.name)}_tile`,
      ceilDivide(keyCount, threads),
      (tile, t) => {
        const start = scale(t, threads);
        const left = tile.let('left', code(`min(${end} - ${indexText(start)}, ${threads}u)`, 'u32')).text;
        const keyAt = (inTile: Index, index: IndexMap | undefined = rows[0]?.index): IndexMap =>
          new Map(index).set(keyAxis.name, clamp(add(start, inTile), keyCount));
        // Loops over a tile are as long for all threads: what lies behind its last key is read from there, and weighs nothing.
        tile.loop(
          'some_keys',
          constantIndex(threads / keysAtOnce),
          (inside, turn) => {
            const own = Array.from({ length: some }, (_, e) =>
              add(scale(add(turn, constantIndex(e)), keysAtOnce), slot),
            );
            const scores = own.map(() => rows.map(() => inside.var('score', literal(0, 'f32'))));
            const turns = Math.ceil(depthUnits.most / lanes);
            const isWhole = depthUnits.most % lanes === 0;
            /** Keys at some turns of the depth: all loads, then what is made of them. */
            const addTurns = (deep: Block, steps: readonly Index[]): void => {
              const read = steps.map((step) => {
                const d = add(scale(step, lanes), lane);
                const safe = isWhole ? d : clamp(d, depthUnits);
                return { d, safe, units: own.map((key) => row.keyUnit(deep, keyAt(key), safe)) };
              });
              for (const { d, safe, units } of read)
                deep.when(isWhole ? 'true' : `${indexText(d)} < ${indexText(depthUnits)}`, (sum) =>
                  units.forEach((k, e) =>
                    scores[e]?.forEach((score, i) =>
                      sum.assign(score.text, row.withUnit(score, queries[i] ?? '', safe, k)),
                    ),
                  ),
                );
            };
            if (turns * some <= mostLoads)
              addTurns(
                inside,
                Array.from({ length: turns }, (_, step) => constantIndex(step)),
              );
            else inside.loop('depth_turn', constantIndex(turns), (deep, step) => addTurns(deep, [step]));
            const places = own.map((key) => (shuffles === undefined ? add(scale(lane, threads), key) : key));
            const totals = own.map((_, e) => {
              const parts = inside.let('part', ofRows(scores[e] ?? []));
              return shuffles === undefined ? parts : reduceLanes(inside, sumOf, parts, lanes);
            });
            inside.when(shuffles === undefined ? 'true' : `${indexText(lane)} == 0u`, (first) =>
              totals.forEach((total, e) =>
                first.assign(`${partial}[${indexText(places[e] ?? constantIndex(0))}]`, total),
              ),
            );
          },
          { step: some, endText: `((${left} + ${keysAtOnce - 1}u) / ${keysAtOnce}u)` },
        );
        tile.barrier();

        const parts = Array.from(
          { length: shuffles === undefined ? lanes : 1 },
          (_, l) => `${partial}[${indexText(add(thread, constantIndex(l * threads)))}]`,
        );
        const scores = tile.let('scores', code(parts.join(' + '), perKey));
        const isKey = `${indexText(thread)} < ${left}`;
        const logits = rows.map(({ index }, i) => {
          frame.lowering.held.set(attention.scores, () => ofRow(scores, i));
          return frame.lowering.value(tile, attention.logits, keyAt(thread, index), 1);
        });
        const own = tile.let(
          'logit',
          code(`select(${splat(lowest, perKey).text}, ${ofRows(logits).text}, ${isKey})`, perKey, ofRows(logits).needs),
        );
        const best = this.#reduced(tile, thread, own, largest);
        const next = tile.let('next', code(`max(${top.text}, ${best})`, perKey));
        const decay = tile.let('decay', code(`exp(${top.text} - ${next.text})`, perKey));
        const none = splat(literal(0, 'f32'), perKey).text;
        const weight = tile.let('weight', code(`select(${none}, exp(${own.text} - ${next.text}), ${isKey})`, perKey));
        tile.assign(top.text, next);
        tile.assign(total.text, wgsl`fma(${total}, ${decay}, ${weight})`);
        tile.assign(`${weights}[${indexText(thread)}]`, weight);
        tile.barrier();

        eachHeld(tile, (mine, sums, d) => {
          sums.forEach((sum, i) => mine.assign(sum.text, wgsl`(${sum} * ${splat(ofRow(decay, i), widthType)})`));
          const many = Math.min(valuesTogether[rowCount], threads / sharing);
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
                const kept = inside.let('weight_of', code(`${weights}[${indexText(key)}]`, perKey));
                sums.forEach((sum, i) =>
                  inside.assign(sum.text, wgsl`fma(${splat(ofRow(kept, i), widthType)}, ${value}, ${sum})`),
                );
              });
            },
            { step: many, endText: `((${left} + ${sharing - 1}u) / ${sharing}u)` },
          );
        });
        tile.barrier();
      },
      { endText: `((${end} + ${threads - 1}u) / ${threads}u)` },
    );

    const sum = code(this.#reduced(body, thread, total, sumOf), perKey);
    body.when(`${indexText(thread)} == 0u`, (store) =>
      rows.forEach(({ index, test }, i) =>
        store.when(test, (one) => row.storeStatistics(one, index, { top: ofRow(top, i), total: ofRow(sum, i) })),
      ),
    );
    if (sharing === 1) {
      eachHeld(body, (inside, own, d) =>
        rows.forEach(({ index, test }, i) =>
          inside.when(test, (store) =>
            row.store(store, index, d, code(`${own[i]?.text ?? ''} / ${ofRow(sum, i).text}`, widthType)),
          ),
        ),
      );
      return;
    }
    const units = widthUnits.most;
    const at = (beyond: number): string => `${outs}[${indexText(add(thread, constantIndex(beyond)))}]`;
    rows.forEach(({ index, test }, i) => {
      if (i > 0) body.barrier();
      eachHeld(body, (inside, own) => inside.assign(at(0), own[i] ?? zero));
      body.barrier();
      for (let half = sharing / 2; half >= 1; half /= 2) {
        body.when(`${indexText(thread)} < ${half * units}u`, (inside) =>
          inside.assign(at(0), code(`${at(0)} + ${at(half * units)}`, widthType)),
        );
        body.barrier();
      }
      body.when(`${indexText(thread)} < ${units}u`, (inside) =>
        inside.when(test, (store) =>
          row.store(store, index, clamp(thread, widthUnits), code(`${at(0)} / ${ofRow(sum, i).text}`, widthType)),
        ),
      );
    });
  }

  /** One value of all that the threads have. */
  #reduced(block: Block, thread: Index, own: Code, op: ReduceOp): string {
    const memory = (place: string): string => `${this.#scratch}[${place}]`;
    const workgroup = { threads: this.#threads, lanes: this.#shuffles, memory, thread: indexText(thread) };
    return reduceThreads(block, op, [{ own, in: workgroup }])[0]?.text ?? own.text;
  }
}
