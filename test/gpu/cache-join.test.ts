// Caches that grow in place, where a new part is computed from what was there before: it cannot be written first.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { concat, fixedParams, reduce, slice, trace, type Size, type Tensor, type Trace } from '../../dsl/index.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

type Rows = Tensor<'i j', 'f32'>;

const [capacity, width, fresh] = [8, 4, 2];

interface Cache {
  readonly state: Rows;
  readonly old: Rows;
}

function cache(t: Trace, name: string, past: Size): Cache {
  const state = t.state(name, 'i j', { i: capacity, j: width });
  return { state, old: slice(state, 'i', { size: past }) };
}

/** Everything that the cache then holds, added up. */
function grown(t: Trace, { state, old }: Cache, part: Rows, past: Size): Tensor<'j', 'f32'> {
  t.update(state, part, { i: past });
  return reduce(concat([old, part], 'i'), 'i j -> j', 'sum');
}

const total = (x: Rows): Tensor<'j', 'f32'> => reduce(x, 'i j -> j', 'sum');

type Build = (t: Trace, x: Rows, past: Size) => Readonly<Record<string, Tensor>>;

const cases: readonly (readonly [string, Build])[] = [
  [
    'of its own old part',
    (t, x, past) => {
      const a = cache(t, 'a', past);
      return { y: grown(t, a, x.mul(total(a.old)), past) };
    },
  ],
  [
    'of two, each of the other',
    (t, x, past) => {
      const [a, b] = [cache(t, 'a', past), cache(t, 'b', past)];
      return { y: grown(t, a, x.mul(total(b.old)), past), z: grown(t, b, x.add(total(a.old)), past) };
    },
  ],
];

function graphOf(build: Build) {
  return trace(fixedParams({}), (t) => {
    const past = t.symbol('past', { atLeast: 0, upTo: capacity - fresh });
    return build(t, t.input('x', 'i j', { i: fresh, j: width }), past);
  });
}

describe.skipIf(withoutGpu)('a new part of a cache', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each(cases)('%s', async (_, build) => {
    const graph = graphOf(build);
    for (const past of [0, 3, capacity - fresh])
      for (const profile of gpu.profiles)
        await judge(
          gpu,
          graph,
          {
            params: () => new Float64Array(),
            inputs: new Map([['x', Float64Array.from({ length: fresh * width }, (_x, i) => i - 3)]]),
            states: new Map(
              ['a', 'b'].map((name) => [name, Float64Array.from({ length: capacity * width }, (_x, i) => (i % 7) - 2)]),
            ),
            symbols: new Map([['past', past]]),
          },
          { profile },
        );
  });

  test('of what another cache has grown to is still written where it belongs', () => {
    const graph = graphOf((t, x, past) => {
      const [a, b] = [cache(t, 'a', past), cache(t, 'b', past)];
      const y = grown(t, a, x.mul(2), past);
      return { y, z: grown(t, b, x.add(y), past) };
    });
    // A kernel for each part and one for each sum: nothing is copied.
    for (const profile of gpu.profiles) expect(compile(graph, profile, { verify: true }).dispatches).toHaveLength(4);
  });
});
