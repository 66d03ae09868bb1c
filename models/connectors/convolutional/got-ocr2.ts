// GOT-OCR2: SAM's neck through two strided convolutions, and a linear map.
import { linear } from '../../../dsl/index.ts';
import { samCompressor } from '../../parts/convolutions.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface GotOcr2Config {
  /** Channels of the two convolutions; with a checkpoint they may be left to that. */
  readonly channels?: readonly [number, number] | undefined;
}

export const gotOcr2 = connector<GotOcr2Config>({
  name: 'got-ocr2',
  title: 'GOT-OCR 2.0',
  paper: 'arXiv 2409.01704',
  year: 2024,
  source: 'huggingface/transformers models/got_ocr2/modeling_got_ocr2.py GotOcr2MultiModalProjector',
  mathematics: ['s = conv_{3×3, stride 2}(conv_{3×3, stride 2}(x))', 'y = W s + b'],
  towers: 'one',
  presets: { 'got-ocr2': { config: { channels: [512, 1024] }, maps: [[64, 64, 256]], width: 1024 } },
  build: (p, maps, { channels }, { width }) => {
    const s = samCompressor(p, onlyMap(maps), { names: ['conv_upsampler1', 'conv_upsampler2'], channels });
    return mapTokens(linear(p.at('multimodal_projector'), s, 'c', sized(width)));
  },
});
