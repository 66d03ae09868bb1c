// Work on parameters alone: split off, computed once, and read by the main graph as if it were a parameter.
import { describe, expect, test } from 'vitest';
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import { attention, concat, layerNorm, linear, rearrange, trace } from '../../dsl/index.ts';
import { param, nameOf } from '../../dsl/ops/source.ts';
import { evaluate, type Feeds } from '../../runtime/reference/reference.ts';
import { isFixed } from '../../compiler/rewrite/fixed.ts';
import { loaded, splitLoadTime, type SplitGraph } from '../../compiler/rewrite/load-time.ts';
import { runPasses, transplant } from '../../compiler/rewrite/pass.ts';
import { passes } from '../../compiler/passes/index.ts';
import { verifyGraph } from '../../compiler/rewrite/verify-graph.ts';
import { expectEqual, expectSameGraph, feedsFor } from './judge.ts';
import { sampler, sourceOf, square } from './models.ts';

/** The graph with every `loaded` leaf as a parameter of that name: the interpreter knows these. */
function asParameters(graph: Graph): Graph {
  const builder = new Builder();
  const copies = new Map<Node, Node>();
  for (const node of order(graph))
    copies.set(
      node,
      builder.make(
        node.op === loaded ? param : node.op,
        node.inputs.map((input) => must(copies, input)),
        node.attrs,
        node.origin,
      ),
    );
  return mapGraph(graph, (node) => must(copies, node));
}

/** Both halves in sequence give what the whole gives. */
function expectSameInTwoSteps(graph: Graph, split: SplitGraph): void {
  const feeds = feedsFor(graph, 5);
  const made = evaluate(split.load, { ...feeds, inputs: new Map() }, { precision: 'f64' }).outputs;
  const second: Feeds = { ...feeds, params: (path, shape) => made.get(path)?.data ?? feeds.params(path, shape) };
  const main = asParameters(split.main);
  const got = evaluate(main, second, { precision: 'f64' });
  for (const [name, values] of evaluate(graph, feeds, { precision: 'f64' }).outputs)
    expectEqual(name, got.outputs.get(name), values, () => 'in two steps');
}

function splitOf(graph: Graph): SplitGraph & { readonly whole: Graph } {
  const builder = new Builder();
  const whole = transplant(graph, builder);
  const split = splitLoadTime(whole, builder);
  verifyGraph(split.main, 'main', whole);
  verifyGraph(split.load, 'load');
  expect(order(split.load).every(isFixed)).toBe(true);
  return { ...split, whole };
}

const names = (graph: Graph, op: string): readonly string[] =>
  order(graph)
    .filter((node) => node.op.name === op)
    .map((node) => nameOf(node))
    .sort();

test('an optimised SVA runs in two steps', () => {
  const builder = new Builder();
  const graph = runPasses(sampler(2), passes, undefined, { builder });
  const split = splitLoadTime(graph, builder);
  verifyGraph(split.main, 'main', graph);
  expectSameGraph(sampler(2), graph, feedsFor(graph, 5));
  expectSameInTwoSteps(graph, split);
  // Keys and values of the three encoders of one token a region, in two layers: weights and biases side by side.
  expect(names(split.main, 'loaded').filter((name) => name.includes('cross_attn.concat'))).toHaveLength(12);
  expect(names(split.main, 'loaded')).toEqual([...split.load.outputs.keys()].sort());
});

test('a parameter used as it is stays a parameter, seen through views', () => {
  const graph = trace(square(8), (t) => ({
    y: linear(t.params.at('fc'), t.input('x', 'b n c', { b: 1, n: 3, c: 8 }), 'c'),
  }));
  const split = splitOf(graph);
  expect(split.load.outputs.size).toBe(0);
  expect(names(split.main, 'param')).toEqual(['fc.bias', 'fc.weight']);
});

test('joined weights are loaded, their parts are no longer read', () => {
  const graph = trace(
    sourceOf(() => [8, 8]),
    (t) => {
      const both = concat([t.params.get('a', 'o i'), t.params.get('b', 'o i')], 'o');
      return { y: t.input('x', 'o i', { o: 16, i: 8 }).add(both) };
    },
  );
  const split = splitOf(graph);
  expect(names(split.load, 'param')).toEqual(['a', 'b']);
  expect(names(split.main, 'param')).toEqual([]);
  expect(names(split.main, 'loaded')).toHaveLength(1);
  expectSameInTwoSteps(split.whole, split);
});

test('a view of loaded work is read through, so that two views share one tensor', () => {
  const graph = trace(
    sourceOf(() => [8, 8]),
    (t) => {
      const table = t.params.get('a', 'o i').mul(t.params.get('b', 'o i'));
      return {
        y: t.input('x', 'o i', { o: 8, i: 8 }).add(table),
        z: t.input('w', 'i o', { i: 8, o: 8 }).mul(rearrange(table, 'o i -> i o')),
      };
    },
  );
  const split = splitOf(graph);
  expect(split.load.outputs.size).toBe(1);
  expectSameInTwoSteps(split.whole, split);
});

test('an output that depends on parameters alone is loaded too', () => {
  const graph = trace(
    sourceOf(() => [8, 8]),
    (t) => ({ y: t.params.get('a', 'o i').mul(2), z: t.params.get('a', 'o i') }),
  );
  const split = splitOf(graph);
  expect(split.main.outputs.get('y')?.op).toBe(loaded);
  expect(split.main.outputs.get('z')?.op).toBe(param);
  expectSameInTwoSteps(split.whole, split);
});

describe('arithmetic on indices', () => {
  test('that is cheap stays: a causal mask is not stored', () => {
    const graph = trace(square(8), (t) => {
      const x = t.input('q', 'b n h d', { b: 1, n: 4, h: 2, d: 4 });
      const k = rearrange(x, 'b n h d -> b t=(n) h d');
      return { y: attention(x, k, k, { key: 't', along: 'd', causal: true }) };
    });
    expect(splitOf(graph).load.outputs.size).toBe(0);
  });

  test('that is dear is loaded: tables of angles', () => {
    const graph = trace(square(8), (t) => {
      const angle = t.iota('n', 6).cast('f32').mul(0.5);
      const table = angle.mul(angle).add(angle).pow(2);
      return { y: t.input('x', 'n', { n: 6 }).add(table) };
    });
    const split = splitOf(graph);
    expect(split.load.outputs.size).toBe(1);
    expectSameInTwoSteps(split.whole, split);
  });
});

describe('fixed', () => {
  test('is what parameters and constants decide, at sizes that are numbers', () => {
    const nodes = new Map<string, boolean>();
    trace(
      square(8),
      (t) => {
        const n = t.symbol('n', { upTo: 8 });
        const weight = t.params.get('w', 'o i', { o: 8, i: 8 });
        nodes.set('product of weights', isFixed(weight.mul(weight).node));
        nodes.set('input', isFixed(t.input('x', 'o i', { o: 8, i: 8 }).add(weight).node));
        nodes.set('state', isFixed(t.state('s', 'o', { o: 8 }).node));
        nodes.set('symbolic positions', isFixed(t.iota('n', n).node));
        nodes.set('extent', isFixed(t.extent(n).node));
        nodes.set(
          'row at a symbol',
          isFixed(weight.at('o', { constant: -1, terms: typeof n === 'number' ? [] : n.terms }).node),
        );
        nodes.set('norm of weights', isFixed(layerNorm(t.params.at('norm'), weight).node));
        return { y: weight };
      },
      { unread: 'ignore' },
    );
    expect(Object.fromEntries(nodes)).toEqual({
      'product of weights': true,
      input: false,
      state: false,
      'symbolic positions': false,
      extent: false,
      'row at a symbol': false,
      'norm of weights': true,
    });
  });
});
