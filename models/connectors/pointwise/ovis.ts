// Ovis: every token is a probability over a visual vocabulary, and its vector the expectation of that vocabulary's embeddings.
import { layerNorm, linear, rearrange, slice, softmax, einsum } from '../../../dsl/index.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { gridTokens } from '../visual-tokens.ts';

export interface OvisConfig {
  /** Side of the square of patches that becomes one token. */
  readonly merge: number;
  /** Rows of the embedding table; the last `indicators` are never a patch's. With a checkpoint it may be left to that. */
  readonly vocabulary?: number | undefined;
  readonly indicators: number;
  readonly eps: number;
}

export const ovis = connector<OvisConfig>({
  name: 'ovis',
  title: 'Ovis visual vocabulary',
  paper: 'arXiv 2405.20797',
  year: 2024,
  source: 'AIDC-AI/Ovis ovis/model/modeling_ovis.py',
  mathematics: ['p = softmax(LN(W s2d(x)))', 'y = Σ_v p_v E_v'],
  towers: 'one',
  presets: {
    'ovis2-8b': {
      config: { merge: 2, vocabulary: 65536, indicators: 5, eps: 1e-5 },
      maps: [[32, 32, 1536]],
      width: 3584,
    },
    'ovis2-1b': {
      config: { merge: 2, vocabulary: 65536, indicators: 5, eps: 1e-5 },
      maps: [[32, 32, 1024]],
      width: 896,
    },
  },
  variants: otherMerges,
  build: (p, maps, { merge, vocabulary, indicators, eps }, { width, inspect }) => {
    const table = p.at('visual_embeddings_table').get('weight', 'v e', {
      ...(vocabulary === undefined ? {} : { v: vocabulary }),
      ...(width === undefined ? {} : { e: width }),
    });
    const size = table.size('v') - indicators;
    const head = linear(p.at('head_linear'), spaceToDepth(onlyMap(maps), merge), 'c', { ...sized(size), bias: false });
    const p_v = softmax(layerNorm(p.at('head_norm'), head, { eps }), 'c');
    inspect?.('probabilities', p_v);
    const rows = rearrange(slice(table, 'v', { size }), 'v e -> c=(v) e');
    return gridTokens(einsum(p_v, rows, 'b h w c, c e -> b h w e'));
  },
});
