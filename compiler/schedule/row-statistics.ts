// Reductions along the rows of a product, made by its workgroup before it sums: a norm of a few rows needs no kernel of its own.
import { axisOf } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { isVector, literal, splat, type Code, type WgslType } from '../../dsl/wgsl.ts';
import { rowReductions, type Group } from '../fuse/group.ts';
import { constantIndex, divide, type Index } from '../index/index-math.ts';
import { renaming } from '../match/renaming.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import { indexOf, type Product } from './contract.ts';
import { elementAt, indexVariable, isQuartered, reduceComponents, type Frame } from './frame.ts';
import { reduceLevels } from './levels.ts';
import { reduceThreads } from './workgroup-reduction.ts';

export interface RowsOfProduct {
  readonly product: Product;
  readonly batch: IndexMap;
  /** The rows that a workgroup computes together. */
  readonly rows: readonly Index[];
  readonly threads: number;
  /** Lanes of a subgroup, where they exchange values by shuffles. */
  readonly lanes: number | undefined;
  /** Workgroup memory of a thread for each row; free before and after. */
  readonly memory: { readonly name: string; readonly type: WgslType };
}

/** Reduces every row for all reductions of the group, in order. The function that is returned makes those of one row what the lowering reads. */
export function reduceRows(
  frame: Frame,
  group: Extract<Group, { template: 'contract' }>,
  { product, batch, rows, threads, lanes, memory }: RowsOfProduct,
): (row: number) => void {
  const { lowering, body } = frame;
  const reductions = rowReductions(group);
  if (reductions.length === 0) return () => undefined;
  const wide = isQuartered(product.sum.at(-1));
  const width: Width = wide ? 4 : 1;
  const steps = divide(product.k, constantIndex(width));
  const found = new Map<Node, readonly Code[]>();
  const show = (row: number): void => {
    for (const [reduction, values] of found) lowering.held.set(reduction, () => values[row] ?? literal(0, 'f32'));
  };
  const thread = indexVariable('thread', constantIndex(threads));
  const component = isVector(memory.type) ? '.x' : '';
  const at = (row: number, place: string): string =>
    `${memory.name}[${row === 0 ? place : `${row * threads}u + ${place}`}]${component}`;
  for (const level of reduceLevels(reductions, group.nodes)) {
    const running = level.map((reduction) => {
      const op = reduction.op as ReduceOp;
      const identity = literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype));
      const type = typeOf(reduction.type.dtype, width);
      return { reduction, op, accumulators: rows.map(() => body.var(`running_${op.name}`, splat(identity, type))) };
    });
    body.loop(
      product.names.sum,
      steps,
      (inside, i) =>
        rows.forEach((row, r) => {
          show(r);
          const index = indexInRow({ product, nodes: group.nodes }, batch, row, elementAt(i, width));
          for (const { reduction, op, accumulators } of running) {
            const [operand] = reduction.inputs;
            const acc = accumulators[r];
            if (operand !== undefined && acc !== undefined)
              inside.assign(acc.text, op.wgsl(acc, splat(lowering.value(inside, operand, index, width), acc.type)));
          }
        }),
      { from: thread, step: threads },
    );
    for (const { reduction, op, accumulators } of running) {
      const own = accumulators.map((acc) => reduceComponents(body, op, acc));
      const results = reduceThreads(
        body,
        op,
        own.map((value, r) => ({ own: value, in: { threads, lanes, memory: (place: string) => at(r, place) } })),
      );
      found.set(
        reduction,
        results.map((result) => body.let('reduced', result)),
      );
      body.barrier();
    }
  }
  // What a row has one of is computed before the sum, not once a term.
  const perRow = mapsPerRow(product, group.nodes);
  rows.forEach((row, r) => {
    show(r);
    const index = indexInRow({ product, nodes: group.nodes }, batch, row, undefined);
    for (const node of perRow) lowering.value(body, node, index, 1);
  });
  return show;
}

/** The maps that the rows of a product are computed by and that a row has one of, in order. */
export function mapsPerRow(product: Product, nodes: ReadonlySet<Node>): readonly Node[] {
  const found = nodesUnder(product.a, nodes);
  const summed = [...summedNames(product, nodes), ...found.flatMap(reducedAxes)];
  return found
    .filter(({ op, type }) => op.kind === 'map' && summed.every((name) => axisOf(type.axes, name) === undefined))
    .sort((x, y) => x.id - y.id);
}

/** Of reductions and maps that a row has one of, those that something along its sum is computed from. */
export function readAlongSum(product: Product, nodes: ReadonlySet<Node>): readonly Node[] {
  const found = nodesUnder(product.a, nodes);
  const summed = summedNames(product, nodes);
  const along = found.filter(({ type }) => summed.some((name) => axisOf(type.axes, name) !== undefined));
  const perRow = [...found.filter(({ op }) => op.kind === 'reduce'), ...mapsPerRow(product, nodes)];
  return perRow.filter((node) => along.some(({ inputs }) => inputs.includes(node))).sort((x, y) => x.id - y.id);
}

/** What the summed axes of a product are called, by it and by what its rows are computed by. */
function summedNames(product: Product, nodes: ReadonlySet<Node>): readonly string[] {
  const otherNames = namesUnder(product, nodes);
  return product.sum.flatMap(({ name }) => [name, otherNames.get(name) ?? name]);
}

/**
 * Where a row, or a place in its sum, lies along every axis, for what the rows are computed by: axes that have another name there have their
 * place under that one.
 */
export function indexInRow(
  { product, nodes }: { readonly product: Product; readonly nodes: ReadonlySet<Node> },
  batch: IndexMap,
  row: Index,
  place: Index | undefined,
): IndexMap {
  const index = indexOf(product, batch, row, undefined, place);
  const under = [...namesUnder(product, nodes)].flatMap(([name, other]): readonly [string, Index][] => {
    const at = index.get(name);
    return at === undefined ? [] : [[other, at]];
  });
  return new Map([...index, ...under]);
}

/** The axes of a product's rows by name: what they are called under a renaming that the kernel makes. */
function namesUnder({ a }: Product, nodes: ReadonlySet<Node>): ReadonlyMap<string, string> {
  const renamed = nodes.has(a) ? renaming(a) : undefined;
  return new Map([...(renamed ?? [])].map(([from, to]) => [to, from]));
}

/** The nodes of a group that an operand is computed by. */
function nodesUnder(operand: Node, nodes: ReadonlySet<Node>): readonly Node[] {
  const found = new Set<Node>();
  const visit = (node: Node): void => {
    if (!nodes.has(node) || found.has(node)) return;
    found.add(node);
    node.inputs.forEach(visit);
  };
  visit(operand);
  return [...found];
}
