// Spatial Vision Aggregator (Cambrian-1, arXiv 2406.16860, section 3): queries on a grid, each attending to its own region of every encoder.
import {
  concat,
  gelu,
  layerNorm,
  linear,
  OpabiniaError,
  rearrange,
  reduce,
  repeat,
  resize,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { visionAggregationLayer } from './separate-layer.ts';
import { regionsOf, sized, type FeatureMap, type Queries, type RegionMasks } from '../../sequence/regions.ts';
import { visionCrossAttentionLayer, type Sight, type SvaLayerOptions } from './layer.ts';

export interface SamplerOptions extends SvaLayerOptions {
  /** Layers, each with its own weights. */
  readonly depth: number;
  /** joint: one softmax over all encoders (the released models); sep: one per encoder, mixed by learned weights. */
  readonly layer?: 'joint' | 'sep';
}

export interface SvaConfig extends SamplerOptions {
  /** Side of the query grid of each group. */
  readonly groups: readonly number[];
  /** Side of the grid of tokens handed to the LLM. */
  readonly side: number;
  /** Width of the connector and of the LLM; read from the checkpoint where there is one. */
  readonly width?: number;
  readonly llmWidth?: number;
  /** Padding masks of each encoder for a query grid of this side; by default every token counts. */
  readonly masks?: ((queries: number) => readonly RegionMasks[]) | undefined;
}

export interface SvaResult {
  /** Tokens for the LLM, on the final grid. */
  readonly tokens: Tensor<'b h w e', Float>;
  /** Projected maps and global context: what SVA layers inside the LLM go on reading. */
  readonly features: readonly FeatureMap[];
  readonly context: Tensor<'b c', Float>;
}

/**
 * The connector: encoder maps to the LLM's tokens. `p` holds `mm_projector_aux_{k}`, `vision_query`, `vision_sampler_{g}` and
 * `mm_projector`. Throws `OpabiniaError` when an encoder's grid does not divide into a group's grid.
 */
export function spatialVisionAggregator(p: Params, maps: readonly FeatureMap[], config: SvaConfig): SvaResult {
  const features = maps.map((map, k) => auxProjector(p.at(`mm_projector_aux_${k}`), map, config));
  const [first] = features;
  if (first === undefined)
    throw new OpabiniaError('there is no encoder', {
      op: 'spatialVisionAggregator',
      path: p.path,
      advice: 'give at least one feature map',
    });
  // Encoder 0 alone, padding included, as in the released models.
  const context = reduce(first, 'b h w c -> b c', 'mean');
  const groups = config.groups.map((side, g) =>
    regrid(queryGroup(p, g, side, features, context, config), side, config.side),
  );
  const joined = concat(groups, 'c');
  config.inspect?.(p.at('mm_projector_input').path, joined);
  const tokens = projector(p.at('mm_projector'), joined, config.llmWidth);
  config.inspect?.(p.at('mm_projector').path, tokens);
  return { tokens: rearrange(tokens, 'b (h w) e -> b h w e', { h: config.side }), features, context };
}

/** Queries of one group: a learned vector, the same at every position, refined by the group's sampler. */
function queryGroup(
  p: Params,
  g: number,
  side: number,
  features: readonly FeatureMap[],
  context: Tensor<'b c', Float>,
  config: SvaConfig,
): Queries {
  const start = p.get('vision_query', 'g c', { g: config.groups.length, c: context.size('c') }).at('g', g);
  const query = repeat(start, 'c -> b q c', { b: context.sizeOf('b'), q: side * side });
  const sight: Sight = { context, regions: features.map((map) => regionsOf(map, side)), masks: config.masks?.(side) };
  return visionTokenSampler(p.at(`vision_sampler_${g}`), query, sight, config);
}

/** `depth` layers in sequence: the queries change, what they look at does not. */
export function visionTokenSampler(p: Params, query: Queries, sight: Sight, options: SamplerOptions): Queries {
  const layer = options.layer === 'sep' ? visionAggregationLayer : visionCrossAttentionLayer;
  let refined = query;
  for (let d = 0; d < options.depth; d++) {
    const at = p.at('layers', d);
    refined = layer(at, refined, sight, options);
    options.inspect?.(at.path, refined);
  }
  options.inspect?.(p.path, refined);
  return refined;
}

/** Encoder features to the connector's width: Linear, GELU, Linear, LayerNorm. */
function auxProjector(p: Params, map: FeatureMap, config: SvaConfig): FeatureMap {
  const wide = linear(p.at(0), map, 'c', sized(config.width));
  const out = layerNorm(p.at(3), linear(p.at(2), gelu(wide, 'exact'), 'c', { size: wide.size('c') }));
  config.inspect?.(p.path, out);
  return out;
}

/** Linear, GELU, Linear, on every token of the grid, padding included. */
function projector(p: Params, x: Queries, width: number | undefined): Tensor<'b q e', Float> {
  const wide = linear(p.at(0), x, 'e', sized(width));
  return linear(p.at(2), gelu(wide, 'exact'), 'e', { size: wide.size('e') });
}

/** A group's grid, resized to the final one; in f32 whatever the storage. */
function regrid(query: Queries, from: number, to: number): Queries {
  if (from === to) return query;
  const grid = rearrange(query.cast('f32'), 'b (h w) c -> b h w c', { h: from });
  const resized = resize(grid, { height: to, width: to, mode: 'bilinear' });
  return rearrange(resized, 'b h w c -> b q=(h w) c').cast(query.dtype);
}
