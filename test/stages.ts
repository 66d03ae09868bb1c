// The stages a golden text file can name: each turns a graph into text. A new stage is one line here.
import type { Graph } from '../dsl/graph.ts';
import { print } from '../dsl/print.ts';
import { runPasses, type Pass } from '../compiler/pass.ts';
import { passes } from '../compiler/passes/index.ts';

export type Stage = (graph: Graph) => string;

const after = (list: readonly Pass[]): Stage => (graph) => print(runPasses(graph, list, undefined, { verify: true }));

export const stages: ReadonlyMap<string, Stage> = new Map<string, Stage>([
  ['print', print],
  ...passes.map((pass): [string, Stage] => [pass.name, after([pass])]),
  ['passes', after(passes)],
]);
