// DeepSeek-VL's hybrid aligner: SAM's map through two strided convolutions beside SigLIP's, each to half the width, GELU, a linear map.
import { concat, linear, resize } from '../../../dsl/index.ts';
import { samCompressor } from '../../parts/convolutions.ts';
import { activate } from '../../parts/mlp.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface DeepSeekHybridConfig {
  /** Channels of the two convolutions; with a checkpoint they may be left to that. */
  readonly channels?: readonly [number, number] | undefined;
}

/** Map 0 is the low-resolution tower's, map 1 the high-resolution one's. */
export const deepseekVlHybrid = connector<DeepSeekHybridConfig>({
  name: 'deepseek-vl-hybrid',
  title: 'DeepSeek-VL hybrid aligner',
  paper: 'arXiv 2403.05525',
  year: 2024,
  source: 'huggingface/transformers models/deepseek_vl_hybrid/modeling_deepseek_vl_hybrid.py DeepseekVLHybridAligner',
  mathematics: [
    'z = conv_s2(conv_s2(bilinear(high), 4 × the low grid))',
    'y = W₂ gelu([W_h z ; W_l low]), each to half the width',
  ],
  towers: 'many',
  presets: {
    'deepseek-vl-7b': {
      config: { channels: [512, 1024] },
      maps: [
        [24, 24, 1024],
        [64, 64, 256],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { channels }, { width }) => {
    const low = onlyMap(maps);
    const high = (maps[1] ?? low).cast('f32');
    const grid = { height: 4 * low.size('h'), width: 4 * low.size('w'), mode: 'bilinear' } as const;
    const large = resize(high, grid).cast(low.dtype);
    const z = samCompressor(p.at('high_res_vision_proj'), large, { names: ['conv1', 'conv2'], channels });
    const half = sized(width === undefined ? undefined : width / 2);
    const a = p.at('aligner');
    const both = [linear(a.at('high_res_vision_proj'), z, 'c', half), linear(a.at('vision_proj'), low, 'c', half)];
    return mapTokens(linear(a.at('proj'), activate(concat(both, 'c'), 'gelu'), 'c', sized(width)));
  },
});
