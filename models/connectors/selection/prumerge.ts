// LLaVA-PruMerge: the tokens that the class token looks at most stay, each with its nearest neighbours weighed by that look; the rest is one more token.
import {
  concat,
  constantLike,
  einsum,
  gather,
  rearrange,
  reduce,
  repeat,
  rsqrt,
  slice,
  softmax,
  topK,
  type Float,
  type Tensor,
} from '../../../dsl/index.ts';
import { asQueries, asRow, tokensOf, type Sequence } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { highest, keptMask, placesOf, type Kept, type Scores } from '../../parts/selection.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface PruMergeConfig {
  /** Tokens that stay. The original counts outliers of the attention for each picture (`outlierRatio`); a graph has one number. */
  readonly keep: number;
  /** PruMerge+: as many more, evenly from the whole picture, from the middle of the first stretch on. Some may be kept already, and stand twice. */
  readonly spread?: number | undefined;
  /** Neighbours that each of them takes in. */
  readonly neighbours: number;
  /** The block whose queries and keys decide: −2, the one before the last. */
  readonly layer: number;
}

const preset = (keep: number, spread?: number) => ({
  config: { keep, spread, neighbours: 32, layer: -2 },
  maps: [[24, 24, 1024]] as const,
  width: 4096,
});

export const pruMerge = connector<PruMergeConfig>({
  name: 'prumerge',
  title: 'LLaVA-PruMerge',
  paper: 'arXiv 2403.15388',
  year: 2024,
  source: '42Shawn/LLaVA-PruMerge llava/model/multimodal_encoder/clip_encoder.py token_prune_merge_advanced',
  mathematics: [
    'a = softmax(q_cls kᵀ / √c), one head;  kept: the k highest of a (PruMerge+: and every s-th token)',
    't_i = x_i + Σ a_j x_j over the 32 keys nearest to that of i;  one more: Σ a_j x_j of all that are not kept',
    'y = W₂ gelu(W₁ t)',
  ],
  towers: 'one',
  presets: {
    'prumerge-llava-1.5-32': preset(32),
    'prumerge-llava-1.5-72': preset(72),
    'prumerge-plus-llava-1.5-144': preset(72, 72),
  },
  variants: (config, tokens) => [
    { ...config, keep: Math.max(1, Math.round(tokens) - 1 - (config.spread ?? 0)) },
    { ...config, keep: Math.max(1, Math.round((tokens - 1) / 2)), spread: Math.max(1, Math.round((tokens - 1) / 2)) },
  ],
  build: (p, maps, config, context) => {
    const { query, key } = required(context, 'tower', 'prumerge')(0).queriesAndKeys(config.layer);
    const patches = tokensOf(onlyMap(maps));
    const prefix = key.size('n') - patches.size('n');
    const look = slice(classLook(slice(query, 'n', { size: 1 }), key), 'n', { start: prefix });
    const merged = pruneAndMerge(patches, slice(key, 'n', { start: prefix }), look, config);
    const projected = mlp(p.at('mm_projector'), asRow(merged), { linears: [0, 2], width: context.width });
    return tokensOfQueries(asQueries(tokensOf(projected)));
  },
});

/** How much one query looks at each key, as a single head as wide as all. */
export function classLook(query: Sequence, key: Sequence): Scores {
  const scores = einsum(query.at('n', 0), key, 'b c, b n c -> b n').cast('f32');
  return softmax(scores.mul(1 / Math.sqrt(key.size('c'))), 'n');
}

/** Kept tokens, the most looked at first, then those of an even spread, then one of the rest. */
export function pruneAndMerge(
  tokens: Sequence,
  keys: Sequence,
  look: Scores,
  { keep, spread = 0, neighbours }: Pick<PruMergeConfig, 'keep' | 'spread' | 'neighbours'>,
): Sequence {
  const kept = withSpread(highest(look, keep), tokens.size('n'), spread);
  const wide = keys.cast('f32');
  const unit = wide.mul(rsqrt(reduce(wide.mul(wide), 'b n c -> b n', 'sum').max(1e-24)));
  const alike = einsum(gather(unit, kept, 'n'), unit, 'b k c, b n c -> b k n');
  // No cosine is below −1: a token is not its own neighbor.
  const rest = alike.where(isOther(alike, kept), -2);
  const near = topK(rest, 'n', neighbours, 't').indices;
  const weights = gather(look.cast(tokens.dtype), near, 'n');
  const taken = einsum(gather(tokens, near, 'n'), weights, 'b k t c, b k t -> b k c');
  const own = gather(tokens, kept, 'n').add(taken);
  const free = look.cast(tokens.dtype).where(keptMask(kept, look).not(), 0);
  const extra = reduce(tokens.mul(free), 'b n c -> b c', 'sum');
  return concat([rearrange(own, 'b k c -> b n=(k) c'), rearrange(extra, 'b (n c) -> b n c', { n: 1 })], 'n');
}

function withSpread(kept: Kept, count: number, spread: number): Kept {
  if (spread === 0) return kept;
  const step = Math.floor(count / spread);
  const places = Array.from({ length: spread }, (_, i) => Math.floor(step / 2) + i * step);
  const even = constantLike(kept, places, 'k', { k: spread }, 'i32');
  return concat([kept, repeat(even, 'k -> b k', { b: kept.sizeOf('b') })], 'k');
}

/** True where token n is not the kept token k itself. */
function isOther(like: Tensor<'b k n', Float>, kept: Tensor<'b k', 'i32'>): Tensor<'b k n', 'bool'> {
  return repeat(kept, 'b k -> b k n', { n: like.sizeOf('n') }).ne(placesOf(like, 'n'));
}

/** The share of values above the third quartile by more than 1.5 times the distance of the quartiles; these as numpy interpolates them. */
export function outlierRatio(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = (q: number): number => {
    const at = q * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
    return low + (high - low) * (at - Math.floor(at));
  };
  const [first, third] = [quantile(0.25), quantile(0.75)];
  const bound = third + 1.5 * (third - first);
  return values.filter((value) => value > bound).length / values.length;
}
