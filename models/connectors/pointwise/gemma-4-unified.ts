// Gemma 4 unified: no tower at all. Raw patches are normed, mapped, given a position, and embedded.
import { layerNorm, linear, repeat, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { norm } from '../../parts/norms.ts';
import { columnPositions, rowPositions } from '../../parts/positions.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Gemma4UnifiedConfig {
  /** Width inside; with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
  /** Positions a side of the table. */
  readonly positions?: number | undefined;
  readonly eps: number;
}

export const gemma4Unified = connector<Gemma4UnifiedConfig>({
  name: 'gemma-4-unified',
  title: 'Gemma 4 unified embedder',
  paper: 'https://ai.google.dev/gemma/docs',
  year: 2026,
  source: 'huggingface/transformers models/gemma4_unified/modeling_gemma4_unified.py Gemma4UnifiedVisionEmbedder',
  mathematics: ['x = LN(W₁ LN(patch) + b) + P_x[column] + P_y[row]', 'y = W₂ RMS(LN(x))'],
  towers: 'one',
  presets: {
    'gemma-4-unified': {
      config: { hidden: 3840, positions: 1120, eps: 1e-6 },
      maps: [[16, 16, 6912]],
      width: 3840,
    },
  },
  build: (p, maps, config, context) => {
    const map = onlyMap(maps);
    const table = p.get('pos_embedding', 'k a c', {
      ...(config.positions === undefined ? {} : { k: config.positions }),
      a: 2,
      ...(config.hidden === undefined ? {} : { c: config.hidden }),
    });
    const place = columnPositions(table.at('a', 0), map).add(rowPositions(table.at('a', 1), map));
    const hidden = gemma4Hidden(p, map, repeat(place, 'h w c -> b h w c', { b: map.sizeOf('b') }), config);
    context.inspect?.('hidden', hidden);
    return mapTokens(gemma4Embedded(p, hidden, config, context.width));
  },
});

/** Patches with positions added, normed. */
export function gemma4Hidden(
  p: Params,
  patches: FeatureMap,
  positions: Tensor<'b h w c', Float>,
  { hidden }: Gemma4UnifiedConfig,
): FeatureMap {
  const dense = linear(p.at('patch_dense'), layerNorm(p.at('patch_ln1'), patches), 'c', sized(hidden));
  return layerNorm(p.at('pos_norm'), layerNorm(p.at('patch_ln2'), dense).add(positions));
}

/** The last norm and projection, to the width of the language model. */
export function gemma4Embedded(
  p: Params,
  hidden: FeatureMap,
  { eps }: Gemma4UnifiedConfig,
  width: number | undefined,
): FeatureMap {
  const normed = norm(p, hidden, { kind: 'rms-plain', path: '', eps });
  return linear(p.at('multimodal_embedder', 'embedding_projection'), normed, 'c', { ...sized(width), bias: false });
}
