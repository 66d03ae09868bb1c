// A small vision transformer at native resolution: rows and columns of patches are symbols, the tokens are their product.
import {
  arange,
  attention,
  concat,
  gather,
  layerNorm,
  linear,
  rearrange,
  reduce,
  repeat,
  slice,
  softmax,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';

const [width, heads, patch] = [12, 2, 2];

export interface Grid {
  readonly h: Size;
  readonly w: Size;
}

/** Patches to tokens, attention over all of them behind a class token, and back to a map that is pooled. */
export function nativeResolution(t: Trace, { h, w }: Grid): Readonly<Record<string, Tensor>> {
  const p = t.params;
  const cells = t.input('image', 'b h w p c', { b: 2, h, w, p: patch * patch, c: 3 });
  const merged = rearrange(cells, 'b h w p c -> b n=(h w) d=(p c)');
  const x = linear(p.at('embed'), merged, 'd', { size: width });
  // A table of rows and one of columns: the position of a token is taken apart again.
  const rows = gather(p.get('rows', 'r d', { r: 16, d: width }), arange(x, 'h', h), 'r');
  const columns = gather(p.get('columns', 's d', { s: 16, d: width }), arange(x, 'w', w), 's');
  const map = rearrange(x, 'b n=(h w) d -> b h w d', { h, w }).add(rows).add(columns);
  const first = repeat(p.get('class', 'd', { d: width }).cast('f32'), 'd -> b n d', { b: 2, n: 1 });
  const tokens = rearrange(map, 'b h w d -> b n=(h w) d');
  const all = concat([first, tokens], 'n');
  const y = layerNorm(p.at('norm'), all, { eps: 1e-5 });
  const byHead = rearrange(y, 'b n (a e) -> b n a e', { a: heads });
  const q = rearrange(byHead, 'b n a e -> b m=(n) a e');
  const read = rearrange(attention(q, byHead, byHead, { key: 'n', along: 'e' }), 'b m a e -> b n=(m) d=(a e)');
  const patches = slice(all.add(read), 'n', { start: 1, size: tokens.sizeOf('n') });
  const back = rearrange(patches, 'b (h w) d -> b h w d', { h });
  return {
    tokens: read,
    map: back,
    columns: rearrange(back, 'b h w d -> b n=(w h) d'),
    weights: reduce(softmax(rearrange(back, 'b h w d -> b d n=(h w)'), 'n'), 'b d n -> b d', 'max'),
  };
}

export const cellCount = (h: number, w: number): number => 2 * h * w * patch * patch * 3;
