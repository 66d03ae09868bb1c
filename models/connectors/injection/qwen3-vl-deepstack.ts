// Qwen3-VL: a merger behind the tower, and one for each of three layers inside it, whose tokens are added in the first layers of the language model.
import { patchMerger, merger, otherMerges } from '../../parts/space-to-depth.ts';
import { addedAtSlots } from '../../parts/slots.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Qwen3DeepStackConfig {
  readonly merge: number;
  readonly eps: number;
  /** Hidden states of the tower whose mergers add to the language model, in order: 9 is what leaves block 8. */
  readonly levels: readonly number[];
}

const linears = ['linear_fc1', 'linear_fc2'] as const;

export const qwen3VlDeepStack = connector<Qwen3DeepStackConfig>({
  name: 'qwen3-vl-deepstack',
  title: 'Qwen3-VL mergers with DeepStack',
  paper: 'arXiv 2511.21631',
  year: 2025,
  source: 'huggingface/transformers models/qwen3_vl/modeling_qwen3_vl.py Qwen3VLTextModel._deepstack_process',
  mathematics: [
    'y = W₂ gelu(W₁ s2d(LN x))',
    'd_l = W₂ gelu(W₁ LN(s2d h_l)), l = 8, 16, 24',
    'd_l is added to the visual positions after layers 0, 1, 2',
  ],
  towers: 'one',
  presets: {
    'qwen3-vl-8b': {
      config: { merge: 2, eps: 1e-6, levels: [9, 17, 25] },
      maps: [[32, 32, 1152]],
      width: 4096,
      layers: 36,
    },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps, levels }, context) => {
    const tower = required(context, 'tower', 'qwen3-vl-deepstack')(0);
    const norm = { kind: 'layer', path: 'norm', eps } as const;
    const main = mapTokens(patchMerger(p.at('merger'), onlyMap(maps), { merge, norm, linears }, context));
    const behind = { merge, linears, hidden: 'merged', norm: { ...norm, place: 'after' } } as const;
    const others = levels.map((level, i) => {
      const merged = merger(p.at('deepstack_merger_list', i), tower.hidden(level), behind, { width: context.width });
      return [`level_${i}`, mapTokens(merged).tokens] as const;
    });
    return { ...main, carries: Object.fromEntries(others) };
  },
  inject: {
    after: ({ levels }) => levels.map((_, i) => i),
    reads: 'hidden states at visual positions; the tokens of one level a layer',
    writes: 'their sum, at visual positions',
    apply: (_, state, __, { index }) => ({ hidden: addedAtSlots(state, `level_${index}`) }),
  },
});
