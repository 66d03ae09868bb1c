// DeepSeek-OCR: CLIP's patches beside the compressed map of SAM that they were made from, one linear map; newlines and a separator.
import { concat, linear } from '../../../dsl/index.ts';
import { sized } from '../../sequence/regions.ts';
import { samCompressor } from '../../parts/convolutions.ts';
import { onSameGrid } from '../../parts/grids.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, markToken, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface DeepSeekOcrConfig {
  /** Channels of the two strided convolutions over SAM's neck; none: the second map is compressed already. */
  readonly channels: readonly [number, number] | undefined;
}

export const deepseekOcr = connector<DeepSeekOcrConfig>({
  name: 'deepseek-ocr',
  title: 'DeepSeek-OCR',
  paper: 'arXiv 2510.18234',
  year: 2025,
  source: 'deepseek-ai/DeepSeek-OCR deepseek_ocr.py, deepencoder/deepencoder.py, deepencoder/build_linear.py',
  mathematics: [
    'z = conv_s2(conv_s2(SAM)), 16 × fewer cells',
    'y = W [CLIP ; z] + b',
    'tokens: each row of y, newline; view separator',
  ],
  towers: 'many',
  presets: {
    'deepseek-ocr-base-1024': {
      config: { channels: [512, 1024] },
      maps: [
        [16, 16, 1024],
        [64, 64, 256],
      ],
      width: 1280,
    },
  },
  build: (p, maps, { channels }, { width }) => {
    const clip = onlyMap(maps);
    const sam = maps[1] ?? clip;
    const small =
      channels === undefined ? sam : samCompressor(p, sam, { names: ['sam_model.net_2', 'sam_model.net_3'], channels });
    const beside = onSameGrid(small, { rows: clip.size('h'), columns: clip.size('w') });
    const y = toLanguage(linear(p.at('projector', 'layers'), concat([clip, beside], 'c'), 'c', sized(width)));
    const mark = (name: string) => p.get(name, 'e', { e: y.size('e') });
    const rows = rowsEndedBy(y, mark('image_newline'));
    return joinTokens([rows, markToken(mark('view_seperator'), 'separator', rows)]);
  },
});
