// Whether `run` would answer with a directory, and what it would read: every step of opening, none of which ends the others.
import { join, relative, resolve } from 'node:path';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/index.ts';
import type { ModelConfig } from '../../models/configs/read.ts';
import type { ModelFiles } from '../../runtime/checkpoint/hub.ts';
import { checkMemory, memoryPlan, type MemoryItem, type MemoryLimit } from '../../runtime/program/memory-check.ts';
import { examine, type Attempt, type Examined, type ExaminedWeights } from '../answer/examine.ts';
import { describeTower } from '../answer/families/tower-match.ts';
import { roomFor } from '../answer/generate.ts';
import { trialPicture } from '../answer/trial-picture.ts';
import type { OpenedModel, OpenModelOptions } from '../answer/open-model.ts';
import { checkCache, contextFor, sessionPlans, sessionSizes } from '../answer/session-plans.ts';
import { unreadFiles, type Unread } from './unread-files.ts';
import { requireOptions, requirePath } from '../../dsl/graph/required.ts';

export interface CheckOptions extends OpenModelOptions {
  /** Tokens of prompt and answer together; by default what `run` takes. */
  readonly context?: number | undefined;
  /** Pictures of one question; 1 by default, where the model sees any. */
  readonly images?: number | undefined;
  /** Compiled for; a desktop GPU by default. */
  readonly profile?: DeviceProfile | undefined;
  /** What a device offers: a model that takes more is refused by `run`. */
  readonly limit?: MemoryLimit | undefined;
  readonly note?: ((what: string) => void) | undefined;
}

export interface Problem {
  readonly what: string;
  readonly advice: string | undefined;
}

/** One checkpoint as its headers have it. */
export interface CheckedWeights {
  /** What it belongs to: `model`, `tower 0`. */
  readonly of: string;
  readonly files: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
  /** Tensors of each stored dtype, or of each way of packing. */
  readonly dtypes: Readonly<Record<string, number>>;
}

/** One program by itself: what it holds at its peak, while its weights are loaded. */
export interface CheckedProgram {
  readonly name: string;
  readonly bytes: number;
  /** Undefined where nobody knows what the device offers. */
  readonly fits: boolean | undefined;
}

/** Bytes on the device, at the sizes that are named. */
export interface CheckedMemory {
  readonly dtype: 'f32' | 'f16';
  readonly device: string;
  readonly context: number;
  readonly images: number;
  /** Tokens of a short question with its pictures. */
  readonly prompt: number;
  readonly items: readonly MemoryItem[];
  readonly programs: readonly CheckedProgram[];
  /** Of all programs, which share weights and arenas. */
  readonly running: number;
  readonly peak: number;
  /** What the device offers, where that is known. */
  readonly budget: number | undefined;
  readonly fits: boolean | undefined;
}

/** A part of a model, and what it is, in words. */
export interface CheckedPart {
  readonly name: string;
  readonly what: string;
}

export interface Checked {
  readonly directory: string;
  /** Whether `run` would answer. */
  readonly ok: boolean;
  /** `a Cambrian`; undefined where the config cannot be read. */
  readonly what: string | undefined;
  readonly modelType: string | undefined;
  readonly layout: string | undefined;
  readonly parts: readonly CheckedPart[];
  /** Files, and what is read from each. */
  readonly reads: readonly { readonly file: string; readonly what: string }[];
  readonly weights: readonly CheckedWeights[];
  /** Tensors that are not there, with the nearest names. */
  readonly missing: readonly { readonly name: string; readonly nearest: readonly string[] }[];
  readonly ignored: readonly Unread[];
  readonly problems: readonly Problem[];
  readonly memory: CheckedMemory | undefined;
}

/**
 * Throws `OpabiniaError` only where there is no directory; what is wrong with one is among the `problems`.
 * @example const { ok, problems } = await checkModel('out/made')
 */
export async function checkModel(model: string, options: CheckOptions = {}): Promise<Checked> {
  requirePath('checkModel', model, 'the model', "checkModel('path/to/model')");
  requireOptions('checkModel', options, '{ context: 2048 }');
  const problems: Problem[] = [];
  const attempt: Attempt = async (step) => {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      problems.push({ what: error.what, advice: error.advice });
      return undefined;
    }
  };
  const examined = await examine(model, options, attempt);
  try {
    const { opened } = examined;
    const memory = opened === undefined ? undefined : await attempt(() => trial(opened, options));
    const { limit } = options;
    if (memory !== undefined && limit !== undefined)
      await attempt(() => {
        checkMemory(memory, limit, { dtype: memory.dtype, context: memory.context, batch: 1 });
        return true;
      });
    return { ...facts(examined), ok: problems.length === 0, problems, memory };
  } finally {
    examined.close();
  }
}

/** A short question laid out as `run` does, and the programs that would answer it. Throws what either throws. */
async function trial(model: OpenedModel, options: CheckOptions): Promise<CheckedMemory> {
  const { dtype } = model.source;
  const profile = options.profile ?? desktopGpu;
  if (dtype === 'f16' && !profile.f16)
    throw new OpabiniaError(`${profile.name} has no f16`, { op: 'check', advice: 'leave out --dtype f16' });
  const { vision, seesByView = false } = model.family;
  const images = vision === undefined && !seesByView ? 0 : (options.images ?? 1);
  const pictures = Array.from({ length: images }, () => trialPicture);
  const laid = await model.family.layOut([{ text: 'Describe it.', images: pictures }], {});
  const context = options.context ?? contextFor(laid.width, model.maxNewTokens);
  const sizes = sessionSizes(model, { context, images });
  roomFor(laid.width, sizes);
  const { limit } = options;
  if (limit !== undefined) checkCache(model, limit, sizes);
  const budget = limit?.budget === Infinity ? undefined : limit?.budget;
  const fits = (bytes: number): boolean | undefined => (budget === undefined ? undefined : bytes <= budget);
  const { memory, programs } = sessionPlans(model, profile, sizes, {
    draw: 'greedy',
    views: laid.views,
    note: options.note,
  });
  return {
    dtype: dtype === 'f16' ? 'f16' : 'f32',
    device: profile.name,
    context: sizes.capacity,
    images,
    prompt: laid.width,
    ...memory,
    programs: programs.map((program) => {
      const { peak } = memoryPlan([program]);
      return { name: program.name, bytes: peak, fits: fits(peak) };
    }),
    budget,
    fits: fits(memory.peak),
  };
}

type Facts = Omit<Checked, 'ok' | 'problems' | 'memory'>;

function facts(examined: Examined): Facts {
  const { directory, files, config, plan, weights } = examined;
  const own = (path: string): string => {
    const inside = relative(directory, path);
    return inside.startsWith('..') ? path : inside;
  };
  const named = plan?.parts.map((part) => part.name) ?? [];
  const towers = plan?.towers ?? [];
  const ownerOf = (root: string): string =>
    root === '' ? 'model' : (named[towers.findIndex((tower) => tower.root === root)] ?? root);
  const checked = weights.map((one) => weightFacts(one, ownerOf(one.root), own));
  const reads = [
    ...smallFiles(files).map(({ file, what }) => ({ file: own(file), what })),
    ...towers.flatMap(({ config: file, processor }, k) => [
      { file: own(file), what: `sizes of ${named[k] ?? 'a tower'}` },
      ...(processor === undefined
        ? []
        : [{ file: own(processor), what: `how pictures of ${named[k] ?? 'a tower'} are made` }]),
    ]),
    ...checked.flatMap(({ of, files: shards }) => shards.map((file) => ({ file, what: `weights of ${of}` }))),
  ];
  const read = new Set(reads.map(({ file }) => resolve(directory, file)));
  const leftTensors = weights.flatMap(({ match, path }) =>
    (match?.ignored ?? []).map(({ name, why }) => ({ name: `${name} in ${own(path)}`, why })),
  );
  const leftNames = weights.flatMap(({ checkpoint, path }) =>
    checkpoint.absent.map((name) => ({
      name: `${name} in ${own(path)}`,
      why: 'the index names it, and no shard has it',
    })),
  );
  return {
    directory,
    ...identity(config, plan?.title),
    layout: weights.find(({ root }) => root === '')?.layout,
    parts: plan?.parts.map(({ name, what }) => ({ name, what })) ?? towerParts(config),
    reads,
    weights: checked,
    missing: weights.flatMap(({ match }) => match?.missing ?? []),
    ignored: [
      ...[files, ...towers.map((tower) => tower.files)].flatMap((each) =>
        unreadFiles(each, read, plan?.unread).map(({ name, why }) => ({ name: own(join(each.directory, name)), why })),
      ),
      ...leftNames,
      ...leftTensors,
    ],
  };
}

function identity(config: ModelConfig | undefined, title: string | undefined): Pick<Checked, 'what' | 'modelType'> {
  const type = config?.json['model_type'];
  return {
    what: title ?? (config?.kind === 'tower' ? 'a vision tower' : config?.kind),
    modelType: typeof type === 'string' ? type : undefined,
  };
}

function towerParts(config: ModelConfig | undefined): readonly CheckedPart[] {
  return config?.kind === 'tower' ? [{ name: 'tower', what: describeTower(config.tower) }] : [];
}

function weightFacts({ checkpoint }: ExaminedWeights, of: string, own: (path: string) => string): CheckedWeights {
  const dtypes: Record<string, number> = {};
  let bytes = 0;
  for (const tensor of checkpoint.stored.values()) {
    const kind = tensor.packed?.as ?? tensor.dtype;
    dtypes[kind] = (dtypes[kind] ?? 0) + 1;
    bytes += tensor.packed?.bytes ?? tensor.bytes;
  }
  return { of, files: checkpoint.files.map(own), tensors: checkpoint.stored.size, bytes, dtypes };
}

/** What is read besides weights. */
function smallFiles(files: ModelFiles): readonly { readonly file: string; readonly what: string }[] {
  const all: readonly (readonly [string | undefined, string])[] = [
    [files.config, 'sizes and kinds of all parts'],
    [files.tokenizer, 'the tokenizer'],
    [files.tokenizerConfig, 'special tokens, and the chat template where it has one'],
    [files.addedTokens, 'added tokens'],
    [files.specialTokens, 'special tokens that the file above does not name'],
    [files.chatTemplate, 'the chat template'],
    [files.generationConfig, 'where an answer ends, and how long it may be'],
    [files.preprocessorConfig, 'how pictures are made'],
    [files.weights?.endsWith('.json') === true ? files.weights : undefined, 'which shard holds what'],
  ];
  return all.flatMap(([file, what]) => (file === undefined ? [] : [{ file, what }]));
}
