// Where a run keeps what its stages have learned: files of those that ended, and the last checkpoint; at wish the averages in it.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { statOf } from '../../../runtime/files/regular-file.ts';
import type { ModelDigest } from '../../model-identity.ts';
import { modelSchema } from '../record/run-record.ts';
import { listCheckpoints, newestOptimizer, newestWeights } from '../run/checkpoints.ts';
import { averagePrefix, type LearnedStage } from '../run/learned-source.ts';
import { checkStageWeights, stageFile } from '../run/stage-weights.ts';
import { refuse } from './held-values.ts';
import { checkFolder } from '../../../runtime/files/make-folder.ts';

const described = z.object({
  model: modelSchema,
  recipe: z.object({
    model: z.string(),
    towers: z.array(z.string()).optional(),
    stages: z.array(
      z.object({
        lora: z
          .array(z.object({ paths: z.array(z.string()), rank: z.number(), alpha: z.number().optional() }))
          .optional(),
        ema: z.number().optional(),
      }),
    ),
  }),
});
type Recipe = z.infer<typeof described>['recipe'];

export interface LearnedStages {
  readonly recipe: Recipe;
  /** What the model that the run began with is known by. */
  readonly model: ModelDigest | undefined;
  readonly stages: readonly LearnedStage[];
  /** Of which stage, from 1 on, and the d of e ← d·e + (1 − d)·θ at every step. */
  readonly averages: { readonly stage: number; readonly decay: number } | undefined;
}

interface Wanted {
  readonly out: string;
  readonly ema?: boolean | undefined;
  readonly note?: ((text: string) => void) | undefined;
}

/**
 * What the run in `run` has learned, before anything is written. Throws `OpabiniaError` where `out` is there already, the run does not say
 * what it trained, has no checkpoint or not the ones it needs, and where averages are asked for that its last stage kept none of.
 */
export function learnedStages(run: string, { out, ema = false, note = () => undefined }: Wanted): LearnedStages {
  if (statOf(out, 'runs')?.isDirectory() === true ? readdirSync(out).length > 0 : existsSync(out))
    throw refuse(`${out} is there already`, 'give a new folder');
  checkFolder(out, 'runs');
  const config = join(run, 'config.json');
  const known = described.safeParse(existsSync(config) ? parsed(readFileSync(config, 'utf8')) : undefined);
  if (!known.success) throw refuse(`${config} does not say what was trained`, 'give the folder of a run');
  const { recipe, model } = known.data;
  const stages = stagesOf(
    run,
    recipe.stages.map(({ lora }) => lora),
    note,
  );
  if (stages.length === 0) throw refuse(`${run} has no checkpoint yet`, 'let it run until it has saved one');
  if (!ema) return { recipe, model, stages, averages: undefined };
  const decay = recipe.stages[stages.length - 1]?.ema;
  const { path, lora } = averagesOf(run, { recipe, stage: stages.length - 1, note });
  return {
    recipe,
    model,
    stages: [...stages.slice(0, -1), { path, lora, averages: true }],
    averages: { stage: stages.length, decay: decay ?? 0 },
  };
}

/**
 * What every stage wrote that has ended, and the newest checkpoint that is whole of the one that has not. Throws `OpabiniaError` where a
 * stage is missing behind which another one learned or damaged, and where no checkpoint is whole.
 */
function stagesOf(
  run: string,
  lora: readonly LearnedStage['lora'][],
  note: (text: string) => void,
): readonly LearnedStage[] {
  const found: LearnedStage[] = [];
  for (const [stage, own] of lora.entries()) {
    const ended = stageFile(run, stage);
    if (existsSync(ended)) {
      checkStageWeights(ended);
      found.push({ path: ended, lora: own });
      continue;
    }
    const checkpoints = listCheckpoints(run);
    const later = checkpoints.find((checkpoint) => checkpoint.stage > stage);
    if (later !== undefined)
      throw refuse(`${ended} is missing, and ${later.path} was trained on it`, 'bring it back from a copy');
    const path = newestWeights(run, stage, note);
    if (path !== undefined) return [...found, { path, lora: own }];
    if (checkpoints.some((checkpoint) => checkpoint.stage === stage))
      throw refuse(`no checkpoint of stage ${stage + 1} of ${run} is whole`, 'bring one back from a copy');
    break;
  }
  return found;
}

/** The averages of the stage that learned last: a stage goes on from the weights of the one before, never from its averages. */
function averagesOf(
  run: string,
  { recipe, stage, note }: { readonly recipe: Recipe; readonly stage: number; readonly note: (text: string) => void },
): LearnedStage {
  const none = (why: string) =>
    refuse(
      `${run} kept no averages of stage ${stage + 1}, the last that learned: ${why}`,
      'leave --ema out, or train with ema: 0.999 in the stage',
    );
  const own = recipe.stages[stage];
  if (own?.ema === undefined) throw none('its recipe has no ema there');
  const path = newestOptimizer(run, stage, note);
  if (path === undefined)
    throw refuse(
      `the averages of stage ${stage + 1} of ${run} are in its checkpoints, and none of them is whole`,
      'leave --ema out, or bring one back from a copy',
    );
  const checkpoint = openCheckpoint(path);
  try {
    if (![...checkpoint.stored.keys()].some((name) => name.startsWith(averagePrefix))) throw none(`${path} has none`);
  } finally {
    checkpoint.close();
  }
  return { path, lora: own.lora };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
