// Whatever tile a kernel has, its results have the same bits; what `tune` finds is what kernels are made with when it is there.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { attention, einsum, randomParams, trace, type Graph } from '../../dsl/index.ts';
import { tune } from '../../pipelines/tune/tune.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import { keepTiles } from '../../runtime/device/tuning.ts';
import { load } from '../../runtime/program/program.ts';
import { openGpu, withoutGpu, type Gpu } from './compare.ts';
import { tunables } from './tunables.ts';

const params = randomParams(3);

/** Neither rows nor columns nor the sum end with a tile; a map is in the epilogue. */
function product(m: number, n: number, k: number): Graph {
  return trace(params, (t) => {
    const x = t.input('x', 'b i', { b: m, i: k });
    return { y: einsum(x, t.params.get('w', 'o i', { o: n, i: k }), 'b i, o i -> b o').mul(1.5) };
  });
}

/** Each row sees the keys up to its own and three more. */
function causal(): Graph {
  return trace(params, (t) => {
    const q = t.input('x', 'h n d', { h: 2, n: 21, d: 16 });
    const k = t.params.get('k', 'h t d', { h: 2, t: 24, d: 16 });
    const v = t.params.get('v', 'h t d', { h: 2, t: 24, d: 16 });
    return { y: attention(q, k, v, { key: 't', along: 'd', causal: 'n' }) };
  });
}

describe.skipIf(withoutGpu)('tiles on a device', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  /** The result as bits, and which kernel gave it. */
  async function bits(graph: Graph, profile: DeviceProfile, elements: number): Promise<Uint32Array> {
    const program = await load(compile(graph, profile), gpu.device, params);
    try {
      const x = Float32Array.from({ length: elements }, (_, i) => Math.sin(i * 1.7) + 0.1);
      const { y } = await program.run({ x });
      if (!(y?.data instanceof Float32Array)) throw new TypeError('a result of f32');
      return new Uint32Array(y.data.buffer, y.data.byteOffset, y.data.length);
    } finally {
      program.dispose();
    }
  }

  // Of the templates of attention those of software drivers alone have tiles.
  test.each<[string, () => Graph, 'software' | 'desktop', number]>([
    ['a product on a software device', () => product(19, 68, 37), 'software', 19 * 37],
    ['a product on a desktop GPU', () => product(37, 132, 21), 'desktop', 37 * 21],
    ['attention on a software device', causal, 'software', 2 * 21 * 16],
  ])(
    '%s: the same bits with six tiles',
    async (_what, make, which, elements) => {
      const profile = gpu[which];
      const graph = make();
      const [tunable] = tunables(graph, profile);
      if (tunable === undefined) throw new Error('nothing to choose');
      const { others, key } = tunable;
      expect(others.length).toBeGreaterThan(0);
      const usual = await bits(graph, profile, elements);
      expect(usual.some((word) => word !== 0)).toBe(true);
      // From the best to the worst of the cost model.
      const tried = others.filter((_tile, i) => i % Math.ceil(others.length / 5) === 0);
      for (const tile of tried)
        expect(await bits(graph, { ...profile, tiles: { [key]: tile } }, elements), tile).toEqual(usual);
    },
    600_000,
  );

  test(
    'tune measures the heaviest kernel, and a device opened with its file makes kernels by it',
    { timeout: 600_000 },
    async () => {
      const scratch = mkdtempSync(join(tmpdir(), 'opabinia-tune-'));
      const plain = await openDevice({ tuning: 'off' });
      try {
        const graphs = [product(24, 64, 64), product(4, 32, 32)].map((graph, i) => ({
          name: `graph ${i}`,
          graph: () => graph,
        }));
        const [found, ...more] = await tune(graphs, plain, { kernels: 1, tries: 2, runs: 3 });
        expect(more).toEqual([]);
        expect(found?.key).toContain(' 24×64×64 ');
        expect(found?.times).toBe(1);
        expect(found?.measured.length).toBe(3);
        for (const { milliseconds } of found?.measured ?? []) expect(milliseconds).toBeGreaterThan(0);
        expect(found?.measured).toContainEqual(found?.chosen);
        expect(found?.chosen.milliseconds).toBeLessThanOrEqual(found?.usual.milliseconds ?? NaN);

        const path = join(scratch, 'tiles.json');
        const key = found?.key ?? '';
        const other = tunables(product(24, 64, 64), deviceProfile(plain))[0]?.others[0] ?? '';
        keepTiles(plain.facts, { [key]: other }, path);
        expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ tiles: { [key]: other } });
        const tuned = await openDevice({ tuning: path });
        const texts = [plain, tuned].map((device) =>
          compile(product(24, 64, 64), deviceProfile(device)).kernels.map(({ wgsl }) => wgsl),
        );
        expect(texts[0]).not.toEqual(texts[1]);
        tuned.close();
        keepTiles({ ...plain.facts, driver: 'another' }, { [key]: other }, path);
        await expect(openDevice({ tuning: path })).rejects.toThrow(/of another driver: 'another'/);
      } finally {
        plain.close();
        rmSync(scratch, { recursive: true });
      }
    },
  );
});
