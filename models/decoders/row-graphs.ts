// Answers that begin and end whenever: a cache with a row for each, a graph that brings a prompt which was read by itself into a row, and
// a decode step of all rows, each as far as it is.
import {
  repeat,
  slice,
  trace,
  where,
  type Float,
  type Graph,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { decodeWithVision } from '../multimodal/cambrian.ts';
import {
  decoderLayers,
  embedTokens,
  type Cache,
  type DecoderConfig,
  type LanguageModel,
  type Turn,
} from './decoder.ts';
import {
  checkSizes,
  openShift,
  scoresOf,
  sights,
  stepAngles,
  toldToken,
  withToken,
  type GenerationParts,
} from './generation-graphs.ts';
import { drawToken, settingCount } from './sampling.ts';

/** What must be the same in all graphs that work on the same rows. */
export interface RowSizes {
  readonly rows: number;
  /** Tokens of one prompt and its answer. */
  readonly capacity: number;
  /** greedy: every row takes its likeliest token. random: each as its own `samplingSettings` say, and with temperature 0 the likeliest too. */
  readonly draw: 'greedy' | 'random';
}

/** Where a decode graph finds what its family has otherwise than a language model by itself. */
export type DecodeParts = Pick<GenerationParts, 'root' | 'shifted'>;

/**
 * One more token for each row. No inputs; symbol `keys`, the most tokens that a row which counts has in the cache with this one. Outputs
 * as of `decodeGraph`. Rows do not read one another: one that nobody answers in computes what nobody reads, and one that is full stays so.
 * @example const decode = rowDecodeGraph(params, llama(config), { rows: 32, capacity: 2048, draw: 'greedy' })
 */
export function rowDecodeGraph(
  source: ParamSource,
  model: LanguageModel,
  sizes: RowSizes,
  parts: DecodeParts = {},
): Graph {
  checkRows(model.config, sizes);
  const { config } = model;
  const { capacity } = sizes;
  return trace(
    source,
    (t) => {
      const keys = t.symbol('keys', { upTo: capacity });
      const states = openRows(t, config, sizes);
      const root = parts.root?.(t.params) ?? t.params;
      const place = parts.shifted === true ? states.position.add(rowShift(t, sizes)) : states.position;
      const start = embedTokens(root, config, repeat(states.token, 'b -> b s', { s: 1 }));
      const turn: Turn = {
        ...sights(
          config,
          (rope) => stepAngles(t, rope, { batch: sizes.rows, ...rowGeneration(sizes) }, place),
          (own) => rowMask(t, own, sizes, states.position, keys),
        ),
        length: 1,
        cache: rowCache(t, config, sizes, { position: states.position, keys, dtype: source.dtype }),
        inspect: undefined,
      };
      const hidden = decodeWithVision(root.at('model'), start, decoderLayers(root.at('model'), model, turn));
      const logits = scoresOf(root, model, hidden, 1);
      const next = states.position.add(1);
      const token = toldToken(logits, drawToken(t, logits, states.random && { ...states.random, counter: next }));
      t.update(states.token, token);
      t.update(states.position, next.min(capacity));
      if (states.random !== undefined) t.update(states.random.seen, withToken(t, states.random.seen, token));
      return { token, logits };
    },
    { unread: 'ignore' },
  );
}

/**
 * A prompt that prefill of one row has read moves into the row that the symbol `row` names, whatever stood there. Reads prefill's states;
 * inputs, for random draws: `settings` `n`, `seed` `b`, `seen` `b v`, as prefill's. No outputs.
 */
export function rowEntryGraph(
  source: ParamSource,
  model: LanguageModel,
  sizes: RowSizes,
  parts: DecodeParts = {},
): Graph {
  checkRows(model.config, sizes);
  const { config } = model;
  const { rows, capacity } = sizes;
  return trace(
    source,
    (t) => {
      const row = t.symbol('row', { atLeast: 0, upTo: rows - 1 });
      const states = openRows(t, config, sizes);
      const integer = (name: string): Tensor<'b', 'i32'> => t.state(name, 'b', { b: 1 }, 'i32');
      const [token, length] = [integer('token'), integer('length')];
      const put = (state: Tensor, value: Tensor): void => t.update(state, value, { b: row });
      put(states.token, token);
      put(states.position, length);
      if (parts.shifted === true) put(rowShift(t, sizes), openShift(t, { batch: 1 }));
      // What a longer prompt left behind is not a number, if that one overflowed: nothing of it may stay.
      const there = repeat(t.iota('t', capacity), 't -> b t', { b: 1 }).lt(length);
      const shape = { b: 1, g: config.keyValueHeads, t: capacity, d: config.headSize };
      for (let layer = 0; layer < config.layers; layer++)
        for (const name of ['k', 'v'] as const) {
          const read = t.state<'b g t d', Float>(`${name}.${layer}`, 'b g t d', shape, source.dtype);
          put(rowKeys(t, config, sizes, `${name}.${layer}`, source.dtype), read.where(there, 0));
        }
      if (states.random !== undefined) {
        const settings = t.input('settings', 'n', { n: settingCount });
        const seen = t.input('seen', 'b v', { b: 1, v: config.vocabulary }, 'bool');
        put(states.random.settings, repeat(settings, 'n -> b n', { b: 1 }));
        put(states.random.seed, t.input('seed', 'b', { b: 1 }, 'u32'));
        put(states.random.seen, withToken(t, seen, token));
      }
      return {};
    },
    { unread: 'ignore' },
  );
}

function checkRows(config: DecoderConfig, sizes: RowSizes): void {
  checkSizes(config, { batch: sizes.rows, ...rowGeneration(sizes) });
}

/** The sizes of prefill that fill such rows, but for its own batch. */
function rowGeneration({ capacity, draw }: RowSizes): {
  readonly capacity: number;
  readonly promptLimit: number;
  readonly draw: RowSizes['draw'];
} {
  return { capacity, promptLimit: capacity - 1, draw };
}

// ---- states ----------------------------------------------------------------------------------------------------------

interface Rows {
  /** The token that each row is to read next, and its position: as many tokens as it has read. */
  readonly token: Tensor<'b', 'i32'>;
  readonly position: Tensor<'b', 'i32'>;
  readonly random:
    | {
        readonly settings: Tensor<'b n', 'f32'>;
        readonly seed: Tensor<'b', 'u32'>;
        readonly seen: Tensor<'b v', 'bool'>;
      }
    | undefined;
}

function openRows(t: Trace, config: DecoderConfig, { rows: b, draw }: RowSizes): Rows {
  return {
    token: t.state('rows.token', 'b', { b }, 'i32'),
    position: t.state('rows.position', 'b', { b }, 'i32'),
    random:
      draw === 'greedy'
        ? undefined
        : {
            settings: t.state('rows.settings', 'b n', { b, n: settingCount }),
            seed: t.state('rows.seed', 'b', { b }, 'u32'),
            seen: t.state('rows.seen', 'b v', { b, v: config.vocabulary }, 'bool'),
          },
  };
}

function rowShift(t: Trace, { rows: b }: RowSizes): Tensor<'b', 'i32'> {
  return t.state('rows.shift', 'b', { b }, 'i32');
}

function rowKeys(
  t: Trace,
  config: DecoderConfig,
  { rows, capacity }: RowSizes,
  name: string,
  dtype: Float,
): Tensor<'b g t d', Float> {
  const shape = { b: rows, g: config.keyValueHeads, t: capacity, d: config.headSize };
  return t.state<'b g t d', Float>(`rows.${name}`, 'b g t d', shape, dtype);
}

/** The cache in which each row writes at its own position. */
function rowCache(
  t: Trace,
  config: DecoderConfig,
  sizes: RowSizes,
  { position, keys, dtype }: { readonly position: Tensor<'b', 'i32'>; readonly keys: Size; readonly dtype: Float },
): Cache {
  const { rows: b, capacity } = sizes;
  const hit = repeat(t.iota('t', capacity), 't -> b t', { b }).eq(position);
  const store = (name: string, fresh: Tensor<'b g t d', Float>): Tensor<'b g t d', Float> => {
    const state = rowKeys(t, config, sizes, name, dtype);
    // The form that is written in place: see `match/row-write.ts` of the compiler.
    const all = where(hit, repeat(fresh.at('t', 0), 'b g d -> b g t d', { t: capacity }), state);
    t.update(state, all);
    return slice(all, 't', { size: keys });
  };
  return {
    past: keys,
    extend: (layer, key, value) => ({ key: store(`k.${layer}`, key), value: store(`v.${layer}`, value) }),
  };
}

/** Keys that a row's newest token may look at: those of its own prompt and answer, and none before its window. */
function rowMask(
  t: Trace,
  config: DecoderConfig,
  { rows: b, capacity }: RowSizes,
  position: Tensor<'b', 'i32'>,
  keys: Size,
): Tensor<'b t', 'bool'> {
  const key = repeat(t.iota('t', keys), 't -> b t', { b });
  const there = key.le(position);
  const { window } = config;
  return window === undefined || window >= capacity ? there : there.and(key.gt(position.sub(window)));
}
