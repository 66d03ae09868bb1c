// CogVLM's adapter: a linear map with norm and GELU, then a gated linear unit; learned tokens before and after.
import { layerNorm, linear } from '../../../dsl/index.ts';
import { activate, gatedMlp } from '../../parts/mlp.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, mapTokens, markToken } from '../visual-tokens.ts';

export interface CogVlmConfig {
  /** Width of the gated unit; with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
  readonly eps: number;
  /** Whether the picture stands between the learned tokens `boi` and `eoi`. */
  readonly marks: boolean;
}

export const cogvlmGlu = connector<CogVlmConfig>({
  name: 'cogvlm-glu',
  title: 'CogVLM GLU',
  paper: 'arXiv 2311.03079',
  year: 2023,
  source: 'THUDM/CogVLM utils/models/cogvlm_model.py GLU',
  mathematics: ['u = gelu(LN(W₀ x))', 'y = W₃ (silu(W₁ u) · W₂ u)', 'tokens: boi, y…, eoi'],
  towers: 'one',
  presets: {
    'cogvlm-17b': { config: { hidden: 11008, eps: 1e-5, marks: true }, maps: [[35, 35, 1792]], width: 4096 },
  },
  build: (p, maps, { hidden, eps, marks }, { width }) => {
    const wide = linear(p.at('linear_proj'), onlyMap(maps), 'c', { ...sized(width), bias: false });
    const u = activate(layerNorm(p.at('norm1'), wide, { eps }), 'gelu');
    const y = gatedMlp(p, u, {
      gate: 'gate_proj',
      up: 'dense_h_to_4h',
      down: 'dense_4h_to_h',
      hidden,
      width: u.size('c'),
    });
    const tokens = mapTokens(y);
    if (!marks) return tokens;
    const mark = (name: string) =>
      p
        .get(name, 'k m e', { k: 1, m: 1, e: u.size('c') })
        .at('k', 0)
        .at('m', 0);
    return joinTokens([markToken(mark('boi'), 'start', tokens), tokens, markToken(mark('eoi'), 'end', tokens)]);
  },
});
