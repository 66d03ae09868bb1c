// Every op record by itself on the GPU: each dtype it takes, random shapes and broadcasts, special values.
import { order } from '../../dsl/graph/walk.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Refusal, type DType } from '../../dsl/graph/op.ts';
import { ops } from '../../dsl/ops/index.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { randomParams, trace } from '../../dsl/index.ts';
import { load } from '../../pipelines/run/load.ts';
import { share } from '../support/share.ts';
import { caseArbitrary, dtypeTurns } from './op-cases.ts';

describe.skipIf(withoutGpu)(`ops on the GPU, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());
  const exercised = new Map<string, Set<string>>();

  test.each(ops.map((op) => [op.name, op] as const))(
    '%s',
    async (_name, op) => {
      for (let turn = 0; turn < dtypeTurns; turn++) {
        const cases = fc.asyncProperty(
          caseArbitrary(op, 'ordinary', turn),
          fc.constantFrom(0, 1),
          async ({ graph, feeds, dtype }, profile) => {
            await judge(gpu, graph, feeds, { profile: gpu.profiles[profile] ?? gpu.profiles[0] });
            for (const node of order(graph))
              exercised.set(
                node.op.name,
                (exercised.get(node.op.name) ?? new Set()).add(node.op === op ? dtype : node.type.dtype),
              );
          },
        );
        // oxlint-disable-next-line no-await-in-loop
        await fc.assert(cases, { numRuns: share(op.kind === 'map' ? 3 : 4, 8), seed: seed + turn });
      }
    },
    120_000,
  );

  test.each(ops.map((op) => [op.name, op] as const))(
    '%s of special values',
    async (_name, op) => {
      await fc.assert(
        fc.asyncProperty(caseArbitrary(op, 'special'), async ({ graph, feeds }) => {
          await judge(gpu, graph, feeds, { profile: gpu.profiles[0] });
        }),
        { numRuns: share(8, 24), seed: seed + 1 },
      );
    },
    120_000,
  );

  test('mod by what is infinite, huge, zero or no number is fmod of C, zeros with their signs', async () => {
    const most = 3.4028234663852886e38;
    const [xs, ys] = [
      [5.5, -5.5, 0, -0, 3, -3, 2 ** 20, most, -most, Infinity, -Infinity, NaN],
      [Infinity, -Infinity, most, -most, 2 ** 127, 3, -3, 2, 0, -0, NaN],
    ];
    // A quotient above 2^24 has lost its last digits.
    const pairs = xs
      .flatMap((x) => ys.map((y) => [x, y] as const))
      .filter(([x, y]) => Math.abs(x) !== most || !(Math.abs(y) < 2 ** 100));
    // Vectors of four, and one by one.
    for (const count of [pairs.length - (pairs.length % 4), pairs.length - (pairs.length % 4) - 1]) {
      const graph = trace(randomParams(1), (t) => ({
        r: t.input('x', 'n', { n: count }).mod(t.input('y', 'n', { n: count })),
      }));
      const some = pairs.slice(0, count);
      // oxlint-disable-next-line no-await-in-loop
      const program = await load(graph, gpu.device, randomParams(1));
      // oxlint-disable-next-line no-await-in-loop
      const { r } = await program.run({ x: some.map(([x]) => x), y: some.map(([, y]) => y) });
      program.dispose();
      const said = (rest: ArrayLike<number> = []) => some.map(([x, y], i) => [x, y, rest[i]]);
      expect(said(r?.data as Float32Array)).toEqual(said(some.map(([x, y]) => x % y)));
    }
  });

  test('all of them were exercised, in every dtype that they take', () => {
    expect([...exercised.keys()].sort()).toEqual(ops.map((op) => op.name).sort());
    const dtypes: readonly DType[] = ['f32', 'f16', 'i32', 'u32', 'bool'];
    for (const op of ops) {
      if (op.kind !== 'map' || op.name === 'cast' || op.name === 'where') continue;
      const taken = dtypes.filter(
        (dtype) =>
          !(
            op.dtype(
              Array.from({ length: op.arity }, () => dtype),
              {},
            ) instanceof Refusal
          ),
      );
      expect([...(exercised.get(op.name) ?? [])], op.name).toEqual(expect.arrayContaining(taken));
    }
    for (const name of ['where', 'cast', 'pad', 'concat', 'gather', 'rearrange'])
      expect(exercised.get(name)?.size, name).toBe(dtypes.length);
  });
});
