// Rows longer than workgroup memory in order: runs are sorted there, and each pass makes one of two neighbouring runs (merge path: Odeh,
// Green, Mwassi, Shmueli, Birk, IPDPS Workshops 2012). Every element finds what stands at its own place by a binary search.
import { sizeBound } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { code, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { atomIndex, constantIndex, sizeIndex } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { loopVariable, type Block, type Kernel } from '../kernel/kernel.ts';
import { unknownZero } from '../kernel/names.ts';
import type { Placement } from '../kernel/storage.ts';
import { count, flatStem, Frame, namedAxes, threadItems, type Context } from './frame.ts';
import { capacityOf, keyOf, partsOf, scheduleSort } from './sort.ts';

type SortGroup = Extract<Group, { template: 'sort' }>;

/** The kernels of a sort whose rows are merged, in order. */
export function scheduleMergeSort(group: SortGroup, context: Context): readonly Kernel[] {
  const { sort } = group;
  const { x, along } = partsOf(sort);
  const most = sizeBound(along.size);
  const width = capacityOf(context.profile);
  /** Positions of all elements; the last pass stores only the ranks asked for. */
  const order: Node = { ...sort, type: { axes: x.type.axes, dtype: sort.type.dtype } };
  const stored = (): Placement => ({ storage: context.room(order) });
  let last = stored();
  const first = last;
  const kernels = [scheduleSort(group, { ...context, target: () => first }, Math.ceil(most / width))];
  for (let run = width; run < most; run *= 2) {
    const [from, to] = [last, 2 * run < most ? stored() : context.target(sort)];
    const place = (node: Node): Placement | undefined => (node === order ? from : context.place(node));
    kernels.push(scheduleMerge(group, order, run, { ...context, place, target: () => to }, 2 * run >= most));
    last = to;
  }
  return kernels;
}

/** One pass: of two sorted runs of `run` elements, the second shorter or empty at the end of a row, one. */
function scheduleMerge(group: SortGroup, order: Node, run: number, context: Context, isLast: boolean): Kernel {
  const { sort } = group;
  const { x, along, isFalling } = partsOf(sort);
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes } = isLast ? sort.type : x.type;
  const length = sizeIndex(along.size);
  const { grid, item, test } = threadItems(frame.body, flatStem(axes), count(axes), 64, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const own = namedAxes(body, item, axes);
    const at = own.get(along.name) ?? constantIndex(0);
    const number = (block: Block, stem: string, text: string): string => block.let(stem, code(text, 'u32')).text;
    /** The position that stands at an element of the order so far. */
    const positionAt = (block: Block, element: string): Code => {
      const index = atomIndex(loopVariable(number(block, 'element', element), length));
      const position = lowering.value(block, order, new Map(own).set(along.name, index), 1);
      return block.let('position', code(`u32(${position.text})`, 'u32', position.needs));
    };
    const keyAt = (block: Block, position: Code): string => {
      const index = atomIndex(loopVariable(position.text, length));
      const value = lowering.value(block, x, new Map(own).set(along.name, index), 1);
      return block.let('key', keyOf(value, isFalling)).text;
    };
    const base = number(body, 'base', `(${indexText(at)} / ${2 * run}u) * ${2 * run}u`);
    const middle = number(body, 'middle', `min(${base} + ${run}u, ${indexText(length)})`);
    const end = number(body, 'end', `min(${base} + ${2 * run}u, ${indexText(length)})`);
    const before = number(body, 'before', `${indexText(at)} - ${base}`);
    // How many of the elements before this one come from the first run.
    const low = body.var('low', code(`max(${before}, ${end} - ${middle}) - (${end} - ${middle})`, 'u32'));
    const high = body.var('high', code(`min(${before}, ${middle} - ${base})`, 'u32'));
    body.loop(
      'step',
      constantIndex(Math.log2(run) + 1),
      (inside) => {
        inside.when(`${low.text} < ${high.text}`, (open) => {
          const half = number(open, 'half', `(${low.text} + ${high.text}) / 2u`);
          const a = keyAt(open, positionAt(open, `${base} + ${half}`));
          const b = keyAt(open, positionAt(open, `${middle} + ${before} - 1u - ${half}`));
          // Of equal elements that of the first run comes first.
          const isFirst = `${a} <= ${b}`;
          const [up, down] = [
            `select(${low.text}, ${half} + 1u, ${isFirst})`,
            `select(${half}, ${high.text}, ${isFirst})`,
          ];
          const next = number(open, 'next', up);
          open.assign(high.text, code(down, 'u32'));
          open.assign(low.text, code(next, 'u32'));
        });
      },
      { endText: `${Math.log2(run) + 1}u + ${unknownZero}` },
    );
    const [a, b] = [`${base} + ${low.text}`, `${middle} + ${before} - ${low.text}`].map((text) =>
      number(body, 'next', text),
    );
    if (a === undefined || b === undefined) throw new TypeError('two runs are merged');
    const result = body.var('result', code('0u', 'u32'));
    const takeFrom = (block: Block, element: string): void => block.assign(result.text, positionAt(block, element));
    body.when(`${b} >= ${end}`, (inside) => takeFrom(inside, a));
    body.when(`${a} >= ${middle}`, (inside) => takeFrom(inside, b));
    body.when(`${a} < ${middle} && ${b} < ${end}`, (inside) => {
      const [p, q] = [positionAt(inside, a), positionAt(inside, b)];
      const isFirst = `${keyAt(inside, p)} <= ${keyAt(inside, q)}`;
      inside.assign(result.text, code(`select(${q.text}, ${p.text}, ${isFirst})`, 'u32'));
    });
    lowering.store(body, context.target(sort), own, code(`i32(${result.text})`, 'i32'), 1);
  });
  return frame.finish('merge of sorted runs', 64, grid);
}
