// The stages a golden text file can name: each turns a graph into text. A new stage is one line here.
import type { Graph } from '../../dsl/graph/graph.ts';
import { print } from '../../dsl/text/print.ts';
import { runPasses, type Pass } from '../../compiler/rewrite/pass.ts';
import { passes } from '../../compiler/passes/index.ts';
import { explain } from '../../compiler/explain.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { compile } from '../../compiler/compile.ts';

export type Stage = (graph: Graph) => string;

const after =
  (list: readonly Pass[]): Stage =>
  (graph) =>
    print(runPasses(graph, list, undefined, { verify: true }));

export const stages: ReadonlyMap<string, Stage> = new Map<string, Stage>([
  ['print', print],
  ...passes.map((pass): [string, Stage] => [pass.name, after([pass])]),
  ['passes', after(passes)],
  ['explain', (graph) => explain(graph, lavapipe)],
  [
    'wgsl',
    (graph) => {
      const plan = compile(graph, lavapipe, { verify: true });
      return plan.dispatches.map((d) => plan.kernels[d.kernel]?.wgsl ?? '').join('\n');
    },
  ],
]);
