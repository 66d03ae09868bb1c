// Programs over one set of buffers, the work of load time in stages, and the text of answers.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { layerNorm, linear, randomParams, trace, type Graph, type ParamSource } from '../../dsl/index.ts';
import { AnswerText } from '../../runtime/text/answer-text.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { joinSources } from '../../runtime/checkpoint/joined-source.ts';
import { loadStages, stagePeak } from '../../runtime/program/load-stages.ts';
import { memoryPlan } from '../../runtime/program/memory-check.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import { shareKeys, SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import type { ParameterValues } from '../../runtime/program/upload.ts';

/** A chain of layers with their norms, whose weights are rewritten at load time; `rows` alone differs between two of them. */
function chain(source: ParamSource, rows: number, layers: number): Graph {
  return trace(
    source,
    (t) => {
      let x = t.input('x', 'n d', { n: rows, d: 32 });
      for (let i = 0; i < layers; i++)
        x = linear(t.params.at('layers', i), layerNorm(t.params.at('norms', i), x), 'd', { size: 32 });
      const total = t.state('total', 'd', { d: 32 });
      t.update(total, total.add(x.at('n', 0)));
      return { y: x };
    },
    { unread: 'ignore' },
  );
}

function raise(): never {
  throw new RangeError('there are three plans');
}

const loadedOf = (plan: Plan): readonly number[] =>
  plan.buffers.flatMap((buffer, i) => (buffer.role === 'loaded' ? [i] : []));

describe('stages of load time', () => {
  const plan = compile(chain(randomParams(1), 8, 6), lavapipe);

  test('small stages run every dispatch once, in order, with its operands there', () => {
    const stages = loadStages(plan, new Set(loadedOf(plan)), 6000);
    expect(stages.length).toBeGreaterThan(3);
    expect(stages.flatMap((stage) => stage.dispatches)).toEqual(plan.load);
    const open = new Set<number>();
    for (const stage of stages) {
      for (const buffer of stage.opens) {
        expect(open.has(buffer)).toBe(false);
        open.add(buffer);
      }
      for (const { bindings } of stage.dispatches)
        for (const { buffer } of bindings)
          expect(plan.buffers[buffer]?.transient !== true || open.has(buffer)).toBe(true);
      for (const buffer of stage.closes) expect(open.delete(buffer)).toBe(true);
    }
    expect(open.size).toBe(0);
    // One layer's weights are 4 KiB: never more than two layers' at a time.
    expect(stagePeak(plan, stages)).toBeLessThan(10_000);
    expect(stagePeak(plan, loadStages(plan, new Set(loadedOf(plan))))).toBeGreaterThan(6 * 4096);
  });

  test('what is there already needs no dispatch', () => {
    expect(loadStages(plan, new Set())).toEqual([]);
    const [one = -1] = loadedOf(plan);
    const needed = loadStages(plan, new Set([one])).flatMap((stage) => stage.dispatches);
    expect(needed.length).toBeGreaterThan(0);
    expect(needed.length).toBeLessThan(plan.load.length);
  });

  test('plans of other sizes hold the same', () => {
    const other = compile(chain(randomParams(1), 24, 6), lavapipe);
    const keys = new Set(shareKeys(plan));
    for (const i of loadedOf(other)) expect(keys.has(shareKeys(other)[i])).toBe(true);
    // The same paths, another graph of them.
    const fewer = compile(chain(randomParams(1), 8, 1), lavapipe);
    expect(
      shareKeys(fewer)
        .filter((key) => key?.startsWith('loaded'))
        .every((key) => keys.has(key)),
    ).toBe(true);
  });
});

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('shared buffers', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    expect(device.memory.now).toBe(0);
    device.close();
  });

  test('weights are uploaded once, states are one, the last program gives them back', async () => {
    const source = randomParams(3);
    let reads = 0;
    const counting: ParameterValues = {
      read: (path, shape) => {
        reads++;
        return source.read(path, shape);
      },
    };
    const [small, large] = [
      compile(chain(source, 4, 3), deviceProfile(device)),
      compile(chain(source, 40, 3), deviceProfile(device)),
    ];
    const shared = new SharedBuffers();
    const one = await load(small, device, counting, { shared });
    const [first, before] = [reads, device.memory.now];
    const two = await load(large, device, counting, { shared });
    expect(reads).toBe(first);
    expect(device.memory.now - before).toBeLessThan(
      large.memory.inputsAndOutputs * 2 + large.memory.activations + 1024,
    );
    const x = Float32Array.from({ length: 40 * 32 }, (_, i) => Math.sin(i));
    const { y } = await one.run({ x: x.subarray(0, 4 * 32) });
    const { y: again } = await two.run({ x });
    for (let i = 0; i < 4 * 32; i++) expect(again?.data[i]).toBeCloseTo(y?.data[i] ?? NaN, 5);
    // Both added row 0.
    const total = await one.readState('total');
    for (let i = 0; i < 32; i++) expect(total.data[i]).toBeCloseTo(2 * (y?.data[i] ?? NaN), 4);
    one.dispose();
    one.dispose();
    expect((await two.run({ x }))['y']?.data).toEqual(again?.data);
    two.dispose();
    expect(device.memory.now).toBe(0);
  });

  test('programs take turns in the same arenas, whoever is asked first', async () => {
    const source = randomParams(5);
    const plans = [40, 9, 23].map((rows) => compile(chain(source, rows, 4), deviceProfile(device)));
    const inputs = [40, 9, 23].map((rows) => ({ x: Float32Array.from({ length: rows * 32 }, (_, i) => Math.cos(i)) }));
    const alone: unknown[] = [];
    for (const [i, plan] of plans.entries()) {
      using program = await load(plan, device, source);
      alone.push((await program.run(inputs[i] ?? {}))['y']?.data);
    }
    const shared = new SharedBuffers();
    const programs: Program[] = [];
    for (const plan of plans) programs.push(await load(plan, device, source, { shared }));
    const arenas = (plan: Plan): number =>
      plan.buffers.reduce((sum, { role, bytes }) => sum + (role === 'arena' ? bytes : 0), 0);
    expect(
      memoryPlan(plans.map((plan, i) => ({ name: `${i}`, plan }))).items.filter(({ kind }) => kind === 'activations'),
    ).toEqual([{ kind: 'activations', name: 'activations of 0', bytes: arenas(plans[0] ?? raise()) }]);
    expect(arenas(plans[2] ?? raise())).toBeGreaterThan(0);
    // Not awaited one by one: the queue takes whole runs.
    const order = [0, 1, 2, 1, 0, 2];
    const found = await Promise.all(order.map(async (i) => (await programs[i]?.run(inputs[i] ?? {}))?.['y']?.data));
    expect(found).toEqual(order.map((i) => alone[i]));
    programs[0]?.dispose();
    expect((await programs[2]?.run(inputs[2] ?? {}))?.['y']?.data).toEqual(alone[2]);
    for (const program of programs) program.dispose();
    expect(device.memory.now).toBe(0);
  });

  test('a state of one name is one state, or it is refused', async () => {
    const source = randomParams(3);
    const holding = (axes: string, sizes: Readonly<Record<string, number>>, dtype: 'f32' | 'i32' = 'f32') =>
      compile(
        trace(source, (t) => {
          const held = t.state<string, 'f32' | 'i32'>('held', axes, sizes, dtype);
          t.update(held, held.add(1));
          return { held };
        }),
        deviceProfile(device),
      );
    const shared = new SharedBuffers();
    const first = await load(holding('a b', { a: 2, b: 3 }), device, source, { shared });
    for (const [plan, what] of [
      [holding('a b', { a: 2, b: 4 }), /the state 'held' is f32 \[a:2 b:4\], and f32 \[a:2 b:3\] in a program/],
      [holding('a c', { a: 2, c: 3 }), /'held' is f32 \[a:2 c:3\]/],
      [holding('a b', { a: 2, b: 3 }, 'i32'), /'held' is i32/],
    ] as const)
      await expect(load(plan, device, source, { shared })).rejects.toThrow(what);
    await first.run({});
    const second = await load(holding('a b', { a: 2, b: 3 }), device, source, { shared });
    expect((await second.run({}))['held']?.data[0]).toBe(1);
    first.dispose();
    second.dispose();
    // Nobody has it any more.
    using other = await load(holding('a b', { a: 2, b: 4 }), device, source, { shared });
    expect((await other.run({}))['held']?.data[7]).toBe(0);
  });

  test('a load that fails leaves nothing and spoils nothing', async () => {
    const source = randomParams(3);
    const plan = compile(chain(source, 4, 3), deviceProfile(device));
    const shared = new SharedBuffers();
    await expect(
      load(plan, device, { read: () => new Float32Array(1) }, { shared: new SharedBuffers() }),
    ).rejects.toThrow(/its source gave 1/);
    expect(device.memory.now).toBe(0);
    using program = await load(plan, device, source, { shared });
    expect(program.plan).toBe(plan);
    await expect(load(plan, device, randomParams(4), { shared })).rejects.toThrow(/another source of parameters/);
  });

  test('a large parameter comes in parts', async () => {
    const size = 5 * 2 ** 20;
    const graph = trace(randomParams(1), (t) => ({
      y: t.params.get('table', 'n', { n: size }).add(t.input('x', 'n', { n: size })),
    }));
    let most = 0;
    const values = (start: number, count: number): Float32Array => {
      most = Math.max(most, count);
      return Float32Array.from({ length: count }, (_, i) => (start + i) % 1000);
    };
    const program = await load(compile(graph, deviceProfile(device)), device, {
      read: () => {
        throw new Error('asked for all of it');
      },
      part: (_path, _shape, start, count) => values(start, count),
    });
    try {
      const { y } = await program.run({ x: new Float32Array(size) });
      expect(y?.data.every((value, i) => value === i % 1000)).toBe(true);
      expect(4 * most).toBeLessThanOrEqual(16 * 2 ** 20);
    } finally {
      program.dispose();
    }
  });
});

test('several checkpoints as one', () => {
  const named = (name: string): ParamSource => ({
    dtype: 'f32',
    shape: (path) => (path === name ? [2] : undefined),
    names: () => [name],
    read: () => Float32Array.of(1, name.length),
  });
  const joined = joinSources([
    { root: '', source: named('a') },
    { root: 'tower.0', source: named('bbb') },
  ]);
  expect([...(joined.names() ?? [])]).toEqual(['a', 'tower.0.bbb']);
  expect(joined.shape('tower.0.bbb')).toEqual([2]);
  expect(joined.shape('bbb')).toBeUndefined();
  expect([...joined.read('tower.0.bbb', [2])]).toEqual([1, 3]);
  expect([...(joined.part?.('tower.0.bbb', [2], 1, 1) ?? [])]).toEqual([3]);
  expect(() =>
    joinSources([
      { root: '', source: named('a') },
      { root: 't', source: { ...named('b'), dtype: 'f16' } },
    ]),
  ).toThrow(/one dtype/);
});

describe('the text of an answer', () => {
  const words = ['', 'one ', 'two ', 'th', 'ree ', 'STOP', ' four', '.'];
  const decoder = {
    decodeAll: (lists: readonly (readonly number[])[]) => lists.map((ids) => ids.map((id) => words[id] ?? '').join('')),
  };
  const said = async (
    ids: readonly number[],
    stop: readonly string[] = [],
  ): Promise<{ readonly pieces: readonly string[]; readonly answer: AnswerText }> => {
    const answer = new AnswerText(decoder, { endTokens: new Set([0]), stop });
    const pieces: string[] = [];
    for (const id of ids) pieces.push(await answer.push(id));
    return { pieces: [...pieces, await answer.end('length')].filter((piece) => piece !== ''), answer };
  };

  test('whole words, and the rest at the end', async () => {
    const { pieces, answer } = await said([1, 3, 4, 6, 7]);
    expect(pieces).toEqual(['one ', 'three ', ' ', 'four.']);
    expect(answer.ended).toBe('length');
    expect(answer.text).toBe('one three  four.');
  });

  test('ends at the end token, which is not a part of it', async () => {
    const { answer } = await said([1, 2, 0, 1]);
    expect([answer.text, answer.ended, answer.tokens]).toEqual(['one two ', 'end', [1, 2]]);
  });

  test('a stop string across words is never shown, nor its beginning', async () => {
    const { pieces, answer } = await said([1, 2, 3, 4, 1], ['two three']);
    expect(pieces.join('')).toBe('one ');
    expect([answer.text, answer.ended]).toEqual(['one ', 'stop']);
    expect((await said([1, 2, 6, 7], ['two three'])).answer.text).toBe('one two  four.');
  });

  test('a stop string ends an answer with its last token, also where no space follows', async () => {
    const { pieces, answer } = await said([1, 3, 5, 7, 7, 7], ['STOP']);
    expect(pieces.join('')).toBe('one th');
    expect([answer.text, answer.ended, answer.tokens]).toEqual(['one th', 'stop', [1, 3, 5]]);
    // Over the border of two tokens, the second of which goes on behind it.
    const across = await said([1, 3, 4, 2], ['hr']);
    expect([across.answer.text, across.answer.ended, across.answer.tokens]).toEqual(['one t', 'stop', [1, 3, 4]]);
    expect((await said([3, 5, 5, 7], ['PS', '.'])).answer).toMatchObject({ text: 'thSTO', tokens: [3, 5, 5] });
  });
});
