// What backward passes hold and do, counted on their plans: nothing as large as the scores of an attention or the logits of a vocabulary,
// nothing of what is frozen, and no more memory than what lives at once.
import { elementsOf } from '../../dsl/axis/axes.ts';
import { describe, expect, test } from 'vitest';
import { compile, type Stage } from '../../compiler/compile.ts';
import { bytesOf } from '../../compiler/cost.ts';
import type { Plan } from '../../compiler/plan.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import {
  attention,
  conv2d,
  gelu,
  gradients,
  layerNorm,
  linear,
  linearCrossEntropy,
  randomParams,
  recompute,
  reduce,
  trace,
  type Float,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';

interface Compiled {
  readonly plan: Plan;
  /** What kernels store, states and outputs among it. */
  readonly stored: readonly Node[];
  readonly products: readonly Node[];
}

function compiled(graph: Graph, profile: DeviceProfile, verify = true): Compiled {
  const [stored, products]: [Node[], Node[]] = [[], []];
  const report = (stage: Stage): void => {
    if (stage.name !== 'group' || stage.which !== 'main') return;
    stored.push(...stage.grouping.groups.flatMap((g) => g.roots));
    products.push(...stage.grouping.groups.flatMap((g) => (g.template === 'contract' ? [g.contract] : [])));
  };
  return { plan: compile(graph, profile, { verify, report }), stored, products };
}

const elements = (node: Node): number => elementsOf(node.type.axes);

describe.each([desktopGpu, lavapipe])('attention backward, for the $name', (profile) => {
  test.each([true, false])('2,048 × 2,048 with 32 heads (causal: %s): at most 6 kernels, and no scores', (causal) => {
    const [h, n, d] = [32, 2048, 128];
    const graph = trace(randomParams(1), (t) => {
      const [q, k, v] = [
        t.input('q', 'h s d', { h, s: n, d }),
        t.input('k', 'h t d', { h, t: n, d }),
        t.input('v', 'h t d', { h, t: n, d }),
      ];
      const y = attention(q, k, v, { key: 't', along: 'd', causal });
      const loss = reduce(y.mul(t.input('up', 'h s d', { h, s: n, d })), 'h s d ->', 'sum');
      const [dq, dk, dv] = gradients(loss, [q, k, v]);
      return { y, dq, dk, dv };
    });
    // Each in a dispatch of its own, so that its text can be told.
    const { plan, stored } = compiled(graph, { ...profile, choices: { narrowWorkgroups: 0 } }, false);
    expect(plan.dispatches.length).toBeLessThanOrEqual(6);
    expect(Math.max(...stored.map(elements))).toBeLessThanOrEqual(h * n * d);
    expect(plan.memory.activations).toBeLessThan(2 ** 21);
    // By queries a kernel ends behind the last key that is seen; by keys and by values it begins with the first query that sees the key.
    const loops = (loop: RegExp): number =>
      plan.dispatches.filter(({ label, kernel }) => label === 'contract' && loop.test(plan.kernels[kernel]?.wgsl ?? ''))
        .length;
    expect([loops(/for \(var t = 0u; t < seen;/), loops(/for \(var s = t; s < 2048u;/)]).toEqual(
      causal ? [1, 2] : [0, 0],
    );
  });

  test('19 keys to a query: one kernel forward, four backward', () => {
    const sizes = { b: 1, q: 576, h: 16, d: 64 };
    const graph = trace(randomParams(1), (t) => {
      const q = t.input('q', 'b q h d', sizes);
      const [k, v] = [t.input('k', 'b q t h d', { ...sizes, t: 19 }), t.input('v', 'b q t h d', { ...sizes, t: 19 })];
      const y = attention(q, k, v, { key: 't', along: 'd' });
      const loss = reduce(y.mul(t.input('up', 'b q h d', sizes)), 'b q h d ->', 'sum');
      const [dq, dk, dv] = gradients(loss, [q, k, v]);
      return { y, dq, dk, dv };
    });
    expect(compiled(graph, profile).plan.dispatches.length).toBeLessThanOrEqual(5);
  });
});

describe.each([desktopGpu, lavapipe])('convolution backward, for the $name', (profile) => {
  /** Plans of y, and of dx alone. */
  const plans = (
    kernel: number,
    options: { readonly stride?: number; readonly groups?: number; readonly dilation?: number },
  ) => {
    const graphOf = (backward: boolean): Graph =>
      trace(
        randomParams(1),
        (t) => {
          const x = t.input('x', 'b h w c', { b: 2, h: 32, w: 32, c: 64 });
          const padding = ((options.dilation ?? 1) * (kernel - 1)) >> 1;
          const y = conv2d(t.params, x, { out: 'c', size: 64, kernel, padding, bias: false, ...options });
          if (!backward) return { y };
          const up = t.input('up', 'b h w c', { b: 2, h: y.size('h'), w: y.size('w'), c: 64 });
          return { dx: gradients(reduce(y.mul(up), 'b h w c ->', 'sum'), [x])[0] };
        },
        { unread: 'ignore' },
      );
    return [
      compile(graphOf(false), profile, { verify: true }),
      compile(graphOf(true), profile, { verify: true }),
    ] as const;
  };
  const flops = (plan: Plan): number => plan.dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0);

  test.each([
    [3, {}],
    [5, {}],
    [3, { dilation: 2 }],
    [7, { groups: 64 }],
  ] as const)('a filter of %i, %o: one kernel as its forward, and no windows are stored', (kernel, options) => {
    const [forward, backward] = plans(kernel, options);
    expect(backward.dispatches).toHaveLength(1);
    expect(backward.memory.activations).toBe(0);
    expect(flops(backward)).toBeLessThanOrEqual(1.02 * flops(forward));
  });

  test('between strides no zero is multiplied', () => {
    const [forward, backward] = plans(3, { stride: 2 });
    expect(flops(backward)).toBeLessThanOrEqual(1.05 * flops(forward));
  });
});

test('cross-entropy with a head of 128,256 classes: at most 256 MiB beside the weights', () => {
  const [s, e, v] = [2048, 4096, 128256];
  const graph = trace(randomParams(1), (t) => {
    const hidden = t.input('hidden', 's e', { s, e });
    const labels = t.input('labels', 's', { s }, 'i32');
    const loss = linearCrossEntropy(hidden, t.params.get('head', 'v e', { v, e }), labels);
    return { loss, d: gradients(loss, [hidden])[0] };
  });
  const { plan, stored } = compiled(graph, desktopGpu, false);
  expect(plan.memory.activations).toBeLessThanOrEqual(256 * 2 ** 20);
  expect(Math.max(...stored.map((node) => bytesOf(node.type)))).toBeLessThanOrEqual(64 * 2 ** 20);
});

test.each([
  ['f16', 1],
  ['f16', 2],
  ['f32', 1],
] as const)(
  'a head of 128,256 classes that learns, %s, the last of %i micro-batches: beside its gradient, as wide as the model is, at most 256 MiB',
  (dtype, accumulate) => {
    const [s, e, v] = [2048, 4096, 128256];
    const { step } = trainGraphs(
      randomParams(0, { dtype }),
      {
        groups: [{ paths: ['head'], members: ['head'], lr: 1e-3 }],
        optimizer: adamW(),
        clip: 1,
        scaling: {},
        accumulate,
      },
      (t, p) => {
        const hidden = t.input('hidden', 's e', { s, e }).cast(dtype);
        const labels = t.input('labels', 's', { s }, 'i32');
        return linearCrossEntropy<'s e', 'v e', Float, 's'>(hidden, p.get('head', 'v e', { v, e }), labels);
      },
    );
    const { plan } = compiled(step, desktopGpu, false);
    // The norm of all gradients is known when the last of them is, so the head's waits for it, once.
    const gradient = v * e * dtypeBytes(dtype);
    expect(plan.memory.liveBound).toBeGreaterThanOrEqual(gradient);
    expect(plan.memory.liveBound).toBeLessThanOrEqual(gradient + 256 * 2 ** 20);
  },
);

/** A tower, a connector and a language model of one block each, as wide as is quick to compile. */
function model(t: Trace, trained: readonly string[], again = false): Record<string, Tensor> {
  const x = t.input('x', 'n d', { n: 256, d: 64 });
  const block = (name: string) => (y: Tensor<'n d', 'f32'>) => {
    const p = t.params.at(name);
    const wide = gelu(linear(p.at('up'), layerNorm(p.at('norm'), y), 'w', { size: 256 }));
    return y.add(linear(p.at('down'), wide, 'd', { size: 64 }));
  };
  const run = (name: string, y: Tensor<'n d', 'f32'>) => (again ? recompute(block(name), y) : block(name)(y));
  const names = ['tower.0', 'tower.1', 'connector', 'language.0', 'language.1', 'language.2'];
  const y = names.reduce((z, name) => run(name, z), x as Tensor<'n d', 'f32'>);
  const paths = names
    .filter((name) => trained.some((part) => name.startsWith(part)))
    .flatMap((name) => [`${name}.up.weight`, `${name}.down.weight`]);
  const found = gradients(
    reduce(y.mul(y), 'n d ->', 'sum'),
    paths.map((path) => t.params.get(path, 'o i')),
  );
  return Object.fromEntries(found.map((gradient, i) => [`d ${paths[i] ?? ''}`, gradient]));
}

const graphOf = (trained: readonly string[], again = false): Graph =>
  trace(randomParams(1), (t) => model(t, trained, again), { unread: 'ignore' });

describe('what is frozen costs nothing backward', () => {
  const { plan, stored, products } = compiled(graphOf(['connector']), desktopGpu);

  test('no activation of the tower is kept for the backward pass', () => {
    const first = stored.findIndex((node) => node.origin.path.startsWith('connector'));
    expect(first).toBeGreaterThan(0);
    const late = plan.dispatches.slice(first).filter(({ path }) => path.startsWith('tower'));
    expect(late).toEqual([]);
  });

  test('no gradient of a weight of the tower or the language model is computed', () => {
    const ofWeights = products.filter((node) => node.type.axes.every((axis) => axis.name !== 'n'));
    expect(ofWeights.map((node) => node.origin.path).toSorted()).toEqual(['connector.down', 'connector.up']);
    expect(plan.outputs.map(({ name }) => name)).toEqual(['d connector.up.weight', 'd connector.down.weight']);
  });
});

describe('activations of a training step', () => {
  test.each([desktopGpu, lavapipe])('at most 1.1 × what lives at once, for the $name', (profile) => {
    const { memory } = compiled(graphOf(['connector', 'language']), profile).plan;
    expect(memory.activations).toBeLessThanOrEqual(1.1 * memory.liveBound);
  });

  test('blocks that are computed again hold less', () => {
    const names = ['tower', 'connector', 'language'];
    const [kept, again] = [false, true].map((flag) => compiled(graphOf(names, flag), desktopGpu).plan.memory.liveBound);
    expect(again).toBeLessThan(0.75 * (kept ?? 0));
  });
});
