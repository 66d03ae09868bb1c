// What training one graph costs beside running it: arithmetic of the backward pass, and the activations that live until it.
import { bytesOf, graphCost } from '../../../compiler/cost.ts';
import { group } from '../../../compiler/fuse/grouping.ts';
import type { DeviceProfile } from '../../../compiler/profile.ts';
import { runPasses } from '../../../compiler/rewrite/pass.ts';
import { splitLoadTime } from '../../../compiler/rewrite/load-time.ts';
import { peak, type Lifetime } from '../../../compiler/assembly/memory.ts';
import { gradientGraph } from '../../../dsl/gradient/gradient-graph.ts';
import { Builder, roleOf, type Graph, type Node } from '../../../dsl/graph/graph.ts';
import { order } from '../../../dsl/graph/walk.ts';

export interface TrainingCost {
  readonly backward: number;
  readonly peak: number;
  /** Parameters and inputs that have a gradient. */
  readonly reached: ReadonlySet<string>;
}

/** Of a graph whose output `loss` is what is trained, by parameters and inputs of these names. */
export function trainingCost(graph: Graph, wrt: readonly string[], profile: DeviceProfile): TrainingCost {
  const whole = gradientGraph(graph, 'loss', wrt);
  const reached = [...whole.outputs.keys()].filter((name) => name.startsWith('d ')).map((name) => name.slice(2));
  return {
    backward: Math.max(0, graphCost(whole).flops - graphCost(graph).flops),
    peak: livePeak(whole, profile),
    reached: new Set(reached),
  };
}

/**
 * Largest sum of values between kernels that live at the same time, for the graph grouped into kernels as it stands, in the order in which
 * its nodes were made.
 */
function livePeak(graph: Graph, profile: DeviceProfile): number {
  const builder = new Builder();
  // No passes: they take longest, and change little of what is stored.
  const { main } = splitLoadTime(runPasses(graph, [], undefined, { verify: false, builder, profile }), builder);
  const { groups, joins, stored } = group(main, profile, builder);
  const position = new Map(order(main).map((node, i) => [node, i]));
  const at = (node: Node): number => position.get(node) ?? 0;
  const outputs = new Set(main.outputs.values());
  const placed = new Map(joins.flatMap(({ join, parts }) => [...parts].map((part) => [part, join] as const)));
  // A part of a join that is written where it belongs lives in the join.
  const home = (node: Node): Node => placed.get(node) ?? node;
  const [first, last] = [new Map<Node, number>(), new Map<Node, number>()];
  const written = (node: Node, when: number) => first.set(node, Math.min(first.get(node) ?? Infinity, when));
  const read = (node: Node, when: number) => last.set(node, Math.max(last.get(node) ?? 0, when));
  for (const { nodes, roots } of groups) {
    const when = Math.max(...[...nodes].map(at));
    for (const root of roots) written(home(root), when);
    for (const node of nodes)
      for (const operand of node.inputs) if (!nodes.has(operand) && stored.has(operand)) read(home(operand), when);
  }
  for (const { join } of joins) {
    written(join, at(join));
    for (const operand of join.inputs) if (stored.has(operand)) read(home(operand), at(join));
  }
  const lives = [...first].flatMap(([node, from]): Lifetime[] => {
    const kept = roleOf(node) !== undefined || outputs.has(node);
    return kept ? [] : [{ bytes: bytesOf(node.type), from, to: Math.max(from, last.get(node) ?? from) }];
  });
  return peak(lives, profile.offsetAlignment);
}
