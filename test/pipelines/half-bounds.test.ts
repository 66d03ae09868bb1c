// How far f16 may be from exact: neighbors, storage points, and that a fault of their size is found.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { randomParams, trace, type Trace } from '../../dsl/index.ts';
import { referenceBackend, type Backend, type Step } from '../../pipelines/verify/backends.ts';
import { halfBounds, halfNeighbors } from '../../pipelines/verify/half-bounds.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-half-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const bitsOf = (x: number): number => new Uint16Array(Float16Array.of(x).buffer)[0] ?? 0;

describe('the f16 neighbors of a number', () => {
  test('are f16, on either side of it, and next to one another', () => {
    fc.assert(
      fc.property(fc.double({ min: -70000, max: 70000, noNaN: true }), fc.integer({ min: -40, max: 0 }), (x, shift) => {
        const value = x * 2 ** shift;
        const [inner, outer] = halfNeighbors(value);
        expect(Math.f16round(inner)).toBe(inner);
        expect(Math.f16round(outer)).toBe(outer);
        expect(Math.abs(inner)).toBeLessThanOrEqual(Math.abs(value));
        expect(Math.abs(outer)).toBeGreaterThanOrEqual(Math.abs(value));
        expect([inner, outer]).toContainEqual(Math.f16round(value));
        // Sizes of one sign are ordered as their bits are.
        expect(bitsOf(Math.abs(outer)) - bitsOf(Math.abs(inner))).toBe(Math.f16round(value) === value ? 0 : 1);
      }),
    );
  });

  test('just below a power of two, where an f32 has been rounded to it', () => {
    const below = 2 - 2 ** -40;
    expect(halfNeighbors(below)).toEqual([2 - 2 ** -10, 2]);
    expect(halfNeighbors(-below)).toEqual([-(2 - 2 ** -10), -2]);
    expect(halfNeighbors(2 ** -30)).toEqual([0, 2 ** -24]);
  });
});

describe('bounds of a graph', () => {
  const x = Float64Array.from({ length: 300 }, (_, i) => 1.7 * Math.sin(i + 1) + 0.1);
  const of = (make: (t: Trace) => ReturnType<Parameters<typeof trace>[1]>) =>
    halfBounds(trace(randomParams(1), make), {
      inputs: new Map([['x', x]]),
      params: () => [],
    });

  test('grow with the storage points; what has none has none', () => {
    const bounds = of((t) => {
      const half = t.input('x', 'n', { n: 300 }, 'f16');
      return { stored: half, product: half.mul(half), single: t.iota('n', 300).cast('f32').mul(0.1) };
    });
    const stored = bounds.get('stored') ?? NaN;
    // One rounding of a number between two powers of two is off by half a unit on average either way, by one at most: 2⁻¹¹ … 2⁻¹⁰ of it.
    expect(stored).toBeGreaterThan(2 ** -12);
    expect(stored).toBeLessThan(2 * 2 ** -10);
    // Twice the operand's error, and one of its own.
    expect(bounds.get('product')).toBeGreaterThan(1.5 * stored);
    expect(bounds.get('product')).toBeLessThan(2 * 3 * 2 ** -10);
    expect(bounds.get('single')).toBe(0);
  });

  test('what cancels has a bound that says so', () => {
    const bounds = of((t) => {
      const half = t.input('x', 'n', { n: 300 }, 'f16');
      return { small: half.add(1000).sub(1000) };
    });
    // 1000 is stored to half, and a whole one is about 1: nothing of x is left beyond its first bit.
    expect(bounds.get('small')).toBeGreaterThan(0.1);
  });
});

test('weights that are off by as little as 5e-3 would have let pass are found', async () => {
  const name = 'nanovlm-projector.safetensors';
  const source = openCheckpoint(join(import.meta.dirname, '../golden/connectors', name));
  const tensors = [...source.stored.values()].map(({ name: tensor, dtype, shape }) => {
    const values = Array.from(source.tensor(tensor), Number);
    const isWeight = tensor.endsWith('weight');
    return { name: tensor, dtype, shape, values: values.map((v) => (isWeight ? 1.003 * v : v)) };
  });
  const path = join(scratch, name);
  writeSafetensors(path, tensors, Object.fromEntries(source.metadata));
  source.close();
  const [row] = await verifyFile(path, referenceBackend(), 'f16');
  expect(row?.relative).toBeLessThan(5e-3);
  expect(row?.verdict).toBe('WRONG');
});

describe('a whole model with a cache', () => {
  const path = join(import.meta.dirname, '../golden/models/qwen2.5-vl.safetensors');
  const interpreter = referenceBackend();
  const wrong = async (backend: Backend): Promise<readonly string[]> =>
    (await verifyFile(path, backend, 'f16')).filter((row) => row.verdict !== 'ok').map((row) => row.tensor);
  /** The interpreter with another decode step. */
  const stepping = (change: (step: Step) => Step): Backend => ({
    ...interpreter,
    openTogether: async (...all) => {
      const together = await interpreter.openTogether?.(...all);
      const [first, next] = together?.steps ?? [];
      if (together === undefined || first === undefined || next === undefined) throw new Error('two graphs');
      return { ...together, steps: [first, change(next)] };
    },
  });

  test('rounded to the nearest everywhere, it is right', async () => {
    expect(await wrong(interpreter)).toEqual([]);
  });

  test('a step that writes its key one place early is found, and nothing of the prompt is blamed', async () => {
    const early = stepping(
      (step) => (inputs, symbols) =>
        step(inputs, new Map([...symbols].map(([name, value]) => [name, name === 'past' ? value - 1 : value]))),
    );
    expect(await wrong(early)).toEqual(['decode_logits', 'greedy_tokens']);
  });

  test('a step whose angles are those of the token before is found', async () => {
    let before: readonly (readonly [string, Numbers])[] = [];
    const late = stepping((step) => (inputs, symbols) => {
      const given = new Map([...inputs, ...before]);
      before = [...inputs].filter(([name]) => name !== 'ids');
      return step(given, symbols);
    });
    expect(await wrong(late)).toContain('decode_logits');
  });
});
