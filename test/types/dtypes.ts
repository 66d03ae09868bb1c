// Mistakes with dtypes that an editor must show. The messages stand in dtypes.txt.
import { einsum, gather, type Params, type Tensor, type Trace } from '../../dsl/index.ts';

declare const p: Params;
declare const t: Trace;
declare const x: Tensor<'n d', 'f32'>;
declare const half: Tensor<'n d', 'f16'>;

x.add(half);
x.add(t.iota('n', 4));
x.where(x, 0);
x.and(x.gt(0));
einsum(x, half, 'n d, n d -> n');
gather(x, x.at('d', 0), 'd');
t.input('y', 'n', { n: 4 }, 'float32');
export const mask: Tensor<'n d', 'f32'> = x.lt(1);
export const cast: Tensor<'n d', 'f32'> = x.cast('f16');

// These are right: parameters are f16 or f32, and the trace decides.
x.add(p.get('bias', 'd'));
half.mul(p.get('scale', 'd')).cast('f32').add(x);
