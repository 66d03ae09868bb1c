// What surrounds the steps: groups by glob, schedules, recipes and their settings, event files read back by another reader, lists of runs.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { evaluate } from '../../../runtime/reference/reference.ts';
import { fixedParams, trace } from '../../../dsl/index.ts';
import { orthogonalized } from '../../../pipelines/train/optimizers/muon.ts';
import { listRuns, printRuns } from '../../../pipelines/train/list-runs.ts';
import { adamW } from '../../../pipelines/train/optimizers/adamw.ts';
import { cambrianStage1, cambrianStage2 } from '../../../pipelines/train/recipe/cambrian.ts';
import { checkRecipe, openRecipe } from '../../../pipelines/train/recipe/open-recipe.ts';
import type { Recipe } from '../../../pipelines/train/recipe/recipe.ts';
import { withSettings } from '../../../pipelines/train/recipe/settings.ts';
import { firstChecks, refuseWrong, Watch } from '../../../pipelines/train/run/checks.ts';
import { crc32c, EventFile } from '../../../pipelines/train/run/event-file.ts';
import { RunFolder } from '../../../pipelines/train/run/run-folder.ts';
import { matchesGlob, resolveGroups } from '../../../pipelines/train/step/groups.ts';
import { rateFactor, rateForBatch, warmupSteps } from '../../../pipelines/train/step/schedule.ts';
import { readEvents } from '../../support/read-events.ts';
import { mlpStage } from './mlp.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-runs-'));
afterAll(() => rmSync(folder, { recursive: true }));

const paths = [
  'lm_head.weight',
  'model.embed_tokens.weight',
  'model.layers.0.self_attn.q_proj.weight',
  'model.mm_projector.0.weight',
  'model.mm_projector.0.bias',
  'model.vision_query',
  'model.vision_sampler_0.layers.0.norm.weight',
];

describe('groups', () => {
  test.each([
    ['model.vision_sampler_0.layers.0.norm.weight', 'vision_sampler*', true],
    ['model.vision_sampler_0.layers.0.norm.weight', 'model.vision_sampler_?.*', true],
    ['model.vision_sampler_0.layers.0.norm.weight', '*norm*', true],
    ['model.vision_sampler_0.layers.0.norm.weight', 'sampler*', false],
    ['model.mm_projector.0.weight', 'mm_projector.0.weight', true],
    ['model.mm_projector.00weight', 'mm_projector.0.weight', false],
  ])('%s, %s: %s', (path, glob, expected) => expect(matchesGlob(path, glob)).toBe(expected));

  test('the first group that means a path has it; what is frozen has none', () => {
    const groups = resolveGroups(
      [
        { paths: ['vision_*'], lr: 1e-4 },
        { paths: ['*', '!*bias'], lr: 1e-3 },
      ],
      paths,
      ['lm_head*', 'embed_tokens*'],
    );
    expect(groups.map((group) => group.members)).toEqual([
      ['model.vision_query', 'model.vision_sampler_0.layers.0.norm.weight'],
      ['model.layers.0.self_attn.q_proj.weight', 'model.mm_projector.0.weight'],
    ]);
  });

  test('what trains nothing is refused, with the nearest paths', () => {
    expect(() => resolveGroups([], paths)).toThrow(/trains nothing/);
    expect(() => resolveGroups([{ paths: ['*'], lr: 0 }], paths)).toThrow(/trains nothing: the learning rate of every/);
    expect(
      resolveGroups(
        [
          { paths: ['*bias'], lr: 0 },
          { paths: ['*'], lr: 1 },
        ],
        paths,
      ),
    ).toHaveLength(2);
    expect(() => resolveGroups([{ paths: ['vision_samplr*'], lr: 1 }], paths)).toThrow(
      /means none[^]*vision_sampler_0/,
    );
    expect(() => resolveGroups([{ paths: ['*'], lr: 1 }], paths, ['*'])).toThrow(/every parameter is frozen/);
    expect(() =>
      resolveGroups(
        [
          { paths: ['*'], lr: 1 },
          { paths: ['*bias'], lr: 1 },
        ],
        paths,
      ),
    ).toThrow(/narrower group first/);
  });
});

describe('schedules', () => {
  test('warm-up from 0, then cosine, linear or constant to the end', () => {
    const warmup = { ratio: 0.3 };
    expect(warmupSteps({ shape: 'cosine', warmup }, 11)).toBe(4);
    const factors = (shape: 'cosine' | 'linear' | 'constant') =>
      [0, 2, 4, 7, 10].map((step) => rateFactor({ shape, warmup: { steps: 4 } }, step, 10));
    expect(factors('constant')).toEqual([0, 0.5, 1, 1, 1]);
    expect(factors('linear')).toEqual([0, 0.5, 1, 0.5, 0]);
    factors('cosine').forEach((value, i) => expect(value).toBeCloseTo([0, 0.5, 1, 0.5, 0][i] ?? NaN, 12));
  });

  test('√(batch / base)', () => expect(rateForBatch(1e-3, 128, 512)).toBeCloseTo(5e-4, 15));
});

describe('Muon', () => {
  test('drives all singular values near 1 and keeps the directions', () => {
    // diag(3, 0.4) between two rotations, as a matrix of 2 × 3.
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
    const values = [3 * c, -0.4 * s, 0, 3 * s, 0.4 * c, 0];
    const graph = trace(fixedParams({}), (t) => {
      const x = t.input<string, 'f32'>('x', 'o i', { o: 2, i: 3 });
      return { y: orthogonalized(x, 5) };
    });
    const y = evaluate(graph, { inputs: new Map([['x', values]]), params: () => [] }, { precision: 'f32' }).outputs.get(
      'y',
    )?.data;
    const [a = 0, b = 0, , d = 0, e = 0] = y ?? [];
    // The columns stay along the rotation's: only their lengths change.
    expect(d / a).toBeCloseTo(Math.tan(0.7), 4);
    expect(-b / e).toBeCloseTo(Math.tan(0.7), 4);
    for (const length of [Math.hypot(a, d), Math.hypot(b, e)]) {
      expect(length).toBeGreaterThan(0.6);
      expect(length).toBeLessThan(1.3);
    }
  });
});

describe('recipes', () => {
  const data = { file: 'a.jsonl', images: 'images' };
  const recipe: Recipe = { name: 'r', model: 'm', stages: [cambrianStage1({ data }), cambrianStage2({ data })] };

  test("Cambrian's stages have the released rates, schedules, batches and frozen sets", () => {
    const [first, second] = recipe.stages;
    expect(first).toMatchObject({
      batch: 512,
      schedule: { shape: 'cosine', warmup: { ratio: 0.06 } },
      clip: 1,
      length: 2048,
      epochs: 1,
    });
    expect(first?.groups.map((group) => group.lr)).toEqual([1e-4, 1e-3]);
    expect(second).toMatchObject({
      groups: [{ paths: ['*'], lr: 4e-5 }],
      schedule: { warmup: { ratio: 0.03 } },
      groupByLength: true,
    });
    expect(cambrianStage2({ data, size: '34b' })).toMatchObject({ groups: [{ lr: 2e-5 }], batch: 1024 });
    expect(cambrianStage1({ data, source: 'published' }).groups.map((group) => group.lr)).toEqual([1e-4, 1e-4]);
    expect(cambrianStage1({ data, batch: 128 }).groups[1]?.lr).toBeCloseTo(5e-4, 15);
    expect(
      resolveGroups(first?.groups ?? [], [...paths, 'model.image_newline'])
        .flatMap((group) => group.members)
        .sort(),
    ).toEqual([
      'model.image_newline',
      'model.mm_projector.0.bias',
      'model.mm_projector.0.weight',
      'model.vision_query',
      'model.vision_sampler_0.layers.0.norm.weight',
    ]);
    expect(() => checkRecipe(recipe, 'here')).not.toThrow();
  });

  test('settings change one field, of one stage or of all', () => {
    const changed = withSettings(recipe, [
      'lr=2e-4',
      'stages.1.batch=8',
      'name=other',
      'stages.0.groupByLength=true',
      'stages.0.groups.1.lr=3e-4',
      'stages.1.schedule.warmup.steps=7',
      'schedule.shape=linear',
      'frozen=vision_*,*bias',
    ]);
    expect(changed.name).toBe('other');
    expect(changed.stages.flatMap((stage) => stage.groups.map((group) => group.lr))).toEqual([2e-4, 3e-4, 2e-4]);
    expect(changed.stages.map((stage) => [stage.batch, stage.groupByLength, stage.frozen])).toEqual([
      [512, true, ['vision_*', '*bias']],
      [8, true, ['vision_*', '*bias']],
    ]);
    expect(changed.stages.map((stage) => stage.schedule)).toEqual([
      { shape: 'linear', warmup: { ratio: 0.06 } },
      { shape: 'linear', warmup: { steps: 7 } },
    ]);
    // Nothing else, and nothing in the recipe itself.
    expect(changed.stages[0]?.optimizer).toBe(recipe.stages[0]?.optimizer);
    expect(recipe.stages.map((stage) => stage.batch)).toEqual([512, 512]);
  });

  test('what says how long a stage is takes the place of what said so', () => {
    const changed = withSettings(recipe, ['stages.0.steps=20']);
    expect(changed.stages.map(({ steps, epochs }) => [steps, epochs])).toEqual([
      [20, undefined],
      [undefined, 1],
    ]);
    expect(withSettings(changed, ['epochs=2']).stages.map(({ steps, epochs }) => [steps, epochs])).toEqual([
      [undefined, 2],
      [undefined, 2],
    ]);
  });

  test.each([
    ['lt=1', /there is no 'lt'[^]*the nearest is lr; there are [^]*and paths such as stages/],
    ['stages.0.stesp=1', /there is no 'stages\.0\.stesp'[^]*stages\.0\.steps/],
    ['stages.0.groups.0.lr.x=1', /there is no[^]*stages\.0\.groups\.0\.lr/],
    ['stages.0.groups=1', /there is no[^]*stages\.0\.groups\.0/],
    ['stages.first.steps=1', /there is no[^]*stages\.0\.steps/],
    ['2.batch=8', /there is no '2\.batch'[^]*batch/],
    ['stages.0.__proto__=8', /there is no/],
    ['stages.0.optimizer.settings.beta1=0.8', /there is no/],
    ['stages.2.steps=1', /there is no stages\.2[^]*has 2 stages, counted from 0/],
    ['stages.0.groups.4.lr=1', /there is no stages\.0\.groups\.4[^]*has 2 groups, counted from 0/],
    ['stages.0.evaluation.every=5', /has no stages\.0\.evaluation/],
    ['stages.0.data.index=x.json', /has no stages\.0\.data\.index/],
    ['batch=many', /not a number/],
    ['groupByLength=yes', /neither true nor false/],
    ['steps', /there is no value/],
  ])('--set %s is refused', (setting, message) => {
    expect(() => withSettings(recipe, [setting])).toThrow(message);
  });

  test.each(['batch=0.5', 'schedule.shape=cosinus', 'schedule.warmup.ratio=2', 'turns=alone', 'layout=whole'])(
    '--set %s makes no recipe',
    (setting) => {
      const [path = ''] = setting.split('=');
      expect(() => checkRecipe(withSettings(recipe, [setting]), 'here')).toThrow(`field 'stages.0.${path}`);
    },
  );

  test('files that are not a recipe', async () => {
    const path = join(folder, 'none.ts');
    writeFileSync(path, 'export const recipes = 1;\n');
    await expect(openRecipe(path)).rejects.toThrow(/exports no recipe/);
    await expect(openRecipe(join(folder, 'absent.ts'))).rejects.toThrow(/there is no file .*absent\.ts/);
    expect(() =>
      checkRecipe({ ...recipe, stages: [{ ...mlpStage(), steps: undefined, epochs: undefined }] }, 'here'),
    ).toThrow(/has no end/);
  });
});

describe('checks before the first step', () => {
  const batch = { inputs: new Map(), targets: 3, tokens: 9, visual: [{ found: 6, wanted: 6 }], replaced: [] };
  const groups = [{ paths: ['*'], members: ['a.0.w', 'b.w'], lr: 1 }];
  const base = { batches: [batch], groups, learned: ['a.0.w', 'b.w'], squares: [4, 9], loss: 2 };

  test('all is well', () => {
    expect(firstChecks(base).every((check) => check.verdict === 'ok')).toBe(true);
    expect(() => refuseWrong(firstChecks(base))).not.toThrow();
  });

  test.each([
    ['no labels', { ...base, batches: [{ ...batch, targets: 0 }] }, /0 of 9 tokens/],
    [
      'tokens of a picture cut off',
      { ...base, batches: [{ ...batch, visual: [{ found: 5, wanted: 6 }] }] },
      /5 tokens, and the layout asks for 6/,
    ],
    ['a module without gradient', { ...base, squares: [4, 0] }, /gradient of b: 0/],
    ['NaN', { ...base, squares: [NaN, 9] }, /gradient of a: NaN/],
    ['a loss that is none', { ...base, loss: NaN }, /loss NaN/],
  ])('%s', (_what, step, message) => expect(() => refuseWrong(firstChecks(step))).toThrow(message));

  test('A of an addition has no gradient while B is zero, as it is at first: with B’s all is well, and without it not', () => {
    const learned = ['head.lora_A.weight', 'head.lora_B.weight'];
    const added = { ...base, groups: [{ paths: ['*'], members: learned, lr: 1 }], learned };
    expect(firstChecks({ ...added, squares: [0, 4] }).filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
    expect(() => refuseWrong(firstChecks({ ...added, squares: [0, 0] }))).toThrow(/gradient of head: 0/);
  });

  test('spikes and dead modules are noticed once', () => {
    const watch = new Watch();
    for (let i = 0; i < 20; i++) expect(watch.see(2 + 0.01 * Math.sin(i), new Map([['a', 1]]))).toEqual([]);
    expect(watch.see(9, new Map([['a', 0]]))).toEqual([
      expect.stringMatching(/jumps to 9/),
      expect.stringMatching(/a gets no gradient/),
    ]);
    expect(watch.see(2, new Map([['a', 0]]))).toEqual([]);
  });
});

describe('event files', () => {
  test('CRC-32C of RFC 3720', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  test('another reader finds what was written', () => {
    const path = join(folder, 'events.out.tfevents.1');
    const file = new EventFile(path, 1.7e9);
    file.append(1.7e9 + 1, 1, { 'train/loss': 2.5, 'train/lr': 1e-3 });
    file.append(1.7e9 + 2, 300, { 'train/loss': -0.125 });
    expect(readEvents(path)).toEqual([
      { step: 0, version: 'brain.Event:2', scalars: {} },
      { step: 1, version: '', scalars: { 'train/loss': 2.5, 'train/lr': Math.fround(1e-3) } },
      { step: 300, version: '', scalars: { 'train/loss': -0.125 } },
    ]);
  });
});

describe('folders of runs', () => {
  const line = {
    stage: 0,
    epoch: 0,
    gradientNorm: 1,
    learningRate: 1,
    tokens: 5,
    tokensPerSecond: 1,
    skipped: false,
    scale: 1,
    memory: 1,
  };

  test('are listed and compared in what they differ', () => {
    for (const [name, batch, loss] of [
      ['one', 4, 2],
      ['two', 8, 1],
    ] as const) {
      const run = new RunFolder(join(folder, 'runs'), name, false);
      run.writeConfig({ recipe: { name, stages: [{ batch, length: 7 }] } });
      run.append({ ...line, step: 1, loss: 3 });
      run.append({ ...line, step: 2, loss });
    }
    mkdirSync(join(folder, 'runs', 'none'));
    const text = printRuns(listRuns(join(folder, 'runs')));
    expect(text).toMatch(/one +1 +2 +3\.0000 +2\.0000/);
    expect(text).toMatch(/stages\.0\.batch +4 +8/);
    expect(text).not.toMatch(/length/);
  });

  test('refuse a second run, go back to a checkpoint, and pass over a line that was cut off', () => {
    expect(() => new RunFolder(join(folder, 'runs'), 'one', false)).toThrow(/holds a run/);
    const run = new RunFolder(join(folder, 'runs'), 'one', true);
    // JSON has no NaN.
    run.append({ ...line, step: 2, loss: null, evaluation: null });
    expect(run.metrics().map(({ step }) => step)).toEqual([1, 2, 2]);
    run.rewind(0, 1);
    run.append({ ...line, step: 2, loss: 2 });
    writeFileSync(
      join(run.path, 'metrics.jsonl'),
      `${readFileSync(join(run.path, 'metrics.jsonl'), 'utf8')}{"step": 3, "lo`,
    );
    expect(run.metrics().map(({ step }) => step)).toEqual([1, 2]);
    run.rewind(0, 1);
    expect(run.metrics().map(({ step }) => step)).toEqual([1]);
  });

  test('the optimizer of a config is its name and settings', () => {
    expect(JSON.parse(JSON.stringify(adamW()))).toMatchObject({
      name: 'adamw',
      settings: { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
    });
  });
});
