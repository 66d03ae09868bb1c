// What the demo runs: two patch encoders with different grids and the Spatial Vision Aggregator on top, all weights from a seed.
import {
  attention,
  concat,
  einsum,
  gelu,
  layerNorm,
  linear,
  randomParams,
  rearrange,
  reduce,
  slice,
  softmax,
  stack,
  trace,
  type Float,
  type Graph,
  type Params,
  type ParamSource,
  type Tensor,
} from '../../dsl/index.ts';
import { regionMask, type PictureSize } from '../../models/sequence/masks.ts';
import type { FeatureMap, RegionMasks } from '../../models/sequence/regions.ts';
import { spatialVisionAggregator } from '../../models/parts/sva/aggregator.ts';
import { svaShapes } from '../../models/parts/sva/shapes.ts';

interface PatchEncoder {
  readonly name: string;
  /** Side of the square picture it sees, in pixels, and of its token grid. */
  readonly pixels: number;
  readonly side: number;
  readonly width: number;
  /** Heads of its self-attention; none in an encoder with too many tokens for it. */
  readonly heads: number | undefined;
}

export const encoders: readonly [PatchEncoder, PatchEncoder] = [
  { name: 'encoder 0', pixels: 336, side: 24, width: 128, heads: 4 },
  { name: 'encoder 1', pixels: 384, side: 96, width: 64, heads: undefined },
];

/** D = 3 layers in each of G = 2 query groups. */
export const sva = { groups: [24, 12], depth: 3, heads: 16, side: 24, width: 128, out: 128 } as const;

const connectorPath = 'model';
const lastLayer = `${connectorPath}.vision_sampler_0.layers.${sva.depth - 1}.cross_attn`;

/** Weights from a seed, with the shapes of a checkpoint. */
export function demoParams(seed: number): ParamSource {
  const shapes = svaShapes({
    ...sva,
    channels: encoders.map((encoder) => encoder.width),
    sides: encoders.map((encoder) => encoder.side),
  });
  return { ...randomParams(seed), shape: (path) => shapes.get(path.slice(connectorPath.length + 1)) };
}

/** The name of the padding mask of encoder `k` for the query grid of side `queries`. */
export const maskName = (queries: number, k: number): string => `mask_${queries}_${k}`;

/** Padding masks of one picture, by input name. */
export function demoMasks(picture: PictureSize): ReadonlyMap<string, Uint8Array> {
  return new Map(
    sva.groups.flatMap((queries) =>
      encoders.map(({ side }, k) => [maskName(queries, k), regionMask(picture, side, queries).attend] as const),
    ),
  );
}

/**
 * Inputs: `picture_0`, `picture_1` (`b y x rgb`, normalised), the masks. Outputs: both encoders' maps, the tokens for a language model,
 * and `attention` `b q k`: the mean over heads of the mass that the keys of encoder k receive from query q, in the last layer of group 0.
 */
export function traceDemo(params: ParamSource): Graph {
  return trace(params, (t) => {
    const maps = encoders.map((encoder, k) =>
      encode(
        t.params.at('encoders', k),
        t.input(`picture_${k}`, 'b y x rgb', { b: 1, y: encoder.pixels, x: encoder.pixels, rgb: 3 }),
        encoder,
      ),
    );
    const masks = new Map<number, readonly RegionMasks[]>(
      sva.groups.map((queries) => [
        queries,
        encoders.map(({ side }, k) =>
          t.input(maskName(queries, k), 'b q t', { b: 1, q: queries ** 2, t: (side / queries) ** 2 }, 'bool'),
        ),
      ]),
    );
    const seen = new Map<string, Tensor>();
    const { tokens } = spatialVisionAggregator(t.params.at(connectorPath), maps, {
      groups: sva.groups,
      depth: sva.depth,
      heads: sva.heads,
      side: sva.side,
      masks: (queries) => masks.get(queries) ?? [],
      inspect: (path, value) => seen.set(path, value),
    });
    const outputs = Object.fromEntries(maps.map((map, k): [string, Tensor] => [`encoder_${k}`, map]));
    return { ...outputs, tokens, attention: encoderMass(seen, masks.get(sva.groups[0]) ?? []) };
  });
}

/** Patches to tokens on a grid, with learned positions; then one pre-norm block. */
function encode(p: Params, picture: Tensor<'b y x rgb', Float>, encoder: PatchEncoder): FeatureMap {
  const { side, width } = encoder;
  const patches = rearrange(picture, 'b (h py) (w px) rgb -> b h w c=(py px rgb)', { h: side, w: side });
  const placed = linear(p.at('patch'), patches, 'c', { size: width }).add(
    p.get('position', 'h w c', { h: side, w: side, c: width }),
  );
  const mixed =
    encoder.heads === undefined ? placed : placed.add(selfAttention(p.at('attention'), placed, encoder.heads));
  const hidden = gelu(linear(p.at('mlp', 'fc1'), layerNorm(p.at('mlp', 'norm'), mixed), 'f', { size: 2 * width }));
  return mixed.add(linear(p.at('mlp', 'fc2'), hidden, 'c', { size: width }));
}

function selfAttention(p: Params, map: FeatureMap, heads: number): FeatureMap {
  const normed = rearrange(layerNorm(p.at('norm'), map), 'b h w c -> b n=(h w) c');
  const project = (name: string) =>
    rearrange(linear(p.at(name), normed, 'c', { size: map.size('c') }), 'b n (head d) -> b n head d', { head: heads });
  const read = attention(
    project('query'),
    rearrange(project('key'), 'b n head d -> b t=(n) head d'),
    rearrange(project('value'), 'b n head d -> b t=(n) head d'),
    { key: 't', along: 'd' },
  );
  const out = linear(p.at('out'), rearrange(read, 'b n head d -> b n c=(head d)'), 'c', { size: map.size('c') });
  return rearrange(out, 'b (h w) c -> b h w c', { h: map.size('h') });
}

/** The attention probabilities of one layer from its own queries and keys, summed over the keys of each encoder. */
function encoderMass(seen: ReadonlyMap<string, Tensor>, masks: readonly RegionMasks[]): Tensor<'b q k', Float> {
  const found = (name: string): Tensor<string, Float> => {
    const tensor = seen.get(`${lastLayer}.${name}`);
    if (tensor === undefined) throw new TypeError(`the SVA did not show ${lastLayer}.${name}`);
    return tensor as Tensor<string, Float>;
  };
  const query = rearrange(found('q_proj').named('b q c'), 'b q (h d) -> b q h d', { h: sva.heads });
  const keys = concat(
    encoders.map((_, k) => found(`k_proj_${k}`).named('b q t c')),
    't',
  );
  const scores = einsum(
    query,
    rearrange(keys, 'b q t (h d) -> b q t h d', { h: sva.heads }),
    'b q h d, b q t h d -> b q h t',
  ).mul(1 / Math.sqrt(sva.width / sva.heads));
  const weights = reduce(softmax(scores.where(concat(masks, 't'), -3e38), 't'), 'b q h t -> b q t', 'mean');
  let start = 0;
  return stack(
    masks.map((mask) => {
      const size = mask.size('t');
      const own = reduce(slice(weights, 't', { start, size }), 'b q t -> b q', 'sum');
      start += size;
      return own;
    }),
    'k',
  );
}
