// What must hold of plans, without a GPU: numbers of kernels, and memory against a bound that is counted here once more.
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import type { Plan, PlanDispatch } from '../../compiler/plan.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { einsum, randomParams, trace } from '../../dsl/index.ts';
import { order } from '../../dsl/graph/walk.ts';
import { sampledMap } from './sampling-graph.ts';
import { attentionOf, connector, mlp, norm, softmaxOver, svaLayer, vit } from './full-size.ts';

const profiles = [lavapipe, desktopGpu];

describe.each(profiles)('kernels, for the $name', (profile) => {
  const kernels = (graph: Graph): number => compile(graph, profile, { verify: true }).dispatches.length;

  test('linear → gelu → linear + residual are two', () => expect(kernels(mlp())).toBe(2));
  test.each([5, 577, 1024])('layerNorm over %i is one', (c) => expect(kernels(norm(c))).toBe(1));
  test.each([5, 1000, 4096])('softmax over %i is one', (c) => expect(kernels(softmaxOver(c))).toBe(1));
  test.each([1, 7, 64, 80, 128, 256])('attention with heads of %i is one', (d) => {
    for (const variant of ['full', 'causal', 'grouped', 'per region'] as const) {
      const plan = compile(attentionOf(d, variant), profile, { verify: true });
      expect(
        plan.dispatches.map((dispatch) => dispatch.label),
        variant,
      ).toEqual(['attention']);
      // Scores are never stored.
      expect(plan.memory.activations).toBe(0);
    }
  });
  test('a pre-norm block of a ViT are at most 7', () => expect(kernels(vit(1, 1024, 16))).toBeLessThanOrEqual(7));
  test('every further block adds as many, and none of another text', () => {
    const [four, eight] = [
      compile(vit(4, 768, 12), profile, { verify: true }),
      compile(vit(8, 768, 12), profile, { verify: true }),
    ];
    expect(four.dispatches.length).toBeLessThanOrEqual(28);
    expect(eight.dispatches.length).toBe(2 * four.dispatches.length);
    expect(eight.kernels.length).toBe(four.kernels.length);
  });
  test('bilinear sampling at offset points, summed over samples, is one', () => expect(kernels(sampledMap())).toBe(1));
  test('one SVA layer with four encoders are at most 20', () => expect(kernels(svaLayer())).toBeLessThanOrEqual(20));
});

test('many small products get the tile of one as large as all of them', () => {
  const gridOf = (h: number, k: number) => {
    const graph = trace(randomParams(1), (t) => {
      const [a, b] = [t.input('a', 'h m k', { h, m: 128, k }), t.input('b', 'h n k', { h, n: 128, k })];
      return { y: einsum(a, b, 'h m k, h n k -> h m n') };
    });
    const { dispatches } = compile(graph, lavapipe, { verify: true });
    return dispatches.find(({ label }) => label === 'contract')?.grid.slice(0, 2);
  };
  expect(gridOf(64, 64)).toEqual(gridOf(1, 64 * 64));
  expect(gridOf(2, 64)).toEqual(gridOf(1, 64));
  expect(gridOf(64, 64)).not.toEqual(gridOf(1, 64));
});

/** What compile time grows with; the time itself is in bench/compile.ts. */
test("Cambrian-8B's connector stays small", () => {
  const graph = connector();
  expect(order(graph).length).toBeLessThan(1000);
  const plan = compile(graph, desktopGpu, { verify: true });
  // Three layers of at most 20, and before and after them what the aggregator does once.
  expect(plan.dispatches.length).toBeLessThanOrEqual(72);
  // Three layers share their kernels' text, and so do the encoders of one size.
  expect(plan.kernels.length).toBeLessThan((plan.dispatches.length + plan.load.length) / 2);
});

// ---- memory -----------------------------------------------------------------------------------------------------

interface Value {
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
  readonly from: number;
  to: number;
  read: boolean;
}

/** Which bindings a kernel writes, as its own text says: results are called y0, y1, … */
function writes(plan: Plan, dispatch: PlanDispatch): readonly boolean[] {
  const names = [
    ...(plan.kernels[dispatch.kernel]?.wgsl ?? '').matchAll(/@binding\(\d+\) var<storage, \w+> (\w+):/g),
  ].map((match) => match[1] ?? '');
  if (names.length !== dispatch.bindings.length)
    throw new Error(
      `${names.length} bindings in the text of ${dispatch.label}, ${dispatch.bindings.length} in the plan`,
    );
  return names.map((name) => /^y\d+$/.test(name));
}

/** The activations, from the bindings alone: a range that is written after it was read holds a new value, which lives until it is last bound. */
function valuesOf(plan: Plan): readonly Value[] {
  const current = new Map<string, Value>();
  const values: Value[] = [];
  plan.dispatches.forEach((dispatch, at) => {
    const written = writes(plan, dispatch);
    dispatch.bindings.forEach(({ buffer, offset, bytes }, i) => {
      if (plan.buffers[buffer]?.role !== 'arena') return;
      const key = `${buffer} ${offset} ${bytes}`;
      const known = current.get(key);
      if (known !== undefined && !(written[i] === true && known.read)) {
        known.to = at;
        known.read ||= written[i] !== true;
        return;
      }
      if (written[i] !== true) throw new Error(`${dispatch.label} reads what nothing has written`);
      const value = { buffer, offset, bytes, from: at, to: at, read: false };
      current.set(key, value);
      values.push(value);
    });
  });
  return values;
}

/** In whole units of the device's alignment. */
function largestLiveSum(plan: Plan, values: readonly Value[], alignment: number): number {
  const live = (at: number): number =>
    values
      .filter((v) => v.from <= at && at <= v.to)
      .reduce((sum, v) => sum + Math.ceil(v.bytes / alignment) * alignment, 0);
  return plan.dispatches.reduce((most, _, at) => Math.max(most, live(at)), 0);
}

describe.each(profiles)('activations, for the $name', (profile) => {
  const cases: readonly (readonly [string, () => Graph])[] = [
    ["Cambrian-8B's connector", connector],
    ['a ViT of 12 layers', () => vit(12, 768, 12)],
    ['an SVA layer', svaLayer],
  ];
  test.each(cases)('%s: at most 1.15 × what lives at once, nothing alive overlaps', (_name, build) => {
    const plan = compile(build(), profile, { verify: true });
    const values = valuesOf(plan);
    const bound = largestLiveSum(plan, values, profile.offsetAlignment);
    expect(bound).toBeGreaterThan(0);
    expect(plan.memory.liveBound).toBe(bound);
    expect(plan.memory.activations).toBeLessThanOrEqual(1.15 * bound);
    expect(plan.memory.activations).toBe(
      plan.buffers
        .filter((buffer) => buffer.role === 'arena' && buffer.transient !== true)
        .reduce((sum, buffer) => sum + buffer.bytes, 0),
    );
    const clash = values.find((a, i) =>
      values.some(
        (b, j) =>
          j > i &&
          a.buffer === b.buffer &&
          a.from <= b.to &&
          b.from <= a.to &&
          a.offset < b.offset + b.bytes &&
          b.offset < a.offset + a.bytes,
      ),
    );
    expect(clash).toBe(undefined);
  });
});
