// Mistakes with axis names that an editor must show. The messages stand in axes.txt.
import { attention, concat, gather, linear, pad, slice, softmax, stack, topK, resize, where, window, type Float, type Params, type Tensor, type Trace } from '../../dsl/index.ts';

declare const p: Params;
declare const t: Trace;
declare const x: Tensor<'b n d', Float>;
declare const bias: Tensor<'k', Float>;
declare const keys: Tensor<'b t d', Float>;
declare const swapped: Tensor<'b d n', Float>;
declare const image: Tensor<'b h w c', Float>;
declare const index: Tensor<'b k', 'i32'>;

x.add(bias);
x.mul(x.at('n', 0).at('q', 0));
softmax(x, 't');
slice(x, 'm', { size: 1 });
pad(x, 'h', { before: 1 });
window(x, 'w', { into: ['w', 'k'], size: 2 });
gather(x, index, 't');
topK(x, 'k', 2);
concat([x, x], 't');
x.size('c');
t.input('x', 'b n n', { b: 1, n: 2 });
p.get('weight', 'o o');
concat([x, bias], 'k');
concat([x, swapped], 'b');
stack([x, bias], 'm');
stack([x, x], 'n');
linear(p, x, 'n');
linear(p, x, 'b', { axis: 'n' });
topK(x, 'n', 2, 'd');
attention(x, keys, keys, { key: 's', along: 'd' });
attention(x, keys, keys, { key: 't', along: 'c' });
attention(x, keys, keys, { key: 't', along: 'd', causal: 'q' });
attention(x, keys, keys, { key: 't', along: 'd', mask: bias });
attention(x, x, x, { key: 'n', along: 'd' });
resize(x, { height: 2, width: 2, mode: 'bilinear' });
resize(image, { mode: 'bilinear' });
t.input('y', 'b n', { b: 1 });
t.state('y', 'b n', { b: 1, n: 2, nn: 2 });
t.constant(0, 'b n', { b: 1, m: 2 });
t.update(t.state('z', 'b n', { b: 1, n: 2 }), x, { m: 1 });
p.get('weight', 'o i', { o: 2, in: 3 });

// What the result is called: one wrong annotation each.
export const renamed: Tensor<'b n d', Float> = linear(p, x, 'f');
export const inside: Tensor<'b d', Float> = linear(p, x, 'm', { axis: 'n' });
export const stacked: Tensor<'k b n d', Float> = stack([x, x], 'k');
export const taken: Tensor<'b n d', Float> = x.at('n', 0);
export const picked: Tensor<'b n d', Float> = gather(x, index, 'n');
export const windows: Tensor<'b n d', Float> = window(x, 'n', { into: ['n', 'k'], size: 2 });
export const chosen: Tensor<'n', Float> = where(x.gt(0), x, 0);
