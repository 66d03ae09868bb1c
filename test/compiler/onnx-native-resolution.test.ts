// Products of two symbols in ONNX: rows and columns merged and resized, and tokens whose columns follow from their number and their rows.
import { expect, test } from 'vitest';
import { multiplySizes } from '../../dsl/axis/axis.ts';
import { fixedParams, rearrange, resize, softmax, trace } from '../../dsl/index.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { numbersFor } from './judge.ts';
import { judgeOnnx } from './onnx-judge.ts';

test.each([
  [3, 5],
  [1, 7],
])('%d × %d', async (h, w) => {
  const graph = trace(fixedParams({}), (t) => {
    const [rows, columns] = [t.symbol('h', { upTo: 11 }), t.symbol('w', { upTo: 11 })];
    // No axis is `w` alone.
    const tokens = t.input('tokens', 'b n c', { b: 1, n: multiplySizes(rows, columns), c: 2 });
    const map = rearrange(tokens, 'b (h w) c -> b h w c', { h: rows }).add(t.input('rows', 'h', { h: rows }));
    return {
      flat: softmax(rearrange(map, 'b h w c -> b c n=(w h)'), 'n'),
      larger: resize(map, { height: columns, width: 4, mode: 'bicubic', antialias: true }),
      corners: resize(map, { height: 6, width: 4, mode: 'bilinear', alignCorners: true }),
    };
  });
  const inputs = new Map([
    ['tokens', numbersFor('tokens', h * w * 2)],
    ['rows', numbersFor('rows', h)],
  ]);
  const feeds = {
    inputs,
    params: () => new Float64Array(0),
    symbols: new Map(Object.entries({ h, w })),
    states: new Map(),
  };
  const runtime = new OnnxRuntime();
  try {
    const { compared } = await judgeOnnx(runtime, graph, feeds, { plain: false });
    expect(compared).toBe(2 * h * w + 2 * w * 4 + 2 * 6 * 4);
  } finally {
    runtime.close();
  }
});
