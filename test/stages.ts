// The stages a golden text file can name: each turns a graph into text. A new stage is one line here.
import type { Graph } from '../dsl/graph.ts';
import { print } from '../dsl/print.ts';

export type Stage = (graph: Graph) => string;

export const stages: ReadonlyMap<string, Stage> = new Map<string, Stage>([
  ['print', print],
]);
