// What load and interpret are given without types: each mistake has its own error, before anything is compiled.
import { expect, test } from 'vitest';
import { OpabiniaError, randomParams, trace } from '../../dsl/index.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { load } from '../../pipelines/run/load.ts';
import { openDevice } from '../../runtime/device/dawn.ts';

const params = randomParams(1);
const graph = trace(params, (t) => ({ y: t.input('x', 'n', { n: 3 }).add(t.params.get('bias', 'n', { n: 3 })) }));
const untyped: (...given: readonly unknown[]) => Promise<unknown> = load as never;
const untypedInterpret: (...given: readonly unknown[]) => unknown = interpret as never;

/** The error that a call ends in. */
async function failure(call: () => unknown): Promise<OpabiniaError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof OpabiniaError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

test('load: the graph, the device or the parameters are something else', async () => {
  const device = await openDevice({ backend: 'null' });
  try {
    const cases: readonly (readonly [readonly unknown[], RegExp, RegExp])[] = [
      [[], /^load: the graph is undefined/, /what trace returns, or compile/],
      [[() => graph, device, params], /^load: the graph is a function/, /what trace returns/],
      [[Promise.resolve(graph), device, params], /^load: the graph is a promise/, /what trace returns/],
      [[graph], /^load: the device is undefined/, /that openDevice opened/],
      [[graph, Promise.resolve(device), params], /^load: the device is a promise/, /^await it/],
      [[graph, params, device], /^load: the device is another object/, /await openDevice\(\), params/],
      [[graph, device], /^load: the graph has 1 parameter, whose source is undefined/, /traced with/],
    ];
    for (const [given, says, tries] of cases) {
      const error = await failure(() => untyped(...given));
      expect(error.message).toMatch(says);
      expect(error.advice).toMatch(tries);
    }
  } finally {
    device.close();
  }
});

test('interpret: the same', async () => {
  const wrong = await failure(() => untypedInterpret());
  expect([wrong.op, wrong.what]).toEqual(['interpret', 'the graph is undefined']);
  const without = await failure(() => untypedInterpret(graph));
  expect([without.op, without.advice]).toEqual(['interpret', expect.stringContaining('randomParams(1)')]);
  const plain = trace(params, (t) => ({ y: t.input('x', 'n', { n: 3 }).add(1) }));
  expect((await interpret(plain, undefined as never).run({ x: [1, 2, 3] }))['y']?.data).toEqual(
    Float32Array.of(2, 3, 4),
  );
});
