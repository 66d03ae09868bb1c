// A model directory as it is on disk: configs, tokenizer, checkpoints of the language model and of its towers. Nothing is on the device yet.
import { OpabiniaError } from '../../dsl/index.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import { readConfig, readTower } from '../../models/configs/read.ts';
import type { TowerConfig } from '../../models/configs/towers.ts';
import { towerRoot, type CambrianModel } from '../../models/cambrian-model.ts';
import { stopTokens, templateFor, type TemplateName } from '../../models/conversation.ts';
import { isLegacyBuffer } from '../../models/decoder-graphs.ts';
import type { LanguageModel } from '../../models/decoder.ts';
import type { Shapes } from '../../models/param-shapes.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint.ts';
import { readGenerationConfig } from '../../runtime/generation-config.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, resolveTower, type ModelFiles } from '../../runtime/hub.ts';
import { joinSources, type Source } from '../../runtime/joined-source.ts';
import { checkMatch, matchTensors } from '../../runtime/match.ts';
import { openTokenizer, type Tokenizer } from '../../runtime/tokenizer.ts';
import { checkTower } from '../tower-match.ts';

export interface OpenedModel {
  readonly directory: string;
  readonly language: LanguageModel;
  /** Absent for a language model by itself. */
  readonly cambrian: CambrianModel | undefined;
  readonly tokenizer: Tokenizer;
  readonly template: TemplateName;
  /** The begin-of-text token of the config. */
  readonly begin: number | undefined;
  readonly endTokens: ReadonlySet<number>;
  /** `max_new_tokens` of generation_config.json. */
  readonly maxNewTokens: number | undefined;
  /** All parameters; those of tower k below `towerRoot(k)`. */
  readonly source: Source;
  readonly close: () => void;
}

export interface OpenModelOptions {
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Directories or repositories of the towers, in the config's order, where they are not found by themselves. */
  readonly towers?: readonly string[] | undefined;
}

/** Throws `OpabiniaError` for whatever is missing, damaged, or does not fit together; nothing stays open then. */
export function openModel(model: string, options: OpenModelOptions = {}): OpenedModel {
  const directory = resolveModel(model);
  const files = modelFiles(directory);
  const path = needFile(files.config, 'config.json', files);
  const config = readConfig(readJsonFile(path), path);
  if (config.kind !== 'cambrian' && config.kind !== 'language') {
    throw new OpabiniaError(`${path} is a ${config.kind === 'tower' ? 'vision tower' : 'LLaVA model'}`, { op: 'openModel', advice: 'give the directory of a Cambrian model or of a language model' });
  }
  const language = config.kind === 'cambrian' ? config.cambrian.language : config.language;
  const towers = config.kind === 'cambrian' ? config.cambrian.towers.map((named, k) => towerFiles(resolveTower(directory, named.name, named.repos, options.towers?.[k]))) : [];
  const tokenizer = openTokenizer(files);
  const template = templateFor((token) => tokenizer.idOf(token) !== undefined);
  const generation = files.generationConfig === undefined ? undefined : readGenerationConfig(readJsonFile(files.generationConfig), files.generationConfig);
  if (tokenizer.size > language.config.vocabulary) throw new OpabiniaError(`${files.tokenizer ?? directory} has ids up to ${tokenizer.size - 1}, and ${path} a vocabulary of ${language.config.vocabulary}`, { op: 'openModel', advice: 'take both files from one revision of one model' });
  const cambrian = config.kind === 'cambrian' ? { config: config.cambrian, towers: towers.map((tower) => tower.config) } : undefined;
  const shapes = cambrian === undefined ? decoderShapes(language, config.kind === 'language' && config.family === 'phi3') : cambrianShapes(cambrian.config, cambrian.towers);

  const opened: Checkpoint[] = [];
  const close = (): void => { for (const checkpoint of opened.splice(0)) checkpoint.close(); };
  const open = (weights: string): Checkpoint => {
    const checkpoint = openCheckpoint(weights, { dtype: options.dtype ?? 'f32' });
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    const main = open(needFile(files.weights, 'model.safetensors', files));
    const openTower = (tower: TowerFiles): Checkpoint => {
      const checkpoint = open(tower.weights);
      checkTower(tower.config, storedShapes(checkpoint), tower.directory);
      return checkpoint;
    };
    checkMatch(matchTensors(shapes, storedShapes(main)), directory);
    const source = joinSources([{ root: '', source: main }, ...towers.map((tower, k) => ({ root: towerRoot(k), source: openTower(tower) }))]);
    return {
      directory, language, cambrian, tokenizer, template, source, close,
      begin: single(config.json['bos_token_id']),
      endTokens: new Set([...generation !== undefined && generation.ends.length > 0 ? generation.ends : ids(config.json['eos_token_id']), ...stopTokens[template].flatMap((token) => tokenizer.idOf(token) ?? [])]),
      maxNewTokens: generation?.maxNewTokens,
    };
  } catch (error) {
    close();
    throw error;
  }
}

interface TowerFiles {
  readonly directory: string;
  readonly config: TowerConfig;
  readonly weights: string;
}

function towerFiles(directory: string): TowerFiles {
  const files: ModelFiles = modelFiles(directory);
  const path = needFile(files.config ?? files.openClipConfig, 'config.json', files);
  return { directory, config: readTower(readJsonFile(path), path), weights: needFile(files.weights, 'model.safetensors', files) };
}

/** What a model reads is matched against what is stored, but for frequencies that older files store as buffers. */
function storedShapes(checkpoint: Checkpoint): Shapes {
  return new Map([...checkpoint.stored].filter(([name]) => !isLegacyBuffer(name)).map(([name, tensor]) => [name, tensor.shape]));
}

function ids(value: ConfigJson[string]): readonly number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => typeof id === 'number');
}

function single(value: ConfigJson[string]): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
