// Cambrian-1's two stages (arXiv 2406.16860; github.com/cambrian-mllm/cambrian at 539ffc3). Where the paper's table and the scripts that
// made the released models differ, both are here.
import type { ParameterGroup } from '../step/groups.ts';
import { rateForBatch } from '../step/schedule.ts';
import { publishedStage, type PublishedStage } from './published-stage.ts';
import type { Stage } from './recipe.ts';
import { requireFields } from '../../../dsl/graph/required.ts';

/** `published`: appendix table of the paper. `scripts`: `scripts/cambrian/*.sh` and the README. */
export type CambrianSource = 'published' | 'scripts';
export type CambrianSize = '8b' | '13b' | '34b';

interface Rates {
  /** Stage 1, and within it the aggregator and its queries. */
  readonly connector: number;
  readonly aggregator: number;
  readonly tuning: number;
  readonly batch: { readonly first: number; readonly second: number };
}

const rates: Readonly<Record<CambrianSource, (size: CambrianSize) => Rates>> = {
  published: () => ({ connector: 1e-4, aggregator: 1e-4, tuning: 2e-5, batch: { first: 512, second: 512 } }),
  scripts: (size) => ({
    connector: 1e-3,
    aggregator: 1e-4,
    tuning: size === '34b' ? 2e-5 : 4e-5,
    batch: size === '34b' ? { first: 1024, second: 1024 } : { first: 512, second: 512 },
  }),
};

/** What stage 1 trains: every parameter whose name holds one of these words of the reference's `train_fsdp.py`. */
export const connectorPaths = ['mm_projector', 'vision_sampler', 'vision_query', 'image_newline', 'pos_emb'] as const;
const aggregatorPaths = ['vision_sampler', 'vision_query'] as const;

const holding = (words: readonly string[]): readonly string[] => words.map((word) => `*${word}*`);

export interface CambrianStage extends PublishedStage {
  readonly source?: CambrianSource | undefined;
  readonly size?: CambrianSize | undefined;
}

/**
 * Stage 1: connector alone, towers and language model frozen; 6 % warm-up, cosine to 0, no decay, one epoch, norm clipped to 1.
 * @example const stage = cambrianStage1({ data: { file: 'align.jsonl', images: 'pictures' }, batch: 8 })
 */
export function cambrianStage1(options: CambrianStage): Stage {
  requireFields(
    'cambrianStage1',
    options,
    { data: 'object' },
    "cambrianStage1({ data: { file: 'align.jsonl', images: 'pictures' } })",
  );
  const { connector, aggregator, batch } = rates[options.source ?? 'scripts'](options.size ?? '8b');
  const chosen = options.batch ?? batch.first;
  const lr = (rate: number): number => rateForBatch(rate, chosen, batch.first);
  return {
    ...publishedStage(options, chosen),
    name: 'stage 1',
    groups: [
      { paths: holding(aggregatorPaths), lr: lr(aggregator) },
      // `pos_emb` stands below `vision_sampler` in every released model.
      {
        paths: holding(
          connectorPaths.filter((word) => !aggregatorPaths.some((other) => other === word) && word !== 'pos_emb'),
        ),
        lr: lr(connector),
      },
    ],
    schedule: { shape: 'cosine', warmup: { ratio: 0.06 } },
  };
}

/**
 * Stage 2: connector and language model with embeddings and head, one rate for all; 3 % warm-up; batches grouped by kind and length.
 * @example const stage = cambrianStage2({ data: { mixture: [{ file: 'vqa.jsonl', images: 'pictures' }], cap: 350_000 }, batch: 8 })
 */
export function cambrianStage2(options: CambrianStage): Stage {
  requireFields(
    'cambrianStage2',
    options,
    { data: 'object' },
    "cambrianStage2({ data: { file: 'vqa.jsonl', images: 'pictures' } })",
  );
  const { tuning, batch } = rates[options.source ?? 'scripts'](options.size ?? '8b');
  const chosen = options.batch ?? batch.second;
  const group: ParameterGroup = { paths: ['*'], lr: rateForBatch(tuning, chosen, batch.second) };
  return {
    ...publishedStage(options, chosen),
    name: 'stage 2',
    groups: [group],
    schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
    groupByLength: true,
  };
}

/** The cap that the released data settle on, samples of a source (Cambrian-1, §5.2: 250,000 to 350,000 are best). */
export const cambrianCap = 350_000;

/** Shares of categories in per cent: the best of the five ratios tried at 1,350,000 samples, and what Cambrian-7M is made of (Cambrian-1, §5.2). */
export const cambrianShares = {
  best: { Language: 21, General: 34.52, OCR: 27.22, Counting: 8.71, Math: 7.2, Code: 0.87, Science: 0.88 },
  cambrian7M: { Language: 23.8, General: 33.3, OCR: 27.6, Counting: 8.5, Math: 3.2, Code: 0.8, Science: 2.9 },
} as const;
