// FastV: after an early layer of the language model only the visual tokens stay that its last token looks at.
import { gather, rearrange, where, type Float, type Tensor } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { ascending, highest, keptMask } from '../../parts/selection.ts';
import { carried } from '../../parts/slots.ts';
import { connector, onlyMap, requiredState, type InjectionResult, type InjectionState } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface FastVConfig {
  /** The layer before which tokens are dropped, counted from 0. */
  readonly layer: number;
  /** Visual tokens that stay. */
  readonly keep: number;
  /** drop: the others are gone; mask: they stay and later layers do not attend to them. */
  readonly form: 'drop' | 'mask';
}

const maps = [[24, 24, 1024]] as const;

export const fastV = connector<FastVConfig>({
  name: 'fastv',
  title: 'FastV',
  paper: 'arXiv 2403.06764',
  year: 2024,
  source: 'pkunlp-icler/FastV src/transformers/src/transformers/models/llama/modeling_llama.py',
  mathematics: [
    'tokens: W₂ gelu(W₁ x)',
    's = mean over heads of layer K − 1’s attention of the last token',
    'from layer K on: text, and the R visual tokens of highest s, in order, at their old positions',
  ],
  towers: 'one',
  presets: {
    'fastv-llava-1.5-7b-k2-50': { config: { layer: 2, keep: 288, form: 'drop' }, maps, width: 4096, layers: 32 },
    'fastv-llava-1.5-7b-k2-25': { config: { layer: 2, keep: 144, form: 'drop' }, maps, width: 4096, layers: 32 },
  },
  build: (p, given, _, { width }) => {
    const tokens = mapTokens(mlp(p.at('mm_projector'), onlyMap(given), { linears: [0, 2], width }));
    return { ...tokens, carries: { visual: tokens.tokens } };
  },
  inject: {
    after: ({ layer }) => [layer - 1],
    reads: 'attention of the last token in the layer before',
    writes: 'which visual tokens the later layers have',
    apply: (_, state, { keep, form }) =>
      keptVisual(state, requiredState(state, 'lastAttention', 'fastv')(), {
        from: carried(state, 'visual', 'b n e').size('n'),
        keep,
        form,
      }),
  },
});

/** Text, and the `keep` visual tokens of `from` with the highest scores, in order. */
export function keptVisual(
  { hidden, slots }: Pick<InjectionState, 'hidden' | 'slots'>,
  scores: Tensor<'b s', Float>,
  { from, keep, form }: { readonly from: number; readonly keep: number; readonly form: 'drop' | 'mask' },
): InjectionResult {
  // No weight is above 1: text comes first.
  const ranked = rearrange(where(slots.ge(0), scores.cast('f32'), 2), 'b s -> b n=(s)');
  const chosen = highest(ranked, hidden.size('s') - from + keep);
  if (form === 'mask') return { hidden, seen: rearrange(keptMask(chosen, ranked), 'b n -> b s=(n)') };
  const kept = rearrange(ascending(chosen), 'b k -> b t=(k)');
  return {
    hidden: rearrange(gather(hidden, kept, 's'), 'b t e -> b s=(t) e'),
    kept: rearrange(kept, 'b t -> b s=(t)'),
  };
}
