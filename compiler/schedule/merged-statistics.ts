// What other kernels have left of the rows of a tile, merged by its workgroup before it sums: a few threads a row, all rows at once, and the
// same numbers in the same order in every tile.
import { axisOf } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, literal, splat, vectorType, type Code, type WgslType } from '../../dsl/wgsl.ts';
import { rowReductions, type Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, sizeIndex, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { mentions } from '../index/index-variables.ts';
import { ceilDivide, type Block } from '../kernel/kernel.ts';
import { compose, type Width } from '../kernel/element-format.ts';
import { onLane, quadName } from '../kernel/quad.ts';
import type { IndexMap } from '../kernel/storage.ts';
import type { Product } from './contract.ts';
import { indexVariable, reduceLanes, type Frame } from './frame.ts';
import { reduceLevels } from './levels.ts';
import { indexInRow, readAlongSum } from './row-statistics.ts';

/** Running results of a row, whichever threads have them: each is of every eighth part. */
const running = 8;

export interface RowsOfTile {
  readonly product: Product;
  readonly batch: IndexMap;
  readonly firstRow: Index;
  readonly tileRows: number;
  readonly subgroups: number;
  readonly lanes: number;
}

type ProductGroup = Extract<Group, { template: 'contract' }>;

/** Bytes of workgroup memory that it takes for a group. */
export function mergedBytes(product: Product, group: ProductGroup, tileRows: number): number {
  return group.merges === true ? 4 * tileRows * readAlongSum(product, group.nodes).length : 0;
}

/** Merges all that is left of every row, in order. The function that is returned makes what a row of the tile has one of what the lowering reads. */
export function mergeTileRows(
  frame: Frame,
  group: ProductGroup,
  { product, batch, firstRow, tileRows, subgroups, lanes }: RowsOfTile,
): (row: Index) => void {
  const { lowering, body } = frame;
  const reductions = rowReductions(group);
  let perRow = 1;
  while (perRow < running && perRow * 2 <= lanes && perRow * 2 * tileRows <= subgroups * lanes) perRow *= 2;
  const atOnce = (subgroups * lanes) / perRow;
  const lane = indexVariable('lane', constantIndex(lanes));
  const laneOfRow = body.named('lane_of_row', remainder(lane, constantIndex(perRow)));
  const firstOfThread = add(
    scale(indexVariable('subgroup', constantIndex(subgroups)), lanes / perRow),
    divide(lane, constantIndex(perRow)),
  );
  const kept = readAlongSum(product, group.nodes).map((node) => ({
    node,
    name: frame.share('of_rows', computeType(node.type.dtype), tileRows),
  }));
  const merge = (inside: Block, row: Index): void => {
    const at = clamp(add(firstRow, row), product.m);
    const ofRow = indexInRow({ product, nodes: group.nodes }, batch, at, undefined);
    for (const level of reduceLevels(reductions, group.nodes))
      for (const reduction of level) {
        const whole = mergeParts(inside, reduction, ofRow);
        lowering.held.set(reduction, () => whole);
      }
    const values = kept.map(({ node, name }) => ({ name, value: lowering.value(inside, node, ofRow, 1) }));
    const tests = [
      ...(perRow > 1 ? [`${indexText(laneOfRow)} == 0u`] : []),
      ...(tileRows % atOnce === 0 ? [] : [`${indexText(row)} < ${tileRows}u`]),
    ];
    inside.when(tests.join(' && ') || 'true', (one) =>
      values.forEach(({ name, value }) => one.assign(`${name}[${indexText(row)}]`, value)),
    );
  };
  const mergeParts = (inside: Block, reduction: Node, ofRow: IndexMap): Code => {
    const op = reduction.op as ReduceOp;
    const [operand] = reduction.inputs;
    const [axis = ''] = reducedAxes(reduction);
    const size = axisOf(operand?.type.axes ?? [], axis)?.size;
    if (operand === undefined || size === undefined) throw new TypeError('a reduction without an operand');
    const parts = sizeIndex(size);
    const identity = literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype));
    const sums = Array.from({ length: running / perRow }, () => inside.var(`running_${op.name}`, identity));
    inside.loop('step', ceilDivide(parts, running), (each, step) =>
      sums.forEach((sum, i) => {
        const part = add(scale(step, running), constantIndex(i * perRow), laneOfRow);
        const isWhole = parts.terms.length === 0 && parts.constant % running === 0;
        each.when(isWhole ? 'true' : `${indexText(part)} < ${indexText(parts)}`, (one) => {
          const index = new Map(ofRow).set(axis, isWhole ? part : clamp(part, parts));
          one.assign(sum.text, op.wgsl(sum, lowering.value(one, operand, index, 1)));
        });
      }),
    );
    // Those farthest apart first: within a thread, then among neighbours, which is one order however many of them there are.
    let some: readonly Code[] = sums;
    while (some.length > 1) {
      const half = some.length / 2;
      some = some.slice(0, half).map((sum, i) => inside.let('reduced', op.wgsl(sum, some[half + i] ?? sum)));
    }
    return reduceLanes(inside, op, some[0] ?? identity, perRow);
  };
  if (tileRows <= atOnce) merge(body, firstOfThread);
  else
    body.loop('pass', constantIndex(Math.ceil(tileRows / atOnce)), (inside, pass) =>
      merge(inside, add(scale(pass, atOnce), firstOfThread)),
    );
  body.barrier();
  for (const reduction of reductions) lowering.held.delete(reduction);
  return (row) => {
    for (const { node, name } of kept)
      lowering.held.set(node, (_block, _index, width) => keptOf(name, row, computeType(node.type.dtype), width));
  };
}

/** What is kept of a row, or of four neighbours. */
function keptOf(name: string, row: Index, type: WgslType, width: Width): Code {
  const of = (one: Index): Code => code(`${name}[${indexText(one)}]`, type);
  if (width === 1) return of(row);
  return mentions(row, quadName)
    ? compose([0, 1, 2, 3].map((lane) => of(onLane(row, lane))))
    : splat(of(row), vectorType(type));
}
