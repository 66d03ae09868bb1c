// Mini-Gemini's patch info mining: each low-resolution token attends to its own square of a high-resolution map.
import { layerNorm, linear, OpabiniaError, type Params } from '../../../dsl/index.ts';
import { headAttention } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { cellQueries, cellResults, windowTokens } from '../../parts/windows.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MiniGeminiConfig {
  readonly eps: number;
}

/** Map 0 is the low-resolution tower's, map 1 the high-resolution one's, whose sides are multiples of map 0's. */
export const miniGemini = connector<MiniGeminiConfig>({
  name: 'mini-gemini',
  title: 'Mini-Gemini patch info mining',
  paper: 'arXiv 2403.18814',
  year: 2024,
  source: 'dvlab-research/MGM mgm/model/mgm_arch.py unified_resampler',
  mathematics: [
    'q = W_q LN(x),  k = W_k LN(h), v = W_v LN(h) of the high-resolution square',
    'm = softmax(q kᵀ / √c) v',
    'y = W₂ gelu(W₁ (x + m))',
  ],
  towers: 'many',
  presets: {
    'mgm-7b': {
      config: { eps: 1e-5 },
      maps: [
        [24, 24, 1024],
        [192, 192, 2880],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { eps }, { width, inspect }) => {
    const low = onlyMap(maps);
    const high = maps[1] ?? low;
    const [rows, columns] = [low.size('h'), low.size('w')];
    const side = high.size('h') / rows;
    if (!Number.isInteger(side) || high.size('w') !== side * columns)
      throw new OpabiniaError(
        `a map of ${high.size('h')}×${high.size('w')} does not divide into ${rows}×${columns} squares`,
        { op: 'mini-gemini', advice: `give one of ${Math.ceil(side) * rows}×${Math.ceil(side) * columns}` },
      );
    const size = low.size('c');
    const of = (name: string, map: FeatureMap) => projected(p.at(`vlm_uni_${name}_projector`), map, size, eps);
    const query = cellQueries(of('query', low));
    const [k, v] = [windowTokens(of('aux', high), side), windowTokens(of('val', high), side)];
    const mined = cellResults(headAttention(query, k, v, { heads: 1 }), rows, columns);
    inspect?.('mined', mined);
    return mapTokens(mlp(p.at('mm_projector'), low.add(mined), { linears: [0, 2], width }));
  },
});

function projected(p: Params, map: FeatureMap, size: number, eps: number): FeatureMap {
  return linear(p.at(1), layerNorm(p.at(0), map, { eps }), 'c', { size });
}
