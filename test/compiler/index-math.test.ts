// Index expressions: simplified ones have the value of what was written and lie in their interval; loads beside symbolic sizes can be proved.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import {
  add,
  atomIndex,
  clamp,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  sizeIndex,
  type Atom,
  type Index,
} from '../../compiler/index/index-math.ts';
import { loopVariable } from '../../compiler/kernel/kernel.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { symbolSize } from '../../dsl/axis/axis.ts';
import { parse } from '../../dsl/text/parse.ts';

const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);

/** The value of an expression, atom by atom. */
function valueOf(x: Index, at: ReadonlyMap<string, number>): number {
  return x.terms.reduce((sum, { atom, times }) => sum + times * atomValue(atom, at), x.constant);
}

function atomValue(atom: Atom, at: ReadonlyMap<string, number>): number {
  switch (atom.kind) {
    case 'variable':
    case 'symbol':
      return at.get(atom.name) ?? NaN;
    case 'divide':
      return Math.floor(valueOf(atom.of, at) / valueOf(atom.by, at));
    case 'remainder':
      return valueOf(atom.of, at) % valueOf(atom.by, at);
    case 'clamp':
      return Math.max(0, Math.min(valueOf(atom.of, at), valueOf(atom.end, at) - 1));
    case 'product':
      return atom.factors.reduce((product, factor) => product * atomValue(factor, at), 1);
    default:
      return atom satisfies never;
  }
}

interface Known {
  readonly index: Index;
  readonly value: number;
}

test('simplification keeps the value, and intervals hold it', () => {
  fc.assert(
    fc.property(fc.gen(), (draw) => {
      const below = (count: number): number => draw(fc.nat, count - 1);
      const at = new Map<string, number>();
      const sizes = ['m', 'n'].map((name): Known => {
        const [least, bound] = [1 + below(2), 3 + below(6)];
        at.set(name, least + below(bound - least + 1));
        const plain = symbolSize({ name, least, bound });
        const [times, constant] = [1 + below(2), least > 1 ? below(2) - 1 : below(2)];
        const size = { constant, terms: plain.terms.map((t) => ({ ...t, times })) };
        return { index: sizeIndex(size), value: times * (at.get(name) ?? 0) + constant };
      });
      const [rows, columns] = sizes;
      if (rows === undefined || columns === undefined) throw new TypeError('two sizes');
      // Rows and columns merged: `m*n`, or more terms where they have constants.
      const both = { index: multiply(rows.index, columns.index), value: rows.value * columns.value };
      const ends: Known[] = [...sizes, both, ...[2, 3, 4, 12].map((n) => ({ index: constantIndex(n), value: n }))];
      const one = (list: readonly Known[]): Known => list[below(list.length)] ?? { index: constantIndex(1), value: 1 };
      const values: Known[] = ['i', 'j', 'k'].map((name): Known => {
        const [a, b] = [one(ends), one(ends)];
        const end = { index: multiply(a.index, b.index), value: a.value * b.value };
        at.set(name, below(end.value));
        return { index: atomIndex(loopVariable(name, end.index)), value: at.get(name) ?? 0 };
      });
      for (let step = 0; step < 8; step++) {
        const [x, y, by] = [one(values), one(values), one(ends)];
        const made: readonly Known[] = [
          { index: add(x.index, y.index), value: x.value + y.value },
          { index: multiply(x.index, by.index), value: x.value * by.value },
          { index: scale(x.index, -1), value: -x.value },
          { index: clamp(x.index, by.index), value: Math.max(0, Math.min(x.value, by.value - 1)) },
          ...(x.index.least >= 0
            ? [
                { index: divide(x.index, by.index), value: Math.floor(x.value / by.value) },
                { index: remainder(x.index, by.index), value: x.value % by.value },
              ]
            : []),
        ];
        values.push(one(made));
      }
      for (const { index, value } of values) {
        expect(valueOf(index, at) === value, index.key).toBe(true);
        expect(value).toBeGreaterThanOrEqual(index.least);
        expect(value).toBeLessThanOrEqual(index.most);
      }
      // What was taken apart and put together again is what it was.
      const [x, by] = [one(values.slice(0, 3)), one(ends)];
      const [inner, outer] = [one(ends), one(ends)];
      const quotient = divide(x.index, by.index);
      const again = add(
        multiply(add(multiply(divide(quotient, inner.index), inner.index), remainder(quotient, inner.index)), by.index),
        remainder(x.index, by.index),
      );
      expect(again.key).toBe(x.index.key);
      expect(multiply(again, outer.index).key).toBe(multiply(x.index, outer.index).key);
    }),
    { numRuns: 2000, seed },
  );
});

describe('what is stored beside a symbolic size lies in range', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['a range of n-1', 'c:3 b:m a:n', '%1 = slice %0 axis=a size=(n-1) start=1 step=1 : f32 [c:3 b:m a:n-1]'],
    [
      'a range of 2m-1 in the middle',
      'a:n b:2m c:3',
      '%1 = slice %0 axis=b size=(2m-1) start=0 step=1 : f32 [a:n b:2m-1 c:3]',
    ],
    [
      'windows of 2m elements',
      'a:n b:2m',
      '%1 = window %0 axis=b dilation=1 into=[b w] size=2 stride=1 : f32 [a:n b:2m-1 w:2]',
    ],
    [
      'windows in front of n',
      'b:2m a:n',
      '%1 = window %0 axis=b dilation=1 into=[b w] size=2 stride=1 : f32 [b:2m-1 w:2 a:n]',
    ],
    ['padding by one', 'b:m a:n', '%1 = pad %0 after=1 axis=a before=0 value=0 : f32 [b:m a:n+1]'],
  ];
  test.each(cases)('%s', (_name, axes, view) => {
    const graph = parse(
      `graph (1 <= m <= 7, 2 <= n <= 9)\n%0 = input name=x : f32 [${axes}]\n${view}\n%2 = neg %1 : f32 [${/f32 \[(.*)\]$/.exec(view)?.[1] ?? ''}]\nreturn y=%2\n`,
    );
    for (const profile of [lavapipe, desktopGpu]) compile(graph, profile, { verify: true });
  });
});
