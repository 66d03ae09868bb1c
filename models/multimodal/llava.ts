// LLaVA-1.5 (arXiv 2310.03744) and LLaVA-NeXT: CLIP, a two-layer MLP, and a language model that reads the tokens in place of `<image>`.
import {
  concat,
  gather,
  OpabiniaError,
  rearrange,
  slice,
  trace,
  where,
  type Float,
  type Graph,
  type Params,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { Hidden } from './cambrian.ts';
import { clipShapes, clipUnread, clipVision } from '../towers/clip.ts';
import { withModelAt } from '../decoders/language-params.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import type { LlavaConfig } from '../configs/llava.ts';
import { newlineSlot } from '../sequence/collate.ts';
import { connect, type Connect, type MapShape } from '../connectors/connector.ts';
import { llava } from '../connectors/pointwise/llava.ts';
import { factsOf, type ConnectorFacts } from '../connectors/traced.ts';
import { tokenCount } from '../connectors/visual-tokens.ts';
import { isLegacyBuffer, type TurnSizes } from '../decoders/turn-graph.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  greedyToken,
  lastStates,
  logitsOf,
  openCache,
  openTurn,
} from '../decoders/decoder.ts';
import { under, type ShapeEntry, type Shapes } from '../configs/param-shapes.ts';
import type { Pixels } from '../towers/tower.ts';
import { hiddenState } from '../towers/vit.ts';

// ---- names -----------------------------------------------------------------------------------------------------------

/**
 * How transformers names the parameters. old: `language_model.model.…`, as the published checkpoints have them; new: all but
 * `lm_head` below `model`, and the language model's own `model` left out.
 */
export type LlavaNames = 'old' | 'new';

const projectorName = 'multi_modal_projector';

/** Which names a checkpoint has; old ones where it has neither, so that errors name those. */
export function llavaNames(source: Pick<ParamSource, 'shape'>): LlavaNames {
  return source.shape(`model.${projectorName}.linear_1.weight`) === undefined ? 'old' : 'new';
}

/** What holds tower, projector and newline. */
function bodyOf(root: Params, names: LlavaNames): Params {
  return names === 'old' ? root : root.at('model');
}

/** The language model's parameters as it has them by itself, below `model` and `lm_head`; their paths stay the checkpoint's. */
export function languageParams(root: Params, names: LlavaNames): Params {
  if (names === 'old') return root.at('language_model');
  return withModelAt(root, root.at('model', 'language_model'));
}

/** Names and shapes of all parameters. The new names have the tower's without `vision_model`, as transformers 5 writes them. */
export function llavaShapes(config: LlavaConfig, names: LlavaNames = 'old'): Shapes {
  const { hidden } = config.language.config;
  const newline: readonly ShapeEntry[] = config.type === 'llava_next' ? [['image_newline', [hidden]]] : [];
  const body: readonly ShapeEntry[] = [
    ...under('vision_tower', clipShapes(config.vision, names === 'old' ? undefined : '')),
    ...under(projectorName, connectorFacts(config).shapes),
    ...newline,
  ];
  const language = [...decoderShapes(config.language)];
  if (names === 'old') return new Map([...body, ...under('language_model', language)]);
  return new Map([
    ...under('model', body),
    ...language.map(([name, shape]): ShapeEntry => [name.replace(/^model\./, 'model.language_model.'), shape]),
  ]);
}

// ---- pictures --------------------------------------------------------------------------------------------------------

const ownProjector = connect(llava, { linears: ['linear_1', 'linear_2'] });

function connectorOf(config: LlavaConfig): Connect {
  return config.connector ?? ownProjector;
}

/** The tower's patches as a map; with the class token they are no grid, and stand in one row. */
function mapShape({ vision: { image, patch, width }, layers, dropClass }: LlavaConfig): MapShape {
  const side = Math.floor(image / patch);
  const channels = width * layers.length;
  return dropClass ? [side, side, channels] : [1, side * side + 1, channels];
}

const known = new WeakMap<LlavaConfig, ConnectorFacts>();

/** Layout and parameters of the connector, from its trace. */
function connectorFacts(config: LlavaConfig): ConnectorFacts {
  const facts = known.get(config) ?? factsOf(connectorOf(config), [mapShape(config)], config.language.config.hidden);
  known.set(config, facts);
  return facts;
}

/**
 * Tokens of one view, as the connector gives them. Throws `OpabiniaError` for LLaVA-NeXT with the class token, or with a connector that
 * does not keep the tower's grid: the tokens of its tiles would be no grid to put together.
 */
export function viewTokens(config: LlavaConfig): number {
  const isNext = config.type === 'llava_next';
  if (isNext && !config.dropClass)
    throw new OpabiniaError(
      "vision_feature_select_strategy is 'full': tokens with a class token are no grid to put tiles together on",
      { op: 'llava', advice: "LLaVA-NeXT has 'default'" },
    );
  const count = tokenCount(connectorFacts(config).layout);
  const [rows, columns] = mapShape(config);
  if (isNext && count !== rows * columns)
    throw new OpabiniaError(
      `'${connectorOf(config).name}' gives ${count} tokens of a grid of ${rows}×${columns}, and LLaVA-NeXT puts whole grids together`,
      { op: 'llava', advice: 'take a connector that keeps every token, or LLaVA-1.5' },
    );
  return count;
}

/** Tokens of pictures as the language model reads them: of the tower's chosen hidden states, without a norm, through the projector. */
export function llavaTokens(body: Params, pixels: Pixels, config: LlavaConfig): Tensor<'b n e', Float> {
  const encoded = clipVision(body.at('vision_tower'), pixels, config.vision);
  const states = concat(
    config.layers.map((layer) => hiddenState(encoded, layer)),
    'c',
  );
  const patches = slice(states, 'n', { start: config.dropClass ? encoded.classTokens : 0 });
  const map = rearrange(patches, 'b (h w) c -> b h w c', { h: mapShape(config)[0] });
  const context = { width: config.language.config.hidden };
  return connectorOf(config).build(body.at(projectorName), [map], context).tokens;
}

export interface LlavaSizes extends TurnSizes {
  /** Views of all pictures of all prompts together: one a picture in LLaVA-1.5, with its tiles in LLaVA-NeXT. */
  readonly viewLimit: number;
}

/** The state between the graph of the views and prefill. */
export function openTokens(
  t: Trace,
  config: LlavaConfig,
  { viewLimit: i }: Pick<LlavaSizes, 'viewLimit'>,
  dtype: 'f32' | 'f16',
): Tensor<'i n e', 'f32' | 'f16'> {
  return t.state('image_tokens', 'i n e', { i, n: viewTokens(config), e: config.language.config.hidden }, dtype);
}

/** One view. Input `pixels`, `b h w c` with b = 1; symbol `view`: its number, from 0. No outputs: its tokens go into a state. */
export function llavaVisionGraph(source: ParamSource, config: LlavaConfig, sizes: LlavaSizes): Graph {
  const names = llavaNames(source);
  const side = config.vision.image;
  return trace(
    source,
    (t) => {
      const pixels = t.input<'b h w c', Float>('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 }, source.dtype);
      const tokens = rearrange(llavaTokens(bodyOf(t.params, names), pixels, config), 'b n e -> i=(b) n e');
      t.update(openTokens(t, config, sizes, source.dtype), tokens, {
        i: t.symbol('view', { atLeast: 0, upTo: sizes.viewLimit - 1 }),
      });
      return {};
    },
    {
      unread: [
        ...clipUnread.map((name) => inBody(names, `vision_tower.${name}`)),
        inBody(names, 'language_model'),
        'lm_head',
        inBody(names, 'image_newline'),
      ],
    },
  );
}

function inBody(names: LlavaNames, path: string): string {
  return names === 'old' ? path : `model.${path}`;
}

/** What the language model's graphs leave to that of the pictures, and frequencies that older files store. */
function unreadByLanguage(source: ParamSource, names: LlavaNames, more: readonly string[] = []): readonly string[] {
  return [
    ...['vision_tower', projectorName, ...more].map((path) => inBody(names, path)),
    ...[...(source.names() ?? [])].filter(isLegacyBuffer),
  ];
}

// ---- prompts ---------------------------------------------------------------------------------------------------------

/** Embeddings of text, image tokens and newlines in their places; padding has those of token 0, and nobody attends to it. */
export function embedPrompts(
  root: Params,
  names: LlavaNames,
  config: LlavaConfig,
  tokens: Tensor<'i n e', Float>,
  ids: Tensor<'b s', 'i32'>,
  slots: Tensor<'b s', 'i32'>,
): Hidden {
  const text = embedTokens(languageParams(root, names), config.language.config, ids);
  const image = gather(rearrange(tokens, 'i n e -> r=(i n) e'), slots, 'r');
  const seen = where(slots.ge(0), image, text);
  const newline =
    config.type === 'llava_next'
      ? bodyOf(root, names).get('image_newline', 'e', { e: config.language.config.hidden })
      : undefined;
  return newline === undefined ? seen : where(slots.eq(newlineSlot), newline, seen);
}

// ---- the language model ------------------------------------------------------------------------------------------------

export interface LlavaPrefillOptions extends LlavaSizes {
  /** Tokens of the longest prompt, image tokens included. */
  readonly promptLimit: number;
}

/**
 * The prompts: symbol `s`. Inputs `ids`, `slots` `b s` and `last` `b` (`layOutPrompts`), `cos`, `sin` (`turnTables`), with `padded`
 * `attend`. Outputs `logits`, `b s v` with s = 1, and `token`, the likeliest next one. Writes the cache from position 0.
 */
export function llavaPrefillGraph(source: ParamSource, config: LlavaConfig, options: LlavaPrefillOptions): Graph {
  const names = llavaNames(source);
  const b = options.batch;
  return trace(
    source,
    (t) => {
      const s = t.symbol('s', { upTo: options.promptLimit });
      const [ids, slots] = [t.input('ids', 'b s', { b, s }, 'i32'), t.input('slots', 'b s', { b, s }, 'i32')];
      const start = embedPrompts(t.params, names, config, openTokens(t, config, options, source.dtype), ids, slots);
      return nextTokens(t, source, names, config, options, {
        start,
        past: 0,
        length: s,
        last: t.input('last', 'b', { b }, 'i32'),
      });
    },
    { unread: unreadByLanguage(source, names) },
  );
}

/** One token behind `past` others (a symbol): inputs `ids`, `cos`, `sin`, with `padded` `attend`; outputs as of prefill. */
export function llavaDecodeGraph(source: ParamSource, config: LlavaConfig, options: TurnSizes): Graph {
  const names = llavaNames(source);
  return trace(
    source,
    (t) => {
      const past = t.symbol('past', { atLeast: 0, upTo: options.capacity - 1 });
      const start = embedTokens(
        languageParams(t.params, names),
        config.language.config,
        t.input('ids', 'b s', { b: options.batch, s: 1 }, 'i32'),
      );
      return nextTokens(t, source, names, config, options, { start, past, length: 1 });
    },
    { unread: unreadByLanguage(source, names, ['image_newline']) },
  );
}

interface Step {
  readonly start: Hidden;
  readonly past: Size;
  readonly length: Size;
  readonly last?: Tensor<'b', 'i32'>;
}

function nextTokens(
  t: Trace,
  source: ParamSource,
  names: LlavaNames,
  { language }: LlavaConfig,
  sizes: TurnSizes,
  step: Step,
): { readonly logits: Tensor; readonly token: Tensor } {
  const root = languageParams(t.params, names);
  const cache = openCache(t, language.config, {
    batch: sizes.batch,
    capacity: sizes.capacity,
    past: step.past,
    dtype: source.dtype,
  });
  const turn = openTurn(t, language.config, { batch: sizes.batch, length: step.length, cache, padded: sizes.padded });
  const decoder = decoderLayers(root.at('model'), language, turn);
  let hidden = step.start;
  for (let i = 0; i < decoder.layers; i++) hidden = decoder.layer(hidden, i);
  const logits = logitsOf(
    root,
    language.config,
    finalNorm(root, language.config, lastStates(hidden, step.length, step.last)),
  );
  return { logits, token: greedyToken(logits) };
}

// ---- the released models -----------------------------------------------------------------------------------------------

const clipLarge = {
  model_type: 'clip_vision_model',
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  image_size: 336,
  patch_size: 14,
  projection_dim: 768,
};
const vicuna7b = { model_type: 'llama', max_position_embeddings: 4096, rms_norm_eps: 1e-5, vocab_size: 32064 };

/** Fields of the `config.json` of llava-hf's checkpoints, sparse as they are. */
export const llavaConfigs = {
  'llava-1.5-7b-hf': {
    model_type: 'llava',
    image_token_index: 32000,
    projector_hidden_act: 'gelu',
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    text_config: vicuna7b,
    vision_config: clipLarge,
  },
  'llava-v1.6-vicuna-7b-hf': {
    model_type: 'llava_next',
    image_token_index: 32000,
    projector_hidden_act: 'gelu',
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    text_config: vicuna7b,
    vision_config: clipLarge,
    image_grid_pinpoints: [
      [336, 672],
      [672, 336],
      [672, 672],
      [1008, 336],
      [336, 1008],
    ],
  },
} as const;
