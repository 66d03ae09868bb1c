// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the half-split layout of Hugging Face checkpoints.
import {
  concat,
  constantLike,
  flip,
  gather,
  OpabiniaError,
  rearrange,
  repeat,
  slice,
  type Float,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { ConfigReader } from '../configs/config-reader.ts';

/** How frequencies are changed for contexts longer than a model was first trained for. */
export type RopeScaling =
  | { readonly kind: 'none' }
  /** All frequencies divided by `factor`. */
  | { readonly kind: 'linear'; readonly factor: number }
  /** Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between; `low` and `high` are turns per `original` tokens. */
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly low: number;
      readonly high: number;
      readonly original: number;
    }
  /** Phi-3: one divisor a frequency, from the long list once the sequence is over `original`; cos and sin times `amplitude`. */
  | {
      readonly kind: 'longrope';
      readonly short: readonly number[];
      readonly long: readonly number[];
      readonly original: number;
      readonly amplitude: number;
    }
  /**
   * YaRN (arXiv 2309.00071): frequencies up to index `first` kept, those from `last` on divided by `factor`, a ramp between; cos and sin
   * times `amplitude`.
   */
  | {
      readonly kind: 'yarn';
      readonly factor: number;
      readonly first: number;
      readonly last: number;
      readonly amplitude: number;
    }
  /** NTK by length: in a sequence over `original`, the base grows with its length. */
  | { readonly kind: 'dynamic'; readonly factor: number; readonly original: number };

export interface Rope {
  readonly theta: number;
  /** Channels of a head that are turned, its first ones; pairs are (j, j + rotated/2), and what is behind them passes. */
  readonly rotated: number;
  readonly scaling: RopeScaling;
  /** Three positions a token (Qwen-VL): which of them each frequency turns by. */
  readonly axes?: readonly (0 | 1 | 2)[] | undefined;
}

/** Keys that each scaling reads, besides those that all may have. */
const scalings: Readonly<Record<string, readonly string[]>> = {
  default: [],
  mrope: [],
  linear: ['factor'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
  longrope: ['short_factor', 'long_factor', 'factor', 'original_max_position_embeddings', 'attention_factor'],
  yarn: [
    'factor',
    'original_max_position_embeddings',
    'attention_factor',
    'beta_fast',
    'beta_slow',
    'mscale',
    'mscale_all_dim',
    'truncate',
    // Says how YaRN's own models were made; nothing reads it.
    'finetuned',
  ],
  dynamic: ['factor'],
};
/** What transformers 5 nests by. */
const layerKinds = ['full_attention', 'sliding_attention'] as const;
const common = ['rope_type', 'type', 'rope_theta', 'partial_rotary_factor', 'mrope_section', 'mrope_interleaved'];

export interface RopeDefaults {
  readonly theta?: number | undefined;
  /** Part of a head that is turned. */
  readonly partial?: number | undefined;
  /** Of which layers, where these differ. */
  readonly layers?: (typeof layerKinds)[number] | undefined;
}

/**
 * Reads `rope_theta`, `partial_rotary_factor` and `rope_scaling`, or `rope_parameters`, where transformers 5 puts all three; of both, every
 * version takes `rope_scaling`. Throws `OpabiniaError` for a scaling that is not known, and for a key of it that is not.
 */
export function readRope(config: ConfigReader, headSize: number, defaults: RopeDefaults = {}): Rope {
  const { layers } = defaults;
  const outer = config.inner('rope_parameters');
  const nested = layers !== undefined && layerKinds.some((kind) => outer?.has(kind));
  if (nested) outer?.only(layerKinds);
  const joint = nested ? outer?.inner(layers) : outer;
  // Gemma 3's is that of its full layers, and says no more than how they stretch.
  const older = layers === 'sliding_attention' ? undefined : config.inner('rope_scaling');
  const scaling = older?.empty === false ? older : joint;
  const places = [scaling, nested ? joint : undefined, config].filter((place) => place !== undefined);
  const stated = (key: string, otherwise: number): number =>
    places.find((place) => place.has(key))?.positive(key) ?? otherwise;
  const theta = stated('rope_theta', defaults.theta ?? 10000);
  const rotated = Math.trunc(headSize * stated('partial_rotary_factor', defaults.partial ?? 1));
  if (rotated % 2 !== 0 || rotated < 2 || rotated > headSize)
    throw config.wrong(
      config.has('head_dim') ? 'head_dim' : 'hidden_size',
      `makes heads of ${headSize} channels, ${rotated} of them rotated`,
      'rotary embedding needs an even number, at most all of them',
    );
  if (scaling === undefined) return { theta, rotated, scaling: { kind: 'none' } };
  return {
    theta,
    rotated,
    scaling: readScaling(config, scaling, { rotated, theta }),
    axes: readAxes(scaling, rotated / 2),
  };
}

/** `mrope_section`: how many frequencies turn by time, row and column; one after the other, or interleaved (Qwen3-VL). */
function readAxes(scaling: ConfigReader, count: number): Rope['axes'] {
  if (!scaling.has('mrope_section')) return undefined;
  const [time = 0, row = 0, column = 0, ...rest] = scaling.numbers('mrope_section');
  const each = [time, row, column];
  if (rest.length > 0 || time + row + column !== count || !each.every((n) => Number.isInteger(n) && n >= 0))
    throw scaling.wrong('mrope_section', `does not divide ${count} frequencies into three`);
  const interleaved = scaling.flag('mrope_interleaved', false);
  return Array.from({ length: count }, (_, j) => {
    if (!interleaved) return j < time ? 0 : j < time + row ? 1 : 2;
    if (j % 3 === 1 && j < 3 * row) return 1;
    return j % 3 === 2 && j < 3 * column ? 2 : 0;
  });
}

function readScaling(
  config: ConfigReader,
  scaling: ConfigReader,
  turns: { readonly rotated: number; readonly theta: number },
): RopeScaling {
  const stated = scaling.text('rope_type', scaling.text('type', 'default'));
  // Older spellings: "su", and of Phi-3 "yarn".
  const type = stated === 'su' || (stated === 'yarn' && scaling.has('short_factor')) ? 'longrope' : stated;
  const own = Object.hasOwn(scalings, type) ? scalings[type] : undefined;
  if (own === undefined)
    throw scaling.wrong(
      scaling.has('rope_type') ? 'rope_type' : 'type',
      `is '${stated}'`,
      `known are ${Object.keys(scalings).join(', ')}, su`,
    );
  scaling.only([...common, ...own]);
  switch (type) {
    case 'linear':
      return { kind: 'linear', factor: scaling.positive('factor') };
    case 'llama3':
      return readLlama3(config, scaling);
    case 'longrope':
      return readLongRope(config, scaling, turns.rotated);
    case 'yarn':
      return readYarn(config, scaling, turns);
    case 'dynamic':
      if (turns.rotated < 4) throw scaling.wrong('rope_type', "is 'dynamic'", 'that needs more than one frequency');
      return {
        kind: 'dynamic',
        factor: scaling.positive('factor'),
        original: config.count('max_position_embeddings'),
      };
    default:
      return { kind: 'none' };
  }
}

/** Positions that a model was first trained for: all that it has, where nothing says so. */
function originalOf(config: ConfigReader, scaling: ConfigReader): number {
  const key = 'original_max_position_embeddings';
  return [config, scaling].find((place) => place.has(key))?.count(key) ?? config.count('max_position_embeddings');
}

function readYarn(
  config: ConfigReader,
  scaling: ConfigReader,
  { rotated, theta }: { readonly rotated: number; readonly theta: number },
): RopeScaling {
  const [factor, original] = [scaling.positive('factor'), originalOf(config, scaling)];
  const optional = (key: string): number | undefined => (scaling.has(key) ? scaling.number(key) : undefined);
  // 0 stands for an absent one, as in the original code.
  const [scale, scaleAll] = [optional('mscale') ?? 0, optional('mscale_all_dim') ?? 0];
  const grown = (by: number): number => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
  const amplitude = scale !== 0 && scaleAll !== 0 ? grown(scale) / grown(scaleAll) : grown(1);
  // The frequency that turns this often within `original` positions.
  const index = (turns: number): number =>
    (rotated * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [low, high] = [index(optional('beta_fast') || 32), index(optional('beta_slow') || 1)];
  const whole = scaling.flag('truncate', true);
  const first = Math.max(whole ? Math.floor(low) : low, 0);
  const last = Math.min(whole ? Math.ceil(high) : high, rotated - 1);
  return { kind: 'yarn', factor, first, last, amplitude: scaling.positive('attention_factor', amplitude) };
}

function readLlama3(config: ConfigReader, scaling: ConfigReader): RopeScaling {
  const [low, high] = [scaling.positive('low_freq_factor'), scaling.positive('high_freq_factor')];
  if (low >= high)
    throw scaling.wrong('low_freq_factor', `is ${low}, and 'high_freq_factor' ${high}`, 'it is the lower');
  const original = originalOf(config, scaling);
  return { kind: 'llama3', factor: scaling.positive('factor'), low, high, original };
}

function readLongRope(config: ConfigReader, scaling: ConfigReader, rotated: number): RopeScaling {
  const [short, long] = [scaling.numbers('short_factor'), scaling.numbers('long_factor')];
  for (const [name, list] of [
    ['short_factor', short],
    ['long_factor', long],
  ] as const) {
    if (list.length !== rotated / 2)
      throw scaling.wrong(
        name,
        `has ${list.length} numbers`,
        `${rotated} channels that turn have ${rotated / 2} frequencies`,
      );
    const wrong = list.find((factor) => factor <= 0);
    if (wrong !== undefined) throw scaling.wrong(name, `has the factor ${wrong}`, 'frequencies are divided by them');
  }
  const longest = config.count('max_position_embeddings', 4096);
  const stated = [config, scaling]
    .find((part) => part.has('original_max_position_embeddings'))
    ?.count('original_max_position_embeddings');
  const original = stated ?? longest;
  const stretch = scaling.positive('factor', longest / original);
  const amplitude = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  return { kind: 'longrope', short, long, original, amplitude: scaling.positive('attention_factor', amplitude) };
}

/** Radians per position of each pair, `rotated/2` of them, in a sequence of `length` tokens. */
export function frequencies(rope: Rope, length: number): Float64Array {
  const { theta, rotated, scaling } = rope;
  return Float64Array.from({ length: rotated / 2 }, (_, j) => {
    const plain = theta ** ((-2 * j) / rotated);
    switch (scaling.kind) {
      case 'none':
        return plain;
      case 'linear':
        return plain / scaling.factor;
      case 'llama3':
        return ramped(plain, scaling);
      case 'longrope':
        return plain / ((length > scaling.original ? scaling.long : scaling.short)[j] ?? 1);
      case 'yarn': {
        const { factor, first, last } = scaling;
        const ramp = Math.min(1, Math.max(0, (j - first) / (last === first ? 0.001 : last - first)));
        return plain * (1 - ramp) + (plain / factor) * ramp;
      }
      case 'dynamic': {
        const { factor, original } = scaling;
        const longer = (factor * Math.max(length, original)) / original - (factor - 1);
        return (theta * longer ** (rotated / (rotated - 2))) ** ((-2 * j) / rotated);
      }
      default:
        return scaling satisfies never;
    }
  });
}

/** Does a sequence that grows from `past` tokens to `length` come to other rotations, so that keys of its past are no longer right? */
export function crossesLength({ scaling }: Rope, past: number, length: number): boolean {
  if (scaling.kind === 'dynamic') return past > 0 && past < length && length > scaling.original;
  return scaling.kind === 'longrope' && past > 0 && past <= scaling.original && length > scaling.original;
}

function ramped(frequency: number, { factor, low, high, original }: Extract<RopeScaling, { kind: 'llama3' }>): number {
  const turns = (original * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + (1 - kept) * (frequency / factor);
}

/**
 * Cosines and sines for `positions` (any number, row-major), `rotated/2` each. In f64, rounded once: WGSL's own sin and cos of
 * large angles have no useful accuracy. `length` is that of the sequence so far, one above the largest position by default. Where tokens
 * have three positions (`axes`), `positions` are those of time, then of rows, then of columns; the same for all three when they are as
 * many as tokens.
 */
export function ropeTables(
  rope: Rope,
  positions: ArrayLike<number>,
  length?: number,
  tokens = positions.length,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  let longest = 0;
  for (let i = 0; i < positions.length; i++) longest = Math.max(longest, (positions[i] ?? 0) + 1);
  const step = frequencies(rope, length ?? longest);
  const amplitude = 'amplitude' in rope.scaling ? rope.scaling.amplitude : 1;
  const [cos, sin] = [new Float32Array(tokens * step.length), new Float32Array(tokens * step.length)];
  for (let i = 0; i < tokens; i++) {
    for (const [j, radians] of step.entries()) {
      const axis = tokens === positions.length ? 0 : (rope.axes?.[j] ?? 0);
      const position = positions[axis * tokens + i] ?? 0;
      if (!(position >= 0))
        throw new OpabiniaError(`position ${position} is not a place in a sequence`, { op: 'rope' });
      cos[i * step.length + j] = amplitude * Math.cos(position * radians);
      sin[i * step.length + j] = amplitude * Math.sin(position * radians);
    }
  }
  return { cos, sin };
}

/** The tables of one run inside a graph. */
export interface Angles {
  readonly cos: Tensor<'b s f', 'f32'>;
  /** With the sign that each half of a head takes. */
  readonly sin: Tensor<'b s half f', 'f32'>;
}

/** Inputs `cos` and `sin` (after `prefix`), filled from `ropeTables`: positions are the caller's, so they may differ from row to row. */
export function ropeInputs(t: Trace, rope: Rope, sizes: { readonly b: Size; readonly s: Size }, prefix = ''): Angles {
  const f = rope.rotated / 2;
  const cos = t.input(`${prefix}cos`, 'b s f', { ...sizes, f });
  const sin = t.input(`${prefix}sin`, 'b s f', { ...sizes, f });
  const sign = t.iota('half', 2).cast('f32').mul(2).sub(1);
  return { cos, sin: repeat(sin, 'b s f -> b s half f', { half: 2 }).mul(sign) };
}

/** Angles of positions that are known in the graph only, each below `upTo`: rows of a table. */
export function anglesAt(positions: Tensor<'b s', 'i32'>, rope: Rope, upTo: number): Angles {
  const sizes = { p: upTo, f: rope.rotated / 2 };
  const tables = ropeTables(
    rope,
    Array.from({ length: upTo }, (_, position) => position),
  );
  const of = (values: Float32Array) => gather(constantLike(positions, values, 'p f', sizes, 'f32'), positions, 'p');
  const sign = constantLike(positions, [-1, 1], 'half', { half: 2 }, 'f32');
  return { cos: of(tables.cos), sin: repeat(of(tables.sin), 'b s f -> b s half f', { half: 2 }).mul(sign) };
}

/**
 * a' = a·cos − b·sin, b' = b·cos + a·sin, where a and b are the halves of the channels that turn, the first of a head; in f32 whatever
 * the storage.
 */
export function rotate(x: Tensor<'b s h d', Float>, angles: Angles): Tensor<'b s h d', Float> {
  const rotated = 2 * angles.cos.size('f');
  const head = x.size('d');
  if (rotated === head) return rotateAll(x, angles);
  const turned = rotateAll(slice(x, 'd', { size: rotated }), angles);
  return concat([turned, slice(x, 'd', { start: rotated, size: head - rotated })], 'd');
}

function rotateAll(x: Tensor<'b s h d', Float>, angles: Angles): Tensor<'b s h d', Float> {
  const halves = rearrange(x.cast('f32'), 'b s h (half f) -> b s h half f', { half: 2 });
  const turned = halves.mul(angles.cos).add(flip(halves, 'half').mul(angles.sin));
  return rearrange(turned, 'b s h half f -> b s h d=(half f)').cast(x.dtype);
}
