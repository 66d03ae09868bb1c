// Attention by itself: a ViT's, a language model's prompt with grouped queries, and one region of keys for each query.
import { attention, trace, type Float, type Graph } from '../../dsl/index.ts';
import { benchParams, halves, uniform, type BenchCase, type Scale, type Values, type Work } from '../case.ts';

const source = benchParams();
const typed = (values: Float32Array, dtype: Float): Values => (dtype === 'f16' ? halves(values) : values);

function full(scale: Scale, dtype: Float): Work {
  const [h, n, d] = scale === 'full' ? [16, 577, 64] : [2, 33, 16];
  const graph = trace(source, (t) => ({
    y: attention(
      t.input('q', 'h n d', { h, n, d }, dtype),
      t.input('k', 'h t d', { h, t: n, d }, dtype),
      t.input('v', 'h t d', { h, t: n, d }, dtype),
      { key: 't', along: 'd' },
    ),
  }));
  const [q, k, v] = [1, 2, 3].map((seed) => typed(uniform(h * n * d, seed, 1.7), dtype));
  return {
    graph,
    source: benchParams(dtype),
    inputs: given({ q, k, v }),
    ...(dtype === 'f32' ? { plain: { op: 'attention', heads: h, rows: n, size: d } } : {}),
  };
}

/** Each head of keys serves r heads of queries; what the first tokens read does not depend on later ones, so they judge. */
function causal(scale: Scale, dtype: Float): Work {
  const [g, r, n, d] = scale === 'full' ? [8, 4, 2048, 128] : [2, 2, 40, 16];
  const first = scale === 'full' ? 192 : 16;
  const graph = (s: number): Graph =>
    trace(source, (t) => ({
      y: attention(
        t.input('q', 's g r d', { s, g, r, d }, dtype),
        t.input('k', 't g d', { t: s, g, d }, dtype),
        t.input('v', 't g d', { t: s, g, d }, dtype),
        { key: 't', along: 'd', causal: 's' },
      ),
    }));
  const [q, k, v] = [uniform(n * g * r * d, 1, 1.7), uniform(n * g * d, 2, 1.7), uniform(n * g * d, 3, 1.7)];
  const inputs = (s: number) => ({
    q: typed(q.subarray(0, s * g * r * d), dtype),
    k: typed(k.subarray(0, s * g * d), dtype),
    v: typed(v.subarray(0, s * g * d), dtype),
  });
  return {
    graph: graph(n),
    source: benchParams(dtype),
    inputs: inputs(n),
    judged: { graph: graph(first), inputs: inputs(first) },
  };
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

function given(values: Readonly<Record<string, Values | undefined>>): Record<string, Values> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  );
}

export const attentionCases: readonly BenchCase[] = [
  { name: 'attention-full', about: 'attention of 577 tokens, 16 heads × 64', build: (scale) => full(scale, 'f32') },
  {
    name: 'attention-full-f16',
    about: 'attention of 577 tokens, 16 heads × 64, f16',
    hardware: true,
    build: (scale) => full(scale, 'f16'),
  },
  {
    name: 'attention-causal-gqa',
    about: 'causal attention of 2048 tokens, 32 query heads on 8 key heads × 128',
    build: (scale) => causal(scale, 'f32'),
  },
  {
    name: 'attention-causal-gqa-f16',
    about: 'causal attention of 2048 tokens, 32 query heads on 8 key heads × 128, f16',
    hardware: true,
    build: (scale) => causal(scale, 'f16'),
  },
  {
    name: 'attention-regions',
    about: 'per-region attention: 576 queries of 19 keys each, 16 heads × 64',
    build: regions,
  },
];
