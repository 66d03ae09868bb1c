// Products of matrices: square, the shapes of a ViT's MLP and of a connector's projection, and one product a head.
import { einsum, linear, trace, type Float, type Graph } from '../../dsl/index.ts';
import { benchParams, halves, uniform, type BenchCase, type Scale, type Values, type Work } from '../case.ts';

/** x [rows, from] · Wᵀ, W [to, from]: PyTorch's linear layer without bias. `judgedRows`: as many rows as the interpreter works out. */
function matmul(rows: number, from: number, to: number, dtype: Float, judgedRows: number): Work {
  const source = benchParams(dtype);
  const graph = (n: number): Graph =>
    trace(source, (t) => ({
      y: linear(t.params.at('linear'), t.input('x', 'n i', { n, i: from }, dtype), 'o', { size: to, bias: false }),
    }));
  const x = uniform(rows * from, 7);
  const input = (n: number): Values => (dtype === 'f16' ? halves(x.subarray(0, n * from)) : x.subarray(0, n * from));
  const fewer = Math.min(rows, judgedRows);
  return {
    graph: graph(rows),
    source,
    inputs: { x: input(rows) },
    judged: { graph: graph(fewer), inputs: { x: input(fewer) } },
    ...(dtype === 'f32' ? { plain: { op: 'linear', rows, from, to } } : {}),
  };
}

const shapes = [
  { rows: 1024, from: 1024, to: 1024, about: 'square' },
  { rows: 577, from: 1024, to: 4096, about: 'first layer of the MLP of a ViT-L' },
  { rows: 9216, from: 5760, to: 1024, about: 'projection of the ConvNeXt map of Cambrian-1, 96 × 96 tokens' },
] as const;

const quick = [
  [64, 64, 64],
  [37, 64, 128],
  [96, 160, 64],
] as const;

const products: readonly BenchCase[] = shapes.flatMap(({ rows, from, to, about }, i) =>
  (['f32', 'f16'] as const).map((dtype): BenchCase => {
    const size = rows === from && from === to ? `${rows}` : `${rows}x${from}x${to}`;
    return {
      name: `matmul-${size}-${dtype}`,
      about: `contraction ${rows} × ${from} × ${to}, ${dtype}: ${about}`,
      build: (scale) => {
        const [r, f, o] = scale === 'full' ? [rows, from, to] : (quick[i] ?? [8, 8, 8]);
        return matmul(r, f, o, dtype, 128);
      },
    };
  }),
);

/** Scores of attention by themselves: q·kᵀ for each head. */
function perHead(scale: Scale): Work {
  const [heads, rows, size] = scale === 'full' ? [16, 577, 64] : [2, 37, 16];
  const source = benchParams();
  const graph = trace(source, (t) => {
    const q = t.input('q', 'h n d', { h: heads, n: rows, d: size });
    const k = t.input('k', 'h t d', { h: heads, t: rows, d: size });
    return { y: einsum(q, k, 'h n d, h t d -> h n t') };
  });
  const count = heads * rows * size;
  return {
    graph,
    source,
    inputs: { q: uniform(count, 1), k: uniform(count, 2) },
    plain: { op: 'heads', heads, rows, keys: rows, size },
  };
}

/** What a card is measured by: enough work to fill it, and a matrix that no cache holds. */
const large: readonly BenchCase[] = [
  {
    name: 'matmul-4096-f16',
    about: 'contraction 4096 × 4096 × 4096, f16: square',
    hardware: true,
    build: (scale) => (scale === 'full' ? matmul(4096, 4096, 4096, 'f16', 16) : matmul(72, 64, 72, 'f16', 16)),
  },
  {
    name: 'gemv-f16',
    about: 'a vector times 4096 × 14336, f16: first layer of the MLP of a decoder of 8B, one token',
    hardware: true,
    build: (scale) => (scale === 'full' ? matmul(1, 4096, 14336, 'f16', 1) : matmul(1, 64, 96, 'f16', 1)),
  },
];

export const contractionCases: readonly BenchCase[] = [
  ...products,
  ...large,
  { name: 'matmul-heads-f32', about: 'contraction batched per head: 16 × (577 × 64 × 577), f32', build: perHead },
];
