// What a model directory is once it is open, and how it is opened.
import type { Family } from './family.ts';
import type { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import type { QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';
import type { SamplingOptions } from '../../models/decoders/sampling.ts';
import { requireFields } from '../../dsl/graph/required.ts';

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
  /** What generation_config.json says of drawing a token, which holds where a question says nothing else. */
  readonly recommended: Recommended;
  /** What else generation_config.json asks for, and nothing here does: as `num_beams 4`. */
  readonly unapplied: readonly string[];
  /** All parameters; those of a tower with a checkpoint of its own below its root. */
  readonly source: Source;
  /** The files of weights that lie there as they are in `source`, each with what stands before its names there. */
  readonly weights: readonly { readonly root: string; readonly path: string }[];
  /** Every file that weights are read from, shards and packed ones among them, with the root of what it holds. */
  readonly read: readonly { readonly root: string; readonly path: string }[];
  readonly close: () => void;
}

/** As transformers' `generate` and vLLM take it from generation_config.json. Whether to draw, and how warm, is for whoever asks. */
export type Recommended = Pick<SamplingOptions, 'topK' | 'topP' | 'repetitionPenalty'>;

/** How tokens are drawn: as was asked for, and else as the model's makers recommend. */
export function asRecommended<Options extends SamplingOptions>(
  { recommended }: Pick<OpenedModel, 'recommended'>,
  options: Options,
): Options {
  const { temperature = 0, repetitionPenalty = recommended.repetitionPenalty } = options;
  if (temperature === 0) return { ...options, repetitionPenalty };
  const { topK = recommended.topK, topP = recommended.topP } = options;
  return { ...options, topK, topP, repetitionPenalty };
}

/** What should be known of generation_config.json, by a line each: what acts though nobody asked for it, and what does not. */
export function notesOnGeneration(
  { recommended, unapplied }: Pick<OpenedModel, 'recommended' | 'unapplied'>,
  asked: SamplingOptions = {},
): readonly string[] {
  const { repetitionPenalty = 1 } = recommended;
  const acts =
    repetitionPenalty === 1 || asked.repetitionPenalty !== undefined
      ? []
      : [
          `generation_config.json asks for repetition_penalty ${repetitionPenalty}: it acts on every answer, as in transformers`,
        ];
  const left =
    unapplied.length === 0
      ? []
      : [`generation_config.json asks for ${unapplied.join(', ')}: transformers' generate does that, and nothing here`];
  return [...acts, ...left];
}

/** Throws `OpabiniaError` for what is no opened model, and for no place to run it: callers may be without types. */
export function requireOpened(op: string, model: unknown, place: unknown): void {
  const call = `${op}(await openModel('owner/name'), await openDevice())`;
  requireFields(op, model, { source: 'object', family: 'object', language: 'object' }, call, 'the model');
  requireFields(op, place, { facts: 'object', memory: 'object' }, call, 'the device');
}
