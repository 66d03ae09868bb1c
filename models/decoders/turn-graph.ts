// A language model as a graph over its cache, step by step from outside: some tokens behind others. What answers on the device by
// itself is in generation-graphs.ts.
import {
  trace,
  type Graph,
  type Params,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { Hidden } from '../multimodal/cambrian.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  greedyToken,
  lastStates,
  logitsOf,
  openCache,
  openTurn,
  type DecoderConfig,
  type LanguageModel,
  type Turn,
} from './decoder.ts';
import { ropeTables } from './rope.ts';
import { requireFields, requireOptions } from '../../dsl/graph/required.ts';

/** What must be the same in all graphs that share a cache. */
export interface TurnSizes {
  readonly batch: number;
  /** Tokens that the cache holds. */
  readonly capacity: number;
  /** Prompts of different lengths, padded on either side: the graphs take an input `attend`, `b t`, over past and new tokens. */
  readonly padded?: boolean | undefined;
}

export interface TurnOptions extends TurnSizes {
  /** Most tokens of this turn; with 1, a decode step, their number is not a symbol. */
  readonly promptLimit: number;
  /** none: the turn begins the sequence; by default any number of tokens, a symbol, stands before it. */
  readonly past?: 'none' | undefined;
  /** ids: an input `ids`, `b s`; embeds: an input `embeds`, `b s e`, as when image tokens stand among the text. */
  readonly from?: 'ids' | 'embeds' | undefined;
  /** Prompts padded on the right: an input `last`, `b`, names the last token of each row. */
  readonly lastNamed?: boolean | undefined;
  /** The language model's parameters in the checkpoint's: what holds `model` and `lm_head`. By default the checkpoint's own root. */
  readonly root?: ((checkpoint: Params) => Params) | undefined;
}

/** Throws `OpabiniaError` for what is no language model, and for what are no sizes: callers may be without types. */
export function requireLanguage(op: string, model: unknown, sizes: unknown): void {
  requireFields(op, model, { config: 'object' }, `${op}(params, llama(config), sizes)`, 'the model');
  requireOptions(op, sizes, '{ batch: 1, capacity: 64, promptLimit: 32 }', 'the sizes');
}

/** Tensors of the checkpoint that no graph reads: frequencies that older files store as buffers. */
export function isLegacyBuffer(path: string): boolean {
  return path.endsWith('.rotary_emb.inv_freq');
}

/**
 * `s` tokens (a symbol) behind `past` others (a symbol, from 0): a prompt, a part of one, the next turn of a conversation, or one token.
 * Inputs `ids` or `embeds`, `cos`, `sin` (`turnTables`). Outputs `logits`, `b s v` with s = 1, and `token`, the likeliest next one.
 * @example const turn = turnGraph(params, llama(config), options)
 */
export function turnGraph(source: ParamSource, model: LanguageModel, options: TurnOptions): Graph {
  requireLanguage('turnGraph', model, options);
  return trace(
    source,
    (t) => {
      const past =
        options.past === 'none' ? 0 : t.symbol('past', { atLeast: 0, upTo: options.capacity - options.promptLimit });
      const length = options.promptLimit === 1 ? 1 : t.symbol('s', { upTo: options.promptLimit });
      const turn = cachedTurn(t, source, model.config, options, past, length);
      const last = options.lastNamed === true ? t.input('last', 'b', { b: options.batch }, 'i32') : undefined;
      const root = options.root?.(t.params) ?? t.params;
      return nextTokens(root, model, turn, startStates(t, root, source, model.config, options, length), last);
    },
    { unread: legacyBuffers(source) },
  );
}

function legacyBuffers(source: ParamSource): readonly string[] {
  return [...(source.names() ?? [])].filter(isLegacyBuffer);
}

function cachedTurn(
  t: Trace,
  source: ParamSource,
  config: DecoderConfig,
  sizes: TurnSizes,
  past: Size,
  length: Size,
): Turn {
  const cache = openCache(t, config, { batch: sizes.batch, capacity: sizes.capacity, past, dtype: source.dtype });
  return openTurn(t, config, { batch: sizes.batch, length, cache, padded: sizes.padded });
}

function startStates(
  t: Trace,
  root: Params,
  source: ParamSource,
  config: DecoderConfig,
  options: TurnSizes & { readonly from?: 'ids' | 'embeds' | undefined },
  s: Size,
): Hidden {
  const b = options.batch;
  if (options.from === 'embeds') return t.input('embeds', 'b s e', { b, s, e: config.hidden }, source.dtype);
  return embedTokens(root, config, t.input('ids', 'b s', { b, s }, 'i32'));
}

function nextTokens(
  root: Params,
  model: LanguageModel,
  turn: Turn,
  start: Hidden,
  last?: Tensor<'b', 'i32'>,
): { readonly logits: Tensor; readonly token: Tensor } {
  const decoder = decoderLayers(root.at('model'), model, turn);
  let hidden = start;
  for (let i = 0; i < decoder.layers; i++) hidden = decoder.layer(hidden, i);
  // Norm and output matrix for one position a row, not for the whole prompt.
  const normed = finalNorm(root, model.config, lastStates(hidden, turn.length, last));
  const logits = logitsOf(root, model.config, normed);
  return { logits, token: greedyToken(logits) };
}

/** Values of the inputs of a turn that say where its tokens stand, by name. */
export type TurnTables = { readonly cos: Float32Array; readonly sin: Float32Array } & Readonly<
  Record<string, Float32Array>
>;

/**
 * Values of the inputs `cos` and `sin` for positions `b s`, row-major, and of `sliding_cos` and `sliding_sin` where sliding layers
 * have rotations of their own. `length`: tokens of the longest row so far. Where a token has three positions, `tokens` says how many
 * tokens there are.
 */
export function turnTables(
  config: DecoderConfig,
  positions: ArrayLike<number>,
  length?: number,
  tokens?: number,
): TurnTables {
  const own = ropeTables(config.rope, positions, length, tokens);
  const { slidingRope } = config;
  if (slidingRope === undefined || config.sliding === undefined) return own;
  const near = ropeTables(slidingRope, positions, length, tokens);
  return { ...own, sliding_cos: near.cos, sliding_sin: near.sin };
}

/** Positions of the tokens of padded prompts, `b s` row-major: real tokens count from 0 in each row, padding repeats a position. */
export function paddedPositions(attend: ArrayLike<number | boolean>, width: number): Int32Array {
  const positions = new Int32Array(attend.length);
  let seen = 0;
  for (let i = 0; i < attend.length; i++) {
    if (i % width === 0) seen = 0;
    if (attend[i] === true || attend[i] === 1) seen++;
    positions[i] = Math.max(0, seen - 1);
  }
  return positions;
}
