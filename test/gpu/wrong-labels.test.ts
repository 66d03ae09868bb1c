// A label that is no class. On a device nothing can be refused: the loss and the gradients of its row are NaN, wherever the graph runs.
import { describe, expect, test } from 'vitest';
import { crossEntropy, gradients, linearCrossEntropy, randomParams, trace, type Graph } from '../../dsl/index.ts';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { load } from '../../pipelines/run/load.ts';
import { runExported } from '../../pipelines/verify/onnx-runtime.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { withoutGpu } from './compare.ts';

const sizes = { n: 6, e: 4, v: 70 };
/** A class, one above the last, one below the first, the ignored one, the last, the largest number that there is. */
const labels = Int32Array.of(2, 70, -1, -100, 69, 2 ** 31 - 1);
const wrong = [1, 2, 5];
const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7));
const inputs = { x: numbers(sizes.n * sizes.e), head: numbers(sizes.v * sizes.e), logits: numbers(sizes.n * sizes.v) };

function lossGraph(): Graph {
  return trace(randomParams(1), (t) => {
    const given = t.input('labels', 'n', { n: sizes.n }, 'i32');
    const logits = t.input('logits', 'n v', { n: sizes.n, v: sizes.v });
    const [x, head] = [
      t.input('x', 'n e', { n: sizes.n, e: sizes.e }),
      t.input('head', 'v e', { v: sizes.v, e: sizes.e }),
    ];
    const whole = crossEntropy(logits, given, { axis: 'v', smoothing: 0.1 });
    const parts = linearCrossEntropy(x, head, given, { partBytes: 64 * 4 * sizes.n, reduction: 'sum' });
    const [byLogits] = gradients(whole, [logits]);
    const [byX, byHead] = gradients(parts, [x, head]);
    if (byLogits === undefined || byX === undefined || byHead === undefined)
      throw new TypeError('three were asked for');
    return { whole, parts, byLogits, byX, byHead };
  });
}

/** Which elements of each output are NaN: all of what sums over rows, and the wrong rows of what does not. */
function expectWrongRows(of: (name: string) => ArrayLike<number> | undefined): void {
  const nan = (name: string) => Array.from(of(name) ?? [], (x) => Number.isNaN(x));
  const rows = (width: number) =>
    Array.from({ length: sizes.n * width }, (_, i) => wrong.includes(Math.floor(i / width)));
  expect(nan('whole')).toEqual([true]);
  expect(nan('parts')).toEqual([true]);
  expect(nan('byLogits')).toEqual(rows(sizes.v));
  expect(nan('byX')).toEqual(rows(sizes.e));
  expect(nan('byHead')).toEqual(Array.from({ length: sizes.v * sizes.e }, () => true));
}

describe('labels that are no class', () => {
  test('in the interpreter', async () => {
    const outputs = await interpret(lossGraph(), randomParams(1)).run({ ...inputs, labels });
    expectWrongRows((name) => outputs[name]?.data as ArrayLike<number> | undefined);
  });

  test('on ONNX Runtime', async () => {
    const runtime = new OnnxRuntime();
    try {
      const model = exportOnnx(lossGraph(), { weights: randomParams(1) });
      const session = await runtime.open(model.bytes);
      const { outputs } = await runExported(session, model, { inputs: new Map(Object.entries({ ...inputs, labels })) });
      expectWrongRows((name) => outputs.get(name));
      await session.close();
    } finally {
      runtime.close();
    }
  }, 60_000);

  test.skipIf(withoutGpu)(
    'on the GPU',
    async () => {
      const device = await openDevice();
      try {
        const outputs = await (await load(lossGraph(), device, randomParams(1))).run({ ...inputs, labels });
        expectWrongRows((name) => outputs[name]?.data as ArrayLike<number> | undefined);
      } finally {
        device.close();
      }
    },
    120_000,
  );
});
