// Many numbers told apart by a short text: equal bits have one, other bits another, whatever a digest says.
import { expect, test } from 'vitest';
import { digest, tellApart } from '../../dsl/graph/digest.ts';
import { Builder } from '../../dsl/graph/graph.ts';
import { constant, typeAttrs } from '../../dsl/ops/source.ts';

const many = (change: (i: number) => number): Float64Array => Float64Array.from({ length: 300 }, (_, i) => change(i));

test('equal bits have one text, other bits another', () => {
  const values = many((i) => i / 7);
  expect(digest(values)).toBe(digest(many((i) => i / 7)));
  // Arrays that differ in one number, in the sign of zero, in order, in length.
  const others = [
    ...Array.from({ length: 300 }, (_, at) => many((i) => (i === at ? -1 - i : i / 7))),
    many((i) => (i === 0 ? -0 : i / 7)),
    many((i) => (299 - i) / 7),
    Float64Array.from({ length: 301 }, (_, i) => i / 7),
  ];
  expect(new Set([values, ...others].map(digest)).size).toBe(others.length + 1);
});

test('where two digests are equal, the bits decide', () => {
  const [a, b] = [many((i) => i), many((i) => i + 1)];
  const text = tellApart('collision', a);
  expect(tellApart('collision', b)).not.toBe(text);
  expect(
    tellApart(
      'collision',
      many((i) => i),
    ),
  ).toBe(text);
  // Both are held until here: what nobody holds is forgotten.
  expect([a.length, b.length]).toEqual([300, 300]);
});

test('a range of a larger buffer counts, and nothing around it', () => {
  const buffer = new Float64Array(600).fill(5);
  const part = buffer.subarray(100, 400);
  expect(digest(part)).toBe(digest(new Float64Array(300).fill(5)));
});

test('large constants are one node exactly when their bits are equal', () => {
  const builder = new Builder();
  const make = (values: Float64Array) =>
    builder.make(constant, [], { values, ...typeAttrs([{ name: 'n', size: 300 }], 'f32') });
  expect(make(many((i) => i))).toBe(make(many((i) => i)));
  expect(make(many((i) => i))).not.toBe(make(many((i) => (i === 17 ? 18 : i))));
  expect(make(many((i) => i))).not.toBe(make(many((i) => (i === 0 ? -0 : i))));
});
