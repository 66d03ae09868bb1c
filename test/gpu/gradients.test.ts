// Gradients on the GPU: what streams, what windows and rows give back, each element within its own bound.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Graph } from '../../dsl/graph/graph.ts';
import {
  attention,
  conv2d,
  crossEntropy,
  gather,
  gradients,
  layerNorm,
  linear,
  linearCrossEntropy,
  randomParams,
  rearrange,
  recompute,
  reduce,
  silu,
  trace,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { withNearExponents } from './far-below.ts';
import { everything } from '../support/share.ts';

type Any = Tensor<string, 'f32'>;

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

/** Σ y · up and its gradients by all of `wrt`. */
function backward(t: Trace, y: Any, wrt: readonly Any[]): Record<string, Any> {
  const names = y.axes.map((axis) => axis.name).join(' ');
  const up = t.input<string>('up', names, Object.fromEntries(y.axes.map((axis) => [axis.name, axis.size])));
  const loss = reduce(y.mul(up), `${names} ->` as never, 'sum') as Any;
  return { y, ...Object.fromEntries(gradients(loss, wrt).map((gradient, i) => [`d${i}`, gradient])) };
}

// Dozens of kernels each, which a software driver compiles at their first dispatch: as a desktop GPU too with OPABINIA_ALL=1.
const patience = 300_000;

async function hold(graph: Graph): Promise<void> {
  for (const profile of everything ? gpu.profiles : [gpu.profiles[0]])
    await judge(gpu, graph, storedFeeds(graph), { profile });
}

interface AttentionCase {
  readonly name: string;
  readonly query: string;
  readonly key: string;
  readonly sizes: Readonly<Record<string, number>>;
  readonly causal?: boolean;
  readonly mask?: { readonly axes: string; readonly dtype: 'bool' | 'f32' };
}

const attentions: readonly AttentionCase[] = [
  { name: 'full', query: 'h s d', key: 'h t d', sizes: { h: 2, s: 5, t: 7, d: 8 } },
  { name: 'causal', query: 'b h s d', key: 'b h t d', sizes: { b: 2, h: 1, s: 9, t: 9, d: 4 }, causal: true },
  { name: 'causal behind a prefix', query: 'h s d', key: 'h t d', sizes: { h: 2, s: 4, t: 9, d: 4 }, causal: true },
  { name: 'odd depth', query: 's d', key: 't d', sizes: { s: 3, t: 5, d: 5 } },
  { name: 'grouped', query: 'g r s d', key: 'g t d', sizes: { g: 2, r: 3, s: 5, t: 5, d: 8 }, causal: true },
  { name: 'per region', query: 'b q h d', key: 'b q t h d', sizes: { b: 1, q: 6, t: 19, h: 2, d: 4 } },
  { name: 'many keys', query: 'h s d', key: 'h t d', sizes: { h: 2, s: 3, t: 130, d: 8 } },
  {
    name: 'bool mask',
    query: 'b h s d',
    key: 'b h t d',
    sizes: { b: 2, h: 2, s: 3, t: 6, d: 4 },
    mask: { axes: 'b s t', dtype: 'bool' },
  },
  {
    name: 'trained bias',
    query: 'b h s d',
    key: 'b h t d',
    sizes: { b: 2, h: 2, s: 3, t: 6, d: 4 },
    mask: { axes: 'h s t', dtype: 'f32' },
  },
];

function attentionGraph({ query, key, sizes, causal, mask }: AttentionCase): Graph {
  const of = (axes: string) => Object.fromEntries(axes.split(' ').map((axis) => [axis, sizes[axis] ?? 1]));
  return trace(randomParams(1), (t) => {
    const [q, k, v] = [
      t.input<string>('q', query, of(query)),
      t.input<string>('k', key, of(key)),
      t.input<string>('v', key, of(key)),
    ];
    const given = mask && t.input<string, 'bool' | 'f32'>('mask', mask.axes, of(mask.axes), mask.dtype);
    const y = attention<string, string, string, 'f32'>(q, k, v, {
      key: 't',
      along: 'd',
      causal: causal === true ? 's' : false,
      mask: given,
    });
    return backward(t, y, [q, k, v, ...(given?.dtype === 'f32' ? [given as Any] : [])]);
  });
}

describe.skipIf(withoutGpu)('attention', () => {
  test.each(attentions)(
    '$name: nothing as large as the scores is stored',
    async (one) => {
      const graph = attentionGraph(one);
      // A few rows over many keys are a workgroup each on a desktop GPU: a template of its own.
      for (const found of everything || one.name === 'many keys' ? gpu.profiles : [gpu.profiles[0]]) {
        const profile = found && { ...found, choices: { ...found.choices, storedScores: 0 } };
        const { plan, templates } = await judge(gpu, graph, storedFeeds(graph), { profile, bound: withNearExponents });
        // A region's keys are its own: nothing is summed over queries, and what a key gets is a map of what is stored.
        const streams = one.name === 'per region' ? 0 : 3;
        expect(templates.filter((name) => name === 'streaming product')).toHaveLength(streams);
        expect(templates.filter((name) => name.startsWith('attention'))).toHaveLength(1);
        // The row means of the scores' gradients, dy · y, are a kernel of their own where no product over keys takes them in.
        const means = ['per region', 'trained bias'].includes(one.name) ? 1 : 0;
        // The forward pass stores the largest logit and the sum of each row: nobody walks the keys for them again.
        const statistics = one.name === 'per region' ? 1 : 0;
        expect(plan.dispatches.length).toBeLessThanOrEqual(5 + means + statistics);
      }
    },
    patience,
  );

  test.each(attentions.filter(({ name }) => name !== 'per region'))(
    '$name: scores that fit are stored',
    async (one) => {
      const graph = attentionGraph(one);
      const [found] = gpu.profiles;
      const profile = found && { ...found, choices: { ...found.choices, storedScores: 2 ** 20 } };
      const { templates } = await judge(gpu, graph, storedFeeds(graph), { profile, bound: withNearExponents });
      expect(templates.filter((name) => name === 'streaming product' || name.startsWith('attention'))).toEqual([]);
    },
    patience,
  );
});

const image = (t: Trace, name: string, sizes: Readonly<Record<'b' | 'h' | 'w' | 'c', number>>) =>
  t.input(name, 'b h w c', sizes);

const cases: Readonly<Record<string, (t: Trace) => Record<string, Any>>> = {
  'a layer norm and a gated block, computed again': (t) => {
    const x = t.input('x', 'n d', { n: 5, d: 12 });
    const block = (z: Tensor<'n d', 'f32'>) => {
      const normed = layerNorm(t.params.at('norm'), z);
      const gate = silu(linear(t.params.at('gate'), normed, 'o', { size: 20 }));
      return z.add(
        linear(t.params.at('down'), gate.mul(linear(t.params.at('up'), normed, 'o', { size: 20 })), 'd', { size: 12 }),
      );
    };
    const y = recompute(block, recompute(block, x));
    return backward(
      t,
      y as Any,
      [
        x,
        t.params.at('norm').get('weight', 'w'),
        t.params.at('gate').get('weight', 'o i'),
        t.params.at('down').get('bias', 'o'),
      ] as Any[],
    );
  },
  'a convolution with stride and padding': (t) => {
    const x = image(t, 'x', { b: 2, h: 7, w: 6, c: 3 });
    const y = conv2d(t.params, x, { out: 'o', size: 5, kernel: 3, stride: 2, padding: 1 });
    return backward(t, y as Any, [x, t.params.get('weight', 'o i a b')] as Any[]);
  },
  'a convolution whose gradient is one, dilated along one axis': (t) => {
    const x = image(t, 'x', { b: 2, h: 17, w: 19, c: 3 });
    const y = conv2d(t.params, x, { out: 'o', size: 6, kernel: [2, 3], dilation: [3, 1], padding: [1, 1] });
    return backward(t, y as Any, [x, t.params.get('weight', 'o i a b')] as Any[]);
  },
  'a depthwise convolution whose gradient is one': (t) => {
    const x = image(t, 'x', { b: 1, h: 13, w: 21, c: 8 });
    const y = conv2d(t.params, x, { out: 'c', size: 8, kernel: 3, padding: 1, groups: 8 });
    return backward(t, y as Any, [x, t.params.get('weight', 'o i a b')] as Any[]);
  },
  'a depthwise convolution': (t) => {
    const x = image(t, 'x', { b: 1, h: 8, w: 9, c: 4 });
    const y = conv2d(t.params, x, { out: 'c', size: 4, kernel: 5, padding: 2, groups: 4 });
    return backward(t, y as Any, [x, t.params.get('weight', 'o i a b')] as Any[]);
  },
  'rows that are read several times': (t) => {
    const [table, ids] = [t.input('table', 'v d', { v: 9, d: 6 }), t.input('ids', 'b n', { b: 3, n: 4 }, 'i32')];
    return backward(t, gather(table, ids, 'v') as Any, [table]);
  },
  'cross-entropy of logits': (t) => {
    const logits = t.input('logits', 'n v', { n: 6, v: 11 });
    const labels = t.input('labels', 'n', { n: 6 }, 'i32');
    const loss = crossEntropy(logits, labels, { axis: 'v', smoothing: 0.1 });
    return { loss, d: gradients(loss, [logits])[0] };
  },
  'cross-entropy with the head, in parts': (t) => {
    const hidden = t.input('hidden', 'b s e', { b: 2, s: 5, e: 16 });
    const head = t.input('head', 'v e', { v: 130, e: 16 });
    const labels = t.input('labels', 'b s', { b: 2, s: 5 }, 'i32');
    const loss = linearCrossEntropy(hidden, head, labels, { partBytes: 64 * 4 * 10 });
    const [dHidden, dHead] = gradients(loss, [hidden, head]);
    return { loss, dHidden, dHead };
  },
  'regions of 1 and of 16 tokens under one softmax, the latter through the weights': (t) => {
    const [b, q, c] = [1, 3, 16];
    const regions = [1, 16].map((n, k) => t.input(`region_${k}`, 'b q t c', { b, q, t: n, c }));
    const context = t.input('context', 'b c', { b, c });
    const query = t.input('query', 'b q c', { b, q, c });
    const y = visionCrossAttentionLayer(t.params, query, { context, regions }, { heads: 2 });
    const weights = ['q_proj.1', 'k_proj_0.1', 'k_proj_1.1', 'v_proj_1.1'].map((name) =>
      t.params.get(`cross_attn.${name}.weight`, 'o i'),
    );
    return backward(t, y as Any, [...weights, ...regions, query] as Any[]);
  },
  'the largest of overlapping windows of regions': (t) => {
    const x = t.input('x', 'b n c', { b: 2, n: 36, c: 4 });
    const regions = rearrange(x, 'b (qh rh qw rw) c -> b q=(qh qw) t=(rh rw) c', { qh: 2, qw: 2, rh: 3 });
    return backward(t, reduce(regions, 'b q t c -> b q c', 'max') as Any, [x]);
  },
};

describe.skipIf(withoutGpu)('others', () => {
  test.each(Object.entries(cases))(
    '%s',
    async (_name, build) => {
      await hold(trace(randomParams(3), build));
    },
    patience,
  );
});
