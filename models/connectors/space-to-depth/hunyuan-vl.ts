// Hunyuan-VL: RMSNorm, two convolutions, newlines in their space, a linear map, learned begin and end, RMSNorm over all of it.
import { conv2d, linear, rmsNorm } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { otherMerges, requireSquares } from '../../parts/space-to-depth.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { eachToken, joinTokens, markToken, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface HunyuanVlConfig {
  /** `spatial_merge_size`. */
  readonly merge: number;
  readonly eps: number;
}

export const hunyuanVl = connector<HunyuanVlConfig>({
  name: 'hunyuan-vl',
  title: 'Hunyuan-VL merger',
  paper: 'https://github.com/Tencent-Hunyuan/HunyuanOCR',
  year: 2025,
  source: 'huggingface/transformers models/hunyuan_vl/modeling_hunyuan_vl.py HunYuanVLVisionPatchMerger',
  mathematics: [
    's = conv₁ₓ₁(gelu(conv_{k×k, stride k}(RMS(x)))),  C → 2C → 4C',
    't = W [each row of s, newline]',
    'y = RMS([begin ; t ; end])',
  ],
  towers: 'one',
  presets: {
    'hunyuan-ocr-1b': { config: { merge: 2, eps: 1e-5 }, maps: [[32, 32, 1152]], width: 1024 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps }, { width }) => {
    const map = onlyMap(maps);
    requireSquares('hunyuan-vl', map, merge);
    const c = map.size('c');
    const normed = rmsNorm(p.at('before_rms'), map, { eps });
    const down = conv2d(p.at('proj_conv'), normed, { out: 'c', size: 2 * c, kernel: merge, stride: merge });
    const s = conv2d(p.at('proj_out'), activate(down, 'gelu'), { out: 'c', size: 4 * c, kernel: 1 });
    const rows = rowsEndedBy(toLanguage(s), p.get('image_newline', 'e', { e: 4 * c }));
    const t = eachToken(rows, (tokens) => linear(p.at('mlp'), tokens, 'e', sized(width)));
    const mark = (name: string) => p.get(name, 'e', { e: t.tokens.size('e') });
    const all = joinTokens([markToken(mark('image_begin'), 'start', t), t, markToken(mark('image_end'), 'end', t)]);
    return eachToken(all, (tokens) => rmsNorm(p.at('after_rms'), tokens, { eps }));
  },
});
