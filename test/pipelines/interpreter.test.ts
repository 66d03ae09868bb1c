// The interpreter is called as a program is: states begin with the same numbers, and go back to them.
import { expect, test } from 'vitest';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { randomParams, trace } from '../../dsl/index.ts';

test('states begin with zeros, or with what is given', async () => {
  const graph = trace(randomParams(1), (t) => {
    const given = t.state('given', 'n', { n: 2 });
    const other = t.state('other', '', {});
    t.update(given, given.mul(2));
    t.update(other, other.add(1));
    return { given, other };
  });
  const states = (...values: readonly number[]) => ({
    has: (name: string) => name === 'given',
    read: () => Float32Array.from(values),
  });
  const runner = interpret(graph, randomParams(1), { states: states(3, 5) });
  const run = async () => {
    const { given, other } = await runner.run({});
    return [...(given?.data ?? []), ...(other?.data ?? [])];
  };
  expect([await run(), await run()]).toEqual([
    [3, 5, 0],
    [6, 10, 1],
  ]);
  await runner.reset(states(7, 1));
  expect(await run()).toEqual([7, 1, 0]);
  await runner.reset();
  expect(await run()).toEqual([0, 0, 0]);
});
