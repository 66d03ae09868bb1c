// Tiles: every legal one makes kernels within the limits, a choice is taken by its name, and a name that is none changes nothing.
import { expect, test } from 'vitest';
import { compile, type Stage } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import { tunableOf } from '../../compiler/schedule/index.ts';
import type { Tunable } from '../../compiler/schedule/tiles.ts';
import { attention, einsum, randomParams, trace, type Graph } from '../../dsl/index.ts';

const matrixGpu: DeviceProfile = {
  ...desktopGpu,
  subgroupSize: 32,
  matrices: [{ m: 16, n: 16, k: 16, from: 'f16', to: 'f32' }],
};

function product(m: number, n: number, k: number, dtype: 'f32' | 'f16' = 'f32'): Graph {
  return trace(randomParams(1, { dtype }), (t) => {
    const x = t.input<'b i', 'f32' | 'f16'>('x', 'b i', { b: m, i: k }, dtype);
    return { y: einsum(x, t.params.get('w', 'o i', { o: n, i: k }), 'b i, o i -> b o') };
  });
}

function attending(): Graph {
  return trace(randomParams(1), (t) => {
    const q = t.input('q', 'h n d', { h: 2, n: 9, d: 32 });
    const k = t.input('k', 'h t d', { h: 2, t: 40, d: 32 });
    const v = t.input('v', 'h t d', { h: 2, t: 40, d: 32 });
    return { y: attention(q, k, v, { key: 't', along: 'd' }) };
  });
}

interface Made {
  readonly plan: Plan;
  readonly tunables: readonly Tunable[];
  readonly kernels: readonly string[];
}

function made(graph: Graph, profile: DeviceProfile): Made {
  const tunables: Tunable[] = [];
  const kernels: string[] = [];
  const report = (stage: Stage): void => {
    if (stage.name !== 'schedule' || stage.which !== 'main') return;
    for (const { group, template, kernel } of stage.assembly.steps) {
      kernels.push(kernel.template);
      const found = tunableOf(group, template, profile);
      if (found !== undefined) tunables.push(found);
    }
  };
  return { plan: compile(graph, profile, { verify: true, report }), tunables, kernels };
}

test.each<[string, Graph, DeviceProfile, string]>([
  ['by shuffles', product(33, 68, 17), lavapipe, 'contraction by shuffles 33×68×17 f32 mk f32'],
  ['by shuffles, one row', product(1, 64, 64), lavapipe, 'contraction by shuffles 1×64×64 f32 mk f32'],
  ['in workgroup memory', product(130, 132, 40), desktopGpu, 'contraction in workgroup memory 130×132×40 f32 mk f32'],
  ['in workgroup memory, odd', product(21, 37, 9), desktopGpu, 'contraction in workgroup memory 21×37×9 f32 mk f32'],
  ['by matrix units', product(200, 96, 64, 'f16'), matrixGpu, 'contraction by matrix units 200×96×64 f16 mk f16'],
  ['attention by shuffles', attending(), lavapipe, 'attention by shuffles 9×40 of 2 f32 32→32'],
])('%s: every legal tile makes a kernel of its own within the limits', (_what, graph, profile, key) => {
  const { tunables, kernels, plan } = made(graph, profile);
  const [tunable, ...more] = tunables;
  expect(more).toEqual([]);
  expect(tunable?.key).toContain(key);
  const tiles = [...(tunable?.others ?? []), tunable?.usual ?? ''];
  expect(new Set(tiles).size).toBe(tiles.length);
  const texts = tiles.map((tile) => {
    const other = made(graph, { ...profile, tiles: { [tunable?.key ?? '']: tile } });
    // The same template: no tile sends a kernel over a limit.
    expect(other.tunables).toEqual(tunables);
    return other.plan.kernels.map(({ wgsl }) => wgsl).join();
  });
  expect(new Set(texts).size).toBe(tiles.length);
  expect(texts.at(-1)).toBe(plan.kernels.map(({ wgsl }) => wgsl).join());
  for (const tile of ['', '7×7', '__proto__', 'constructor'])
    expect(made(graph, { ...profile, tiles: { [tunable?.key ?? '']: tile } }).kernels).toEqual(kernels);
});

test('tiles that the device has no room for are not among them', () => {
  const small: DeviceProfile = { ...desktopGpu, maxWorkgroupBytes: 8192, maxWorkgroupThreads: 128 };
  const names = (profile: DeviceProfile): readonly string[] =>
    made(product(64, 132, 40), profile).tunables.flatMap(({ others }) => others);
  // 16 × 16 threads are too many; 32 deep, 16 · 8 rows and 8 · 2 · 4 columns take 24 KiB.
  expect(names(desktopGpu)).toContain('16×16 of 4×2, 16 deep');
  expect(names(small)).not.toContain('16×16 of 4×2, 16 deep');
  expect(names(desktopGpu)).toContain('16×8 of 8×2, 32 deep');
  expect(names(small)).not.toContain('16×8 of 8×2, 32 deep');
  expect(names(small).length).toBeGreaterThan(0);
});

test('the cost model puts a tile of many rows last where there are few, and first where there are many', () => {
  const order = (m: number, n: number): readonly string[] =>
    made(product(m, n, 512), desktopGpu).tunables.flatMap(({ others }) => others);
  // 128 rows for 5 are mostly padding.
  expect(order(5, 512).at(-1)).toMatch(/^16×16 of 8×2/);
  expect(order(2048, 2048)[0]).toMatch(/^16×16 of 8×2/);
  expect(order(2048, 2048).at(-1)).toMatch(/^4×16 of 4×1/);
});
