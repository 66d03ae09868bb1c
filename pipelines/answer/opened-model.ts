// What a model directory is once it is open, and how it is opened.
import type { Family } from './family.ts';
import type { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import type { QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';

export interface OpenModelOptions {
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Matrices are quantized as they are loaded, or read as floats however they are stored. By default they stay as they are stored. */
  readonly weights?: QuantizeOptions | 'floats' | undefined;
  /** Directories or repositories of the towers, in the config's order, where they are not found by themselves. */
  readonly towers?: readonly string[] | undefined;
  /** Connectors of your own, one of which a model of `assemble` may name: code is never taken from a model's directory. */
  readonly connectors?: readonly AnyConnector[] | undefined;
}

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
  /** What generation_config.json asks for and nothing here does by itself, as `repetition_penalty 1.05`. */
  readonly unapplied: readonly string[];
  /** All parameters; those of a tower with a checkpoint of its own below its root. */
  readonly source: Source;
  /** The files of weights that lie there as they are in `source`, each with what stands before its names there. */
  readonly weights: readonly { readonly root: string; readonly path: string }[];
  /** Every file that weights are read from, shards and packed ones among them, with the root of what it holds. */
  readonly read: readonly { readonly root: string; readonly path: string }[];
  readonly close: () => void;
}

/** What is said where transformers' `generate` would answer otherwise, by what the directory asks for; undefined where it would not. `given`: fields that were asked for. */
export function otherwiseAnswered(
  { unapplied }: Pick<OpenedModel, 'unapplied'>,
  given: readonly string[] = [],
): string | undefined {
  const left = unapplied.filter((field) => !given.some((name) => field.startsWith(`${name} `)));
  if (left.length === 0) return undefined;
  return `generation_config.json asks for ${left.join(', ')}: transformers' generate does that by itself, here it is left to whoever asks`;
}
