// Every gradient rule of a record against central differences in f64, on the record's own sample domain.
import { expect, test } from 'vitest';
import { Builder, type Node } from '../../../dsl/graph/graph.ts';
import { isFloat, Refusal, type DType } from '../../../dsl/graph/op.ts';
import { mapOp, maps } from '../../../dsl/ops/map/index.ts';
import { sum } from '../../../dsl/ops/reduce.ts';
import { constant, input, typeAttrs } from '../../../dsl/ops/source.ts';
import { numbers } from '../run.ts';
import { compareWithDifferences } from './differences.ts';

const count = 9;
const axes = [{ name: 'n', size: count }];

/** Where a record has a kink, a jump or a tie: differences across it are not a derivative. Each keeps its distance from it. */
const smooth: Readonly<Record<string, (x: readonly number[]) => boolean>> = {
  abs: ([x = 0]) => Math.abs(x) > 0.01,
  floor: ([x = 0]) => Math.abs(x - Math.round(x)) > 0.01,
  // The quotient jumps where it is whole; the divisor's share is its size.
  mod: ([x = 0, y = 1]) => Math.abs(x / y - Math.round(x / y)) > 0.01,
  min: ([x = 0, y = 0]) => Math.abs(x - y) > 0.01,
  max: ([x = 0, y = 0]) => Math.abs(x - y) > 0.01,
  // Infinite slope at the left end of its domain.
  sqrt: ([x = 0]) => x > 0.05,
};

const dtypesOf = (arity: number, isChoice: boolean): readonly DType[] =>
  Array.from({ length: arity }, (_, i) => (isChoice && i === 0 ? 'bool' : 'f32'));

for (const op of maps) {
  const choice = op.dtype(['bool', 'f32', 'f32'].slice(0, op.arity) as DType[], { to: 'f32' });
  const plain = op.dtype(dtypesOf(op.arity, false), { to: 'f32' });
  const isChoice = plain instanceof Refusal && !(choice instanceof Refusal);
  const result = isChoice ? choice : plain;
  if (result instanceof Refusal || !isFloat(result)) continue;

  test(`${op.name}: ${op.doc}`, () => {
    const [least, most] = op.sample;
    const draws = Array.from({ length: op.arity }, (_, i) =>
      isChoice && i === 0
        ? Array.from({ length: 60 }, (__, k) => Number(k % 2 === 0))
        : numbers(60, i + 1).map((x) => least + ((x + 1) / 2) * (most - least)),
    );
    const kept = Array.from({ length: 60 }, (_, k) => draws.map((values) => values[k] ?? 0))
      .filter((x) => smooth[op.name]?.(x) ?? true)
      .slice(0, count);
    expect(kept).toHaveLength(count);
    const builder = new Builder();
    const names = dtypesOf(op.arity, isChoice).map((dtype, i) => ({ name: `x${i}`, dtype }));
    const operands = names.map(({ name, dtype }) => builder.make(input, [], { ...typeAttrs(axes, dtype), name }));
    const weights = builder.make(constant, [], {
      ...typeAttrs(axes, 'f32'),
      values: Float64Array.from(numbers(count, 7)),
    });
    const y = builder.make(op, operands, op.converts ? { to: 'f32' } : {});
    const loss: Node = builder.make(sum, [builder.make(mapOp('mul'), [y, weights])], { axes: ['n'] });
    const values = new Map(names.map(({ name }, i) => [name, Float64Array.from(kept, (x) => x[i] ?? 0)]));
    const wrt = names.filter(({ dtype }) => isFloat(dtype)).map(({ name }) => name);
    const compared = compareWithDifferences({ outputs: new Map([['loss', loss]]), updates: [] }, 'loss', wrt, values);
    expect(compared).toHaveLength(count * wrt.length);
    for (const { name, element, gradient, difference, allowed } of compared)
      expect(
        Math.abs(gradient - difference),
        `${name}[${element}]: ${gradient}, differences say ${difference}`,
      ).toBeLessThanOrEqual(allowed);
  });
}
