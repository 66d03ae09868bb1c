// Queries, keys and values by one kernel that also rotates them and writes keys and values where their caches have them: by few rows, by tiles in
// workgroup memory, by matrix units; and what is not written so, because a thread would need columns that it does not make.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import {
  concat,
  einsum,
  flip,
  linear,
  randomParams,
  rearrange,
  repeat,
  rmsNorm,
  slice,
  softmax,
  trace,
  where,
  type Float,
  type Graph,
  type Tensor,
} from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { adapterFacts, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { complaints, paperProfiles } from './matrix-profiles.ts';

interface Choice {
  readonly rows: number;
  /** Heads of keys, queries to each, channels of a head, and width of the rows. */
  readonly g: number;
  readonly r: number;
  readonly d: number;
  readonly e: number;
  readonly dtype: Float;
  /** Which channels a rotation brings together. */
  readonly turns: 'halves' | 'neighbours' | 'part' | 'not';
  /** Where new keys go: behind the old ones, to the beginning, or where each row says, one of them a row. */
  readonly place: 'behind' | 'start' | 'each row';
  readonly past: number;
  readonly bias: boolean;
  readonly norm: boolean;
  readonly format: 'floats' | 'q4' | 'q8';
}

const capacity = 20;

function turned(x: Tensor<'b s h d', Float>, turns: Choice['turns'], angles: Angles): Tensor<'b s h d', Float> {
  const { cos, sin } = angles;
  if (turns === 'not') return x;
  if (turns === 'part') {
    const d = x.size('d');
    return concat(
      [turned(slice(x, 'd', { size: d / 2 }), 'halves', angles), slice(x, 'd', { start: d / 2, size: d / 2 })],
      'd',
    );
  }
  const wide = x.cast('f32');
  const two =
    turns === 'halves'
      ? rearrange(wide, 'b s h (half f) -> b s h half f', { half: 2 })
      : rearrange(wide, 'b s h (f half) -> b s h half f', { half: 2 });
  const both = two.mul(cos).add(flip(two, 'half').mul(sin));
  const back =
    turns === 'halves'
      ? rearrange(both, 'b s h half f -> b s h d=(half f)')
      : rearrange(both, 'b s h half f -> b s h d=(f half)');
  return back.cast(x.dtype);
}

interface Angles {
  readonly cos: Tensor<'s f', 'f32'>;
  readonly sin: Tensor<'s half f', 'f32'>;
}

function built(choice: Choice) {
  const { rows, g, r, d, e, dtype, turns, place, bias, norm, format } = choice;
  const sizes = { q: g * r * d, k: g * d, v: g * d };
  const shapes = new Map<string, readonly number[]>([['layers.0.norm.weight', [e]]]);
  for (const [name, size] of Object.entries(sizes)) {
    shapes.set(`layers.0.attention.${name}.weight`, [size, e]);
    shapes.set(`layers.0.attention.${name}.bias`, [size]);
  }
  const floats = shapedParams(shapes, randomParams(7, { dtype }));
  const source = format === 'floats' ? floats : quantizedSource(floats, { format, least: 1 });
  const [b, s] = place === 'each row' ? [rows, 1] : [1, rows];
  const f = (turns === 'part' ? d / 2 : d) / 2;
  const graph = trace(
    source,
    (t) => {
      const layer = t.params.at('layers', 0);
      const x: Tensor<'b s e', Float> = t.input('x', 'b s e', { b, s, e }, dtype);
      const normed = norm ? rmsNorm(layer.at('norm'), x, { axis: 'e' }) : x;
      const angles: Angles = {
        cos: t.input('cos', 's f', { s, f }),
        sin: t.input('sin', 's half f', { s, half: 2, f }),
      };
      const heads = (name: keyof typeof sizes, count: number): Tensor<'b s h d', Float> =>
        rearrange(
          linear(layer.at('attention').at(name), normed, 'o', { size: sizes[name], bias }),
          'b s (h d) -> b s h d',
          {
            h: count,
            d,
          },
        );
      const query = rearrange(turned(heads('q', g * r), turns, angles), 'b s (g r) d -> b g r s d', { g, r });
      const fresh = {
        k: rearrange(turned(heads('k', g), turns, angles), 'b s h d -> b g=(h) t=(s) d'),
        v: rearrange(heads('v', g), 'b s h d -> b g=(h) t=(s) d'),
      };
      const hit =
        place === 'each row'
          ? repeat(t.iota('t', capacity), 't -> b t', { b }).eq(t.input('position', 'b', { b }, 'i32'))
          : undefined;
      const held = (name: 'k' | 'v'): Tensor<'b g t d', Float> => {
        const state: Tensor<'b g t d', Float> = t.state(`${name}.0`, 'b g t d', { b, g, t: capacity, d }, dtype);
        if (hit === undefined && place === 'start') {
          t.update(state, fresh[name], { t: 0 });
          return fresh[name];
        }
        if (hit === undefined) {
          const past = t.symbol('past', { atLeast: 0, upTo: capacity - s });
          t.update(state, fresh[name], { t: past });
          return concat([slice(state, 't', { size: past }), fresh[name]], 't');
        }
        const part = rearrange(fresh[name], 'b g () d -> b g d');
        const all = where(hit, repeat(part, 'b g d -> b g t d', { t: capacity }), state);
        t.update(state, all);
        return all;
      };
      const keys = held('k');
      const scores = einsum(query, keys, 'b g r s d, b g t d -> b g r s t').mul(d ** -0.5);
      return { y: einsum(softmax(scores, 't'), held('v'), 'b g r s t, b g t d -> b g r s d') };
    },
    { unread: 'ignore' },
  );
  const plain = storedFeeds(graph, new Map(place === 'behind' ? [['past', choice.past]] : []));
  const positions = Float64Array.from({ length: b }, (_, i) => (5 * i + choice.past) % capacity);
  const inputs = new Map(plain.inputs);
  if (place === 'each row') inputs.set('position', positions);
  return {
    graph,
    feeds: {
      ...plain,
      inputs,
      ...(format === 'floats' ? {} : { params: (path: string, shape: readonly number[]) => source.read(path, shape) }),
    },
  };
}

const choices: fc.Arbitrary<Choice> = fc.record({
  rows: fc.constantFrom(1, 2, 4, 5, 9),
  g: fc.constantFrom(1, 2, 3),
  r: fc.constantFrom(1, 2),
  d: fc.constantFrom(4, 8, 16, 24, 32),
  e: fc.constantFrom(8, 20, 32, 64),
  dtype: fc.constantFrom<Float>('f32', 'f16'),
  turns: fc.constantFrom('halves', 'halves', 'halves', 'neighbours', 'part', 'not'),
  place: fc.constantFrom('behind', 'behind', 'start', 'each row'),
  past: fc.integer({ min: 0, max: 3 }),
  bias: fc.boolean(),
  norm: fc.boolean(),
  format: fc.constantFrom('floats', 'floats', 'q8', 'q4'),
} as const);

const apart = 'ranges of columns apart';

const usual: Choice = {
  rows: 1,
  g: 2,
  r: 2,
  d: 32,
  e: 64,
  dtype: 'f16',
  turns: 'halves',
  place: 'behind',
  past: 3,
  bias: false,
  norm: true,
  format: 'floats',
};

/** Kernels of a run, and how many of them store ranges apart. */
function counted(graph: Graph, profile: DeviceProfile) {
  const { dispatches, kernels } = compile(graph, profile, { verify: true });
  const texts = dispatches.map(({ kernel }) => kernels[kernel]?.wgsl ?? '');
  return { kernels: texts.length, apart: texts.filter((text) => text.includes(apart)).length };
}

describe(`ranges of a product's columns, seed ${seed}`, () => {
  let paper: Device;
  beforeAll(async () => {
    paper = await openDevice({ backend: 'null' });
  });
  afterAll(() => paper.close());

  test.each(['behind', 'start', 'each row'] as const)(
    'an attention that writes its keys %s is two kernels, rotated or not',
    (place) => {
      for (const turns of ['halves', 'not'] as const)
        for (const rows of [1, 9])
          for (const bias of [false, true])
            expect(
              counted(built({ ...usual, place, turns, rows, bias }).graph, desktopGpu),
              `${turns}, ${rows} rows`,
            ).toEqual({ kernels: 2, apart: 1 });
    },
  );

  test('columns that meet elsewhere than half a head apart are rotated by a kernel of their own', () => {
    for (const turns of ['neighbours', 'part'] as const) {
      const { kernels, apart: found } = counted(built({ ...usual, turns }).graph, desktopGpu);
      expect({ found, more: kernels > 2 }, turns).toEqual({ found: 0, more: true });
    }
  });

  test('where a kernel can bind too few buffers, keys are written by a kernel of their own', () => {
    const { graph } = built({ ...usual, bias: true });
    expect(counted(graph, { ...desktopGpu, maxBindings: 8 }).apart).toBe(0);
  });

  test.each(paperProfiles)('are WGSL for $name', async (profile) => {
    const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
    let used = 0;
    await fc.assert(
      fc.asyncProperty(choices, async (choice) => {
        const own = { ...profile, maxWorkgroupBytes, maxBindings: 8, choices: { reducedRowsColumns: 1 } };
        const { kernels } = compile(built(choice).graph, own, { verify: true });
        for (const kernel of kernels.filter(({ wgsl }) => wgsl.includes(apart))) {
          used++;
          expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
        }
      }),
      { numRuns: share(16, 120), seed },
    );
    expect(used).toBeGreaterThan(share(0, 15));
  });
});

const facts = withoutGpu ? undefined : await adapterFacts();

describe.skipIf(withoutGpu)(`ranges of a product's columns on this device, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('are what the interpreter says, in the caches too, and run after run', async () => {
    let used = 0;
    const profile: DeviceProfile = { ...gpu.desktop, choices: { reducedRowsColumns: 1 } };
    await fc.assert(
      fc.asyncProperty(choices, async (choice) => {
        const { graph, feeds } = built(choice);
        const { plan } = await judge(gpu, graph, feeds, { profile });
        if (plan.kernels.some(({ wgsl }) => wgsl.includes(apart))) used++;
      }),
      { numRuns: share(10, 300), seed },
    );
    expect(used).toBeGreaterThan(share(0, 75));
  }, 900_000);

  // Mesa 25 has no matrix units: what it would be given is read above.
  test.skipIf((facts?.matrices ?? []).length === 0)(
    'by matrix units',
    async () => {
      const [own] = gpu.profiles;
      for (const productWorkgroups of [1, 64]) {
        let used = 0;
        const given = { reducedRowsColumns: 1, productWorkgroups };
        const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices: given };
        await fc.assert(
          fc.asyncProperty(choices, async (choice) => {
            const { graph, feeds } = built({ ...choice, rows: 5 + choice.rows, place: 'start', dtype: 'f16' });
            const { plan } = await judge(gpu, graph, feeds, { profile });
            if (plan.kernels.some(({ wgsl }) => wgsl.includes(apart) && wgsl.includes('by matrix units'))) used++;
          }),
          { numRuns: share(12, 80), seed },
        );
        expect(used).toBeGreaterThan(share(0, 20));
      }
    },
    900_000,
  );
});
