// What the language models share: layers of rotary, grouped-query attention over a key-value cache and a gated MLP, with norms, caps
// and windows where a family has them.
import {
  addSizes,
  argmax,
  attention,
  concat,
  gather,
  gelu,
  linear,
  OpabiniaError,
  rearrange,
  repeat,
  rmsNorm,
  silu,
  sizeBound,
  slice,
  subtractSizes,
  tanh,
  type Float,
  type Params,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { Decoder, Hidden } from '../multimodal/cambrian.ts';
import type { Inspect } from '../sequence/regions.ts';
import { ropeInputs, rotate, type Angles, type Rope } from './rope.ts';

export interface DecoderConfig {
  readonly hidden: number;
  /** Width of the gated MLP. */
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  /** Heads of keys and values; each serves `heads / keyValueHeads` neighbouring query heads. */
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly vocabulary: number;
  readonly eps: number;
  /** The embedding table is the output matrix too, and the checkpoint has no `lm_head`. */
  readonly tied: boolean;
  readonly maxPositions: number;
  readonly rope: Rope;
  /** Biases of the projections to queries, keys and values. */
  readonly attentionBias: boolean;
  /** A bias of the projection behind attention; as `attentionBias` says when absent. */
  readonly outputBias?: boolean | undefined;
  readonly mlpBias: boolean;
  /** Keys that a query sees, itself included; all when absent. */
  readonly window?: number | undefined;
  /** Layers that the window holds for; all when absent. */
  readonly sliding?: readonly boolean[] | undefined;
  /** Rotations of the sliding layers, where they are others than those of the full ones (Gemma 3). */
  readonly slidingRope?: Rope | undefined;
  /** Of the gate; silu when absent. */
  readonly activation?: 'silu' | 'gelu-tanh' | undefined;
  /** before: of what attention and MLP read (Llama, the default); behind: of what they add (OLMo 2); both: Gemma. */
  readonly norms?: 'before' | 'behind' | 'both' | undefined;
  /** Norms scale by 1 + weight (Gemma). */
  readonly unitOffset?: boolean | undefined;
  /** A norm of queries and keys before rotation: of each head (Qwen3, Gemma 3), or of all of them together (OLMo 2). */
  readonly queryKeyNorm?: 'head' | 'width' | undefined;
  /** Factor of the embeddings of tokens; those that come from outside are not multiplied. */
  readonly embeddingScale?: number | undefined;
  /** Factor of the scores; 1/√headSize when absent. */
  readonly scoreScale?: number | undefined;
  /** Scores s become cap · tanh(s / cap) before they are masked; logits likewise (Gemma 2). */
  readonly scoreCap?: number | undefined;
  readonly logitCap?: number | undefined;
}

/** How a family of checkpoints stores the input projections of a layer: apart (Llama) or fused (Phi-3). */
export interface DecoderFamily {
  /** Projections that read the same are one matrix. */
  readonly fused: boolean;
  readonly queryKeyValue: (
    p: Params,
    x: Hidden,
    config: DecoderConfig,
  ) => { readonly query: Projected; readonly key: Projected; readonly value: Projected };
  readonly gateUp: (
    p: Params,
    x: Hidden,
    config: DecoderConfig,
  ) => { readonly gate: Projected; readonly up: Projected };
}

export type Projected = Tensor<'b s o', Float>;

export interface LanguageModel {
  readonly family: DecoderFamily;
  readonly config: DecoderConfig;
}

// ---- the cache -----------------------------------------------------------------------------------------------------

type Keys = Tensor<'b g t d', Float>;

/** Keys (after rotation) and values of all tokens so far: states `k.{layer}` and `v.{layer}`, `b g t d`, t up to the capacity. */
export interface Cache {
  /** Tokens that stand in the cache before this run. */
  readonly past: Size;
  /** Writes this run's keys and values behind those of the past, and gives all of them. */
  extend(layer: number, key: Keys, value: Keys): { readonly key: Keys; readonly value: Keys };
}

export interface CacheSizes {
  readonly batch: number;
  /** Tokens that fit. The bound of `past` and the run's own length together must not exceed it. */
  readonly capacity: number;
  readonly past: Size;
  readonly dtype: Float;
}

/** Makes the states. Graphs of one model that name the same batch, capacity and dtype name the same states. */
export function openCache(t: Trace, config: DecoderConfig, sizes: CacheSizes): Cache {
  const shape = { b: sizes.batch, g: config.keyValueHeads, t: sizes.capacity, d: config.headSize };
  const store = (name: string, fresh: Keys): Keys => {
    const state = t.state<'b g t d', Float>(name, 'b g t d', shape, sizes.dtype);
    t.update(state, fresh, { t: sizes.past });
    // An update takes effect at the end of a run, so this run's own tokens are read from where they were computed.
    return sizes.past === 0 ? fresh : concat([slice(state, 't', { size: sizes.past }), fresh], 't');
  };
  return {
    past: sizes.past,
    extend: (layer, key, value) => ({ key: store(`k.${layer}`, key), value: store(`v.${layer}`, value) }),
  };
}

// ---- one run -------------------------------------------------------------------------------------------------------

/** How the tokens of a run stand to one another. */
export interface Sight {
  readonly angles: Angles;
  readonly mask: Tensor<string, 'bool'> | undefined;
}

/** What the layers of one run share. */
export interface Turn extends Sight {
  /** Tokens of this run: a prompt's, or 1 in a decode step. */
  readonly length: Size;
  /** Of sliding layers, where the config tells them from full ones. */
  readonly sliding?: Sight | undefined;
  /** The masks say all: queries are not held to the keys before them. */
  readonly unordered?: boolean | undefined;
  readonly cache: Cache | undefined;
  readonly inspect: Inspect | undefined;
}

export interface TurnOptions {
  readonly batch: number;
  readonly length: Size;
  /** Without it the run keeps nothing and has no past. */
  readonly cache?: Cache | undefined;
  /** Prompts of different lengths: an input `attend`, `b t` over past and new tokens, false at padding on either side. */
  readonly padded?: boolean | undefined;
  /** Of a padded run without a cache: an input `branch`, `b s`; a token sees those of branch 0 and of its own. */
  readonly branched?: boolean | undefined;
  /** Before the names of the inputs `cos`, `sin` and `attend`, where one graph has several runs. */
  readonly prefix?: string | undefined;
  readonly inspect?: Inspect | undefined;
}

/** Makes the inputs and masks of a run. */
export function openTurn(t: Trace, config: DecoderConfig, options: TurnOptions): Turn {
  const { batch: b, length: s, cache, prefix = '' } = options;
  const keys = addSizes(cache?.past ?? 0, s);
  const attend = options.padded === true ? t.input(`${prefix}attend`, 'b t', { b, t: keys }, 'bool') : undefined;
  if (options.branched === true && windowMask(t, config, s, keys) !== undefined)
    throw new OpabiniaError(
      `questions that do not see one another, in a model whose layers see ${config.window} tokens back`,
      {
        op: 'train',
        advice: `give sequences of at most ${config.window} tokens, or take questions one after the other`,
      },
    );
  const own = attend !== undefined && options.branched === true ? ownBranch(t, attend, { b, s }, prefix) : undefined;
  const angles = ropeInputs(t, config.rope, { b, s }, prefix);
  const near = joinMasks(windowMask(t, config, s, keys), attend, own, s);
  const common = { length: s, cache, inspect: options.inspect };
  if (config.sliding === undefined) return { ...common, angles, mask: near };
  const { slidingRope } = config;
  const slidingAngles = slidingRope === undefined ? angles : ropeInputs(t, slidingRope, { b, s }, `${prefix}sliding_`);
  return {
    ...common,
    angles,
    mask: joinMasks(undefined, attend, own, s),
    sliding: { angles: slidingAngles, mask: near },
  };
}

/** True where key j is among the last `window` up to query i: j > i + past − window. */
export function windowMask(
  t: Trace,
  config: DecoderConfig,
  queries: Size,
  keys: Size,
): Tensor<'s t', 'bool'> | undefined {
  const { window } = config;
  // A context that never outgrows the window needs no mask for it.
  if (window === undefined || sizeBound(keys) <= window) return undefined;
  const last = repeat(t.iota('s', queries), 's -> s t', { t: keys }).add(t.extent(subtractSizes(keys, queries)));
  return last.sub(t.iota('t', keys)).lt(window);
}

function joinMasks(
  window: Tensor<'s t', 'bool'> | undefined,
  attend: Tensor<'b t', 'bool'> | undefined,
  own: Tensor<'b s t', 'bool'> | undefined,
  queries: Size,
): Tensor<string, 'bool'> | undefined {
  if (own !== undefined) return window === undefined ? own : own.and(window);
  if (window === undefined || attend === undefined) return window ?? attend;
  return repeat(attend, 'b t -> b s t', { s: queries }).and(window);
}

/** What is attended to of what all branches share and of a token's own. */
function ownBranch(
  t: Trace,
  attend: Tensor<'b t', 'bool'>,
  sizes: { readonly b: number; readonly s: Size },
  prefix: string,
): Tensor<'b s t', 'bool'> {
  const own = t.input(`${prefix}branch`, 'b s', sizes, 'i32');
  const other = rearrange(own, 'b s -> b t=(s)');
  return repeat(attend, 'b t -> b s t', { s: sizes.s }).and(
    repeat(other, 'b t -> b s t', { s: sizes.s })
      .eq(repeat(own, 'b s -> b s t', { t: sizes.s }))
      .or(repeat(other.eq(0), 'b t -> b s t', { s: sizes.s })),
  );
}

// ---- layers --------------------------------------------------------------------------------------------------------

/** The layers below `p` (`layers.{i}`), as Cambrian's decoder interface takes them. */
export function decoderLayers(p: Params, model: LanguageModel, turn: Turn): Decoder {
  return {
    layers: model.config.layers,
    layer: (hidden, index) => decoderLayer(p.at('layers', index), hidden, index, model, turn),
  };
}

function decoderLayer(p: Params, hidden: Hidden, index: number, model: LanguageModel, turn: Turn): Hidden {
  const { config } = model;
  const [afterAttention, beforeMlp, afterMlp] = normNames[config.norms ?? 'before'];
  const normed = (name: string | undefined, x: Hidden): Hidden =>
    name === undefined ? x : rootMeanSquare(p.at(name), x, config);
  const seen = normed(config.norms === 'behind' ? undefined : 'input_layernorm', hidden);
  const read = hidden.add(normed(afterAttention, selfAttention(p.at('self_attn'), seen, index, model, turn)));
  const out = read.add(normed(afterMlp, gatedMlp(p.at('mlp'), normed(beforeMlp, read), model)));
  turn.inspect?.(p.path, out);
  return out;
}

/** Norms of what attention adds, of what the MLP reads, and of what it adds. */
const normNames = {
  before: [undefined, 'post_attention_layernorm', undefined],
  behind: ['post_attention_layernorm', undefined, 'post_feedforward_layernorm'],
  both: ['post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'],
} as const;

/** RMSNorm along the last axis, its scale the weight or 1 + weight. */
function rootMeanSquare<S extends string>(p: Params, x: Tensor<S, Float>, config: DecoderConfig): Tensor<S, Float> {
  return rmsNorm(p, x, { eps: config.eps, unitOffset: config.unitOffset });
}

function selfAttention(p: Params, x: Hidden, index: number, { family, config }: LanguageModel, turn: Turn): Hidden {
  const { heads, keyValueHeads, headSize, queryKeyNorm } = config;
  const { query, key, value } = family.queryKeyValue(p, x, config);
  const { angles, mask } = (config.sliding?.[index] === true ? turn.sliding : undefined) ?? turn;
  const split = (y: Projected, h: number): Tensor<'b s h d', Float> =>
    rearrange(y, 'b s (h d) -> b s h d', { h, d: headSize });
  const turned = (name: string, y: Projected, h: number): Tensor<'b s h d', Float> => {
    const whole = queryKeyNorm === 'width' ? rootMeanSquare(p.at(name), y, config) : y;
    const each = split(whole, h);
    return rotate(queryKeyNorm === 'head' ? rootMeanSquare(p.at(name), each, config) : each, angles);
  };
  // Query head h reads key head h / (heads per key head): neighbours share.
  const q = rearrange(turned('q_norm', query, heads), 'b s (g r) d -> b g r s d', { g: keyValueHeads });
  const fresh = {
    key: rearrange(turned('k_norm', key, keyValueHeads), 'b s h d -> b g=(h) t=(s) d'),
    value: rearrange(split(value, keyValueHeads), 'b s h d -> b g=(h) t=(s) d'),
  };
  turn.inspect?.(`${p.path}.key`, fresh.key);
  turn.inspect?.(`${p.path}.value`, fresh.value);
  const all = turn.cache?.extend(index, fresh.key, fresh.value) ?? fresh;
  // A single query is the newest token: every key lies in its past.
  const causal = turn.length === 1 || turn.unordered === true ? false : 's';
  const read = attention(q, all.key, all.value, {
    key: 't',
    along: 'd',
    causal,
    mask,
    scale: config.scoreScale,
    cap: config.scoreCap,
  });
  return linear(p.at('o_proj'), rearrange(read, 'b g r s d -> b s o=(g r d)'), 'e', {
    size: config.hidden,
    bias: config.outputBias ?? config.attentionBias,
  });
}

function gatedMlp(p: Params, x: Hidden, { family, config }: LanguageModel): Hidden {
  const { gate, up } = family.gateUp(p, x, config);
  const open = config.activation === 'gelu-tanh' ? gelu(gate, 'tanh') : silu(gate);
  return linear(p.at('down_proj'), open.mul(up), 'e', { size: config.hidden, bias: config.mlpBias });
}

// ---- before and after the layers -----------------------------------------------------------------------------------

/** Rows of `model.embed_tokens`, times the model's factor; `root` is the checkpoint's root. */
export function embedTokens(root: Params, config: DecoderConfig, ids: Tensor<'b s', 'i32'>): Hidden {
  const sizes = { v: config.vocabulary, e: config.hidden };
  const rows = gather(root.at('model', 'embed_tokens').get('weight', 'v e', sizes), ids, 'v');
  return config.embeddingScale === undefined ? rows : rows.mul(config.embeddingScale);
}

/** `model.norm` of the residual stream. */
export function finalNorm<S extends string>(
  root: Params,
  config: DecoderConfig,
  hidden: Tensor<S, Float>,
): Tensor<S, Float> {
  return rootMeanSquare(root.at('model', 'norm'), hidden, config);
}

/** Scores of every token of the vocabulary, from normed states whose last axis is `e`. */
export function logitsOf(root: Params, config: DecoderConfig, normed: Hidden): Tensor<'b s v', Float> {
  const scores = linear(config.tied ? root.at('model', 'embed_tokens') : root.at('lm_head'), normed, 'v', {
    size: config.vocabulary,
    bias: false,
  });
  const { logitCap } = config;
  return logitCap === undefined ? scores : tanh(scores.div(logitCap)).mul(logitCap);
}

/**
 * The states that predict the next token, `s` of size 1: the last of each row, or, with prompts padded on the right, the one that
 * `last` names for its row.
 */
export function lastStates(hidden: Hidden, length: Size, last?: Tensor<'b', 'i32'>): Hidden {
  if (last === undefined) return slice(hidden, 's', { start: subtractSizes(length, 1), size: 1 });
  return repeat(gather(hidden, last, 's'), 'b e -> b s e', { s: 1 });
}

/** The token of the highest score; among equals the lowest. */
export function greedyToken(logits: Tensor<'b s v', Float>): Tensor<'b s', 'i32'> {
  return argmax(logits, 'v');
}
