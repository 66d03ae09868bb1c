// One workgroup per row: its lanes walk the reduced axes together, reduce their partial results, and walk the row again for the next level.
import { reducedAxes } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, literal, splat, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { constantIndex, divide, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block, Kernel } from '../kernel/kernel.ts';
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
  const line = lineGrid(rows, context.profile.maxGrid);
  const laneName = bySubgroup ? 'lane' : 'thread';

  const row = frame.body.index(flatStem(outer), line.item, rows);
  frame.body.when(line.exact ? 'true' : `${indexText(row)} < ${indexText(rows)}`, (body) => {
    const at = namedAxes(body, row, outer);
    const walk = (block: Block, write: (body: Block, index: ReadonlyMap<string, Index>) => void) => {
      block.loop(
        flatStem(inner, width),
        steps,
        (inside, i) => write(inside, new Map([...at, ...namedAxes(inside, elementAt(i, width), inner)])),
        { from: indexVariable(laneName, constantIndex(lanes)), step: lanes },
      );
    };
    for (const level of reduceLevels(group.reductions, group.nodes)) {
      const partial = level.map((reduction) => {
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
      });
      walk(body, (inside, index) => {
        for (const { reduction, op, acc } of partial) {
          const operand = reduction.inputs[0];
          if (operand !== undefined)
            inside.assign(acc.text, op.wgsl(acc, splat(lowering.value(inside, operand, index, width), acc.type)));
        }
      });
      for (const { reduction, op, acc } of partial) {
        const one = reduceComponents(body, op, acc);
        const whole = bySubgroup ? reduceLanes(body, op, one, lanes) : reduceWorkgroup(frame, body, op, one, lanes);
        lowering.held.set(reduction, () => whole);
      }
    }
    const overRow = group.roots.filter((root) => root.type.axes.length !== outer.length);
    if (overRow.length > 0) {
      walk(body, (inside, index) => {
        for (const root of overRow)
          lowering.store(inside, context.target(root), index, lowering.value(inside, root, index, width), width);
      });
    }
    const perRow = group.roots.filter((root) => root.type.axes.length === outer.length);
    if (perRow.length > 0) {
      body.when(`${laneName} == 0u`, (inside) => {
        for (const root of perRow)
          lowering.store(inside, context.target(root), at, lowering.value(inside, root, at, 1), 1);
      });
    }
  });
  return frame.finish('rows', lanes, line.grid, { subgroups: bySubgroup });
}

/** Enough threads for the row, a power of two. */
function workgroupFor(steps: number, most: number): number {
  let threads = 32;
  while (threads < steps && threads < 256 && threads * 2 <= most) threads *= 2;
  return threads;
}

/** Reductions over a workgroup by a tree in workgroup memory: no subgroups needed, the same bits every time. */
function reduceWorkgroup(frame: Frame, body: Block, op: ReduceOp, acc: Code, threads: number): Code {
  const memory = frame.share('partial', acc.type, threads);
  const at = (i: string) => code(`${memory}[${i}]`, acc.type, acc.needs);
  body.assign(`${memory}[thread]`, acc);
  body.barrier();
  for (let half = threads / 2; half >= 1; half /= 2) {
    body.when(`thread < ${half}u`, (inside) =>
      inside.assign(`${memory}[thread]`, op.wgsl(at('thread'), at(`thread + ${half}u`))),
    );
    body.barrier();
  }
  return body.let('reduced', at('0'));
}
