// A recipe: a training as typed data. A file of one exports it by name: `export const recipe: Recipe = { … }`.
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import type { LlavaSample } from '../data/llava-file.ts';
import type { Mixture } from '../data/mixture.ts';
import type { Optimizer } from '../optimizers/optimizer.ts';
import type { ParameterGroup } from '../step/groups.ts';
import type { LossScaling } from '../step/loss-scale.ts';
import type { LoraGroup } from '../step/lora.ts';
import type { Schedule } from '../step/schedule.ts';

/** Paths are taken from the folder that the command runs in. A file in LLaVA's format with the folder of its pictures, a balanced mixture of such files, what `opabinia data balance` wrote of one, or a generator of samples, which begins anew at each call. */
export type DataSet =
  | Mixture
  | { readonly index: string }
  | { readonly file: string; readonly images: string }
  | { readonly samples: () => AsyncIterable<LlavaSample>; readonly count: number; readonly images: string };

export interface Stage {
  readonly name: string;
  readonly data: DataSet;
  /** What learns; everything else is frozen. A path belongs to the first group that means it. */
  readonly groups: readonly ParameterGroup[];
  readonly frozen?: readonly string[] | undefined;
  /** The towers of an assembled model are run at every step, so that `groups` can mean their parameters, `vision_tower.*`. By default they are frozen and their maps kept. */
  readonly unfreezeTowers?: boolean | undefined;
  readonly lora?: readonly LoraGroup[] | undefined;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /** Samples of a step, and how many of them at once; by default all. */
  readonly batch: number;
  readonly microBatch?: number | undefined;
  /** How long: steps, or passes over the data. */
  readonly steps?: number | undefined;
  readonly epochs?: number | undefined;
  /** Tokens of a sequence, pictures included. */
  readonly length: number;
  /** Pictures whole with their padding masked (`train`, as the released models learned), or without it (`unpad`). Default `train`. */
  readonly layout?: 'train' | 'unpad' | undefined;
  /**
   * Of each layer of the language model a step keeps what enters it alone, and computes the rest again for the backward pass: far fewer
   * activations for the arithmetic of one more forward pass. Default false.
   */
  readonly gradientCheckpointing?: boolean | undefined;
  /** Questions of a sample one after the other (`conversation`), or each as if it were asked alone (`independent`). Default `conversation`. */
  readonly turns?: 'conversation' | 'independent' | undefined;
  /** Largest norm of all gradients; default 1, 0 for none. */
  readonly clip?: number | undefined;
  readonly scaling?: LossScaling | undefined;
  readonly ema?: number | undefined;
  /** Batches of samples of about one length, text and pictures apart. */
  readonly groupByLength?: boolean | undefined;
  readonly saveEvery?: number | undefined;
  readonly logEvery?: number | undefined;
  /** Loss on other samples, each so many steps. */
  readonly evaluation?: { readonly data: DataSet; readonly every: number; readonly batches: number } | undefined;
}

export interface Recipe {
  /** Of the folder below `runs/`. */
  readonly name: string;
  /** A model directory, from the folder that the command runs in, or a name on the hub. */
  readonly model: string;
  readonly towers?: readonly string[] | undefined;
  /** Connectors of your own, where the model was assembled with one: `import { mine } from './mine.ts'`, then `connectors: [mine]`. */
  readonly connectors?: readonly AnyConnector[] | undefined;
  /** Of the arithmetic; what learns is kept in f32. Default f32. */
  readonly dtype?: 'f32' | 'f16' | undefined;
  readonly seed?: number | undefined;
  readonly stages: readonly Stage[];
}

/** Where the pictures of a data set are; those of a mixture and of an index have whole paths. */
export function imagesOf(data: DataSet): string {
  return 'mixture' in data || 'index' in data ? '' : data.images;
}

/** How many steps a stage has, over so many samples. */
export function stepsOf(
  { steps, epochs = 1, batch }: Pick<Stage, 'steps' | 'epochs' | 'batch'>,
  count: number,
): number {
  return steps ?? Math.ceil((epochs * count) / batch);
}

/** Samples at once. */
export function microBatchOf(stage: Stage): number {
  return stage.microBatch ?? stage.batch;
}
