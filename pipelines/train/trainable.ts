// What the loop trains: a source of parameters, a loss, and batches made of samples. Cambrian is one; a user's own model can be another.
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { LlavaSample } from './data/llava-file.ts';
import type { Stage } from './recipe/recipe.ts';
import type { LossSum } from './step/train-graph.ts';

/** Samples as the inputs of a step. */
export interface TrainBatch {
  readonly inputs: ReadonlyMap<string, Numbers>;
  /** Labels that count. */
  readonly targets: number;
  /** Tokens that are attended to. */
  readonly tokens: number;
  /** Tokens of each picture in the sequence, and how many the layout asks for. */
  readonly visual: readonly { readonly found: number; readonly wanted: number }[];
  /** Samples that another took the place of, and why. */
  readonly replaced: readonly string[];
}

/** What a stage asks of a model. */
export interface TrainableOptions {
  readonly device: Device;
  readonly stage: Stage;
  readonly seed: number;
  /** Where features are kept. */
  readonly cache: string;
  /** The sample that stands in for one that cannot be used: the first of the data. */
  readonly first: () => Promise<LlavaSample>;
}

export interface Trainable {
  readonly source: Source;
  /** Every parameter that the loss reads. */
  readonly paths: readonly string[];
  readonly loss: LossSum;
  /** Throws `OpabiniaError` for samples that cannot be learned from. */
  readonly batch: (samples: readonly LlavaSample[]) => Promise<TrainBatch>;
  /** For `config.json`. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly close: () => void;
}
