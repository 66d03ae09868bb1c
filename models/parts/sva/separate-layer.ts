// The "sep" variant of an SVA layer: each encoder is read by its own attention, and the query weighs the encoders.
import { gelu, linear, softmax, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import type { Queries, RegionMasks, Regions } from '../../sequence/regions.ts';
import {
  layerOutput,
  normedLinear,
  regionAttention,
  withContext,
  withPosition,
  type Sight,
  type SvaLayerOptions,
} from './layer.ts';

/**
 * One layer: z = LN(y + Σ_k ω_k A_k), with the same context, input, output and residual as the joint layer. A region of one token
 * has nothing to attend over: it goes through a small MLP and its mask is ignored. A query whose region is fully masked is NaN
 * here, as in the original; masks from `regionMask` have no such query.
 */
export function visionAggregationLayer(
  p: Params,
  query: Queries,
  sight: Sight,
  options: SvaLayerOptions = {},
): Queries {
  const { joined, mixed } = withContext(p, query, sight.context, options);
  const reads = sight.regions.map((region, k) =>
    aggregate(p.at(`aggregate_${k}`), mixed, withPosition(p, k, region), sight.masks?.[k], options),
  );
  const weights = encoderWeights(p.at('weight_mlp'), joined, mixed.size('c'), reads.length, options);
  const weighed = reads.map((read, k) => (weights === undefined ? read : read.mul(weights.at('k', k))));
  return query.add(
    layerOutput(
      p,
      weighed.reduce((sum, read) => sum.add(read), mixed),
      query.size('c'),
      options.inspect,
    ),
  );
}

/** ω: how much the query takes from each encoder, from query and context before they are mixed; a single encoder has no such weights. */
function encoderWeights(
  p: Params,
  joined: Queries,
  width: number,
  encoders: number,
  options: SvaLayerOptions,
): Tensor<'b q k', Float> | undefined {
  if (encoders === 1) return undefined;
  const logits = linear(
    p.at('linear_2'),
    gelu(linear(p.at('linear_1'), joined, 'c', { size: width, bias: false }), 'exact'),
    'k',
    { size: encoders, bias: false },
  );
  options.inspect?.(p.path, logits);
  return softmax(logits, 'k');
}

function aggregate(
  p: Params,
  query: Queries,
  region: Regions,
  mask: RegionMasks | undefined,
  options: SvaLayerOptions,
): Queries {
  const layer = p.at('attention_layer');
  const read =
    region.size('t') === 1
      ? single(layer, region.at('t', 0), query.size('c'))
      : attend(layer, query, region, mask, options);
  options.inspect?.(layer.path, read);
  options.inspect?.(p.path, read);
  return read;
}

function single(p: Params, token: Queries, size: number): Queries {
  const width = { size, bias: false };
  return linear(p.at('linear_2'), gelu(linear(p.at('linear_1'), token, 'c', width), 'exact'), 'c', width);
}

function attend(
  p: Params,
  query: Queries,
  region: Regions,
  mask: RegionMasks | undefined,
  options: SvaLayerOptions,
): Queries {
  const width = query.size('c');
  const key = normedLinear(p.at('k_proj'), region, width, options.inspect);
  const value = normedLinear(p.at('v_proj'), region, width, options.inspect);
  return regionAttention(p, query, key, value, mask, options);
}
