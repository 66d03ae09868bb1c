// ToMe (Token Merging): every second token may join the one of the others it is most like; the r closest pairs do.
import {
  argmax,
  concat,
  constantLike,
  einsum,
  gather,
  rearrange,
  reduce,
  repeat,
  rsqrt,
  slice,
  type Float,
  type Tensor,
} from '../../../dsl/index.ts';
import { asQueries, asRow, tokensOf, type Sequence } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { highest, others, placesOf } from '../../parts/selection.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface ToMeConfig {
  /** How many tokens each step merges away: at most half of what there are. */
  readonly merges: readonly number[];
}

/** Tokens and how many patches each stands for. */
export interface Weighted {
  readonly tokens: Sequence;
  readonly size: Tensor<'b n', Float>;
}

export const tome = connector<ToMeConfig>({
  name: 'tome',
  title: 'Token Merging (ToMe)',
  paper: 'arXiv 2210.09461',
  year: 2022,
  source: 'facebookresearch/ToMe tome/merge.py bipartite_soft_matching',
  mathematics: [
    'A: tokens 0, 2, …; B: tokens 1, 3, …;  each a ∈ A has its most similar b ∈ B by cosine',
    'the r most similar pairs become their mean, weighed by how many patches each stands for',
    'y = W₂ gelu(W₁ x)',
  ],
  towers: 'one',
  presets: {
    'tome-llava-1.5-144': { config: { merges: [288, 144] }, maps: [[24, 24, 1024]], width: 4096 },
  },
  variants: (config, tokens, maps) => {
    const [rows = 1, columns = 1] = maps[0] ?? [];
    const merges: number[] = [];
    for (let n = rows * columns; n > Math.round(tokens); n -= merges.at(-1) ?? n)
      merges.push(Math.max(1, Math.min(Math.floor(n / 2), n - Math.round(tokens))));
    return [{ ...config, merges }];
  },
  build: (p, maps, { merges }, { width }) => {
    const tokens = tokensOf(onlyMap(maps));
    const one = repeat(constantLike(tokens, [1], '', {}, tokens.dtype), '-> b n', {
      b: tokens.sizeOf('b'),
      n: tokens.sizeOf('n'),
    });
    const merged = merges.reduce<Weighted>((x, count) => mergedPairs(x, x.tokens, count), { tokens, size: one });
    const projected = mlp(p.at('mm_projector'), asRow(merged.tokens), { linears: [0, 2], width });
    return tokensOfQueries(asQueries(tokensOf(projected)));
  },
});

/** Tokens of A that stay, in order, then those of B with what they took in. `metric`: what they are compared by. */
export function mergedPairs({ tokens, size }: Weighted, metric: Sequence, count: number): Weighted {
  const n = tokens.size('n');
  const wide = metric.cast('f32');
  const unit = wide.mul(rsqrt(reduce(wide.mul(wide), 'b n c -> b n', 'sum')));
  const half = (x: Sequence, start: number): Sequence =>
    slice(x, 'n', { start, size: Math.floor((n + 1 - start) / 2), step: 2 });
  const alike = einsum(half(unit, 0), rearrange(half(unit, 1), 'b n c -> b m=(n) c'), 'b n c, b m c -> b n m');
  const best = reduce(alike, 'b n m -> b n', 'max');
  const partner = argmax(alike, 'm');
  const joins = highest(best, count);
  const left = best.size('n') - count;
  const into = gather(partner, joins, 'n');
  const target = repeat(into, 'b k -> b k m', { m: alike.sizeOf('m') });
  const member = target.eq(placesOf(alike, 'm')).cast(tokens.dtype);
  const weighed = tokens.mul(size);
  const sizes = rearrange(size, 'b (n c) -> b n c', { c: 1 });
  const merge = (x: Sequence): Sequence => {
    const added = einsum(member, gather(half(x, 0), joins, 'n'), 'b k m, b k c -> b m c');
    const merged = half(x, 1).add(rearrange(added, 'b m c -> b n=(m) c'));
    if (left === 0) return merged;
    const stays = gather(half(x, 0), others(joins, best, left), 'n');
    return concat([rearrange(stays, 'b k c -> b n=(k) c'), merged], 'n');
  };
  const total = merge(sizes).at('c', 0);
  return { tokens: merge(weighed).div(total), size: total };
}
