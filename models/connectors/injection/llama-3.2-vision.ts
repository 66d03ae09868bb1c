// Llama 3.2 Vision: the tower's layers side by side, a linear map, and layers of gated cross-attention between those of the language model.
import { linear, rearrange, rmsNorm, stack, type Params, type Tensor } from '../../../dsl/index.ts';
import {
  asQueries,
  asRow,
  asTokens,
  projectedAttention,
  projections,
  tokensOf,
  type Sequence,
} from '../../parts/attention.ts';
import { asHidden, asStream, gatedSum, picturesInSight, type Hidden, type Sight } from '../../parts/gated-attention.ts';
import { gatedMlp } from '../../parts/mlp.ts';
import { carried } from '../../parts/slots.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap, requiredState } from '../connector.ts';
import { noTokens } from '../visual-tokens.ts';

export interface MllamaLayer {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** Width inside the MLP. */
  readonly intermediate: number;
  readonly eps: number;
}

export interface MllamaConfig extends MllamaLayer {
  /** Numbers of the added layers, counted among all. */
  readonly added: readonly number[];
}

const names = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } as const;
const released = { heads: 32, keyValueHeads: 8, headSize: 128, intermediate: 14336, eps: 1e-5 } as const;

/** One map a tile, its channels those of six layers of the tower. They are read inside the language model only. */
export const llama32Vision = connector<MllamaConfig>({
  name: 'llama-3.2-vision',
  title: 'Llama 3.2 Vision cross-attention layers',
  paper: 'arXiv 2407.21783',
  year: 2024,
  source: 'huggingface/transformers models/mllama/modeling_mllama.py MllamaCrossAttentionDecoderLayer',
  mathematics: [
    'v = W x of all tiles',
    'h ← h + tanh(α) GQA(RMS h; v), queries and keys normed by head',
    'h ← h + tanh(β) SwiGLU(RMS h)  (0 where no picture is seen)',
  ],
  towers: 'views',
  presets: {
    'llama-3.2-11b-vision': {
      config: { ...released, added: [3, 8, 13, 18, 23, 28, 33, 38] },
      maps: Array.from({ length: 4 }, () => [1, 1601, 7680] as const),
      width: 4096,
      layers: 32,
    },
  },
  build: (p, maps, _, { width }) => {
    const projected = maps.map((map) => tokensOf(linear(p.at('multi_modal_projector'), map, 'c', sized(width))));
    const media = rearrange(stack(projected, 'm'), 'b n c m -> b m n c');
    return noTokens(media, width ?? onlyMap(maps).size('c'), { media });
  },
  inject: {
    // Each added layer moves the numbers of those behind it on by one.
    after: ({ added }) => added.map((layer, i) => layer - i - 1),
    reads: 'hidden states of the text; all tiles of the picture before it',
    writes: 'hidden states of the text, by gated sums',
    apply: (p, state, config, { index }) => {
      const picture = requiredState(state, 'pictures', 'llama-3.2-vision')();
      const media = carried(state, 'media', 'b m n c');
      // All tiles are of the one picture that there is.
      const tiles = rearrange(media, 'b (k m) n c -> b m=(k) n=(m n) c', { k: 1 });
      // A position before the picture attends to it as well: its mask is all zeros in the original, and only its MLP is left out.
      const { context, sight } = picturesInSight(tiles, picture.max(1), 'all before');
      const own = p.at('language_model', 'layers', config.added[index] ?? 0);
      return { hidden: mllamaCrossLayer(own, state.hidden, { context, sight, sees: picture.gt(0) }, config) };
    },
  },
});

/** A row that sees no picture attends as `sight` has it, and has no MLP. */
export function mllamaCrossLayer(
  p: Params,
  hidden: Hidden,
  { context, sight, sees }: { readonly context: Sequence; readonly sight: Sight; readonly sees: Tensor<'b s', 'bool'> },
  { heads, keyValueHeads, headSize, intermediate, eps }: MllamaLayer,
): Hidden {
  const stream = asStream(hidden);
  const own = p.at('cross_attn');
  const read = projectedAttention(own, rmsNorm(p.at('input_layernorm'), stream, { eps }), context, context, {
    names: projections,
    bias: false,
    heads,
    keyValueHeads,
    inner: heads * headSize,
    mask: sight,
    norm: (of, y) => rmsNorm(own.at(of === 'query' ? 'q_norm' : 'k_norm'), y, { eps }),
  });
  const after = gatedSum(p, 'cross_attn_attn_gate', stream, read);
  const inner = asRow(asTokens(rmsNorm(p.at('post_attention_layernorm'), after, { eps })));
  const fed = asQueries(
    tokensOf(gatedMlp(p.at('mlp'), inner, { ...names, hidden: intermediate, width: after.size('c') })),
  );
  const shown = fed.where(rearrange(sees, 'b s -> b q=(s)'), 0);
  return asHidden(gatedSum(p, 'cross_attn_mlp_gate', after, shown));
}
