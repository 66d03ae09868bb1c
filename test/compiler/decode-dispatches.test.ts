// A decode step at the widths of Cambrian-8B, without a GPU: launches a layer, and weights that prefill has in memory already.
import { expect, test } from 'vitest';
import { compile, compileTogether } from '../../compiler/compile.ts';
import { devices } from '../../compiler/devices.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { randomParams } from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { decodeGraph, prefillGraph } from '../../models/decoders/generation-graphs.ts';
import { cambrianModelShapes } from '../../models/multimodal/cambrian-model.ts';
import { releasedModel } from '../../pipelines/plan/plan-model.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { memoryPlan } from '../../runtime/program/memory-check.ts';

const { model } = releasedModel('cambrian-8b');
const sizes = { batch: 1, capacity: 2048, promptLimit: 700, draw: 'greedy' } as const;

function plans(layers: number, weights: 'f16' | 'q4') {
  const plain = shapedParams(cambrianModelShapes(model), randomParams(0, { dtype: 'f16' }));
  const source = weights === 'q4' ? quantizedSource(plain, { format: 'q4' }) : plain;
  const { language } = model.config;
  const own = { ...language, config: { ...language.config, layers } };
  const [prefill, decode] = compileTogether(
    [prefillGraph(source, own, sizes), decodeGraph(source, own, sizes)],
    desktopGpu,
    {
      verify: true,
    },
  );
  if (prefill === undefined || decode === undefined) throw new TypeError('two graphs make two plans');
  return { prefill, decode };
}

test('nothing is computed again: states that are positions and tokens do not learn', () => {
  const source = shapedParams(cambrianModelShapes(model), randomParams(0, { dtype: 'f16' }));
  const { language } = model.config;
  const own = { ...language, config: { ...language.config, layers: 2 } };
  const again: string[] = [];
  compileTogether([prefillGraph(source, own, sizes), decodeGraph(source, own, sizes)], desktopGpu, {
    report: (stage) => {
      if (stage.name === 'pass' && stage.report.pass.name === 'recompute') again.push(...stage.report.fired.keys());
    },
  });
  expect(again).toEqual([]);
});

// Codes and scales of three weights leave too few of ten bindings for rotated keys and the caches.
test.each([
  ['f16', 5],
  ['q4', 6],
] as const)('%s: %i dispatches a layer, and no more weights than prefill has', (weights, perLayer) => {
  const [fewer, more] = [plans(3, weights), plans(4, weights)];
  expect(more.decode.dispatches.length - fewer.decode.dispatches.length).toBe(perLayer);
  // As many for 32 layers as the whole model may have.
  expect(fewer.decode.dispatches.length + 29 * perLayer).toBeLessThanOrEqual(200);
  expect(fewer.decode.dispatches.filter(({ label }) => label.startsWith('sum+'))).toEqual([]);
  const weightsOf = (...programs: readonly { readonly name: string; readonly plan: typeof fewer.decode }[]): number =>
    memoryPlan(programs)
      .items.filter(({ kind }) => kind === 'weights')
      .reduce((sum, { bytes }) => sum + bytes, 0);
  const prefill = { name: 'prefill', plan: fewer.prefill };
  expect(weightsOf(prefill, { name: 'decode', plan: fewer.decode })).toBe(weightsOf(prefill));
});

test.each(['desktop', 'h200'])(
  'prefill on %s: five dispatches a layer, keys rotated into their cache, gate, up and what joins them in one',
  (device) => {
    const source = shapedParams(cambrianModelShapes(model), randomParams(0, { dtype: 'f16' }));
    const { language } = model.config;
    const labels = (layers: number): readonly string[] => {
      const graph = prefillGraph(source, { ...language, config: { ...language.config, layers } }, sizes);
      return compile(graph, devices[device]?.profile ?? desktopGpu).dispatches.map(({ label }) => label);
    };
    const [three, four] = [labels(3), labels(4)];
    expect(four.length - three.length).toBe(5);
    expect(four.filter((label) => /^contract.*sigmoid.*mul/.test(label))).toHaveLength(4);
  },
);
