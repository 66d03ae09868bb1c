// Choosing the next token on the device: penalty, temperature, top-k, top-p and a seeded draw, from scores to a token's id.
import {
  argmax,
  exp,
  isNaN,
  log,
  OpabiniaError,
  reduce,
  repeat,
  shiftRight,
  where,
  xor,
  type Float,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';

/** Scores of the vocabulary, a row each. */
export type Scores = Tensor<'b v', Float>;

/** What one draw depends on, besides the scores. */
export interface Draw {
  /** The numbers of `samplingSettings`, for all rows or each with its own. */
  readonly settings: Tensor<'n', 'f32'> | Tensor<'b n', 'f32'>;
  /** One a row: rows of one seed draw the same. */
  readonly seed: Tensor<'b', 'u32'>;
  /** Must differ from draw to draw. */
  readonly counter: Tensor<'b', 'i32'>;
  /** Tokens that the repetition penalty acts on. */
  readonly seen: Tensor<'b v', 'bool'>;
}

export interface SamplingOptions {
  /** 0, the default, takes the likeliest token. */
  readonly temperature?: number | undefined;
  /** Tokens that are drawn from: the likeliest, and those as likely as the last of them. All by default. */
  readonly topK?: number | undefined;
  /** Draw from the likeliest tokens that together have this much probability. 1, all, by default. */
  readonly topP?: number | undefined;
  /** Scores of tokens that stand in the text are divided by this where they are positive, and else multiplied. 1 by default. */
  readonly repetitionPenalty?: number | undefined;
}

/** A `topK` over any vocabulary: all are kept. */
export const everyToken = 2 ** 30;

/** Numbers in `samplingSettings`. */
export const settingCount = 4;

/** The settings as the graph reads them. */
export function samplingSettings({
  temperature = 0,
  topK,
  topP = 1,
  repetitionPenalty = 1,
}: SamplingOptions): Float32Array {
  return Float32Array.of(temperature, topK ?? everyToken, topP, repetitionPenalty);
}

/** Throws `OpabiniaError` for numbers by which nothing can be drawn: each would be taken, and give something else than what was asked for. */
export function checkSampling({ temperature = 0, topK = 1, topP = 1, repetitionPenalty = 1 }: SamplingOptions): void {
  const refused = (name: string, value: number, advice: string): OpabiniaError =>
    new OpabiniaError(`${name} is ${value}`, { op: 'sampling', advice });
  const within = (name: string, value: number, [least, most]: readonly [number, number], advice: string): void => {
    if (!(value >= least && value <= most)) throw refused(name, value, advice);
  };
  within('temperature', temperature, [0, 100], 'give a number from 0, the likeliest token, to 100');
  if (!Number.isInteger(topK) || topK < 1)
    throw refused('topK', topK, 'give a whole number above 0, or leave it out: all');
  within('topP', topP, [0, 1], 'give a share from 0 to 1');
  within('repetitionPenalty', repetitionPenalty, [1e-6, 1e6], 'give a number above 0: 1 changes nothing');
}

/** Whether the token with the highest score is all that is asked for. */
export function isGreedy({ temperature = 0, repetitionPenalty = 1 }: SamplingOptions): boolean {
  return temperature === 0 && repetitionPenalty === 1;
}

/**
 * A token for each row; without `draw` the likeliest, the first of equals. Else penalty, temperature, then top-k, then top-p over what top-k left, then a draw by the Gumbel-max rule
 * (argmax of score + noise follows the softmax of the scores; Maddison et al. 2014, arXiv 1411.0030).
 */
export function drawToken(t: Trace, scores: Scores, draw: Draw | undefined): Tensor<'b', 'i32'> {
  if (draw === undefined) return argmax(noticed(scores), 'v');
  // Beside scores, an axis of rows is aligned by its name, where it is there.
  const settings = draw.settings as Tensor<'n', 'f32'>;
  const [temperature, topK, topP, penalty] = [0, 1, 2, 3].map((at) => settings.at('n', at));
  if (temperature === undefined || topK === undefined || topP === undefined || penalty === undefined)
    throw new TypeError('four settings');
  const plain = scores.cast('f32');
  const penalised = where(draw.seen, where(plain.gt(0), plain.div(penalty), plain.mul(penalty)), plain);
  const random = temperature.gt(0);
  // From the highest score down before the division: at a temperature near 0 the quotients of scores overflow, the highest one's never.
  const under = penalised.sub(reduce(penalised, 'b v -> b', 'max'));
  const below = under.div(temperature.max(coldest).where(random, 1));
  const among = keepHighest(t, below, undefined, topK);
  const mass = exp(below).where(among, 0);
  const kept = keepHighest(t, below, mass, reduce(mass, 'b v -> b', 'sum').mul(topP)).and(among);
  const noise = gumbel(t, scores, draw);
  return argmax(below.add(noise.where(random, 0)).where(kept, never), 'v');
}

/** Scores of which the highest shows what is not a number: ONNX Runtime's maximum passes NaN over. */
export function noticed(scores: Scores): Scores {
  return where(isNaN(scores), Infinity, scores);
}

/** Colder is as cold: two scores that f32 tells apart are hundreds of powers of e apart here. */
const coldest = 1e-9;

/** Below every score: no draw reaches it. */
const never = -3e38;

/** Scores this far below the highest are not told apart: their probability is under 10⁻¹⁷. */
const depth = 40;
const ways = 16;
/** 40 / 16⁷ is under half a unit in the last place of a score of 4: only scores that f32 hardly tells apart stay tied. */
const rounds = 7;

/**
 * The elements at and above the highest threshold at which the weights kept reach `wanted`; equal scores are kept together. `below`
 * holds scores with the highest at 0; without weights elements are counted. A search with 16 thresholds at a time: no sorting, and
 * the same work for every `wanted`.
 */
function keepHighest(
  t: Trace,
  below: Tensor<'b v', 'f32'>,
  weights: Tensor<'b v', 'f32'> | undefined,
  wanted: Tensor<'', 'f32'> | Tensor<'b', 'f32'>,
): Tensor<'b v', 'bool'> {
  const b = below.sizeOf('b');
  const step = repeat(t.iota('j', ways).cast('f32'), 'j -> b j', { b });
  const each = repeat(below, 'b v -> b j v', { j: ways });
  const weight = weights === undefined ? undefined : repeat(weights, 'b v -> b j v', { j: ways });
  const goal = wanted as Tensor<'', 'f32'>;
  let low = reduce(below, 'b v -> b', 'max').mul(0).sub(depth);
  for (let round = 0, width = depth; round < rounds; round++, width /= ways) {
    const above = each.ge(step.mul(width / ways).add(low));
    const total = reduce(weight === undefined ? above.cast('f32') : weight.where(above, 0), 'b j v -> b j', 'sum');
    low = low.add(reduce(step.where(total.ge(goal), 0), 'b j -> b', 'max').mul(width / ways));
  }
  // Where even the deepest threshold keeps too little, everything is kept.
  return below.ge(low.where(low.gt(-depth), never));
}

/** −log(−log u) for a uniform u that depends on seed, counter and token alone. */
function gumbel(t: Trace, scores: Scores, { seed, counter }: Draw): Tensor<'b v', 'f32'> {
  const v = scores.sizeOf('v');
  const key = pcg(xor(pcg(seed), counter.cast('u32')));
  const bits = pcg(xor(repeat(key, 'b -> b v', { v }), pcg(t.iota('v', v).cast('u32'))));
  // 23 bits in the middle of their interval: u is never 0 and never 1.
  const uniform = shiftRight(bits, 9)
    .cast('f32')
    .mul(2 ** -23)
    .add(2 ** -24);
  return log(
    log(uniform)
      .neg()
      .max(2 ** -25),
  ).neg();
}

/** PCG-RXS-M-XS as a hash of 32 bits, a bijection (Jarzynski and Olano 2020, Hash Functions for GPU Rendering). */
function pcg<S extends string>(x: Tensor<S, 'u32'>): Tensor<S, 'u32'> {
  const state: Tensor<string, 'u32'> = (x as Tensor<string, 'u32'>).mul(747796405).add(2891336453);
  const word = xor(shiftRight(state, shiftRight(state, 28).add(4)), state).mul(277803737);
  return xor(shiftRight(word, 22), word) as Tensor<S, 'u32'>;
}
