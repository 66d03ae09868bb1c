// `plan` of a directory: figures are those of the session that `run` would open, however its matrices are stored.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { desktopGpu } from '../../compiler/profile.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { sessionPlans, sessionSizes } from '../../pipelines/answer/session-plans.ts';
import { isReleased, planDirectory } from '../../pipelines/plan/plan-model.ts';
import { printPlanned } from '../../pipelines/plan/print-planned.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-plan-'));
const language = join(root, 'language');
beforeAll(() => void makeLanguage(language, 'llama'));
afterAll(() => rmSync(root, { recursive: true }));

test.each([undefined, 'floats', { format: 'q8' }, { format: 'q4', except: ['*embed*'] }] as const)(
  'weights %o',
  async (weights) => {
    const context = 128;
    const planned = await planDirectory(language, { dtype: 'f16', context, prompt: context, images: 1, weights });
    const model = await openModel(language, { dtype: 'f16', weights });
    try {
      const { memory } = sessionPlans(model, desktopGpu, sessionSizes(model, { context }), { draw: 'greedy' });
      expect([planned.memory.running, planned.memory.peak]).toEqual([memory.running, memory.peak]);
      const bytes = planned.memory.items.find(({ name }) => name === 'weights of language model')?.bytes ?? NaN;
      const elements = [...planned.parameters.values()].reduce((sum, count) => sum + count, 0);
      // 16 bits an element, and less where matrices are quantized: those of attention are too small to be.
      if (typeof weights === 'object') expect(bytes / elements).toBeLessThan(1.9);
      else expect(bytes / elements).toBeGreaterThan(1.9);
    } finally {
      model.close();
    }
  },
  60_000,
);

test('what is printed is what was planned: the model has 512 positions', async () => {
  const options = { dtype: 'f16', context: 4000, prompt: 3000, images: 1 } as const;
  const planned = await planDirectory(join(import.meta.dirname, '../../examples/shapes/model'), options);
  expect(printPlanned(planned, options)).toMatch(/, a context of 512 tokens, a prompt of 511, 1 image;/);
}, 60_000);

test('what is on the disk, or should be, is not a released model', async () => {
  const file = join(import.meta.dirname, '../golden/quant/qwen2-q4_0.gguf');
  expect([file, language, 'nowhere.gguf', 'owner/name'].map(isReleased)).toEqual([false, false, false, false]);
  expect(['8b', 'cambrian-8'].map(isReleased)).toEqual([true, true]);
  const planned = await planDirectory(file, { dtype: 'f16', context: 32, prompt: 16, images: 0 });
  expect(planned.programs.map(({ name }) => name)).toEqual(['prefill', 'decode']);
});
