// What the compiler fuses never needs more buffers than a device binds: named cases, every connector and model, and random graphs.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { trainingCases } from '../../bench/cases/training.ts';
import { compile, type CompileOptions, type Stage } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import { verifyPlan } from '../../compiler/verify.ts';
import {
  arange,
  concat,
  einsum,
  gradients,
  layerNorm,
  linear,
  oneHot,
  randomParams,
  rearrange,
  reduce,
  silu,
  slice,
  softmax,
  stack,
  trace,
  type Graph,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { kinds } from '../../pipelines/verify/kinds.ts';
import { graphArbitrary } from '../support/generate.ts';
import { wideSteps } from '../support/wide-steps.ts';
import { attentionOf, connector, mlp, norm, svaLayer, vit } from './full-size.ts';
import { maskedSampler, sampler } from './models.ts';
import { everything, share } from '../support/share.ts';

const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);
const profiles: readonly DeviceProfile[] = [lavapipe, desktopGpu].flatMap((profile) =>
  [8, 10, 16].map((maxBindings) => ({ ...profile, maxBindings, name: `${profile.name} with ${maxBindings} bindings` })),
);

/** Whole models are compiled once for each limit; `OPABINIA_ALL=1` for both kinds of device. */
const someProfiles = everything ? profiles : profiles.filter((_, i) => i === 0 || i === 4);

/** `verify` holds that bindings of one kernel do not overlap. */
function plansOf(graph: Graph, devices = profiles): readonly Plan[] {
  return devices.map((profile) => {
    const plan = compile(graph, profile, { verify: true });
    for (const { label, bindings } of [...plan.load, ...plan.dispatches])
      expect(bindings.length, `${label}, for the ${profile.name}`).toBeLessThanOrEqual(profile.maxBindings);
    return plan;
  });
}

const inputs = (t: Trace, count: number, stem = 'x'): readonly Tensor<'n c', 'f32'>[] =>
  Array.from({ length: count }, (_, i) => t.input(`${stem}${i}`, 'n c', { n: 5, c: 8 }));
const sum = <S extends string>(terms: readonly Tensor<S, 'f32'>[]): Tensor<S, 'f32'> =>
  terms.reduce((all, term) => all.add(term));

describe('more operands than bindings', () => {
  test.each([9, 16, 40])('concat of %i tensors, in stages', (count) => {
    const plans = plansOf(trace(randomParams(1), (t) => ({ y: concat(inputs(t, count), 'n') })));
    // Each stage reads what the device binds besides the result.
    for (const [i, plan] of plans.entries())
      expect(plan.dispatches.length).toBe(Math.ceil(count / ((profiles[i]?.maxBindings ?? 0) - 1)));
  });
  test.each([4, 7, 8, 9])('weights in %i pieces, behind a norm', (pieces) => {
    // Scaling and packing read and write them whole: where that is more than the device binds, they stay as they are.
    const piece = 2 ** 16;
    const graph = trace(randomParams(1), (t) => {
      const x = layerNorm(t.params.at('norm'), t.input('x', 'n c', { n: 5, c: 64 }));
      return { y: linear(t.params.at('head'), x, 'c', { size: (pieces * piece) / 4 / 64 }) };
    });
    plansOf(
      graph,
      profiles
        .filter(({ maxBindings }) => maxBindings > pieces + 2)
        .map((profile) => ({ ...profile, maxBindingBytes: piece })),
    );
  });
  test('weights in more pieces than there are bindings are refused as such', () => {
    const graph = trace(randomParams(1), (t) => ({
      y: linear(t.params.at('head'), t.input('x', 'n c', { n: 5, c: 64 }), 'c', { size: (30 * 2 ** 16) / 4 / 64 }),
    }));
    for (const profile of profiles)
      expect(() => compile(graph, { ...profile, maxBindingBytes: 2 ** 16 })).toThrow(
        /a tensor is bound in 30 parts of 65536 bytes/,
      );
  });
  test('stack of 16', () => {
    plansOf(trace(randomParams(1), (t) => ({ y: stack(inputs(t, 16), 'k') })));
  });
  test('concat of 16 maps of 16 tensors', () => {
    plansOf(
      trace(randomParams(1), (t) => ({
        y: concat(
          inputs(t, 16).map((x, i) => x.mul(i + 2)),
          'c',
        ),
      })),
    );
  });
  test('the same tensors twice, and a concatenation that is there already', () => {
    plansOf(
      trace(randomParams(1), (t) => {
        const x = inputs(t, 15);
        return { y: concat([...x, ...x], 'n'), z: concat(x.slice(0, 7), 'n') };
      }),
    );
  });
  test('norms of one tensor, summed', () => {
    plansOf(
      trace(randomParams(1), (t) => {
        const x = t.input('x', 'b c', { b: 5, c: 32 });
        return { y: sum([0, 1, 2, 3, 4].map((i) => layerNorm(t.params.at(i), x))) };
      }),
    );
  });
  test('twenty linears of one tensor, summed', () => {
    plansOf(
      trace(randomParams(1), (t) => {
        const x = t.input('x', 'b c', { b: 5, c: 32 });
        return { y: sum(Array.from({ length: 20 }, (_, i) => linear(t.params.at(i), x, 'o', { size: 16 }))) };
      }),
    );
  });
  test('a product of two sums of ten', () => {
    plansOf(
      trace(randomParams(1), (t) => {
        const x = inputs(t, 20);
        return { y: sum(x.slice(0, 10)).mul(sum(x.slice(10))) };
      }),
    );
  });
});

/** Two results of one kernel in one concatenation: one binding, or the device refuses the overlap. */
test('parts of one concatenation that one kernel makes are one binding', () => {
  plansOf(sampler(1, 48, 7, [1, 1, 16, 4]));
  plansOf(maskedSampler(2, 48, 7, [1, 1, 16, 4], 16));
});

test('a plan with two writable bindings that overlap is refused', () => {
  const plan = compile(norm(5), lavapipe);
  const [dispatch] = plan.dispatches;
  const kernel = dispatch === undefined ? undefined : plan.kernels[dispatch.kernel];
  const at = kernel?.access.indexOf('read_write') ?? -1;
  const written = dispatch?.bindings[at];
  if (dispatch === undefined || kernel === undefined || written === undefined)
    throw new Error('a norm writes something');
  const twice: Plan = {
    ...plan,
    kernels: plan.kernels.map((k) => (k === kernel ? { ...k, access: [...k.access, 'read_write'] } : k)),
    dispatches: [{ ...dispatch, bindings: [...dispatch.bindings, written] }],
  };
  expect(() => verifyPlan(plan, lavapipe)).not.toThrow();
  expect(() => verifyPlan(twice, lavapipe)).toThrow(/two writable bindings overlap/);
});

// Nyströmformer's iteration: what its gradient computes on the scores, each of their readers would compute for itself.
test.each([2, 4])('gradients of an attention whose weights are inverted in %i steps', (steps) => {
  const graph = trace(randomParams(1), (t) => {
    const [q, k] = [t.input('q', 'b l d', { b: 2, l: 4, d: 6 }), t.input('k', 'b m d', { b: 2, m: 4, d: 6 })];
    const weights = softmax(einsum(q, k, 'b l d, b m d -> b l m'), 'm');
    const eye = oneHot(arange(q, 'l', 4), 'k', 4);
    const less = (whole: number, x: Tensor<'b l k', 'f32'>) => x.neg().add(eye.mul(whole));
    const times = (x: Tensor<'b l k', 'f32'>, y: Tensor<'b l k', 'f32'>) =>
      einsum(rearrange(x, 'b l k -> b l j=(k)'), rearrange(y, 'b l k -> b j=(l) k'), 'b l j, b j k -> b l k');
    let z = rearrange(weights, 'b l m -> b m l');
    for (let step = 0; step < steps; step++) {
      const near = einsum(weights, rearrange(z, 'b m l -> b m k=(l)'), 'b l m, b m k -> b l k');
      const next = less(13, times(near, less(15, times(near, less(7, near)))));
      z = rearrange(einsum(z, next, 'b m l, b l k -> b m k').mul(0.25), 'b m k -> b m l=(k)');
    }
    const [slope] = gradients(reduce(z.mul(z), 'b m l -> ', 'sum'), [q]);
    return { slope };
  });
  plansOf(graph);
});

describe('connectors and models', () => {
  const full: readonly (readonly [string, () => Graph])[] = [
    ["Cambrian-8B's connector", connector],
    ['a block of a ViT', () => vit(1, 768, 12)],
    ['an SVA layer', svaLayer],
    ['an MLP', mlp],
    ['causal attention', () => attentionOf(64, 'causal')],
  ];
  test.each(full)('%s', (_name, build) => {
    plansOf(build(), someProfiles);
  });

  const folder = join(import.meta.dirname, '../golden');
  const files = ['cambrian', 'connectors', 'models'].flatMap((group) =>
    readdirSync(join(folder, group))
      .filter((name) => name.endsWith('.safetensors'))
      .map((name) => join(group, name)),
  );
  test.each(files)('%s', async (name) => {
    const file = new GoldenFile(join(folder, name), 'f32');
    try {
      const model = await kinds.get(file.kind)?.(file);
      const graphs = [model?.graph, ...(model?.conversations ?? []).map((conversation) => conversation.graph)];
      for (const graph of graphs) if (graph !== undefined) plansOf(graph, someProfiles);
    } finally {
      file.checkpoint.close();
    }
  });
});

/** `OPABINIA_ALL=1` runs ten times as many. */
const runs = everything ? 1000 : 80;

/** Nothing but bindings keeps kernels apart: neither how many tensors are together of use, nor how dear a dispatch is. */
const eager = profiles.map((profile) => ({ ...profile, choices: { fusedTensors: 64, kernelsInDispatch: 8 } }));

/** Groups of the main graph that horizontal fusion has made, and those that write states over in place. */
function kernelsOf(graph: Graph, profile: DeviceProfile, options: CompileOptions = {}) {
  const found = { fused: 0, inPlace: 0 };
  const report = (stage: Stage): void => {
    if (stage.name !== 'group' || stage.which !== 'main') return;
    const rows = stage.grouping.groups.filter((one) => one.template === 'rows');
    found.fused += rows.filter(({ roots }) => roots.length > 1).length;
    found.inPlace += stage.grouping.inPlace.length;
  };
  const plan = compile(graph, profile, { ...options, verify: true, report });
  for (const { label, bindings } of [...plan.load, ...plan.dispatches])
    expect(bindings.length, `${label}, for the ${profile.name}`).toBeLessThanOrEqual(profile.maxBindings);
  return { plan, ...found, shared: plan.dispatches.filter(({ label }) => label.includes(' | ')).length };
}

describe.each(eager)('as much together as the $name allows', (profile) => {
  // Each reads x, its scale and its shift, and writes a result.
  test('twelve norms of one tensor', () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'b c', { b: 5, c: 32 });
      return Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`y${i}`, layerNorm(t.params.at('norm', i), x)]));
    });
    const { fused, plan } = kernelsOf(graph, profile);
    expect(fused).toBeGreaterThan(0);
    expect(plan.dispatches.length).toBeLessThanOrEqual(Math.ceil(12 / Math.floor(profile.maxBindings / 4)));
  });
  test('twelve softmaxes of twelve tensors', () => {
    const graph = trace(randomParams(1), (t) =>
      Object.fromEntries(inputs(t, 12).map((x, i) => [`y${i}`, softmax(x, 'c')])),
    );
    const { fused, plan } = kernelsOf(graph, profile);
    expect(fused).toBeGreaterThan(0);
    expect(plan.dispatches.length).toBe(Math.ceil(12 / Math.floor(profile.maxBindings / 2)));
  });
});

/** Four maps that read from where a run says. */
const moved = (t: Trace) => {
  const start = t.symbol('start', { atLeast: 0, upTo: 2 });
  return Object.fromEntries(inputs(t, 4, 'moved').map((x, i) => [`w${i}`, slice(x, 'n', { start, size: 2 }).neg()]));
};

test.each(eager)('light maps beside sizes of a run, for the $name', (profile) => {
  const graph = trace(randomParams(1), (t) => ({
    ...Object.fromEntries(inputs(t, 12).map((x, i) => [`y${i}`, x.mul(i + 2)])),
    ...moved(t),
    z: t.input('z', 's', { s: t.symbol('s', { upTo: 9 }) }).neg(),
  }));
  const { plan } = kernelsOf(graph, profile);
  // Each map takes two bindings; the sizes of the run one, where a map reads them.
  const some = Math.min(8, Math.floor(profile.maxBindings / 2));
  const reading = Math.min(8, Math.floor((profile.maxBindings - 1) / 2));
  expect(plan.dispatches.length).toBeLessThanOrEqual(1 + Math.ceil(12 / some) + Math.ceil(4 / reading));
  for (const { kernel, bindings } of plan.dispatches) {
    expect(bindings.length).toBeLessThanOrEqual(profile.maxBindings);
    expect(bindings.length).toBe(plan.kernels[kernel]?.access.length);
  }
});

test.each(eager.slice(3))('gate and up of one row with all that is added to them, for the $name', (profile) => {
  const dispatches = Array.from({ length: profile.maxBindings }, (_, more) => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c', { n: 1, c: 64 });
      const [gate, up] = [
        linear(t.params.at('gate'), x, 'o', { size: 64 }),
        linear(t.params.at('up'), x, 'o', { size: 64 }),
      ];
      const added = Array.from({ length: more }, (__, i) => t.input(`x${i}`, 'n o', { n: 1, o: 64 }));
      return { y: sum([silu(gate).mul(up), ...added]) };
    });
    return kernelsOf(graph, { ...profile, choices: { ...profile.choices, kernelsInDispatch: 1 } }).plan.dispatches
      .length;
  });
  expect(dispatches[0]).toBe(1);
});

test.each(
  trainingCases.flatMap((one) =>
    (everything ? eager : eager.slice(0, 2)).map((profile) => [one.name, profile.name, one, profile] as const),
  ),
)('a training step, %s, for the %s', (_name, _profile, one, profile) => {
  const { inPlace, shared } = kernelsOf(one.build('quick').graph, profile);
  expect(inPlace).toBeGreaterThan(0);
  expect(shared).toBeGreaterThan(0);
});

test(
  `random graphs, seed ${seed}`,
  () => {
    const profile = fc.constantFrom(...profiles, ...eager);
    const some = fc.constantFrom(true, true, false);
    const wide = graphArbitrary({ steps: wideSteps, maxNodes: 80, sizes: [3, 4, 8, 5, 12, 16, 1] });
    const met = { fused: 0, inPlace: 0, shared: 0, full: 0 };
    const run = (graphs: typeof wide, numRuns: number): void => {
      fc.assert(
        fc.property(graphs, profile, some, ({ graph }, device, packing) => {
          const { plan, ...kernels } = kernelsOf(graph, device, { packing });
          for (const what of ['fused', 'inPlace', 'shared'] as const) met[what] += Number(kernels[what] > 0);
          met.full += Number(plan.dispatches.some(({ bindings }) => bindings.length === device.maxBindings));
        }),
        { numRuns, seed },
      );
    };
    run(wide, runs);
    // A property that meets none of what it is about says nothing. Each is in a tenth of the wide graphs and more.
    for (const [what, count] of Object.entries(met)) expect(count, what).toBeGreaterThan(0);
    run(graphArbitrary(), runs);
  },
  share(300_000, 3_600_000),
);
