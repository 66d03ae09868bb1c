// Attention as one streaming kernel, by shuffles: a subgroup holds a few query rows; keys stream past in blocks, one key per lane for the
// scores, one slice of the width per lane for the weighted sum; a running maximum and sum rescale what has been gathered so far.
// (Online softmax: Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022.)
import { storeRoots, storeStatistics } from './epilogue.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { sum as sumOp } from '../../dsl/ops/reduce.ts';
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import { innerAxes } from '../match/attention/attention.ts';
import { add, clamp, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem, unknownZero } from '../kernel/names.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import {
  count,
  elementAt,
  flatStem,
  reduceLanes,
  Frame,
  indexVariable,
  isQuartered,
  lineGrid,
  namedAxes,
  takeApart,
  type Context,
} from './frame.ts';
import { largest, lowest } from './streaming-softmax.ts';
import { tilesOfRows, type AttentionGroup } from './attention-row-tiles.ts';
import { tileOf } from './tiles.ts';
import { tileEnd } from './tile-end.ts';

export function scheduleAttentionSubgroup(group: AttentionGroup, context: Context): Kernel {
  const { attention } = group;
  const { batch: batchAxes, rows: rowAxes } = attention;
  const { key: keyAxis, depth: depthAxis, width: widthAxis } = innerAxes(attention);
  const lanes = context.profile.subgroupSize ?? 8;
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const m = count(rowAxes);
  const keyCount = count([keyAxis]);
  const depth = count([depthAxis]);
  const wide = count([widthAxis]);
  const dw: Width = isQuartered(depthAxis) ? 4 : 1;
  const ow: Width = isQuartered(widthAxis) ? 4 : 1;
  const depthSteps = Math.ceil(depth.most / (dw * lanes));
  const widthSteps = Math.ceil(wide.most / (ow * lanes));
  const tile = tileOf(tilesOfRows(group, context.profile), context.profile);
  // Keys that a lane scores before a row's maximum is asked for: a causal prompt of 2,048 takes a tenth less by four than by two.
  const blocks = keyCount.most > 2 * lanes ? 4 : keyCount.most > lanes ? 2 : 1;
  const rowTiles = ceilDivide(m, tile);
  const batches = count(batchAxes);
  // With one tile of rows (a region of its own for each query) the batch is as long as a grid may be, and longer.
  const single = rowTiles.key === '1';
  const line = lineGrid(batches, context.profile.maxGrid);
  const grid: Kernel['grid'] = single ? line.grid : [rowTiles, batches, constantIndex(1)];
  const batchItem = frame.body.index(flatStem(batchAxes), single ? line.item : 'group.y', batches);
  const batch = namedAxes(frame.body, batchItem, batchAxes);
  const lane = indexVariable('lane', constantIndex(lanes));
  const firstRow = single ? constantIndex(0) : scale(indexVariable('group.x', rowTiles), tile);
  const rowAt = (i: number): Index => clamp(add(firstRow, constantIndex(i)), m);
  const part = (j: number, at: Index, width: Width, end: Index): Index => {
    const unit = clamp(
      add(constantIndex(j * lanes), at),
      divide(add(end, constantIndex(width - 1)), constantIndex(width)),
    );
    return elementAt(unit, width);
  };
  const keyName = keyAxis.name;
  const rowStem = rowAxes.length === 0 ? 'row' : flatStem(rowAxes);
  const depthType = typeOf('f32', dw);
  const widthType = typeOf('f32', ow);
  const indices = Array.from({ length: tile }, (_, i) => new Map([...batch, ...takeApart(rowAt(i), rowAxes)]));

  frame.body.when(single && !line.exact ? `${indexText(batchItem)} < ${indexText(batches)}` : 'true', (body) => {
    // Loaded in a loop and copied: unrolled loads are what the driver compiles slowest.
    const held = body.array('queries', depthType, tile * depthSteps);
    body.loop(
      'row_in_tile',
      constantIndex(tile),
      (outer, i) => {
        const row = outer.index(
          rowStem,
          `min(${indexText(add(firstRow, i))}, ${indexText(add(m, constantIndex(-1)))})`,
          m,
        );
        for (let j = 0; j < depthSteps; j++) {
          const at = new Map([...batch, ...takeApart(row, rowAxes)]).set(depthAxis.name, part(j, lane, dw, depth));
          outer.assign(
            `${held}[${indexText(add(scale(i, depthSteps), constantIndex(j)))}]`,
            splat(lowering.value(outer, attention.query, at, dw), depthType),
          );
        }
      },
      { endText: `${tile}u + ${unknownZero}` },
    );
    const query = indices.map((_, i) =>
      Array.from({ length: depthSteps <= 2 ? depthSteps : 0 }, (_row, j) =>
        body.let('query', code(`${held}[${i * depthSteps + j}]`, depthType)),
      ),
    );
    const result = indices.map(() =>
      Array.from({ length: widthSteps }, () => body.var('result', splat(literal(0, 'f32'), widthType))),
    );
    const top = indices.map(() => body.var('largest', lowest));
    const total = indices.map(() => body.var('total', literal(0, 'f32')));

    const end = tileEnd(body, group, { batch, firstRow, tile, keyCount, m });
    body.loop(
      `${axisStem(keyName)}_start`,
      keyCount,
      (outer, start) => {
        const scores = indices.map(() => Array.from({ length: blocks }, () => outer.var('score', literal(0, 'f32'))));
        const keyOf = (c: number): Index => clamp(add(start, constantIndex(c * lanes), lane), keyCount);
        const units = divide(add(depth, constantIndex(dw - 1)), constantIndex(dw));
        /** Adds to the scores the products of one place of each slice of the depth, of which `own` is what a lane holds of each row. */
        const addProducts = (inside: Block, own: readonly Code[], slice: Index, within: Index): void => {
          const place = part(0, add(scale(slice, lanes), within), dw, depth);
          const keys = Array.from({ length: blocks }, (_, c) =>
            splat(
              lowering.value(
                inside,
                attention.key,
                new Map([...batch, [keyAxis.name, keyOf(c)], [depthAxis.name, place]]),
                dw,
              ),
              depthType,
            ),
          );
          own.forEach((mine, i) => {
            const shared = inside.let(
              'query_of_lane',
              code(`subgroupShuffle(${mine.text}, ${indexText(within)})`, depthType),
            );
            keys.forEach((key, c) => {
              const score = scores[i]?.[c];
              if (score !== undefined)
                inside.assign(
                  score.text,
                  dw === 4
                    ? code(`${score.text} + dot(${shared.text}, ${key.text})`, 'f32', key.needs)
                    : wgsl`fma(${shared}, ${key}, ${score})`,
                );
            });
          });
        };
        const stem = `${flatStem([depthAxis], dw)}_in_slice`;
        // One loop for each slice of the depth that a lane holds; for deep heads a loop over slices, which takes what it holds of each by index.
        if (depthSteps <= 2)
          for (let j = 0; j < depthSteps; j++) {
            const left = outer.let('steps', bound(lanes, units, j * lanes));
            const own = query.flatMap((row) => row[j] ?? []);
            outer.loop(
              stem,
              constantIndex(lanes),
              (inside, within) => addProducts(inside, own, constantIndex(j), within),
              { endText: left.text },
            );
          }
        else
          outer.loop(
            `${flatStem([depthAxis], dw)}_slice`,
            constantIndex(depthSteps),
            (slices, slice) => {
              const own = indices.map((_, i) =>
                slices.let(
                  'query',
                  code(`${held}[${indexText(add(constantIndex(i * depthSteps), slice))}]`, depthType),
                ),
              );
              const left = slices.let(
                'steps',
                code(`min(${lanes}u, ${indexText(units)} - ${indexText(scale(slice, lanes))}) + ${unknownZero}`, 'u32'),
              );
              slices.loop(stem, constantIndex(lanes), (inside, within) => addProducts(inside, own, slice, within), {
                endText: left.text,
              });
            },
            { endText: `${depthSteps}u + ${unknownZero}` },
          );
        indices.forEach((index, i) => softmaxStep(outer, index, i));

        function softmaxStep(block: Block, index: ReadonlyMap<string, Index>, i: number): void {
          const row = scores[i] ?? [];
          const [best, sumSoFar, outputs] = [top[i], total[i], result[i]];
          if (best === undefined || sumSoFar === undefined || outputs === undefined) return;
          const logits = row.map((score, c) => {
            const present = `${indexText(add(start, constantIndex(c * lanes), lane))} < ${indexText(keyCount)}`;
            lowering.held.set(attention.scores, () => score);
            const value = withoutMemory(block, frame, attention.logits, new Map([...index, [keyName, keyOf(c)]]));
            block.assign(score.text, code(`select(${lowest.text}, ${value.text}, ${present})`, 'f32', value.needs));
            return { score, present };
          });
          const blockBest = logits.map((l) => l.score).reduce((a, b) => code(`max(${a.text}, ${b.text})`, 'f32'));
          const widest = reduceLanes(block, largest, block.let('largest_of_block', blockBest), lanes);
          const next = block.let('next', wgsl`max(${best}, ${widest})`);
          const decay = block.let('decay', code(`exp(${best.text} - ${next.text})`, 'f32'));
          block.assign(best.text, next);
          for (const { score, present } of logits)
            block.assign(score.text, code(`select(0.0f, exp(${score.text} - ${next.text}), ${present})`, 'f32'));
          block.assign(
            sumSoFar.text,
            code(`fma(${sumSoFar.text}, ${decay.text}, ${logits.map((l) => l.score.text).join(' + ')})`, 'f32'),
          );
          for (const o of outputs) block.assign(o.text, wgsl`(${o} * ${splat(decay, widthType)})`);
        }

        for (let c = 0; c < blocks; c++) {
          const left = outer.let(
            'steps',
            code(
              `u32(clamp(i32(${end}) - i32(${indexText(start)}) - ${c * lanes}, 0, ${lanes})) + ${unknownZero}`,
              'u32',
            ),
          );
          outer.loop(
            `${axisStem(keyName)}_in_block`,
            constantIndex(lanes),
            (inside, within) => {
              const at = clamp(add(start, constantIndex(c * lanes), within), keyCount);
              const values = Array.from({ length: widthSteps }, (_, j) =>
                splat(
                  lowering.value(
                    inside,
                    attention.value,
                    new Map([...batch, [keyAxis.name, at], [widthAxis.name, part(j, lane, ow, wide)]]),
                    ow,
                  ),
                  widthType,
                ),
              );
              result.forEach((row, i) => {
                const score = scores[i]?.[c];
                if (score === undefined) return;
                const weight = splat(
                  inside.let('weight', code(`subgroupShuffle(${score.text}, ${indexText(within)})`, 'f32')),
                  widthType,
                );
                row.forEach((o, j) => inside.assign(o.text, wgsl`fma(${weight}, ${values[j] ?? o}, ${o})`));
              });
            },
            { endText: left.text },
          );
        }
      },
      { step: lanes * blocks, endText: end },
    );

    const sums = total.map((t) => reduceLanes(body, sumOp, t, lanes));
    const inverse = sums.map((sum) => body.let('inverse', code(`1.0f / ${sum.text}`, 'f32')));
    if (group.storesStatistics)
      body.when('lane == 0u', (first) =>
        indices.forEach((_, i) => {
          const row = first.index(rowStem, indexText(add(firstRow, constantIndex(i))), m);
          const [best, sum] = [top[i], sums[i]];
          if (best === undefined || sum === undefined) return;
          first.when(`${indexText(row)} < ${indexText(m)}`, (store) =>
            storeStatistics(frame, store, group, new Map([...batch, ...namedAxes(store, row, rowAxes)]), {
              largest: best,
              total: sum,
            }),
          );
        }),
      );
    writeRows(frame, body, group, {
      firstRow,
      tile,
      widthSteps,
      ow,
      widthType,
      m,
      wide,
      lanes,
      batch,
      result,
      inverse,
      lane,
    });
  });
  return frame.finish(`attention, ${tile} rows by shuffles`, lanes, grid, { subgroups: true });
}

interface Rows {
  readonly firstRow: Index;
  readonly tile: number;
  readonly widthSteps: number;
  readonly ow: Width;
  readonly widthType: Code['type'];
  readonly m: Index;
  readonly wide: Index;
  readonly lanes: number;
  readonly batch: ReadonlyMap<string, Index>;
  readonly result: readonly (readonly Code[])[];
  readonly inverse: readonly Code[];
  readonly lane: Index;
}

/** The epilogue as loops over private arrays: unrolled, the driver would compile it for seconds. */
function writeRows(frame: Frame, body: Block, group: AttentionGroup, r: Rows): void {
  const { attention } = group;
  const [widthAxis] = attention.width;
  const kept = body.array('results', r.widthType, r.tile * r.widthSteps);
  r.result.forEach((row, i) =>
    row.forEach((o, j) =>
      body.assign(
        `${kept}[${i * r.widthSteps + j}]`,
        wgsl`(${o} * ${splat(r.inverse[i] ?? literal(1, 'f32'), r.widthType)})`,
      ),
    ),
  );
  const rowsLeft = body.let(
    'rows_left',
    code(`min(${r.tile}u, ${indexText(r.m)} - ${indexText(r.firstRow)}) + ${unknownZero}`, 'u32'),
  );
  const units = divide(r.wide, constantIndex(r.ow));
  const stepsLeft = body.let(
    'steps_left',
    code(`min(${r.widthSteps}u, (${indexText(units)} + ${r.lanes - 1}u) / ${r.lanes}u) + ${unknownZero}`, 'u32'),
  );
  body.loop(
    'row_in_tile',
    constantIndex(r.tile),
    (outer, i) => {
      const row = outer.index(
        attention.rows.length === 0 ? 'row' : flatStem(attention.rows),
        indexText(add(r.firstRow, i)),
        r.m,
      );
      outer.loop(
        'slice',
        constantIndex(r.widthSteps),
        (inside, j) => {
          const unit = inside.index(flatStem(attention.width, r.ow), indexText(add(scale(j, r.lanes), r.lane)), units);
          const full = units.terms.length === 0 && units.constant % r.lanes === 0;
          inside.when(full ? 'true' : `${indexText(unit)} < ${indexText(units)}`, (store) => {
            const value = store.let(
              'value',
              code(`${kept}[${indexText(add(scale(i, r.widthSteps), j))}]`, r.widthType),
            );
            const index = new Map([
              ...r.batch,
              ...namedAxes(store, row, attention.rows),
              ...(widthAxis === undefined ? [] : [[widthAxis.name, elementAt(unit, r.ow)] as const]),
            ]);
            storeRoots(frame, store, group, index, {
              anchor: attention.product,
              value,
              width: r.ow,
              vector: widthAxis?.name,
            });
          });
        },
        { endText: stepsLeft.text },
      );
    },
    { endText: rowsLeft.text },
  );
}

/** The logits of one score; computed in a block of its own, because the score is a variable that changes. */
function withoutMemory(block: Block, frame: Frame, logits: Node, index: ReadonlyMap<string, Index>): Code {
  return frame.lowering.value(block, logits, index, 1);
}

/** min(lanes, end - start), opaque to the driver so that it does not unroll the loop. */
function bound(lanes: number, end: Index, start: number): Code {
  return code(`min(${lanes}u, ${indexText(end)} - ${start}u) + ${unknownZero}`, 'u32');
}
