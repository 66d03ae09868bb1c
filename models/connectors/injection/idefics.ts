// Idefics: a perceiver, and gated cross-attention layers with a gated MLP inside the language model; queries and keys may be normed by head.
import { rearrange, rmsNorm, stack, type Params, type Tensor } from '../../../dsl/index.ts';
import {
  asQueries,
  asRow,
  asTokens,
  projectedAttention,
  projections,
  tokensOf,
  type Sequence,
} from '../../parts/attention.ts';
import {
  asHidden,
  asStream,
  gatedSum,
  picturesInSight,
  type GateKind,
  type Hidden,
  type Sight,
} from '../../parts/gated-attention.ts';
import { gatedMlp } from '../../parts/mlp.ts';
import { ideficsLatents, type IdeficsPerceiver } from '../../parts/idefics-perceiver.ts';
import { carried } from '../../parts/slots.ts';
import { connector, onlyMap, requiredState } from '../connector.ts';
import { noTokens } from '../visual-tokens.ts';

export interface IdeficsGated {
  readonly heads: number;
  /** Width inside the MLP. */
  readonly intermediate: number;
  readonly headNorms: boolean;
  readonly gate: GateKind;
  readonly eps: number;
}

export interface IdeficsConfig {
  /** Absent: the language model sees the maps as they are. */
  readonly perceiver?: IdeficsPerceiver | undefined;
  readonly gated: IdeficsGated;
  /** Before every how many layers of the language model the text sees pictures, from the first on. */
  readonly every: number;
}

const mlpNames = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } as const;

/** One map a picture, its class token among its cells. They are read inside the language model only. */
export const idefics = connector<IdeficsConfig>({
  name: 'idefics',
  title: 'Idefics perceiver and gated cross-attention',
  paper: 'arXiv 2306.16527',
  year: 2023,
  source: 'huggingface/transformers models/idefics/perceiver.py, modeling_idefics.py IdeficsGatedCrossAttentionLayer',
  mathematics: [
    'l ← l + MHA(LN l; [LN x ; LN l]);  l ← l + W₂ relu(W₁ LN l), six times;  m = LN l',
    'before a layer: h ← h + tanh(α) MHA(RMS h; m)  (0 where no picture is seen)',
    'h ← h + tanh(β) SwiGLU(RMS h)',
  ],
  towers: 'views',
  presets: {
    'idefics-9b': {
      config: {
        perceiver: { latents: 64, depth: 6, heads: 16, headSize: 96, headNorms: true },
        gated: { heads: 32, intermediate: 11008, headNorms: true, gate: 'number', eps: 1e-6 },
        every: 4,
      },
      maps: [[1, 257, 1280]],
      width: 4096,
      layers: 32,
    },
  },
  build: (p, maps, { perceiver }, { width }) => {
    const pictures = maps.map((map) => {
      const x = tokensOf(map);
      return perceiver === undefined ? x : asTokens(ideficsLatents(p.at('perceiver_resampler'), x, perceiver));
    });
    const media = rearrange(stack(pictures, 'm'), 'b n c m -> b m n c');
    return noTokens(media, width ?? onlyMap(maps).size('c'), { media });
  },
  inject: {
    after: ({ every }, layers) => Array.from({ length: Math.ceil(layers / every) }, (_, i) => i * every - 1),
    reads: 'hidden states of the text; latents of the picture before it',
    writes: 'hidden states of the text, by gated sums',
    apply: (p, state, { gated }, { index }) => {
      const picture = requiredState(state, 'pictures', 'idefics')();
      const { context, sight } = picturesInSight(carried(state, 'media', 'b m n c'), picture, 'its own');
      const sees = picture.gt(0);
      return {
        hidden: ideficsGatedLayer(
          p.at('gated_cross_attn_layers', index),
          state.hidden,
          { context, sight, sees },
          gated,
        ),
      };
    },
  },
});

export interface IdeficsSight {
  readonly context: Sequence;
  readonly sight: Sight;
  /** True where a position sees a picture at all. */
  readonly sees: Tensor<'b s', 'bool'>;
}

/** Gated cross-attention and a gated MLP, as a layer of its own between two of the language model. */
export function ideficsGatedLayer(
  p: Params,
  hidden: Hidden,
  { context, sight, sees }: IdeficsSight,
  config: IdeficsGated,
): Hidden {
  const { heads, intermediate, eps } = config;
  const stream = asStream(hidden);
  const own = p.at('cross_attn');
  const normed = rmsNorm(p.at('input_layernorm'), stream, { eps });
  const read = projectedAttention(own, normed, context, context, {
    names: projections,
    bias: false,
    heads,
    mask: sight,
    norm: config.headNorms
      ? (of, y) => rmsNorm(own.at(of === 'query' ? 'q_layer_norm' : 'k_layer_norm'), y, { eps })
      : undefined,
  });
  const seen = read.where(rearrange(sees, 'b s -> b q=(s)'), 0);
  const after = gatedSum(p, 'alpha_cross_attn', stream, seen, config.gate);
  const inner = asRow(asTokens(rmsNorm(p.at('post_attention_layernorm'), after, { eps })));
  const fed = gatedMlp(p.at('mlp'), inner, { ...mlpNames, hidden: intermediate, width: after.size('c') });
  return asHidden(gatedSum(p, 'alpha_dense', after, asQueries(tokensOf(fed)), config.gate));
}
