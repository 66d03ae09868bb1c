// One thread per row (or per four neighbouring rows): it walks the folded axes in loops. For short folds, for folds over an axis that is
// not the contiguous one, and for contractions with no tile to speak of.
import type { Axis } from '../../dsl/axis.ts';
import { axisNames } from '../../dsl/graph.ts';
import type { FoldOp } from '../../dsl/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { computeType } from '../../dsl/ops/map.ts';
import { literal, splat, wgsl } from '../../dsl/wgsl.ts';
import type { Group } from '../group.ts';
import { add, constantIndex, divide, scale, sizeIndex, type Index } from '../index-math.ts';
import type { Block, Kernel } from '../kernel.ts';
import { quad, typeOf, type Width } from '../lower.ts';
import { component, count, Frame, isQuartered, takeApart, threadItems, throughChain, type Context } from './frame.ts';
import { foldLevels } from './levels.ts';

const threads = 64;

export function scheduleSerialRows(group: Extract<Group, { template: 'rows' }>, context: Context): Kernel {
  const [first] = group.folds;
  const x = first?.inputs[0];
  if (first === undefined || x === undefined) throw new TypeError('a group of rows without a fold');
  const folded = axisNames(first.attrs['axes']);
  const outer = x.type.axes.filter((a) => !folded.includes(a.name));
  const inner = x.type.axes.filter((a) => folded.includes(a.name));
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const wide = isQuartered(outer.at(-1)) && x.type.axes.at(-1)?.name === outer.at(-1)?.name;
  const width: Width = wide ? 4 : 1;
  const { grid, item, test } = threadItems(frame.body, wide ? divide(count(outer), constantIndex(4)) : count(outer), threads, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const row = takeApart(wide ? add(scale(item, 4), quad) : item, outer);
    for (const level of foldLevels(group.folds, group.nodes)) {
      const accumulators = level.map((fold) => ({ fold, op: fold.op as FoldOp, acc: body.var('acc', splat(literal((fold.op as FoldOp).identityOf(fold.type.dtype), computeType(fold.type.dtype)), typeOf(fold.type.dtype, width))) }));
      nest(body, inner, row, (deep, index) => {
        for (const { fold, op, acc } of accumulators) {
          const operand = fold.inputs[0];
          if (operand !== undefined) deep.assign(acc.text, op.wgsl(acc, splat(lowering.value(deep, operand, index, width), acc.type)));
        }
      });
      for (const { fold, acc } of accumulators) {
        const lastAxis = outer.at(-1)?.name ?? '';
        lowering.held.set(fold, (_b, index, w) => (w === width ? acc : component(acc, index.get(lastAxis) ?? constantIndex(0))));
      }
    }
    for (const root of group.roots) {
      const write = (at: Block, index: ReadonlyMap<string, Index>) => lowering.store(at, context.target(root), index, lowering.value(at, root, index, width), width);
      if (root.type.axes.length === outer.length) write(body, row);
      else nest(body, inner, row, write);
    }
  });
  return frame.finish('serial rows', threads, grid);
}

/** Loops over the axes, outermost first. */
function nest(body: Block, axes: readonly Axis[], index: ReadonlyMap<string, Index>, write: (body: Block, index: ReadonlyMap<string, Index>) => void): void {
  const [first, ...rest] = axes;
  if (first === undefined) { write(body, index); return; }
  body.loop('i', sizeIndex(first.size), (inside, i) => nest(inside, rest, new Map(index).set(first.name, i), write));
}

/** A contraction without tiles: every thread sums its own products. */
export function scheduleSerialContract(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const { contract, chain } = group;
  const [a, b] = contract.inputs;
  if (a === undefined || b === undefined) throw new TypeError('a contraction without operands');
  const { sum } = roles(a.type, b.type, contract.type);
  const ordered = [...a.type.axes, ...b.type.axes].filter((x, i, all) => sum.some((s) => s.name === x.name) && all.findIndex((y) => y.name === x.name) === i);
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes } = contract.type;
  const wide = isQuartered(axes.at(-1));
  const width: Width = wide ? 4 : 1;
  const { grid, item, test } = threadItems(frame.body, wide ? divide(count(axes), constantIndex(4)) : count(axes), threads, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const index = takeApart(wide ? add(scale(item, 4), quad) : item, axes);
    const acc = body.var('acc', splat(literal(0, 'f32'), typeOf('f32', width)));
    nest(body, ordered, index, (deep, at) => {
      const x = splat(lowering.value(deep, a, at, width), acc.type);
      const y = splat(lowering.value(deep, b, at, width), acc.type);
      deep.assign(acc.text, wgsl`fma(${x}, ${y}, ${acc})`);
    });
    lowering.held.set(contract, (_b, at, w) => (w === width ? acc : component(acc, at.get(axes.at(-1)?.name ?? '') ?? constantIndex(0))));
    const rootIndex = throughChain(chain, index);
    for (const root of group.roots) lowering.store(body, context.target(root), rootIndex, lowering.value(body, root, rootIndex, width), width);
  });
  return frame.finish('serial contraction', threads, grid);
}
