// One workgroup per row: its lanes walk the reduced axes together, reduce their partial results, and walk the row again for the next level.
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, literal, splat, type Code } from '../../dsl/wgsl.ts';
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
    const ownTurns = bySubgroup ? turnsHeld(group, steps, { width, lanes, together }, context) : undefined;
    const lane = indexVariable(laneName, constantIndex(lanes));
    /** What is done at each place of the row, and whether there is such a place. */
    const walk = (block: Block, write: (body: Block, place: Place, row: Row) => void) => {
      const at = (inside: Block, i: Index, test: string): void => {
        const along = namedAxes(inside, elementAt(i, width), inner);
        for (const row of each) {
          for (const [reduction, whole] of row.reduced) lowering.held.set(reduction, () => whole);
          write(inside, { index: new Map([...row.at, ...along]), test }, row);
        }
      };
      // Written out, what one walk has computed is still there in the next.
      if (ownTurns !== undefined)
        for (let turn = 0; turn < ownTurns; turn++) {
          const i = add(lane, constantIndex(turn * lanes));
          at(block, clamp(i, steps), i.most < steps.least ? 'true' : `${indexText(i)} < ${indexText(steps)}`);
        }
      else block.loop(flatStem(inner, width), steps, (inside, i) => at(inside, i, 'true'), { from: lane, step: lanes });
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
      walk(body, (inside, { index, test }, row) => {
        for (const { reduction, op, acc } of partial.get(row) ?? []) {
          const operand = reduction.inputs[0];
          if (operand === undefined) continue;
          const value = splat(lowering.value(inside, operand, index, width), acc.type);
          const identity = splat(
            literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype)),
            acc.type,
          );
          const own =
            test === 'true' ? value : code(`select(${identity.text}, ${value.text}, ${test})`, acc.type, value.needs);
          inside.assign(acc.text, op.wgsl(acc, own));
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
      walk(body, (inside, { index, test }, row) => {
        const tests = [row.test, test].filter((one) => one !== 'true');
        inside.when(tests.join(' && ') || 'true', (store) => {
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

interface Place {
  readonly index: ReadonlyMap<string, Index>;
  readonly test: string;
}

/** Numbers of a row that a lane keeps, at most: the driver has them on its stack, side by side, and compiles every load. */
const mostHeld = 96;

/**
 * Turns of a lane along its row, where it keeps what it loads and computes for the walks that follow: rows that are short enough, walked more
 * than once, in a kernel that is enough work for the driver to compile more of it. Undefined where it walks again.
 */
function turnsHeld(
  { reductions, nodes, roots }: Extract<Group, { template: 'rows' }>,
  steps: Index,
  { width, lanes, together }: { readonly width: Width; readonly lanes: number; readonly together: number },
  { profile }: Context,
): number | undefined {
  const turns = Math.ceil(steps.most / lanes);
  const [first] = reductions;
  const elements = elementsOf(first?.inputs[0]?.type.axes ?? []);
  const isOverRow = roots.some((root) => root.type.axes.length === first?.inputs[0]?.type.axes.length);
  const walks = reduceLevels(reductions, nodes).length + (isOverRow ? 1 : 0);
  const isShort = steps.terms.length === 0 && turns * width * together <= mostHeld;
  return isShort && walks > 1 && 4 * elements >= choicesOf(profile).leastWork ? turns : undefined;
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
