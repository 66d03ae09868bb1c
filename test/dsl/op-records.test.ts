// What structural code asks of a record instead of its name, held against what the op does.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { axisOf, evaluateSize, type Axis } from '../../dsl/axis/axis.ts';
import { Builder, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { DType, MapOp, ViewOp } from '../../dsl/graph/op.ts';
import { maps } from '../../dsl/ops/map/index.ts';
import { input, typeAttrs } from '../../dsl/ops/source.ts';
import { views } from '../../dsl/ops/view.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { graphArbitrary } from '../support/generate.ts';

const elements = (axes: readonly Axis[]): number =>
  axes.reduce((count, axis) => count * evaluateSize(axis.size, new Map()), 1);

/** The number of the operand's element that each element of the view shows; -1 where it shows a constant. */
function shown(op: ViewOp, node: Node, operand: Node): readonly number[] {
  const builder = new Builder();
  const { axes } = operand.type;
  const x = builder.make(input, [], { name: 'x', ...typeAttrs(axes, 'f32') });
  const y = builder.make(op, [x], op.shows === 'padded' ? { ...node.attrs, value: -1 } : node.attrs);
  const feeds = {
    inputs: new Map([['x', Float64Array.from({ length: elements(axes) }, (_, i) => i)]]),
    params: () => [],
  };
  return Array.from(
    evaluate({ outputs: new Map([['y', y]]), updates: [] }, feeds, { precision: 'f64' }).outputs.get('y')?.data ?? [],
  );
}

/** The elements of a range, by its attributes. */
function inRange({ attrs }: Node, axes: readonly Axis[]): readonly number[] {
  const at = axes.findIndex((axis) => axis.name === attrs['axis']);
  const inner = elements(axes.slice(at + 1));
  const [whole, start, size, step] = [
    Number(axes[at]?.size),
    Number(attrs['start']),
    Number(attrs['size']),
    Number(attrs['step'] ?? 1),
  ];
  const taken = new Set(Array.from({ length: size }, (_, i) => start + i * step));
  return Array.from({ length: elements(axes) }, (_, i) => i).filter((i) => taken.has(Math.floor(i / inner) % whole));
}

test('a view shows of its operand what its record says', () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(graphArbitrary({ symbols: false, updates: false, maxElements: 500 }), ({ graph }) => {
      for (const node of order(graph)) {
        const [operand] = node.inputs;
        if (node.op.kind !== 'view' || operand === undefined) continue;
        seen.set(node.op.name, (seen.get(node.op.name) ?? 0) + 1);
        const all = Array.from({ length: elements(operand.type.axes) }, (_, i) => i);
        const got = shown(node.op, node, operand).toSorted((a, b) => a - b);
        switch (node.op.shows) {
          case 'each':
            expect(got).toEqual(all);
            break;
          case 'range':
            expect(got).toEqual(inRange(node, operand.type.axes));
            break;
          case 'repeated': {
            expect(operand.type.axes.every((axis) => axisOf(node.type.axes, axis.name) !== undefined)).toBe(true);
            const times = elements(node.type.axes) / all.length;
            expect(got).toEqual(all.flatMap((i) => Array.from({ length: times }, () => i)));
            break;
          }
          case 'windows':
            expect(got.every((i) => i >= 0)).toBe(true);
            break;
          case 'padded':
            expect(got.filter((i) => i !== -1)).toEqual(all);
            break;
          default:
            node.op.shows satisfies never;
        }
      }
    }),
    { numRuns: 150, seed: 3 },
  );
  expect(views.map((op) => op.name).filter((name) => (seen.get(name) ?? 0) < 5)).toEqual([]);
});

test('a map converts exactly when its dtype is the one it is told, and numbers that both dtypes hold stay', () => {
  const dtypes: readonly DType[] = ['f32', 'f16', 'bf16', 'i32', 'u32', 'bool'];
  for (const op of maps) {
    const told = dtypes.every((from) =>
      dtypes.every(
        (to) =>
          op.dtype(
            Array.from({ length: op.arity }, () => from),
            { to },
          ) === to,
      ),
    );
    expect(op.converts, op.name).toBe(told);
    if (op.converts) for (const to of dtypes) expect([0, 1].map((x) => op.eval([x], to, { to }))).toEqual([0, 1]);
  }
  expect(maps.filter((op) => op.converts)).toHaveLength(1);
});

test('a map commutes exactly when its operands may change places', () => {
  const numbers = [-2.5, -1, 0, 0.75, 1, 3, NaN];
  for (const op of maps) {
    const either =
      op.arity === 2 &&
      (['f32', 'i32', 'bool'] as const).every((dtype) =>
        numbers.every((x) => numbers.every((y) => Object.is(op.eval([x, y], dtype, {}), op.eval([y, x], dtype, {})))),
      );
    expect(op.commutes, op.name).toBe(either);
  }
});

/** Operands of a map of floats: values that an f16 holds, away from what a division by 0 makes. */
function floatOperands(op: MapOp): readonly (readonly number[])[] {
  const numbers = [-2.5, -1, 0.75, 1, 3, Math.f16round(1 / 3)];
  if (typeof op.dtype(new Array<DType>(op.arity).fill('f32'), { to: 'f32' }) !== 'string') return [];
  return op.arity === 1 ? numbers.map((x) => [x]) : numbers.flatMap((x) => numbers.map((y) => [x, y]));
}

test('a map that does not round gives what an f16 holds for operands that an f16 holds', () => {
  for (const op of maps.filter(({ rounding }) => rounding === 0))
    for (const x of floatOperands(op)) {
      const y = op.eval(x, 'f32', {});
      expect(Math.f16round(y), `${op.name} ${x.join(' ')}`).toBe(y);
    }
  expect(maps.filter(({ rounding }) => rounding === 0).length).toBeGreaterThan(8);
});

test('a map jumps exactly when a tiny change of an operand can make a large one of the result', () => {
  for (const op of maps.filter(({ arity, converts }) => arity <= 2 && !converts)) {
    const jumps = floatOperands(op).some((x) =>
      [-1e-9, 1e-9].some((change) =>
        x.some((_, k) => {
          const moved = x.map((value, i) => (i === k ? value + change : value));
          return Math.abs(op.eval(moved, 'f32', {}) - op.eval(x, 'f32', {})) > 0.2;
        }),
      ),
    );
    expect(op.jumps, op.name).toBe(jumps);
  }
});
