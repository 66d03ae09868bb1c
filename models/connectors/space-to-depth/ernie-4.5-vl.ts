// Ernie 4.5 VL: squares of patches through an MLP with norm, pairs of frames through another, a linear map, RMSNorm.
import { concat, layerNorm, linear, rmsNorm, type Params } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { joinTokens, mapTokens } from '../visual-tokens.ts';

export interface Ernie45VlConfig {
  readonly merge: number;
  /** Of the norms inside. */
  readonly eps: number;
  /** Of the last norm, which is the language model's. */
  readonly rmsEps: number;
}

/**
 * The maps are the frames of one video, in order; a picture is one map, and stands for both of its pair. As in the code, the last of an
 * odd number of frames is not read.
 */
export const ernie45vl = connector<Ernie45VlConfig>({
  name: 'ernie-4.5-vl',
  title: 'Ernie 4.5 VL resampler',
  paper: 'https://yiyan.baidu.com/blog/publication/ERNIE_Technical_Report.pdf',
  year: 2025,
  source:
    'huggingface/transformers models/ernie4_5_vl_moe/modeling_ernie4_5_vl_moe.py Ernie4_5_VLMoeVariableResolutionResamplerModel',
  mathematics: ['s_t = LN(W₂ gelu(W₁ s2d(x_t)))', 'u = LN(W₄ gelu(W₃ [s_t ; s_{t+1}]))', 'y = RMS(W₅ u)'],
  towers: 'views',
  presets: {
    'ernie-4.5-vl-28b-a3b': { config: { merge: 2, eps: 1e-6, rmsEps: 1e-5 }, maps: [[36, 36, 1280]], width: 2560 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps, rmsEps }, { width }) => {
    const frames = maps.length > 1 ? maps.slice(0, maps.length - (maps.length % 2)) : maps;
    const spatial = frames.map((map) => normedMlp(p.at('spatial_linear'), spaceToDepth(map, merge), undefined, eps));
    const pairs = spatial.filter((_, t) => t % 2 === 0).map((first, i) => [first, spatial[2 * i + 1] ?? first]);
    return joinTokens(
      pairs.map((pair, view) => {
        const u = normedMlp(p.at('temporal_linear'), concat(pair, 'c'), pair[0]?.size('c'), eps);
        return mapTokens(rmsNorm(p.at('after_norm'), linear(p.at('mlp'), u, 'c', sized(width)), { eps: rmsEps }), view);
      }),
    );
  },
});

/** LN(W₂ gelu(W₁ x)), as wide as x unless told otherwise. */
function normedMlp(p: Params, x: FeatureMap, size = x.size('c'), eps: number): FeatureMap {
  const inner = activate(linear(p.at('fc1'), x, 'c', { size }), 'gelu');
  return layerNorm(p.at('ln'), linear(p.at('fc2'), inner, 'c', { size }), { eps });
}
