// MiniCPM-V 4.6: squares of patches become one, once inside the tower, by attention within the square and an MLP, and once behind it.
import { avgPool2d, layerNorm, linear, type Params } from '../../../dsl/index.ts';
import { asQueries, asTokens, projectedAttention } from '../../parts/attention.ts';
import { activate } from '../../parts/mlp.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { windowsAsMap, windowTokens } from '../../parts/windows.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface WindowMergerConfig {
  /** Side of the square. */
  readonly merge: number;
  readonly heads: number;
  /** Width inside the MLP. */
  readonly intermediate: number;
  readonly eps: number;
}

export interface MiniCpmV46Config {
  readonly merge: number;
  readonly eps: number;
  /** How often squares are merged behind the tower. */
  readonly times: number;
  /** The merger inside the tower, and the block behind which it stands; absent: the map comes from a tower that has it already. */
  readonly inside?: (WindowMergerConfig & { readonly after: number }) | undefined;
}

const names = { query: 'q_proj', key: 'k_proj', value: 'v_proj', out: 'out_proj' } as const;

export const miniCpmV46 = connector<MiniCpmV46Config>({
  name: 'minicpm-v-4.6',
  title: 'MiniCPM-V 4.6 mergers',
  paper: 'https://huggingface.co/openbmb/MiniCPM-V-4.6',
  year: 2026,
  source:
    'huggingface/transformers models/minicpmv4_6/modeling_minicpmv4_6.py MiniCPMV4_6Merger, MiniCPMV4_6ViTWindowAttentionMerger',
  mathematics: [
    'inside: u = x + MHA(LN x) in each 2 × 2 square; s = mean u + W₂ gelu_tanh(W₁ LN(s2d u))',
    'behind: y = W₂ gelu(W₁ LN(s2d x))',
  ],
  towers: 'one',
  presets: {
    'minicpm-v-4.6': { config: { merge: 2, eps: 1e-6, times: 1 }, maps: [[16, 16, 1152]], width: 1024 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps, times, inside }, context) => {
    let x = onlyMap(maps);
    if (inside !== undefined) {
      const tower = required(context, 'tower', 'minicpm-v-4.6')(0);
      const merged = windowMerger(p.at('vit_merger'), tower.hidden(inside.after), inside);
      x = tower.resume(inside.after, merged);
    }
    for (let i = 0; i < times; i++) {
      const s = spaceToDepth(x, merge);
      const own = p.at('mlp', i);
      const inner = linear(own.at('linear_1'), layerNorm(own.at('pre_norm'), s, { eps }), 'c', { size: s.size('c') });
      const width = i === times - 1 ? context.width : x.size('c');
      x = linear(own.at('linear_2'), activate(inner, 'gelu'), 'c', sized(width));
    }
    return mapTokens(x);
  },
});

/** Attention within each square, then the square as one: its mean plus an MLP of all its channels. */
export function windowMerger(
  p: Params,
  map: FeatureMap,
  { merge, heads, intermediate, eps }: WindowMergerConfig,
): FeatureMap {
  const [rows, columns] = [map.size('h') / merge, map.size('w') / merge];
  const tokens = windowTokens(layerNorm(p.at('layer_norm1'), map, { eps }), merge);
  const read = projectedAttention(p.at('self_attn'), asQueries(tokens), tokens, tokens, { names, bias: true, heads });
  const u = map.add(windowsAsMap(asTokens(read), merge, rows, columns));
  const s = layerNorm(p.at('pre_norm'), spaceToDepth(u, merge), { eps });
  const inner = activate(linear(p.at('linear_1'), s, 'c', { size: intermediate }), 'gelu-tanh');
  return avgPool2d(u, { kernel: merge }).add(linear(p.at('linear_2'), inner, 'c', { size: map.size('c') }));
}
