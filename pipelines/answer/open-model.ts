// A model directory as it is on disk: configs, tokenizer, checkpoints of the language model and of its towers. Nothing is on the device yet.
import { OpabiniaError } from '../../dsl/index.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import type { ModelConfig } from '../../models/configs/read.ts';
import { stopTokens, templateFor } from '../../models/sequence/conversation.ts';
import { isLegacyBuffer } from '../../models/decoders/turn-graph.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { readGenerationConfig } from '../../runtime/text/generation-config.ts';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import { joinSources, type Source } from '../../runtime/checkpoint/joined-source.ts';
import { quantizedSource, type QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { storedSource } from '../../runtime/checkpoint/packed/plane-source.ts';
import { checkMatch, matchTensors } from '../../runtime/checkpoint/match.ts';
import { openTokenizer, type SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { planCambrian } from './cambrian-family.ts';
import type { Family, FamilyPlan, Opening } from './family.ts';
import { findDirectory, findGguf, type FoundModel } from './found-model.ts';
import { planLanguage } from './language-family.ts';
import { planLlava } from './llava-family.ts';
import { specialTokens } from './templates.ts';

export interface OpenedModel {
  readonly directory: string;
  readonly family: Family;
  readonly language: LanguageModel;
  /** How its pictures are decoded (`decodeImage`). */
  readonly upright: boolean;
  readonly tokenizer: SandboxTokenizer;
  readonly endTokens: ReadonlySet<number>;
  /** `max_new_tokens` of generation_config.json. */
  readonly maxNewTokens: number | undefined;
  /** All parameters; those of a tower with a checkpoint of its own below its root. */
  readonly source: Source;
  /** Files that hold the weights as `source` gives them, each with what stands before its names there; none of packed weights. */
  readonly weights: readonly { readonly root: string; readonly path: string }[];
  readonly close: () => void;
}

export interface OpenModelOptions {
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Matrices are quantized as they are loaded, or read as floats however they are stored. By default they stay as they are stored. */
  readonly weights?: QuantizeOptions | 'floats' | undefined;
  /** Directories or repositories of the towers, in the config's order, where they are not found by themselves. */
  readonly towers?: readonly string[] | undefined;
}

/** The one place that tells the families apart. */
function planOf(config: ModelConfig, opening: Opening, path: string): FamilyPlan {
  switch (config.kind) {
    case 'cambrian':
      return planCambrian(config.cambrian, opening);
    case 'llava':
      return planLlava(config.llava, opening);
    case 'language':
      return planLanguage(config.language, opening);
    case 'tower':
      throw noAnswers(path);
    default:
      return config satisfies never;
  }
}

function noAnswers(path: string): OpabiniaError {
  return new OpabiniaError(`${path} is a vision tower`, {
    op: 'openModel',
    advice: 'give the directory of a Cambrian, of a LLaVA or of a language model',
  });
}

/**
 * A released model, opened for answering. Throws `OpabiniaError` for whatever is missing, damaged, or does not fit together; nothing stays open then.
 * @example const { session } = await openModel('owner/name')
 */
export async function openModel(model: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  const found = /\.gguf$/i.test(model) ? await findGguf(model, options) : findDirectory(model, options);
  try {
    return await assemble(found, options);
  } catch (error) {
    found.close?.();
    throw error;
  }
}

async function assemble(found: FoundModel, options: OpenModelOptions): Promise<OpenedModel> {
  const { directory, files, path, config } = found;
  if (typeof options.weights === 'object' && found.method !== undefined)
    throw new OpabiniaError(`${path} is quantized already, by ${found.method}`, {
      op: 'openModel',
      advice: 'leave out --weights, or take the checkpoint that it was made from',
    });
  if (config.kind === 'tower') throw noAnswers(path);
  const tokenizer = await openTokenizer(files);
  const { language, upright, towers, wanted, family } = planOf(
    config,
    { directory, files, json: config.json, tokenizer, towers: options.towers },
    path,
  );
  const given = options.towers?.length ?? 0;
  if (given > towers.length)
    throw new OpabiniaError(`${given} towers are given, and the model has ${towers.length} with files of their own`, {
      op: 'openModel',
      advice: towers.length === 0 ? 'leave out --tower' : 'give them in the order of the config',
    });
  const generation =
    files.generationConfig === undefined
      ? undefined
      : readGenerationConfig(readJsonFile(files.generationConfig), files.generationConfig);
  if (!tokenizer.fits(language.config.vocabulary))
    throw new OpabiniaError(
      `${files.tokenizer ?? directory} has ids up to ${tokenizer.size - 1}, and ${path} a vocabulary of ${language.config.vocabulary}`,
      { op: 'openModel', advice: 'take both files from one revision of one model' },
    );
  const ends = [
    ...stopTokens[templateFor((token) => tokenizer.idOf(token) !== undefined)],
    specialTokens(files).eos_token,
  ].flatMap((token) => (token === undefined ? undefined : tokenizer.idOf(token)) ?? []);

  const opened: Checkpoint[] = [];
  const close = (): void => {
    for (const checkpoint of opened.splice(0)) checkpoint.close();
  };
  const keep = (checkpoint: Checkpoint): Checkpoint => {
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    const main = keep(found.open());
    const stored = storedShapes(main);
    const { shapes, ignored = [] } = wanted(stored);
    const spare = language.config.tied ? spareHeads(shapes, stored, language) : [];
    checkMatch(matchTensors(shapes, stored, [...ignored, ...spare]), directory);
    const beside = towers.map((tower) => {
      const source = keep(openCheckpoint(tower.weights, { dtype: options.dtype ?? 'f32' }));
      tower.check(storedShapes(source));
      return { root: tower.root, source };
    });
    const plain = joinSources([{ root: '', source: main }, ...beside]);
    const source = weightsOf(plain, options.weights);
    return {
      directory,
      family: family(source),
      language,
      upright,
      tokenizer,
      source,
      close,
      endTokens: new Set([
        ...(generation !== undefined && generation.ends.length > 0 ? generation.ends : endIds(config.json)),
        ...ends,
      ]),
      maxNewTokens: generation?.maxNewTokens,
      weights: [
        ...(found.plainWeights === undefined ? [] : [{ root: '', path: found.plainWeights }]),
        ...towers.map((tower) => ({ root: `${tower.root}.`, path: tower.weights })),
      ],
    };
  } catch (error) {
    close();
    throw error;
  }
}

function weightsOf(plain: Source, weights: OpenModelOptions['weights']): Source {
  if (weights === 'floats') return plain;
  return weights === undefined ? storedSource(plain) : quantizedSource(plain, weights);
}

/** What a model reads is matched against what is stored, but for frequencies that older files store as buffers. */
function storedShapes(checkpoint: Checkpoint): Shapes {
  return new Map(
    [...checkpoint.stored].filter(([name]) => !isLegacyBuffer(name)).map(([name, tensor]) => [name, tensor.shape]),
  );
}

/** The output matrix of a model that has it tied to its embedding, stored all the same by some who saved it. */
function spareHeads(wanted: Shapes, stored: Shapes, { config }: LanguageModel): readonly string[] {
  const shape = `${config.vocabulary},${config.hidden}`;
  return [...stored]
    .filter(([name, found]) => /(?:^|\.)lm_head\.weight$/.test(name) && !wanted.has(name) && found.join() === shape)
    .map(([name]) => name);
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
