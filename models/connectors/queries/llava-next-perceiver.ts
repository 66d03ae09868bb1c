// LLaVA-NeXT's perceiver resampler: Flamingo's, between the tower and the MLP.
import { mlp } from '../../parts/mlp.ts';
import { asQueries, asRow, asTokens, tokensOf } from '../../parts/attention.ts';
import { perceiver, type PerceiverConfig } from '../../parts/perceiver.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface LlavaNextPerceiverConfig extends PerceiverConfig {
  /** Whether a two-layer MLP to the language model follows. */
  readonly projector: boolean;
}

export const llavaNextPerceiver = connector<LlavaNextPerceiverConfig>({
  name: 'llava-next-perceiver',
  title: 'LLaVA-NeXT perceiver resampler',
  paper: 'arXiv 2204.14198',
  year: 2024,
  source: 'LLaVA-VL/LLaVA-NeXT llava/model/multimodal_resampler/perceiver.py PerceiverResampler',
  mathematics: ['l ← l + MHA(LN l; [LN x ; LN l]);  l ← l + MLP(LN l)', 'y = MLP(LN l)'],
  towers: 'one',
  presets: {
    'llava-next-perceiver-32': {
      config: { latents: 32, depth: 3, heads: 8, headSize: 64, expansion: 4, projector: true },
      maps: [[24, 24, 1024]],
      width: 4096,
    },
  },
  variants: (config, tokens) => [{ ...config, latents: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, { projector, ...config }, { width }) => {
    const latents = perceiver(p.at('perceiver'), tokensOf(onlyMap(maps)), config);
    if (!projector) return tokensOfQueries(latents);
    const projected = mlp(p.at('mm_projector'), asRow(asTokens(latents)), { linears: [0, 2], width });
    return tokensOfQueries(asQueries(tokensOf(projected)));
  },
});
