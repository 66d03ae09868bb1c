import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interpret, trace } from 'opabinia';
import { expectSame, randomInputs } from 'opabinia/testing';
import { gatedPool, graph, params } from './connector.ts';

test('sixteen tokens of 48 channels, whatever the grids are', async () => {
  const { tokens } = await interpret(graph, params).run(randomInputs(graph));
  assert.deepEqual(tokens?.axes, [
    { name: 'b', size: 1 },
    { name: 'q', size: 16 },
    { name: 'e', size: 48 },
  ]);
});

test('the GPU computes what the interpreter does', async () => {
  const { elements } = await expectSame(graph, {}, { params });
  assert.equal(elements, 16 * 48);
});

test('a grid that a side of 4 does not divide is refused', () => {
  assert.throws(
    () =>
      trace(params, (t) => ({
        tokens: gatedPool(t.params, [t.input('map', 'b h w c', { b: 1, h: 7, w: 8, c: 64 })], { side: 4, width: 48 }),
      })),
    /axis 'h'/,
  );
});
