// Idefics2: a gated MLP to the language model's width, then a perceiver of three layers with grouped queries and RMSNorm.
import { concat, pad, repeat, rmsNorm, type Params, type Tensor } from '../../../dsl/index.ts';
import {
  asQueries,
  asRow,
  asTokens,
  projectedAttention,
  projections,
  tokensOf,
  type Sequence,
} from '../../parts/attention.ts';
import { gatedMlp } from '../../parts/mlp.ts';
import type { FeatureMap, Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface Idefics2Config {
  readonly latents: number;
  readonly depth: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** Width inside the gated MLP of the tokens. */
  readonly intermediate: number;
  readonly eps: number;
}

const gated = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } as const;

export const idefics2 = connector<Idefics2Config>({
  name: 'idefics2',
  title: 'Idefics2 connector',
  paper: 'arXiv 2405.02246',
  year: 2024,
  source: 'huggingface/transformers models/idefics2/modeling_idefics2.py Idefics2Connector',
  mathematics: [
    'z = SwiGLU(x)',
    'l ← l + GQA(RMS l; [RMS z ; RMS l]);  l ← l + SwiGLU(RMS l), three times',
    'y = RMS l',
  ],
  towers: 'one',
  presets: {
    'idefics2-8b': {
      config: { latents: 64, depth: 3, heads: 16, keyValueHeads: 4, headSize: 96, intermediate: 14336, eps: 1e-5 },
      maps: [[70, 70, 1152]],
      width: 4096,
    },
  },
  variants: (config, tokens) => [{ ...config, latents: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, config, { width }) => tokensOfQueries(idefics2Latents(p, onlyMap(maps), config, { width })),
});

/** `seen`: true where a patch shows the picture, row by row. */
export function idefics2Latents(
  p: Params,
  map: FeatureMap,
  config: Idefics2Config,
  options: { readonly width?: number | undefined; readonly seen?: Tensor<'b n', 'bool'> | undefined },
): Queries {
  const size = { hidden: config.intermediate, width: options.width };
  const z = tokensOf(gatedMlp(p.at('modality_projection'), map, { ...gated, ...size }));
  const own = p.at('perceiver_resampler');
  const learned = own.get('latents', 'q c', { q: config.latents, c: z.size('c') });
  const mask = options.seen === undefined ? undefined : pad(options.seen, 'n', { after: config.latents, value: 1 });
  let latents: Queries = repeat(learned, 'q c -> b q c', { b: z.sizeOf('b') });
  for (let i = 0; i < config.depth; i++) latents = layer(own.at('layers', i), latents, z, config, mask);
  return rmsNorm(own.at('norm'), latents, { eps: config.eps });
}

function layer(p: Params, latents: Queries, z: Sequence, config: Idefics2Config, mask: Tensor | undefined): Queries {
  const { heads, keyValueHeads, headSize, eps } = config;
  const normed = rmsNorm(p.at('input_latents_norm'), latents, { eps });
  const context = concat([rmsNorm(p.at('input_context_norm'), z, { eps }), asTokens(normed)], 'n');
  const read = projectedAttention(p.at('self_attn'), normed, context, context, {
    names: projections,
    bias: false,
    heads,
    keyValueHeads,
    inner: heads * headSize,
    mask,
  });
  const after = latents.add(read);
  const inner = asRow(asTokens(rmsNorm(p.at('post_attention_layernorm'), after, { eps })));
  const width = after.size('c');
  return after.add(asQueries(tokensOf(gatedMlp(p.at('mlp'), inner, { ...gated, hidden: 4 * width, width }))));
}
