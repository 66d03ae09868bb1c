// Kernels can be read: axes keep their names, other variables say what they hold, and no axis hides a word of WGSL.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { axesStem, axisStem, builtins, Names } from '../../compiler/kernel/names.ts';
import { wgslWords } from '../../compiler/kernel/wgsl-words.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { attention, randomParams, softmax, trace, type Tensor } from '../../dsl/index.ts';
import { reduceAxes } from '../../dsl/functions/shape.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { planModel } from '../../pipelines/plan/plan-model.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { declared, planWithAxes, storedAxes, unreadable } from '../support/kernel-names.ts';

const profiles = [lavapipe, desktopGpu];
let paper: Device;
beforeAll(async () => {
  paper = await openDevice({ backend: 'null' });
});
afterAll(() => paper.close());

describe('identifiers', () => {
  test('of any axis are ASCII and begin with a letter', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (axis) => {
        expect(axisStem(axis)).toMatch(/^[A-Za-z]\w*$/);
      }),
    );
    expect(axisStem('channel_1')).toBe('channel_1');
    expect(axesStem([{ name: 'batch' }, { name: 'query' }])).toBe('batch_query');
  });

  test('are unique, and none hides a word of WGSL or a name of the kernel', () => {
    const stem = fc.oneof(
      fc.constantFrom(
        'channel',
        'channel_1',
        'höhe',
        'x0',
        'y1_2',
        'size',
        'size_n',
        'sizes',
        'load_x0',
        'main',
        'erf_f32',
      ),
      fc.constantFrom(...wgslWords, ...Object.keys(builtins)),
      fc.string({ unit: 'grapheme', maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(stem), (stems) => {
        const names = new Names();
        const made = stems.map((axis) => names.fresh(axisStem(axis)));
        expect(new Set(made).size).toBe(made.length);
        for (const name of made) {
          expect(wgslWords.has(name) || name in builtins, name).toBe(false);
          expect(name).not.toMatch(/^([xy]\d+(_\d+)?|(load|store)_\w+|sizes?|size_\w+|main|\w+_f32)$/);
        }
      }),
    );
  });
});

/** A softmax along the first of six axes, and a sum over the last. */
function over(names: readonly string[]): Graph {
  const axes = names.join(' ');
  const [first = '', last = ''] = [names[0], names.at(-1)];
  return trace(randomParams(1), (t) => {
    const x = t.input('x', axes as 'a b', Object.fromEntries(names.map((name) => [name, 2])) as Record<'a' | 'b', 2>);
    return { soft: softmax(x, first as 'a'), sum: reduceAxes<'a', 'f32'>('sum', x, [last]) };
  });
}

test('axes may be called as WGSL and the kernel call their own', { timeout: 60_000 }, async () => {
  const words = [...wgslWords, ...Object.keys(builtins), 'x0', 'y0', 'sizes', 'size_x', 'main', 'load_x0', 'sort_key'];
  for (let i = 0; i < words.length; i += 6) {
    const names = [...words.slice(i, i + 6), 'last'];
    const { plan } = planWithAxes(over(names), profiles[(i / 6) % 2] ?? lavapipe);
    for (const kernel of plan.kernels) expect(await paper.diagnose(kernel), kernel.wgsl).toEqual([]);
  }
});

test('an axis is called by its name', () => {
  const graph = trace(randomParams(1), (t) => {
    const read = (name: string, axes: string, sizes: Record<string, number>) =>
      t.input<string, 'f32'>(name, axes, sizes);
    const query = read('query', 'batch query head width', { batch: 2, head: 3, query: 70, width: 32 });
    const key = read('key', 'batch token head width', { batch: 2, head: 3, token: 50, width: 32 });
    return {
      y: attention(query as Tensor<'q w'>, key as Tensor<'t w'>, key as Tensor<'t w'>, {
        key: 'token' as 't',
        along: 'width' as 'w',
      }),
    };
  });
  const [shuffles, threads] = profiles.map((profile) => declared(compileOne(graph, profile)));
  expect(shuffles).toEqual(expect.arrayContaining(['batch_head', 'query', 'token_start', 'token_in_block']));
  expect(threads).toEqual(
    expect.arrayContaining(['batch_head_query', 'batch', 'head', 'query', 'token', 'width_quad']),
  );
});

function compileOne(graph: Graph, profile: (typeof profiles)[number]): string {
  const { kernels } = planWithAxes(graph, profile).plan;
  expect(kernels).toHaveLength(1);
  return kernels[0]?.wgsl ?? '';
}

// Those of the other graphs are looked at where Dawn looks at their texts: shaders.test.ts.
test.runIf(process.env['OPABINIA_ALL'] === '1').each(profiles)(
  'every name of the kernels of cambrian-8b says what it is, on the $name',
  { timeout: 300_000 },
  (profile) => {
    const { programs } = planModel('cambrian-8b', { dtype: 'f16', context: 2048, prompt: 1024, images: 1, profile });
    const axes = new Set(programs.flatMap(({ plan }) => [...storedAxes(plan)]));
    for (const { plan } of programs)
      for (const { wgsl } of plan.kernels) expect(unreadable(wgsl, axes), wgsl).toEqual([]);
  },
);
