// Mistakes in patterns that an editor must show. The messages stand in patterns.txt.
import { einsum, rearrange, reduce, repeat, type Float, type Params, type Tensor } from '../../dsl/index.ts';

declare const p: Params;
declare const x: Tensor<'b n d', Float>;

rearrange(x, 'b d n -> b n d');
rearrange(x, 'b n -> n b');
rearrange(x, 'b n d e -> b n d e');
rearrange(x, 'b n d');
rearrange(x, 'b n d -> b d');
rearrange(x, 'b n d -> b n d e');
rearrange(x, 'b n d -> b m d');
rearrange(x, 'b n d -> b m e');
rearrange(x, 'b n d -> b (n d)');
rearrange(x, 'b (h w d -> b h w d');
rearrange(x, 'b (h h) d -> b h d');
rearrange(x, 'b q=(h w) d -> b h w d');
rearrange(x, 'b n d -> m=(b n) m=(d)');
repeat(x, 'b n d -> b q d', { q: 2 });
reduce(x, 'b n c -> b c', 'mean');
reduce(x, 'b n d -> b e', 'mean');
einsum(x, p.get('w', 'o i'), 'b n i, o i -> b n o');
einsum(x, p.get('w', 'o d'), 'b n d, o d -> b n p');
einsum(x, p.get('w', 'o d'), 'b n d -> b n');
einsum(x, p.get('w', 'o d'), 'b n (d), o d -> b n o');
repeat(x, 'b n d -> b q n d');
repeat(x, 'b n d -> b q n d', { k: 2 });
rearrange(x, 'b (h w) d -> b h w d', { hh: 2 });
reduce(x, 'b (h w) d -> b h d', 'mean', { q: 2 });
rearrange(x, '... d -> d ...');
reduce(x, 'b ... -> b', 'mean');
rearrange(x, 'b 1 d -> b d');
repeat(x, 'b n d -> b 1 n d');
einsum(x, p.get('w', 'o d'), '... d, o d -> ... o');
export const merged: Tensor<'b n c', Float> = rearrange(x, 'b n d -> b m=(n d)');
rearrange(x, 'b (h w) d -> b h w d');
rearrange(x, 'b (h w k) d -> b h w k d', { w: 2 });
reduce(x, 'b (n t) d -> b n d', 'mean');
