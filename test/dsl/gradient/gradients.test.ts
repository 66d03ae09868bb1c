// gradients(loss, wrt): the API, ties as PyTorch has them, second derivatives, what is stopped and what is computed again.
import { describe, expect, test } from 'vitest';
import {
  abs,
  einsum,
  exp,
  fixedParams,
  gradients,
  gridSample,
  layerNorm,
  linear,
  maxPool2d,
  order,
  parse,
  print,
  randomParams,
  recompute,
  reduce,
  relu,
  softmax,
  stopGradient,
  tanh,
  trace,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import { distance, numbers, run } from '../run.ts';

const n = { n: 3 };

function gradientOf(
  build: (x: Tensor<'n', 'f32'>, t: Trace) => Tensor<'', 'f32'>,
  x: readonly number[],
): readonly number[] {
  return run(
    (t) => {
      const input = t.input('x', 'n', { n: x.length });
      return gradients(build(input, t), [input])[0];
    },
    { inputs: { x } },
  ).data;
}

const total = (y: Tensor<'n', 'f32'>): Tensor<'', 'f32'> => reduce(y, 'n ->', 'sum');

describe('ties and kinks, as PyTorch has them', () => {
  test('of equal elements of a window the first has the gradient of maxPool2d', () => {
    const pooled = (x: Tensor<'b h w c', 'f32'>) => maxPool2d(x, { kernel: 3, stride: 2, padding: 1 });
    const dx = run(
      (t) => {
        const x = t.input('x', 'b h w c', { b: 1, h: 3, w: 4, c: 1 });
        const weights = t.constant([1, 10, 100, 1000], 'b h w c', { b: 1, h: 2, w: 2, c: 1 });
        return gradients(reduce(pooled(x).mul(weights), 'b h w c ->', 'sum'), [x])[0];
      },
      { inputs: { x: [0, 5, 5, 0, 5, 0, 5, 5, 0, 0, 0, 5] } },
    ).data;
    // Windows (rows by columns): [0 5; 5 0], [5 5 0; 0 5 5], [5 0; 0 0], [0 5 5; 0 0 5].
    expect(dx).toEqual([0, 11, 0, 0, 100, 0, 1000, 0, 0, 0, 0, 0]);
    const text = print(
      trace(randomParams(1), (t) => ({ y: pooled(t.input('x', 'b h w c', { b: 1, h: 3, w: 4, c: 1 })) })),
    );
    expect(print(parse(text))).toBe(text);
  });

  test('points on the border of a picture have no gradient where the border goes on, and all of theirs where nothing does', () => {
    const slope = (padding: 'zeros' | 'border') =>
      run(
        (t) => {
          const grid = t.input('grid', 'q xy', { q: 4, xy: 2 });
          const x = t.constant([1, 2, 4, 1, 2, 4], 'b h w c', { b: 1, h: 2, w: 3, c: 1 });
          const y = gridSample(x, grid, { padding, alignCorners: true });
          return gradients(reduce(y, 'q b c ->', 'sum'), [grid])[0].at('xy', 0);
        },
        // Columns 0, 2, 1/2 and, a whole pixel outside, -1.
        { inputs: { grid: [-1, 0, 1, 0, -0.5, 0, -2, 0] } },
      ).data;
    expect(slope('border')).toEqual([0, 0, 1, 0]);
    expect(slope('zeros')).toEqual([1, -4, 1, 1]);
  });

  test('equal operands of max and min get half each', () => {
    const [a, b] = [
      [1, 2, 3],
      [2, 2, 2],
    ];
    const both = (by: 'max' | 'min') =>
      [0, 1].map(
        (which) =>
          run(
            (t) => {
              const x = t.input('a', 'n', n);
              const y = t.input('b', 'n', n);
              return gradients(total(x[by](y)), [x, y])[which] as Tensor;
            },
            { inputs: { a, b } },
          ).data,
      );
    expect(both('max')).toEqual([
      [0, 0.5, 1],
      [1, 0.5, 0],
    ]);
    expect(both('min')).toEqual([
      [1, 0.5, 0],
      [0, 0.5, 1],
    ]);
  });

  test('equal elements share the gradient of the largest and the smallest', () => {
    expect(gradientOf((x) => reduce(x, 'n ->', 'max'), [4, 1, 4, 4])).toEqual([1 / 3, 0, 1 / 3, 1 / 3]);
    expect(gradientOf((x) => reduce(x, 'n ->', 'min'), [4, 1, 4, 1])).toEqual([0, 0.5, 0, 0.5]);
  });

  test('relu and abs are flat at 0', () => {
    expect(gradientOf((x) => total(relu(x)), [-1, 0, 2])).toEqual([0, 0, 1]);
    expect(gradientOf((x) => total(abs(x)), [-1, 0, 2])).toEqual([-1, 0, 1]);
  });

  test('powers at 0', () => {
    expect(gradientOf((x) => total(x.pow(0)), [0, 1, 2])).toEqual([0, 0, 0]);
    expect(gradientOf((x) => total(x.pow(2)), [0, -1, 2])).toEqual([0, -2, 4]);
  });

  test('the remainder follows x, and y by the quotient cut off towards zero', () => {
    const graph = (which: 0 | 1) =>
      run(
        (t) => {
          const x = t.input('x', 'n', n);
          const y = t.input('y', 'n', n);
          return gradients(total(x.mod(y)), [x, y])[which];
        },
        { inputs: { x: [7.5, -7.5, 1], y: [2, 2, 4] } },
      ).data;
    expect(graph(0)).toEqual([1, 1, 1]);
    expect(graph(1).map((value) => value + 0)).toEqual([-3, 3, 0]);
  });
});

describe('what goes through', () => {
  test('a tensor in the middle, and one behind it', () => {
    const { data } = run(
      (t) => {
        const x = t.input('x', 'n', n);
        const y = tanh(x);
        const [dx, dy] = gradients(total(y.mul(y)), [x, y]);
        return dx.sub(dy.mul(y.mul(y).neg().add(1)));
      },
      { inputs: { x: numbers(3) } },
    );
    expect(distance(data, [0, 0, 0])).toBeLessThan(1e-15);
  });

  test('nothing goes through stopGradient, and the graph keeps no mark of it', () => {
    expect(gradientOf((x) => total(x.mul(stopGradient(x))), [1, 2, 3])).toEqual([1, 2, 3]);
    const graph = trace(fixedParams({}), (t) => {
      const x = t.input('x', 'n', n);
      return { y: exp(stopGradient(x)) };
    });
    expect(order(graph).map((node) => node.op.name)).toEqual(['input', 'exp']);
  });

  test('the softmax of equal rows, in 16 bits: sums in f32', () => {
    const graph = trace(fixedParams({}), (t) => {
      const x = t.input('x', 'n', { n: 4096 }, 'f16');
      const w = t.input('w', '', {}, 'f16');
      return { dw: gradients(reduce(x.mul(w).cast('f32'), 'n ->', 'sum'), [w])[0] };
    });
    expect(order(graph).some((node) => node.op.kind === 'reduce' && node.type.dtype === 'f16')).toBe(false);
  });

  test('a parameter under other axis names is the same parameter', () => {
    const { data } = run(
      (t) => {
        const x = t.input('x', 'n i', { n: 2, i: 2 });
        const y = linear(t.params, x, 'o', { size: 2, bias: false });
        const w = t.params.get('weight', 'rows columns');
        return gradients(reduce(y, 'n o ->', 'sum'), [w])[0];
      },
      { inputs: { x: [1, 2, 3, 4] }, params: randomParams(1) },
    );
    expect(data).toEqual([4, 6, 4, 6]);
  });

  test.each(['o i', 'f i', 'g i', 'rows columns'])(
    'a parameter that two places read has the gradient of both, asked for as %s',
    (names) => {
      const { data } = run(
        (t) => {
          const x = t.input('x', 'n i', { n: 1, i: 2 });
          const [y, z] = [
            linear(t.params, x, 'f', { size: 2, bias: false }),
            linear(t.params, x, 'g', { bias: false }),
          ];
          const loss = reduce(y, 'n f ->', 'sum').add(reduce(z, 'n g ->', 'sum'));
          return gradients(loss, [t.params.get('weight', names)])[0];
        },
        { inputs: { x: [1, 10] }, params: randomParams(1) },
      );
      expect(data).toEqual([2, 20, 2, 20]);
    },
  );
});

test('second derivatives: the Hessian times a vector, against differences of gradients', () => {
  const vector = numbers(6, 3);
  const x0 = numbers(6, 4);
  const build = (t: Trace, twice: boolean): Tensor => {
    const x = t.input('x', 'n d', { n: 2, d: 3 });
    const y = layerNorm(
      t.params,
      einsum(softmax(x, 'd'), t.params.get('m', 'e d', { e: 3, d: 3 }), 'n d, e d -> n e'),
      {
        axis: 'e',
      },
    );
    const [dx] = gradients(reduce(tanh(y), 'n e ->', 'sum'), [x]);
    if (!twice) return dx;
    const v = t.constant(vector, 'n d', { n: 2, d: 3 });
    return gradients(reduce(dx.mul(v), 'n d ->', 'sum'), [x])[0];
  };
  const params = randomParams(3);
  const first = (by: number) =>
    run((t) => build(t, false), { inputs: { x: x0.map((x, i) => x + by * (vector[i] ?? 0)) }, params }).data;
  const h = 1e-4;
  const [forward, back] = [first(h), first(-h)];
  const product = run((t) => build(t, true), { inputs: { x: x0 }, params }).data;
  expect(
    distance(
      product,
      forward.map((value, i) => (value - (back[i] ?? 0)) / (2 * h)),
    ),
  ).toBeLessThan(1e-6);
});

test('recompute gives the same gradients, from values that are computed again', () => {
  const block = (t: Trace, name: string) => (x: Tensor<'n d', 'f32'>) =>
    tanh(linear(t.params.at(name), x, 'd', { size: 3 }));
  const build = (again: boolean) => (t: Trace) => {
    const x = t.input('x', 'n d', { n: 2, d: 3 });
    const apply = (name: string, y: Tensor<'n d', 'f32'>) => (again ? recompute(block(t, name), y) : block(t, name)(y));
    const y = apply('b', apply('a', x));
    const [dx, dw] = gradients(reduce(exp(y), 'n d ->', 'sum'), [x, t.params.at('a').get('weight', 'o i')]);
    return { dx, dw };
  };
  const setting = { inputs: { x: numbers(6) }, params: randomParams(2) };
  for (const name of ['dx', 'dw'] as const)
    expect(run((t) => build(true)(t)[name], setting).data).toEqual(run((t) => build(false)(t)[name], setting).data);
  const graph = trace(randomParams(2), build(true));
  expect(order(graph).filter((node) => node.op.name === 'tanh')).toHaveLength(4);
});

test('what makes one input of a block from another is not computed again', () => {
  const graph = trace(randomParams(2), (t) => {
    const x = t.input('x', 'n d', { n: 2, d: 3 });
    const y = exp(tanh(x));
    const z = recompute((a, b) => exp(a.mul(b)), y, x);
    return { dx: gradients(reduce(z, 'n d ->', 'sum'), [x])[0] };
  });
  const count = (name: string) => order(graph).filter((node) => node.op.name === name).length;
  // The forward one alone: its gradient reads its result. Of the block the exponential, again for its gradient.
  expect([count('tanh'), count('exp')]).toEqual([1, 2]);
});

describe('errors', () => {
  const refused = (build: (t: Trace) => Tensor) => () => trace(randomParams(1), (t) => ({ y: build(t) }));

  test('a loss that is not one float', () => {
    expect(
      refused((t) => {
        const x = t.input('x', 'n', n);
        return gradients(x, [x])[0];
      }),
    ).toThrow(/gradients: the loss is not one float[^]*\[n:3\][^]*try reduce it/);
  });

  test('whole numbers', () => {
    expect(
      refused((t) => {
        const x = t.input('x', 'n', n, 'i32');
        return gradients(total(x.cast('f32')), [x])[0];
      }),
    ).toThrow(/i32 has no gradient/);
  });

  test('a tensor that the loss does not depend on is named; zeros on request', () => {
    const build = (unused: 'error' | 'zeros') => (t: Trace) => {
      const x = t.input('x', 'n', n);
      const other = t.input('other', 'n', n);
      return gradients(total(exp(x)), [x, other], { unused })[1];
    };
    expect(refused(build('error'))).toThrow(/does not depend on this tensor[^]*other \[n:3\]/);
    expect(run(build('zeros'), { inputs: { x: [1, 2, 3], other: [1, 2, 3] } }).data).toEqual([0, 0, 0]);
  });
});

test('frozen parts cost nothing: the backward pass has no node of theirs', () => {
  const tower = (backward: boolean) => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n d', { n: 2, d: 4 });
      const seen = tanh(linear(t.params.at('tower'), x, 'd', { size: 4 }));
      const y = linear(t.params.at('connector'), seen, 'd', { size: 4 });
      const loss = reduce(y.mul(y), 'n d ->', 'sum');
      return { y: backward ? gradients(loss, [t.params.at('connector').get('weight', 'o i')])[0] : loss };
    });
    return order(graph)
      .filter((node) => node.origin.path.startsWith('tower'))
      .map((node) => node.op.name);
  };
  expect(tower(true)).toEqual(tower(false));
});
