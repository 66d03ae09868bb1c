// LLaVA-HR's mixture-of-resolution adapter: a slow high-resolution map gated into the fast tower's stream, then both added up.
import { avgPool2d, concat, conv2d, linear, reduce, tanh, type Params } from '../../../dsl/index.ts';
import { onSameGrid } from '../../parts/grids.ts';
import { activate, mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface LlavaHrConfig {
  /** Stage adapters on the fast stream; in the released models one stands before each of the tower's last three quarters. */
  readonly stages: number;
  /** Whether LLaVA's MLP follows; without it the tokens are as wide as the fast tower. */
  readonly projector: boolean;
}

/** Map 0 is the fast tower's, map 1 the slow one's. */
export const llavaHr = connector<LlavaHrConfig>({
  name: 'llava-hr',
  title: 'LLaVA-HR MR-adapter',
  paper: 'arXiv 2403.03003',
  year: 2024,
  source: 'luogen1996/LLaVA-HR llava_hr/model/multimodal_encoder/multipath_encoder_wapper.py',
  mathematics: [
    'f ← f + W gelu(dwconv₇ₓ₇ f);  s = align(W gelu(W slow))',
    'f ← f + s · tanh(MLP(mean_n [f ; s]))',
    'y = MLP(W_f f + W_s align(slow))',
  ],
  towers: 'many',
  presets: {
    'llava-hr-7b-1024': {
      config: { stages: 1, projector: true },
      maps: [
        [32, 32, 1024],
        [32, 32, 1536],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { stages, projector }, { width, inspect }) => {
    const slow = maps[1] ?? onlyMap(maps);
    const places = Array.from({ length: stages }, (_, i) => p.at('align_stages_latent', i));
    const fast = places.reduce((stream, place) => stageAdapter(place, stream, slow), onlyMap(maps));
    inspect?.('adapted', fast);
    const final = p.at('align_stages', 0);
    const size = fast.size('c');
    const own = linear(final.at('fast_proj'), fast, 'c', { size });
    const y = own.add(linear(final.at('slow_proj'), aligned(slow, fast), 'c', { size }));
    return mapTokens(projector ? mlp(p.at('mm_projector'), y, { linears: [0, 2], width }) : y);
  },
});

/** One stage: the fast stream mixed over its neighbours, and the slow map gated by one number a picture. */
export function stageAdapter(p: Params, fast: FeatureMap, slow: FeatureMap): FeatureMap {
  const size = fast.size('c');
  const wide = conv2d(p.at('slow_conv'), slow, { out: 'c', size: slow.size('c'), kernel: 1 });
  const s = aligned(conv2d(p.at('slow_proj'), activate(wide, 'gelu'), { out: 'c', size, kernel: 1 }), fast);
  const deep = conv2d(p.at('fast_conv'), fast, { out: 'c', size, kernel: 7, padding: 3, groups: size });
  const f = fast.add(conv2d(p.at('fast_proj'), activate(deep, 'gelu'), { out: 'c', size, kernel: 1 }));
  const mean = reduce(concat([f, s], 'c'), 'b h w c -> b c', 'mean');
  const inner = activate(linear(p.at('gate', 0), mean, 'c', { size: Math.floor(size / 2) }), 'gelu');
  const gate = tanh(linear(p.at('gate', 2), inner, 'c', { size: 1 })).at('c', 0);
  return f.add(s.mul(gate));
}

/** The slow map on the fast one's grid: sampled with corners on corners where it is smaller, averaged where it is larger. */
function aligned(slow: FeatureMap, fast: FeatureMap): FeatureMap {
  const [rows, columns] = [fast.size('h'), fast.size('w')];
  if (slow.size('h') <= rows) return onSameGrid(slow, { rows, columns, alignCorners: true });
  const kernel = Math.floor(slow.size('h') / rows);
  return onSameGrid(avgPool2d(slow, { kernel, stride: kernel }), { rows, columns });
}
