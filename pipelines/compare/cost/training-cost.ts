// What training one graph costs beside running it: arithmetic of the backward pass.
import { graphCost } from '../../../compiler/cost.ts';
import { gradientGraph } from '../../../dsl/gradient/gradient-graph.ts';
import type { Graph } from '../../../dsl/graph/graph.ts';

export interface TrainingCost {
  readonly backward: number;
  /** Parameters and inputs that have a gradient. */
  readonly reached: ReadonlySet<string>;
}

/** Of a graph whose output `loss` is what is trained, by parameters and inputs of these names. */
export function trainingCost(graph: Graph, wrt: readonly string[]): TrainingCost {
  const whole = gradientGraph(graph, 'loss', wrt);
  const reached = [...whole.outputs.keys()].filter((name) => name.startsWith('d ')).map((name) => name.slice(2));
  return {
    backward: Math.max(0, graphCost(whole).flops - graphCost(graph).flops),
    reached: new Set(reached),
  };
}
