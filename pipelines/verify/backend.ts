// Where a golden model runs, as a contract.
import type { InitialStates } from '../../runtime/program/upload.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import type { ParamSource } from '../../dsl/index.ts';
import type { Graph } from '../../dsl/graph/graph.ts';

export type Outputs = ReadonlyMap<string, ArrayLike<number>>;

export interface Backend {
  /** What it is, for the table's title. */
  readonly name: string;
  run(graph: Graph, source: ParamSource, inputs: ReadonlyMap<string, Numbers>): Promise<Outputs>;
  /** The same graph again and again; its states live from run to run, and `close` ends them. */
  open(graph: Graph, source: ParamSource): Promise<{ readonly step: Step; readonly close: () => void }>;
  /** Several graphs over the same states, which begin as `states` has them, or as zeros. */
  openTogether?(graphs: readonly Graph[], source: ParamSource, states: InitialStates): Promise<Together>;
  close(): void;
}

export interface Together {
  /** One a graph. */
  readonly steps: readonly Step[];
  readonly state: (name: string) => Promise<ArrayLike<number>>;
  readonly close: () => void;
}

/** One run of an opened graph. */
export type Step = (inputs: ReadonlyMap<string, Numbers>, symbols: ReadonlyMap<string, number>) => Promise<Outputs>;
