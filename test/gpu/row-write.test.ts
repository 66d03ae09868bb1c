// One element a row, written into a state where each row says: where the state lies, without a copy of it, and as the graph means it.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { rearrange, reduce, repeat, slice, trace, where, type Float, type Graph } from '../../dsl/index.ts';
import { fixedParams } from '../../dsl/index.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { share } from '../support/share.ts';

interface Shape {
  readonly b: number;
  readonly g: number;
  readonly t: number;
  readonly d: number;
  readonly dtype: Float;
  /** Positions of each row, of which some are outside. */
  readonly positions: readonly number[];
  /** Where positions come from. */
  readonly from: 'state' | 'input';
  /** The old values are read too, so that nothing may be written before that. */
  readonly old: boolean;
  /** Elements that are read behind the write. */
  readonly keys: number;
}

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    b: fc.integer({ min: 1, max: 5 }),
    g: fc.integer({ min: 1, max: 3 }),
    t: fc.integer({ min: 1, max: 19 }),
    d: fc.constantFrom(1, 3, 4, 8, 12),
    dtype: fc.constantFrom<Float>('f32', 'f16'),
    from: fc.constantFrom<'state' | 'input'>('state', 'input'),
    old: fc.boolean(),
    places: fc.array(fc.integer({ min: -1, max: 20 }), { minLength: 5, maxLength: 5 }),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ places, part, ...rest }) => ({
    ...rest,
    positions: places.slice(0, rest.b).map((at) => (at === 20 ? rest.t : Math.min(at, rest.t - 1))),
    keys: Math.max(1, Math.round(part * rest.t)),
  }));

function graphOf({ b, g, t: length, d, dtype, from, old, keys }: Shape): Graph {
  return trace(fixedParams({}), (t) => {
    const position = from === 'state' ? t.state('position', 'b', { b }, 'i32') : t.input('position', 'b', { b }, 'i32');
    const state = t.state<'b g t d', Float>('cache', 'b g t d', { b, g, t: length, d }, dtype);
    const x = t.input<'b w', Float>('x', 'b w', { b, w: g * d }, dtype);
    const fresh = rearrange(x.mul(2), 'b (g d) -> b g d', { g, d });
    const hit = repeat(t.iota('t', length), 't -> b t', { b }).eq(position);
    const all = where(hit, repeat(fresh, 'b g d -> b g t d', { t: length }), state);
    t.update(state, all);
    if (from === 'state') t.update(position, position.add(1));
    return {
      sum: reduce(slice(all, 't', { size: keys }).cast('f32'), 'b g t d -> b g', 'sum'),
      ...(old ? { before: reduce(state.cast('f32'), 'b g t d -> b', 'sum') } : {}),
    };
  });
}

function feedsOf({ b, g, t, d, positions, from }: Shape, values: (count: number) => Float64Array) {
  const position = Float64Array.from(positions);
  return {
    params: () => new Float64Array(),
    inputs: new Map([['x', values(b * g * d)], ...(from === 'input' ? [['position', position] as const] : [])]),
    states: new Map([['cache', values(b * g * t * d)], ...(from === 'state' ? [['position', position] as const] : [])]),
  };
}

describe.skipIf(withoutGpu)('an element a row', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('is written where each row says, or nowhere; run after run, on both profiles', async () => {
    let next = seed;
    const values = (count: number): Float64Array =>
      Float64Array.from({ length: count }, () => {
        next = (next * 1664525 + 1013904223) % 2 ** 32;
        return Math.round((next / 2 ** 32) * 64 - 32) / 8;
      });
    await fc.assert(
      fc.asyncProperty(shapes, fc.constantFrom<0 | 1>(0, 1), async (shape, profile) => {
        const verdict = await judge(gpu, graphOf(shape), feedsOf(shape, values), {
          profile: gpu.profiles[profile],
          runs: 3,
        });
        expect(verdict.compared).toBeGreaterThan(0);
      }),
      { numRuns: share(16, 120), seed },
    );
  }, 300_000);

  test.each(['f32', 'f16', 'bool'] as const)(
    'of %s is written where each says, where positions differ along the last axis',
    async (dtype) => {
      const [rows, columns] = [5, 8];
      const graph = trace(fixedParams({}), (t) => {
        const position = t.state('position', 'j', { j: columns }, 'i32');
        const state = t.state('cache', 'i j', { i: rows, j: columns }, dtype);
        const x = t.input('x', 'j', { j: columns });
        const fresh = dtype === 'bool' ? x.gt(0) : x.mul(2).cast(dtype);
        const hit = repeat(t.iota('i', rows), 'i -> i j', { j: columns }).eq(position);
        const all = where(hit, repeat(fresh, 'j -> i j', { i: rows }), state);
        t.update(state, all);
        t.update(position, position.add(1));
        return { y: reduce(all.cast('f32'), 'i j -> j', 'sum') };
      });
      const feeds = {
        params: () => new Float64Array(),
        inputs: new Map([['x', Float64Array.from({ length: columns }, (_, i) => i - 3)]]),
        states: new Map([
          ['position', Float64Array.of(-1, 0, 4, 5, 2, 2, 3, 1)],
          ['cache', new Float64Array(rows * columns).fill(1)],
        ]),
      };
      for (const profile of gpu.profiles) await judge(gpu, graph, feeds, { profile, runs: 3 });
    },
  );

  test('takes a kernel as large as what is written, and none as large as the state', () => {
    const shape: Shape = { b: 3, g: 2, t: 19, d: 8, dtype: 'f32', positions: [], from: 'state', old: false, keys: 19 };
    for (const profile of gpu.profiles) {
      const writers = (old: boolean): readonly number[] => {
        const plan = compile(graphOf({ ...shape, old }), profile, { verify: true });
        const cache = plan.states.find(({ name }) => name === 'cache')?.buffer;
        return plan.dispatches
          .filter(({ kernel, bindings }) =>
            bindings.some((binding, i) => binding.buffer === cache && plan.kernels[kernel]?.access[i] === 'read_write'),
          )
          .map(({ grid }) => grid.reduce<number>((product, n) => product * (typeof n === 'number' ? n : NaN), 1));
      };
      // One group of 64 threads for the 48 elements (12 vectors) that are written; the state has 912.
      expect(writers(false)).toEqual([1]);
      expect(writers(true)).toHaveLength(1);
    }
  });
});
