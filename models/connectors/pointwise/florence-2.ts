// Florence-2: learned rows and columns and a frame's position are added; the mean of all patches stands before them.
import { concat, layerNorm, linear, rearrange, reduce, repeat } from '../../../dsl/index.ts';
import { columnPositions, rowPositions } from '../../parts/positions.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, mapTokens, queryTokens } from '../visual-tokens.ts';

export interface Florence2Config {
  readonly eps: number;
  /** Rows and columns that have a position. */
  readonly positions?: number | undefined;
  /** Frames that have a position. */
  readonly frames?: number | undefined;
}

export const florence2 = connector<Florence2Config>({
  name: 'florence-2',
  title: 'Florence-2',
  paper: 'arXiv 2311.06242',
  year: 2023,
  source: 'huggingface/transformers models/florence2/modeling_florence2.py Florence2MultiModalProjector',
  mathematics: ['x ← x + [P_column ; P_row] + t₀', 'y = LN(W [mean x ; x])'],
  towers: 'one',
  presets: {
    'florence-2-large': {
      config: { eps: 1e-5, positions: 50, frames: 100 },
      maps: [[24, 24, 2048]],
      width: 1024,
    },
    'florence-2-base': { config: { eps: 1e-5, positions: 50, frames: 100 }, maps: [[24, 24, 1024]], width: 768 },
  },
  build: (p, maps, { eps, positions, frames }, { width }) => {
    const map = onlyMap(maps);
    const channels = map.size('c');
    const [half, rest] = [Math.floor(channels / 2), channels - Math.floor(channels / 2)];
    const table = (name: string, c: number) =>
      p
        .at('image_position_embed', name)
        .get('weight', 'k c', { ...(positions === undefined ? {} : { k: positions }), c });
    const columns = columnPositions(table('column_embeddings', rest), map);
    const place = concat([columns, rowPositions(table('row_embeddings', half), map)], 'c');
    const frame = p.at('visual_temporal_embed').get('pos_idx_to_embed', 'f c', {
      ...(frames === undefined ? {} : { f: frames }),
      c: channels,
    });
    const x = map.add(place).add(frame.at('f', 0));
    const embedded = (part: FeatureMap): FeatureMap =>
      layerNorm(
        p.at('image_proj_norm'),
        linear(p.at('image_projection'), part, 'c', { ...sized(width), bias: false }),
        { eps },
      );
    const mean = embedded(repeat(reduce(x, 'b h w c -> b c', 'mean'), 'b c -> b h w c', { h: 1, w: 1 }));
    return joinTokens([queryTokens(rearrange(mean, 'b h w c -> b n=(h w) e=(c)')), mapTokens(embedded(x))]);
  },
});
