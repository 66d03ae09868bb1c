// A model directory looked through step by step: opening ends with the first thing that is wrong, checking goes on to the next.
import { OpabiniaError } from '../../dsl/index.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import { readConfig, type ModelConfig } from '../../models/configs/read.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';
import { isLegacyBuffer } from '../../models/decoders/turn-graph.ts';
import { stopTokens, templateFor } from '../../models/sequence/conversation.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, type ModelFiles } from '../../runtime/checkpoint/hub.ts';
import { joinSources } from '../../runtime/checkpoint/joined-source.ts';
import { checkFloats, checkMatch, matchTensors, type Ignored, type Match } from '../../runtime/checkpoint/match.ts';
import type { StoredTensor } from '../../runtime/checkpoint/safetensors.ts';
import { readGenerationConfig } from '../../runtime/text/generation-config.ts';
import { openTokenizer, type SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { planAssembled } from './families/assembled.ts';
import { planCambrian } from './families/cambrian.ts';
import { planLanguage } from './families/language.ts';
import { planQwenVl } from './families/qwen-vl.ts';
import { planGemma3, planInternVl, planSmolVlm } from './families/siglip-vlm.ts';
import { planLlava } from './families/llava.ts';
import { matchTower } from './families/tower-match.ts';
import { ggufPaths, openGgufModel } from './found/gguf-model.ts';
import { isPacked, refuseTwice, storedAs, unpackedModules } from './found/stored-weights.ts';
import type { FamilyPlan, Opening } from './family.ts';
import { specialTokens } from './templates.ts';
import type { OpenedModel, OpenModelOptions } from './opened-model.ts';
import { plural } from '../../dsl/text/plural.ts';

/** What becomes of a step that fails: whoever opens lets it throw; whoever checks notes it, and what needs its result is not done. */
export type Attempt = <T>(step: () => T | Promise<T>) => Promise<T | undefined>;

/** One checkpoint: the main one, whose root is '', or that of a tower. */
export interface ExaminedWeights {
  readonly root: string;
  readonly path: string;
  readonly checkpoint: Checkpoint;
  /** Against the config; undefined where that cannot be read. */
  readonly match: Match | undefined;
  readonly layout: string | undefined;
}

/** What was found; what depends on a step that failed is undefined. */
export interface Examined {
  readonly directory: string;
  readonly files: ModelFiles;
  readonly config: ModelConfig | undefined;
  readonly plan: FamilyPlan | undefined;
  readonly weights: readonly ExaminedWeights[];
  /** The model, when nothing was wrong. */
  readonly opened: OpenedModel | undefined;
  /** Closes all checkpoints. */
  readonly close: () => void;
}

/** The one place that tells the families apart. */
function planOf(config: ModelConfig, opening: Opening, path: string): FamilyPlan | Promise<FamilyPlan> {
  switch (config.kind) {
    case 'cambrian':
      return planCambrian(config.cambrian, opening);
    case 'llava':
      return planLlava(config.llava, opening);
    case 'language':
      return planLanguage(config.language, opening);
    case 'qwen-vl':
      return planQwenVl(config.qwenVl, opening);
    case 'gemma3':
      return planGemma3(config.gemma3, opening);
    case 'smolvlm':
      return planSmolVlm(config.smolvlm, opening);
    case 'internvl':
      return planInternVl(config.internVl, opening);
    case 'assembled':
      return planAssembled(config.assembled, opening);
    case 'tower':
      throw new OpabiniaError(`${path} is a vision tower`, {
        op: 'openModel',
        advice: 'give the directory of a Cambrian, of a LLaVA or of a language model',
      });
    default:
      return config satisfies never;
  }
}

/**
 * Everything that opening a model reads: no value of a weight. Throws what `attempt` lets through, and `OpabiniaError` where there is no
 * directory; nothing stays open then.
 */
export async function examine(model: string, given: OpenModelOptions, attempt: Attempt): Promise<Examined> {
  const paths = ggufPaths(model, given.towers);
  const gguf = paths === undefined ? undefined : await openGgufModel(paths, given);
  // The tower of a model in GGUF is among its files.
  const options = gguf === undefined ? given : { ...given, towers: undefined };
  const directory = gguf?.directory ?? resolveModel(model);
  const files = gguf?.files ?? modelFiles(directory);
  const opened: Checkpoint[] = gguf === undefined ? [] : [gguf.checkpoint];
  const close = (): void => {
    for (const checkpoint of opened.splice(0)) checkpoint.close();
  };
  const open = (weights: string): Checkpoint => {
    const checkpoint = openCheckpoint(weights, { dtype: options.dtype ?? 'f32' });
    opened.push(checkpoint);
    return checkpoint;
  };
  let failed = false;
  const trying: Attempt = async (step) => {
    const result = await attempt(step);
    failed ||= result === undefined;
    return result;
  };
  try {
    const before = await readSmallFiles(files, options, trying, gguf?.config);
    const weights = await readWeights(files, before, open, trying, gguf?.checkpoint);
    const { config, plan, tokenizer, generation } = before;
    const complete =
      !failed && config !== undefined && plan !== undefined && tokenizer !== undefined
        ? openedModel({ directory, files, config, plan, tokenizer, generation, weights, close }, options)
        : undefined;
    return { directory, files, config, plan, weights, opened: complete, close };
  } catch (error) {
    close();
    throw error;
  }
}

interface SmallFiles {
  readonly config: ModelConfig | undefined;
  readonly plan: FamilyPlan | undefined;
  readonly tokenizer: SandboxTokenizer | undefined;
  readonly generation: ReturnType<typeof readGenerationConfig> | undefined;
}

async function readSmallFiles(
  files: ModelFiles,
  options: OpenModelOptions,
  attempt: Attempt,
  known: ModelConfig | undefined,
): Promise<SmallFiles> {
  const { directory } = files;
  const path = files.config ?? '';
  const { towers, connectors } = options;
  const opening = (json: Opening['json']): Opening => ({ directory, files, json, towers, connectors });
  const config = await attempt(() => {
    if (known !== undefined) return known;
    const needed = needFile(files.config, 'config.json', files);
    const read = readConfig(readJsonFile(needed), needed);
    refuseTwice(read, needed, options);
    return read;
  });
  if (config?.kind === 'tower') {
    await attempt(() => planOf(config, opening(config.json), path));
    return { config, plan: undefined, tokenizer: undefined, generation: undefined };
  }
  const tokenizer = await attempt(() => openTokenizer(files));
  const plan = config && (await attempt(() => planOf(config, opening(config.json), path)));
  if (plan !== undefined) {
    await attempt(() => checkTowerCount(options.towers?.length ?? 0, plan));
    if (tokenizer !== undefined)
      await attempt(() => {
        plan.checkTokenizer?.(tokenizer);
        return true;
      });
  }
  const { generationConfig } = files;
  const generation =
    generationConfig === undefined
      ? undefined
      : await attempt(() => readGenerationConfig(readJsonFile(generationConfig), generationConfig));
  if (plan !== undefined && tokenizer !== undefined)
    await attempt(() => checkVocabulary(tokenizer, plan.language, files));
  return { config, plan, tokenizer, generation };
}

function checkTowerCount(given: number, { towers }: FamilyPlan): true {
  if (given <= towers.length) return true;
  throw new OpabiniaError(
    `${plural(given, 'tower is', 'towers are')} given, and the model has ${towers.length} with files of their own`,
    {
      op: 'openModel',
      advice: towers.length === 0 ? 'leave out --tower' : 'give them in the order of the config',
    },
  );
}

function checkVocabulary(tokenizer: SandboxTokenizer, { config }: LanguageModel, files: ModelFiles): true {
  if (tokenizer.fits(config.vocabulary)) return true;
  throw new OpabiniaError(
    `${files.tokenizer ?? files.directory} has ids up to ${tokenizer.size - 1}, and ${files.config ?? ''} a vocabulary of ${config.vocabulary}`,
    { op: 'openModel', advice: 'take both files from one revision of one model' },
  );
}

async function readWeights(
  files: ModelFiles,
  { config, plan }: SmallFiles,
  open: (path: string) => Checkpoint,
  attempt: Attempt,
  main: Checkpoint | undefined,
): Promise<readonly ExaminedWeights[]> {
  const found: ExaminedWeights[] = [];
  const look = async (
    place: { readonly root: string; readonly path: string; readonly directory: string },
    matching: (stored: Shapes) => { readonly match: Match; readonly layout?: string } | undefined,
  ): Promise<void> => {
    const checkpoint = await attempt(() => {
      if (place.root !== '') return open(place.path);
      return main ?? unpackedModules(open(place.path), config, files.config ?? '');
    });
    if (checkpoint === undefined) return;
    const matched = await attempt(() => ({ found: matching(storedShapes(checkpoint)) }));
    const { match, layout } = matched?.found ?? {};
    if (match !== undefined)
      await attempt(() => {
        // In GGUF, a directory has several models, and a model several files.
        const what = files.stated === undefined ? place.directory : checkpoint.files.slice(0, 3).join(', ');
        checkMatch(match, what);
        checkFloats(match, storedTensors(checkpoint), what);
        return true;
      });
    found.push({ root: place.root, path: place.path, checkpoint, match, layout });
  };
  const path = await attempt(() => needFile(files.weights, 'model.safetensors', files));
  if (path !== undefined)
    await look({ root: '', path, directory: files.directory }, (stored) => {
      if (config?.kind === 'tower') return { match: matchTower(config.tower, stored) };
      if (plan === undefined) return undefined;
      const { shapes, ignored = {}, layout } = plan.wanted(stored);
      const spare = plan.language.config.tied ? spareHeads(shapes, stored, plan.language) : {};
      return { match: matchTensors(shapes, stored, { ...ignored, ...spare }), layout };
    });
  for (const tower of plan?.towers ?? [])
    await look({ root: tower.root, path: tower.weights, directory: tower.files.directory }, (stored) => ({
      match: tower.match(stored),
    }));
  return found;
}

/** What a model reads is matched against what is stored, but for frequencies that older files store as buffers. */
function storedShapes(checkpoint: Checkpoint): Shapes {
  return new Map(storedTensors(checkpoint).map(({ name, shape }) => [name, shape]));
}

function storedTensors(checkpoint: Checkpoint): readonly StoredTensor[] {
  return [...checkpoint.stored.values()].filter(({ name }) => !isLegacyBuffer(name));
}

/** The output matrix of a model that has it tied to its embedding, stored all the same by some who saved it. */
function spareHeads(wanted: Shapes, stored: Shapes, { config }: LanguageModel): Ignored {
  const shape = `${config.vocabulary},${config.hidden}`;
  const spare = [...stored].filter(
    ([name, found]) => /(?:^|\.)lm_head\.weight$/.test(name) && !wanted.has(name) && found.join() === shape,
  );
  return Object.fromEntries(spare.map(([name]) => [name, 'the head is tied to the embedding']));
}

interface Complete extends Pick<Examined, 'directory' | 'files' | 'weights' | 'close'> {
  readonly config: ModelConfig;
  readonly plan: FamilyPlan;
  readonly tokenizer: SandboxTokenizer;
  readonly generation: SmallFiles['generation'];
}

function openedModel(
  { directory, files, config, plan, tokenizer, generation, weights, close }: Complete,
  options: OpenModelOptions,
): OpenedModel {
  const parts = weights.map(({ root, checkpoint }) => ({ root, source: checkpoint }));
  const [first, ...others] = parts;
  if (first === undefined) throw new TypeError('a model that is opened has weights');
  const source = storedAs(joinSources([first, ...others]), options.weights);
  const ends = [
    ...stopTokens[templateFor((token) => tokenizer.idOf(token) !== undefined)],
    specialTokens(files).eos_token,
  ].flatMap((token) => (token === undefined ? undefined : tokenizer.idOf(token)) ?? []);
  return {
    directory,
    family: plan.family(source, tokenizer),
    language: plan.language,
    upright: plan.upright,
    tokenizer,
    source,
    close,
    endTokens: new Set([
      ...(generation !== undefined && generation.ends.length > 0 ? generation.ends : endIds(config.json)),
      ...ends,
    ]),
    maxNewTokens: generation?.maxNewTokens,
    recommended: {
      topK: generation?.topK,
      topP: generation?.topP,
      repetitionPenalty: generation?.repetitionPenalty,
    },
    unapplied: generation?.changing ?? [],
    weights: weights
      .filter(({ root }) => root !== '' || !isPacked(files, config))
      .map(({ root, path }) => ({ root: root === '' ? '' : `${root}.`, path })),
    read: weights.flatMap(({ root, checkpoint }) => checkpoint.files.map((path) => ({ root, path }))),
  };
}

/** `eos_token_id`, of the whole or of its language model. */
function endIds(json: ConfigJson): readonly number[] {
  const text = json['text_config'];
  const own =
    json['eos_token_id'] ??
    (typeof text === 'object' && text !== null && 'eos_token_id' in text ? text.eos_token_id : undefined);
  return (Array.isArray(own) ? (own as readonly unknown[]) : [own]).filter(
    (id): id is number => typeof id === 'number',
  );
}
