// Every shader that the compiler writes is taken by Dawn's WGSL compiler without an error or a warning: on its null backend, which needs no
// GPU, or on the device at hand where the null backend's limits are too low. Every name in it says what it is.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { kinds } from '../../pipelines/verify/kinds.ts';
import type { PlanKernel } from '../../compiler/plan.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { print } from '../../dsl/text/print.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { graphArbitrary } from '../support/generate.ts';
import { layerSteps } from '../support/layer-steps.ts';
import { planWithAxes, unreadable } from '../support/kernel-names.ts';
import { seed, withoutGpu } from '../gpu/compare.ts';
import { attentionOf, fullSize, norm, softmaxOver } from './full-size.ts';
import { share } from '../support/share.ts';

const profiles = [lavapipe, desktopGpu];
let paper: Device;
let own: Device | undefined;
beforeAll(async () => {
  paper = await openDevice({ backend: 'null' });
  own = withoutGpu ? undefined : await openDevice();
});
afterAll(() => {
  paper.close();
  own?.close();
});

/** What a kernel needs of a device, as its text says. */
function needs({ wgsl, access }: PlanKernel): {
  readonly threads: number;
  readonly workgroupBytes: number;
  readonly bindings: number;
} {
  const arrays = [...wgsl.matchAll(/var<workgroup> \w+: array<(vec4)?[^,]*, (\d+)>/g)];
  return {
    threads: Number(/@workgroup_size\((\d+)\)/.exec(wgsl)?.[1]),
    workgroupBytes: arrays.reduce(
      (sum, [, vector, length]) => sum + Number(length) * (vector === undefined ? 4 : 16),
      0,
    ),
    bindings: access.length,
  };
}

function fits(kernel: PlanKernel, { facts: { limits } }: Device): boolean {
  const { threads, workgroupBytes, bindings } = needs(kernel);
  return (
    threads <= limits.maxComputeInvocationsPerWorkgroup &&
    workgroupBytes <= limits.maxComputeWorkgroupStorageSize &&
    bindings <= limits.maxStorageBuffersPerShaderStage
  );
}

const known = new Set<string>();

/** Throws with the first shader that Dawn has something to say of. Without a GPU, what is over the null backend's limits is left out. */
async function expectClean(graph: Graph): Promise<void> {
  for (const profile of profiles) {
    const { plan, axes } = planWithAxes(graph, profile);
    const fresh = plan.kernels.filter(({ wgsl }) => !known.has(wgsl));
    await Promise.all(
      fresh.map(async (kernel) => {
        known.add(kernel.wgsl);
        expect(unreadable(kernel.wgsl, axes), kernel.wgsl).toEqual([]);
        const device = fits(kernel, paper) ? paper : own;
        const said = (await device?.diagnose(kernel)) ?? [];
        if (said.length > 0)
          throw new Error(
            `${said.join('\n')}\n${kernel.wgsl
              .split('\n')
              .map((line, i) => `${i + 1}: ${line}`)
              .join('\n')}\n${print(graph)}`,
          );
      }),
    );
  }
}

test('the compiler of Dawn says what is wrong', async () => {
  const wgsl =
    '@group(0) @binding(0) var<storage, read_write> y0: array<f32>;\n@compute @workgroup_size(8) fn main(@builtin(local_invocation_index) t: u32) { y0[t] = 1u; }';
  expect(await paper.diagnose({ name: 'k', wgsl, access: ['read_write'], features: [] })).toEqual([
    expect.stringMatching(/error.*(u32|f32)/),
  ]);
  const unreachable =
    '@group(0) @binding(0) var<storage, read_write> y0: array<f32>;\n@compute @workgroup_size(8) fn main() { return; y0[0] = 1.0; }';
  expect(await paper.diagnose({ name: 'k', wgsl: unreachable, access: ['read_write'], features: [] })).toEqual([
    expect.stringMatching(/warning.*unreachable/),
  ]);
});

test.each(Object.entries(fullSize))('%s', async (_name, build) => expectClean(build()));

test('attention, norms and softmax of any size', async () => {
  for (const d of [1, 7, 64, 80, 128, 256])
    for (const variant of ['full', 'causal', 'grouped', 'per region'] as const)
      await expectClean(attentionOf(d, variant));
  for (const c of [5, 577, 1024]) await expectClean(norm(c));
  for (const c of [5, 1000, 4096]) await expectClean(softmaxOver(c));
});

describe('golden files', () => {
  const folder = join(import.meta.dirname, '../golden');
  const files = ['cambrian', 'models'].flatMap((of) =>
    readdirSync(join(folder, of))
      .filter((name) => name.endsWith('.safetensors'))
      .map((name) => `${of}/${name}`),
  );
  // Of the many models every second one by default.
  const some = files.filter((name, i) => name.startsWith('cambrian/') || i % 2 === 0);
  test.each(share(some, files))('%s', async (name) => {
    const file = new GoldenFile(join(folder, name), 'f32');
    try {
      const model = await kinds.get(file.kind)?.(file);
      expect(model, `no kind '${file.kind}'`).toBeDefined();
      const graphs = [model?.graph, ...(model?.conversations ?? []).map((conversation) => conversation.graph)];
      for (const graph of graphs) if (graph !== undefined) await expectClean(graph);
    } finally {
      file.checkpoint.close();
    }
  });
});

test(`random graphs, seed ${seed}`, async () => {
  for (const { graph } of fc.sample(graphArbitrary(), { numRuns: 100, seed: seed + 7 })) await expectClean(graph);
  const layers = graphArbitrary({ steps: layerSteps, dtypes: ['f32', 'f16'] });
  for (const { graph } of fc.sample(layers, { numRuns: 20, seed: seed + 8 })) await expectClean(graph);
});
