// Reductions along the rows of a tile, made by its workgroup before it sums: a norm in front of a product needs no kernel of its own, and its
// result no memory. The rows are read once more, while they are in the caches.
import type { Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, literal } from '../../dsl/wgsl.ts';
import { rowReductions, type Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { IndexMap } from '../kernel/storage.ts';
import type { Product } from './contract.ts';
import { indexVariable, type Frame } from './frame.ts';
import { reduceLevels } from './levels.ts';
import { indexInRow, mapsPerRow } from './row-statistics.ts';

/** Threads that walk a row together: what they load lies side by side. */
const lanes = 16;

export interface TileOfRows {
  readonly product: Product;
  readonly batch: IndexMap;
  readonly firstRow: Index;
  /** A multiple of `threads / lanes`. */
  readonly tileRows: number;
  readonly threads: number;
}

type ProductGroup = Extract<Group, { template: 'contract' }>;

/** What a row has one of; of maps that follow one another the last. */
function keptPerRow(product: Product, { nodes }: ProductGroup): readonly Node[] {
  const maps = mapsPerRow(product, nodes);
  const others = [...nodes].filter((node) => !maps.includes(node));
  return maps.filter((node) => node === product.a || others.some(({ inputs }) => inputs.includes(node)));
}

/** Bytes of workgroup memory that it takes for a group. */
export function statisticsBytes(product: Product, group: ProductGroup, tileRows: number, threads: number): number {
  const reductions = rowReductions(group).length;
  return reductions === 0 ? 0 : 4 * (reductions * (tileRows + threads) + keptPerRow(product, group).length * tileRows);
}

/** Reduces every row for all reductions of the group, in order. The function that is returned makes those of a row of the tile what the lowering reads. */
export function reduceTileRows(
  frame: Frame,
  group: ProductGroup,
  { product, batch, firstRow, tileRows, threads }: TileOfRows,
): (row: Index) => void {
  const { lowering, body } = frame;
  const reductions = rowReductions(group);
  if (reductions.length === 0) return () => undefined;
  const thread = indexVariable('thread', constantIndex(threads));
  const lane = body.named('lane_of_row', remainder(thread, constantIndex(lanes)));
  const ofThread = body.named('row_of_thread', divide(thread, constantIndex(lanes)));
  /** Arrays by what they hold of each row of the tile. */
  const held = new Map<Node, string>();
  const show = (row: Index): void => {
    for (const [node, name] of held)
      lowering.held.set(node, () => code(`${name}[${indexText(row)}]`, computeType(node.type.dtype)));
  };
  const rowAt = (row: Index): Index => clamp(add(firstRow, row), product.m);
  for (const level of reduceLevels(reductions, group.nodes)) {
    const running = level.map((reduction) => {
      const type = computeType(reduction.type.dtype);
      return {
        reduction,
        op: reduction.op as ReduceOp,
        partial: frame.share('of_lanes', type, threads),
        result: frame.share('of_rows', type, tileRows),
      };
    });
    body.loop('pass', constantIndex(tileRows / (threads / lanes)), (inside, pass) => {
      const row = inside.named('row_in_tile', add(scale(pass, threads / lanes), ofThread));
      show(row);
      const sums = running.map(({ reduction, op }) => {
        const identity = literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype));
        return inside.var(`running_${op.name}`, identity);
      });
      inside.loop(
        product.names.sum,
        product.k,
        (each, i) => {
          // By elements, as the tile is staged: by vectors they would take a binding more.
          const index = indexInRow({ product, nodes: group.nodes }, batch, rowAt(row), i);
          running.forEach(({ reduction, op }, r) => {
            const [operand] = reduction.inputs;
            const sum = sums[r];
            if (operand !== undefined && sum !== undefined)
              each.assign(sum.text, op.wgsl(sum, lowering.value(each, operand, index, 1)));
          });
        },
        { from: lane, step: lanes },
      );
      running.forEach(({ partial }, r) => {
        const sum = sums[r];
        if (sum !== undefined) inside.assign(`${partial}[thread]`, sum);
      });
      inside.barrier();
      inside.when(`${indexText(lane)} == 0u`, (first) =>
        running.forEach(({ reduction, op, partial, result }) => {
          const type = computeType(reduction.type.dtype);
          const parts = Array.from({ length: lanes }, (_, l) => code(`${partial}[thread + ${l}u]`, type));
          const whole = parts.reduce((all, part) => first.let('reduced', op.wgsl(all, part)));
          first.assign(`${result}[${indexText(row)}]`, whole);
        }),
      );
      inside.barrier();
    });
    for (const { reduction, result } of running) held.set(reduction, result);
  }
  // Computed before the sum, not once a term.
  const perRow = keptPerRow(product, group).map((node) => ({
    node,
    result: frame.share('of_rows', computeType(node.type.dtype), tileRows),
  }));
  if (perRow.length > 0) {
    body.loop(
      'row_in_tile',
      constantIndex(tileRows),
      (inside, row) => {
        show(row);
        const index = indexInRow({ product, nodes: group.nodes }, batch, rowAt(row), undefined);
        for (const { node, result } of perRow)
          inside.assign(`${result}[${indexText(row)}]`, lowering.value(inside, node, index, 1));
      },
      { from: thread, step: threads },
    );
    body.barrier();
    for (const { node, result } of perRow) held.set(node, result);
  }
  return show;
}
