// One SVA layer (Cambrian-1, arXiv 2406.16860, section 3.1): queries read their own regions of all encoders under one softmax.
import {
  attention,
  concat,
  einsum,
  gelu,
  layerNorm,
  linear,
  rearrange,
  repeat,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import type { Inspect, Queries, RegionMasks, Regions } from '../../sequence/regions.ts';

/** Heads of every SVA layer in the released models. */
export const svaHeads = 16;

export interface SvaLayerOptions {
  readonly heads?: number | undefined;
  /** Width of the layer inside; that of the context when left out, as in the released models. */
  readonly hidden?: number | undefined;
  readonly inspect?: Inspect | undefined;
}

/** What an SVA layer reads besides its queries; the same for all layers of a sampler. */
export interface Sight {
  /** Global context of each image. */
  readonly context: Tensor<'b c', Float>;
  /** One per encoder. */
  readonly regions: readonly Regions[];
  readonly masks?: readonly RegionMasks[] | undefined;
}

/**
 * One "joint" layer: a single softmax over the regions of all encoders. Queries, context and the layer inside may be of three widths; a
 * region of one token may have a width of its own too, one of more tokens is as wide as its positions.
 */
export function visionCrossAttentionLayer(
  p: Params,
  query: Queries,
  sight: Sight,
  options: SvaLayerOptions = {},
): Queries {
  const { mixed } = withContext(p, query, sight.context, options);
  const placed = sight.regions.map((region, k) => withPosition(p, k, region));
  const read = jointAttention(p.at('cross_attn'), mixed, placed, sight.masks, options);
  return query.add(layerOutput(p, mixed.add(read), query.size('c'), options.inspect));
}

/** [x ; W_ctx g], and W_in of it. Positions of one image share the context's projection. */
export function withContext(
  p: Params,
  query: Queries,
  context: Tensor<'b c', Float>,
  { hidden, inspect }: SvaLayerOptions,
): { readonly joined: Queries; readonly mixed: Queries } {
  const size = hidden ?? context.size('c');
  const narrow = linear(p.at('proj_context'), context, 'c', { size, bias: false });
  const projected = repeat(narrow, 'b c -> b q c', { q: query.sizeOf('q') });
  const joined = concat([query, projected], 'c');
  const mixed = linear(p.at('proj_in'), joined, 'c', { size: narrow.size('c'), bias: false });
  inspect?.(p.at('proj_context').path, projected);
  inspect?.(p.at('proj_in').path, mixed);
  return { joined, mixed };
}

/** A region of more than one token has a learned position for each; one of a single token has none. */
export function withPosition(p: Params, k: number, region: Regions): Regions {
  return region.size('t') > 1
    ? region.add(p.get(`pos_embed_${k}`, 't c', { t: region.size('t'), c: region.size('c') }))
    : region;
}

/** W_2 gelu(W_1 LN(y)): what a layer adds to its queries, which are `width` wide. */
export function layerOutput(p: Params, attended: Queries, width: number, inspect?: Inspect): Queries {
  const normed = layerNorm(p.at('norm'), attended);
  const hidden = linear(p.at('proj_out', 'linear_1'), normed, 'c', { size: normed.size('c'), bias: false });
  const out = linear(p.at('proj_out', 'linear_2'), gelu(hidden, 'exact'), 'c', { size: width, bias: false });
  inspect?.(p.at('norm').path, normed);
  inspect?.(p.at('proj_out', 'linear_1').path, hidden);
  inspect?.(p.at('proj_out', 'linear_2').path, out);
  inspect?.(p.at('proj_out').path, out);
  return out;
}

function jointAttention(
  p: Params,
  query: Queries,
  regions: readonly Regions[],
  masks: readonly RegionMasks[] | undefined,
  options: SvaLayerOptions,
): Queries {
  const width = query.size('c');
  const key = regions.map((region, k) => normedLinear(p.at(`k_proj_${k}`), region, width, options.inspect));
  const value = regions.map((region, k) => normedLinear(p.at(`v_proj_${k}`), region, width, options.inspect));
  const mask = masks === undefined ? undefined : concat(masks, 't');
  return regionAttention(p, query, concat(key, 't'), concat(value, 't'), mask, options);
}

/** Each query reads only its own region: batch axes b and q, keys along t. */
export function regionAttention(
  p: Params,
  query: Queries,
  key: Regions,
  value: Regions,
  mask: RegionMasks | undefined,
  options: SvaLayerOptions,
): Queries {
  const h = options.heads ?? svaHeads;
  const width = query.size('c');
  const q = rearrange(normedLinear(p.at('q_proj'), query, width, options.inspect), 'b q (h d) -> b q h d', { h });
  const k = rearrange(key, 'b q t (h d) -> b q t h d', { h });
  const v = rearrange(value, 'b q t (h d) -> b q t h d', { h });
  const read = attention(q, k, v, { key: 't', along: 'd', mask });
  const out = linear(p.at('o_proj'), rearrange(read, 'b q h d -> b q c=(h d)'), 'c', {
    size: width,
    bias: false,
  });
  if (options.inspect !== undefined)
    options.inspect(p.at('softmax').path, rearrange(weightsOf(q, k, mask), 'b q h t -> b h q t'));
  options.inspect?.(p.at('o_proj').path, out);
  options.inspect?.(p.path, out);
  return out;
}

/** The attention's softmax, for looking inside: the same nodes that `attention` makes. */
function weightsOf(
  q: Tensor<'b q h d', Float>,
  k: Tensor<'b q t h d', Float>,
  mask: RegionMasks | undefined,
): Tensor<'b q h t', 'f32'> {
  const scores = einsum(q, k, 'b q h d, b q t h d -> b q h t')
    .cast('f32')
    .mul(1 / Math.sqrt(q.size('d')));
  return softmax(mask === undefined ? scores : scores.where(mask, -3e38), 't');
}

/** LayerNorm and a linear map to `width` without bias, as the checkpoint numbers them. */
export function normedLinear<S extends string>(
  p: Params,
  x: Tensor<S, Float>,
  width: number,
  inspect?: Inspect,
): Tensor<S, Float> {
  const out = linear(p.at(1), layerNorm(p.at(0), x), 'c', { size: width, bias: false }) as Tensor<S, Float>;
  inspect?.(p.path, out);
  return out;
}
