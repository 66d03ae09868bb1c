// One workgroup per row: its lanes walk the reduced axes together, reduce their partial results, and walk the row again for the next level.
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { literal, splat, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { choicesOf } from '../profile.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import {
  count,
  elementAt,
  flatStem,
  namedAxes,
  reduceComponents,
  reduceLanes,
  Frame,
  indexVariable,
  isQuartered,
  lineGrid,
  type Context,
} from './frame.ts';
import { reduceLevels } from './levels.ts';
import { lanesOf, reduceThreads } from './workgroup-reduction.ts';

export function scheduleRows(group: Extract<Group, { template: 'rows' }>, context: Context): Kernel {
  const [first] = group.reductions;
  const x = first?.inputs[0];
  if (first === undefined || x === undefined) throw new TypeError('a group of rows without a reduction');
  const { profile } = context;
  const reduced = reducedAxes(first);
  const outer = x.type.axes.filter((a) => !reduced.includes(a.name));
  const inner = x.type.axes.filter((a) => reduced.includes(a.name));
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const length = count(inner);
  const wide = isQuartered(inner.at(-1)) && x.type.axes.at(-1)?.name === inner.at(-1)?.name;
  const width: Width = wide ? 4 : 1;
  const steps = wide ? divide(length, constantIndex(4)) : length;
  const lanes =
    profile.software && profile.subgroupSize !== undefined
      ? profile.subgroupSize
      : workgroupFor(steps.most, profile.maxWorkgroupThreads);
  const bySubgroup = profile.software && profile.subgroupSize !== undefined;
  const rows = count(outer);
  const together = bySubgroup ? rowsTogether(group, outer, inner, context) : 1;
  const tiles = ceilDivide(rows, together);
  const line = lineGrid(tiles, context.profile.maxGrid);
  const laneName = bySubgroup ? 'lane' : 'thread';
  const shuffles = bySubgroup ? undefined : lanesOf(profile, lanes);
  const ofWorkgroup = (body: Block, op: ReduceOp, own: Code): Code => {
    const memory = frame.share('partial', own.type, shuffles === undefined ? lanes : lanes / shuffles);
    const workgroup = { threads: lanes, lanes: shuffles, memory: (place: string) => `${memory}[${place}]` };
    return reduceThreads(body, op, [{ own, in: workgroup }])[0] ?? own;
  };

  const stem = flatStem(outer);
  const tile = frame.body.index(together === 1 ? stem : `${stem}_tile`, line.item, tiles);
  frame.body.when(line.exact ? 'true' : `${indexText(tile)} < ${indexText(tiles)}`, (body) => {
    const isFull = together === 1 || (rows.terms.length === 0 && rows.constant % together === 0);
    // Beyond the last row it is computed again, and not written.
    const numbers = Array.from({ length: together }, (_, r) => add(scale(tile, together), constantIndex(r)));
    const each = numbers.map((row): Row => ({
      at: namedAxes(body, clamp(row, rows), outer),
      test: isFull ? 'true' : `${indexText(row)} < ${indexText(rows)}`,
      reduced: new Map(),
    }));
    const walk = (block: Block, write: (body: Block, index: ReadonlyMap<string, Index>, row: Row) => void) => {
      block.loop(
        flatStem(inner, width),
        steps,
        (inside, i) => {
          const along = namedAxes(inside, elementAt(i, width), inner);
          for (const row of each) {
            for (const [reduction, whole] of row.reduced) lowering.held.set(reduction, () => whole);
            write(inside, new Map([...row.at, ...along]), row);
          }
        },
        { from: indexVariable(laneName, constantIndex(lanes)), step: lanes },
      );
    };
    for (const level of reduceLevels(group.reductions, group.nodes)) {
      const partial = new Map(
        each.map((row) => [
          row,
          level.map((reduction) => {
            const op = reduction.op as ReduceOp;
            return {
              reduction,
              op,
              acc: body.var(
                `running_${op.name}`,
                splat(
                  literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype)),
                  typeOf(reduction.type.dtype, width),
                ),
              ),
            };
          }),
        ]),
      );
      walk(body, (inside, index, row) => {
        for (const { reduction, op, acc } of partial.get(row) ?? []) {
          const operand = reduction.inputs[0];
          if (operand !== undefined)
            inside.assign(acc.text, op.wgsl(acc, splat(lowering.value(inside, operand, index, width), acc.type)));
        }
      });
      for (const [row, sums] of partial)
        for (const { reduction, op, acc } of sums) {
          const one = reduceComponents(body, op, acc);
          row.reduced.set(reduction, bySubgroup ? reduceLanes(body, op, one, lanes) : ofWorkgroup(body, op, one));
        }
    }
    const overRow = group.roots.filter((root) => root.type.axes.length !== outer.length);
    if (overRow.length > 0) {
      walk(body, (inside, index, row) => {
        inside.when(row.test, (store) => {
          for (const root of overRow)
            lowering.store(store, context.target(root), index, lowering.value(inside, root, index, width), width);
        });
      });
    }
    const perRow = group.roots.filter((root) => root.type.axes.length === outer.length);
    if (perRow.length > 0) {
      body.when(`${laneName} == 0u`, (inside) => {
        for (const { at, test, reduced: wholes } of each) {
          for (const [reduction, whole] of wholes) lowering.held.set(reduction, () => whole);
          inside.when(test, (store) => {
            for (const root of perRow)
              lowering.store(store, context.target(root), at, lowering.value(store, root, at, 1), 1);
          });
        }
      });
    }
  });
  return frame.finish('rows', lanes, line.grid, { subgroups: bySubgroup || shuffles !== undefined });
}

/** One of the rows that a workgroup has. */
interface Row {
  readonly at: ReadonlyMap<string, Index>;
  /** That there is such a row. */
  readonly test: string;
  readonly reduced: Map<Node, Code>;
}

/** What all rows read alike is loaded once for so many. */
const sharing = 2;

/**
 * Rows of a subgroup: several where something stored is read along each of them and is the same for all, such as the scale of a norm, and the
 * kernel is enough work for the driver to compile more of it.
 */
function rowsTogether(
  { nodes }: Extract<Group, { template: 'rows' }>,
  outer: readonly Axis[],
  inner: readonly Axis[],
  { profile }: Context,
): number {
  const isAlong = ({ type }: Node): boolean =>
    type.axes.length > 0 && type.axes.every(({ name }) => inner.some((axis) => axis.name === name));
  const isRead = (x: Node): boolean => (x.op.kind === 'source' ? x.op.role !== 'index' : !nodes.has(x));
  const sharesOne = [...nodes].some((node) => node.inputs.some((x) => isRead(x) && isAlong(x)));
  const elements = elementsOf([...outer, ...inner]);
  return sharesOne && 4 * elements >= choicesOf(profile).leastWork ? sharing : 1;
}

/** Enough threads for the row, a power of two. */
function workgroupFor(steps: number, most: number): number {
  let threads = 32;
  while (threads < steps && threads < 256 && threads * 2 <= most) threads *= 2;
  return threads;
}
