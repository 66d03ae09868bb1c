// The connector of a probe: what it adds is the same for every tower, so that differences are the towers'.
import { concat, gelu, linear, resize } from '../../dsl/index.ts';
import { connector } from '../../models/connectors/connector.ts';
import { gridTokens } from '../../models/connectors/visual-tokens.ts';

/** Each map resized to one grid, channels side by side, an MLP. Larger grids are averaged down by the widened filter. */
export const channelConcat = connector<{ readonly side: number }>({
  name: 'channel-concat',
  title: 'Channels side by side',
  paper: 'arXiv 2406.16860',
  year: 2024,
  source: 'Cambrian-1, §2.5: features interpolated to one grid and concatenated along channels',
  mathematics: ['y = W₂ gelu(W₁ [resize(x₀) ; resize(x₁) ; …])'],
  towers: 'many',
  presets: {
    plain: {
      config: { side: 4 },
      maps: [
        [8, 8, 48],
        [16, 16, 24],
      ],
      width: 48,
    },
  },
  variants: (config, tokens) => [{ ...config, side: Math.max(1, Math.round(Math.sqrt(tokens))) }],
  build: (p, maps, { side }, { width = 48 }) => {
    const same = maps.map((map) => resize(map, { height: side, width: side, mode: 'bilinear', antialias: true }));
    const inner = gelu(linear(p.at('fc1'), concat(same, 'c'), 'f', { size: 2 * width }));
    return gridTokens(linear(p.at('fc2'), inner, 'e', { size: width }));
  },
});
