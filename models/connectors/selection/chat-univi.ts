// Chat-UniVi: tokens are clustered by the density of their neighbourhoods (DPC-KNN), and each cluster is one token; again with fewer.
// The `TCBlock` that the original puts behind each clustering has no parameters and returns what it is given.
import {
  argmax,
  einsum,
  exp,
  gather,
  linear,
  rearrange,
  reduce,
  repeat,
  sqrt,
  topK,
  type Float,
  type Tensor,
} from '../../../dsl/index.ts';
import { asQueries, asRow, tokensOf, type Sequence } from '../../parts/attention.ts';
import { highest, membership, placesOf } from '../../parts/selection.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, tokensOfQueries } from '../visual-tokens.ts';

export interface ChatUniViConfig {
  /** Clusters of each level; each clusters what the level before has left, and all go to the language model. */
  readonly levels: readonly number[];
  /** Neighbours that a density is made of. */
  readonly neighbours: number;
}

export const chatUniVi = connector<ChatUniViConfig>({
  name: 'chat-univi',
  title: 'Chat-UniVi DPC-KNN merging',
  paper: 'arXiv 2311.08046',
  year: 2023,
  source: 'PKU-YuanGroup/Chat-UniVi ChatUniVi/model/cluster.py CTM, cluster_dpc_knn, merge_tokens',
  mathematics: [
    'ρ_i = exp(−mean of the k smallest d_ij²), δ_i = min d_ij over denser j;  centres: highest ρδ',
    'every token goes to the nearest centre; a cluster is the mean of its tokens',
    'y = W [64 ; 32 ; 16 clusters]',
  ],
  towers: 'one',
  presets: {
    'chat-univi-7b': { config: { levels: [64, 32, 16], neighbours: 5 }, maps: [[16, 16, 1024]], width: 4096 },
  },
  variants: (config, tokens) => [
    {
      ...config,
      levels: [
        Math.max(1, Math.round((tokens * 4) / 7)),
        Math.max(1, Math.round((tokens * 2) / 7)),
        Math.max(1, Math.round(tokens / 7)),
      ],
    },
  ],
  build: (p, maps, { levels, neighbours }, { width }) => {
    let x = tokensOf(onlyMap(maps));
    const made = levels.map((clusters) => {
      x = clustered(x, { clusters, neighbours }).tokens;
      const projected = linear(p.at('mm_projector'), asRow(x), 'c', sized(width));
      return tokensOfQueries(asQueries(tokensOf(projected)));
    });
    return joinTokens(made);
  },
});

export interface Clusters {
  /** The mean of each cluster, that of the most outstanding centre first. */
  readonly tokens: Sequence;
  /** Which cluster each token belongs to. */
  readonly cluster: Tensor<'b n', 'i32'>;
  /** The weight of each token in its cluster's mean. */
  readonly weight: Tensor<'b n', 'f32'>;
}

/** Density-peak clustering (DPC-KNN): which cluster each token belongs to. */
export function clustered(
  x: Sequence,
  { clusters, neighbours }: { readonly clusters: number; readonly neighbours: number },
): Clusters {
  const k = neighbours > clusters ? Math.min(3, Math.max(Math.floor(clusters / 2), 1)) : neighbours;
  const wide = x.cast('f32');
  // Differences, not products: a token's distance to itself is exactly 0.
  const gap = repeat(wide, 'b n c -> b n m c', { m: x.sizeOf('n') }).sub(rearrange(wide, 'b n c -> b m=(n) c'));
  const d = sqrt(reduce(gap.mul(gap), 'b n m c -> b n m', 'sum')).mul(1 / Math.sqrt(x.size('c')));
  const near = topK(d.neg(), 'm', k).values;
  const density = exp(reduce(near.mul(near), 'b n m -> b n', 'mean').neg());
  const denser = repeat(density, 'b n -> b n m', { m: d.sizeOf('m') }).lt(rearrange(density, 'b n -> b m=(n)'));
  const farthest = reduce(d, 'b n m -> b', 'max');
  const delta = reduce(d.where(denser, farthest), 'b n m -> b n', 'min');
  const centres = highest(density.mul(delta), clusters);
  const toCentre: Tensor<'b n k', 'f32'> = rearrange(gather(d, centres, 'm'), 'b k n -> b n k');
  const nearest = argmax(toCentre.neg(), 'k');
  // A centre belongs to its own cluster, also where another centre lies on the same point.
  const here = repeat(placesOf(nearest, 'n'), 'n -> b n k', { b: x.sizeOf('b'), k: clusters }).eq(centres);
  const own = reduce(
    repeat(placesOf(toCentre, 'k').add(1), 'k -> b n k', { b: x.sizeOf('b'), n: x.sizeOf('n') }).where(here, 0),
    'b n k -> b n',
    'max',
  );
  const cluster = own.sub(1).where(own.gt(0), nearest);
  const member: Tensor<'b n k', Float> = membership(cluster, clusters, 'f32');
  const count = reduce(member, 'b n k -> b k', 'sum').add(1e-6);
  const share = reduce(member.div(count), 'b n k -> b n', 'sum').cast('f32');
  const tokens = einsum(member, wide.mul(share), 'b n k, b n c -> b k c').cast(x.dtype);
  return { tokens: rearrange(tokens, 'b k c -> b n=(k) c'), cluster, weight: share };
}
