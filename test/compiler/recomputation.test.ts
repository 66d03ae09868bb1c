// What a training step keeps for its backward pass and what it computes again: the cheapest cut, the bytes on the plan, the same numbers.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { explain } from '../../compiler/explain.ts';
import { leastCut, type Network } from '../../compiler/passes/least-cut.ts';
import { print } from '../../dsl/text/print.ts';
import { passes } from '../../compiler/passes/index.ts';
import { recomputation } from '../../compiler/passes/recomputation.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import { runPasses } from '../../compiler/rewrite/pass.ts';
import { gelu, layerNorm, linear, order, randomParams, reduce, type Graph, type Tensor } from '../../dsl/index.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';

describe('the least cut', () => {
  /** Ways lead from smaller vertices to larger ones. */
  const networks = fc
    .array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 9 })
    .chain((costs) =>
      fc.record({
        costs: fc.constant(costs),
        next: fc.tuple(
          ...costs.map((_, v) => fc.uniqueArray(fc.integer({ min: v + 1, max: costs.length }), { maxLength: 3 })),
        ),
        starts: fc.uniqueArray(fc.nat(costs.length - 1), { minLength: 1, maxLength: 3 }),
        ends: fc.uniqueArray(fc.nat(costs.length - 1), { minLength: 1, maxLength: 3 }).map((ends) => new Set(ends)),
      }),
    )
    .map((network): Network => ({
      ...network,
      next: network.next.map((others) => others.filter((other) => other < network.costs.length)),
    }));

  const parts = ({ next, starts, ends }: Network, cut: ReadonlySet<number>): boolean => {
    const seen = new Set<number>();
    const open = [...starts];
    for (let v = open.pop(); v !== undefined; v = open.pop()) {
      if (cut.has(v) || seen.has(v)) continue;
      if (ends.has(v)) return false;
      seen.add(v);
      open.push(...(next[v] ?? []));
    }
    return true;
  };
  const costOf = ({ costs }: Network, cut: ReadonlySet<number>): number =>
    [...cut].reduce((sum, v) => sum + (costs[v] ?? 0), 0);

  test('parts starts from ends, and no set of vertices does so for less', () => {
    fc.assert(
      fc.property(networks, (network) => {
        const cut = leastCut(network);
        expect(parts(network, cut)).toBe(true);
        for (let bits = 0; bits < 2 ** network.costs.length; bits++) {
          const other = new Set(network.costs.flatMap((_, v) => ((bits >> v) & 1 ? [v] : [])));
          if (parts(network, other)) expect(costOf(network, other)).toBeGreaterThanOrEqual(costOf(network, cut));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('of two that cost the same, the one nearer to the starts; what cannot be cut is not', () => {
    const chain = { next: [[1], [2], []], starts: [0], ends: new Set([2]) };
    expect(leastCut({ ...chain, costs: [4, 4, 4] })).toEqual(new Set([0]));
    expect(leastCut({ ...chain, costs: [Infinity, 4, 4] })).toEqual(new Set([1]));
    expect(leastCut({ ...chain, costs: [4, 4, 3] })).toEqual(new Set([2]));
  });
});

const sizes = { n: 64, d: 32, w: 128 };
const blocks = 4;

/** A step of blocks of a norm and an MLP. */
function step(n: number = sizes.n, depth = blocks): Graph {
  const source = randomParams(3);
  const paths = Array.from({ length: depth }, (_, i) => `blocks.${i}.*`);
  const members = Array.from({ length: depth }, (_, i) =>
    ['norm.weight', 'norm.bias', 'up.weight', 'up.bias', 'down.weight', 'down.bias'].map(
      (name) => `blocks.${i}.${name}`,
    ),
  ).flat();
  const options = { groups: [{ paths, members, lr: 1e-3, weightDecay: 0 }], optimizer: adamW() };
  return trainGraphs(source, options, (t, p) => {
    let x: Tensor<'n d', 'f32'> = t.input('x', 'n d', { n, d: sizes.d });
    for (let i = 0; i < depth; i++) {
      const block = p.at('blocks', i);
      const wide = gelu(linear(block.at('up'), layerNorm(block.at('norm'), x), 'w', { size: sizes.w }));
      x = x.add(linear(block.at('down'), wide, 'd', { size: sizes.d }));
    }
    return reduce(x.mul(x), 'n d ->', 'mean');
  }).step;
}

const without = passes.filter((pass) => pass !== recomputation);

const willing: DeviceProfile = { ...lavapipe, choices: { recomputes: true } };

describe.each([desktopGpu, willing])('a step of norms and MLPs, for the $name', (profile) => {
  // Activations are large beside gradients, as they are in a model.
  const graph = step(4096);
  const [kept, again] = [without, passes].map((some) => compile(graph, profile, { passes: some, verify: true }));

  test('holds the operands of norms and activations, and not what is computed of them', () => {
    // Each block is kept as its input and the product before its GELU, of all of: the normalised input, its weighted form, the GELU, its
    // two factors. What is live beside it at the turn and in the backward pass of one block is less than another block.
    const bytes = 4 * 4096 * blocks * (sizes.d + sizes.w);
    expect(again?.memory.liveBound).toBeLessThan(1.75 * bytes);
    expect(again?.memory.liveBound).toBeLessThan(0.7 * (kept?.memory.liveBound ?? 0));
    expect(again?.memory.activations).toBeLessThanOrEqual(1.1 * (again?.memory.liveBound ?? 0));
  });

  test('and explain says so', () => {
    expect(explain(graph, profile)).toMatch(/== recompute .* nodes: value computed again ×\d+/);
  });
});

test('a block of a deep model is computed again as one of a shallow model is', () => {
  const [shallow, deep] = [blocks, 24 * blocks].map((depth) => {
    let values = 0;
    runPasses(
      step(sizes.n, depth),
      [recomputation],
      (report) => (values = [...report.fired.values()].reduce((a, b) => a + b, 0)),
      {
        profile: desktopGpu,
      },
    );
    return values / depth;
  });
  expect(shallow).toBeGreaterThan(1);
  // The first and the last block may be others than those between.
  expect(deep).toBeGreaterThan(0.9 * (shallow ?? Infinity));
});

test('a software device, whose memory is cheap beside its time, keeps what it made', () => {
  const after = runPasses(step(), [recomputation], undefined, { profile: lavapipe });
  expect(print(after)).toBe(print(runPasses(step(), [], undefined, { profile: lavapipe })));
});

test('what is computed again is what it was: all values of a step are the same, to the bit', () => {
  const graph = step();
  const rewritten = runPasses(graph, [recomputation], undefined, { verify: true, profile: desktopGpu });
  expect(order(rewritten).length).toBeGreaterThan(order(graph).length);
  const inputs = {
    x: Float32Array.from({ length: sizes.n * sizes.d }, (_, i) => Math.sin(i)),
    targets: Float32Array.of(1),
    rates: Float32Array.of(1e-3),
  };
  const run = (some: Graph): Record<string, unknown> => {
    const running = interpret(some, randomParams(3));
    return { ...running.run(inputs), second: running.run(inputs) };
  };
  expect(run(rewritten)).toEqual(run(graph));
});

test('a graph that learns nothing is left as it is', () => {
  const graph = { ...step(), updates: [] };
  expect(runPasses(graph, [recomputation], undefined, { profile: desktopGpu }).outputs.size).toBe(graph.outputs.size);
  const fired: string[] = [];
  compile(graph, desktopGpu, {
    report: (stage) => {
      if (stage.name === 'pass' && stage.report.pass === recomputation) fired.push(...stage.report.fired.keys());
    },
  });
  expect(fired).toEqual([]);
});
