// Products by matrix units of few rows and columns and a long sum: too few tiles to fill the device with. The sum is made in parts side by
// side, as a product for each of them in single precision, and the parts are added in their order (split-K; CUTLASS calls it parallel split-K).
import { namesOf } from '../../dsl/axis/axes.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';

export interface SplitSumsOptions {
  readonly builder: Builder;
  /** Parts that the sum of a product is made in; 1 for what is left whole. */
  readonly partsOf: (contract: Node) => number;
}

/** The graph with long sums of few results in parts; of products with weights alone, which no pattern of attention is looked for in. */
export function splitSums(graph: Graph, { builder, partsOf }: SplitSumsOptions): Graph {
  const made = new Map<Node, Node>();
  let changed = false;
  for (const node of order(graph)) {
    const next = rebuilt(node, (input) => must(made, input), builder);
    const parts = node.op.kind === 'contract' && node.inputs.some(isFixed) ? partsOf(node) : 1;
    const split = parts > 1 ? inParts(next, parts, builder) : undefined;
    changed ||= split !== undefined;
    made.set(node, split ?? next);
  }
  return changed ? mapGraph(graph, (node) => must(made, node)) : graph;
}

/** Undefined where what is summed is not one axis of a fixed size that is a multiple of the parts. */
function inParts(contract: Node, parts: number, builder: Builder): Node | undefined {
  const [a, b] = contract.inputs;
  if (a === undefined || b === undefined) return undefined;
  const [axis, ...more] = roles(a.type, b.type, contract.type).sum;
  if (axis === undefined || more.length > 0 || typeof axis.size !== 'number' || axis.size % parts !== 0)
    return undefined;
  const size = axis.size / parts;
  const taken = new Set([a, b, contract].flatMap((node) => namesOf(node.type.axes)));
  const fresh = (stem: string): string => {
    let name = stem;
    while (taken.has(name)) name += '_';
    taken.add(name);
    return name;
  };
  const [part, term] = [fresh(`part_of_${axis.name}`), fresh(`${axis.name}_in_part`)];
  const { origin } = contract;
  const apart = (operand: Node): Node => {
    const names = namesOf(operand.type.axes);
    return builder.make(
      rearrange,
      [operand],
      {
        split: names.map((name) => (name === axis.name ? [part, term] : [name])),
        merge: [part, ...names.map((name) => (name === axis.name ? term : name))].map((name) => ({
          name,
          parts: [name],
        })),
        sizes: {
          ...Object.fromEntries(operand.type.axes.map((each) => [each.name, each.size])),
          [part]: parts,
          [term]: size,
        },
      },
      origin,
    );
  };
  const { axes, dtype } = contract.type;
  const cast = (x: Node, to: string): Node => builder.make(mapOp('cast'), [x], { to }, origin);
  const each = builder.make(contract.op, [apart(a), apart(b)], { axes: [part, ...namesOf(axes)] }, origin);
  return cast(builder.make(sum, [cast(each, 'f32')], { axes: [part] }, origin), dtype);
}
