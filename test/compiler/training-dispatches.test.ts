// What a step of training costs beside its forward pass, counted on plans: dispatches, operations, memory.
import { describe, expect, test } from 'vitest';
import { trainingCases } from '../../bench/cases/training.ts';
import { compile, compileTogether } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import type { Plan } from '../../compiler/plan.ts';
import {
  gelu,
  linear,
  randomParams,
  reduce,
  type Float,
  type Params,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { trainGraphs, type StepConfig } from '../../pipelines/train/step/train-graph.ts';

const flopsOf = (plan: Plan): number => plan.dispatches.reduce((sum, { flops }) => sum + flops, 0);
const all = process.env['OPABINIA_ALL'] === '1';

describe('a step beside its forward pass', () => {
  /** Limits of lavapipe, where launches are dear: of its own accord a software device shares no dispatch, and stores scores. */
  const sharing: DeviceProfile = { ...lavapipe, choices: { kernelsInDispatch: 8, storedScores: 0 } };
  /**
   * Without what a forward pass that is all can do: make norms in the products behind them, which a gradient reads, and put towers that see
   * the same beside one another. With it an inference has a fifth to a third fewer launches, and a step as many as before.
   */
  const plain: DeviceProfile = { ...desktopGpu, choices: { reducedRowsColumns: Infinity, narrowWorkgroups: 0 } };
  const profiles = all ? [sharing, plain] : [sharing];
  test.each(profiles.flatMap((profile) => trainingCases.map((one) => [one.name, profile.name, one, profile] as const)))(
    '%s, %s',
    { timeout: 300_000 },
    (_name, _profile, one, profile) => {
      const { forward, graph } = one.build('full');
      if (forward === undefined) throw new TypeError('a step has a forward pass');
      const [before, step] = [compile(forward, profile), compile(graph, profile, { verify: true })];
      expect(step.dispatches.length).toBeLessThanOrEqual(3 * before.dispatches.length);
      expect(flopsOf(step) - flopsOf(before)).toBeLessThanOrEqual(2.5 * flopsOf(before));
    },
  );
});

// Sizes that no range is aligned for, and a gradient that another one reads (positions of GPT-2, then its words).
test.each(
  trainingCases.flatMap((one) =>
    [lavapipe, desktopGpu].map((profile) => [one.name, profile.name, one, profile] as const),
  ),
)('small and odd: %s, %s', (_name, _profile, one, profile) => {
  const plan = compile(one.build('quick').graph, profile, { verify: true });
  expect(plan.states.length).toBeGreaterThan(0);
});

test('workgroups of kernels in one dispatch are no more along an axis than the device allows', () => {
  const maxGrid = 1000;
  const [first] = trainingCases;
  const plan = compile(first?.build('full').graph ?? { outputs: new Map(), updates: [] }, { ...desktopGpu, maxGrid });
  const shared = plan.dispatches.filter(({ label }) => label.includes(' | '));
  const grids = shared.map(({ grid }) => grid.map(Number));
  // Some would have more in one line.
  expect(Math.max(...grids.map(([x = 0, y = 0]) => x * y))).toBeGreaterThan(maxGrid);
  expect(Math.max(...grids.flat())).toBeLessThanOrEqual(maxGrid);
});

describe('parameters that are updated alike', () => {
  const sizes = [128, 320, 192];
  /** The mean square behind three linear maps, each with a GELU. */
  const loss = (t: Trace, p: Params): Tensor<'', 'f32'> => {
    const { dtype } = p.get('layers.0.bias', 'o', { o: 128 });
    const first = t.input('x', 'n c', { n: 48, c: 64 }).cast(dtype) as Tensor<string, Float>;
    const last = sizes.reduce((x, size, i) => {
      const y = linear(p.at('layers', i), x as Tensor<'n c', Float>, 'c', { size });
      return gelu(y, 'tanh') as Tensor<string, Float>;
    }, first);
    const wide = last.cast('f32') as Tensor<string, 'f32'>;
    return reduce(wide.mul(wide), 'n c ->' as never, 'sum') as Tensor<'', 'f32'>;
  };
  const members = sizes.flatMap((_, i) => [`layers.${i}.weight`, `layers.${i}.bias`]);
  const graphsOf = (config: Partial<StepConfig> = {}) =>
    trainGraphs(
      randomParams(1),
      { groups: [{ paths: ['*'], members, lr: 0.1, weightDecay: 0.1 }], optimizer: adamW(), ...config },
      loss,
    );

  test('lie end to end under their own names, and one kernel updates them', () => {
    const { step } = graphsOf();
    const plan = compile(step, lavapipe, { verify: true });
    const updates = plan.dispatches
      .flatMap(({ label }) => label.split(' | '))
      .filter((label) => /^mul\+sub/.test(label));
    expect(updates).toHaveLength(1);
    const values = plan.states.filter(({ name }) => members.includes(name));
    expect(values.map(({ name }) => name).sort()).toEqual([...members].sort());
    expect(new Set(values.map(({ buffer }) => buffer)).size).toBe(1);
    const ends = values
      .map(({ offset, axes }) => [offset, offset + 4 * axes.reduce((n, axis) => n * Number(axis.size), 1)] as const)
      .sort((a, b) => a[0] - b[0]);
    ends.forEach(([start], i) => expect(start).toBeGreaterThanOrEqual(ends[i - 1]?.[1] ?? 0));
  });

  test('of f16 with a scaled loss too: their gradients lie end to end as narrow as they are', () => {
    const { step } = trainGraphs(
      randomParams(1, { dtype: 'f16' }),
      { groups: [{ paths: ['*'], members, lr: 0.1 }], optimizer: adamW(), scaling: {} },
      loss,
    );
    const plan = compile(step, lavapipe, { verify: true });
    const updates = plan.dispatches.flatMap(({ label }) => label.split(' | ')).filter((label) => /again/.test(label));
    // Biases of 320 and 192 in f16 end between the places where bindings may begin: one of them stands alone.
    expect(updates).toHaveLength(2);
    const values = plan.states.filter(({ name }) => members.includes(name));
    expect(new Set(values.map(({ buffer }) => buffer)).size).toBe(2);
  });

  test('other settings, another kernel', () => {
    const { step } = graphsOf({
      groups: [
        { paths: ['*weight'], members: members.filter((path) => path.endsWith('weight')), lr: 0.1, weightDecay: 0.1 },
        { paths: ['*'], members: members.filter((path) => path.endsWith('bias')), lr: 0.1 },
      ],
    });
    const plan = compile(step, lavapipe, { verify: true });
    const values = plan.states.filter(({ name }) => members.includes(name));
    expect(new Set(values.map(({ buffer }) => buffer)).size).toBe(2);
  });

  test('plans that share states lie alike', () => {
    for (const config of [{}, { accumulate: 2 }]) {
      const graphs = graphsOf(config);
      const plans = compileTogether(
        [graphs.accumulate, graphs.step, graphs.evaluate].filter((graph) => graph !== undefined),
        lavapipe,
        { verify: true },
      );
      const [first, ...others] = plans.map(places);
      expect(first?.size).toBe(members.length);
      for (const other of others) expect(other).toEqual(first);
    }
    // By itself a graph has a buffer for each.
    const { step, evaluate } = graphsOf();
    expect(places(compile(evaluate, lavapipe))).not.toEqual(places(compile(step, lavapipe)));
  });

  const places = (plan: Plan): ReadonlyMap<string, string> =>
    new Map(
      plan.states
        .filter(({ name }) => members.includes(name))
        .map(({ name, buffer, offset }) => [name, `${plan.buffers[buffer]?.origin ?? name} ${offset}`]),
    );
});
