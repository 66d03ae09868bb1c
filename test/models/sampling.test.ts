// Draws against a sampler written with sorting: what is kept, which token is drawn, and how often.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { randomParams, trace, type Graph } from '../../dsl/index.ts';
import { noToken, toldToken } from '../../models/decoders/generation-graphs.ts';
import {
  checkSampling,
  drawToken,
  isGreedy,
  samplingSettings,
  settingCount,
  type SamplingOptions,
} from '../../models/decoders/sampling.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

function sampler(b: number, v: number): Graph {
  return trace(randomParams(1), (t) => ({
    token: drawToken(t, t.input('scores', 'b v', { b, v }), {
      settings: t.input('settings', 'n', { n: settingCount }),
      seed: t.input('seed', 'b', { b }, 'u32'),
      counter: t.input('counter', 'b', { b }, 'i32'),
      seen: t.input('seen', 'b v', { b, v }, 'bool'),
    }),
  }));
}

interface Case {
  readonly b: number;
  readonly v: number;
  readonly scores: Float32Array;
  readonly seed: Uint32Array;
  readonly counter: Int32Array;
  readonly seen: Uint8Array;
}

/** Numbers that look random, from a linear congruence. */
function numbers(count: number, start: number): Float32Array {
  let state = start;
  return Float32Array.from(
    { length: count },
    () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 12 - 6,
  );
}

function makeCase(b: number, v: number, start: number): Case {
  return {
    b,
    v,
    scores: numbers(b * v, start),
    seed: Uint32Array.from({ length: b }, (_, i) => start * 7919 + i),
    counter: Int32Array.from({ length: b }, (_, i) => 3 * i + start),
    seen: Uint8Array.from(numbers(b * v, start + 1), (x) => (x > 4 ? 1 : 0)),
  };
}

const hash = (x: bigint): bigint => {
  const mask = 0xffffffffn;
  const state = (x * 747796405n + 2891336453n) & mask;
  const word = (((state >> ((state >> 28n) + 4n)) ^ state) * 277803737n) & mask;
  return (word >> 22n) ^ word;
};

/** One row, by sorting, in doubles. */
function expected(
  { v, scores, seed, counter, seen }: Case,
  row: number,
  { temperature = 0, topK = v, topP = 1, repetitionPenalty = 1 }: SamplingOptions,
): number {
  const all = Array.from({ length: v }, (_, token) => {
    const plain = scores[row * v + token] ?? NaN;
    const score =
      seen[row * v + token] === 1 ? (plain > 0 ? plain / repetitionPenalty : plain * repetitionPenalty) : plain;
    const bits = hash(hash(hash(BigInt(seed[row] ?? 0)) ^ BigInt(counter[row] ?? 0)) ^ hash(BigInt(token)));
    const uniform = Number(bits >> 9n) * 2 ** -23 + 2 ** -24;
    return {
      token,
      score: temperature > 0 ? score / temperature : score,
      noise: temperature > 0 ? -Math.log(-Math.log(uniform)) : 0,
    };
  });
  const sorted = [...all].sort((a, b) => b.score - a.score);
  const among = sorted.slice(0, topK);
  const weight = (entry: { readonly score: number }): number => Math.exp(entry.score - (sorted[0]?.score ?? 0));
  const total = among.reduce((sum, entry) => sum + weight(entry), 0);
  let mass = 0;
  const kept = among.filter((entry, rank) => {
    const before = mass;
    mass += weight(entry);
    return rank === 0 || before < topP * total;
  });
  return kept.reduce((best, entry) => (entry.score + entry.noise > best.score + best.noise ? entry : best)).token;
}

const settings: readonly SamplingOptions[] = [
  {},
  { temperature: 1 },
  { temperature: 0.7, topK: 5 },
  { temperature: 1.3, topP: 0.9 },
  { temperature: 2, topK: 40, topP: 0.5 },
  { temperature: 1, topK: 1 },
  { temperature: 0.1, topP: 1e-6 },
  { repetitionPenalty: 1.8 },
  { temperature: 1, repetitionPenalty: 1.2, topK: 10_000 },
  { temperature: 0.8, topP: 0 },
  // In f32 a subnormal, which a device may read as 0.
  { temperature: 1e-38 },
  { temperature: 1e-38, repetitionPenalty: 1.3, topK: 3 },
];

function inputs(
  made: Case,
  options: SamplingOptions,
): { readonly [name: string]: Float32Array | Uint32Array | Int32Array | Uint8Array } {
  const { scores, seed, counter, seen } = made;
  return { scores, seed, counter, seen, settings: samplingSettings(options) };
}

test('the interpreter draws as the sorting sampler does', () => {
  const made = makeCase(24, 211, 5);
  const graph = sampler(made.b, made.v);
  for (const options of settings) {
    const { outputs } = evaluate(
      graph,
      { inputs: new Map(Object.entries(inputs(made, options))), params: () => [] },
      { precision: 'f64' },
    );
    expect([...(outputs.get('token')?.data ?? [])]).toEqual(
      Array.from({ length: made.b }, (_, row) => expected(made, row, options)),
    );
  }
});

test('draws follow the softmax', () => {
  const [b, v] = [6000, 7];
  const row = Float32Array.of(1, 0, -1, 2, 0.5, -3, 1.5);
  const scores = Float32Array.from({ length: b * v }, (_, i) => row[i % v] ?? 0);
  const made: Case = {
    b,
    v,
    scores,
    seed: new Uint32Array(b).fill(42),
    counter: Int32Array.from({ length: b }, (_, i) => i),
    seen: new Uint8Array(b * v),
  };
  const { outputs } = evaluate(
    sampler(b, v),
    { inputs: new Map(Object.entries(inputs(made, { temperature: 1 }))), params: () => [] },
    { precision: 'f32' },
  );
  const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
  const counts = Array.from(
    { length: v },
    (_, token) => (outputs.get('token')?.data ?? new Float64Array(0)).filter((drawn) => drawn === token).length,
  );
  const distance = counts.reduce((sum, count, token) => {
    const wanted = (b * Math.exp(row[token] ?? 0)) / total;
    return sum + (count - wanted) ** 2 / wanted;
  }, 0);
  // Chi-square with 6 degrees of freedom: over 22.5 one time in a thousand.
  expect(distance).toBeLessThan(22.5);
});

test('what nothing can be drawn by is refused by its name', () => {
  settings.forEach((options) => expect(() => checkSampling(options)).not.toThrow());
  const wrong: readonly (readonly [SamplingOptions, RegExp])[] = [
    [{ temperature: NaN }, /temperature is NaN/],
    [{ temperature: -1 }, /temperature is -1/],
    [{ temperature: Infinity }, /temperature is Infinity/],
    [{ topK: 0 }, /topK is 0/],
    [{ topK: -1 }, /topK is -1/],
    [{ topK: 1.5 }, /topK is 1.5/],
    [{ topP: NaN }, /topP is NaN/],
    [{ topP: 90 }, /topP is 90/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty is 0/],
    [{ repetitionPenalty: -2 }, /repetitionPenalty is -2/],
  ];
  for (const [options, message] of wrong) expect(() => checkSampling(options)).toThrow(message);
});

/** Rows of scores: numbers; not a number, infinite and low beyond all at a place in the middle; infinite downwards everywhere. */
const [told, places] = [5, 211];
function damaged(): Float32Array {
  const scores = numbers(told * places, 3);
  [0, NaN, Infinity, -Infinity].forEach((value, row) => (scores[row * places + 100] = value));
  return scores.fill(-Infinity, 4 * places);
}

const toldGraph = (draw: 'greedy' | 'random'): Graph =>
  trace(randomParams(1), (t) => {
    const scores = t.input('scores', 'b v', { b: told, v: places });
    const settings = t.constant([...samplingSettings({ temperature: 1, topK: 9 })], 'n', { n: settingCount });
    const seed = t.constant([1, 2, 3, 4, 5], 'b', { b: told }, 'u32');
    const seen = scores.eq(0);
    const drawn = draw === 'greedy' ? undefined : { settings, seed, counter: t.iota('b', told), seen };
    return { token: toldToken(scores, drawToken(t, scores, drawn)) };
  });

/** Which rows have a token. */
const rowsTold = (tokens: ArrayLike<number> | undefined): readonly boolean[] =>
  Array.from(tokens ?? [], (token) => token !== noToken);

test.each(['greedy', 'random'] as const)(
  'one score that is not a number, or infinite, and no token is told: %s',
  (draw) => {
    const inputs = new Map([['scores', damaged()]]);
    const { outputs } = evaluate(toldGraph(draw), { inputs, params: () => [] }, { precision: 'f32' });
    expect(rowsTold(outputs.get('token')?.data)).toEqual([true, false, false, true, false]);
  },
);

test('what needs no random draw', () => {
  expect([{}, { topK: 3 }, { temperature: 0, topP: 0.5 }].every(isGreedy)).toBe(true);
  expect([{ temperature: 1 }, { repetitionPenalty: 1.1 }].some(isGreedy)).toBe(false);
});

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('on the device', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    expect(device.memory.now).toBe(0);
    device.close();
  });

  test.each(['greedy', 'random'] as const)('one score that is not a number, or infinite: %s', async (draw) => {
    const plan = compile(toldGraph(draw), deviceProfile(device), { verify: true });
    const program = await load(plan, device, { read: () => new Float32Array(0) });
    try {
      const { token } = await program.run({ scores: damaged() });
      expect(rowsTold(token?.data)).toEqual([true, false, false, true, false]);
    } finally {
      program.dispose();
    }
  });

  test.each([
    [5, 211],
    [2, 5000],
  ])(
    '%d rows of %d tokens',
    async (b, v) => {
      const made = makeCase(b, v, 9);
      const program = await load(compile(sampler(b, v), deviceProfile(device), { verify: true }), device, {
        read: () => new Float32Array(0),
      });
      try {
        for (const options of settings) {
          const { token } = await program.run(inputs(made, options));
          expect([...(token?.data ?? [])]).toEqual(Array.from({ length: b }, (_, row) => expected(made, row, options)));
        }
      } finally {
        program.dispose();
      }
    },
    120_000,
  );
});
