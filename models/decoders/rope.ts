// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the half-split layout of Hugging Face checkpoints.
import {
  constantLike,
  flip,
  gather,
  OpabiniaError,
  rearrange,
  repeat,
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
    };

export interface Rope {
  readonly theta: number;
  /** Channels of a head; pairs are (j, j + headSize/2). */
  readonly headSize: number;
  readonly scaling: RopeScaling;
}

const known = ['default', 'linear', 'llama3', 'longrope', 'su'];

/** Reads `rope_theta` and `rope_scaling`, or `rope_parameters` of newer configs. Throws `OpabiniaError` for a scaling that is not known. */
export function readRope(config: ConfigReader, headSize: number): Rope {
  const joint = config.inner('rope_parameters');
  const scaling = joint ?? config.inner('rope_scaling');
  const theta = joint?.has('rope_theta') === true ? joint.number('rope_theta') : config.number('rope_theta', 10000);
  if (headSize % 2 !== 0)
    throw config.wrong('head_dim', `makes heads of ${headSize} channels`, 'rotary embedding needs an even number');
  if (scaling === undefined) return { theta, headSize, scaling: { kind: 'none' } };
  return { theta, headSize, scaling: readScaling(config, scaling, headSize) };
}

function readScaling(config: ConfigReader, scaling: ConfigReader, headSize: number): RopeScaling {
  const type = scaling.text('rope_type', scaling.text('type', 'default'));
  switch (type) {
    case 'default':
      return { kind: 'none' };
    case 'linear':
      return { kind: 'linear', factor: scaling.number('factor') };
    case 'llama3':
      return {
        kind: 'llama3',
        factor: scaling.number('factor'),
        low: scaling.number('low_freq_factor'),
        high: scaling.number('high_freq_factor'),
        original: scaling.count('original_max_position_embeddings'),
      };
    // "su" is the older spelling.
    case 'longrope':
    case 'su':
      return readLongRope(config, scaling, headSize);
    default:
      throw scaling.wrong('rope_type', `is '${type}'`, `known are ${known.join(', ')}`);
  }
}

function readLongRope(config: ConfigReader, scaling: ConfigReader, headSize: number): RopeScaling {
  const [short, long] = [scaling.numbers('short_factor'), scaling.numbers('long_factor')];
  for (const [name, list] of [
    ['short_factor', short],
    ['long_factor', long],
  ] as const) {
    if (list.length !== headSize / 2)
      throw scaling.wrong(
        name,
        `has ${list.length} numbers`,
        `a head of ${headSize} channels has ${headSize / 2} frequencies`,
      );
  }
  const longest = config.count('max_position_embeddings', 4096);
  const original =
    [config, scaling]
      .find((part) => part.has('original_max_position_embeddings'))
      ?.count('original_max_position_embeddings') ?? longest;
  const stretch = longest / original;
  const amplitude = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  return { kind: 'longrope', short, long, original, amplitude: scaling.number('attention_factor', amplitude) };
}

/** Radians per position of each pair, `headSize/2` of them, in a sequence of `length` tokens. */
export function frequencies(rope: Rope, length: number): Float64Array {
  const { theta, headSize, scaling } = rope;
  return Float64Array.from({ length: headSize / 2 }, (_, j) => {
    const plain = theta ** ((-2 * j) / headSize);
    switch (scaling.kind) {
      case 'none':
        return plain;
      case 'linear':
        return plain / scaling.factor;
      case 'llama3':
        return ramped(plain, scaling);
      case 'longrope':
        return plain / ((length > scaling.original ? scaling.long : scaling.short)[j] ?? 1);
      default:
        return scaling satisfies never;
    }
  });
}

function ramped(frequency: number, { factor, low, high, original }: Extract<RopeScaling, { kind: 'llama3' }>): number {
  const turns = (original * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + (1 - kept) * (frequency / factor);
}

/**
 * Cosines and sines for `positions` (any number, row-major), `headSize/2` each. In f64, rounded once: WGSL's own sin and cos of
 * large angles have no useful accuracy. `length` is that of the sequence so far, one above the largest position by default.
 */
export function ropeTables(
  rope: Rope,
  positions: ArrayLike<number>,
  length?: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  let longest = 0;
  for (let i = 0; i < positions.length; i++) longest = Math.max(longest, (positions[i] ?? 0) + 1);
  const step = frequencies(rope, length ?? longest);
  const amplitude = rope.scaling.kind === 'longrope' ? rope.scaling.amplitude : 1;
  const [cos, sin] = [
    new Float32Array(positions.length * step.length),
    new Float32Array(positions.length * step.length),
  ];
  for (let i = 0; i < positions.length; i++) {
    const position = positions[i] ?? 0;
    if (!(position >= 0)) throw new OpabiniaError(`position ${position} is not a place in a sequence`, { op: 'rope' });
    for (const [j, radians] of step.entries()) {
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
  const f = rope.headSize / 2;
  const cos = t.input(`${prefix}cos`, 'b s f', { ...sizes, f });
  const sin = t.input(`${prefix}sin`, 'b s f', { ...sizes, f });
  const sign = t.iota('half', 2).cast('f32').mul(2).sub(1);
  return { cos, sin: repeat(sin, 'b s f -> b s half f', { half: 2 }).mul(sign) };
}

/** Angles of positions that are known in the graph only, each below `upTo`: rows of a table. */
export function anglesAt(positions: Tensor<'b s', 'i32'>, rope: Rope, upTo: number): Angles {
  const sizes = { p: upTo, f: rope.headSize / 2 };
  const tables = ropeTables(
    rope,
    Array.from({ length: upTo }, (_, position) => position),
  );
  const of = (values: Float32Array) => gather(constantLike(positions, values, 'p f', sizes, 'f32'), positions, 'p');
  const sign = constantLike(positions, [-1, 1], 'half', { half: 2 }, 'f32');
  return { cos: of(tables.cos), sin: repeat(of(tables.sin), 'b s f -> b s half f', { half: 2 }).mul(sign) };
}

/** a' = a·cos − b·sin, b' = b·cos + a·sin, where a and b are the halves of a head; in f32 whatever the storage. */
export function rotate(x: Tensor<'b s h d', Float>, angles: Angles): Tensor<'b s h d', Float> {
  const halves = rearrange(x.cast('f32'), 'b s h (half f) -> b s h half f', { half: 2 });
  const turned = halves.mul(angles.cos).add(flip(halves, 'half').mul(angles.sin));
  return rearrange(turned, 'b s h half f -> b s h d=(half f)').cast(x.dtype);
}
