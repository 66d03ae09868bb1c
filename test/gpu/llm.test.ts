// Language models on the GPU: golden files with their greedy steps, and padded batches against the interpreter.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, referenceBackend, type Backend, type Outputs } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { randomParams } from '../../dsl/index.ts';
import { paddedPositions, turnGraph, turnTables } from '../../models/decoders/turn-graph.ts';
import { phi3 } from '../../models/decoders/phi3.ts';

let backend: Backend;
beforeAll(async () => {
  backend = await gpuBackend();
});
afterAll(() => backend.close());

const folder = join(import.meta.dirname, '../golden/models');

test.each([
  ['llama-gqa', 'f32'],
  ['llama3-style', 'f32'],
  ['phi3-sliding', 'f16'],
  ['phi3-longrope', 'f32'],
] as const)(
  '%s in %s',
  async (name, dtype) => {
    const rows = await verifyFile(join(folder, `${name}.safetensors`), backend, dtype);
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
  },
  120_000,
);

describe('a padded batch with a window', () => {
  const model = phi3({
    model_type: 'phi3',
    hidden_size: 24,
    intermediate_size: 40,
    num_hidden_layers: 2,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    vocab_size: 50,
    sliding_window: 6,
  });
  const source = randomParams(5);
  const width = 5;

  /** Prompts of 5 and 3 tokens, then two steps with fixed tokens: logits of every run. */
  async function logits(
    on: Backend,
    attend: readonly (readonly number[])[],
    last: readonly number[],
  ): Promise<readonly ArrayLike<number>[]> {
    const sizes = { batch: 2, capacity: 16, padded: true };
    const graph = turnGraph(source, model, { ...sizes, promptLimit: width, lastNamed: true });
    const opened = await on.open(graph, source);
    const results: Outputs[] = [];
    try {
      const first = attend.flat();
      results.push(
        await opened.step(
          new Map<string, readonly number[] | Float32Array>([
            ['ids', [9, 4, 31, 2, 2, 17, 8, 40, 1, 3]],
            ['attend', first],
            ['last', last],
            ...Object.entries(turnTables(model.config, paddedPositions(first, width))),
          ]),
          new Map([
            ['past', 0],
            ['s', width],
          ]),
        ),
      );
      for (const step of [0, 1]) {
        const rows = attend.map((row) => [...row, ...Array<number>(step + 1).fill(1)]);
        const positions = attend.map((row) => row.reduce((sum, x) => sum + x, step));
        results.push(
          await opened.step(
            new Map<string, readonly number[] | Float32Array>([
              ['ids', [step + 6, 20]],
              ['attend', rows.flat()],
              ['last', [0, 0]],
              ...Object.entries(turnTables(model.config, positions)),
            ]),
            new Map([
              ['past', width + step],
              ['s', 1],
            ]),
          ),
        );
      }
    } finally {
      opened.close();
    }
    return results.map((result) => result.get('logits') ?? []);
  }

  test.each([
    [
      'left',
      [
        [1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],
      ],
      [4, 4],
    ],
    [
      'right',
      [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
      ],
      [4, 2],
    ],
  ] as const)(
    'on the %s',
    async (_side, attend, last) => {
      const [gpu, expected] = [await logits(backend, attend, last), await logits(referenceBackend(), attend, last)];
      expect(gpu.map((row) => row.length)).toEqual([100, 100, 100]);
      gpu.forEach((row, i) =>
        expect(Math.max(...Array.from(row, (x, j) => Math.abs(x - (expected[i]?.[j] ?? NaN))))).toBeLessThan(1e-5),
      );
    },
    120_000,
  );

  test('single tokens into an empty cache', async () => {
    const graph = turnGraph(source, model, { batch: 2, capacity: 8, promptLimit: 1 });
    const runs = await Promise.all(
      [backend, referenceBackend()].map(async (on) => {
        const opened = await on.open(graph, source);
        const rows: number[][] = [];
        for (const past of [0, 1, 2])
          rows.push(
            Array.from(
              (
                await opened.step(
                  new Map<string, readonly number[] | Float32Array>([
                    ['ids', [past, 7]],
                    ...Object.entries(turnTables(model.config, [past, past])),
                  ]),
                  new Map([['past', past]]),
                )
              ).get('logits') ?? [],
            ),
          );
        opened.close();
        return rows.flat();
      }),
    );
    expect(runs[0]).toHaveLength(300);
    expect(Math.max(...(runs[0] ?? []).map((x, i) => Math.abs(x - (runs[1]?.[i] ?? NaN))))).toBeLessThan(1e-5);
  }, 120_000);
});
