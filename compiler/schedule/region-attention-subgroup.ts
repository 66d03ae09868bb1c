// Attention over the tokens of a region, by shuffles: a subgroup holds some heads. For scores a lane has a token or two and what it reads of the
// queries goes round; for means a lane has a vector of the tokens, and the weights go round.
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import { add, clamp, constantIndex, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block, Kernel } from '../kernel/kernel.ts';
import { axisStem, unknownZero } from '../kernel/names.ts';
import { typeOf } from '../kernel/element-format.ts';
import type { RegionPart } from '../match/attention/region-attention.ts';
import { choicesOf } from '../profile.ts';
import { flopsOf } from '../cost.ts';
import { count, flatStem, type Context } from './frame.ts';
import { RegionKernel, type RegionGroup } from './region-attention.ts';

/** Heads that a subgroup holds at once, at most, and in a kernel that is little work. */
const mostHeads = 16;
const fewHeads = 4;

export function scheduleRegionSubgroup(group: RegionGroup, context: Context): Kernel {
  const lanes = context.profile.subgroupSize ?? 8;
  const { heads, parts } = group.region;
  const rows = count(heads).most;
  const work = parts.reduce((sum, { mean }) => sum + 2 * flopsOf(mean), 0);
  const most = work < choicesOf(context.profile).leastWork ? fewHeads : mostHeads;
  const together = Math.max(1, Math.ceil(rows / Math.ceil(rows / most)));
  const partials = Math.max(1, ...parts.map(({ size }) => Math.max(rows * size, lanes)));
  const made = new RegionKernel(group, context, { threads: lanes, name: 'lane' }, partials);
  return made.kernel(
    `region attention by shuffles, ${together} heads`,
    (body, part) => scores(made, body, part, { lanes, together }),
    (body, part) => means(made, body, part, { lanes, together }),
    true,
  );
}

interface Shape {
  readonly lanes: number;
  readonly together: number;
}

/** Tokens that a lane has at once: two where whole blocks are full of them. */
function blocksOf({ size }: RegionPart, lanes: number): number {
  return size % (2 * lanes) === 0 ? 2 : 1;
}

/** `most` or fewer turns, up to `end`; the driver must not know how many. */
function turns(most: number, end: Index, start: Index): string {
  const left =
    end.terms.length === 0 && start.terms.length === 0 ? undefined : `${indexText(end)} - ${indexText(start)}`;
  return `min(${most}u, ${left ?? `${end.constant - start.constant}u`}) + ${unknownZero}`;
}

/** Blocks of heads. */
function eachHeads(
  made: RegionKernel,
  body: Block,
  together: number,
  write: (block: Block, heads: readonly Index[]) => void,
): void {
  const rows = made.rows;
  const own = (first: Index): readonly Index[] =>
    Array.from({ length: together }, (_, i) => clamp(add(first, constantIndex(i)), rows));
  if (rows.most <= together) write(body, own(constantIndex(0)));
  else body.loop('first_head', rows, (block, first) => write(block, own(first)), { step: together });
}

function scores(
  made: RegionKernel,
  body: Block,
  part: RegionPart,
  { lanes, together }: Shape,
): (head: Index, token: Index) => string {
  const blocks = blocksOf(part, lanes);
  const tokens = constantIndex(part.size);
  const units = made.unitsOf(part);
  const type = typeOf('f32', made.widthOf(part));
  const stem = flatStem([part.depth], made.widthOf(part));
  const place = (head: Index, token: Index): string => made.partial(add(scale(head, part.size), token));
  eachHeads(made, body, together, (outer, heads) =>
    outer.loop(
      `${axisStem(made.region.softmax.axis)}_start`,
      tokens,
      (block, start) => {
        const own = Array.from({ length: blocks }, (_, j) => add(start, constantIndex(j * lanes), made.self));
        const sums = heads.map(() => own.map(() => block.var('score', literal(0, 'f32'))));
        block.loop(
          `${stem}_start`,
          units,
          (slice, unit) => {
            const mine = clamp(add(unit, made.self), units);
            const queries = heads.map((head) => slice.let('query', made.query(slice, part, head, mine)));
            const left = slice.let('steps', code(turns(lanes, units, unit), 'u32'));
            slice.loop(
              `${stem}_in_slice`,
              constantIndex(lanes),
              (inside, within) => {
                const at = clamp(add(unit, within), units);
                const read = own.map((token) => made.token(inside, part, clamp(token, tokens), at));
                queries.forEach((query, h) => {
                  const shared = inside.let(
                    'query_of_lane',
                    code(`subgroupShuffle(${query.text}, ${indexText(within)})`, type),
                  );
                  read.forEach((token, j) => {
                    const sum = sums[h]?.[j];
                    if (sum !== undefined) inside.assign(sum.text, made.scored(sum, shared, token));
                  });
                });
              },
              { endText: left.text },
            );
          },
          { step: lanes },
        );
        own.forEach((token, j) =>
          block.when(token.most < part.size ? 'true' : `${indexText(token)} < ${part.size}u`, (store) =>
            heads.forEach((head, h) => {
              const sum = sums[h]?.[j];
              if (sum !== undefined) store.assign(place(head, token), sum);
            }),
          ),
        );
      },
      { step: blocks * lanes },
    ),
  );
  return place;
}

function means(made: RegionKernel, body: Block, part: RegionPart, { lanes, together }: Shape): void {
  const blocks = blocksOf(part, lanes);
  const tokens = constantIndex(part.size);
  const units = made.unitsOf(part);
  const type = typeOf('f32', made.widthOf(part));
  const key = axisStem(made.region.softmax.axis);
  const stem = flatStem([part.depth], made.widthOf(part));
  /** The weights of a block of tokens: a lane has those of one token for every head. */
  const weights = (block: Block, heads: readonly Index[], start: Index): readonly (readonly Code[])[] =>
    heads.map((head) =>
      Array.from({ length: blocks }, (_, j) => {
        const token = clamp(add(start, constantIndex(j * lanes), made.self), tokens);
        return block.let('weight', made.weight(head, add(token, constantIndex(part.start))));
      }),
    );
  eachHeads(made, body, together, (outer, heads) => {
    // Where one block is all tokens, its weights stay where they are.
    const isOne = part.size <= blocks * lanes;
    const kept = isOne ? weights(outer, heads, constantIndex(0)) : undefined;
    outer.loop(
      `${stem}_start`,
      units,
      (slice, start) => {
        const unit = clamp(add(start, made.self), units);
        const sums = heads.map(() => slice.var('mean', splat(literal(0, 'f32'), type)));
        const addBlock = (block: Block, first: Index): void => {
          const own = kept ?? weights(block, heads, first);
          const left = block.let('tokens_left', code(turns(lanes, tokens, first), 'u32'));
          block.loop(
            `${key}_in_block`,
            constantIndex(lanes),
            (inside, within) => {
              const read = Array.from({ length: blocks }, (_, j) =>
                made.token(inside, part, clamp(add(first, constantIndex(j * lanes), within), tokens), unit),
              );
              sums.forEach((sum, h) =>
                read.forEach((x, j) => {
                  const mine = own[h]?.[j];
                  if (mine === undefined) return;
                  const weight = code(`subgroupShuffle(${mine.text}, ${indexText(within)})`, 'f32');
                  inside.assign(sum.text, wgsl`fma(${splat(weight, type)}, ${x}, ${sum})`);
                }),
              );
            },
            { endText: left.text },
          );
        };
        if (isOne) addBlock(slice, constantIndex(0));
        else slice.loop(`${key}_start`, tokens, (block, first) => addBlock(block, first), { step: blocks * lanes });
        const isThere = add(start, made.self);
        slice.when(isThere.most < units.least ? 'true' : `${indexText(isThere)} < ${indexText(units)}`, (store) =>
          heads.forEach((head, h) => {
            const sum = sums[h];
            if (sum !== undefined) made.storeMean(store, part, head, unit, sum);
          }),
        );
      },
      { step: lanes },
    );
  });
}
