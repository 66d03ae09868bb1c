// Attention over the tokens of a region, by workgroups: threads share out tiles of two heads and two tokens, and what is summed of each; for means
// a thread has one vector of the tokens, which it reads once for several heads.
import { literal, splat, wgsl } from '../../dsl/wgsl.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { typeOf } from '../kernel/element-format.ts';
import type { RegionPart } from '../match/attention/region-attention.ts';
import { count, flatStem, type Context } from './frame.ts';
import { RegionKernel, threadsEach, type RegionGroup } from './region-attention.ts';

const usualThreads = 256;
/** Heads and tokens of a thread's tile of scores. */
const tile = 2;
/** Heads whose means a thread makes of what it reads. */
const mostHeads = 16;

export function scheduleRegionWorkgroup(group: RegionGroup, context: Context): Kernel {
  let threads = usualThreads;
  while (threads > context.profile.maxWorkgroupThreads) threads /= 2;
  const rows = count(group.region.heads).most;
  const tilesOf = (size: number): number => Math.ceil(rows / tile) * Math.ceil(size / tile);
  const sharesOf = (size: number): number => threadsEach(threads, tilesOf(size));
  const partials = group.region.parts.map(({ size }) =>
    Math.max(size * threadsEach(threads, size), rows * size * sharesOf(size)),
  );
  const made = new RegionKernel(group, context, { threads, name: 'thread' }, Math.max(1, ...partials));
  return made.kernel(
    'region attention by workgroups',
    (body, part) => scores(made, body, part, sharesOf(part.size)),
    (body, part) => means(made, body, part, threads),
    false,
  );
}

/** Leaves the sums of `shares` threads for each score; what adds them up is returned. */
function scores(
  made: RegionKernel,
  body: Block,
  part: RegionPart,
  shares: number,
): (head: Index, token: Index) => string {
  const { size } = part;
  const [rows, tokens] = [made.rows, constantIndex(size)];
  const across = Math.ceil(size / tile);
  const tiles = scale(ceilDivide(rows, tile), across);
  const share = remainder(made.self, constantIndex(shares));
  const place = (head: Index, token: Index, of: Index): string =>
    made.partial(add(scale(add(scale(head, size), token), shares), of));
  made.each(
    body,
    'tile',
    tiles,
    (block, item) => {
      const heads = two(scale(divide(item, constantIndex(across)), tile));
      const own = two(scale(remainder(item, constantIndex(across)), tile));
      const pairs = heads.flatMap((head) =>
        own.map((token) => ({ head, token, sum: block.var('score', literal(0, 'f32')) })),
      );
      block.loop(
        flatStem([part.depth], made.widthOf(part)),
        made.unitsOf(part),
        (inside, unit) => {
          const queries = new Map(heads.map((head) => [head, made.query(inside, part, clamp(head, rows), unit)]));
          const read = new Map(own.map((token) => [token, made.token(inside, part, clamp(token, tokens), unit)]));
          for (const { head, token, sum } of pairs) {
            const [q, x] = [queries.get(head), read.get(token)];
            if (q !== undefined && x !== undefined) inside.assign(sum.text, made.scored(sum, q, x));
          }
        },
        { from: share, step: shares },
      );
      for (const { head, token, sum } of pairs)
        block.when(bothWithin([head, rows], [token, tokens]), (store) => store.assign(place(head, token, share), sum));
    },
    shares,
  );
  return (head, token) => Array.from({ length: shares }, (_, i) => place(head, token, constantIndex(i))).join(' + ');
}

function two(first: Index): readonly Index[] {
  return Array.from({ length: tile }, (_, i) => add(first, constantIndex(i)));
}

/** That indices are there; nothing of one that is so anyway. */
function bothWithin(...tests: readonly (readonly [Index, Index])[]): string {
  const open = tests.filter(([index, end]) => index.most >= end.least);
  return open.map(([index, end]) => `${indexText(index)} < ${indexText(end)}`).join(' && ') || 'true';
}

/** Every mean of a part: threads share out vectors of a token, and heads where these are fewer. */
function means(made: RegionKernel, body: Block, part: RegionPart, threads: number): void {
  const units = made.unitsOf(part);
  const rows = made.rows.most;
  const heads = Math.max(1, Math.min(mostHeads, rows, Math.floor((rows * units.most) / threads)));
  const type = typeOf('f32', made.widthOf(part));
  made.each(body, 'vector_of_rows', scale(units, Math.ceil(rows / heads)), (block, at) => {
    const unit = block.named(flatStem([part.depth], made.widthOf(part)), remainder(at, units));
    const first = scale(divide(at, units), heads);
    const own = Array.from({ length: heads }, (_, i) => ({
      head: add(first, constantIndex(i)),
      mean: block.var('mean', splat(literal(0, 'f32'), type)),
    }));
    block.loop(axisStem(made.region.softmax.axis), constantIndex(part.size), (inside, token) => {
      const x = made.token(inside, part, token, unit);
      const key = add(token, constantIndex(part.start));
      for (const { head, mean } of own) {
        const weight = splat(made.weight(clamp(head, made.rows), key), type);
        inside.assign(mean.text, wgsl`fma(${weight}, ${x}, ${mean})`);
      }
    });
    for (const { head, mean } of own)
      block.when(bothWithin([head, made.rows]), (store) =>
        made.storeMean(store, part, clamp(head, made.rows), unit, mean),
      );
  });
}
