// The reference interpreter against hand-written values, against a second interpreter that knows no op record, and its refusals.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Size } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { Attrs, DType, ViewOp } from '../../dsl/graph/op.ts';
import { maps } from '../../dsl/ops/map/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import { parse } from '../../dsl/text/parse.ts';
import { evaluate, evaluateNodes, type Feeds, type Precision } from '../../runtime/reference/reference.ts';
import { roundToBf16 } from '../../runtime/reference/values.ts';
import { viewByElement, viewTables } from '../../runtime/reference/view.ts';
import { evaluateWithError, isWithin } from '../../pipelines/testing/forward-error.ts';
import { graphArbitrary, record } from '../support/generate.ts';
import { naiveValues, scalar } from '../support/naive.ts';

const noParams = (path: string): never => {
  throw new Error(`no parameter ${path}`);
};

/** One output of a graph text; inputs by name. */
function run(
  text: string,
  inputs: { readonly [name: string]: readonly number[] },
  precision: Precision = 'f64',
  more: Partial<Feeds> = {},
): number[] {
  const graph = parse(`graph${text.startsWith(' (') ? '' : '\n'}${text}`);
  const { outputs } = evaluate(
    graph,
    { inputs: new Map(Object.entries(inputs)), params: noParams, ...more },
    { precision },
  );
  return Array.from(outputs.get('y')?.data ?? []);
}

function input(builder: Builder, name: string, axes: { readonly [axis: string]: Size }, dtype: DType = 'f32'): Node {
  return builder.make(record('input'), [], {
    name,
    ...typeAttrs(
      Object.entries(axes).map(([axis, size]) => ({ name: axis, size })),
      dtype,
    ),
  });
}

/** The value nearest to x that the dtype has; a whole number as it is. */
function held(x: number, dtype: DType): number {
  return dtype === 'f32' ? Math.fround(x) : dtype === 'f16' ? Math.f16round(x) : dtype === 'bf16' ? roundToBf16(x) : x;
}

describe('against the second interpreter', () => {
  test('generated graphs, every node', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(graphArbitrary({ maxElements: 400 }), ({ graph, feeds }) => {
        const nodes = order(graph);
        for (const [node, values] of evaluateNodes(nodes, feeds, { precision: 'f64' })) {
          seen.add(node.op.name);
          const expected = naiveValues(node, feeds);
          expect(values.data.length).toBe(expected.length);
          const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
          const wrong = values.data.findIndex((x, i) => !(Math.abs(x - (expected[i] ?? NaN)) <= 1e-9 * scale));
          if (wrong !== -1)
            throw new Error(`${node.op.name}: element ${wrong} is ${values.data[wrong]}, not ${expected[wrong]}`);
        }
      }),
      { numRuns: 400, seed: 11 },
    );
    expect(maps.map((op) => op.name).filter((name) => !seen.has(name))).toEqual([]);
  }, 120_000);

  test('the same bits in every run', () => {
    fc.assert(
      fc.property(
        graphArbitrary({ maxElements: 400 }),
        fc.constantFrom<Precision>('f64', 'f32'),
        ({ graph, feeds }, precision) => {
          const [one, two] = [evaluate(graph, feeds, { precision }), evaluate(graph, feeds, { precision })];
          for (const [name, values] of one.outputs) expect(two.outputs.get(name)?.data).toEqual(values.data);
          for (const [name, values] of one.states) expect(two.states.get(name)).toEqual(values);
        },
      ),
      { numRuns: 60, seed: 11 },
    );
  });

  test('f32 holds what each dtype holds, and is as near to f64 as its roundings allow', () => {
    fc.assert(
      fc.property(graphArbitrary({ maxElements: 400 }), ({ graph, feeds }) => {
        const exact = evaluateWithError(graph, feeds);
        for (const [name, { data, dtype }] of evaluate(graph, feeds, { precision: 'f32' }).outputs) {
          expect(data.every((x) => Object.is(x, held(x, dtype)))).toBe(true);
          const want = exact.outputs.get(name);
          const wrong = data.findIndex((x, i) => !isWithin(x, want?.data[i] ?? NaN, want?.error[i] ?? NaN));
          expect(wrong === -1 ? [] : [name, wrong, data[wrong], want?.data[wrong], want?.error[wrong]]).toEqual([]);
        }
      }),
      { numRuns: 100, seed: 11 },
    );
  });
});

describe('maps', () => {
  test.each(maps.map((op) => [op.name, op] as const))('%s at special values', (name, op) => {
    const independent = scalar[name];
    expect(independent).toBeDefined();
    for (const x of [-1.5, -1, -0.25, 0.25, 1, 2.5]) {
      for (const y of [0.5, 1, 2]) {
        const operands = [x, y, 7].slice(0, op.arity);
        const expected = independent?.(operands, 'f32') ?? NaN;
        const got = op.eval(operands, 'f32', { to: 'f32' });
        if (Number.isNaN(expected) || name === 'and' || name === 'or' || (name === 'pow' && x < 0)) continue;
        expect(got).toBeCloseTo(expected, 9);
      }
    }
  });

  test.each([
    [0, -3, Infinity],
    [-0, -3, -Infinity],
    [-0, -2, Infinity],
    [-0, -0.5, Infinity],
    [-0, -Infinity, Infinity],
    [-0, 3, -0],
    [-0, 2, 0],
    [-0, 0.5, 0],
    [-1, Infinity, 1],
    [-1, -Infinity, 1],
    [1, NaN, 1],
    [1, Infinity, 1],
    [NaN, 0, 1],
    [NaN, -0, 1],
    [NaN, 1, NaN],
    [2, NaN, NaN],
    [-2, 0.5, NaN],
    [-2, 3, -8],
    [0.5, -Infinity, Infinity],
    [2, -Infinity, 0],
    [0.5, Infinity, 0],
    [2, Infinity, Infinity],
    [-Infinity, -3, -0],
    [-Infinity, -2, 0],
    [-Infinity, 3, -Infinity],
    [-Infinity, 0.5, Infinity],
    [Infinity, -1, 0],
    [Infinity, 0.5, Infinity],
  ])('pow(%d, %d) is %d, C17 F.10.4.4', (x, y, expected) => {
    const text = '%x = input name=x : f32 []\n%y = input name=y : f32 []\n%z = pow %x %y : f32 []\nreturn y=%z';
    expect(run(text, { x: [x], y: [y] })[0]).toBe(expected);
  });

  test.each([
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [3, 0.9999779095030014],
    [-1, -0.8427007929497149],
  ])('erf(%d), Abramowitz and Stegun', (x, expected) => {
    expect(run('%x = input name=x : f32 []\n%y = erf %x : f32 []\nreturn y=%y', { x: [x] })[0]).toBeCloseTo(
      expected,
      14,
    );
  });

  test('operands align by name, whatever their order', () => {
    const text =
      '%x = input name=x : f32 [a:2 b:3]\n%z = input name=z : f32 [b:3 a:2]\n%w = input name=w : f32 [b:3]\n%s = sub %x %z : f32 [a:2 b:3]\n%y = mul %w %s : f32 [a:2 b:3]\nreturn y=%y';
    expect(run(text, { x: [1, 2, 3, 4, 5, 6], z: [10, 40, 20, 50, 30, 60], w: [1, 10, 100] })).toEqual([
      -9, -180, -2700, -36, -450, -5400,
    ]);
  });

  test('any operand axes in any order', () => {
    const size = { a: 2, b: 3, c: 2, d: 5 } as const;
    const all = ['a', 'b', 'c', 'd'] as const;
    fc.assert(
      fc.property(fc.shuffledSubarray([...all], { minLength: 4 }), fc.shuffledSubarray([...all]), (left, right) => {
        const axes = (names: readonly (keyof typeof size)[]) =>
          Object.fromEntries(names.map((name) => [name, size[name]]));
        const builder = new Builder();
        const y = builder.make(record('sub'), [input(builder, 'x', axes(left)), input(builder, 'z', axes(right))]);
        const count = (names: readonly (keyof typeof size)[]) =>
          Float64Array.from({ length: names.reduce((n, name) => n * size[name], 1) }, (_, i) => i * names.length);
        const inputs = new Map([
          ['x', count(left)],
          ['z', count(right)],
        ]);
        const feeds = {
          inputs,
          params: noParams,
          states: new Map<string, Float64Array>(),
          symbols: new Map<string, number>(),
        };
        expect(evaluateNodes([y], feeds, { precision: 'f64' }).get(y)?.data).toEqual(naiveValues(y, feeds));
      }),
      { numRuns: 100, seed: 11 },
    );
  });

  test('whole numbers wrap and are cut off as on the device', () => {
    const binary = (op: string, dtype: DType, x: number, z: number) =>
      run(
        `%x = input name=x : ${dtype} []\n%z = input name=z : ${dtype} []\n%y = ${op} %x %z : ${dtype} []\nreturn y=%y`,
        { x: [x], z: [z] },
      )[0];
    expect(binary('add', 'i32', 2147483647, 1)).toBe(-2147483648);
    expect(binary('mul', 'i32', 123456789, 987654321)).toBe(-67153019);
    expect(binary('sub', 'u32', 1, 2)).toBe(4294967295);
    expect(binary('xor', 'u32', 0xf0f0f0f0, 0xffff0000)).toBe(0x0f0ff0f0);
    expect(binary('xor', 'i32', -1, 5)).toBe(-6);
    expect(binary('shiftRight', 'u32', 0x80000001, 4)).toBe(0x08000000);
    expect(binary('shiftRight', 'i32', -16, 2)).toBe(-4);
    expect(binary('shiftRight', 'u32', 8, 33)).toBe(4);
    expect(binary('mul', 'u32', 65537, 65537)).toBe(131073);
    expect(binary('div', 'i32', -7, 2)).toBe(-3);
    expect(binary('mod', 'i32', -7, 2)).toBe(-1);
  });

  test('a cast cuts towards zero and keeps within the range', () => {
    const cast = (to: DType, x: number) =>
      run(`%x = input name=x : f32 []\n%y = cast %x to=${to} : ${to} []\nreturn y=%y`, { x: [x] })[0];
    expect([
      cast('i32', -2.9),
      cast('i32', 3e9),
      cast('u32', -3),
      cast('u32', 2.9),
      cast('bool', -0.5),
      cast('bool', 0),
      cast('i32', NaN),
    ]).toEqual([-2, 2147483647, 0, 2, 1, 0, 0]);
  });
});

describe('reductions', () => {
  const reduction = (op: string, axes: string, x: readonly number[], dtype: DType = 'f32') => {
    const rest = ['a:2', 'b:2', 'c:3'].filter((axis) => !axes.includes(axis.slice(0, 1))).join(' ');
    return run(
      `%x = input name=x : ${dtype} [a:2 b:2 c:3]\n%y = ${op} %x axes=[${axes}] : ${dtype} [${rest}]\nreturn y=%y`,
      { x },
    );
  };
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
  test('any axes', () => {
    expect(reduction('sum', 'c', numbers)).toEqual([6, 15, 24, 33]);
    expect(reduction('sum', 'a', numbers)).toEqual([8, 10, 12, 14, 16, 18]);
    expect(reduction('sum', 'a c', numbers)).toEqual([30, 48]);
    expect(reduction('sum', 'c b a', numbers)).toEqual([78]);
    expect(reduction('reduceMax', 'b', numbers)).toEqual([4, 5, 6, 10, 11, 12]);
    expect(reduction('reduceMin', 'a b', numbers)).toEqual([1, 2, 3]);
  });
  test('NaN wins, infinities are values, integers wrap', () => {
    expect(reduction('reduceMax', 'c', numbers.with(4, NaN))).toEqual([3, NaN, 9, 12]);
    expect(
      reduction(
        'reduceMax',
        'a b c',
        numbers.map(() => -Infinity),
      ),
    ).toEqual([-Infinity]);
    expect(
      reduction(
        'sum',
        'a b c',
        numbers.map(() => 2 ** 29),
        'i32',
      ),
    ).toEqual([-(2 ** 31)]);
  });
});

describe('tensors longer than one inner loop', () => {
  const size = { a: 3, b: 47, c: 65 } as const;
  const data = Float64Array.from({ length: 3 * 47 * 65 }, (_, i) => (i * 37) % 1009);
  const at = (a: number, b: number, c: number): number => data[(a * 47 + b) * 65 + c] ?? NaN;
  const check = (
    op: string,
    type: string,
    expected: (i: readonly number[]) => number,
    sizes: readonly number[],
    more = '',
  ) => {
    const got = run(`%x = input name=x : f32 [a:3 b:47 c:65]\n${more}%y = ${op} : f32 ${type}\nreturn y=%y`, {
      x: Array.from(data),
      i: [2, 0],
    });
    const wanted = Float64Array.from({ length: sizes.reduce((n, s) => n * s, 1) }, (_, flat) => {
      const index: number[] = [];
      for (const s of sizes.toReversed()) {
        index.unshift(flat % s);
        flat = Math.floor(flat / s);
      }
      return expected(index);
    });
    expect(Float64Array.from(got)).toEqual(wanted);
  };
  test('views', () => {
    check(
      'pad %x axis=a before=1 after=1 value=7',
      '[a:5 b:47 c:65]',
      ([a = 0, b = 0, c = 0]) => (a === 0 || a === 4 ? 7 : at(a - 1, b, c)),
      [5, 47, 65],
    );
    check(
      'pad %x axis=b before=1 after=1 value=7',
      '[a:3 b:49 c:65]',
      ([a = 0, b = 0, c = 0]) => (b === 0 || b === 48 ? 7 : at(a, b - 1, c)),
      [3, 49, 65],
    );
    check(
      'rearrange %x pattern="a b c -> c a b"',
      '[c:65 a:3 b:47]',
      ([c = 0, a = 0, b = 0]) => at(a, b, c),
      [65, 3, 47],
    );
    check('flip %x axis=a', '[a:3 b:47 c:65]', ([a = 0, b = 0, c = 0]) => at(2 - a, b, c), [3, 47, 65]);
  });
  test('reductions', () => {
    const total = (f: (i: number) => number, n: number) =>
      Array.from({ length: n }, (_, i) => f(i)).reduce((x, y) => x + y, 0);
    check('sum %x axes=[a]', '[b:47 c:65]', ([b = 0, c = 0]) => total((a) => at(a, b, c), 3), [47, 65]);
    check('sum %x axes=[b]', '[a:3 c:65]', ([a = 0, c = 0]) => total((b) => at(a, b, c), 47), [3, 65]);
    check('sum %x axes=[c]', '[a:3 b:47]', ([a = 0, b = 0]) => total((c) => at(a, b, c), 65), [3, 47]);
    check('sum %x axes=[b c]', '[a:3]', ([a = 0]) => total((b) => total((c) => at(a, b, c), 65), 47), [3]);
    check(
      'reduceMax %x axes=[a c]',
      '[b:47]',
      ([b = 0]) => Math.max(...[0, 1, 2].flatMap((a) => Array.from({ length: size.c }, (_, c) => at(a, b, c)))),
      [47],
    );
  });
  test('gathers and joins', () => {
    check(
      'gather %x %i axis=a',
      '[k:2 b:47 c:65]',
      ([k = 0, b = 0, c = 0]) => at(k === 0 ? 2 : 0, b, c),
      [2, 47, 65],
      '%i = input name=i : i32 [k:2]\n',
    );
    check('concat %x %x axis=a', '[a:6 b:47 c:65]', ([a = 0, b = 0, c = 0]) => at(a % 3, b, c), [6, 47, 65]);
  });
});

describe('views, joins, gathers', () => {
  const line = (op: string, type: string) =>
    run(`%x = input name=x : f32 [r:2 n:4]\n%y = ${op} : f32 ${type}\nreturn y=%y`, {
      x: [0, 1, 2, 3, 10, 11, 12, 13],
    });
  test.each([
    ['rearrange %x pattern="r n -> n r"', '[n:4 r:2]', [0, 10, 1, 11, 2, 12, 3, 13]],
    ['rearrange %x pattern="r (p q) -> p m=(q r)" sizes={p=2 q=2}', '[p:2 m:4]', [0, 10, 1, 11, 2, 12, 3, 13]],
    ['broadcast %x axes=[r:2 k:2 n:4]', '[r:2 k:2 n:4]', [0, 1, 2, 3, 0, 1, 2, 3, 10, 11, 12, 13, 10, 11, 12, 13]],
    ['slice %x axis=n start=1 size=2 step=2', '[r:2 n:2]', [1, 3, 11, 13]],
    ['pad %x axis=n before=1 after=2 value=7', '[r:2 n:7]', [7, 0, 1, 2, 3, 7, 7, 7, 10, 11, 12, 13, 7, 7]],
    [
      'pad %x axis=r before=1 after=0 value=-Infinity',
      '[r:3 n:4]',
      [-Infinity, -Infinity, -Infinity, -Infinity, 0, 1, 2, 3, 10, 11, 12, 13],
    ],
    ['flip %x axis=r', '[r:2 n:4]', [10, 11, 12, 13, 0, 1, 2, 3]],
    ['window %x axis=n into=[n k] size=2 stride=1 dilation=2', '[r:2 n:2 k:2]', [0, 2, 1, 3, 10, 12, 11, 13]],
    ['concat %x %x axis=n', '[r:2 n:8]', [0, 1, 2, 3, 0, 1, 2, 3, 10, 11, 12, 13, 10, 11, 12, 13]],
    ['concat %x %x axis=r', '[r:4 n:4]', [0, 1, 2, 3, 10, 11, 12, 13, 0, 1, 2, 3, 10, 11, 12, 13]],
  ])('%s', (op, type, expected) => {
    expect(line(op, type)).toEqual(expected);
  });

  test('a gather clamps its positions; a shared axis is a batch axis', () => {
    const gather = (axes: string, type: string, i: readonly number[], axis: string) =>
      run(
        `%x = input name=x : f32 [r:2 n:4]\n%i = input name=i : i32 ${axes}\n%y = gather %x %i axis=${axis} : f32 ${type}\nreturn y=%y`,
        { x: [0, 1, 2, 3, 10, 11, 12, 13], i },
      );
    expect(gather('[k:3]', '[k:3 n:4]', [1, -5, 99], 'r')).toEqual([10, 11, 12, 13, 0, 1, 2, 3, 10, 11, 12, 13]);
    expect(gather('[k:2]', '[k:2 r:2]', [3, 0], 'n')).toEqual([3, 13, 0, 10]);
    expect(gather('[r:2]', '[r:2]', [2, 1], 'n')).toEqual([2, 11]);
  });

  test('tables of offsets mean what one evaluation per element means', () => {
    fc.assert(
      fc.property(graphArbitrary({ maxElements: 400 }), ({ graph, feeds }) => {
        const values = evaluateNodes(order(graph), feeds, { precision: 'f64' });
        for (const [node, value] of values) {
          const [operand] = node.inputs;
          if (node.op.kind !== 'view' || operand === undefined) continue;
          const x = values.get(operand) ?? value;
          const view = {
            op: node.op,
            attrs: node.attrs,
            of: operand.type,
            out: value.axes,
            symbols: feeds.symbols,
            round: (v: number) => v,
          };
          expect(viewTables(view, x)).toBeDefined();
          expect(viewByElement(view, x)).toEqual(value.data);
        }
      }),
      { numRuns: 100, seed: 11 },
    );
  });

  test('an index map that mixes axes is evaluated per element', () => {
    // y[i, j] = x[(i + j) mod n], and 9 where i + j ≥ 5
    const skew: ViewOp = {
      kind: 'view',
      name: 'skew',
      shows: 'windows',
      doc: '',
      read: (attrs) => attrs,
      infer: (x) => ({
        axes: [
          { name: 'i', size: 3 },
          { name: 'j', size: 4 },
        ],
        dtype: x.dtype,
      }),
      source(math, out) {
        const [i, j] = [out.get('i'), out.get('j')];
        if (i === undefined || j === undefined) throw new Error('no index');
        const sum = math.add(i, j);
        return { index: new Map([['n', math.remainder(sum, 4)]]), guards: [math.within(sum, 0, 5)], otherwise: 9 };
      },
      transpose() {
        throw new Error('not asked for');
      },
    };
    const builder = new Builder();
    const y = builder.make(skew, [input(builder, 'x', { n: 4 })]);
    const { outputs } = evaluate(
      { outputs: new Map([['y', y]]), updates: [] },
      { inputs: new Map([['x', [0, 1, 2, 3]]]), params: noParams },
      { precision: 'f64' },
    );
    expect(Array.from(outputs.get('y')?.data ?? [])).toEqual([0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 9]);
  });
});

describe('contractions', () => {
  test('batch, rows, columns, sum in every order and every edge of the 4×4 blocks', () => {
    const sizes = fc.record({
      b: fc.constantFrom(1, 2, 3),
      r: fc.constantFrom(1, 3, 4, 5, 9),
      c: fc.constantFrom(1, 2, 4, 7, 65),
      s: fc.constantFrom(1, 3, 511, 513),
    });
    fc.assert(
      fc.property(
        sizes,
        fc.shuffledSubarray(['b', 'r', 's'], { minLength: 3 }),
        fc.shuffledSubarray(['b', 'c', 's'], { minLength: 3 }),
        fc.shuffledSubarray(['b', 'r', 'c'], { minLength: 3 }),
        (size, left, right, out) => {
          const axes = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, size[name as 'b']]));
          const builder = new Builder();
          const y = builder.make(
            record('contract'),
            [input(builder, 'x', axes(left)), input(builder, 'z', axes(right))],
            { axes: out },
          );
          const whole = (names: readonly string[], k: number) =>
            Array.from({ length: names.reduce((n, name) => n * size[name as 'b'], 1) }, (_, i) => ((i * k) % 17) - 8);
          const inputs = new Map([
            ['x', Float64Array.from(whole(left, 5))],
            ['z', Float64Array.from(whole(right, 7))],
          ]);
          const got = evaluate(
            { outputs: new Map([['y', y]]), updates: [] },
            { inputs, params: noParams },
            { precision: 'f64' },
          ).outputs.get('y')?.data;
          const flat = (names: readonly string[], at: { readonly [name: string]: number }) =>
            names.reduce((sum, name) => sum * size[name as 'b'] + (at[name] ?? 0), 0);
          for (let b = 0; b < size.b; b++)
            for (let r = 0; r < size.r; r++)
              for (let c = 0; c < size.c; c++) {
                let sum = 0;
                for (let s = 0; s < size.s; s++)
                  sum +=
                    (inputs.get('x')?.[flat(left, { b, r, s })] ?? NaN) *
                    (inputs.get('z')?.[flat(right, { b, c, s })] ?? NaN);
                expect(got?.[flat(out, { b, r, c })]).toBe(sum);
              }
        },
      ),
      { numRuns: 60, seed: 11 },
    );
  }, 60_000);

  test('several row, column and sum axes, a matrix and a vector, an outer product', () => {
    const text = (z: string, out: string, type: string) =>
      `%x = input name=x : f32 [p:2 q:2 s:2]\n%z = input name=z : f32 ${z}\n%y = contract %x %z axes=${out} : f32 ${type}\nreturn y=%y`;
    const x = [1, 2, 3, 4, 5, 6, 7, 8];
    expect(run(text('[q:2 s:2]', '[p]', '[p:2]'), { x, z: [1, 10, 100, 1000] })).toEqual([4321, 8765]);
    expect(run(text('[k:1 q:2]', '[s k q p]', '[s:2 k:1 q:2 p:2]'), { x, z: [1, 10] })).toEqual([
      1, 5, 30, 70, 2, 6, 40, 80,
    ]);
    expect(run(text('[k:2]', '[k p q s]', '[k:2 p:2 q:2 s:2]'), { x, z: [1, -1] })).toEqual([
      ...x,
      ...x.map((v) => -v),
    ]);
  });
});

describe('rounding', () => {
  test('f16 and bf16: nearest, ties to even', () => {
    const round = (dtype: DType, x: number) =>
      run(`%x = input name=x : ${dtype} []\nreturn y=%x`, { x: [x] }, 'f32')[0];
    expect(round('f16', 1 / 3)).toBe(0.333251953125);
    expect(round('f16', 2049)).toBe(2048);
    expect(round('f16', 2051)).toBe(2052);
    expect(round('f16', 65520)).toBe(Infinity);
    expect(round('f16', 2 ** -25)).toBe(0);
    expect(round('bf16', 1 / 3)).toBe(0.333984375);
    expect(round('bf16', 257)).toBe(256);
    expect(round('bf16', 259)).toBe(260);
    expect(round('f32', 16777217)).toBe(16777216);
    expect([roundToBf16(NaN), roundToBf16(-Infinity), roundToBf16(3.4e38)]).toEqual([NaN, -Infinity, Infinity]);
  });

  test('each op rounds once; sums and products accumulate without', () => {
    const sum = '%x = input name=x : f16 [n:5]\n%y = sum %x axes=[n] : f16 []\nreturn y=%y';
    // One after another in f16, 2048 + 1 stays 2048.
    expect(run(sum, { x: [2048, 1, 1, 1, 1] }, 'f32')).toEqual([2052]);
    const chain =
      '%x = input name=x : f16 []\n%z = input name=z : f16 []\n%a = add %x %z : f16 []\n%y = sub %a %x : f16 []\nreturn y=%y';
    expect(run(chain, { x: [2048], z: [1] }, 'f32')).toEqual([0]);
    expect(run(chain, { x: [2048], z: [1] }, 'f64')).toEqual([1]);
    const dot =
      '%x = input name=x : f32 [n:3]\n%z = input name=z : f32 [n:3]\n%y = contract %x %z axes=[] : f32 []\nreturn y=%y';
    expect(run(dot, { x: [16777216, 1, -16777216], z: [1, 1, 1] }, 'f32')).toEqual([1]);
  });

  test('the constant of a pad is rounded too', () => {
    expect(
      run(
        '%x = input name=x : f16 [n:1]\n%y = pad %x axis=n before=1 after=0 value=-1e30 : f16 [n:2]\nreturn y=%y',
        { x: [1] },
        'f32',
      ),
    ).toEqual([-Infinity, 1]);
  });
});

describe('symbols, states, updates', () => {
  const text =
    ' (n <= 4)\n%x = input name=x : f32 [t:2n+1]\n%i = iota : i32 [t:2n+1]\n%f = cast %i to=f32 : f32 [t:2n+1]\n%e = extent size=(2n) : i32 []\n%g = cast %e to=f32 : f32 []\n%a = mul %x %f : f32 [t:2n+1]\n%y = add %a %g : f32 [t:2n+1]\nreturn y=%y';
  test('one graph, several sizes', () => {
    expect(run(text, { x: [1, 1, 1] }, 'f64', { symbols: new Map([['n', 1]]) })).toEqual([2, 3, 4]);
    expect(run(text, { x: [2, 2, 2, 2, 2] }, 'f64', { symbols: new Map([['n', 2]]) })).toEqual([4, 6, 8, 10, 12]);
    expect(run(text, { x: [5] }, 'f64', { symbols: new Map([['n', 0]]) })).toEqual([0]);
  });

  test('an empty axis: an empty result, and a sum of nothing', () => {
    const empty =
      ' (n <= 4)\n%x = input name=x : f32 [t:n r:2]\n%y = sum %x axes=[t] : f32 [r:2]\n%z = neg %x : f32 [t:n r:2]\nreturn y=%y z=%z';
    expect(run(empty, { x: [] }, 'f64', { symbols: new Map([['n', 0]]) })).toEqual([0, 0]);
  });

  const cache: Graph = parse(
    'graph (past <= 3)\n%k = state name=k : f32 [h:2 t:3]\n%x = input name=x : f32 [t:1 h:2]\n%y = sum %k axes=[t] : f32 [h:2]\nreturn y=%y\nupdate %k = %x at [t:past]',
  );
  test('an update writes its range, by names, after everything was read', () => {
    const step = (past: number, x: readonly number[], states?: Feeds['states']) =>
      evaluate(
        cache,
        { inputs: new Map([['x', x]]), params: noParams, states, symbols: new Map([['past', past]]) },
        { precision: 'f64' },
      );
    const one = step(0, [1, 2]);
    expect(Array.from(one.outputs.get('y')?.data ?? [])).toEqual([0, 0]);
    expect(Array.from(one.states.get('k') ?? [])).toEqual([1, 0, 0, 2, 0, 0]);
    const two = step(2, [3, 4], one.states);
    expect(Array.from(two.outputs.get('y')?.data ?? [])).toEqual([1, 2]);
    expect(Array.from(two.states.get('k') ?? [])).toEqual([1, 0, 3, 2, 0, 4]);
    expect(Array.from(one.states.get('k') ?? [])).toEqual([1, 0, 0, 2, 0, 0]);
    expect(() => step(3, [1, 2])).toThrow(/update of t 3\.\.4 \(at past\) does not fit axis 't' of size 3/);
  });

  test('what was given stays as it was', () => {
    const x = Float64Array.of(1.1, 2.2);
    run(
      '%x = input name=x : f32 [n:2]\n%y = rearrange %x pattern="n -> m=(n)" : f32 [m:2]\nreturn y=%y',
      { x: x as unknown as number[] },
      'f32',
    );
    expect(Array.from(x)).toEqual([1.1, 2.2]);
  });
});

describe('refusals', () => {
  const text = ' (n <= 4)\n%x = input name=tokens : f32 [t:n]\nreturn y=%x';
  test.each<[string, Partial<Feeds>, { readonly [name: string]: readonly number[] }, RegExp]>([
    [
      'a missing input',
      { symbols: new Map([['n', 2]]) },
      { token: [1, 2] },
      /no values were given for the input 'tokens'[^]*give all of tokens; given: token/,
    ],
    [
      'a wrong length',
      { symbols: new Map([['n', 2]]) },
      { tokens: [1] },
      /input 'tokens' needs 2 values \(t:2\), got 1/,
    ],
    ['a missing symbol', {}, { tokens: [1] }, /no value was given for the symbol 'n'/],
    [
      'a symbol out of range',
      { symbols: new Map([['n', 5]]) },
      { tokens: [1] },
      /the symbol n is 5, outside 0 ≤ n ≤ 4/,
    ],
    ['half a token', { symbols: new Map([['n', 1.5]]) }, { tokens: [1] }, /the symbol n is 1.5/],
  ])('%s', (_what, feeds, inputs, message) => {
    expect(() => run(text, inputs, 'f64', feeds)).toThrow(OpabiniaError);
    expect(() => run(text, inputs, 'f64', feeds)).toThrow(message);
  });

  test('a parameter of another size', () => {
    const builder = new Builder();
    const attrs: Attrs = { name: 'fc.weight', ...typeAttrs([{ name: 'o', size: 4 }], 'f32') };
    const graph: Graph = { outputs: new Map([['y', builder.make(record('param'), [], attrs)]]), updates: [] };
    expect(() => evaluate(graph, { inputs: new Map(), params: () => [1, 2, 3] }, { precision: 'f64' })).toThrow(
      /param 'fc.weight' needs 4 values \(o:4\), got 3/,
    );
  });

  test('a gather from an axis that is empty in this run', () => {
    const gather =
      ' (n <= 4)\n%x = input name=x : f32 [t:n]\n%i = input name=i : i32 [k:1]\n%y = gather %x %i axis=t : f32 [k:1]\nreturn y=%y';
    expect(() => run(gather, { x: [], i: [0] }, 'f64', { symbols: new Map([['n', 0]]) })).toThrow(/nothing to gather/);
  });
});
