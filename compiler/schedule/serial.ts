// One thread per row (or per four neighbouring rows): it walks the reduced axes in loops. For short reductions, for reductions over an axis that is
// not the contiguous one, and for contractions with no tile to speak of.
import { storeRoots } from './epilogue.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import type { Block, Kernel } from '../kernel/kernel.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import {
  component,
  count,
  elementAt,
  flatStem,
  Frame,
  isQuartered,
  namedAxes,
  threadItems,
  walkAxes,
  type Context,
} from './frame.ts';
import { reduceLevels } from './levels.ts';
import { findNeighbours, type Neighbours } from './neighbours.ts';

const threads = 64;

export function scheduleSerialRows(group: Extract<Group, { template: 'rows' }>, context: Context): Kernel {
  const [first] = group.reductions;
  const x = first?.inputs[0];
  if (first === undefined || x === undefined) throw new TypeError('a group of rows without a reduction');
  const reduced = reducedAxes(first);
  const outer = x.type.axes.filter((a) => !reduced.includes(a.name));
  const inner = x.type.axes.filter((a) => reduced.includes(a.name));
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const wide = isQuartered(outer.at(-1)) && x.type.axes.at(-1)?.name === outer.at(-1)?.name;
  const width: Width = wide ? 4 : 1;
  const levels = reduceLevels(group.reductions, group.nodes);
  // Where reductions follow reductions, or whole rows are written, every row is walked again: nothing is gained by walking several.
  const isPlain = levels.length === 1 && group.roots.every((root) => root.type.axes.length === outer.length);
  const run = isPlain
    ? findNeighbours(
        outer,
        inner,
        wide,
        group.reductions.flatMap((reduction) => reduction.inputs),
        context,
      )
    : undefined;
  const items = blocked(outer, run);
  const { grid, item, test } = threadItems(
    frame.body,
    blockedStem(outer, run, width),
    wide ? divide(count(items), constantIndex(4)) : count(items),
    threads,
    context.profile.maxGrid,
  );
  frame.body.when(test, (body) => {
    const elements = elementsOf(namedAxes(body, elementAt(item, width), items), run);
    for (const level of levels) {
      const accumulators = elements.map(() =>
        level.map((reduction) => ({
          reduction,
          op: reduction.op as ReduceOp,
          acc: body.var(
            `running_${reduction.op.name}`,
            splat(
              literal((reduction.op as ReduceOp).identityOf(reduction.type.dtype), computeType(reduction.type.dtype)),
              typeOf(reduction.type.dtype, width),
            ),
          ),
        })),
      );
      walkAxes(body, unrolled(inner, run), new Map(), (deep, reduced) => {
        for (const last of lastIndices(run)) {
          elements.forEach((row, r) => {
            for (const { reduction, op, acc } of accumulators[r] ?? []) {
              const operand = reduction.inputs[0];
              if (operand !== undefined)
                deep.assign(
                  acc.text,
                  op.wgsl(
                    acc,
                    splat(lowering.value(deep, operand, new Map([...row, ...reduced, ...last]), width), acc.type),
                  ),
                );
            }
          });
        }
      });
      elements.forEach((row, r) => {
        hold(accumulators[r] ?? []);
        if (run !== undefined) store(body, row);
      });
    }
    if (run === undefined) for (const row of elements) store(body, row);
  });
  return frame.finish('serial rows', threads, grid);

  function hold(accumulators: readonly { readonly reduction: Node; readonly acc: Code }[]): void {
    const lastAxis = outer.at(-1)?.name ?? '';
    for (const { reduction, acc } of accumulators)
      lowering.held.set(reduction, (_b, index, w) =>
        w === width ? acc : component(acc, index.get(lastAxis) ?? constantIndex(0)),
      );
  }

  function store(body: Block, row: ReadonlyMap<string, Index>): void {
    for (const root of group.roots) {
      const write = (at: Block, index: ReadonlyMap<string, Index>) =>
        lowering.store(at, context.target(root), index, lowering.value(at, root, index, width), width);
      if (root.type.axes.length === outer.length) write(body, row);
      else walkAxes(body, inner, row, write);
    }
  }
}

/** The axes that threads count through: neighbours are one. */
function blocked(axes: readonly Axis[], run: Neighbours | undefined): readonly Axis[] {
  return run === undefined
    ? axes
    : axes.map((axis) => (axis.name === run.axis.name ? { ...axis, size: run.blocks } : axis));
}

/** What threads count: of neighbours, the first. */
function blockedStem(axes: readonly Axis[], run: Neighbours | undefined, width: Width): string {
  return run === undefined ? flatStem(axes, width) : `${flatStem(axes, width)}_run`;
}

/** The elements of a thread. */
function elementsOf(
  index: ReadonlyMap<string, Index>,
  run: Neighbours | undefined,
): readonly ReadonlyMap<string, Index>[] {
  if (run === undefined) return [index];
  const start = scale(index.get(run.axis.name) ?? constantIndex(0), run.length);
  return Array.from({ length: run.length }, (_, r) => new Map(index).set(run.axis.name, add(start, constantIndex(r))));
}

/** The summed axes that stay loops. */
function unrolled(inner: readonly Axis[], run: Neighbours | undefined): readonly Axis[] {
  return run === undefined ? inner : inner.slice(0, -1);
}

function lastIndices(run: Neighbours | undefined): readonly ReadonlyMap<string, Index>[] {
  return run === undefined
    ? [new Map()]
    : Array.from({ length: run.summed.length }, (_, k) => new Map([[run.summed.name, constantIndex(k)]]));
}

/** A contraction without tiles: every thread sums its own products, or those of neighbours whose windows overlap. */
export function scheduleSerialContract(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const { contract } = group;
  const [a, b] = contract.inputs;
  if (a === undefined || b === undefined) throw new TypeError('a contraction without operands');
  const { sum } = roles(a.type, b.type, contract.type);
  const ordered = [...a.type.axes, ...b.type.axes].filter(
    (x, i, all) => sum.some((s) => s.name === x.name) && all.findIndex((y) => y.name === x.name) === i,
  );
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes } = contract.type;
  const wide = isQuartered(axes.at(-1));
  const width: Width = wide ? 4 : 1;
  const run = findNeighbours(axes, ordered, wide, [a, b], context);
  const items = blocked(axes, run);
  const { grid, item, test } = threadItems(
    frame.body,
    blockedStem(axes, run, width),
    wide ? divide(count(items), constantIndex(4)) : count(items),
    threads,
    context.profile.maxGrid,
  );
  frame.body.when(test, (body) => {
    const elements = elementsOf(namedAxes(body, elementAt(item, width), items), run);
    const accumulators = elements.map((element) => ({
      element,
      acc: body.var('sum', splat(literal(0, 'f32'), typeOf('f32', width))),
    }));
    walkAxes(body, unrolled(ordered, run), new Map(), (deep, summed) => {
      for (const last of lastIndices(run)) {
        for (const { element, acc } of accumulators) {
          const at = new Map([...element, ...summed, ...last]);
          const x = splat(lowering.value(deep, a, at, width), acc.type);
          const y = splat(lowering.value(deep, b, at, width), acc.type);
          deep.assign(acc.text, wgsl`fma(${x}, ${y}, ${acc})`);
        }
      }
    });
    for (const { element, acc } of accumulators) {
      storeRoots(frame, body, group, element, { anchor: contract, value: acc, width, vector: axes.at(-1)?.name });
    }
  });
  return frame.finish('serial contraction', threads, grid);
}
