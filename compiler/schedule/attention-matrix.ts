// Attention by matrix units: every subgroup of a workgroup holds a block of query rows, keys and values stream past in tiles that all of them
// read. Scores and weighted sums are products of the units; between them, a row's lanes keep its running maximum and sum (online softmax:
// Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). The units' sums cannot be scaled row by row, so that each tile's weighted
// sums go through workgroup memory into registers, which are.
import { OpabiniaError } from '../../dsl/error.ts';
import { sum as sumOp } from '../../dsl/ops/reduce.ts';
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { innerAxes } from '../match/attention/attention.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, sharedBytes, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import type { DeviceProfile, MatrixUnit } from '../profile.ts';
import { storeRoots, storeStatistics } from './epilogue.ts';
import {
  count,
  elementAt,
  flatStem,
  Frame,
  indexVariable,
  isQuartered,
  namedAxes,
  reduceLanes,
  takeApart,
  type Context,
} from './frame.ts';
import { matrixUnitOf, noMatrixUnit } from './matrix-unit-of.ts';
import { fragmentOf, layOut, padding, stage, stagedElements, type Side, type Sum } from './staged-tile.ts';
import { largest, lowest } from './streaming-softmax.ts';
import { tileEnd } from './tile-end.ts';

type AttentionGroup = Extract<Group, { template: 'attention' }>;

interface Tile {
  readonly unit: MatrixUnit;
  readonly lanes: number;
  readonly subgroups: number;
  /** Keys of a tile; depth and width up to whole blocks. */
  readonly keys: number;
  readonly depth: number;
  readonly width: number;
}

const upTo = (size: number, block: number): number => Math.ceil(size / block) * block;

/** The largest tile that fits the workgroup memory, or why this attention is not made by matrix units. */
export function attentionTile({ attention }: AttentionGroup, profile: DeviceProfile): Tile | string {
  const { query, key, value, batch, rows, keys, depth, width } = attention;
  const operands = [query, key, value];
  const unit = matrixUnitOf(operands, profile);
  const lanes = profile.subgroupSize;
  if (unit === undefined || lanes === undefined) return noMatrixUnit(operands, profile) ?? 'the device has none';
  if (lanes % unit.m !== 0) return 'a subgroup has fewer lanes than a block has rows';
  if (2 * count(rows).most <= unit.m) return 'it is smaller than a block';
  if (count(batch).most > profile.maxGrid) return 'more batches than a grid is long';
  const sizes = { depth: upTo(count(depth).most, unit.k), width: upTo(count(width).most, unit.n) };
  const most = count(keys).most;
  for (const subgroups of [4, 2, 1])
    for (const tileKeys of [64, 32, 16]) {
      const tile = { unit, lanes, subgroups, keys: tileKeys, ...sizes };
      const isWhole = tileKeys % unit.n === 0 && tileKeys % unit.k === 0;
      const fits =
        bytesOf(tile) <= profile.maxWorkgroupBytes && subgroups * lanes <= profile.maxWorkgroupThreads && isWhole;
      // Keys in tiles of twice as many as there are would be zeros for the most part.
      if (fits && (tileKeys < 2 * most || tileKeys === 16)) return tile;
    }
  return 'no tile fits the workgroup memory';
}

/** Elements from a row of scores to the next: lanes read a column of all rows, not from one bank of the memory; units write by 16 bytes. */
function perScores({ keys }: Tile): number {
  return keys + 4;
}

function bytesOf(tile: Tile): number {
  const { unit, subgroups, keys, depth, width } = tile;
  const rows = subgroups * unit.m;
  const halves =
    stagedElements(rows, depth) + stagedElements(keys, depth) + stagedElements(width, keys) + rows * (keys + padding);
  return sharedBytes([
    { name: '', type: 'f16', length: halves },
    { name: '', type: 'f32', length: rows * Math.max(perScores(tile), width) + rows },
  ]);
}

export function scheduleAttentionMatrix(group: AttentionGroup, context: Context): Kernel {
  const { attention } = group;
  const { batch: batchAxes, rows: rowAxes } = attention;
  const { key: keyAxis, depth: depthAxis, width: widthAxis } = innerAxes(attention);
  const tile = attentionTile(group, context.profile);
  if (typeof tile === 'string')
    throw new OpabiniaError(`no matrix units for this attention: ${tile}`, { op: 'attention' });
  const { unit, lanes, subgroups, keys: tileKeys } = tile;
  const scoresStride = perScores(tile);
  const keyName = keyAxis.name;
  const threads = subgroups * lanes;
  const tileRows = subgroups * unit.m;
  const frame = new Frame(context, group);
  const { body, lowering } = frame;
  const [m, keyCount, wide] = [count(rowAxes), count([keyAxis]), count([widthAxis])];
  const rowTiles = ceilDivide(m, tileRows);
  const batches = count(batchAxes);
  const batch = namedAxes(body, body.index(flatStem(batchAxes), 'group.y', batches), batchAxes);
  const firstRow = scale(indexVariable('group.x', rowTiles), tileRows);
  const subgroup = indexVariable('subgroup', constantIndex(subgroups));
  const lane = indexVariable('lane', constantIndex(lanes));
  const ownRows = scale(subgroup, unit.m);
  const zero = constantIndex(0);

  const overDepth: Sum = { axes: [depthAxis], size: count([depthAxis]), staged: tile.depth };
  const overKeys: Sum = { axes: [keyAxis], size: keyCount, staged: tile.keys };
  const queries: Side = {
    node: attention.query,
    axes: rowAxes,
    size: m,
    tile: tileRows,
    first: firstRow,
    at: (row, place) => new Map([...batch, ...takeApart(row, rowAxes), [depthAxis.name, place]]),
  };
  const keysFrom = (first: Index): Side => ({
    node: attention.key,
    axes: [keyAxis],
    size: keyCount,
    tile: tile.keys,
    first,
    at: (key, place) => new Map([...batch, [keyAxis.name, key], [depthAxis.name, place]]),
  });
  const values: Side = {
    node: attention.value,
    axes: [widthAxis],
    size: wide,
    tile: tile.width,
    first: zero,
    at: (column, key) => new Map([...batch, [keyAxis.name, key], [widthAxis.name, column]]),
  };
  const stagedQueries = layOut(frame, group, 'staged_queries', queries, overDepth);
  const stagedKeys = layOut(frame, group, 'staged_keys', keysFrom(zero), overDepth);
  const stagedValues = layOut(frame, group, 'staged_values', values, overKeys);
  const slice = unit.m * Math.max(perScores(tile), tile.width);
  const scratch = frame.share('sums_of_subgroup', 'f32', subgroups * slice);
  const perWeights = tile.keys + padding;
  const weights = frame.share('weights', 'f16', tileRows * perWeights);
  const scales = frame.share('scale_of_row', 'f32', tileRows);
  const own = scale(subgroup, slice);

  // Every lane holds part of the results of its subgroup's rows, and walks part of the keys of one row.
  const ow: Width = isQuartered(widthAxis) ? 4 : 1;
  const type = typeOf('f32', ow);
  const units = tile.width / ow;
  const held = Math.ceil((unit.m * units) / lanes);
  const result = body.array('result', type, held);
  const rowOfLane = body.named('row_of_lane', remainder(lane, constantIndex(unit.m)));
  const part = body.named('part', divide(lane, constantIndex(unit.m)));
  const parts = lanes / unit.m;
  const row = body.index(
    rowAxes.length === 0 ? 'row' : flatStem(rowAxes),
    indexText(clamp(add(firstRow, ownRows, rowOfLane), m)),
    m,
  );
  const index = new Map([...batch, ...namedAxes(body, row, rowAxes)]);
  const top = body.var('largest', lowest);
  const total = body.var('total', literal(0, 'f32'));
  const scaleOf = (at: Index): Code => code(`${scales}[${indexText(add(ownRows, at))}]`, 'f32');
  const eachHeld = (block: Block, write: (inside: Block, at: Index, element: string) => void): void => {
    block.loop('held', constantIndex(held), (inside, e) => {
      const at = inside.named('place', add(scale(e, lanes), lane));
      const full = (unit.m * units) % lanes === 0;
      inside.when(full ? 'true' : `${indexText(at)} < ${unit.m * units}u`, (one) =>
        write(one, at, `${result}[${indexText(e)}]`),
      );
    });
  };

  stage(frame, body, queries, stagedQueries, { sum: overDepth, start: zero, copy: zero, threads });
  const end = tileEnd(body, group, { batch, firstRow, tile: tileRows, keyCount, m });
  body.loop(
    `${axisStem(keyAxis.name)}_tile`,
    ceilDivide(keyCount, tile.keys),
    (outer, t) => {
      const start = scale(t, tile.keys);
      stage(frame, outer, keysFrom(start), stagedKeys, { sum: overDepth, start: zero, copy: zero, threads });
      stage(frame, outer, values, stagedValues, { sum: overKeys, start, copy: zero, threads });
      outer.barrier();

      multiply(outer, tile.keys / unit.n, tile.depth / unit.k, scoresStride, (inside, place) => ({
        rows: fragmentOf(inside, 'rows', stagedQueries, { unit, copy: zero, other: ownRows, place }),
        column: (j) =>
          fragmentOf(inside, 'columns', stagedKeys, { unit, copy: zero, other: constantIndex(j * unit.n), place }),
      }));
      outer.barrier();

      softmaxStep(outer, start);
      outer.barrier();

      multiply(outer, tile.width / unit.n, tile.keys / unit.k, tile.width, (inside, place) => {
        const rows = inside.names.fresh('of_weights');
        const at = indexText(add(scale(ownRows, perWeights), place));
        inside.matrix({
          kind: 'fragment',
          name: rows,
          of: 'rows',
          unit,
          from: weights,
          at,
          stride: perWeights,
          turned: false,
        });
        return {
          rows,
          column: (j) =>
            fragmentOf(inside, 'columns', stagedValues, { unit, copy: zero, other: constantIndex(j * unit.n), place }),
        };
      });
      outer.barrier();
      eachHeld(outer, (inside, at, element) => {
        const kept = splat(scaleOf(divide(at, constantIndex(units))), type);
        inside.assign(element, wgsl`fma(${code(element, type)}, ${kept}, ${gathered(at)})`);
      });
    },
    { endText: `((${end} + ${tile.keys - 1}u) / ${tile.keys}u)` },
  );

  body.barrier();
  const sum = reduceLanes(body, sumOp, total, lanes, unit.m);
  body.when(`${indexText(part)} == 0u`, (inside) => {
    inside.assign(scaleOf(rowOfLane).text, code(`1.0f / ${sum.text}`, 'f32'));
    if (group.storesStatistics)
      inside.when(`${indexText(add(firstRow, ownRows, rowOfLane))} < ${indexText(m)}`, (store) =>
        storeStatistics(frame, store, group, index, { largest: top, total: sum }),
      );
  });
  body.barrier();
  eachHeld(body, (inside, at, element) => {
    const inTile = inside.named('row_in_tile', divide(at, constantIndex(units)));
    const unitAt = inside.index(
      flatStem([widthAxis], ow),
      indexText(remainder(at, constantIndex(units))),
      divide(wide, constantIndex(ow)),
    );
    const own = inside.index(
      rowAxes.length === 0 ? 'row' : flatStem(rowAxes),
      indexText(add(firstRow, ownRows, inTile)),
      m,
    );
    inside.when(
      `${indexText(own)} < ${indexText(m)} && ${indexText(unitAt)} < ${indexText(divide(wide, constantIndex(ow)))}`,
      (store) => {
        const value = store.let('value', wgsl`(${code(element, type)} * ${splat(scaleOf(inTile), type)})`);
        const place = new Map([
          ...batch,
          ...namedAxes(store, own, rowAxes),
          [widthAxis.name, elementAt(unitAt, ow)] as const,
        ]);
        storeRoots(frame, store, group, place, {
          anchor: attention.product,
          value,
          width: ow,
          vector: widthAxis.name,
        });
      },
    );
  });
  return frame.finish(
    `attention, ${tileRows} rows and ${tile.keys} keys by matrix units ${unit.m}×${unit.n}×${unit.k}`,
    threads,
    [rowTiles, batches, constantIndex(1)],
    { subgroups: true, matrices: true },
  );

  /** One block of rows times `blocks` blocks of columns, into the subgroup's slice of the scratch memory. */
  function multiply(
    block: Block,
    blocks: number,
    places: number,
    stride: number,
    load: (inside: Block, place: Index) => { readonly rows: string; readonly column: (j: number) => string },
  ): void {
    const sums = Array.from({ length: blocks }, () => {
      const name = block.names.fresh('sums');
      block.matrix({ kind: 'sums', name, unit });
      return name;
    });
    block.loop('block', constantIndex(places), (inside, at) => {
      const { rows, column } = load(inside, scale(at, unit.k));
      sums.forEach((into, j) => inside.matrix({ kind: 'multiply', into, rows, columns: column(j) }));
    });
    sums.forEach((name, j) => {
      const at = indexText(add(own, constantIndex(j * unit.n)));
      block.matrix({ kind: 'spread', into: scratch, at, stride, sums: name });
    });
  }

  /** Of the scores in the scratch memory: weights in half precision, and what the results so far are scaled by. */
  function softmaxStep(block: Block, start: Index): void {
    const eachKey = (write: (inside: Block, key: Index, score: string, isKey: string) => void): void =>
      block.loop('turn', constantIndex(tileKeys / parts), (inside, turn) => {
        const inTile = inside.named('key_in_tile', add(scale(turn, parts), part));
        const score = `${scratch}[${indexText(add(own, scale(rowOfLane, scoresStride), inTile))}]`;
        write(inside, inTile, score, `${indexText(add(start, inTile))} < ${indexText(keyCount)}`);
      });
    const best = block.var('largest_of_tile', lowest);
    eachKey((inside, key, score, isKey) => {
      const held = inside.let('score', code(score, 'f32'));
      lowering.held.set(attention.scores, () => held);
      const at = new Map(index).set(keyName, clamp(add(start, key), keyCount));
      const logit = lowering.value(inside, attention.logits, at, 1);
      const kept = inside.let('logit', code(`select(${lowest.text}, ${logit.text}, ${isKey})`, 'f32', logit.needs));
      inside.assign(score, kept);
      inside.assign(best.text, wgsl`max(${best}, ${kept})`);
    });
    const widest = reduceLanes(block, largest, best, lanes, unit.m);
    const next = block.let('next', wgsl`max(${top}, ${widest})`);
    const decay = block.let('decay', code(`exp(${top.text} - ${next.text})`, 'f32'));
    block.assign(top.text, next);
    block.assign(total.text, wgsl`(${total} * ${decay})`);
    eachKey((inside, key, score, isKey) => {
      const weight = inside.let('weight', code(`select(0.0f, exp(${score} - ${next.text}), ${isKey})`, 'f32'));
      inside.assign(total.text, wgsl`(${total} + ${weight})`);
      const at = add(scale(add(ownRows, rowOfLane), perWeights), key);
      inside.assign(`${weights}[${indexText(at)}]`, code(`f16(${weight.text})`, 'f32'));
    });
    block.when(`${indexText(part)} == 0u`, (inside) => inside.assign(scaleOf(rowOfLane).text, decay));
  }

  /** A weighted sum of this tile's values, out of the scratch memory. */
  function gathered(at: Index): Code {
    const text = (lane: number): string => `${scratch}[${indexText(add(own, scale(at, ow), constantIndex(lane)))}]`;
    return code(ow === 1 ? text(0) : `vec4f(${[0, 1, 2, 3].map(text).join(', ')})`, type);
  }
}
