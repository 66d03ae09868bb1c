// Sums of rows by position, without atomics: each element of the result looks for its own terms and adds them in the order of the index.
import { storeRoots } from './epilogue.ts';
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import { axisOf } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { scatterRoles } from '../../dsl/ops/scatter.ts';
import { code, isVector, like, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import {
  add,
  atomIndex,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  sizeIndex,
  type Index,
} from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, loopVariable, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem, unknownZero } from '../kernel/names.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import { canStoreVector, quad } from '../kernel/quad.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { indexAfter } from '../match/index-after.ts';
import {
  count,
  elementAt,
  flatStem,
  Frame,
  indexVariable,
  isQuartered,
  lineGrid,
  namedAxes,
  takeApart,
  threadItems,
  walkAxes,
  type Context,
} from './frame.ts';

type ScatterGroup = Extract<Group, { template: 'scatter' }>;

const threads = 64;
/** Positions that one lane looks at in a row: their hits are the bits of a word. */
const perLane = 32;

interface Parts {
  readonly updates: Node;
  readonly index: Node;
  readonly axis: Axis;
  readonly summed: readonly Axis[];
  readonly rest: readonly Axis[];
}

function partsOf(scatter: Node): Parts {
  const { inputs, type } = scatter;
  const [updates, index] = inputs;
  const axis = axisOf(type.axes, alongAxis(scatter));
  if (updates === undefined || index === undefined || axis === undefined)
    throw new TypeError('a scatter without operands');
  return { updates, index, axis, ...scatterRoles(index.type, type, axis.name) };
}

/** True when what a position moves keeps a workgroup busy, and there are positions enough to look through together. */
export function isLongScatter(scatter: Node): boolean {
  const { summed, rest } = partsOf(scatter);
  return (
    rest.every((axis) => typeof axis.size === 'number') && count(rest).most >= 32 && elementsOf(summed) >= 2 * perLane
  );
}

/** The position at an index, brought into the axis, as an i32. */
function row(block: Block, frame: Frame, { index, axis }: Parts, at: IndexMap, width: Width): Code {
  const position = frame.lowering.value(block, index, at, width);
  const last = `(${indexText(sizeIndex(axis.size))} - 1u)`;
  const type = like(position.type, 'i32');
  const limit = splat(code(`i32${last}`, 'i32'), type);
  return position.type === 'u32' || position.type === 'vec4u'
    ? code(`${type}(min(${position.text}, ${splat(code(last, 'u32'), position.type).text}))`, type, position.needs)
    : code(`clamp(${position.text}, ${splat(code('0i', 'i32'), type).text}, ${limit.text})`, type, position.needs);
}

/** One thread per element, or per four neighbours: it walks the positions, and loads what is meant for it. */
export function scheduleScatter(group: ScatterGroup, context: Context): Kernel {
  const { scatter } = group;
  const parts = partsOf(scatter);
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes, dtype } = scatter.type;
  const [root] = group.roots;
  const wide =
    isQuartered(axes.at(-1)) &&
    (root === undefined || canStoreVector(context.target(root), indexAfter(group.chain, takeApart(quad, axes))));
  const width: Width = wide ? 4 : 1;
  const items = wide ? divide(count(axes), constantIndex(4)) : count(axes);
  const { grid, item, test } = threadItems(frame.body, flatStem(axes, width), items, threads, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const out = namedAxes(body, elementAt(item, width), axes);
    const own = lowering.position(out.get(parts.axis.name) ?? constantIndex(0), width);
    const acc = body.var('sum', splat(literal(0, computeType(dtype)), typeOf(dtype, width)));
    walkAxes(body, parts.summed, out, (inside, at) => {
      const found = inside.let('found', row(inside, frame, parts, at, width));
      const last = axes.at(-1)?.name ?? '';
      // Along the rest all four neighbours have one position.
      const isOne = !wide || parts.rest.some((axis) => axis.name === last);
      const hit = isOne
        ? code(`${scalarOf(found)} == ${scalarOf(own)}`, 'bool')
        : code(`(${splat(found, 'vec4i').text} == ${splat(own, 'vec4i').text})`, 'vec4<bool>');
      const term = (block: Block) => splat(lowering.value(block, parts.updates, at, width), acc.type);
      if (isOne) inside.when(hit.text, (block) => block.assign(acc.text, wgsl`(${acc} + ${term(block)})`));
      else {
        const value = term(inside);
        inside.assign(
          acc.text,
          code(`select(${acc.text}, ${acc.text} + ${value.text}, ${hit.text})`, acc.type, value.needs),
        );
      }
    });
    storeRoots(frame, body, group, out, { anchor: scatter, value: acc, width, vector: axes.at(-1)?.name });
  });
  return frame.finish('scatter', threads, grid);
}

/** Rows that one thread makes: the positions are looked through once for all of them. */
const rowsOfThread = 64;
/** Positions that a thread keeps of those that mean its rows. */
const mostKept = 16;

/** True when all four neighbours have one position, and a thread can be expected to keep those that mean its rows. */
export function hasRowBlocks(scatter: Node): boolean {
  const { axis, rest, summed } = partsOf(scatter);
  const rows = count([axis]).most;
  const isOne = rest.at(-1) === scatter.type.axes.at(-1) && rest.length > 0;
  return isOne && 2 * rowsOfThread * elementsOf(summed) <= mostKept * rows;
}

/**
 * One thread per block of rows and four neighbours: it keeps the positions that mean its rows, and walks these alone for each row; where there
 * are too many to keep, all between the first and the last of them. Most rows of a table of words are nobody's, and cost a store.
 */
export function scheduleScatterBlocks(group: ScatterGroup, context: Context): Kernel {
  const { scatter } = group;
  const parts = partsOf(scatter);
  const { axis, summed, rest } = parts;
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes, dtype } = scatter.type;
  const outer = axes.filter((one) => one !== axis && !rest.includes(one));
  const [root] = group.roots;
  const wide =
    isQuartered(axes.at(-1)) &&
    (root === undefined || canStoreVector(context.target(root), indexAfter(group.chain, takeApart(quad, axes))));
  const width: Width = wide ? 4 : 1;
  const units = divide(count(rest), constantIndex(width));
  const rows = sizeIndex(axis.size);
  const blocks = ceilDivide(rows, rowsOfThread);
  const items = multiply(multiply(count(outer), blocks), units);
  const { grid, item, test } = threadItems(
    frame.body,
    `${axisStem(axis.name)}_block`,
    items,
    threads,
    context.profile.maxGrid,
  );
  const length = count(summed);
  frame.body.when(test, (body) => {
    const block = divide(item, units);
    const beside = new Map([
      ...namedAxes(body, divide(block, blocks), outer),
      ...namedAxes(body, elementAt(remainder(item, units), width), rest),
    ]);
    const firstRow = body.named('first_row', scale(remainder(block, blocks), rowsOfThread));
    const termAt = (flat: Index): IndexMap => new Map([...beside, ...takeApart(flat, summed)]);
    const from = body.var('first_term', code(indexText(length), 'u32'));
    const end = body.var('end_of_terms', code('0u', 'u32'));
    const hits = body.var('hits', code('0u', 'u32'));
    const kept = body.array('kept', 'u32', mostKept);
    body.loop(flatStem(summed), length, (inside, term) => {
      const found = row(inside, frame, parts, termAt(term), width);
      inside.when(`u32(${scalarOf(found)}) - ${indexText(firstRow)} < ${rowsOfThread}u`, (own) => {
        own.assign(from.text, code(`min(${from.text}, ${indexText(term)})`, 'u32'));
        own.assign(end.text, code(`${indexText(term)} + 1u`, 'u32'));
        own.assign(`${kept}[min(${hits.text}, ${mostKept - 1}u)]`, code(indexText(term), 'u32'));
        own.assign(hits.text, code(`${hits.text} + 1u`, 'u32'));
      });
    });
    const areKept = body.let('are_kept', code(`${hits.text} <= ${mostKept}u`, 'bool'));
    const steps = body.let('steps', code(`select(${end.text} - ${from.text}, ${hits.text}, ${areKept.text})`, 'u32'));
    const left = body.let(
      'rows_left',
      code(`min(${rowsOfThread}u, ${indexText(rows)} - ${indexText(firstRow)}) + ${unknownZero}`, 'u32'),
    );
    body.loop(
      'row_in_block',
      constantIndex(rowsOfThread),
      (each, i) => {
        const own = each.index(axisStem(axis.name), indexText(add(firstRow, i)), rows);
        const acc = each.var('sum', splat(literal(0, computeType(dtype)), typeOf(dtype, width)));
        each.loop(
          'step',
          length,
          (inside, step) => {
            const at = indexText(step);
            const keptTerm = `${kept}[min(${at}, ${mostKept - 1}u)]`;
            const term = inside.let(
              flatStem(summed),
              code(`select(${from.text} + ${at}, ${keptTerm}, ${areKept.text})`, 'u32'),
            );
            const place = termAt(indexVariable(term.text, length));
            const found = row(inside, frame, parts, place, width);
            inside.when(`u32(${scalarOf(found)}) == ${indexText(own)}`, (hit) => {
              const value = splat(lowering.value(hit, parts.updates, place, width), acc.type);
              hit.assign(acc.text, wgsl`(${acc} + ${value})`);
            });
          },
          { endText: steps.text },
        );
        const out: IndexMap = new Map([...beside, [axis.name, own]]);
        storeRoots(frame, each, group, out, { anchor: scatter, value: acc, width, vector: axes.at(-1)?.name });
      },
      { endText: left.text },
    );
  });
  return frame.finish('scatter by blocks of rows', threads, grid);
}

const scalarOf = (x: Code): string => (isVector(x.type) ? `${x.text}.x` : x.text);

/**
 * One workgroup per row and 64 columns: its lanes look at 32 positions each and leave a word of hits in workgroup memory, which all
 * then walk in order. A row looks at each position once, not once a column.
 */
export function scheduleScatterRows(group: ScatterGroup, context: Context): Kernel {
  const { scatter } = group;
  const parts = partsOf(scatter);
  const { summed, rest } = parts;
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes, dtype } = scatter.type;
  const rows = axes.filter((axis) => !rest.includes(axis));
  const wide = isQuartered(rest.at(-1)) && axes.at(-1) === rest.at(-1);
  const width: Width = wide ? 4 : 1;
  const columns = count(rest).constant / width;
  const blocks = Math.ceil(columns / threads);
  const items = scale(count(rows), blocks);
  const line = lineGrid(items, context.profile.maxGrid);
  const hits = frame.share('hits', 'u32', threads);
  const flat = frame.body.index(`${flatStem(rows)}_block`, line.item, items);
  frame.body.when(line.exact ? 'true' : `${indexText(flat)} < ${indexText(items)}`, (body) => {
    const own = namedAxes(body, divide(flat, constantIndex(blocks)), rows);
    const target = body.let('target', code(`i32(${indexText(own.get(parts.axis.name) ?? constantIndex(0))})`, 'i32'));
    const thread = indexVariable('thread', constantIndex(threads));
    const lane = add(scale(remainder(flat, constantIndex(blocks)), threads), thread);
    const isFull = columns % threads === 0;
    const column = isFull ? lane : body.index(flatStem(rest, width), indexText(lane), constantIndex(columns));
    const within = isFull ? 'true' : `${indexText(column)} < ${columns}u`;
    const out: IndexMap = new Map([...own, ...namedAxes(body, elementAt(column, width), rest)]);
    const acc = body.var('sum', splat(literal(0, computeType(dtype)), typeOf(dtype, width)));
    const length = count(summed);
    const termAt = (flatTerm: string): IndexMap =>
      new Map([...out, ...takeApart(atomIndex(loopVariable(flatTerm, length)), summed)]);
    body.loop(
      `${flatStem(summed)}_start`,
      length,
      (inside, start) => {
        const mask = inside.var('hits_of_thread', code('0u', 'u32'));
        inside.loop(
          'position',
          constantIndex(perLane),
          (deep, position) => {
            const term = deep.let(
              flatStem(summed),
              code(`${indexText(start)} + thread * ${perLane}u + ${indexText(position)}`, 'u32'),
            );
            deep.when(`${term.text} < ${indexText(length)}`, (found) => {
              const at = row(found, frame, parts, termAt(term.text), 1);
              found.assign(
                mask.text,
                code(
                  `${mask.text} | select(0u, 1u << ${indexText(position)}, ${at.text} == ${target.text})`,
                  'u32',
                  at.needs,
                ),
              );
            });
          },
          { endText: `${perLane}u + ${unknownZero}` },
        );
        inside.assign(`${hits}[thread]`, mask);
        inside.barrier();
        inside.when(within, (mine) => {
          mine.loop(
            'looker',
            constantIndex(threads),
            (deep, looker) => {
              const word = deep.var('hits_left', code(`${hits}[${indexText(looker)}]`, 'u32'));
              deep.loop(
                'hit',
                constantIndex(perLane),
                (each) => {
                  const term = each.let(
                    flatStem(summed),
                    code(
                      `${indexText(start)} + ${indexText(looker)} * ${perLane}u + firstTrailingBit(${word.text})`,
                      'u32',
                    ),
                  );
                  each.assign(word.text, code(`${word.text} & (${word.text} - 1u)`, 'u32'));
                  const value = splat(lowering.value(each, parts.updates, termAt(term.text), width), acc.type);
                  each.assign(acc.text, wgsl`(${acc} + ${value})`);
                },
                { endText: `countOneBits(${hits}[${indexText(looker)}])` },
              );
            },
            {
              endText: `min(${threads}u, (${indexText(length)} - ${indexText(start)} + ${perLane - 1}u) / ${perLane}u) + ${unknownZero}`,
            },
          );
        });
        inside.barrier();
      },
      { step: threads * perLane },
    );
    body.when(within, (mine) =>
      storeRoots(frame, mine, group, out, { anchor: scatter, value: acc, width, vector: axes.at(-1)?.name }),
    );
  });
  return frame.finish('scatter by workgroups', threads, line.grid);
}
