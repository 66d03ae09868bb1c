// What a recipe may hold. It runs without its types, so each field is checked as it runs: one that nobody reads would be silence.
import { describe, expect, test } from 'vitest';
import { adamW } from '../../../pipelines/train/optimizers/adamw.ts';
import { lion } from '../../../pipelines/train/optimizers/lion.ts';
import { muon } from '../../../pipelines/train/optimizers/muon.ts';
import { sgd } from '../../../pipelines/train/optimizers/sgd.ts';
import { checkRecipe } from '../../../pipelines/train/recipe/open-recipe.ts';
import { mlpStage } from './mlp.ts';

const files = { file: 'a.jsonl', images: 'pictures' };
const check = (stage: object, recipe: object = {}) => {
  const whole: unknown = {
    name: 'r',
    model: 'm',
    stages: [{ ...mlpStage(), data: files, steps: 3, ...stage }],
    ...recipe,
  };
  return () => checkRecipe(whole, 'here.ts');
};
const group = { paths: ['*'], lr: 1e-3 };

describe('the fields of a recipe', () => {
  test.each([
    [{}],
    [{ frozen: ['*tower*'], unfreezeTowers: false, groupByLength: true, scaling: { initial: 8 }, ema: 0.9, clip: 0 }],
    [{ lora: [{ paths: ['*q_proj.weight'], rank: 4, alpha: 8 }], microBatch: 2, gradientCheckpointing: true }],
    [{ groups: [{ ...group, optimizer: muon() }], evaluation: { data: { index: 'i.json' }, every: 1, batches: 2 } }],
    [{ data: { mixture: [{ ...files, cap: 3 }], shares: { a: 1 } }, steps: undefined, epochs: 0.5 }],
    [{ data: { samples: () => undefined, count: 3, images: '' }, schedule: { shape: 'linear', warmup: { ratio: 0 } } }],
  ])('%o is one', (stage) => expect(check(stage)).not.toThrow());

  test.each<[object, RegExp]>([
    [{ microbatch: 2 }, /here\.ts, field 'stages\.0': there is no 'microbatch' here; the nearest are microBatch/],
    [{ groups: [{ ...group, weight_decay: 1 }] }, /'stages\.0\.groups\.0': there is no 'weight_decay'.*is weightDecay/],
    [{ schedule: { shape: 'cosine', warmUp: { steps: 3 } } }, /'stages\.0\.schedule': there is no 'warmUp'/],
    [{ schedule: { shape: 'cosine', warmup: {} } }, /schedule\.warmup': has steps or ratio/],
    [{ schedule: { shape: 'cosine', warmup: { steps: 1, ratio: 0.1 } } }, /schedule\.warmup': has steps or ratio/],
    [{ lora: [{ paths: ['*'], rank: 0 }] }, /'stages\.0\.lora\.0\.rank'/],
    [{ lora: [{ paths: ['*'], rank: 1.5 }] }, /'stages\.0\.lora\.0\.rank'/],
    [{ lora: [{ paths: ['*'], rank: 2, alpha: NaN }] }, /'stages\.0\.lora\.0\.alpha'/],
    [{ lora: [{ paths: ['*'], rank: 2, lora_alpha: 4 }] }, /there is no 'lora_alpha' here; the nearest is alpha/],
    [{ frozen: '*tower*' }, /'stages\.0\.frozen'/],
    [{ optimizer: undefined }, /'stages\.0\.optimizer': is not an optimizer/],
    [{ groups: [{ ...group, optimizer: adamW }] }, /'stages\.0\.groups\.0\.optimizer': is not an optimizer/],
    [{ scaling: { interval: 0 } }, /'stages\.0\.scaling\.interval'/],
    [{ scaling: { backoff: 2 } }, /'stages\.0\.scaling\.backoff'/],
    [{ evaluation: { data: files, every: 0, batches: 1 } }, /'stages\.0\.evaluation\.every'/],
    [{ batch: 4, microBatch: 3 }, /'stages\.0\.microBatch': does not divide the batch/],
    [{ steps: 3, epochs: 1 }, /'stages\.0\.epochs': says how long the stage is, and so does steps/],
    [{ data: { ...files, caps: 3 } }, /'stages\.0\.data': there is no 'caps'/],
    [{ data: { ...files, index: 'i.json' } }, /'stages\.0\.data': there is no 'index'/],
    [{ data: { file: 'a' } }, /'stages\.0\.data\.images'/],
    [{ data: { mixture: [{ ...files, formt: '' }] } }, /'stages\.0\.data\.mixture\.0': there is no 'formt'.*is format/],
  ])('%o is none', (stage, message) => expect(check(stage)).toThrow(message));

  test('nor is a name that leaves the folder of the runs, nor a field of another case', () => {
    for (const name of ['.', '..', 'a/b', 'a\\b', 'a\nb', '']) expect(check({}, { name })).toThrow(/field 'name'/);
    for (const name of ['a', '...', '.a', '1.5', 'a b', 'a+b=c']) expect(check({}, { name })).not.toThrow();
    expect(check({}, { Seed: 3 })).toThrow(/here\.ts: there is no 'Seed' here; the nearest is seed/);
  });
});

describe('the options of optimizers', () => {
  // As a recipe gives them: TypeScript has told its author, and nobody has listened.
  const given = (make: (options: never) => unknown, options: object) => () => make(options as never);

  test.each<[(options: never) => unknown, object, RegExp]>([
    [adamW, { betas: [0.9, 1] }, /second beta is 1[^]*below 1/],
    [adamW, { betas: [-0.1, 0.9] }, /first beta is -0\.1/],
    [adamW, { betas: [0.9] }, /second beta is undefined/],
    [adamW, { eps: 0 }, /eps is 0/],
    [adamW, { eps: 1e-40 }, /eps is 1e-40/],
    [adamW, { beta: [0.9, 0.98] }, /has no option 'beta'[^]*betas/],
    [adamW, { weightDecay: 0.1 }, /has no option 'weightDecay'[^]*stands in a group/],
    [lion, { betas: [2, 0] }, /first beta is 2/],
    [lion, { eps: 1e-8 }, /has no option 'eps'/],
    [sgd, { momentum: -1 }, /momentum is -1/],
    [sgd, { momentum: 0.9, dampening: NaN }, /dampening is NaN/],
    [muon, { steps: 0 }, /steps is 0/],
    [muon, { steps: 2.5 }, /steps is 2\.5[^]*whole number/],
    [muon, { momentum: 1 }, /momentum is 1/],
  ])('%o of %o is refused', (make, options, message) => expect(given(make, options)).toThrow(message));

  test('the ends of their ranges are not', () => {
    for (const make of [
      () => adamW({ betas: [0, 0], eps: 1e-30 }),
      () => lion({ betas: [0, 0.999999] }),
      () => sgd({ momentum: 1, dampening: 0 }),
      () => muon({ momentum: 0, steps: 1 }),
    ])
      expect(make).not.toThrow();
  });
});
