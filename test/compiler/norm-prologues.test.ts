// Kernels of one block on the profile of a desktop GPU: norms are made by the products behind them, gate and up together.
import { describe, expect, test } from 'vitest';
import { svaCases } from '../../bench/cases/sva.ts';
import { compile } from '../../compiler/compile.ts';
import { deviceNamed } from '../../compiler/devices.ts';
import { explain } from '../../compiler/explain.ts';
import { passes } from '../../compiler/passes/index.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { gelu, layerNorm, linear, randomParams, rmsNorm, silu, trace, type Graph } from '../../dsl/index.ts';
import { clipFeatures, clipShapes } from '../../models/towers/clip.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { normGraph } from '../gpu/norm-cases.ts';

const withMatrices: DeviceProfile = {
  ...desktopGpu,
  subgroupSize: 32,
  matrices: [{ m: 16, n: 16, k: 16, from: 'f16', to: 'f32' }],
};

const labelsOf = (graph: Graph, profile: DeviceProfile = desktopGpu): readonly string[] =>
  compile(graph, profile, { verify: true }).dispatches.map(({ label }) => label);

/** A tower of a CLIP of so many layers, its other widths those of ViT-L/14 at 336 pixels. */
function clip(layers: number): Graph {
  const config = {
    width: 1024,
    layers,
    heads: 16,
    hidden: 4096,
    image: 336,
    patch: 14,
    eps: 1e-5,
    activation: 'quick',
  } as const;
  return trace(
    shapedParams(clipShapes(config), randomParams(1, { dtype: 'f16' })),
    (t) => ({
      map: clipFeatures(t.params, t.input('pixels', 'b h w c', { b: 1, h: 336, w: 336, c: 3 }, 'f16'), config),
    }),
    { unread: 'ignore' },
  );
}

describe('a block', () => {
  test('of a vision transformer is five kernels', () => {
    expect(labelsOf(clip(4)).length - labelsOf(clip(3)).length).toBe(5);
  });

  test('is so with the least workgroup memory and the fewest bindings that a device has', () => {
    const least: DeviceProfile = { ...desktopGpu, maxWorkgroupBytes: 16384, maxBindings: 8 };
    expect(labelsOf(clip(4), least).length - labelsOf(clip(3), least).length).toBe(5);
  });

  test('is so where matrix units make its products: each leaves what the norm behind it needs', () => {
    for (const profile of [withMatrices, deviceNamed('h200').profile])
      expect(labelsOf(clip(4), profile).length - labelsOf(clip(3), profile).length).toBe(5);
  });

  test('keeps its norms as kernels where a product by matrix units has no buffers for statistics', () => {
    const least: DeviceProfile = { ...withMatrices, maxBindings: 6 };
    expect(labelsOf(clip(4), least).length - labelsOf(clip(3), least).length).toBe(7);
    expect(explain(clip(3), least)).toMatch(/norms with kernels: .*too many buffers for one kernel/);
  });

  test('begins with a kernel for the norm of its own input, which no product makes', () => {
    const graph = normGraph({ norm: 'layer', behind: 'one', rows: 300, columns: 256, terms: 256 });
    const templates = (which: Graph): readonly string[] =>
      labelsOf(which, withMatrices).map((label) => label.replace(/\+.*/, ''));
    expect(templates(graph)).toEqual(['contract', 'contract']);
    const ofInput = trace(randomParams(1, { dtype: 'f16' }), (t) => ({
      y: linear(
        t.params.at('out'),
        layerNorm(t.params.at('norm'), t.input('x', 'n c', { n: 300, c: 256 }, 'f16')),
        'o',
        {
          size: 256,
        },
      ),
    }));
    expect(templates(ofInput)).toEqual(['sum', 'contract']);
    expect(explain(ofInput, withMatrices)).toMatch(/no product by matrix units makes its rows ×1/);
  });

  test('of which more than products read the norm, keeps it as a kernel', () => {
    const graph = trace(randomParams(1, { dtype: 'f16' }), (t) => {
      const x = linear(t.params.at('front'), t.input('x', 'n i', { n: 300, i: 256 }, 'f16'), 'c', { size: 256 });
      const normed = layerNorm(t.params.at('norm'), x);
      return { normed, y: linear(t.params.at('out'), normed, 'o', { size: 256 }) };
    });
    expect(labelsOf(graph, withMatrices)).toHaveLength(3);
  });

  test('with a gated MLP behind a norm is two kernels', () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c', { n: 300, c: 256 });
      const normed = rmsNorm(t.params.at('norm'), x);
      const gated = silu(linear(t.params.at('gate'), normed, 'f', { size: 512 })).mul(
        linear(t.params.at('up'), normed, 'f', { size: 512 }),
      );
      return { y: x.add(linear(t.params.at('down'), gated, 'c', { size: 256 })) };
    });
    expect(labelsOf(graph)).toEqual([
      expect.stringMatching(/^contract.*sigmoid/),
      expect.stringMatching(/^contract\+.*add/),
    ]);
  });

  test('whose norm is shown, or read by what is no product, has a kernel for it', () => {
    for (const reads of ['output', 'map'] as const) {
      const graph = trace(randomParams(1), (t) => {
        const normed = layerNorm(t.params.at('norm'), t.input('x', 'n c', { n: 300, c: 256 }));
        const y = gelu(linear(t.params.at('up'), normed, 'f', { size: 512 }));
        return reads === 'output' ? { y, normed } : { y, other: normed.mul(2) };
      });
      expect(labelsOf(graph).filter((label) => label.startsWith('sum+'))).toHaveLength(1);
    }
  });
});

test('an SVA layer as released is at most 12 kernels, re-associated 14', () => {
  const counts = svaCases.map(({ name, build }) => {
    const { graph, without = [] } = build('full');
    const some = passes.filter((pass) => !without.includes(pass.name));
    return [name, compile(graph, desktopGpu, { passes: some }).dispatches.length];
  });
  expect(counts).toHaveLength(2);
  expect(counts[0]).toEqual(['sva-layer-direct', expect.toSatisfy((count: number) => count <= 12)]);
  expect(counts[1]).toEqual(['sva-layer', expect.toSatisfy((count: number) => count <= 14)]);
});
