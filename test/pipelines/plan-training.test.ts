// A training step at full width, its language model cut to two layers: what is frozen has no gradient, and memory is what lives at once.
import { expect, test } from 'vitest';
import { releasedModel } from '../../pipelines/plan/plan-model.ts';
import { cambrianSubject, planTraining, printTraining } from '../../pipelines/plan/plan-training.ts';
import type { CambrianModel } from '../../models/multimodal/cambrian-model.ts';

/** Cambrian-8B with the first layers of its language model, and without SVA layers behind them. */
function shallow(layers = 1): CambrianModel {
  const { model } = releasedModel('8b');
  const { config } = model;
  const language = { ...config.language, config: { ...config.language.config, layers } };
  return { ...model, config: { ...config, language, schedule: undefined } };
}

test('stage 1: the connector learns, towers and language model are frozen', { timeout: 240_000 }, () => {
  const options = { stage: 1, dtype: 'f16', length: 768, batch: 1 } as const;
  const subject = cambrianSubject(shallow(), options);
  const planned = planTraining(subject, options);
  const { plan, learned, frozen } = planned;
  expect(
    learned.filter((path) => !/mm_projector|vision_sampler|vision_query|image_newline|pos_emb/.test(path)),
  ).toEqual([]);
  // States are what learns, its two moments and a few counters: none is as large as a weight of the language model.
  expect(plan.states.filter(({ name }) => /layers\.\d+\.(self_attn|mlp)\b|lm_head|embed_tokens/.test(name))).toEqual(
    [],
  );
  // Towers run elsewhere: their maps come in, and nothing of them is stored or computed.
  expect(plan.dispatches.filter(({ path }) => path.includes('vision_tower'))).toEqual([]);
  // A gradient reads weights along their other axis: where they lie, also q, k and v, gate and up, which lie side by side.
  const once = [...subject.shapes]
    .filter(([path]) => !learned.includes(path))
    .reduce((sum, [, shape]) => sum + 2 * shape.reduce((product, size) => product * size, 1), 0);
  expect(frozen).toBeLessThanOrEqual(1.001 * once);
  expect(plan.memory.activations).toBeLessThanOrEqual(1.1 * plan.memory.liveBound);
  expect(printTraining(planned, options)).toMatch(/activations\s+[\d.]+ .iB/);
});

test('layers that are computed again hold what enters them', { timeout: 240_000 }, () => {
  const [few, many] = [2, 4].map((layers) =>
    [false, true].map((gradientCheckpointing) => {
      const options = { stage: 1, dtype: 'f16', length: 1024, batch: 1, gradientCheckpointing } as const;
      return planTraining(cambrianSubject(shallow(layers), options), options).plan.memory.liveBound;
    }),
  );
  const more = (way: number): number => ((many?.[way] ?? NaN) - (few?.[way] ?? NaN)) / 2;
  // Gate and up alone take 2 · 2 · 14336 bytes a token, what enters a layer 2 · 4096.
  expect(more(0)).toBeGreaterThanOrEqual(1024 * 4 * 14336);
  expect(more(1)).toBeLessThanOrEqual(1.5 * 1024 * 2 * 4096);
});

test('towers of a Cambrian do not learn, which is said before anything is traced', () => {
  const options = { stage: 2, dtype: 'f16', length: 768, batch: 1, unfreezeTowers: true } as const;
  expect(() => cambrianSubject(shallow(), options)).toThrow(/stage 2 unfreezes the towers of a Cambrian/);
});
