// What the published stages of Cambrian and LLaVA have in common: AdamW without decay, one epoch unless steps are asked for, norm clipped to 1.
import { adamW } from '../optimizers/adamw.ts';
import type { DataSet, Stage } from './recipe.ts';

export interface PublishedStage {
  readonly data: DataSet;
  /** Another batch than the published one scales every rate by √(batch / published). */
  readonly batch?: number | undefined;
  readonly microBatch?: number | undefined;
  readonly steps?: number | undefined;
  readonly length?: number | undefined;
  readonly saveEvery?: number | undefined;
  readonly gradientCheckpointing?: boolean | undefined;
}

/** All of a stage but its name, what learns, and how rates rise and fall. */
export function publishedStage(options: PublishedStage, batch: number): Omit<Stage, 'name' | 'groups' | 'schedule'> {
  return {
    data: options.data,
    optimizer: adamW({ betas: [0.9, 0.999], eps: 1e-8 }),
    batch,
    microBatch: options.microBatch,
    steps: options.steps,
    epochs: options.steps === undefined ? 1 : undefined,
    length: options.length ?? 2048,
    layout: 'train',
    clip: 1,
    saveEvery: options.saveEvery,
    gradientCheckpointing: options.gradientCheckpointing,
  };
}
