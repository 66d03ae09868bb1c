// LLaVA-UHD v4: squares of patches become one early inside the tower, by attention within the square and an MLP; again behind it.
import { layerNorm } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, required } from '../connector.ts';
import { joinTokens, mapTokens } from '../visual-tokens.ts';
import { windowMerger, type WindowMergerConfig } from './minicpm-v-4.6.ts';

export interface LlavaUhd4Config {
  /** The merger inside the tower, and the block behind which it stands. */
  readonly inside: WindowMergerConfig & { readonly after: number };
  /** Side of the square that becomes one token behind the tower. */
  readonly merge: number;
  readonly eps: number;
}

/** One map a slice, the whole picture among them; the rest of the tower runs on what the early merger leaves. */
export const llavaUhd4 = connector<LlavaUhd4Config>({
  name: 'llava-uhd-v4',
  title: 'LLaVA-UHD v4 early compression',
  paper: 'arXiv 2605.08985',
  year: 2026,
  source: 'THUMAI-Lab/LLaVA-UHD-v4; parameters are named as in huggingface/transformers models/minicpmv4_6',
  mathematics: [
    'behind an early block: u = x + MHA(LN x) in each 2 × 2 square;  s = mean u + W₂ gelu_tanh(W₁ LN(s2d u))',
    'h = the rest of the tower on s',
    'y = W₄ gelu(W₃ LN(s2d h))',
  ],
  towers: 'views',
  presets: {
    'llava-uhd-v4-slices': {
      config: { inside: { merge: 2, heads: 16, intermediate: 4304, eps: 1e-6, after: 6 }, merge: 2, eps: 1e-6 },
      maps: Array.from({ length: 5 }, () => [32, 32, 1152] as const),
      width: 4096,
    },
  },
  variants: (config) =>
    [1, 2, 4].flatMap((inner) =>
      [1, 2, 4].map((merge) => ({ ...config, merge, inside: { ...config.inside, merge: inner } })),
    ),
  build: (p, maps, { inside, merge, eps }, context) => {
    const tower = required(context, 'tower', 'llava-uhd-v4');
    return joinTokens(
      maps.map((_, view) => {
        const early = windowMerger(p.at('vit_merger'), tower(view).hidden(inside.after), inside);
        const s = spaceToDepth(tower(view).resume(inside.after, early), merge);
        const own = p.at('mlp', 0);
        const normed = layerNorm(own.at('pre_norm'), s, { eps });
        const options = { linears: ['linear_1', 'linear_2'], hidden: s.size('c'), width: context.width };
        return mapTokens(mlp(own, normed, options), view);
      }),
    );
  },
});
