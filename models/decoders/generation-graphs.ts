// Token by token on the device: prefill of prompts and decode of one token a row, as graphs over the same states.
import {
  abs,
  addSizes,
  gather,
  isNaN,
  OpabiniaError,
  rearrange,
  reduce,
  repeat,
  slice,
  stack,
  trace,
  where,
  type DType,
  type Graph,
  type Params,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { axisAngles, type Places } from './axis-angles.ts';
import { decodeWithVision, type Decoder, type Hidden, type LlmVision } from '../multimodal/cambrian.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  lastStates,
  logitsOf,
  openCache,
  windowMask,
  type DecoderConfig,
  type LanguageModel,
  type Sight,
  type Turn,
} from './decoder.ts';
import { ropeTables, type Angles, type Rope } from './rope.ts';
import { drawToken, noticed, settingCount, type Scores } from './sampling.ts';
import { requireLanguage } from './turn-graph.ts';

/** What must be the same in all graphs that work on the same states. */
export interface GenerationSizes {
  /** Prompts that are answered at once. */
  readonly batch: number;
  /** Tokens that each may have, answer included. */
  readonly capacity: number;
  /** Tokens of the longest prompt, image tokens included. */
  readonly promptLimit: number;
  /** greedy: the likeliest token; random: as `samplingSettings` say. The graphs of one pair must agree. */
  readonly draw: 'greedy' | 'random';
  /** Prefill has one more output, `reach` `l`: the largest magnitude that goes into each layer, and of what leaves the last one. */
  readonly locate?: boolean | undefined;
}

/** What `reach` has in the place of NaN; an infinity stays one. */
export const overflowed = 3e38;
/** In the place of a token whose scores are not numbers: something before them overflowed, or was not a number itself. */
export const noToken = -1;

/** What stands in the place of token ids in prefill, where a model sees pictures. */
export interface Sighted {
  /** Embeddings of text and image tokens. */
  readonly start: Hidden;
  /** What SVA layers between the decoder's layers read. */
  readonly vision: LlmVision | undefined;
  /** What tokens see, where that is more than those before them. */
  readonly turn?: ((turn: Turn) => Turn) | undefined;
  /** Where tokens have three positions; the last token of a prompt has three equal ones. */
  readonly places?: Places | undefined;
  /** The decoder, where something is added between its layers. */
  readonly layers?: ((decoder: Decoder) => Decoder) | undefined;
}

/** What a family of models has otherwise than a language model by itself. */
export interface GenerationParts {
  /** The language model's parameters in the checkpoint's: what holds `model` and `lm_head`. By default the checkpoint's own root. */
  readonly root?: ((checkpoint: Params) => Params) | undefined;
  /** Where prompts have pictures. */
  readonly look?: ((t: Trace, ids: Tensor<'b s', 'i32'>) => Sighted) | undefined;
  /** `look` gives `places`, so that an answer's positions go on from where pictures left them. */
  readonly shifted?: boolean | undefined;
}

/**
 * The prompts, padded on the right to `s` tokens. Inputs: `ids` `b s`, `length` `b`, those of `look`, and for random draws
 * `settings`, `seed` `b`, `seen` `b v`. Outputs: `token` `b`, the first of each answer, and the `logits` it comes from, `b v`.
 * Writes the cache from position 0 and all other states.
 * @example const prefill = prefillGraph(params, llama(config), sizes)
 */
export function prefillGraph(
  source: ParamSource,
  model: LanguageModel,
  sizes: GenerationSizes,
  parts: GenerationParts = {},
): Graph {
  requireLanguage('prefillGraph', model, sizes);
  checkSizes(model.config, sizes);
  const { config } = model;
  const { batch: b } = sizes;
  return trace(
    source,
    (t) => {
      const s = t.symbol('s', { upTo: sizes.promptLimit });
      const ids = t.input('ids', 'b s', { b, s }, 'i32');
      const length = t.input('length', 'b', { b }, 'i32');
      const states = openStates(t, config, sizes);
      const root = parts.root?.(t.params) ?? t.params;
      const seen: Sighted = parts.look?.(t, ids) ?? { start: embedTokens(root, config, ids), vision: undefined };
      const { start, vision } = seen;
      // Padding stands behind each prompt, where causal attention does not look.
      const causal: Turn = {
        ...sights(
          config,
          (rope) =>
            seen.places === undefined
              ? promptAngles(t, rope, sizes, length, s)
              : axisAngles(t, rope, sizes.capacity, seen.places),
          (own) => windowMask(t, own, s, s),
        ),
        length: s,
        cache: openCache(t, config, { ...sizes, past: 0, dtype: source.dtype }),
        inspect: undefined,
      };
      const turn = seen.turn?.(causal) ?? causal;
      const reaches: Tensor<'', 'f32'>[] = [];
      const note =
        sizes.locate !== true
          ? undefined
          : (name: string, x: Tensor<string, DType>): void => {
              if (name.startsWith('hidden_')) reaches.push(reachOf(x));
            };
      const plain = decoderLayers(root.at('model'), model, turn);
      const layers = seen.layers?.(plain) ?? plain;
      const hidden = decodeWithVision(root.at('model'), start, layers, vision, note);
      const logits = scoresOf(root, model, hidden, s, length.sub(1));
      const drawn =
        sizes.draw === 'greedy'
          ? undefined
          : {
              settings: t.input('settings', 'n', { n: settingCount }),
              seed: t.input('seed', 'b', { b }, 'u32'),
              seen: t.input('seen', 'b v', { b, v: config.vocabulary }, 'bool'),
              counter: length,
            };
      const token = toldToken(logits, drawToken(t, logits, drawn));
      t.update(states.token, token);
      t.update(states.position, length);
      t.update(states.length, length);
      if (seen.places !== undefined) {
        const last = rearrange(gather(rearrange(seen.places[0], 'b s -> b t=(s)'), length.sub(1), 't'), 'b -> b');
        t.update(openShift(t, sizes), last.add(1).sub(length));
      }
      if (drawn !== undefined && states.random !== undefined) {
        t.update(states.random.settings, drawn.settings);
        t.update(states.random.seed, drawn.seed);
        t.update(states.random.seen, withToken(t, drawn.seen, token));
      }
      return { token, logits, ...(reaches.length === 0 ? {} : { reach: stack(reaches, 'l') }) };
    },
    { unread: 'ignore' },
  );
}

/**
 * The token, or `noToken` where a score is not a number, one is infinite, or all are −∞. What is not a number in the state behind the last
 * layer is none in any score; a damaged row of the output matrix is in its own score alone.
 */
export function toldToken(logits: Scores, token: Tensor<'b', 'i32'>): Tensor<'b', 'i32'> {
  const highest = reduce(noticed(logits), 'b v -> b', 'max').cast('f32');
  return where(abs(highest).gt(overflowed), noToken, token);
}

function reachOf(x: Tensor<string, DType>): Tensor<'', 'f32'> {
  const size = abs(x.cast('f32') as Tensor<'b s e', 'f32'>);
  return reduce(where(isNaN(size), overflowed, size), 'b s e -> ', 'max');
}

/**
 * One more token for each row: its last one is read from where the step before left it. No inputs; symbol `past`, the tokens in
 * the cache, padding included. Outputs as of prefill.
 * @example const decode = decodeGraph(params, llama(config), sizes)
 */
export function decodeGraph(
  source: ParamSource,
  model: LanguageModel,
  sizes: GenerationSizes,
  parts: Pick<GenerationParts, 'root' | 'shifted'> = {},
): Graph {
  requireLanguage('decodeGraph', model, sizes);
  checkSizes(model.config, sizes);
  const { config } = model;
  return trace(
    source,
    (t) => {
      const past = t.symbol('past', { upTo: sizes.capacity - 1 });
      const states = openStates(t, config, sizes);
      const root = parts.root?.(t.params) ?? t.params;
      const place = parts.shifted === true ? states.position.add(openShift(t, sizes)) : states.position;
      const start = embedTokens(root, config, repeat(states.token, 'b -> b s', { s: 1 }));
      const turn: Turn = {
        ...sights(
          config,
          (rope) => stepAngles(t, rope, sizes, place),
          (own) => stepMask(t, own, sizes, states, past),
        ),
        length: 1,
        cache: openCache(t, config, { ...sizes, past, dtype: source.dtype }),
        inspect: undefined,
      };
      const hidden = decodeWithVision(root.at('model'), start, decoderLayers(root.at('model'), model, turn));
      const logits = scoresOf(root, model, hidden, 1);
      const next = states.position.add(1);
      const draw = states.random === undefined ? undefined : { ...states.random, counter: next };
      const token = toldToken(logits, drawToken(t, logits, draw));
      t.update(states.token, token);
      t.update(states.position, next);
      if (states.random !== undefined) t.update(states.random.seen, withToken(t, states.random.seen, token));
      return { token, logits };
    },
    { unread: 'ignore' },
  );
}

/** Tokens of prompt and answer for which graphs are made. */
const longestContext = 2 ** 20;

export function checkSizes(config: DecoderConfig, { batch, capacity, promptLimit }: GenerationSizes): void {
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'generation', advice });
  if (![batch, capacity, promptLimit].every((n) => Number.isInteger(n) && n >= 1))
    throw refuse(`batch ${batch}, capacity ${capacity}, promptLimit ${promptLimit}`, 'give whole numbers above 0');
  if (promptLimit >= capacity)
    throw refuse(
      `prompts of up to ${promptLimit} tokens leave no room for an answer in ${capacity}`,
      'raise capacity or lower promptLimit',
    );
  // Tables of rotations are made for every position: what a config claims is no reason to fill the memory with them.
  if (capacity > longestContext)
    throw refuse(`a context of ${capacity} tokens`, `graphs are made for at most ${longestContext}`);
  if (capacity > config.maxPositions)
    throw refuse(
      `a context of ${capacity} tokens is over the ${config.maxPositions} that the model knows`,
      `at most ${config.maxPositions}`,
    );
}

// ---- states ----------------------------------------------------------------------------------------------------------

interface States {
  /** The token that each row is to read next. */
  readonly token: Tensor<'b', 'i32'>;
  /** Its position in the row, padding not counted. */
  readonly position: Tensor<'b', 'i32'>;
  /** Tokens of each prompt. */
  readonly length: Tensor<'b', 'i32'>;
  readonly random:
    | { readonly settings: Tensor<'n', 'f32'>; readonly seed: Tensor<'b', 'u32'>; readonly seen: Tensor<'b v', 'bool'> }
    | undefined;
}

function openStates(t: Trace, config: DecoderConfig, { batch: b, draw }: GenerationSizes): States {
  return {
    token: t.state('token', 'b', { b }, 'i32'),
    position: t.state('position', 'b', { b }, 'i32'),
    length: t.state('length', 'b', { b }, 'i32'),
    random:
      draw === 'greedy'
        ? undefined
        : {
            settings: t.state('settings', 'n', { n: settingCount }),
            seed: t.state('seed', 'b', { b }, 'u32'),
            seen: t.state('seen', 'b v', { b, v: config.vocabulary }, 'bool'),
          },
  };
}

/** What is added to the number of tokens so far for the position of the next one: 0 or less. */
export function openShift(t: Trace, { batch: b }: Pick<GenerationSizes, 'batch'>): Tensor<'b', 'i32'> {
  return t.state('shift', 'b', { b }, 'i32');
}

export function withToken(t: Trace, seen: Tensor<'b v', 'bool'>, token: Tensor<'b', 'i32'>): Tensor<'b v', 'bool'> {
  const all = repeat(t.iota('v', seen.size('v')), 'v -> b v', { b: seen.sizeOf('b') });
  return seen.or(all.eq(token));
}

export function scoresOf(
  root: Params,
  model: LanguageModel,
  hidden: Hidden,
  length: Size,
  last?: Tensor<'b', 'i32'>,
): Scores {
  // Norm and output matrix for one position a row, not for the whole prompt.
  const normed = finalNorm(root, model.config, lastStates(hidden, length, last));
  return rearrange(logitsOf(root, model.config, normed).at('s', 0), 'b v -> b v');
}

// ---- positions -------------------------------------------------------------------------------------------------------

/** What full layers see, and what sliding ones do, where the config tells them apart. */
export function sights(
  config: DecoderConfig,
  angles: (rope: Rope) => Angles,
  mask: (config: DecoderConfig) => Sight['mask'],
): Sight & { readonly sliding?: Sight } {
  const { rope, sliding, slidingRope } = config;
  const own = angles(rope);
  if (sliding === undefined) return { angles: own, mask: mask(config) };
  const near = slidingRope === undefined ? own : angles(slidingRope);
  return {
    angles: own,
    mask: mask({ ...config, window: undefined }),
    sliding: { angles: near, mask: mask(config) },
  };
}

/** Tables of all positions, cos and sin: two of each where a long sequence has other frequencies than a short one. */
interface Tables {
  readonly cos: Tensor<'p f', 'f32'>;
  readonly sin: Tensor<'p f', 'f32'>;
  /** Rows of the first table, where there are two, and the tokens up to which it serves. */
  readonly short: { readonly rows: number; readonly upTo: number } | undefined;
}

function tablesOf(t: Trace, rope: Rope, capacity: number): Tables {
  const positions = Array.from({ length: capacity }, (_, i) => i);
  const long = rope.scaling.kind === 'longrope' && capacity > rope.scaling.original ? rope.scaling.original : undefined;
  const parts =
    long === undefined
      ? [ropeTables(rope, positions)]
      : [ropeTables(rope, positions, 1), ropeTables(rope, positions, capacity)];
  const table = (name: 'cos' | 'sin'): Tensor<'p f', 'f32'> => {
    const values = parts.flatMap((part) => Array.from(part[name]));
    return t.constant(values, 'p f', { p: capacity * parts.length, f: rope.rotated / 2 });
  };
  return {
    cos: table('cos'),
    sin: table('sin'),
    short: long === undefined ? undefined : { rows: capacity, upTo: long },
  };
}

function anglesAt(t: Trace, cos: Tensor<'b s f', 'f32'>, sin: Tensor<'b s f', 'f32'>): Angles {
  const sign = t.iota('half', 2).cast('f32').mul(2).sub(1);
  return { cos, sin: repeat(sin, 'b s f -> b s half f', { half: 2 }).mul(sign) };
}

/** Positions 0 … s − 1 in every row. */
function promptAngles(
  t: Trace,
  rope: Rope,
  { batch: b, capacity }: GenerationSizes,
  length: Tensor<'b', 'i32'>,
  s: Size,
): Angles {
  const { cos, sin, short } = tablesOf(t, rope, capacity);
  if (short !== undefined) {
    const from = length.gt(short.upTo).cast('i32').mul(short.rows);
    const row = repeat(t.iota('s', s), 's -> b s', { b }).add(from);
    return anglesAt(t, gather(cos, row, 'p'), gather(sin, row, 'p'));
  }
  const first = (table: Tensor<'p f', 'f32'>) =>
    repeat(rearrange(slice(table, 'p', { size: s }), 'p f -> s=(p) f'), 's f -> b s f', { b });
  return anglesAt(t, first(cos), first(sin));
}

export function stepAngles(t: Trace, rope: Rope, { capacity }: GenerationSizes, position: Tensor<'b', 'i32'>): Angles {
  const { cos, sin, short } = tablesOf(t, rope, capacity);
  const row = short === undefined ? position : position.ge(short.upTo).cast('i32').mul(short.rows).add(position);
  const at = (table: Tensor<'p f', 'f32'>) => repeat(gather(table, row, 'p'), 'b f -> b s f', { s: 1 });
  return anglesAt(t, at(cos), at(sin));
}

/** Keys that the newest token may look at: no padding, which stands between a prompt and its answer, and none before its window. */
function stepMask(
  t: Trace,
  config: DecoderConfig,
  { batch: b, capacity }: GenerationSizes,
  { length, position }: States,
  past: Size,
): Tensor<'b t', 'bool'> | undefined {
  const window = config.window !== undefined && config.window < capacity ? config.window : undefined;
  if (b === 1 && window === undefined) return undefined;
  const key = repeat(t.iota('t', addSizes(past, 1)), 't -> b t', { b });
  // Where this row's answer begins in the cache: the padded prompts' width, the same in every row.
  const width = position.sub(length).neg().add(t.extent(past));
  const there = key.lt(length).or(key.ge(width));
  if (window === undefined) return there;
  const place = key.sub(width.sub(length)).where(key.ge(width), key);
  return there.and(place.gt(position.sub(window)));
}
