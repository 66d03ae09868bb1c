// Parameters by path, from a seed or from numbers; inputs, symbols and states of a trace.
import { describe, expect, test } from 'vitest';
import { fixedParams, order, printAxes, randomParams, trace } from '../../dsl/index.ts';

describe('params', () => {
  test('a path is the name in the checkpoint', () => {
    const source = fixedParams({ 'blocks.0.attn.q.weight': { shape: [3, 2], values: [1, 2, 3, 4, 5, 6] } });
    const graph = trace(source, (t) => {
      const p = t.params.at('blocks', 0).at('attn');
      expect(p.path).toBe('blocks.0.attn');
      expect([p.at('q').has('weight'), p.at('q').has('bias')]).toEqual([true, false]);
      return { w: p.at('q').get('weight', 'o i') };
    });
    const node = graph.outputs.get('w');
    expect(node?.attrs['name']).toBe('blocks.0.attn.q.weight');
    expect(printAxes(node?.type.axes ?? [])).toBe('[o:3 i:2]');
  });

  test('under random parameters a tensor exists once it was read, or where the module says so', () => {
    trace(randomParams(1), (t) => {
      const p = t.params.at('q');
      expect([p.has('bias'), p.has('bias', true), p.has('bias', false)]).toEqual([false, true, false]);
      const bias = p.get('bias', 'o', { o: 2 });
      expect([p.has('bias'), p.has('weight')]).toEqual([true, false]);
      return { bias };
    });
    trace(fixedParams({ 'q.weight': { shape: [1], values: [1] } }), (t) => {
      expect(t.params.at('q').has('bias', true)).toBe(false);
      return { w: t.params.at('q').get('weight', 'o') };
    });
  });

  test('a graph that was traced with others reads only what has its shape', () => {
    const source = fixedParams({
      weight: { shape: [3, 2], values: [1, 2, 3, 4, 5, 6] },
      short: { shape: [2], values: [1] },
    });
    expect(Array.from(source.read('weight', [3, 2]))).toEqual([1, 2, 3, 4, 5, 6]);
    expect(() => source.read('weight', [2, 3])).toThrow(
      /read: the tensor has shape \[3 2\], and \[2 3\] is read\n.*weight/,
    );
    expect(() => source.read('short', [2])).toThrow(/1 number given for shape \[2\]/);
    expect(() => source.read('wieght', [3, 2])).toThrow(/no tensor of shape \[3 2\][^]*nearest are weight/);
  });

  test('one path is one node, under whatever names', () => {
    const source = fixedParams({ embed: { shape: [5, 4], values: new Float32Array(20) } });
    const graph = trace(source, (t) => ({
      table: t.params.get('embed', 'v d'),
      head: t.params.get('embed', 'o i'),
      again: t.params.get('embed', 'v d'),
    }));
    expect(order(graph).filter((node) => node.op.name === 'param').length).toBe(1);
    expect(graph.outputs.get('table')).toBe(graph.outputs.get('again'));
    expect(printAxes(graph.outputs.get('head')?.type.axes ?? [])).toBe('[o:5 i:4]');
  });

  test('from a seed, sizes come from the call and are remembered', () => {
    const graph = trace(randomParams(1), (t) => {
      t.params.get('w', 'o i', { o: 3, i: 2 });
      return { w: t.params.get('w', 'a b') };
    });
    expect(printAxes(graph.outputs.get('w')?.type.axes ?? [])).toBe('[a:3 b:2]');
    expect(() =>
      trace(randomParams(1), (t) => {
        t.params.get('w', 'o i', { o: 3, i: 2 });
        return { w: t.params.get('w', 'a b', { b: 7 }) };
      }),
    ).toThrow(/read before as \[3 2\][^]*\[a:3 b:7\]/);
  });

  test('the dtype of the source is the dtype in the graph', () => {
    expect(
      trace(randomParams(1, { dtype: 'f16' }), (t) => ({ w: t.params.get('w', 'i', { i: 2 }) })).outputs.get('w')?.type
        .dtype,
    ).toBe('f16');
  });
});

describe('randomParams', () => {
  const statistics = (values: Float32Array) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return [mean, Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length)] as const;
  };
  test('depends on seed and path only', () => {
    const read = (seed: number, path: string) => [...randomParams(seed).read(path, [4, 3])];
    expect(read(1, 'a.weight')).toEqual(read(1, 'a.weight'));
    expect(read(1, 'a.weight')).not.toEqual(read(1, 'b.weight'));
    expect(read(1, 'a.weight')).not.toEqual(read(2, 'a.weight'));
  });
  test.each([
    ['fc.weight', [64, 100], 0, 0.1],
    ['conv.weight', [16, 4, 5, 5], 0, 0.1],
    ['norm.weight', [10000], 1, 0.02],
    ['fc.bias', [10000], 0, 0.02],
    ['gain', [10000], 0, 0.02],
  ] as const)('%s %j has mean %f and deviation %f', (path, shape, mean, deviation) => {
    const [m, d] = statistics(randomParams(3).read(path, shape));
    // Four standard errors of the mean and of the deviation, for 1600 values and more.
    expect(Math.abs(m - mean)).toBeLessThan(deviation / 10);
    expect(Math.abs(d / deviation - 1)).toBeLessThan(0.08);
  });
  test('as f16, every value is one of f16', () => {
    for (const value of randomParams(1, { dtype: 'f16' }).read('w', [50, 3])) expect(Math.f16round(value)).toBe(value);
  });
});

describe('trace', () => {
  test('a symbol has one name and one pair of limits; of one value it is a number', () => {
    trace(randomParams(1), (t) => {
      expect(t.symbol('n', { upTo: 7 })).toEqual(t.symbol('n', { upTo: 7, atLeast: 1 }));
      expect(t.symbol('k', { upTo: 3, atLeast: 3 })).toBe(3);
      return { x: t.input('x', 'n', { n: t.symbol('n', { upTo: 7 }) }) };
    });
  });

  test('states and what is written to them', () => {
    const graph = trace(randomParams(1), (t) => {
      const past = t.symbol('past', { upTo: 15, atLeast: 0 });
      const cache = t.state('cache', 't d', { t: 16, d: 2 }, 'f16');
      t.update(cache, t.input('k', 't d', { t: 1, d: 2 }, 'f16'), { t: past });
      return {};
    });
    expect(graph.updates.map((u) => [u.state.attrs['name'], u.value.attrs['name'], [...u.at.keys()]])).toEqual([
      ['cache', 'k', ['t']],
    ]);
  });

  test('constants, indices and extents', () => {
    const graph = trace(randomParams(1), (t) => ({
      grid: t.constant([1, 2, 3, 4, 5, 6], 'a b', { a: 2, b: 3 }, 'i32'),
      fill: t.constant(0.5, 'n', { n: t.symbol('n', { upTo: 9 }) }),
      index: t.iota('n', 4),
      size: t.extent(t.symbol('n', { upTo: 9 })),
      five: t.extent(5),
    }));
    expect(
      [...graph.outputs.values()].map((node) => `${node.op.name} ${printAxes(node.type.axes)} ${node.type.dtype}`),
    ).toEqual(['const [a:2 b:3] i32', 'broadcast [n:n] f32', 'iota [n:4] i32', 'extent [] i32', 'const [] i32']);
  });

  test('a path that is asked for with two shapes is told as that, where no checkpoint says which is right', () => {
    const twice = () =>
      trace(randomParams(1), (t) => {
        t.params.get('weight', 'o i', { o: 4, i: 8 });
        return { y: t.params.get('weight', 'o i', { o: 4, i: 6 }) };
      });
    expect(twice).toThrow(/it was read before as \[4 8\][^]*p\.at/);
  });
});
