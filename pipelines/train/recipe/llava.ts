// LLaVA-1.5's two stages (arXiv 2310.03744, table 9; scripts/v1_5 of haotian-liu/LLaVA), for a connector in front of a language model.
import { adamW } from '../optimizers/adamw.ts';
import type { ParameterGroup } from '../step/groups.ts';
import { rateForBatch } from '../step/schedule.ts';
import type { DataSet, Stage } from './recipe.ts';

export interface LlavaStage {
  readonly data: DataSet;
  /** Another batch than the published one scales the rate by √(batch / published). */
  readonly batch?: number | undefined;
  readonly microBatch?: number | undefined;
  readonly steps?: number | undefined;
  readonly length?: number | undefined;
  readonly saveEvery?: number | undefined;
}

/** Stage 1: the connector alone, rate 1e-3 at 256 samples; 3 % warm-up, cosine to 0, no decay, one epoch. */
export function llavaStage1(options: LlavaStage): Stage {
  return { ...common(options, { published: 256, rate: 1e-3, paths: ['*mm_projector*'] }), name: 'stage 1' };
}

/** Stage 2: connector and language model, rate 2e-5 at 128 samples; batches of pictures and of text apart. */
export function llavaStage2(options: LlavaStage): Stage {
  return { ...common(options, { published: 128, rate: 2e-5, paths: ['*'] }), name: 'stage 2', groupByLength: true };
}

function common(
  options: LlavaStage,
  {
    published,
    rate,
    paths,
  }: { readonly published: number; readonly rate: number; readonly paths: ParameterGroup['paths'] },
): Omit<Stage, 'name'> {
  const batch = options.batch ?? published;
  return {
    data: options.data,
    groups: [{ paths, lr: rateForBatch(rate, batch, published) }],
    schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
    optimizer: adamW({ betas: [0.9, 0.999], eps: 1e-8 }),
    batch,
    microBatch: options.microBatch,
    steps: options.steps,
    epochs: options.steps === undefined ? 1 : undefined,
    length: options.length ?? 2048,
    clip: 1,
    saveEvery: options.saveEvery,
  };
}
