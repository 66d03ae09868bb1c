// What a kind of golden file is: a way to build the model it describes from the public `models/`.
import type { Graph } from '../../dsl/graph/graph.ts';
import type { ParamSource } from '../../dsl/index.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import type { InitialStates } from '../../runtime/program/upload.ts';
import type { Outputs, Step, Together } from './backends.ts';
import type { Comparison, Tolerance } from './verdict.ts';
import type { GoldenFile } from './golden-file.ts';

export interface GoldenModel {
  /** Absent when everything is computed on the host: masks, preprocessing. Outputs are named as in the file, without `output.`. */
  readonly graph?: Graph | undefined;
  /** Values of the graph's inputs, row-major; bool as 0 and 1. */
  readonly inputs: ReadonlyMap<string, Numbers>;
  /** Outputs computed on the host. */
  readonly host: ReadonlyMap<string, Numbers>;
  /** What an output may differ by in f32; absent: the bound of Cambrian's own files. */
  readonly tolerance?: ((output: string) => Tolerance | undefined) | undefined;
  /** Where the graphs' parameters come from; absent: the file itself. */
  readonly source?: ParamSource | undefined;
  /** Outputs of the file that are not results of a model: bounds, and what another program makes of it. */
  readonly beside?: ((output: string) => boolean) | undefined;
  /** Comparisons with what the file has besides its outputs. */
  readonly also?: readonly Comparison[] | undefined;
  /** Called when everything has run. */
  readonly close?: (() => void) | undefined;
  /** The file's `grad.*` are expected too, as outputs of the same names. */
  readonly gradients?: boolean | undefined;
  /** Outputs that hold to `tolerance` in every dtype: tokens. */
  readonly exact?: ((output: string) => boolean) | undefined;
  /** Outputs that take several runs, each reading what the one before left in the states. */
  readonly conversations?: readonly Conversation[] | undefined;
  /** Outputs of a training: several graphs over states that begin with the file's own values. */
  readonly training?: Training | undefined;
}

export interface Training {
  readonly graphs: readonly Graph[];
  readonly states: InitialStates;
  readonly hold: (together: Together) => Promise<Outputs>;
  /** Several outputs together, as one that the file does not hold: its values, and ‖error‖ / ‖values‖ that f32 may have. */
  readonly overall?: Overall | undefined;
}

export interface Overall {
  readonly name: string;
  readonly expected: Numbers;
  readonly relative: number;
}

export interface Conversation {
  readonly graph: Graph;
  /** Runs the graph as often as it needs, from states of zeros; gives outputs named as in the file. */
  readonly hold: (step: Step) => Promise<Outputs>;
}

export type Kind = (file: GoldenFile) => GoldenModel | Promise<GoldenModel>;
