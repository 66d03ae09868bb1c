// VisionZip: the tokens that the tower's class token looks at stay; of the rest, evenly spaced ones take the others in by their keys.
import {
  argmax,
  concat,
  einsum,
  gather,
  pad,
  rearrange,
  reduce,
  rsqrt,
  slice,
  type Float,
  type Tensor,
} from '../../../dsl/index.ts';
import { asQueries, asRow, tokensOf, type Sequence } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { ascending, highest, membership, others, placesOf, type Kept, type Scores } from '../../parts/selection.ts';
import type { Inspect } from '../../sequence/regions.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface VisionZipConfig {
  /** Tokens that stay, beside the class token. */
  readonly dominant: number;
  /** Tokens that the rest is merged into. */
  readonly contextual: number;
  /** The block whose attention and keys decide: −2. */
  readonly layer: number;
}

const preset = (dominant: number, contextual: number) => ({
  config: { dominant, contextual, layer: -2 },
  maps: [[24, 24, 1024]] as const,
  width: 4096,
});

export const visionZip = connector<VisionZipConfig>({
  name: 'visionzip',
  title: 'VisionZip',
  paper: 'arXiv 2412.04467',
  year: 2024,
  source: 'dvlab-research/VisionZip visionzip/clip_encoder.py CLIPVisionTower_VisionZip.forward',
  mathematics: [
    'dominant: the k patches of highest Σ_heads A[cls, ·], and the class token, in order',
    'rest: every ⌊r/m⌋-th is a target; the others go to the target of nearest key: target + their mean',
    'y = W₂ gelu(W₁ [dominant ; targets])',
  ],
  towers: 'one',
  presets: { 'visionzip-llava-1.5-64': preset(54, 10), 'visionzip-llava-1.5-192': preset(162, 30) },
  variants: (config, tokens) => {
    const contextual = Math.max(1, Math.round(tokens * 0.15));
    return [{ ...config, contextual, dominant: Math.max(1, Math.round(tokens) - contextual - 1) }];
  },
  build: (p, maps, config, context) => {
    const tower = required(context, 'tower', 'visionzip')(0);
    const patches = tokensOf(onlyMap(maps));
    const classes = rearrange(tower.classTokens(config.layer), 'b p c -> b n=(p) c');
    const attention = reduce(tower.classAttention(config.layer).cast('f32'), 'b a n -> b n', 'sum');
    const metric = rearrange(reduce(tower.keys(config.layer), 'b n a d -> b n d', 'mean'), 'b n d -> b n c=(d)');
    const zipped = zip(
      { classes: slice(classes, 'n', { size: 1 }), patches, attention, metric },
      config,
      context.inspect,
    );
    const projected = mlp(p.at('mm_projector'), asRow(zipped), { linears: [0, 2], width: context.width });
    return tokensOfQueries(asQueries(tokensOf(projected)));
  },
});

export interface Zippable {
  readonly classes: Sequence;
  readonly patches: Sequence;
  /** How much the class token looks at each patch. */
  readonly attention: Scores;
  /** What patches are compared by: their keys, averaged over the heads. */
  readonly metric: Sequence;
}

/** Class token and dominant tokens in order, then the merged ones. */
export function zip(
  { classes, patches, attention, metric }: Zippable,
  { dominant, contextual }: Pick<VisionZipConfig, 'dominant' | 'contextual'>,
  inspect?: Inspect,
): Sequence {
  const top = highest(attention, dominant);
  inspect?.('dominant_index', pad(top.add(1), 'k', { before: 1 }));
  const left = patches.size('n') - dominant;
  const rest = others(top, attention, left);
  const stays = picked(patches, ascending(top));
  return concat([classes, stays, merged(picked(patches, rest), picked(metric, rest), contextual)], 'n');
}

function picked(x: Sequence, which: Kept): Sequence {
  return rearrange(gather(x, which, 'n'), 'b k c -> b n=(k) c');
}

/** Evenly spaced tokens, each with the mean of those that are nearest to it. */
function merged(tokens: Sequence, metric: Sequence, targets: number): Sequence {
  const step = Math.max(1, Math.floor(tokens.size('n') / targets));
  const every = (x: Sequence): Sequence => slice(x, 'n', { size: targets, step });
  const wide = metric.cast('f32');
  const unit = wide.mul(rsqrt(reduce(wide.mul(wide), 'b n c -> b n', 'sum')));
  const alike = einsum(unit, rearrange(every(unit), 'b n c -> b k=(n) c'), 'b n c, b k c -> b n k');
  // Targets take in none of one another.
  const place = placesOf(tokens, 'n');
  const isTarget = place
    .mod(step)
    .eq(0)
    .and(place.lt(step * targets));
  const member: Tensor<'b n k', Float> = membership(argmax(alike, 'k'), targets, tokens.dtype).where(isTarget.not(), 0);
  const count = reduce(member.cast('f32'), 'b n k -> b k', 'sum').max(1);
  const sums = einsum(member, tokens, 'b n k, b n c -> b k c');
  return every(tokens).add(rearrange(sums.cast('f32').div(count).cast(tokens.dtype), 'b k c -> b n=(k) c'));
}
