// Modules of neural networks against plain loops written from their definitions.
import { describe, expect, test } from 'vitest';
import {
  attention,
  concat,
  fixedParams,
  gelu,
  groupNorm,
  layerNorm,
  linear,
  logSoftmax,
  order,
  pad,
  randomParams,
  rearrange,
  reduce,
  relu,
  rmsNorm,
  silu,
  slice,
  softmax,
  standardize,
  trace,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { at, distance, numbers, run, table } from './run.ts';

const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const softmaxOf = (row: readonly number[]) => {
  const e = row.map((x) => Math.exp(x));
  return e.map((x) => x / total(e));
};
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('activations', () => {
  const values = [-3, -0.5, 0, 0.25, 2];
  const of = (build: (x: Tensor<'n', 'f32'>) => Tensor) =>
    run((t) => build(t.input('x', 'n', { n: 5 })), { inputs: { x: values } }).data;
  // PyTorch 2: torch.nn.functional.gelu(x), and with approximate='tanh'; x * torch.sigmoid(1.702 * x).
  test('gelu, exact: x·Φ(x) by integrating the normal density', () => {
    const phi = (x: number) => {
      const steps = 20000;
      const h = (x + 10) / steps;
      return (total(range(steps).map((i) => Math.exp(-(((i + 0.5) * h - 10) ** 2) / 2))) * h) / Math.sqrt(2 * Math.PI);
    };
    expect(
      distance(
        of((x) => gelu(x)),
        values.map((x) => x * phi(x)),
      ),
    ).toBeLessThan(1e-7);
  });
  test('gelu, tanh and quick', () => {
    expect(
      distance(
        of((x) => gelu(x, 'tanh')),
        values.map((x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))),
      ),
    ).toBeLessThan(1e-12);
    expect(
      distance(
        of((x) => gelu(x, 'quick')),
        values.map((x) => x / (1 + Math.exp(-1.702 * x))),
      ),
    ).toBeLessThan(1e-12);
  });
  test('a form of gelu that there is not, as PyTorch calls the exact one', () => {
    expect(() => of((x) => gelu(x, 'none' as 'exact'))).toThrow(/no form 'none'[^]*nn\.test\.ts:\d+[^]*'exact'/);
  });
  test('silu and relu', () => {
    expect(
      distance(
        of(silu),
        values.map((x) => x / (1 + Math.exp(-x))),
      ),
    ).toBeLessThan(1e-12);
    expect(of(relu)).toEqual([0, 0, 0, 0.25, 2]);
  });
});

describe('softmax', () => {
  const data = numbers(12).map((x) => 5 * x);
  const m = at(data, [3, 4]);
  test('along either axis', () => {
    const x = (t: Trace) => t.input('x', 'a b', { a: 3, b: 4 });
    expect(
      distance(
        run((t) => softmax(x(t), 'b'), { inputs: { x: data } }).data,
        range(3).flatMap((a) => softmaxOf(range(4).map((b) => m(a, b)))),
      ),
    ).toBeLessThan(1e-12);
    expect(
      distance(
        run((t) => softmax(x(t), 'a'), { inputs: { x: data } }).data,
        table([3, 4], (a = 0, b = 0) => softmaxOf(range(3).map((i) => m(i, b)))[a] ?? NaN),
      ),
    ).toBeLessThan(1e-12);
    expect(
      distance(
        run((t) => logSoftmax(x(t), 'b'), { inputs: { x: data } }).data,
        range(3).flatMap((a) => softmaxOf(range(4).map((b) => m(a, b))).map(Math.log)),
      ),
    ).toBeLessThan(1e-12);
  });
  test('does not overflow', () => {
    expect(run((t) => softmax(t.input('x', 'n', { n: 2 }), 'n'), { inputs: { x: [1000, 1000] } }).data).toEqual([
      0.5, 0.5,
    ]);
    expect(run((t) => logSoftmax(t.input('x', 'n', { n: 2 }), 'n'), { inputs: { x: [-1000, 1000] } }).data).toEqual([
      -2000, 0,
    ]);
  });
  test('is the graph that the compiler knows: reduceMax, sub, exp, sum, div', () => {
    expect(
      order(trace(randomParams(1), (t) => ({ y: softmax(t.input('x', 'n', { n: 4 }), 'n') }))).map(
        (node) => node.op.name,
      ),
    ).toEqual(['input', 'reduceMax', 'sub', 'exp', 'sum', 'div']);
  });
  test('of f16 works in f32', () => {
    const ops = order(trace(randomParams(1), (t) => ({ y: softmax(t.input('x', 'n', { n: 4 }, 'f16'), 'n') })));
    expect(ops.map((node) => `${node.op.name} ${node.type.dtype}`)).toEqual([
      'input f16',
      'cast f32',
      'reduceMax f32',
      'sub f32',
      'exp f32',
      'sum f32',
      'div f32',
      'cast f16',
    ]);
  });
});

describe('norms', () => {
  const data = numbers(2 * 3 * 4).map((x) => 3 * x + 1);
  const [gamma, beta] = [numbers(4, 7), numbers(4, 8)];
  const params = fixedParams({ 'n.weight': { shape: [4], values: gamma }, 'n.bias': { shape: [4], values: beta } });
  const x = (t: Trace) => t.input('x', 'b n c', { b: 2, n: 3, c: 4 });
  const m = at(data, [2, 3, 4]);
  const statistics = (row: readonly number[]) => {
    const mean = total(row) / row.length;
    return [mean, total(row.map((v) => (v - mean) ** 2)) / row.length] as const;
  };

  test('layerNorm', () => {
    const y = run((t) => layerNorm(t.params.at('n'), x(t), { eps: 1e-3 }), { inputs: { x: data }, params });
    expect(
      distance(
        y.data,
        table([2, 3, 4], (b = 0, n = 0, c = 0) => {
          const [mean, variance] = statistics(range(4).map((i) => m(b, n, i)));
          return ((m(b, n, c) - mean) / Math.sqrt(variance + 1e-3)) * (gamma[c] ?? 0) + (beta[c] ?? 0);
        }),
      ),
    ).toBeLessThan(1e-6);
  });
  test('layerNorm without bias, along another axis', () => {
    const y = run((t) => layerNorm(t.params.at('n'), t.input('x', 'c n', { c: 4, n: 6 }), { axis: 'c', bias: false }), {
      inputs: { x: data },
      params,
      unread: ['n.bias'],
    });
    const w = at(data, [4, 6]);
    expect(
      distance(
        y.data,
        table([4, 6], (c = 0, n = 0) => {
          const [mean, variance] = statistics(range(4).map((i) => w(i, n)));
          return ((w(c, n) - mean) / Math.sqrt(variance + 1e-5)) * (gamma[c] ?? 0);
        }),
      ),
    ).toBeLessThan(1e-6);
  });
  test('rmsNorm', () => {
    const y = run((t) => rmsNorm(t.params.at('n'), x(t), { eps: 1e-2 }), {
      inputs: { x: data },
      params,
      unread: ['n.bias'],
    });
    expect(
      distance(
        y.data,
        table(
          [2, 3, 4],
          (b = 0, n = 0, c = 0) =>
            (m(b, n, c) / Math.sqrt(total(range(4).map((i) => m(b, n, i) ** 2)) / 4 + 1e-2)) * (gamma[c] ?? 0),
        ),
      ),
    ).toBeLessThan(1e-6);
  });
  test('groupNorm: a group of channels over all positions of one picture', () => {
    const y = run((t) => groupNorm(t.params.at('n'), x(t), { groups: 2, axis: 'c' }), { inputs: { x: data }, params });
    expect(y.axes).toBe('b n c');
    expect(
      distance(
        y.data,
        table([2, 3, 4], (b = 0, n = 0, c = 0) => {
          const group = Math.floor(c / 2);
          const [mean, variance] = statistics(range(3).flatMap((i) => [m(b, i, 2 * group), m(b, i, 2 * group + 1)]));
          return ((m(b, n, c) - mean) / Math.sqrt(variance + 1e-5)) * (gamma[c] ?? 0) + (beta[c] ?? 0);
        }),
      ),
    ).toBeLessThan(1e-6);
  });
  test('standardize over two axes', () => {
    const y = run((t) => standardize(x(t), { axes: ['n', 'c'], eps: 0 }), { inputs: { x: data } });
    expect(
      distance(
        y.data,
        table([2, 3, 4], (b = 0, n = 0, c = 0) => {
          const [mean, variance] = statistics(range(12).map((i) => m(b, Math.floor(i / 4), i % 4)));
          return (m(b, n, c) - mean) / Math.sqrt(variance);
        }),
      ),
    ).toBeLessThan(1e-9);
  });
  test('in f16, statistics and the affine part are f32 and the result is f16', () => {
    const source = { ...params, dtype: 'f16' as const };
    const graph = trace(source, (t) => ({
      y: layerNorm(t.params.at('n'), t.input('x', 'b c', { b: 2, c: 4 }, 'f16')),
    }));
    const nodes = order(graph);
    expect(
      nodes
        .filter((node) => node.op.kind !== 'source' && node.op.name !== 'cast')
        .every((node) => node.type.dtype === 'f32'),
    ).toBe(true);
    expect(graph.outputs.get('y')?.type.dtype).toBe('f16');
  });
});

describe('linear', () => {
  const [weight, bias, data] = [numbers(3 * 4, 2), numbers(3, 3), numbers(2 * 5 * 4)];
  const params = fixedParams({
    'fc.weight': { shape: [3, 4], values: weight },
    'fc.bias': { shape: [3], values: bias },
  });
  const w = at(weight.map(Math.fround), [3, 4]);
  test('contracts the last axis; the new name stands in its place', () => {
    const y = run((t) => linear(t.params.at('fc'), t.input('x', 'b n i', { b: 2, n: 5, i: 4 }), 'out'), {
      inputs: { x: data },
      params,
    });
    const x = at(data, [2, 5, 4]);
    expect([y.axes, y.shape]).toEqual(['b n out', [2, 5, 3]]);
    expect(
      distance(
        y.data,
        table([2, 5, 3], (b = 0, n = 0, o = 0) => total(range(4).map((i) => x(b, n, i) * w(o, i))) + (bias[o] ?? 0)),
      ),
    ).toBeLessThan(1e-6);
  });
  test('the new name may be the old one, on an axis in the middle', () => {
    const y = run(
      (t) =>
        linear(t.params.at('fc'), t.input('x', 'b c n', { b: 2, c: 4, n: 5 }), 'c', {
          axis: 'c',
          bias: false,
          size: 3,
        }),
      { inputs: { x: data }, params, unread: ['fc.bias'] },
    );
    const x = at(data, [2, 4, 5]);
    expect([y.axes, y.shape]).toEqual(['b c n', [2, 3, 5]]);
    expect(
      distance(
        y.data,
        table([2, 3, 5], (b = 0, o = 0, n = 0) => total(range(4).map((i) => x(b, i, n) * w(o, i)))),
      ),
    ).toBeLessThan(1e-6);
  });
  test('three layers on one input share its view', () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c', { n: 2, c: 4 });
      return Object.fromEntries(['q', 'k', 'v'].map((name) => [name, linear(t.params.at(name), x, 'c', { size: 4 })]));
    });
    const contractions = order(graph).filter((node) => node.op.kind === 'contract');
    expect(contractions.length).toBe(3);
    expect(new Set(contractions.map((node) => node.inputs[0])).size).toBe(1);
    expect(contractions.map((node) => node.origin.path).sort()).toEqual(['k', 'q', 'v']);
  });
});

describe('attention', () => {
  const [h, n, t, d] = [2, 3, 5, 4];
  const [qs, ks, vs] = [numbers(h * n * d, 1), numbers(h * t * d, 2), numbers(h * t * d, 3)];
  const [q, k, v] = [at(qs, [h, n, d]), at(ks, [h, t, d]), at(vs, [h, t, d])];
  const inputs = { q: qs, k: ks, v: vs };
  const tensors = (tr: Trace) =>
    [
      tr.input('q', 'h n d', { h, n, d }),
      tr.input('k', 'h t d', { h, t, d }),
      tr.input('v', 'h t d', { h, t, d }),
    ] as const;
  const expected = (
    allowed: (i: number, j: number) => boolean,
    add: (i: number, j: number) => number = () => 0,
    scale = 1 / Math.sqrt(d),
  ) =>
    table([h, n, d], (a = 0, i = 0, c = 0) => {
      const weights = softmaxOf(
        range(t).map((j) =>
          allowed(i, j) ? scale * total(range(d).map((e) => q(a, i, e) * k(a, j, e))) + add(i, j) : -Infinity,
        ),
      );
      return total(range(t).map((j) => (weights[j] ?? 0) * v(a, j, c)));
    });

  test('full', () => {
    const y = run((tr) => attention(...tensors(tr), { key: 't', along: 'd' }), { inputs });
    expect(y.axes).toBe('h n d');
    expect(
      distance(
        y.data,
        expected(() => true),
      ),
    ).toBeLessThan(1e-12);
  });
  test('another scale', () => {
    expect(
      distance(
        run((tr) => attention(...tensors(tr), { key: 't', along: 'd', scale: 2 }), { inputs }).data,
        expected(
          () => true,
          () => 0,
          2,
        ),
      ),
    ).toBeLessThan(1e-12);
  });
  test('causal: the last query sees every key', () => {
    const y = run((tr) => attention(...tensors(tr), { key: 't', along: 'd', causal: true }), { inputs });
    expect(
      distance(
        y.data,
        expected((i, j) => j <= i + t - n),
      ),
    ).toBeLessThan(1e-12);
  });
  test('causal over symbolic lengths', () => {
    const y = run(
      (tr) => {
        const [queries, keys] = [tr.symbol('queries', { upTo: 8 }), tr.symbol('keys', { upTo: 8 })];
        return attention(
          tr.input('q', 'h n d', { h, n: queries, d }),
          tr.input('k', 'h t d', { h, t: keys, d }),
          tr.input('v', 'h t d', { h, t: keys, d }),
          { key: 't', along: 'd', causal: true },
        );
      },
      { inputs, symbols: { queries: n, keys: t } },
    );
    expect(
      distance(
        y.data,
        expected((i, j) => j <= i + t - n),
      ),
    ).toBeLessThan(1e-12);
  });
  test('a bool mask says where to attend; a float mask is added', () => {
    const mask = table([n, t], (i = 0, j = 0) => Number((i + j) % 2 === 0));
    const chosen = run(
      (tr) => attention(...tensors(tr), { key: 't', along: 'd', mask: tr.input('m', 'n t', { n, t }, 'bool') }),
      { inputs: { ...inputs, m: mask } },
    );
    expect(
      distance(
        chosen.data,
        expected((i, j) => (i + j) % 2 === 0),
      ),
    ).toBeLessThan(1e-12);
    const added = run((tr) => attention(...tensors(tr), { key: 't', along: 'd', mask: tr.input('m', 't', { t }) }), {
      inputs: { ...inputs, m: [0, 1, 2, 3, 4] },
    });
    expect(
      distance(
        added.data,
        expected(
          () => true,
          (_i, j) => j,
        ),
      ),
    ).toBeLessThan(1e-12);
  });
  test('where nothing may be attended, all keys weigh the same', () => {
    const y = run(
      (tr) => attention(...tensors(tr), { key: 't', along: 'd', mask: tr.constant(0, 't', { t }, 'bool') }),
      { inputs },
    );
    expect(
      distance(
        y.data,
        table([h, n, d], (a = 0, _i = 0, c = 0) => total(range(t).map((j) => v(a, j, c))) / t),
      ),
    ).toBeLessThan(1e-12);
  });
  test('grouped queries: keys without the group axis', () => {
    const grouped = numbers(h * 2 * n * d, 4);
    const y = run(
      (tr) => {
        const [, key, value] = tensors(tr);
        return attention(tr.input('g', 'h g n d', { h, g: 2, n, d }), key, value, {
          key: 't',
          along: 'd',
          causal: true,
        });
      },
      { inputs: { g: grouped, k: ks, v: vs }, unread: 'ignore' },
    );
    const query = at(grouped, [h, 2, n, d]);
    expect(
      distance(
        y.data,
        table([h, 2, n, d], (a = 0, g = 0, i = 0, c = 0) => {
          const weights = softmaxOf(
            range(t).map((j) =>
              j <= i + t - n ? total(range(d).map((e) => query(a, g, i, e) * k(a, j, e))) / Math.sqrt(d) : -Infinity,
            ),
          );
          return total(range(t).map((j) => (weights[j] ?? 0) * v(a, j, c)));
        }),
      ),
    ).toBeLessThan(1e-12);
  });
  test('per region: the queries are a batch axis of the keys', () => {
    const keys = numbers(n * t * d, 5);
    const one = numbers(n * d, 6);
    const y = run(
      (tr) =>
        attention(
          tr.input('q', 'n d', { n, d }),
          tr.input('k', 'n t d', { n, t, d }),
          tr.input('v', 'n t d', { n, t, d }),
          { key: 't', along: 'd' },
        ),
      { inputs: { q: one, k: keys, v: keys } },
    );
    const [query, key] = [at(one, [n, d]), at(keys, [n, t, d])];
    expect(
      distance(
        y.data,
        table([n, d], (i = 0, c = 0) => {
          const weights = softmaxOf(
            range(t).map((j) => total(range(d).map((e) => query(i, e) * key(i, j, e))) / Math.sqrt(d)),
          );
          return total(range(t).map((j) => (weights[j] ?? 0) * key(i, j, c)));
        }),
      ),
    ).toBeLessThan(1e-12);
  });
});

test('paths: a module belongs to its parameters, what stands between to what they share', () => {
  const graph = trace(randomParams(1), (t) => {
    const p = t.params.at('block');
    const x = t.input('x', 'n d', { n: 2, d: 4 });
    const a = linear(p.at('fc1'), layerNorm(p.at('norm'), x), 'd', { size: 4 });
    const b = linear(p.at('fc2'), gelu(a), 'd', { size: 4 });
    return { act: gelu(a), sum: a.add(b), scaled: x.mul(p.get('gamma', 'd', { d: 4 })), y: x.add(b) };
  });
  const path = (name: string) => graph.outputs.get(name)?.origin.path;
  expect(['act', 'sum', 'scaled', 'y'].map(path)).toEqual(['block.fc1', 'block', 'block', 'block.fc2']);
});

test('a block over a symbolic length gives what it gives at each length', () => {
  const block = (t: Trace, n: ReturnType<Trace['symbol']>) => {
    const p = t.params;
    const x = t.input('x', 'b n c', { b: 2, n, c: 8 });
    const h = layerNorm(p.at('norm'), x);
    const part = (name: string) => linear(p.at(name), h, 'c', { size: 8 });
    const read = attention(
      rearrange(part('q'), 'b n (h d) -> b h n d', { h: 2 }),
      rearrange(part('k'), 'b n (h d) -> b h t=(n) d', { h: 2 }),
      rearrange(part('v'), 'b n (h d) -> b h t=(n) d', { h: 2 }),
      { key: 't', along: 'd', causal: true },
    );
    const y = x.add(linear(p.at('o'), rearrange(read, 'b h n d -> b n c=(h d)'), 'c', { size: 8 }));
    const grouped = groupNorm(p.at('group'), y, { groups: 2, axis: 'c' });
    const doubled = concat([grouped, pad(slice(y, 'n', { start: -1 }), 'n', { before: 1 })], 'n');
    return reduce(rearrange(doubled, 'b n c -> c m=(n b)'), 'c m -> c', 'mean').add(
      softmax(y, 'n').at('n', -1).at('b', 0),
    );
  };
  for (const n of [1, 2, 7]) {
    const inputs = { x: numbers(2 * n * 8, n) };
    const symbolic = run((t) => block(t, t.symbol('n', { upTo: 9 })), { inputs, symbols: { n } });
    expect(distance(symbolic.data, run((t) => block(t, n), { inputs }).data)).toBeLessThan(1e-12);
  }
});
