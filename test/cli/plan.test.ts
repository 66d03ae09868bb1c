// The released models: their parameter counts are those of the published files; the 8B compiles whole.
import { expect, test } from 'vitest';
import { parameterCounts, planModel, releasedModel } from '../../pipelines/plan/plan-model.ts';
import { printPlanned } from '../../pipelines/plan/print-planned.ts';

const towers = {
  'CLIP-ViT-SO400M-14-384': 428_225_600,
  'clip-vit-large-patch14-336': 303_507_456,
  'dinov2-giant-res378': 1_136_480_768,
  'clip-convnext-XXL-multi-stage': 843_398_016,
};

/** Language models as on the hub; connector and SVA layers together reproduce the sizes of the released files. */
test.each([
  ['cambrian-phi3-3b', 3_821_079_552, 273_397_760],
  ['cambrian-8b', 8_030_261_248, 302_760_960],
  ['cambrian-13b', 13_015_864_320, 334_221_312],
  ['cambrian-34b', 34_388_917_248, 375_085_056],
] as const)('%s', (name, language, vision) => {
  const counts = Object.fromEntries(parameterCounts(releasedModel(name).model));
  expect(counts).toMatchObject({ ...towers, 'language model': language });
  expect((counts['connector'] ?? 0) + (counts['SVA layers in the LLM'] ?? 0)).toBe(vision);
});

test('short names, and a name that is none', () => {
  expect(releasedModel('8b').name).toBe('cambrian-8b');
  expect(releasedModel('phi3-3b').name).toBe('cambrian-phi3-3b');
  expect(() => releasedModel('cambrian-8')).toThrow(
    /not a released model[^]*the nearest are cambrian-8b, [^]*; there are/,
  );
});

test('the 8B, compiled: arithmetic near that of the published layers, weights held once, well under 30 s and 8 GiB', () => {
  const options = { dtype: 'f16', context: 2048, prompt: 700, images: 1 } as const;
  const before = process.cpuUsage();
  const planned = planModel('8b', options);
  const { user, system } = process.cpuUsage(before);
  // Two cores shared with other tests: what this process used, not what it waited.
  expect((user + system) / 1e6).toBeLessThan(30);
  expect(planned.hostBytes).toBeLessThan(8 * 2 ** 30);
  const flops = (program: string, part: string): number =>
    planned.programs.find(({ name }) => name === program)?.flops.get(part) ?? 0;
  // PyTorch's counter over the original modules, products alone: 10.03 T for 700 tokens, 16.1 G for a token behind 2048.
  expect(flops('prefill', 'language model') / 10.03e12).toBeCloseTo(1, 1);
  expect(flops('decode', 'language model') / 16.1e9).toBeCloseTo(1, 1);
  expect(flops('one picture', 'dinov2-giant-res378') / 1.786e12).toBeCloseTo(1, 1);
  // Prefill and decode read one copy: 16 bits a parameter, and little more.
  const weights = planned.memory.items.find(({ name }) => name === 'weights of language model')?.bytes ?? 0;
  expect(weights / (2 * 8_030_261_248)).toBeGreaterThan(0.99);
  expect(weights / (2 * 8_030_261_248)).toBeLessThan(1.02);
  // Launches are what a GPU waits for between kernels.
  const dispatches = (program: string): number =>
    planned.programs.find(({ name }) => name === program)?.plan.dispatches.length ?? Infinity;
  expect(dispatches('one picture')).toBeLessThanOrEqual(500);
  expect(dispatches('prefill')).toBeLessThanOrEqual(370);
  expect(dispatches('decode')).toBeLessThanOrEqual(200);
  const text = printPlanned(planned, options);
  expect(text).toMatch(/language model\s+8,030,261,248/);
  expect(text).toMatch(/without the towers\s+8,333,022,208/);
}, 240_000);

test('the 8B in four bits: fits 6.5 GiB, queries, keys and values are one product', () => {
  const planned = planModel('8b', { dtype: 'f16', context: 2048, prompt: 700, images: 1, weights: { format: 'q4' } });
  expect(planned.memory.running / 2 ** 30).toBeLessThan(6.5);
  for (const { name, plan } of planned.programs) {
    // Of several parameters, it carries the path that they share.
    const layer = name === 'one picture' ? '.encoder.layer.20.attention.attention' : '.layers.20.self_attn';
    const products = plan.dispatches.filter(({ label, path }) => label.startsWith('contract') && path.endsWith(layer));
    expect(products.length, name).toBe(1);
  }
  const dispatches = (program: string): number =>
    planned.programs.find(({ name }) => name === program)?.plan.dispatches.length ?? Infinity;
  expect(dispatches('one picture')).toBeLessThanOrEqual(640);
  expect(dispatches('prefill')).toBeLessThanOrEqual(360);
  expect(dispatches('decode')).toBeLessThanOrEqual(200);
}, 240_000);
