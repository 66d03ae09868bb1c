// Attention by itself: a ViT's, a language model's prompt with grouped queries, and one region of keys for each query.
import { attention, trace, type Graph } from '../../dsl/index.ts';
import { benchParams, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const source = benchParams();

function full(scale: Scale): Work {
  const [h, n, d] = scale === 'full' ? [16, 577, 64] : [2, 33, 16];
  const graph = trace(source, (t) => ({
    y: attention(
      t.input('q', 'h n d', { h, n, d }),
      t.input('k', 'h t d', { h, t: n, d }),
      t.input('v', 'h t d', { h, t: n, d }),
      { key: 't', along: 'd' },
    ),
  }));
  const [q, k, v] = [1, 2, 3].map((seed) => uniform(h * n * d, seed, 1.7));
  return { graph, source, inputs: given({ q, k, v }), plain: { op: 'attention', heads: h, rows: n, size: d } };
}

/** Each head of keys serves r heads of queries; what the first tokens read does not depend on later ones, so they judge. */
function causal(scale: Scale): Work {
  const [g, r, n, d] = scale === 'full' ? [8, 4, 2048, 128] : [2, 2, 40, 16];
  const first = scale === 'full' ? 192 : 16;
  const graph = (s: number): Graph =>
    trace(source, (t) => ({
      y: attention(
        t.input('q', 's g r d', { s, g, r, d }),
        t.input('k', 't g d', { t: s, g, d }),
        t.input('v', 't g d', { t: s, g, d }),
        { key: 't', along: 'd', causal: 's' },
      ),
    }));
  const [q, k, v] = [uniform(n * g * r * d, 1, 1.7), uniform(n * g * d, 2, 1.7), uniform(n * g * d, 3, 1.7)];
  const inputs = (s: number) => ({
    q: q.subarray(0, s * g * r * d),
    k: k.subarray(0, s * g * d),
    v: v.subarray(0, s * g * d),
  });
  return { graph: graph(n), source, inputs: inputs(n), judged: { graph: graph(first), inputs: inputs(first) } };
}

function regions(scale: Scale): Work {
  const [q, t, h, d] = scale === 'full' ? [576, 19, 16, 64] : [25, 7, 2, 16];
  const graph = trace(source, (trace) => ({
    y: attention(
      trace.input('q', 'q h d', { q, h, d }),
      trace.input('k', 'q t h d', { q, t, h, d }),
      trace.input('v', 'q t h d', { q, t, h, d }),
      { key: 't', along: 'd' },
    ),
  }));
  return {
    graph,
    source,
    inputs: { q: uniform(q * h * d, 1, 1.7), k: uniform(q * t * h * d, 2, 1.7), v: uniform(q * t * h * d, 3, 1.7) },
  };
}

function given(values: Readonly<Record<string, Float32Array | undefined>>): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  );
}

export const attentionCases: readonly BenchCase[] = [
  { name: 'attention-full', about: 'attention of 577 tokens, 16 heads × 64', build: full },
  {
    name: 'attention-causal-gqa',
    about: 'causal attention of 2048 tokens, 32 query heads on 8 key heads × 128',
    build: causal,
  },
  {
    name: 'attention-regions',
    about: 'per-region attention: 576 queries of 19 keys each, 16 heads × 64',
    build: regions,
  },
];
