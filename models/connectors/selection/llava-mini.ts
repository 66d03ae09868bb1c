// LLaVA-Mini: a few queries compress the picture; before the language model, its own kind of layers let them and the text read all patches.
import {
  concat,
  gather,
  pad,
  rearrange,
  reduce,
  repeat,
  slice,
  where,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { tokensOf } from '../../parts/attention.ts';
import { gridResampler } from '../../parts/grid-resampler.ts';
import { mlp } from '../../parts/mlp.ts';
import { placesOf } from '../../parts/selection.ts';
import { carried } from '../../parts/slots.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { decoderLayers } from '../../decoders/decoder.ts';
import { llama } from '../../decoders/llama.ts';
import { anglesAt } from '../../decoders/rope.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap, type InjectionState } from '../connector.ts';
import { mapTokens, tokensOfQueries } from '../visual-tokens.ts';

export interface CompressorConfig {
  /** Side of the grid of queries. */
  readonly side: number;
  readonly heads: number;
  readonly eps: number;
}

export interface LlavaMiniConfig extends CompressorConfig {
  /** Layers that text and queries go through together with all patches before the language model. */
  readonly fusion: number;
  /** `config.json` of the language model, whose layers these are. */
  readonly language: Readonly<Record<string, number>>;
}

const vicuna7b = {
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 32000,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 4096,
};

export const llavaMini = connector<LlavaMiniConfig>({
  name: 'llava-mini',
  title: 'LLaVA-Mini compression and pre-fusion',
  paper: 'arXiv 2501.03895',
  year: 2025,
  source: 'ictnlp/LLaVA-Mini llavamini/model/llavamini_arch.py Resampler, encode_images_mini',
  mathematics: [
    'c = MLP(MHA(LN Q + P; LN x + P′, LN x)),  u = MLP x',
    '[u ; c ; text] ← four causal decoder layers',
    'the language model reads the new c and text',
  ],
  towers: 'one',
  presets: {
    'llava-mini-7b-1': {
      config: { side: 1, heads: 8, eps: 1e-5, fusion: 4, language: vicuna7b },
      maps: [[24, 24, 1024]],
      width: 4096,
      layers: 32,
    },
    'llava-mini-7b-4': {
      config: { side: 2, heads: 8, eps: 1e-5, fusion: 4, language: vicuna7b },
      maps: [[24, 24, 1024]],
      width: 4096,
      layers: 32,
    },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, config, { width }) => {
    const map = onlyMap(maps);
    const project = (x: FeatureMap) => mlp(p.at('mm_projector'), x, { linears: [0, 2], width });
    const results = gridResampler(p.at('compressor'), map, {
      ...config,
      positions: 'queries and keys',
      size: map.size('c'),
    });
    const few = tokensOf(project(rearrange(results, 'b (h q) c -> b h w=(q) c', { h: 1 })));
    const tokens = tokensOfQueries(rearrange(few, 'b n c -> b q=(n) c'));
    return { ...tokens, carries: { all: mapTokens(project(map)).tokens, few: tokens.tokens } };
  },
  inject: {
    after: () => [-1],
    reads: 'embeddings of the prompt; all patches',
    writes: 'embeddings of the visual tokens and of the text',
    apply: (p, state, config) => ({ hidden: fused(p, state, config) }),
  },
});

/** Patches, queries and the prompt without its visual positions through the layers; queries and text, back in their places. */
function fused(
  p: Params,
  { hidden, slots, ...state }: InjectionState,
  { fusion, language }: LlavaMiniConfig,
): InjectionState['hidden'] {
  const [all, few] = [
    carried({ hidden, slots, ...state }, 'all', 'b n e'),
    carried({ hidden, slots, ...state }, 'few', 'b n e'),
  ];
  const before = rearrange(concat([all, few], 'n'), 'b n e -> b s=(n) e');
  const front = before.size('s');
  const text = slots.lt(0);
  const total = front + hidden.size('s');
  const seen = pad(text, 's', { before: front, value: 1 });
  const model = llama(language);
  // What is left out is not counted either.
  const upTo = repeat(seen.cast('i32'), 'b s -> b r s', { r: total });
  const positions = rearrange(reduce(upTo.where(earlier(upTo), 0), 'b r s -> b r', 'sum'), 'b r -> b s=(r)')
    .sub(1)
    .max(0);
  const turn = {
    angles: anglesAt(positions, model.config.rope, total),
    length: total,
    mask: rearrange(seen, 'b s -> b t=(s)'),
    cache: undefined,
    inspect: undefined,
  };
  const layers = decoderLayers(fusionLayers(p), model, turn);
  let x: InjectionState['hidden'] = concat([before, hidden], 's');
  for (let i = 0; i < fusion; i++) x = layers.layer(x, i);
  const queries = rearrange(slice(x, 's', { start: all.size('n'), size: few.size('n') }), 'b s e -> b n=(s) e');
  return where(text, slice(x, 's', { start: front }), gather(queries, slots, 'n'));
}

/** True where s is not behind r. */
function earlier(like: Tensor<'b r s', 'i32'>): Tensor<'r s', 'bool'> {
  return repeat(placesOf(like, 'r'), 'r -> r s', { s: like.sizeOf('s') }).ge(placesOf(like, 's'));
}

/** The checkpoint's name for what the decoder knows as `layers`. */
function fusionLayers(p: Params): Params {
  return { ...p, at: (_, ...path) => p.at('prefusion_layers', ...path) };
}
