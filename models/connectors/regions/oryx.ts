// Oryx's dynamic compressor: the mean of a square attends to the square's patches, which are the values as they are; their sum.
import { avgPool2d, linear } from '../../../dsl/index.ts';
import { headAttention } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { otherMerges, requireSquares } from '../../parts/space-to-depth.ts';
import { cellQueries, cellResults, windowTokens } from '../../parts/windows.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface OryxConfig {
  /** Side of the square that becomes one token: 1 in pictures, 2 in videos, 4 in long ones. */
  readonly merge: number;
  /** Width of queries and keys. */
  readonly inner: number;
  /** Whether a two-layer MLP to the language model follows. */
  readonly projector: boolean;
}

const preset = (merge: number) => ({
  config: { merge, inner: 256, projector: true },
  maps: [[32, 32, 1152]] as const,
  width: 3584,
});

export const oryx = connector<OryxConfig>({
  name: 'oryx',
  title: 'Oryx dynamic compressor',
  paper: 'arXiv 2409.12961',
  year: 2024,
  source: 'Oryx-mllm/Oryx oryx/model/multimodal_resampler/perceiver.py DynamicCompressor',
  mathematics: ['m = mean of the r × r square s', 'u = m + softmax(W_q m (W_k s)ᵀ / √d) s', 'y = W₂ gelu(W₁ u)'],
  towers: 'one',
  presets: { 'oryx-7b-image': preset(1), 'oryx-7b-video': preset(2), 'oryx-7b-long-video': preset(4) },
  variants: otherMerges,
  build: (p, maps, { merge, inner, projector }, { width }) => {
    const map = onlyMap(maps);
    requireSquares('oryx', map, merge);
    const pooled = merge === 1 ? map : avgPool2d(map, { kernel: merge });
    const query = cellQueries(linear(p.at('vlm_query_projector'), pooled, 'c', { size: inner }));
    const key = windowTokens(linear(p.at('vlm_key_projector'), map, 'c', { size: inner }), merge);
    const read = headAttention(query, key, windowTokens(map, merge), { heads: 1 });
    const u = pooled.add(cellResults(read, pooled.size('h'), pooled.size('w')));
    return mapTokens(projector ? mlp(p.at('mm_projector'), u, { linears: [0, 2], width }) : u);
  },
});
