// When gradients of attention go through the weights of keys and values instead of through the projected tokens, and when they must not.
import { expect, test } from 'vitest';
import { flopsOf } from '../../compiler/cost.ts';
import { association } from '../../compiler/passes/association.ts';
import { passes } from '../../compiler/passes/index.ts';
import { runPasses } from '../../compiler/rewrite/pass.ts';
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import { broadcast } from '../../dsl/ops/view.ts';
import { randomParams, reduce, trace, type Tensor } from '../../dsl/index.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { expectSameGraph, feedsFor, graphOf } from './judge.ts';
import { Sketch } from './rule-cases.ts';

const width = 16;

/** The loss of an SVA layer of two heads over regions of so many tokens each, and its gradients by all weights of keys and values. */
function step(tokens: readonly number[], shown = false): Graph {
  const forward = trace(randomParams(1), (t) => {
    const query = t.input('query', 'b q c', { b: 1, q: 3, c: width });
    const context = t.input('context', 'b c', { b: 1, c: width });
    const regions = tokens.map((n, k) => t.input(`region_${k}`, 'b q t c', { b: 1, q: 3, t: n, c: width }));
    const keys: [string, Tensor][] = [];
    const y = visionCrossAttentionLayer(
      t.params,
      query,
      { context, regions },
      {
        heads: 2,
        inspect: (path, x) => {
          if (shown && path.includes('k_proj_1')) keys.push([path, x as Tensor]);
        },
      },
    );
    return { loss: reduce(y.mul(y), 'b q c ->', 'sum'), ...Object.fromEntries(keys) };
  });
  const learned = tokens.flatMap((_, k) =>
    ['k', 'v'].flatMap((of) => [0, 1].map((part) => `cross_attn.${of}_proj_${k}.${part}.weight`)),
  );
  return gradientGraph(forward, 'loss', ['cross_attn.q_proj.1.weight', ...learned]);
}

const before = passes.slice(0, passes.indexOf(association));

/** How often each rule fired behind the passes before it, and the operations of products without and with it. */
function associated(graph: Graph): {
  readonly fired: readonly (readonly [string, number])[];
  readonly work: readonly [number, number];
} {
  let fired: readonly (readonly [string, number])[] = [];
  const plain = runPasses(graph, before);
  const after = runPasses(
    graph,
    [...before, association],
    ({ pass, fired: counts }) => {
      if (pass === association) fired = [...counts];
    },
    { verify: true },
  );
  expectSameGraph(graph, after, feedsFor(graph, 3));
  return { fired, work: [work(plain), work(after)] };
}

const work = (graph: Graph): number =>
  order(graph).reduce((sum, node) => sum + (node.op.kind === 'contract' ? flopsOf(node) : 0), 0);

test('sixteen tokens to a query are projected neither forward nor backward, a single one is', () => {
  const {
    fired,
    work: [direct, through],
  } = associated(step([1, 16]));
  // Scores and their gradient, the sum of values and the queries' gradient; weights and tokens, of keys and of values.
  expect(fired).toEqual([
    ['projection of a gradient', 4],
    ['product of three factors', 4],
  ]);
  // A query and its 16 tokens, in multiply-adds. Direct: keys, values, and of each the gradients of weights and tokens, t·c² six times; scores,
  // their gradient, the sum of values and the queries' gradient, t·c four times. Through weights: six products without a token, c², and six
  // with all, h·t·c, of which those that the queries' gradient and the sum of values share with a gradient of weights are made once.
  const [t, c, h] = [16, width, 2];
  const [was, is] = [6 * t * c * c + 4 * t * c, 6 * c * c + 6 * h * t * c];
  expect(direct - through).toBe(3 * 2 * (was - is));
});

test('a factor that is the same along an axis of the sum is left as it is', () => {
  const s = new Sketch(() => 1);
  const wide = (x: Node) =>
    s.make(broadcast, [x], {
      axes: [
        { name: 'n', size: 64 },
        { name: 'c', size: 64 },
      ],
    });
  const [a, b] = [s.sized([{ name: 'n', size: 64 }]), s.scalar(2)];
  const z = s.sized([
    { name: 'c', size: 64 },
    { name: 'o', size: 64 },
  ]);
  const graph = graphOf(s.product(s.map('mul', wide(a), wide(b)), z, 'n o'));
  expectSameGraph(graph, runPasses(graph, [association], undefined, { verify: true }), feedsFor(graph, 3));
});

test('where tokens are as few as queries, nothing changes', () => expect(associated(step([1, 1])).fired).toEqual([]));

test('keys that are wanted themselves are projected', () => {
  const { fired } = associated(step([1, 16], true));
  expect(fired.find(([rule]) => rule === 'projection of a gradient')).toEqual(['projection of a gradient', 2]);
});

test('without a gradient nothing fires: the attention is absorbed, or stays one kernel', () => {
  const { outputs } = step([1, 16]);
  const loss = outputs.get('loss');
  expect(associated({ outputs: new Map(loss === undefined ? [] : [['loss', loss]]), updates: [] }).fired).toEqual([]);
});
