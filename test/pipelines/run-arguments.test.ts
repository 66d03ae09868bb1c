// What load, interpret, compile and explain are given without types: each mistake has its own error, before anything is compiled.
import { expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { explain } from '../../compiler/explain.ts';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { OpabiniaError, randomParams, trace } from '../../dsl/index.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { load } from '../../pipelines/run/load.ts';
import { expectSame } from '../../pipelines/testing/expect-same.ts';
import { train } from '../../pipelines/train/train.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';

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

test('compile, explain, deviceProfile, exportOnnx, openModel, openCheckpoint, expectSame, train, trace: what they are not given', async () => {
  const { maxGrid: _, ...partial } = lavapipe;
  const device = await openDevice({ backend: 'null' });
  try {
    const cases: readonly (readonly [(...given: readonly never[]) => unknown, readonly unknown[], RegExp, RegExp])[] = [
      [compile, [], /^compile: the graph is undefined/, /what trace returns/],
      [explain, [], /^explain: the graph is undefined/, /^give what trace returns: explain\(/],
      [exportOnnx, [], /^exportOnnx: the graph is undefined/, /what trace returns/],
      [compile, [graph], /^compile: the profile of a device is undefined/, /deviceProfile\(await openDevice\(\)\)/],
      [explain, [graph, 'h100'], /^explain: the profile of a device is 'h100'/, /desktopGpu/],
      [compile, [graph, device], /^compile: the profile of a device is another object/, /deviceProfile\(/],
      [compile, [graph, Promise.resolve(lavapipe)], /^compile: the profile of a device is a promise/, /await/],
      [compile, [graph, partial], /^compile: the profile's field 'maxGrid' is undefined/, /deviceProfile\(/],
      [deviceProfile, [], /^deviceProfile: the device is undefined/, /deviceProfile\(await openDevice\(\)\)/],
      [deviceProfile, [{}], /^deviceProfile: the device is another object/, /that openDevice opened/],
      [openModel, [], /^openModel: the model is undefined/, /give its path: openModel\(/],
      [openCheckpoint, [{}], /^openCheckpoint: the checkpoint is another object/, /give its path/],
      [expectSame, [], /^expectSame: the graph is undefined/, /what trace returns/],
      [train, [], /^train: the recipe: .*received undefined/, /api\.md/],
      [trace, [() => ({})], /^trace: the function that is traced is undefined/, /trace\(randomParams\(1\), /],
    ];
    for (const [call, given, says, tries] of cases) {
      const error = await failure(() => call(...(given as never[])));
      expect(error.message).toMatch(says);
      expect(error.advice).toMatch(tries);
    }
  } finally {
    device.close();
  }
});
