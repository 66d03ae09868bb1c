// The plan of a step, on the interpreter: loss scaling by GradScaler's rules, LoRA, averages, freezing, f16 with masters in f32.
import { describe, expect, test } from 'vitest';
import { fixedParams, linear, order, reduce, roleOf, type ParamSource } from '../../../dsl/index.ts';
import { adamW } from '../../../pipelines/train/optimizers/adamw.ts';
import { muon } from '../../../pipelines/train/optimizers/muon.ts';
import type { Optimizer } from '../../../pipelines/train/optimizers/optimizer.ts';
import { sgd } from '../../../pipelines/train/optimizers/sgd.ts';
import { firstStates } from '../../../pipelines/train/run/programs.ts';
import { resolveGroups } from '../../../pipelines/train/step/groups.ts';
import { withLora } from '../../../pipelines/train/step/lora.ts';
import { metricNames, trainGraphs, type LossSum, type StepConfig } from '../../../pipelines/train/step/train-graph.ts';
import { referenceBackend } from '../../../pipelines/verify/backends.ts';
import { numbers } from './mlp.ts';

const source = (dtype: 'f32' | 'f16' = 'f32'): ParamSource =>
  fixedParams(
    {
      'a.weight': { shape: [3, 4], values: numbers(12, 1).map((v) => Math.f16round(v)) },
      'b.weight': { shape: [2, 3], values: numbers(6, 2).map((v) => Math.f16round(v)) },
    },
    { dtype },
  );

/** Σ (B A x)², over rows. */
const squares: LossSum = (t, p) => {
  const like = p.at('a').get('weight', 'o i');
  const x = t.input('x', 'n i', { n: 2, i: 4 }).cast(like.dtype);
  const y = linear(p.at('b'), linear(p.at('a'), x, 'o', { size: 3, bias: false }), 'c', { size: 2, bias: false });
  return reduce(y.cast('f32').mul(y.cast('f32')), 'n c ->', 'sum');
};

interface Setting extends Partial<StepConfig> {
  readonly paths?: readonly string[];
  readonly from?: ParamSource;
  readonly loss?: LossSum;
  readonly optimizer?: Optimizer;
}

async function open(setting: Setting = {}) {
  const from = setting.from ?? source();
  const names = [...(from.names() ?? [])];
  const groups = resolveGroups([{ paths: setting.paths ?? ['*'], lr: 0.1 }], names);
  const optimizer = setting.optimizer ?? sgd();
  const graphs = trainGraphs(from, { ...setting, groups, optimizer }, setting.loss ?? squares);
  const together = await referenceBackend().openTogether?.(
    [graphs.step],
    from,
    firstStates(from, graphs.learned, setting.scaling),
  );
  if (together === undefined) throw new TypeError('the interpreter trains');
  const [run] = together.steps;
  const step = async (scale = 1): Promise<Readonly<Record<string, number>>> => {
    const outputs = await run?.(
      new Map([
        ['x', numbers(8, 5, scale)],
        ['targets', [1]],
        ['rates', [0.01]],
      ]),
      new Map(),
    );
    const metrics = outputs?.get('metrics') ?? [];
    return Object.fromEntries(metricNames.map((name, i) => [name, metrics[i] ?? NaN]));
  };
  const state = async (name: string): Promise<number[]> => Array.from(await together.state(name));
  return { graphs, step, state };
}

describe('loss scaling', () => {
  const scaling = { initial: 8, growth: 2, interval: 3, backoff: 0.5 };

  test('changes no step, grows after three, falls back where a gradient is not finite, and then counts anew', async () => {
    const [scaled, plain] = [await open({ scaling }), await open()];
    const scales: number[] = [];
    for (const huge of [false, false, false, true, false, false, false, false]) {
      const metrics = await scaled.step(huge ? 1e30 : 1);
      if (!huge) await plain.step();
      expect(metrics['applied']).toBe(huge ? 0 : 1);
      scales.push(metrics['scale'] ?? NaN);
    }
    // The scale that each step was taken with.
    expect(scales).toEqual([8, 8, 8, 16, 8, 8, 8, 16]);
    const [own, other] = [await scaled.state('a.weight'), await plain.state('a.weight')];
    own.forEach((value, i) => expect(value).toBeCloseTo(other[i] ?? NaN, 5));
    expect(await scaled.state('updates')).toEqual([7]);
  });

  test('the scale stays a number where it may not grow any more', async () => {
    const run = await open({ scaling: { initial: 2 ** 100, growth: 2 ** 20, interval: 1, backoff: 0.5 } });
    const scales: number[] = [];
    // Gradients of 0: no scale is too large for them.
    for (let i = 0; i < 4; i++) scales.push((await run.step(0))['scale'] ?? NaN);
    expect(scales).toEqual([2 ** 100, 2 ** 120, 2 ** 120, 2 ** 120]);
  });

  test('a skipped step leaves parameters, moments and counters as they were', async () => {
    const run = await open({ optimizer: adamW(), ema: 0.75 });
    await run.step();
    const names = ['a.weight', 'ema.a.weight', 'exp_avg.a.weight', 'exp_avg_sq.a.weight', 'updates', 'correction.0.9'];
    const before = await Promise.all(names.map(run.state));
    expect((await run.step(1e30))['skippedInARow']).toBe(1);
    expect(await Promise.all(names.map(run.state))).toEqual(before);
    expect((await run.step())['skippedInARow']).toBe(0);
  });
});

describe('what learns', () => {
  test('a frozen parameter is not a state, and its gradient is not computed', async () => {
    const { graphs, step, state } = await open({ paths: ['b.weight'] });
    expect(graphs.learned).toEqual(['b.weight']);
    const roles = order(graphs.step).flatMap((node) => (roleOf(node) === 'param' ? [node.attrs['name']] : []));
    expect(roles).toEqual(['a.weight']);
    await step();
    expect(await state('b.weight')).not.toEqual(numbers(6, 2).map((v) => Math.f16round(v)));
    expect(order(graphs.step).length).toBeLessThan(order((await open()).graphs.step).length);
  });

  test('a parameter that the loss does not read is refused', async () => {
    const loss: LossSum = (t, p) =>
      reduce(p.at('a').get('weight', 'o i').cast('f32'), 'o i ->', 'sum').add(
        t.input('x', 'n i', { n: 2, i: 4 }).at('n', 0).at('i', 0),
      );
    await expect(open({ loss })).rejects.toThrow(/not read by the loss: b\.weight/);
  });

  test('an average follows', async () => {
    const run = await open({ ema: 0.75 });
    const first = await run.state('ema.a.weight');
    await run.step();
    const [average, value] = [await run.state('ema.a.weight'), await run.state('a.weight')];
    average.forEach((own, i) => expect(own).toBeCloseTo(0.75 * (first[i] ?? NaN) + 0.25 * (value[i] ?? NaN), 6));
  });

  test('in f16 the masters stay in f32: steps too small for f16 add up', async () => {
    const run = await open({ from: source('f16'), scaling: { initial: 1 } });
    await run.step();
    const value = await run.state('a.weight');
    expect(value.some((v) => Math.f16round(v) !== v)).toBe(true);
  });
});

describe('Muon', () => {
  // torch.optim.Muon of PyTorch 2.13, its iteration in f64 instead of bf16: lr 0.1, decay 0.1, momentum 0.9, three gradients.
  test.each([
    [true, [-0.1274006, 0.1356755, 0.5664378, 0.7955877, 0.8777493, 0.9182234]],
    [false, [-0.1368827, 0.0489317, 0.508983, 0.7639014, 0.8111222, 0.9629929]],
  ])("is PyTorch's, Nesterov %s", async (nesterov, expected) => {
    const from = fixedParams({ 'w.weight': { shape: [3, 2], values: numbers(6, 1) } });
    const groups = [{ paths: ['*'], members: ['w.weight'], lr: 0.1, weightDecay: 0.1 }];
    const graphs = trainGraphs(from, { groups, optimizer: muon({ momentum: 0.9, nesterov }) }, (t, p) =>
      reduce(
        p
          .at('w')
          .get('weight', 'o i')
          .cast('f32')
          .mul(t.input('g', 'o i', { o: 3, i: 2 })),
        'o i ->',
        'sum',
      ),
    );
    const together = await referenceBackend().openTogether?.(
      [graphs.step],
      from,
      firstStates(from, graphs.learned, undefined),
    );
    for (let s = 0; s < 3; s++)
      await together?.steps[0]?.(
        new Map([
          ['g', numbers(6, 10 + s)],
          ['targets', [1]],
          ['rates', [0.1]],
        ]),
        new Map(),
      );
    Array.from((await together?.state('w.weight')) ?? []).forEach((value, i) =>
      expect(value).toBeCloseTo(expected[i] ?? NaN, 5),
    );
  });
});

describe('LoRA', () => {
  test('begins as the model, learns A and B alone, and ends as W + alpha/rank · BA', async () => {
    const base = source();
    const names = [...(base.names() ?? [])];
    const lora = withLora(base, [{ paths: ['a.weight'], rank: 2, alpha: 4 }], names, 7);
    expect(lora.paths).toEqual(['a.lora_A.weight', 'a.lora_B.weight']);
    expect([lora.source.shape('a.lora_A.weight'), lora.source.shape('a.lora_B.weight')]).toEqual([
      [2, 4],
      [3, 2],
    ]);
    const adapted = await open({ from: lora.source, paths: ['*lora_*'], loss: (t, p) => squares(t, lora.wrap(p)) });
    const plain = await open({ paths: ['a.weight'] });
    expect((await adapted.step())['loss']).toBeCloseTo((await plain.step())['loss'] ?? NaN, 5);
    await adapted.step();
    const [a, b] = [await adapted.state('a.lora_A.weight'), await adapted.state('a.lora_B.weight')];
    expect(b.some((v) => v !== 0)).toBe(true);
    const merged = base.read('a.weight', [3, 4]).map((w, at) => {
      const [o, i] = [Math.floor(at / 4), at % 4];
      return w + 2 * ((b[2 * o] ?? 0) * (a[i] ?? 0) + (b[2 * o + 1] ?? 0) * (a[4 + i] ?? 0));
    });
    const whole = await open({
      from: fixedParams({
        'a.weight': { shape: [3, 4], values: merged },
        'b.weight': { shape: [2, 3], values: base.read('b.weight', [2, 3]) },
      }),
    });
    expect((await adapted.step())['loss']).toBeCloseTo((await whole.step())['loss'] ?? NaN, 4);
  });

  test('a glob without a matrix is refused', () =>
    expect(() => withLora(source(), [{ paths: ['q_proj.weight'], rank: 2 }], ['a.weight'], 0)).toThrow(
      /means no matrix/,
    ));
});
