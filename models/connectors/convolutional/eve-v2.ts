// EVEv2: no tower. Two strided convolutions make tokens of pixels; a class token first, a learned token behind each row.
import { conv2d } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, markToken, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface EveV2Config {
  /** Side of a patch. */
  readonly patch: number;
  /** Side of the square of patches that becomes one token. */
  readonly merge: number;
  /** Channels of a patch; with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
}

/** The map is the normalised picture itself. */
export const eveV2 = connector<EveV2Config>({
  name: 'eve-v2',
  title: 'EVEv2 tokenizer',
  paper: 'arXiv 2502.06788',
  year: 2025,
  source: 'baaivision/EVE EVEv2/eve/model/multimodal_encoder/vision_tokenizer.py',
  mathematics: [
    'u = gelu(conv_{p×p, stride p}(pixels))',
    'y = conv_{k×k, stride k}(u)',
    'tokens: class, each row of y, split',
  ],
  towers: 'one',
  presets: { 'eve-7b-v2-800': { config: { patch: 16, merge: 2, hidden: 1024 }, maps: [[800, 800, 3]], width: 3584 } },
  variants: (config) => [1, 2, 3, 4, 5].map((merge) => ({ ...config, merge })),
  build: (p, maps, { patch, merge, hidden }, { width }) => {
    const at = p.at('patch_embedding');
    const u = conv2d(at.at(0), onlyMap(maps), { out: 'c', ...sized(hidden), kernel: patch, stride: patch });
    const y = conv2d(at.at(2), activate(u, 'gelu'), { out: 'c', ...sized(width), kernel: merge, stride: merge });
    const mark = (name: string) => p.get(name, 'e', { e: y.size('c') });
    const rows = rowsEndedBy(toLanguage(y), mark('split_embedding'));
    return joinTokens([markToken(mark('class_embedding'), 'start', rows), rows]);
  },
});
