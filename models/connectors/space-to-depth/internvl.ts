// InternVL: squares of patches side by side, LayerNorm, a two-layer MLP. Its first version leaves the grid transposed.
import { merger, otherMerges } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface InternVlConfig {
  readonly merge: number;
  /** v1: tokens column by column; v2: row by row. */
  readonly version: 'v1' | 'v2';
  /** Where norm and maps stand: `mlp1` in OpenGVLab's files, or transformers' own names. */
  readonly names: 'mlp1' | 'transformers';
  readonly eps: number;
}

const names = {
  mlp1: { norm: 'mlp1.0', linears: ['mlp1.1', 'mlp1.3'] },
  transformers: { norm: 'layer_norm', linears: ['linear_1', 'linear_2'] },
} as const;

const released = { merge: 2, version: 'v2', names: 'mlp1', eps: 1e-5 } as const;

export const internvl = connector<InternVlConfig>({
  name: 'internvl',
  title: 'InternVL pixel shuffle',
  paper: 'arXiv 2404.16821',
  year: 2024,
  source: 'OpenGVLab/InternVL internvl_chat/internvl/model/internvl_chat/modeling_internvl_chat.py',
  mathematics: ['s = [x_00 ; x_01 ; x_10 ; x_11], a patch after the other', 'y = W₂ gelu(W₁ LN(s))'],
  towers: 'one',
  presets: {
    'internvl2-8b': { config: released, maps: [[32, 32, 1024]], width: 4096 },
    'internvl3-8b': { config: released, maps: [[32, 32, 1024]], width: 3584 },
    'internvl2-1b': { config: released, maps: [[32, 32, 1024]], width: 896 },
    'internvl-chat-v1.5': { config: released, maps: [[32, 32, 3200]], width: 6144 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const { merge, version, eps } = config;
    const { norm, linears } = names[config.names];
    const options = { merge, linears, transposed: version === 'v1' };
    return mapTokens(
      merger(p, onlyMap(maps), { ...options, norm: { kind: 'layer', path: norm, eps, place: 'after' } }, context),
    );
  },
});
