// PyTorch's nn.MultiheadAttention: three projections in one matrix, attention by heads, a projection of all heads together.
import { axisOf } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { at } from '../origin.ts';
import type { Params } from '../params.ts';
import { rearrange } from '../ops/view.ts';
import {
  apply,
  elementwise,
  refusal,
  renamed,
  requireAxis,
  requireNumber,
  type Float,
  type Tensor,
} from '../tensor.ts';
import { attention, type AttentionOptions } from './attention.ts';
import { checkDType, linear } from './linear.ts';
import { product, slice } from './shape.ts';
import { requireOptions } from '../graph/required.ts';
import { requireParams } from '../params.ts';

/** As those of `attention`, whose queries and keys have the axis `head` besides; so may the mask. */
export interface MultiHeadAttentionOptions<
  S extends string = string,
  K extends string = string,
  V extends string = string,
  Key extends string = string,
  Along extends string = string,
  Causal extends string = string,
> extends Omit<AttentionOptions<S, K, V, Key, Along, string, Causal>, 'mask' | 'scale'> {
  /** A divisor of the width of the queries. */
  readonly heads: number;
  /** bool: true where a query may attend (PyTorch's masks say the opposite); float: added to the scaled scores. Its axes are among those of the scores, the axis `head` among them. */
  readonly mask?: Tensor | undefined;
  /** Whether the projections have biases; by default yes. */
  readonly bias?: boolean | undefined;
}

/** The axis of the heads. */
const head = 'head';

/**
 * Multi-head attention with the parameters of PyTorch's nn.MultiheadAttention at p (Vaswani et al. 2017, §3.2.2): `in_proj_weight`, or
 * `q_proj_weight`, `k_proj_weight` and `v_proj_weight` where keys or values have another width than queries (`kdim`, `vdim`);
 * `in_proj_bias`; `out_proj`. The result has the axes of the query. Throws `OpabiniaError` where the heads do not divide the width.
 * @example multiHeadAttention(p.at('attn'), x, keys, keys, { heads: 2, key: 't', along: 'd' }) // Tensor<'b n d', 'f32'>
 */
export function multiHeadAttention<
  S extends string,
  K extends string,
  V extends string,
  D extends Float,
  Key extends string = string,
  Along extends string = string,
  Causal extends string = string,
>(
  p: Params,
  query: Tensor<S, D>,
  key: Tensor<K, D>,
  value: Tensor<V, D>,
  options: MultiHeadAttentionOptions<S, K, V, Key, Along, Causal>,
): Tensor<S, D> {
  requireParams('multiHeadAttention', p);
  requireOptions(
    'multiHeadAttention',
    options,
    "multiHeadAttention(p, x, keys, keys, { heads: 2, key: 't', along: 'd' })",
  );
  const { heads, key: over, along, mask, causal, bias } = options as MultiHeadAttentionOptions;
  const width = requireNumber('multiHeadAttention', query, along);
  return at(p.path, () => {
    const { q, k, v } = multiHeadProjections(p, query, key, value, { heads, along, bias });
    const read = attention(q, k, v, { key: over, along, mask, causal });
    const names = query.axes.map((axis) => axis.name);
    const together = apply<string, D>('multiHeadAttention', rearrange, [read], {
      split: read.axes.map((axis) => [axis.name]),
      merge: names.map((name) => ({ name, parts: name === along ? [head, along] : [name] })),
      sizes: Object.fromEntries(read.axes.map((axis) => [axis.name, axis.size])),
    });
    const out = { axis: along, size: width, bias };
    return linear(p.at('out_proj'), together, along, out) as Tensor as Tensor<S, D>;
  });
}

/** Queries, keys and values by heads. */
export interface MultiHeadProjections<D extends DType> {
  readonly q: Tensor<string, D>;
  readonly k: Tensor<string, D>;
  readonly v: Tensor<string, D>;
}

/**
 * What `multiHeadAttention` attends with: its projections of queries, keys and values, with the axis `head` before the features of each.
 * @example multiHeadProjections(p.at('attn'), x, keys, keys, { heads: 2, along: 'd' }).k // b t head d
 */
export function multiHeadProjections<D extends Float>(
  p: Params,
  query: Tensor<string, D>,
  key: Tensor<string, D>,
  value: Tensor<string, D>,
  options: { readonly heads: number; readonly along: string; readonly bias?: boolean | undefined },
): MultiHeadProjections<D> {
  const name = 'multiHeadAttention';
  requireParams(name, p);
  requireOptions(name, options, "multiHeadProjections(p, x, keys, keys, { heads: 2, along: 'd' })");
  const { heads, along, bias = true } = options;
  const all = [query, key, value];
  for (const x of all) {
    requireAxis(name, x, along);
    if (axisOf(x.axes, head) !== undefined)
      throw refusal(name, `a tensor has the axis '${head}', which is that of the heads`, all, 'give it another name');
  }
  const [width = 0, ...others] = all.map((x) => requireNumber(name, x, along));
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0)
    throw refusal(name, `${heads} heads do not divide the ${width} features of the query`, all);
  const isPacked = others.every((other) => other === width);
  const packed = isPacked ? p.get('in_proj_weight', 'o i', { o: 3 * width, i: width }) : undefined;
  const biases = bias ? p.get('in_proj_bias', 'o', { o: 3 * width }) : undefined;
  const third = <T extends Tensor>(x: T, of: string): T =>
    slice(x as Tensor<'o'>, 'o', { start: 'qkv'.indexOf(of) * width, size: width }) as Tensor as T;
  const projected = (x: Tensor<string, D>, of: string): Tensor<string, D> => {
    const weight =
      packed === undefined
        ? p.get(`${of}_proj_weight`, 'o i', { o: width, i: requireNumber(name, x, along) })
        : third(packed, of);
    checkDType(name, x, weight);
    const inner = `${along}_in`;
    const rows = renamed<string, D>(
      name,
      weight as Tensor as Tensor<string, D>,
      new Map([
        ['o', along],
        ['i', inner],
      ]),
    );
    const names = x.axes.map((axis) => axis.name);
    const plain = product<string, D>(name, renamed<string, D>(name, x, new Map([[along, inner]])), rows, names);
    const y =
      biases === undefined
        ? plain
        : elementwise<string, D>(
            'add',
            plain,
            renamed<string, DType>(name, third(biases, of), new Map([['o', along]])),
          );
    return apply<string, D>(name, rearrange, [y], {
      split: names.map((axis) => (axis === along ? [head, along] : [axis])),
      merge: names.flatMap((axis) =>
        (axis === along ? [head, along] : [axis]).map((part) => ({ name: part, parts: [part] })),
      ),
      sizes: Object.fromEntries([
        ...y.axes.map((axis) => [axis.name, axis.size] as const),
        [head, heads],
        [along, width / heads],
      ]),
    });
  };
  return { q: projected(query, 'q'), k: projected(key, 'k'), v: projected(value, 'v') };
}
