// Flamingo: a perceiver for each picture; between the layers of the language model gated cross-attention of the text to the picture before it.
import {
  layerNorm,
  rearrange,
  repeat,
  slice,
  stack,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import {
  asHidden,
  asStream,
  gatedSum,
  picturesInSight,
  type Hidden,
  type PictureOf,
} from '../../parts/gated-attention.ts';
import {
  packedKeyValueAttention,
  perceiver,
  perceiverFeedForward,
  type PerceiverAttention,
  type PerceiverConfig,
} from '../../parts/perceiver.ts';
import { carried } from '../../parts/slots.ts';
import { connector, onlyMap, requiredState } from '../connector.ts';
import { noTokens } from '../visual-tokens.ts';

export interface FlamingoConfig extends PerceiverConfig {
  /** Before every how many layers of the language model the text sees pictures. */
  readonly every: number;
  /** Whether text sees only the picture before it, or all before it. */
  readonly immediate: boolean;
  /** Learned vectors, one for each frame of a video that there may be, and one for each picture. */
  readonly frames?: number | undefined;
  readonly pictures?: number | undefined;
}

/** Frames of pictures: pictures, frames, tokens. */
export type Media = Tensor<'b m f n c', Float>;

const released = { latents: 64, depth: 6, heads: 8, headSize: 64, expansion: 4, immediate: true } as const;

/** One map a picture. They are read inside the language model only: the prompt has an `<image>` of the text's own vocabulary for each. */
export const flamingo = connector<FlamingoConfig>({
  name: 'flamingo',
  title: 'Flamingo perceiver and gated cross-attention',
  paper: 'arXiv 2204.14198',
  year: 2022,
  source: 'mlfoundations/open_flamingo open_flamingo/src/helpers.py PerceiverResampler, GatedCrossAttentionBlock',
  mathematics: [
    'l ← l + MHA(LN l; [LN x ; LN l]);  l ← l + MLP(LN l), six times;  m = LN l',
    'before a layer: h ← h + tanh(α) MHA(LN h; m of the picture before)',
    'h ← h + tanh(β) MLP(LN h)',
  ],
  towers: 'views',
  presets: {
    'openflamingo-3b': { config: { ...released, every: 1 }, maps: [[16, 16, 1024]], width: 2048, layers: 24 },
    'openflamingo-9b': { config: { ...released, every: 4 }, maps: [[16, 16, 1024]], width: 4096, layers: 32 },
  },
  build: (p, maps, config, { width }) => {
    const own = p.at('perceiver');
    const pictures = maps.map((map) => rearrange(map, 'b h w c -> b n=(h w) c'));
    const stacked = rearrange(stack(pictures, 'm'), 'b n c m -> b m n c');
    const media = flamingoLatents(own, repeat(stacked, 'b m n c -> b m f n c', { f: 1 }), config);
    return noTokens(media, width ?? onlyMap(maps).size('c'), { media });
  },
  inject: {
    after: ({ every }, layers) =>
      Array.from({ length: layers }, (_, layer) => layer)
        .filter((layer) => (layer + 1) % every === 0)
        .map((layer) => layer - 1),
    reads: 'hidden states of the text; latents of the picture before it',
    writes: 'hidden states of the text, by gated sums',
    apply: (p, state, config, { layer }) => {
      const media = carried(state, 'media', 'b m n c');
      const picture = requiredState(state, 'pictures', 'flamingo')();
      return {
        hidden: gatedCrossAttention(p.at('gated_cross_attn_layers', layer + 1), state.hidden, media, picture, config),
      };
    },
  },
});

/** Latents of each picture; its frames are told apart by a learned vector, and so are the pictures. */
export function flamingoLatents(p: Params, media: Media, config: FlamingoConfig): Tensor<'b m n c', Float> {
  const c = media.size('c');
  const placed = [
    (x: Media) =>
      config.frames === undefined
        ? x
        : x.add(slice(p.get('frame_embs', 'f c', { f: config.frames, c }), 'f', { size: x.size('f') })),
    (x: Media) =>
      config.pictures === undefined
        ? x
        : x.add(
            slice(p.get('media_time_embs', 'm i c', { m: config.pictures, i: 1, c }).at('i', 0), 'm', {
              size: x.size('m'),
            }),
          ),
  ].reduce((x, add) => add(x), media);
  const latents = perceiver(p, rearrange(placed, 'b m f n c -> b=(b m) n=(f n) c'), config);
  return rearrange(latents, '(b m) q c -> b m n=(q) c', { m: media.size('m') });
}

/** One gated layer. Text with no picture before it takes nothing from the attention, unless it may see all. */
export function gatedCrossAttention(
  p: Params,
  hidden: Hidden,
  media: Tensor<'b m n c', Float>,
  picture: PictureOf,
  { immediate, expansion, ...attention }: PerceiverAttention & Pick<FlamingoConfig, 'immediate' | 'expansion'>,
): Hidden {
  const { context, sight } = picturesInSight(media, picture, immediate ? 'its own' : 'all before');
  const stream = asStream(hidden);
  const own = p.at('attn');
  const read = packedKeyValueAttention(own, layerNorm(own.at('norm'), stream), context, { ...attention, mask: sight });
  const seen = immediate ? read.where(rearrange(picture, 'b s -> b q=(s)').gt(0), 0) : read;
  const after = gatedSum(p, 'attn_gate', stream, seen);
  return asHidden(gatedSum(p, 'ff_gate', after, perceiverFeedForward(p.at('ff'), after, expansion)));
}
