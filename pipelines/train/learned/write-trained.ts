// What a run has learned, as a model directory like the one it began with: `run`, `eval`, `serve` and the next recipe take it.
import { copyFileSync, cpSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isBelow } from '../../../models/configs/param-shapes.ts';
import { assembledTowerRoot } from '../../../models/multimodal/assembled-model.ts';
import { openCheckpoint, type Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, resolveTower } from '../../../runtime/checkpoint/hub.ts';
import { joinSources } from '../../../runtime/checkpoint/joined-source.ts';
import {
  storedPieces,
  streamSafetensors,
  type TensorToStream,
} from '../../../runtime/checkpoint/safetensors-stream.ts';
import { encodeStored } from '../../../runtime/checkpoint/stored-values.ts';
import { newFolder } from '../../../runtime/files/new-folder.ts';
import { isBesideWeights } from '../../model-files.ts';
import { refuseWeights } from '../record/recipe-changes.ts';
import { learnedSource, type LearnedSource, type LearnedStage } from '../run/learned-source.ts';
import { held, refuse } from './held-values.ts';
import { learnedStages } from './learned-stages.ts';
import { requireFields, requirePath } from '../../../dsl/graph/required.ts';

export interface WriteTrained {
  /** A folder that is not there yet. */
  readonly out: string;
  /** Of all weights; by default each stays what it is in the model that the run began with. */
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Takes the moving averages that the last stage kept, `ema` of its recipe, and not the weights that it ended with. */
  readonly ema?: boolean | undefined;
  /** Told of checkpoints that are damaged and passed over. */
  readonly note?: ((text: string) => void) | undefined;
  /** Stops it between two pieces of a tensor; nothing of it stays. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainedModel {
  /** In all files, towers among them. */
  readonly tensors: number;
  readonly learned: number;
  readonly stages: number;
  /** Which averages were taken: of that stage, from 1 on, at that decay. Undefined where none were. */
  readonly averages?: { readonly stage: number; readonly decay: number } | undefined;
}

const assembledTowers = z.object({ towers: z.array(z.object({ folder: z.string() })) });

const pieceElements = 2 ** 21;

/**
 * Writes the directory, whole or not at all: the files of the recipe's model, and its weights with those of the run's last checkpoint (or
 * the moving averages in it), low-rank additions folded in, towers that learned among them. Throws `OpabiniaError` for a folder that is there
 * already, a run without a checkpoint or without the averages asked for, and a model that is not where the recipe says, or not what
 * the run began with; the reason of the signal once it is aborted.
 * @example await writeTrained(folder, { out: 'trained' })
 */
export async function writeTrained(run: string, options: WriteTrained): Promise<TrainedModel> {
  requirePath('writeTrained', run, 'the run', "writeTrained('runs/mine', { out: 'trained' })");
  requireFields('writeTrained', options, { out: 'string' }, "writeTrained('runs/mine', { out: 'trained' })");
  const { out: wanted, dtype, ema, note, signal } = options;
  const { recipe, model, stages, averages } = learnedStages(run, { out: wanted, ema, note });
  const directory = resolveModel(recipe.model);
  const files = modelFiles(directory);
  const base = openCheckpoint(needFile(files.weights, 'model.safetensors', files), { dtype: 'f32' });
  try {
    refuseWeights(run, model, { root: '', directory, files: base.files });
    for (const [k, folder] of towerFolders(directory).entries()) {
      const [root, own] = [assembledTowerRoot(k), resolveTower(directory, folder, [], recipe.towers?.[k])];
      refuseWeights(run, model, { root, directory: own, files: filesIn(own) });
    }
    const source = learnedSource(base, stages);
    try {
      const tensors = learnedTensors(base, source, { root: '', dtype, directory });
      return await newFolder(wanted, 'runs', async (out) => {
        for (const file of readdirSync(directory)) {
          const from = join(directory, file);
          if (statSync(from).isDirectory()) {
            if (file === 'towers') cpSync(from, join(out, file), { recursive: true, dereference: true });
          } else if (file === 'config.json' || isBesideWeights(file)) copyFileSync(from, join(out, file));
        }
        let count = tensors.length;
        let learned = tensors.filter(({ name }) => source.isLearned(name)).length;
        for (const [k, folder] of towerFolders(directory).entries()) {
          const [root, own] = [assembledTowerRoot(k), join('towers', folder)];
          if (!source.learned.some((name) => isBelow(name, root))) continue;
          const tower = await writeTower(root, {
            from: resolveTower(directory, folder, [], recipe.towers?.[k]),
            out: join(out, own),
            stages,
            dtype,
            signal,
          });
          count += tower.tensors;
          learned += tower.learned;
        }
        await streamSafetensors(join(out, 'model.safetensors'), tensors, { format: 'pt' }, { signal });
        return { tensors: count, learned, stages: stages.length, averages };
      });
    } finally {
      source.close();
    }
  } finally {
    base.close();
  }
}

const below = (root: string, name: string): string => (root === '' ? name : `${root}.${name}`);
const isWeights = (file: string): boolean => /\.(?:safetensors|bin|pt|pth)(?:\.index\.json)?$/.test(file);

/** The tensors of a checkpoint with what was learned of them. Throws `OpabiniaError` for one that is learned and not stored in floats. */
function learnedTensors(
  base: Checkpoint,
  source: LearnedSource,
  {
    root,
    dtype,
    directory,
  }: { readonly root: string; readonly dtype: WriteTrained['dtype']; readonly directory: string },
): readonly TensorToStream[] {
  return [...base.stored.values()].map(({ name, shape, dtype: stored }): TensorToStream => {
    const path = below(root, name);
    const isFloat = /^B?F/.test(stored);
    if (!isFloat && source.isLearned(path))
      throw refuse(`'${name}' is learned, and ${stored} in ${directory}`, 'begin with weights in floats');
    const kept = dtype === undefined || !isFloat ? stored : dtype === 'f16' ? 'F16' : 'F32';
    if (kept === stored && !source.isLearned(path)) return storedPieces(base, name);
    const count = shape.reduce((product, size) => product * size, 1);
    return {
      name,
      dtype: kept,
      shape,
      *pieces() {
        for (let at = 0; at < count; at += pieceElements) {
          const some = Math.min(pieceElements, count - at);
          yield encodeStored(kept, held(kept, name, source.part?.(path, shape, at, some) ?? []));
        }
      },
    };
  });
}

/** The folders of an assembled model's towers; other models keep none that learn. */
function towerFolders(directory: string): readonly string[] {
  const found = assembledTowers.safeParse(readJsonFile(join(directory, 'config.json')));
  return found.success ? found.data.towers.map(({ folder }) => folder) : [];
}

/** The files of a directory's weights. */
function filesIn(directory: string): readonly string[] {
  const files = modelFiles(directory);
  const checkpoint = openCheckpoint(needFile(files.weights, 'model.safetensors', files));
  try {
    return checkpoint.files;
  } finally {
    checkpoint.close();
  }
}

/** A tower that stages have changed, in place of the copy in `out`. */
async function writeTower(
  root: string,
  {
    from,
    out,
    stages,
    dtype,
    signal,
  }: WriteTrained & { readonly from: string; readonly stages: readonly LearnedStage[] },
): Promise<Pick<TrainedModel, 'tensors' | 'learned'>> {
  const files = modelFiles(from);
  const path = needFile(files.weights, 'model.safetensors', files);
  const base = openCheckpoint(path, { dtype: 'f32' });
  try {
    const source = learnedSource(joinSources([{ root, source: base }]), stages);
    try {
      const tensors = learnedTensors(base, source, { root, dtype, directory: from });
      cpSync(from, out, { recursive: true, dereference: true });
      for (const file of readdirSync(out)) if (isWeights(file)) rmSync(join(out, file));
      await streamSafetensors(join(out, 'model.safetensors'), tensors, { format: 'pt' }, { signal });
      const learned = tensors.filter(({ name }) => source.isLearned(below(root, name))).length;
      return { tensors: tensors.length, learned };
    } finally {
      source.close();
    }
  } finally {
    base.close();
  }
}
