// What a run has learned, as a model directory like the one it began with: `run`, `eval`, `serve` and the next recipe take it.
import { copyFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { isBelow } from '../../models/configs/param-shapes.ts';
import { assembledTowerRoot } from '../../models/multimodal/assembled-model.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, resolveTower } from '../../runtime/checkpoint/hub.ts';
import { joinSources } from '../../runtime/checkpoint/joined-source.ts';
import { storedPieces, streamSafetensors, type TensorToStream } from '../../runtime/checkpoint/safetensors-stream.ts';
import type { StoredDType } from '../../runtime/checkpoint/safetensors.ts';
import { encodeStored } from '../../runtime/checkpoint/stored-values.ts';
import { statOf } from '../../runtime/files/regular-file.ts';
import { newFolder } from '../../runtime/files/new-folder.ts';
import { isBesideWeights } from '../model-files.ts';
import { listCheckpoints, newestWeights } from './run/checkpoints.ts';
import { learnedSource, type LearnedSource, type LearnedStage } from './run/learned-source.ts';
import { stageFile } from './run/stage-weights.ts';

export interface WriteTrained {
  /** A folder that is not there yet. */
  readonly out: string;
  /** Of all weights; by default each stays what it is in the model that the run began with. */
  readonly dtype?: 'f32' | 'f16' | undefined;
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
}

const described = z.object({
  recipe: z.object({
    model: z.string(),
    towers: z.array(z.string()).optional(),
    stages: z.array(
      z.object({
        lora: z
          .array(z.object({ paths: z.array(z.string()), rank: z.number(), alpha: z.number().optional() }))
          .optional(),
      }),
    ),
  }),
});

const assembledTowers = z.object({ towers: z.array(z.object({ folder: z.string() })) });

const pieceElements = 2 ** 21;

/**
 * Writes the directory, whole or not at all: the files of the recipe's model, and its weights with those of the run's last checkpoint,
 * low-rank additions folded in, towers that learned among them. Throws `OpabiniaError` for a folder that is there already, a run without a
 * checkpoint, and a model that is not where the recipe says; the reason of the signal once it is aborted.
 * @example await writeTrained(folder, { out: 'trained' })
 */
export async function writeTrained(
  run: string,
  { out: wanted, dtype, note = () => undefined, signal }: WriteTrained,
): Promise<TrainedModel> {
  if (statOf(wanted, 'runs')?.isDirectory() === true ? readdirSync(wanted).length > 0 : existsSync(wanted))
    throw refuse(`${wanted} is there already`, 'give a new folder');
  const config = join(run, 'config.json');
  const known = described.safeParse(existsSync(config) ? parsed(readFileSync(config, 'utf8')) : undefined);
  if (!known.success) throw refuse(`${config} does not say what was trained`, 'give the folder of a run');
  const { recipe } = known.data;
  const stages = stagesOf(
    run,
    recipe.stages.map(({ lora }) => lora),
    note,
  );
  if (stages.length === 0) throw refuse(`${run} has no checkpoint yet`, 'let it run until it has saved one');
  const directory = resolveModel(recipe.model);
  const files = modelFiles(directory);
  const base = openCheckpoint(needFile(files.weights, 'model.safetensors', files), { dtype: 'f32' });
  try {
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
        return { tensors: count, learned, stages: stages.length };
      });
    } finally {
      source.close();
    }
  } finally {
    base.close();
  }
}

const refuse = (what: string, advice: string): OpabiniaError => new OpabiniaError(what, { op: 'runs', advice });
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

/** Values that a dtype holds. Throws `OpabiniaError` for one that would become ∞ in f16. */
function held(dtype: StoredDType, name: string, values: ArrayLike<number>): ArrayLike<number> {
  if (dtype !== 'F16') return values;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (Number.isFinite(value) && !Number.isFinite(Math.f16round(value)))
      throw refuse(`'${name}' holds ${value.toPrecision(6)}, and f16 numbers up to 65504`, 'write it with --dtype f32');
  }
  return values;
}

/** The folders of an assembled model's towers; other models keep none that learn. */
function towerFolders(directory: string): readonly string[] {
  const found = assembledTowers.safeParse(readJsonFile(join(directory, 'config.json')));
  return found.success ? found.data.towers.map(({ folder }) => folder) : [];
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

/**
 * What every stage wrote that has ended, and the newest checkpoint that is whole of the one that has not. Throws `OpabiniaError` where a
 * stage is missing behind which another one learned, and where no checkpoint is whole.
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

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
