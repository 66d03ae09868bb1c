// PyramidDrop: before some layers of the language model a share of the visual tokens is dropped: those the last token will look at least.
import { mlp } from '../../parts/mlp.ts';
import { carried } from '../../parts/slots.ts';
import { connector, onlyMap, requiredState } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';
import { keptVisual } from './fastv.ts';

export interface PyramidDropConfig {
  /** Layers before which tokens are dropped, counted from 0. */
  readonly layers: readonly number[];
  /** Shares of the visual tokens that there are before each of them, and behind the last. */
  readonly ratios: readonly number[];
}

export const pyramidDrop = connector<PyramidDropConfig>({
  name: 'pyramiddrop',
  title: 'PyramidDrop',
  paper: 'arXiv 2410.17247',
  year: 2024,
  source: 'Cooperx521/PyramidDrop llava/model/modeling_llama_pdrop.py pdrop_rank_drop',
  mathematics: [
    'tokens: W₂ gelu(W₁ x)',
    's = mean over heads of the attention that the last token would have in the next layer',
    'that layer has text, and the λ n visual tokens of highest s, in order, numbered anew',
  ],
  towers: 'one',
  presets: {
    'pyramiddrop-llava-1.5-7b': {
      config: { layers: [8, 16, 24], ratios: [1, 0.5, 0.25, 0.125] },
      maps: [[24, 24, 1024]],
      width: 4096,
      layers: 32,
    },
  },
  build: (p, maps, _, { width }) => {
    const tokens = mapTokens(mlp(p.at('mm_projector'), onlyMap(maps), { linears: [0, 2], width }));
    return { ...tokens, carries: { visual: tokens.tokens } };
  },
  inject: {
    after: ({ layers }) => layers.map((layer) => layer - 1),
    reads: 'attention of the last token in the layer that follows',
    writes: 'which visual tokens the later layers have',
    apply: (_, state, { ratios }, { index }) => {
      const all = carried(state, 'visual', 'b n e').size('n');
      const left = (stage: number) => Math.floor(all * (ratios[stage] ?? 1));
      const scores = requiredState(state, 'nextAttention', 'pyramiddrop')();
      const kept = keptVisual(state, scores, { from: left(index), keep: left(index + 1), form: 'drop' });
      return { ...kept, renumbered: true };
    },
  },
});
