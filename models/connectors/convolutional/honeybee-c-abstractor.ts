// Honeybee's C-Abstractor: RegNet blocks, adaptive average pooling to the number of queries, RegNet blocks, an MLP; learned positions first.
import { adaptiveAvgPool2d, layerNorm, rearrange, repeat } from '../../../dsl/index.ts';
import { regStage } from '../../parts/convolutions.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, mapTokens, queryTokens } from '../visual-tokens.ts';

export interface CAbstractorConfig {
  /** √ of the number of queries. */
  readonly side: number;
  /** RegNet blocks before the pooling, and again after it. */
  readonly depth: number;
  /** Width of the blocks. */
  readonly hidden: number;
  /** Linear maps of the MLP, with SiLU between them. */
  readonly layers: number;
  /** Learned positions are added to the map. */
  readonly positions: boolean;
  /** LayerNorm before everything. */
  readonly prenorm: boolean;
  /** Learned tokens behind the picture. */
  readonly ends: number;
}

const released = { depth: 3, hidden: 1024, layers: 2, positions: true, prenorm: false, ends: 0 } as const;

export const honeybeeCAbstractor = connector<CAbstractorConfig>({
  name: 'honeybee-c-abstractor',
  title: 'Honeybee C-Abstractor',
  paper: 'arXiv 2312.06742',
  year: 2023,
  source: 'khanrc/honeybee honeybee/projectors/projectors.py CAbstractor',
  mathematics: ['u = RegStage(x + P)', 's = RegStage(mean over bins of u, side × side)', 'y = W₂ silu(W₁ s)'],
  towers: 'one',
  presets: {
    'honeybee-7b-m144': { config: { ...released, side: 12 }, maps: [[16, 16, 1024]], width: 4096 },
    'honeybee-13b-m256': { config: { ...released, side: 16 }, maps: [[24, 24, 1024]], width: 5120 },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, config, { width }) => {
    const { side, depth, hidden, layers } = config;
    const map = onlyMap(maps);
    const normed = config.prenorm ? layerNorm(p.at('prenorm'), map, { eps: 1e-6 }) : map;
    const n = map.size('h') * map.size('w');
    const table = (): typeof map =>
      repeat(
        rearrange(p.get('pos_emb', 'k n c', { k: 1, n, c: map.size('c') }).at('k', 0), '(h w) c -> h w c', {
          h: map.size('h'),
        }),
        'h w c -> b h w c',
        { b: map.sizeOf('b') },
      );
    const placed = config.positions ? normed.add(table()) : normed;
    const first = regStage(p.at('net', 0), placed, { depth, size: hidden });
    const pooled = adaptiveAvgPool2d(first, { height: side, width: side });
    const second = regStage(p.at('net', 2), pooled, { depth, size: hidden });
    const linears = Array.from({ length: layers }, (_, i) => `readout.${2 * i}`);
    const tokens = mapTokens(mlp(p, second, { linears, width, activation: 'silu' }));
    if (config.ends === 0) return tokens;
    const ends = p.get('eos_tokens', 'k n e', { k: 1, n: config.ends, e: tokens.tokens.size('e') }).at('k', 0);
    return joinTokens([tokens, queryTokens(repeat(ends, 'n e -> b n e', { b: map.sizeOf('b') }))]);
  },
});
