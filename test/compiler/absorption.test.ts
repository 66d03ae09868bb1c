// When the weights of keys and values go to the other side of an attention, and when they must not.
import { expect, test } from 'vitest';
import { symbolSize, type Size } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { attention, linear, randomParams, trace, type Float, type Tensor } from '../../dsl/index.ts';
import { flopsOf } from '../../compiler/cost.ts';
import { runPasses } from '../../compiler/rewrite/pass.ts';
import { absorption } from '../../compiler/passes/absorption.ts';
import { expectSameGraph, feedsFor } from './judge.ts';

type Any = Tensor<string, Float>;

interface Sizes {
  readonly queries?: Size;
  readonly keys?: Size;
  readonly mask?: 'bool' | 'float';
  readonly shows?: true;
}

/** Few queries, many tokens of 6 features, whose keys and values have 5. */
function cross({ queries = 2, keys = 17, mask, shows }: Sizes): Graph {
  return trace(randomParams(1), (t) => {
    const q = t.input('q', 'q d', { q: queries, d: 5 }) as Any;
    const x = t.input('x', 't c', { t: keys, c: 6 });
    const [k, v] = [linear(t.params.at('k'), x, 'd', { size: 5 }), linear(t.params.at('v'), x, 'd', { size: 5 })];
    const allowed =
      mask === undefined
        ? undefined
        : (t.input('mask', 'q t', { q: queries, t: keys }, mask === 'bool' ? 'bool' : 'f32') as Tensor);
    const y = attention(q, k, v, { key: 't', along: 'd', ...(allowed === undefined ? {} : { mask: allowed }) });
    return { y, ...(shows === true ? { k } : {}) };
  });
}

/** How often the rule fired; the values must stay. */
function fired(graph: Graph, symbols: ReadonlyMap<string, number> = new Map()): number {
  let times = 0;
  const after = runPasses(
    graph,
    [absorption],
    (stage) => {
      times += [...stage.fired.values()].reduce((sum, n) => sum + n, 0);
    },
    { verify: true },
  );
  expectSameGraph(graph, after, feedsFor(graph, 3, symbols));
  return times;
}

const work = (graph: Graph): number =>
  order(graph).reduce((sum, node) => sum + (node.op.kind === 'contract' ? flopsOf(node) : 0), 0);

test('few queries take the weights over, with and without a mask', () => {
  expect(fired(cross({}))).toBe(1);
  expect(fired(cross({ mask: 'bool' }))).toBe(1);
  const graph = cross({ queries: 1, keys: 64 });
  expect(work(runPasses(graph, [absorption]))).toBeLessThan(work(graph) / 2);
});

test('as many queries as tokens leave it as it is', () => expect(fired(cross({ queries: 17 }))).toBe(0));

test('a symbolic number of queries is counted at its bound', () => {
  const few = symbolSize({ name: 'n', least: 1, bound: 2 });
  for (const n of [1, 2]) expect(fired(cross({ queries: few }), new Map([['n', n]]))).toBe(1);
  expect(fired(cross({ queries: symbolSize({ name: 'n', least: 1, bound: 40 }) }), new Map([['n', 2]]))).toBe(0);
});

test('a symbolic number of tokens cannot be cut into parts', () =>
  expect(fired(cross({ keys: symbolSize({ name: 'n', least: 1, bound: 40 }) }), new Map([['n', 30]]))).toBe(0));

test('scores to which something else is added do not grow alike', () =>
  expect(fired(cross({ mask: 'float' }))).toBe(0));

test('keys that are asked for are projected anyway; the values are not', () => {
  const graph = cross({ shows: true, keys: 33 });
  expect(fired(graph)).toBe(1);
  const after = runPasses(graph, [absorption]);
  expect(work(after)).toBeLessThan(work(graph));
  expect(after.outputs.get('k')?.op.name).toBe(graph.outputs.get('k')?.op.name);
});
