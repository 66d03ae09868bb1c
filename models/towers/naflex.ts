// SigLIP 2's NaFlex towers (arXiv 2502.14786): pictures on grids of their own, patches padded to one number, positions resized to each grid.
import {
  concat,
  layerNorm,
  linear,
  rearrange,
  repeat,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import { encodeVit } from './backbone.ts';
import { siglipConfig, type SiglipConfig, type SiglipEncoded } from './siglip.ts';
import { poolingHead } from './siglip-head.ts';
import { hubNames } from './siglip-names.ts';
import { rootOf, type Grid } from './tower.ts';
import { geluMlp, resizedTable, type Tokens } from './vit.ts';

export interface NaflexConfig extends SiglipConfig {
  /** Rows of the square table of positions. */
  readonly positions: number;
}

/** A `vision_config` of model type `siglip2`, or one of its own. */
export function naflexConfig(read: ConfigReader): NaflexConfig {
  return { ...siglipConfig(read), positions: read.count('num_patches', 256) };
}

export interface NaflexPictures {
  /** Patches `b n k`, each by rows, columns and channels; zeros behind the last. */
  readonly patches: Tensor<'b n k', Float>;
  /** Which of them are there. */
  readonly attend: Tensor<'b n', 'bool'>;
  /** Grid of each picture. */
  readonly grids: readonly Grid[];
}

/** All of the tower. Rows of padding are computed, and mean nothing. */
export function naflexVision(
  p: Params,
  { patches, attend, grids }: NaflexPictures,
  config: NaflexConfig,
): SiglipEncoded {
  const root = rootOf(p, ['vision_model', ''], 'embeddings.position_embedding.weight');
  const names = hubNames(root);
  const { width: c, eps, activation = 'tanh' } = config;
  const side = Math.round(Math.sqrt(config.positions));
  const table = rearrange(names.positions({ n: config.positions, c }), '(h w) c -> h w c', { h: side });
  const count = patches.size('n');
  const positions = concat(
    grids.map((grid): Tokens => {
      const own = rearrange(resizedTable(table, grid, 'bilinear-antialias'), 'h w c -> n=(h w) c');
      // Padding has the position of the first patch.
      const padding = count - grid[0] * grid[1];
      const all = padding === 0 ? own : concat([own, repeat(own.at('n', 0), 'c -> n c', { n: padding })], 'n');
      return repeat(slice(all, 'n', { size: count }), 'n c -> b n c', { b: 1 });
    }),
    'b',
  );
  const embeddings = linear(names.patches, patches, 'c', { size: c }).add(positions);
  const mask = rearrange(attend, 'b n -> b t=(n)');
  const encoded = encodeVit({
    grid: [1, count],
    classTokens: 0,
    embeddings,
    config,
    block: (i) => {
      const { up, down, ...parts } = names.block(i);
      return { ...parts, mask: () => mask, mlp: (x) => geluMlp({ up, down }, x, config.hidden, activation) };
    },
    norm: (x) => layerNorm(names.norm, x, { eps }),
  });
  return { ...encoded, pooled: () => poolingHead(names.head, encoded.last, { ...config, activation }, mask) };
}
