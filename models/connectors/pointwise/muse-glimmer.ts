// Muse Glimmer: an adapter with GELU behind both of its maps, a projection, RMSNorm without a scale; no biases.
import { activate, mlp } from '../../parts/mlp.ts';
import { norm } from '../../parts/norms.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MuseGlimmerConfig {
  readonly hidden?: number | undefined;
  readonly eps: number;
}

export const museGlimmer = connector<MuseGlimmerConfig>({
  name: 'muse-glimmer',
  title: 'Muse Glimmer',
  paper: 'https://huggingface.co/docs/transformers/model_doc/muse_glimmer',
  year: 2026,
  source: 'huggingface/transformers models/muse_glimmer/modeling_muse_glimmer.py MuseGlimmerVisionAdapter',
  mathematics: ['u = gelu(W₂ gelu(W₁ x))', 'y = RMS(W₃ u)'],
  towers: 'one',
  presets: {
    'muse-glimmer': { config: { hidden: 4096, eps: 1e-5 }, maps: [[24, 24, 6144]], width: 6656 },
  },
  build: (p, maps, { hidden, eps }, { width, inspect }) => {
    const options = { linears: ['fc1', 'fc2'], width: hidden, bias: false };
    const adapted = activate(mlp(p.at('vision_adapter'), onlyMap(maps), options), 'gelu');
    inspect?.('adapter', adapted);
    const y = mlp(p, adapted, { linears: ['vision_projection'], width, bias: false });
    return mapTokens(norm(p, y, { kind: 'rms-plain', path: '', eps }));
  },
});
