// LLaVA-1.5's two stages (arXiv 2310.03744, table 9; scripts/v1_5 of haotian-liu/LLaVA), for a connector in front of a language model.
import type { ParameterGroup } from '../step/groups.ts';
import { rateForBatch } from '../step/schedule.ts';
import { publishedStage, type PublishedStage } from './published-stage.ts';
import type { Stage } from './recipe.ts';
import { requireFields } from '../../../dsl/graph/required.ts';

/**
 * Stage 1: the connector alone, rate 1e-3 at 256 samples; 3 % warm-up, cosine to 0, no decay, one epoch.
 * @example const stage = llavaStage1({ data: { file: 'captions.jsonl', images: 'pictures' } })
 */
export function llavaStage1(options: PublishedStage): Stage {
  return { ...stage(options, { published: 256, rate: 1e-3, paths: ['*mm_projector*'] }), name: 'stage 1' };
}

/**
 * Stage 2: connector and language model, rate 2e-5 at 128 samples; batches of pictures and of text apart.
 * @example const stage = llavaStage2({ data: { file: 'instructions.jsonl', images: 'pictures' } })
 */
export function llavaStage2(options: PublishedStage): Stage {
  return { ...stage(options, { published: 128, rate: 2e-5, paths: ['*'] }), name: 'stage 2', groupByLength: true };
}

interface Learning {
  /** Samples of a step, as published. */
  readonly published: number;
  readonly rate: number;
  readonly paths: ParameterGroup['paths'];
}

function stage(options: PublishedStage, { published, rate, paths }: Learning): Omit<Stage, 'name'> {
  requireFields(
    'llavaStage',
    options,
    { data: 'object' },
    "llavaStage1({ data: { file: 'captions.jsonl', images: 'pictures' } })",
  );
  const batch = options.batch ?? published;
  return {
    ...publishedStage(options, batch),
    groups: [{ paths, lr: rateForBatch(rate, batch, published) }],
    schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
  };
}
