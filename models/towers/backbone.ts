// What every backbone is to those who use it by its name: a config that is read, and a picture that becomes tokens.
import { layerNorm, rearrange, type Params, type Tensor } from '../../dsl/index.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import { onGrid, type Grid, type Pixels } from './tower.ts';
import { throughBlocks, vitBlock, type BlockParts, type Encoded, type Tokens, type VitConfig } from './vit.ts';
import type { FeatureMap } from '../sequence/regions.ts';

export interface BackboneEncoded extends Encoded {
  /** Tokens that a connector reads, one a patch, row by row. */
  readonly features: Tokens;
  /** What else its reference code gives, by that code's name. */
  readonly named?: Readonly<Record<string, () => Tensor>> | undefined;
}

/** A backbone of one configuration. */
export interface Backbone {
  readonly width: number;
  readonly encode: (p: Params, pixels: Pixels) => BackboneEncoded;
}

/** A kind of backbone: one file of `backbones/`. */
export interface BackboneType {
  /** Of golden files. */
  readonly kind: string;
  /** `model_type` of a config, or names that timm has for architectures of the kind, up to a dot; not all of these. */
  readonly types: readonly string[];
  /** Throws `OpabiniaError`. */
  readonly read: (config: ConfigReader) => Backbone;
  /** Prefixes of what a checkpoint holds besides. */
  readonly unread?: readonly string[] | undefined;
}

/** A vision transformer, put together of what its file says. */
export function encodeVit(options: {
  readonly grid: Grid;
  readonly classTokens: number;
  readonly embeddings: Tokens;
  /** What the blocks read; the embeddings unless told otherwise. */
  readonly start?: Tokens | undefined;
  readonly config: Pick<VitConfig, 'layers' | 'heads' | 'eps'>;
  readonly block: (index: number) => BlockParts;
  /** On all tokens behind the last block; none when absent. */
  readonly norm?: ((x: Tokens) => Tokens) | undefined;
}): Encoded {
  const { grid, classTokens, embeddings, start = embeddings, config, norm } = options;
  const hidden = throughBlocks(start, config.layers, (x, i) => vitBlock(options.block(i), x, config));
  const end = hidden.at(-1) ?? start;
  return { grid, classTokens, embeddings, hidden, last: norm?.(end) ?? end };
}

/** LayerNorm of all tokens. */
export const normedBy =
  (p: Params, eps: number) =>
  (x: Tokens): Tokens =>
    layerNorm(p, x, { eps });

/** The map that a connector reads, on its grid. */
export function backboneMap(encoded: BackboneEncoded, grid?: Grid): FeatureMap {
  return onGrid(rearrange(encoded.features, 'b (h w) c -> b h w c', { h: encoded.grid[0], w: encoded.grid[1] }), grid);
}
