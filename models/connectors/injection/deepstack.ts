// DeepStack: tokens of a fine map, dealt out into stacks as large as the coarse one; each stack is added at another layer of the language model.
import { OpabiniaError, rearrange, slice } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { addedAtSlots } from '../../parts/slots.ts';
import { squareTiling, stitched, type Tiling } from '../../parts/tiles.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface DeepStackConfig {
  /** Stack s is added before layer start + s · interval. */
  readonly start: number;
  readonly interval: number;
  readonly stacks: number;
  /** Whether tokens are dealt out over the plane, every n-th row and column, or in the order of rows. */
  readonly sampling: '2d' | '1d';
}

/** Map 0 is the whole picture's, the others those of its tiles, row by row. */
export const deepStack = connector<DeepStackConfig>({
  name: 'deepstack',
  title: 'DeepStack',
  paper: 'arXiv 2406.04334',
  year: 2024,
  source: 'MengLcool/DeepStack-VL llava/model/deepstack_arch.py process_plain_deepstack',
  mathematics: [
    'u = W₂ gelu(W₁ x) of the whole and of the stitched tiles',
    'stack_{i,j} = u_tiles[i::g, j::g]',
    'stack s is added to the visual positions before layer start + s · interval',
  ],
  towers: 'views',
  presets: {
    'deepstack-l-7b': {
      config: { start: 0, interval: 4, stacks: 4, sampling: '2d' },
      maps: Array.from({ length: 5 }, () => [24, 24, 1024] as const),
      width: 4096,
      layers: 32,
    },
  },
  build: (p, maps, config, { width }) => {
    const project = (map: FeatureMap) => mlp(p.at('mm_projector'), map, { linears: [0, 2], width });
    const global = mapTokens(project(onlyMap(maps)));
    const tiles = maps.slice(1);
    if (tiles.length > config.stacks)
      throw new OpabiniaError(`${tiles.length} tiles for ${config.stacks} stacks`, {
        op: 'deepstack',
        advice: `give at most ${config.stacks}`,
      });
    const stacks = stacksOf(tiles, squareTiling(tiles.length), config.sampling);
    const carries = stacks.map((map, i) => [`stack_${i}`, mapTokens(project(map)).tokens] as const);
    return { ...global, carries: Object.fromEntries(carries) };
  },
  inject: {
    after: ({ start, interval, stacks }) => Array.from({ length: stacks }, (_, s) => start + s * interval - 1),
    reads: 'hidden states at visual positions; one stack of tokens a layer',
    writes: 'their sum, at visual positions',
    apply: (_, state, __, { index }) =>
      // A picture with fewer tiles has fewer stacks.
      ({
        hidden: state.carried[`stack_${index}`] === undefined ? state.hidden : addedAtSlots(state, `stack_${index}`),
      }),
  },
});

/** As many maps as there are tiles, each of a tile's size, from all of them stitched together. */
export function stacksOf(tiles: readonly FeatureMap[], tiling: Tiling, sampling: '2d' | '1d'): readonly FeatureMap[] {
  const [first] = tiles;
  if (first === undefined) return [];
  const all = stitched(tiles, tiling);
  const [rows, columns] = tiling;
  if (sampling === '2d')
    return Array.from({ length: rows * columns }, (_, s) =>
      slice(slice(all, 'h', { start: Math.floor(s / columns), step: rows }), 'w', {
        start: s % columns,
        step: columns,
      }),
    );
  const flat = rearrange(all, 'b h w c -> b n=(h w) c');
  return tiles.map((_, s) =>
    rearrange(slice(flat, 'n', { start: s, step: tiles.length }), 'b (h w) c -> b h w c', { h: first.size('h') }),
  );
}
