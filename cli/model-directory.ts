// A model directory opened as a whole: config, tokenizer, template, weights of the model and of its towers, all checked against each other.
import { OpabiniaError } from '../dsl/error.ts';
import type { ParamSource } from '../dsl/index.ts';
import { towerRoot } from '../models/cambrian-model.ts';
import { cambrianShapes } from '../models/configs/cambrian.ts';
import { decoderShapes } from '../models/configs/decoder-shapes.ts';
import { readConfig, readTower, type ModelConfig } from '../models/configs/read.ts';
import { towerShapes, type TowerConfig } from '../models/configs/towers.ts';
import type { Shapes } from '../models/param-shapes.ts';
import { readChatTemplate } from '../runtime/chat-template.ts';
import { openCheckpoint, type Checkpoint } from '../runtime/checkpoint.ts';
import { readGenerationConfig, type GenerationConfig } from '../runtime/generation-config.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, resolveTower, type Environment, type ModelFiles } from '../runtime/hub.ts';
import { joinSources } from '../runtime/joined-source.ts';
import { checkMatch, matchTensors, type ShapesByName } from '../runtime/match.ts';
import { readProcessor, type ImageProcessor } from '../runtime/preprocess.ts';
import { openTokenizer, type Tokenizer } from '../runtime/tokenizer.ts';

export interface OpenedTower {
  readonly name: string;
  readonly files: ModelFiles;
  readonly config: TowerConfig;
  readonly checkpoint: Checkpoint;
  /** Where the directory has a preprocessor_config.json. */
  readonly processor: ImageProcessor | undefined;
}

export interface OpenedModel {
  readonly files: ModelFiles;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  /** Cambrian: in the order of its config. */
  readonly towers: readonly OpenedTower[];
  /** The model and its towers as one: a tower's names stand below `towerRoot(k)`. */
  readonly source: ParamSource;
  readonly tokenizer: Tokenizer;
  /** Jinja, where the model has one. */
  readonly chatTemplate: string | undefined;
  readonly generation: GenerationConfig | undefined;
  readonly processor: ImageProcessor | undefined;
  close(): void;
}

export interface OpenModelOptions {
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Directories or repositories of towers by the name that the config gives them. */
  readonly towers?: Readonly<Record<string, string>> | undefined;
  readonly env?: Environment | undefined;
}

/**
 * Opens everything, or nothing: headers only, no value is read. Throws `OpabiniaError` for a directory without config, an unknown
 * model type, weights that do not fit the config, a missing tower, and every damaged file.
 */
export function openModelDirectory(model: string, options: OpenModelOptions = {}): OpenedModel {
  const { dtype = 'f32', env = process.env } = options;
  const directory = resolveModel(model, env);
  const files = modelFiles(directory);
  const path = needFile(files.config, 'config.json', files);
  const config = readConfig(readJsonFile(path), path);
  if (config.kind === 'tower') throw new OpabiniaError(`${path} is of a vision tower, which answers nothing by itself`, { op: 'openModel', advice: 'give the directory of a language model or of a model that sees' });
  const tokenizer = openTokenizer(files);
  const [chatTemplate, generation] = [readChatTemplate(files), files.generationConfig === undefined ? undefined : readGenerationConfig(readJsonFile(files.generationConfig), files.generationConfig)];
  const vocabulary = (config.kind === 'cambrian' ? config.cambrian : config.kind === 'llava' ? config.llava : config).language.config.vocabulary;
  if (tokenizer.size > vocabulary) throw new OpabiniaError(`${needFile(files.tokenizer, 'tokenizer.json', files)} has ids up to ${tokenizer.size - 1}, and ${path} a vocabulary of ${vocabulary}`, { op: 'openModel', advice: 'take both files from one revision of one model' });

  const opened: Checkpoint[] = [];
  try {
    const open = (own: ModelFiles): Checkpoint => {
      const checkpoint = openCheckpoint(own.weights ?? own.directory, { dtype });
      opened.push(checkpoint);
      return checkpoint;
    };
    const checkpoint = open(files);
    const towers = config.kind === 'cambrian' ? config.cambrian.towers.map((named) => openTower(resolveTower(directory, named.name, named.repos, options.towers?.[named.name], env), named.name, named.kind, open)) : [];
    const wanted = modelShapes(config, towers.map((tower) => tower.config));
    if (wanted !== undefined) checkMatch(matchTensors(wanted, legacyLess(checkpoint)), directory);
    const source = towers.length === 0 ? checkpoint : joinSources([{ root: '', source: checkpoint }, ...towers.map((tower, k) => ({ root: towerRoot(k), source: tower.checkpoint }))]);
    return { files, config, checkpoint, towers, source, tokenizer, chatTemplate, generation, processor: processorOf(files), close: () => { for (const one of opened) one.close(); } };
  } catch (error) {
    for (const one of opened) one.close();
    throw error;
  }
}

/** LLaVA's names differ between versions of transformers; its matching is left to the trace. */
function modelShapes(config: ModelConfig, towers: readonly TowerConfig[]): Shapes | undefined {
  if (config.kind === 'cambrian') return cambrianShapes(config.cambrian, towers);
  return config.kind === 'language' ? decoderShapes(config.language, config.family === 'phi3') : undefined;
}

/** Without buffers that older versions stored among the weights. */
function legacyLess(checkpoint: Checkpoint): ShapesByName {
  return new Map([...checkpoint.stored].filter(([name]) => !/(?:^|\.)(?:position_ids|rotary_emb\.inv_freq)$/.test(name)).map(([name, tensor]) => [name, tensor.shape]));
}

function processorOf(files: ModelFiles): ImageProcessor | undefined {
  return files.preprocessorConfig === undefined ? undefined : readProcessor(readJsonFile(files.preprocessorConfig), files.preprocessorConfig);
}

function openTower(directory: string, name: string, kind: TowerConfig['tower'], open: (files: ModelFiles) => Checkpoint): OpenedTower {
  const files = modelFiles(directory);
  const path = needFile(files.openClipConfig !== undefined && files.config === undefined ? files.openClipConfig : files.config, 'config.json', files);
  const json = readJsonFile(path);
  // A repository of open_clip may have both, and its own config.json then says nothing of the tower.
  const config = files.openClipConfig !== undefined && !hasModelType(json) ? readTower(readJsonFile(files.openClipConfig), files.openClipConfig) : readTower(json, path);
  if (config.tower !== kind) throw new OpabiniaError(`${path} is of a tower of kind ${config.tower}, and '${name}' names one of kind ${kind}`, { op: 'openModel', advice: 'give the directory of the tower that the config names' });
  const checkpoint = open(files);
  checkTower(config, legacyLess(checkpoint), directory);
  return { name, files, config, checkpoint, processor: processorOf(files) };
}

function hasModelType(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'model_type' in json;
}

/** Parts of whole models that no tower needs. */
const beside = ['text_model', 'text', 'visual_projection', 'text_projection', 'logit_scale', 'logit_bias', 'visual.head', 'head', 'trunk.head', 'visual.trunk.head', 'classifier', 'vision_model.head'];
/** Parts of a tower that Cambrian never reads: a checkpoint may come without. */
const unread = /(?:^|\.)(?:attn_pool|head|mask_token|post_layernorm)(?:\.|$)/;

const towerPrefixes: Readonly<Record<TowerConfig['tower'], readonly string[]>> = {
  clip: ['vision_model.', ''], siglip: ['visual.trunk.', 'trunk.', 'vision_model.', ''], dinov2: ['dinov2.', ''], convnext: ['visual.trunk.', 'trunk.', ''],
};
const witnesses: Readonly<Record<TowerConfig['tower'], readonly string[]>> = {
  clip: ['embeddings.class_embedding'], siglip: ['pos_embed', 'embeddings.position_embedding.weight'], dinov2: ['embeddings.cls_token'], convnext: ['stem.0.weight'],
};

/** The same tower has other names in other places; all that matters is that one set of them fits. */
function checkTower(config: TowerConfig, stored: ShapesByName, directory: string): void {
  const prefixes = towerPrefixes[config.tower];
  const prefix = prefixes.find((candidate) => witnesses[config.tower].some((name) => stored.has(candidate + name)));
  const names = config.tower === 'siglip' && !stored.has(`${prefix ?? ''}pos_embed`) ? 'hub' : 'timm';
  const bare = (name: string) => name.slice(prefixes.find((candidate) => name.startsWith(candidate))?.length ?? 0);
  const wanted = new Map([...towerShapes(config, names)].map(([name, shape]) => [(prefix ?? '') + bare(name), shape] as const).filter(([name]) => stored.has(name) || !unread.test(name)));
  checkMatch(matchTensors(wanted, stored, beside), directory);
}
