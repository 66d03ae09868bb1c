// A training step at full width, its language model cut to two layers: what is frozen has no gradient, and memory is what lives at once.
import { expect, test } from 'vitest';
import { releasedModel } from '../../pipelines/plan/plan-model.ts';
import { cambrianSubject, planTraining, printTraining } from '../../pipelines/plan/plan-training.ts';
import type { CambrianModel } from '../../models/multimodal/cambrian-model.ts';

/** Cambrian-8B with the first layer of its language model, and without SVA layers behind the others. */
function shallow(): CambrianModel {
  const { model } = releasedModel('8b');
  const { config } = model;
  const language = { ...config.language, config: { ...config.language.config, layers: 1 } };
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

test('towers of a Cambrian do not learn, which is said before anything is traced', () => {
  const options = { stage: 2, dtype: 'f16', length: 768, batch: 1, unfreezeTowers: true } as const;
  expect(() => cambrianSubject(shallow(), options)).toThrow(/stage 2 unfreezes the towers of a Cambrian/);
});
