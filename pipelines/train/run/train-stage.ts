// A stage from its groups to its end: the step's graphs, their programs, the checks, the loop.
import { OpabiniaError } from '../../../dsl/error.ts';
import { microBatchOf } from '../recipe/recipe.ts';
import { resolveGroups, type ResolvedGroup } from '../step/groups.ts';
import { trainGraphs } from '../step/train-graph.ts';
import { checkStates } from './checkpoints.ts';
import { Loop, type StageResult, type StageRun } from './loop.ts';
import { firstStates, StepPrograms } from './programs.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Throws `OpabiniaError` for whatever must be mended first, and after ten steps in a row that were not finite. */
export async function trainStage(run: StageRun): Promise<StageResult> {
  const { groups, graphs, programs, first } = await openStep(run);
  try {
    const loop = new Loop(run, programs, groups, graphs.learned);
    const packed = packedOf(graphs.learned, run.trainable);
    if (packed.length > 0)
      run.print(
        `  · ${plural(packed.length, 'matrix that learns is', 'matrices that learn are')} stored quantized, ${packed[0]} first: \`runs --out\` writes no model directory of them; for one, begin with weights in floats`,
      );
    if (run.checkpoint === undefined) await loop.check(first);
    return await loop.go();
  } finally {
    programs.dispose();
  }
}

/** Matrices that are stored as blocks, and change: themselves, or by an addition of low rank. */
function packedOf(learned: readonly string[], { source }: StageRun['trainable']): readonly string[] {
  const changed = new Set(learned.map((path) => path.replace(/\.lora_[AB]\.weight$/, '.weight')));
  return [...changed].filter((path) => source.blocks?.(path) !== undefined);
}

/** What `openStep` needs of a run. */
type StepRun = Pick<StageRun, 'stage' | 'trainable' | 'device' | 'checkpoint' | 'held'>;

async function openStep(run: StepRun) {
  const { stage, trainable, device, checkpoint } = run;
  const groups = groupsOf(run);
  const micro = stage.batch / microBatchOf(stage);
  const graphs = trainGraphs(
    trainable.source,
    {
      groups,
      optimizer: stage.optimizer,
      clip: stage.clip ?? 1,
      scaling: stage.scaling ?? (trainable.source.dtype === 'f16' ? {} : undefined),
      ema: stage.ema,
      accumulate: micro,
    },
    trainable.loss,
  );
  const first = (scale?: number) =>
    firstStates(trainable.source, graphs.learned, scale === undefined ? stage.scaling : { initial: scale });
  const programs = await StepPrograms.open(graphs, device, trainable.source, checkpoint ?? first(), {
    evaluates: run.held !== undefined,
    check: checkpoint === undefined ? undefined : (states) => checkStates(checkpoint, states),
  });
  return { groups, graphs, programs, first };
}

/** One batch for ever, at the rates of the groups times a factor of each step. */
export async function openLoop(
  run: Omit<StageRun, 'folder' | 'total' | 'count' | 'stopped'>,
): Promise<{ readonly repeat: (factor: number) => Promise<number>; readonly close: () => void }> {
  const { groups, graphs, programs, first } = await openStep(run);
  const loop = new Loop(
    { ...run, folder: undefined, total: 1, count: 1, stopped: () => false },
    programs,
    groups,
    graphs.learned,
  );
  try {
    await loop.check(first);
  } catch (error) {
    programs.dispose();
    throw error;
  }
  return { repeat: (factor) => loop.repeat(factor), close: () => programs.dispose() };
}

function groupsOf({ stage, trainable }: Pick<StageRun, 'stage' | 'trainable'>): readonly ResolvedGroup[] {
  if (!Number.isInteger(stage.batch / microBatchOf(stage)))
    throw new OpabiniaError(`a batch of ${stage.batch} does not divide into micro-batches of ${microBatchOf(stage)}`, {
      op: 'train',
      advice: 'let microBatch divide batch',
    });
  const adapters = trainable.paths.filter((path) => /\.lora_[AB]\.weight$/.test(path));
  const lora = stage.lora === undefined || adapters.length === 0 ? [] : adapters;
  const groups = resolveGroups(stage.groups, trainable.paths, stage.frozen);
  const optimizerOf = (group: ResolvedGroup) => group.optimizer ?? stage.optimizer;
  for (const group of groups) {
    const { rank, name } = optimizerOf(group);
    const wrong = group.members.find((path) => rank !== undefined && trainable.source.shape(path)?.length !== rank);
    if (wrong !== undefined)
      throw new OpabiniaError(`${name} trains tensors of ${rank} axes, and '${wrong}' has others`, {
        op: 'train',
        path: wrong,
        advice: 'give such parameters a group with another optimizer',
      });
  }
  const learned = new Set(groups.flatMap((group) => group.members));
  const idle = lora.find((path) => !learned.has(path));
  if (idle !== undefined)
    throw new OpabiniaError(`'${idle}' is in no group, and would never learn`, {
      op: 'train',
      advice: "give LoRA a group: { paths: ['*lora_A*', '*lora_B*'], lr: 1e-4 }",
    });
  return groups;
}
