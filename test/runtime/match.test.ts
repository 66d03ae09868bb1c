// The matcher and the memory plan: what is wrong is listed, and refused before anything is allocated.
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { linear, OpabiniaError, randomParams, trace } from '../../dsl/index.ts';
import { OutOfMemoryError } from '../../runtime/device/failure.ts';
import { checkMatch, matches, matchTensors, parametersOf, printMatch } from '../../runtime/checkpoint/match.ts';
import { shareKeys } from '../../runtime/program/shared-buffers.ts';
import { checkMemory, memoryPlan, memoryRows, type MemoryPlan } from '../../runtime/program/memory-check.ts';

const wanted = new Map<string, readonly number[]>([
  ['a.weight', [4, 3]],
  ['a.bias', [4]],
  ['b.weight', [2, 2]],
  ['c.gamma', [5]],
  ['d.weight', [8, 2, 1]],
]);

describe('the matcher', () => {
  test('nothing wrong', () => {
    const match = matchTensors(wanted, new Map([...wanted, ['text.weight', [1]], ['text', [1]]]), {
      text: 'not used',
    });
    expect(matches(match)).toBe(true);
    expect(printMatch(match)).toBe('');
    expect(match.ignored).toEqual(['text.weight', 'text'].map((name) => ({ name, why: 'not used' })));
    checkMatch(match, 'x');
  });

  test('missing, unexpected, transposed, misshapen, with the nearest names', () => {
    const match = matchTensors(
      wanted,
      new Map<string, readonly number[]>([
        ['a.weight', [3, 4]],
        ['a.bias', [5]],
        ['b.weights', [2, 2]],
        ['c.gamma', [5]],
        ['d.weight', [1, 2, 8]],
        ['extra', [1]],
      ]),
    );
    expect(match.missing).toEqual([{ name: 'b.weight', nearest: ['b.weights', 'extra'] }]);
    expect(match.unexpected.map((one) => one.name)).toEqual(['b.weights', 'extra']);
    expect(match.unexpected[0]?.nearest[0]).toBe('b.weight');
    expect(match.transposed.map((one) => one.name)).toEqual(['a.weight', 'd.weight']);
    expect(match.misshapen).toEqual([{ name: 'a.bias', wanted: [4], stored: [5] }]);
    expect(() => checkMatch(match, 'some/model')).toThrow(OpabiniaError);
    expect(() => checkMatch(match, 'some/model')).toThrow(
      /some\/model does not fit the model, which reads 5 tensors\n1 missing\n {2}b\.weight {2}\(nearest: b\.weights, extra\)\n2 unexpected[\s\S]*2 transposed\n {2}a\.weight {2}is \[3, 4\], wanted \[4, 3\][\s\S]*1 misshapen\n {2}a\.bias {2}is \[5\], wanted \[4\]/,
    );
  });

  test('thousands of wrong names take no minutes, and are not all printed', () => {
    const many = (root: string) =>
      new Map(Array.from({ length: 4000 }, (_, i) => [`${root}.layers.${i}.self_attn.q_proj.weight`, [1]] as const));
    const start = performance.now();
    const text = printMatch(matchTensors(many('model'), many('language_model.model')));
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(text.split('\n').length).toBeLessThan(40);
    expect(text).toContain('… and 3988 more');
  });
});

const graph = (size: number) =>
  trace(randomParams(1), (t) => ({
    y: linear(t.params.at('blocks', 0, 'up'), t.input('x', 'b i', { b: 64, i: 32 }), 'o', { size }),
  }));
const plan = compile(graph(48), lavapipe);

test('what a plan reads', () => {
  expect(parametersOf(plan)).toEqual(
    new Map([
      ['blocks.0.up.weight', [48, 32]],
      ['blocks.0.up.bias', [48]],
    ]),
  );
});

describe('the memory plan', () => {
  test('counts weights by part, and what programs share once', () => {
    const [one, two] = [
      memoryPlan([{ name: 'prefill', plan }]),
      memoryPlan([
        { name: 'prefill', plan },
        { name: 'decode', plan },
      ]),
    ];
    const weights = (memory: MemoryPlan) => memory.items.filter((item) => item.kind === 'weights');
    // The second program adds what is its own alone.
    const keys = shareKeys(plan);
    const own = plan.buffers
      .filter((buffer, i) => keys[i] === undefined && buffer.transient !== true)
      .reduce((sum, buffer) => sum + buffer.bytes, 0);
    expect(two.running - one.running).toBe(own);
    expect(own).toBeLessThan(one.running);
    expect(weights(one).map((item) => item.name)).toEqual(['weights of blocks']);
    expect(one.running).toBe(
      plan.buffers
        .filter((buffer) => !(buffer.role === 'parameter' && buffer.transient === true))
        .reduce((sum, buffer) => sum + buffer.bytes, 0),
    );
    expect(one.peak).toBe(plan.buffers.reduce((sum, buffer) => sum + buffer.bytes, 0));
    expect(
      memoryPlan(
        [
          { name: 'a', plan },
          { name: 'b', plan },
        ],
        { shared: false },
      ).peak,
    ).toBe(one.running + one.peak);
    expect(memoryRows(one).at(-1)?.[0]).toBe('peak, while loading');
  });

  const big: MemoryPlan = {
    items: [
      { name: 'weights of model.layers', bytes: 12 * 2 ** 30, kind: 'weights' },
      { name: 'key-value cache', bytes: 4 * 2 ** 30, kind: 'cache' },
      { name: 'activations of prefill', bytes: 2 ** 30, kind: 'activations' },
      { name: 'inputs', bytes: 1024, kind: 'exchange' },
    ],
    running: 17 * 2 ** 30 + 1024,
    peak: 17 * 2 ** 30 + 1024,
  };
  const refusal = (budget: number, model: Parameters<typeof checkMemory>[2]): string => {
    try {
      checkMemory(big, { device: 'a card', budget }, model);
    } catch (error) {
      if (error instanceof OutOfMemoryError) return error.message;
      throw error;
    }
    return 'fits';
  };

  test('refuses with the three largest items and two ways to shrink', () => {
    const message = refusal(16 * 2 ** 30, { dtype: 'f32', context: 4096 });
    for (const said of [
      '17.0 GiB at its peak',
      "'a card' offers 16 GiB",
      '12 GiB  weights of model.layers',
      '4 GiB  key-value cache',
      '1 GiB  activations of prefill',
      '--dtype f16',
      'shorten the context from 4096 to 3071 tokens: each takes 1 MiB',
    ])
      expect(message).toContain(said);
    expect(message).not.toContain('inputs');
  });
  test('other ways where these are taken', () => {
    expect(refusal(8 * 2 ** 30, { dtype: 'f16', context: 4096, batch: 4 })).toMatch(
      /shorten the context[\s\S]*run fewer than 4 prompts/,
    );
    expect(refusal(8 * 2 ** 30, { dtype: 'f16' })).toMatch(/smaller model[\s\S]*, or give a larger budget/);
    expect(refusal(18 * 2 ** 30, { dtype: 'f32' })).toBe('fits');
  });
});
