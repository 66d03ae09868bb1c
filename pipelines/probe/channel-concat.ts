// The connector of a probe: what it adds is the same for every tower, so that differences are the towers'.
import { resize } from '../../dsl/index.ts';
import { sideBySide } from '../shapes/variants/controls.ts';

/** Each map resized to one grid, channels side by side, an MLP. Larger grids are averaged down by the widened filter. */
export const channelConcat = sideBySide(
  {
    name: 'channel-concat',
    title: 'Channels side by side',
    paper: 'arXiv 2406.16860',
    year: 2024,
    source: 'Cambrian-1, §2.5: features interpolated to one grid and concatenated along channels',
    mathematics: ['y = W₂ gelu(W₁ [resize(x₀) ; resize(x₁) ; …])'],
  },
  (map, side) => resize(map, { height: side, width: side, mode: 'bilinear', antialias: true }),
);
