// Where a model is and what it says it is, before anything but headers is read: a Hugging Face directory, or one GGUF file.
import { dirname } from 'node:path';
import { readConfig, type ModelConfig } from '../../models/configs/read.ts';
import { ggufDecoder } from '../../models/decoders/gguf-decoder.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, type ModelFiles } from '../../runtime/checkpoint/hub.ts';
import { packedCheckpoint } from '../../runtime/checkpoint/packed/packed-checkpoint.ts';
import { packedConfig } from '../../runtime/checkpoint/packed/packed-config.ts';
import { ggufTokenizer } from '../../runtime/gguf/gguf-tokenizer.ts';
import { openGgufLanguage } from '../../runtime/gguf/open-language.ts';

export interface FoundModel {
  readonly directory: string;
  readonly files: ModelFiles;
  /** The file that the config is from, for errors. */
  readonly path: string;
  readonly config: ModelConfig;
  /** Opens the weights; called once. */
  readonly open: () => Checkpoint;
  /** The file of the weights, where they lie in it as `open` gives them. */
  readonly plainWeights: string | undefined;
  /** Who quantized the weights of a directory. */
  readonly method?: string | undefined;
  /** Closes what is open already. */
  readonly close?: () => void;
}

export interface FindOptions {
  readonly dtype?: 'f32' | 'f16' | undefined;
}

/** A directory, or a repository in the cache. Throws `OpabiniaError`. */
export function findDirectory(model: string, { dtype = 'f32' }: FindOptions): FoundModel {
  const directory = resolveModel(model);
  const files = modelFiles(directory);
  const path = needFile(files.config, 'config.json', files);
  const config = readConfig(readJsonFile(path), path);
  const packed = packedConfig(config.json, path);
  return {
    directory,
    files,
    path,
    config,
    plainWeights: packed === undefined ? files.weights : undefined,
    method: packed?.method,
    open: () => {
      const checkpoint = openCheckpoint(needFile(files.weights, 'model.safetensors', files), { dtype });
      if (packed === undefined) return checkpoint;
      try {
        return packedCheckpoint(checkpoint, packed);
      } catch (error) {
        checkpoint.close();
        throw error;
      }
    },
  };
}

/** One file with everything in it. Throws `OpabiniaError`. */
export async function findGguf(path: string, { dtype }: FindOptions): Promise<FoundModel> {
  const opened = await openGgufLanguage(path, { dtype });
  const close = (): void => opened.checkpoint.close();
  try {
    const { config: tokens, chatTemplate } = ggufTokenizer(opened.file);
    const directory = dirname(path);
    return {
      directory,
      path,
      files: {
        directory,
        config: path,
        openClipConfig: undefined,
        generationConfig: undefined,
        preprocessorConfig: undefined,
        tokenizer: path,
        tokenizerConfig: undefined,
        chatTemplate: undefined,
        weights: path,
        stated: { chatTemplate, tokens },
      },
      config: languageConfig(opened, path),
      plainWeights: undefined,
      open: () => opened.checkpoint,
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function languageConfig(
  opened: { readonly config: Readonly<Record<string, unknown>>; readonly wholeNorms: boolean },
  path: string,
): ModelConfig {
  const read = readConfig(opened.config, path);
  return read.kind === 'language' ? { ...read, language: ggufDecoder(opened, path) } : read;
}
