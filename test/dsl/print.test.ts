// The text form of a graph: stable, read back to the same graph, and errors that say where.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addSizes, multiplySizes, symbolSize, type Size } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { Attrs, DType } from '../../dsl/graph/op.ts';
import { ops } from '../../dsl/ops/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import { parse } from '../../dsl/text/parse.ts';
import { graphDifference, print, printOpTable, sameGraph } from '../../dsl/text/print.ts';
import { graphArbitrary, record } from '../support/generate.ts';

const graphOf = (output: Node): Graph => ({ outputs: new Map([['y', output]]), updates: [] });

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('the text was accepted');
}

/** A leaf with axes of known size. */
function leaf(
  builder: Builder,
  name: string,
  attrs: Attrs,
  sizes: { readonly [axis: string]: number },
  dtype: DType = 'f32',
): Node {
  return builder.make(record(name), [], {
    ...typeAttrs(
      Object.entries(sizes).map(([axis, size]) => ({ name: axis, size })),
      dtype,
    ),
    ...attrs,
  });
}

describe('round trip', () => {
  test.each([
    { names: 'plain' as const, runs: 800 },
    { names: 'hostile' as const, runs: 400 },
  ])(
    'generated graphs with $names names',
    ({ names, runs }) => {
      const seen = new Set<string>();
      fc.assert(
        fc.property(graphArbitrary({ names, maxElements: 512 }), ({ graph }) => {
          const text = print(graph);
          const again = parse(text);
          expect(print(again)).toBe(text);
          expect(graphDifference(graph, again)).toBeUndefined();
          for (const node of order(graph)) seen.add(node.op.name);
        }),
        { numRuns: runs, seed: 7 },
      );
      expect(ops.map((op) => op.name).filter((name) => !seen.has(name))).toEqual([]);
    },
    120_000,
  );

  test('any string as a name, any double as a constant', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.array(fc.double(), { minLength: 1, maxLength: 20 }),
        (name, values) => {
          const builder = new Builder();
          const graph: Graph = {
            outputs: new Map([
              [name, leaf(builder, 'const', { values: Float64Array.from(values) }, { k: values.length })],
              ['in', leaf(builder, 'input', { name }, { k: 2 })],
            ]),
            updates: [],
          };
          const again = parse(print(graph));
          expect(graphDifference(graph, again)).toBeUndefined();
        },
      ),
      { numRuns: 300, seed: 7 },
    );
  });

  test('sizes of two symbols with coefficients, constants and ranges', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -3, max: 5 }),
        fc.integer({ min: -3, max: 5 }),
        fc.integer({ min: -9, max: 90 }),
        fc.nat({ max: 5 }),
        fc.integer({ min: -3, max: 3 }),
        fc.integer({ min: 0, max: 2 }),
        (a, b, constant, least, both, powers) => {
          const [e, n] = [
            { name: 'e1', least, bound: 9 },
            { name: 'n', least: 0, bound: 2 ** 15 },
          ].map(symbolSize);
          if (e === undefined || n === undefined) throw new TypeError('two symbols');
          const product = Array.from({ length: powers }, () => e).reduce<Size>(multiplySizes, n);
          const size = [
            [a, e],
            [b, n],
            [both, product],
          ].reduce<Size>((sum, [times = 0, of = 0]) => addSizes(sum, multiplySizes(times, of)), constant);
          const builder = new Builder();
          const x = builder.make(record('input'), [], { name: 'x', ...typeAttrs([{ name: 't', size }], 'f32') });
          const graph: Graph = { outputs: new Map([['y', x]]), updates: [] };
          expect(graphDifference(graph, parse(print(graph)))).toBeUndefined();
        },
      ),
      { numRuns: 300, seed: 7 },
    );
  });
});

describe('equality', () => {
  const base = () => leaf(new Builder(), 'const', { values: Float64Array.of(0, 1) }, { k: 2 });
  test.each([
    ['another constant', () => leaf(new Builder(), 'const', { values: Float64Array.of(-0, 1) }, { k: 2 })],
    ['another axis', () => leaf(new Builder(), 'const', { values: Float64Array.of(0, 1) }, { l: 2 })],
    ['another dtype', () => leaf(new Builder(), 'const', { values: Float64Array.of(0, 1) }, { k: 2 }, 'f16')],
    ['another op', () => leaf(new Builder(), 'input', { name: 'x' }, { k: 2 })],
  ])('%s is another graph', (_what, other) => {
    expect(sameGraph(graphOf(base()), graphOf(base()))).toBe(true);
    expect(sameGraph(graphOf(base()), graphOf(other()))).toBe(false);
    expect(print(graphOf(base()))).not.toBe(print(graphOf(other())));
  });

  test('another path, output name, update', () => {
    const make = (path: string, output: string, at: number): Graph => {
      const builder = new Builder();
      const state = leaf(builder, 'state', { name: 's' }, { k: 4 });
      const value = builder.make(
        record('neg'),
        [leaf(builder, 'input', { name: 'x' }, { k: 2 })],
        {},
        { path, place: undefined },
      );
      return { outputs: new Map([[output, value]]), updates: [{ state, value, at: new Map([['k', at]]) }] };
    };
    expect(graphDifference(make('p', 'y', 1), make('p', 'y', 1))).toBeUndefined();
    expect(graphDifference(make('p', 'y', 1), make('q', 'y', 1))).toMatch(/path 'p' and 'q'/);
    expect(graphDifference(make('p', 'y', 1), make('p', 'z', 1))).toBe('outputs differ');
    expect(graphDifference(make('p', 'y', 1), make('p', 'y', 2))).toBe('updates differ');
  });

  test('0 and -0 are two constants of one graph', () => {
    const builder = new Builder();
    const zero = leaf(builder, 'const', { values: Float64Array.of(0) }, {});
    const minus = leaf(builder, 'const', { values: Float64Array.of(-0) }, {});
    expect(zero).not.toBe(minus);
    expect(leaf(builder, 'const', { values: Float64Array.of(0) }, {})).toBe(zero);
  });
});

describe('what a person writes', () => {
  test('names, comments, any spacing and order of attributes', () => {
    const written = parse(
      'graph # a comment\n%x=input name="x":f32[b:2 n:6]\n%y = slice %x step=1 size=2 start=1 axis=n : f32 [b:2 n:2] ; "p"\nreturn y=%y',
    );
    expect(print(written)).toBe(
      'graph\n%0 = input name=x : f32 [b:2 n:6]\n%1 = slice %0 axis=n size=2 start=1 step=1 : f32 [b:2 n:2]   ; p\nreturn y=%1\n',
    );
  });

  test('a node nobody uses is dropped', () => {
    expect(print(parse('graph\n%x = input name=x : f32 []\n%z = neg %x : f32 []\nreturn y=%x'))).toBe(
      'graph\n%0 = input name=x : f32 []\nreturn y=%0\n',
    );
  });

  test('a pattern says what it splits', () => {
    const text = (pattern: string, sizes = '') =>
      `graph\n%x = input name=x : f32 [a:6 b:2]\n%y = rearrange %x pattern="${pattern}" ${sizes} : f32 [a:6 b:2]\nreturn y=%y`;
    expect(refusal(text('a b'))).toMatch(/needs one '->'/);
    expect(refusal(text('a -> a'))).toMatch(/has 1 axes before '->', the operand has 2/);
    expect(refusal(text('a b -> a'))).toMatch(/'b' must stand once on each side/);
    expect(refusal(text('(p q) b -> a=(p q) b', 'sizes={p=2}'))).toMatch(/the size of 'q' is missing/);
    expect(refusal(text('a b -> (a b)'))).toMatch(/needs a name for the merged axis/);
    expect(refusal(text('a + b -> a b'))).toMatch(/is not made of names/);
    expect(refusal(text('(p q) b -> a=(p q) b', 'sizes={p=2 q=4}'))).toMatch(/has size 6, its parts p:2 q:4 make 8/);
  });
});

describe('refusals name line and column', () => {
  test.each([
    ['', /line 1, column 1: expected 'graph', found the end/],
    [
      'graph\n  %x = input name=x : f32 [n:2]\n  %x = input name=x : f32 [n:2]\nreturn',
      /line 3, column 3: %x is defined twice/,
    ],
    ['graph\n%x = input name=x : f33 [n:2]\nreturn', /line 2, column 21: expected a dtype, found 'f33'/],
    ['graph\n%x = input name=x name=y : f32 [n:2]\nreturn', /line 2, column 19: 'name' is given twice/],
    ['graph\n%x = input name=x : f32 [n:2 n:3]\nreturn', /line 2, column 30: axis 'n' stands twice/],
    ['graph (n <= 2, n <= 3)\nreturn', /line 1, column 16: the symbol 'n' is declared twice/],
    ['graph (3 <= n <= 2)\nreturn', /expected whole bounds/],
    ['graph\n%x = input name=x : f32 []\nreturn y=%x y=%x', /line 3, column 13: the output 'y' is returned twice/],
    ['graph\nreturn y=%x', /line 2, column 10: %x is not defined above/],
    ['graph\nreturn\nreturn', /line 3, column 1: expected the end of the text, found 'return'/],
    [
      'graph\n%x = input name="a\nb" : f32 []\nreturn',
      /line 2, column 17: expected a name, a number or a mark, found '"'/,
    ],
    [`graph\n%x = neg a=${'['.repeat(50_000)}`, /line 2, column 76: expected at most 64 levels of brackets/],
    ['graph\n%x = const values=<0*99999999999> : f32 [n:2]\nreturn', /more than/],
    [
      'graph\n%x = input name=x hint=1 : f32 [n:2]\nreturn y=%x',
      /line 2, column 6: 'input' has no attribute 'hint'[^]*take it out/,
    ],
    [
      'graph\n%x = input name=x : f32 [n:2]\n%y = neg %x to=f16 : f32 [n:2]\nreturn y=%y',
      /'neg' has no attribute 'to'/,
    ],
    [
      'graph\n%x = input name=x : f32 [n:2]\n%y = sum %x axes=[n] keep=true : f32 []\nreturn y=%y',
      /'sum' has no attribute 'keep'/,
    ],
    [
      'graph\n%x = input name=x : f32 [n:2]\n%y = flip %x axis=n size=2 : f32 [n:2]\nreturn y=%y',
      /'flip' has no attribute 'size'/,
    ],
    [
      'graph\n%x = input name=x : f32 [a:6 b:2]\n%y = rearrange %x pattern="a b -> b a" hint=1 : f32 [b:2 a:6]\nreturn y=%y',
      /beside a pattern there is no attribute 'hint'/,
    ],
    [
      'graph\n%x = input name=x : f32 [a:6 b:2]\n%y = rearrange %x pattern="a b -> b a" sizes={c=3} : f32 [b:2 a:6]\nreturn y=%y',
      /sizes has 'c'/,
    ],
  ])('%#', (text, message) => {
    expect(refusal(text)).toMatch(message);
  });

  test('a text cut anywhere is refused, never read as something else', () => {
    const text = print(
      parse(
        'graph (n <= 4)\n%x = input name=x : f32 [n:n d:6]\n%y = pad %x axis=n before=(n+1) after=2 value=-1 : f32 [n:2n+3 d:6]   ; a.b\nreturn y=%y\n',
      ),
    );
    for (let end = 0; end < text.lastIndexOf('return'); end++)
      expect(refusal(text.slice(0, end))).toMatch(/line \d+, column \d+: /);
  });
});

test('two symbols of one name and different ranges cannot be printed', () => {
  const builder = new Builder();
  const input = (name: string, bound: number) =>
    builder.make(record('input'), [], {
      name,
      ...typeAttrs([{ name: 't', size: symbolSize({ name: 'n', least: 0, bound }) }], 'f32'),
    });
  const graph: Graph = {
    outputs: new Map([
      ['a', input('a', 3)],
      ['b', input('b', 4)],
    ]),
    updates: [],
  };
  expect(() => print(graph)).toThrow(/'n' stands for two ranges, n <= 3 and n <= 4/);
});

test('the op table has a row for every op', () => {
  const table = printOpTable();
  const path = join(import.meta.dirname, '..', 'golden', 'op-table.txt');
  if (process.env['UPDATE'] === '1') writeFileSync(path, table);
  expect(table).toBe(readFileSync(path, 'utf8'));
  expect(
    table
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((row) => row.split(' ')[0]),
  ).toEqual(ops.map((op) => op.name));
});
