// Models in GGUF, as a directory of Hugging Face would have them: a language model by itself, or a LLaVA of a language model and its `mmproj`.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { readConfig, readTower, type ModelConfig } from '../../../models/configs/read.ts';
import { ggufDecoder, wholeNormed } from '../../../models/decoders/gguf-decoder.ts';
import type { Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { resolveModel, type ModelFiles } from '../../../runtime/checkpoint/hub.ts';
import { leadsOut } from '../../../runtime/checkpoint/links.ts';
import { ggufCheckpoint } from '../../../runtime/gguf/gguf-checkpoint.ts';
import { isLaterPart } from '../../../runtime/gguf/gguf-parts.ts';
import { openGgufProjector, type OpenedProjector } from '../../../runtime/gguf/gguf-projector.ts';
import { ggufTokenizer, type GgufTokenizer } from '../../../runtime/gguf/gguf-tokenizer.ts';
import { openGgufLanguage, type OpenedGguf } from '../../../runtime/gguf/open-language.ts';
import type { OpenModelOptions } from '../opened-model.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** The files of a model in GGUF. */
export interface GgufPaths {
  readonly language: string;
  readonly projector: string | undefined;
}

export interface FoundGguf {
  readonly directory: string;
  readonly files: ModelFiles;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
}

const isGguf = (name: string): boolean => /\.gguf$/i.test(name);
const isProjector = (name: string): boolean => /mmproj/i.test(name);

/**
 * A `.gguf` file with the `mmproj` that is given as its tower, or a directory without config.json that has one model in GGUF; undefined for
 * everything else. Throws `OpabiniaError` where a directory has several.
 */
export function ggufPaths(model: string, towers: readonly string[] = []): GgufPaths | undefined {
  const [projector, ...others] = towers;
  if (isGguf(model)) {
    if (others.length > 0 || (projector !== undefined && !isGguf(projector)))
      throw new OpabiniaError(`${model} is given with ${towers.join(', ')}`, {
        op: 'openModel',
        advice: 'the tower of a model in GGUF is one file, its mmproj',
      });
    return { language: model, projector };
  }
  const directory = resolveModel(model);
  if (existsSync(join(directory, 'config.json'))) return undefined;
  const names = readdirSync(directory)
    .filter((name) => isGguf(name) && !isLaterPart(name))
    .sort();
  const [languages, projectors] = [names.filter((name) => !isProjector(name)), names.filter(isProjector)];
  const [language] = languages;
  if (language === undefined) return undefined;
  const given = projector !== undefined && isGguf(projector) && others.length === 0 ? projector : undefined;
  if (languages.length > 1 || (given === undefined && projectors.length > 1))
    throw new OpabiniaError(
      `${directory} has ${plural(languages.length, 'model')} and ${projectors.length} projectors in GGUF`,
      {
        op: 'openModel',
        advice: `give one file: ${names.slice(0, 8).join(', ')}${projectors.length > 1 ? ', and an mmproj by --tower' : ''}`,
      },
    );
  const own = [language, ...projectors].map((name) => join(directory, name));
  const stray = own.find((path) => leadsOut(directory, path));
  if (stray !== undefined)
    throw new OpabiniaError(`${stray} is a link that leads out of its directory`, {
      op: 'openModel',
      advice: 'copy the file there',
    });
  return { language: own[0] ?? '', projector: given ?? own[1] };
}

/** Headers of all files. Throws `OpabiniaError`; nothing stays open then. */
export async function openGgufModel(
  { language: path, projector }: GgufPaths,
  { dtype }: Pick<OpenModelOptions, 'dtype'>,
): Promise<FoundGguf> {
  const opened = await openGgufLanguage(path, { dtype });
  let tower: OpenedProjector | undefined;
  const close = (): void => {
    opened.file.close();
    tower?.file.close();
  };
  try {
    const tokenizer = ggufTokenizer(opened.file);
    tower = projector === undefined ? undefined : await openGgufProjector(projector, { dtype });
    const whole = tower === undefined ? languageAlone(opened, path) : sighted(opened, tower, tokenizer, path);
    const { path: first } = opened.file;
    const directory = dirname(first);
    return {
      directory,
      files: {
        directory,
        config: first,
        openClipConfig: undefined,
        generationConfig: undefined,
        preprocessorConfig: projector,
        tokenizer: first,
        tokenizerConfig: undefined,
        addedTokens: undefined,
        specialTokens: undefined,
        chatTemplate: undefined,
        weights: first,
        stated: { chatTemplate: tokenizer.chatTemplate, tokens: tokenizer.config, processor: whole.processor },
      },
      config: whole.config,
      checkpoint:
        whole.placed === undefined
          ? opened.checkpoint
          : ggufCheckpoint(whole.placed, { path, dtype: dtype ?? 'f32', close }),
    };
  } catch (error) {
    close();
    throw error;
  }
}

interface Whole {
  readonly config: ModelConfig;
  /** Tensors of both files; undefined where the language model's are all. */
  readonly placed?: OpenedGguf['placed'];
  readonly processor?: Readonly<Record<string, unknown>>;
}

function languageAlone(opened: OpenedGguf, path: string): Whole {
  const read = readConfig(opened.config, path);
  return { config: read.kind === 'language' ? { ...read, language: ggufDecoder(opened, path) } : read };
}

/**
 * LLaVA as transformers has it: the blocks up to the last feature layer run, and the projector reads these layers. Pictures are made as in
 * the released directories: the shortest side resized, the middle cut out, and of LLaVA-NeXT in tiles.
 */
function sighted(opened: OpenedGguf, tower: OpenedProjector, { json }: GgufTokenizer, path: string): Whole {
  const hidden = Number(opened.config['hidden_size']);
  const made = tower.placed.find(({ name }) => name === 'multi_modal_projector.linear_2.weight')?.shape[0];
  if (made !== hidden)
    throw new OpabiniaError(`${tower.file.path} makes tokens of ${made ?? 'no'} numbers, and ${path} reads ${hidden}`, {
      op: 'openModel',
      advice: 'take both files of one model',
    });
  // Each by itself first: what is wrong with one is said of its file.
  const vision = { ...tower.visionConfig, model_type: 'clip_vision_model' };
  readTower(vision, tower.file.path);
  readConfig(opened.config, path);
  const { side, mean, std } = tower.pixels;
  const canvases = tower.next?.canvases === undefined ? {} : { image_grid_pinpoints: tower.next.canvases };
  const config = {
    model_type: tower.next === undefined ? 'llava' : 'llava_next',
    ...canvases,
    text_config: opened.config,
    vision_config: vision,
    vision_feature_layer: tower.featureLayers,
    vision_feature_select_strategy: 'default',
    // One that is beyond the embeddings, where the tokenizer has none.
    image_token_index: imageToken(json) ?? Number(opened.config['vocab_size']),
  };
  const read = readConfig(config, path);
  if (read.kind !== 'llava') throw new TypeError('the config is LLaVA’s');
  const { language } = read.llava;
  return {
    config: { ...read, llava: { ...read.llava, language: opened.wholeNorms ? wholeNormed(language) : language } },
    placed: [
      ...opened.placed.map((one) => ({ ...one, name: `language_model.${one.name}` })),
      ...tower.placed.map((one) =>
        one.name.startsWith('vision_model.') ? { ...one, name: `vision_tower.${one.name}` } : one,
      ),
    ],
    processor: {
      image_processor_type: tower.next === undefined ? 'CLIPImageProcessor' : 'LlavaNextImageProcessor',
      ...canvases,
      size: { shortest_edge: side },
      crop_size: { height: side, width: side },
      image_mean: mean,
      image_std: std,
    },
  };
}

/** The id of `<image>` among the added tokens of a tokenizer.json. */
function imageToken(json: object): number | undefined {
  const added =
    'added_tokens' in json && Array.isArray(json.added_tokens) ? (json.added_tokens as readonly unknown[]) : [];
  const found = added.find(
    (token): token is { readonly id: number } =>
      typeof token === 'object' && token !== null && 'content' in token && token.content === '<image>' && 'id' in token,
  );
  return found?.id;
}
