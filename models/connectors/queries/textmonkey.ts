// TextMonkey: of all tokens of a picture the least redundant are kept; they become the queries of a resampler over all.
import {
  einsum,
  gather,
  layerNorm,
  linear,
  rearrange,
  reduce,
  rsqrt,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { tokensOf, type Sequence } from '../../parts/attention.ts';
import { activate } from '../../parts/mlp.ts';
import { perceiverAttention } from '../../parts/perceiver.ts';
import { ascending, highest, laterThan } from '../../parts/selection.ts';
import type { Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface TextMonkeyConfig {
  /** Tokens that are kept. */
  readonly keep: number;
  /** Width of the resampler. */
  readonly inner: number;
  readonly depth: number;
  readonly heads: number;
  readonly headSize: number;
}

/** Its map has the tokens of all windows, as wide as the language model already. */
export const textMonkey = connector<TextMonkeyConfig>({
  name: 'textmonkey',
  title: 'TextMonkey token resampler',
  paper: 'arXiv 2403.04473',
  year: 2024,
  source: 'Yuliang-Liu/Monkey monkey_model/text_monkey/merge.py, resampler.py',
  mathematics: [
    'kept: the k tokens whose largest cosine with a later token is smallest, in order',
    'd = MHA(LN(W x), LN(W kept)) over [x ; kept]',
    'y = kept + s W₂ gelu(W₁ LN d)',
  ],
  towers: 'one',
  presets: {
    'textmonkey-7b': {
      config: { keep: 512, inner: 256, depth: 1, heads: 8, headSize: 64 },
      maps: [[7, 256, 4096]],
      width: 4096,
    },
  },
  variants: (config, tokens) => [{ ...config, keep: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, config, { inspect }) => {
    const x = tokensOf(onlyMap(maps));
    const kept = leastRedundant(x, config.keep);
    inspect?.('kept_index', kept);
    let latents: Queries = rearrange(gather(x, kept, 'n'), 'b k c -> b q=(k) c');
    const narrow = { size: config.inner, bias: false };
    const media = linear(p.at('downsample'), x, 'c', narrow);
    let read: Queries = linear(p.at('downsample'), latents, 'c', narrow);
    for (let i = 0; i < config.depth; i++) {
      const layer = p.at('layers', i);
      read = perceiverAttention(layer.at(0), read, media, config);
      latents = latents.add(widened(layer.at(1), read, latents.size('c')));
    }
    return tokensOfQueries(latents);
  },
});

/** s W₂ gelu(W₁ LN x), as wide as the language model. */
function widened(p: Params, x: Queries, size: number): Queries {
  const inner = linear(p.at('fc1'), layerNorm(p.at('norm'), x), 'c', { size: x.size('c'), bias: false });
  const out = linear(p.at('fc2'), activate(inner, 'gelu'), 'c', { size, bias: false });
  return out.mul(p.get('scale', 'i', { i: 1 }).at('i', 0));
}

/** Positions of the k tokens that are least like a later one, in order. The last token has none behind it and is always kept. */
function leastRedundant(x: Sequence, k: number): Tensor<'b k', 'i32'> {
  const wide = x.cast('f32');
  const length = reduce(wide.mul(wide), 'b n c -> b n', 'sum');
  const unit = wide.mul(rsqrt(length));
  const alike = einsum(unit, rearrange(unit, 'b n c -> b m=(n) c'), 'b n c, b m c -> b n m');
  // No cosine is below −1: what is not later never is the largest.
  const later = alike.where(laterThan(alike), -2);
  const score = reduce(later, 'b n m -> b n', 'max');
  return ascending(highest(score.neg(), k));
}
