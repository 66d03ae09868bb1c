// The vision transformer (arXiv 2010.11929) that CLIP, SigLIP and DINOv2 share: tokens with positions, pre-norm blocks, taps of features.
import {
  attention,
  concat,
  gelu,
  layerNorm,
  linear,
  OpabiniaError,
  rearrange,
  repeat,
  resize,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { Gelu } from '../configs/activation.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { onGrid, type Grid } from './tower.ts';

/** Tokens in row-major order of the grid, class tokens in front. */
export type Tokens = Tensor<'b n c', Float>;
type Positions = Tensor<'n c', Float>;
type Vector = Tensor<'c', Float>;

export interface VitConfig {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLP. */
  readonly hidden: number;
  /** Sides of the native picture and of a patch, in pixels; the table of positions has ⌊image / patch⌋² rows besides class tokens. */
  readonly image: number;
  readonly patch: number;
  readonly eps: number;
}

/** Rows of the table of positions. */
export function positionRows({ image, patch }: VitConfig, classTokens: number): number {
  return Math.floor(image / patch) ** 2 + classTokens;
}

// ---- embeddings ----------------------------------------------------------------------------------------------------

/**
 * How a table of positions is resized, bicubically with A = −0.75 either way: sampled at ratios of the sizes, or at (n + offset) / M
 * as the original DINOv2 and the transformers of Cambrian-1 do, with offset 0.1.
 */
export type PositionResize = 'sizes' | { readonly offset: number };

export interface PositionOptions {
  readonly classTokens: 0 | 1;
  readonly grid: Grid;
  /** Height and width of the picture in pixels. */
  readonly picture: readonly [number, number];
  readonly by?: PositionResize | undefined;
}

/**
 * Positions for a grid. The table itself serves pictures that are square and have as many patches as it has rows: this is the test of
 * the original code, by which a picture that is not square is resampled even where its grid is the native one. Class rows stay.
 */
export function positionsFor(table: Positions, options: PositionOptions): Positions {
  const {
    classTokens,
    grid: [height, width],
    picture,
    by = 'sizes',
  } = options;
  const side = Math.sqrt(table.size('n') - classTokens);
  if (!Number.isInteger(side))
    throw new OpabiniaError(
      `${table.size('n')} positions, ${classTokens} of them a class token's, are not a square grid`,
      {
        op: 'positionsFor',
        path: table.node.origin.path,
        advice: 'the checkpoint and the config may belong to different models',
      },
    );
  if (height * width === side * side && picture[0] === picture[1]) return table;
  const native = rearrange(slice(table, 'n', { start: classTokens }), '(h w) c -> h w c', { h: side });
  const factors = by === 'sizes' ? undefined : ([(height + by.offset) / side, (width + by.offset) / side] as const);
  const resized = rearrange(resize(native, { height, width, mode: 'bicubic', factors }), 'h w c -> n=(h w) c');
  return classTokens === 0 ? resized : concat([slice(table, 'n', { size: classTokens }), resized], 'n');
}

/** Patches as tokens, each with its position; a class token, which has the first position, goes in front. */
export function embed(patches: FeatureMap, positions: Positions, classToken?: Vector): Tokens {
  const tokens = rearrange(patches, 'b h w c -> b n=(h w) c');
  if (classToken === undefined) return tokens.add(positions);
  const first = repeat(classToken.add(positions.at('n', 0)), 'c -> b n c', { b: patches.sizeOf('b'), n: 1 });
  return concat([first, tokens.add(slice(positions, 'n', { start: 1 }))], 'n');
}

// ---- blocks --------------------------------------------------------------------------------------------------------

/** The parts of a block, wherever a checkpoint keeps them. */
export interface BlockParts {
  readonly norm1: Params;
  /** Three places, or one whose rows are those of query, key and value in turn. */
  readonly qkv: Params | { readonly query: Params; readonly key: Params; readonly value: Params };
  /** Do query, key and value have biases? They do by default. */
  readonly qkvBias?: boolean | undefined;
  readonly out: Params;
  readonly norm2: Params;
  readonly mlp: (x: Tokens) => Tokens;
  /** LayerScale: factors of what attention and MLP add. */
  readonly scales?: readonly [Vector, Vector] | undefined;
}

/** x += scale₁ · attention(norm₁ x); x += scale₂ · mlp(norm₂ x). */
export function vitBlock(parts: BlockParts, x: Tokens, { heads, eps }: Pick<VitConfig, 'heads' | 'eps'>): Tokens {
  const read = selfAttention(parts, layerNorm(parts.norm1, x, { eps }), heads);
  const middle = x.add(scaled(read, parts.scales?.[0]));
  return middle.add(scaled(parts.mlp(layerNorm(parts.norm2, middle, { eps })), parts.scales?.[1]));
}

function scaled(x: Tokens, factors: Vector | undefined): Tokens {
  return factors === undefined ? x : x.mul(factors);
}

function selfAttention(parts: BlockParts, x: Tokens, heads: number): Tokens {
  const [query, key, value] = queryKeyValue(parts, x, heads);
  const keys = (y: Tensor<'b n h d', Float>) => rearrange(y, 'b n h d -> b t=(n) h d');
  const read = attention(query, keys(key), keys(value), { key: 't', along: 'd' });
  return linear(parts.out, rearrange(read, 'b n h d -> b n c=(h d)'), 'c', { size: x.size('c') });
}

type Heads = Tensor<'b n h d', Float>;

function queryKeyValue({ qkv, qkvBias: bias }: BlockParts, x: Tokens, heads: number): readonly [Heads, Heads, Heads] {
  const width = x.size('c');
  if ('query' in qkv) {
    const one = (p: Params) =>
      rearrange(linear(p, x, 'c', { size: width, bias }), 'b n (h d) -> b n h d', { h: heads });
    return [one(qkv.query), one(qkv.key), one(qkv.value)];
  }
  const all = rearrange(linear(qkv, x, 'c', { size: 3 * width, bias }), 'b n (s h d) -> s b n h d', { s: 3, h: heads });
  return [all.at('s', 0), all.at('s', 1), all.at('s', 2)];
}

/** Linear, GELU, Linear. */
export function geluMlp(
  p: { readonly up: Params; readonly down: Params },
  x: Tokens,
  hidden: number,
  form: Gelu,
): Tokens {
  return linear(p.down, gelu(linear(p.up, x, 'f', { size: hidden }), form), 'c', { size: x.size('c') });
}

// ---- what a vision transformer gives -------------------------------------------------------------------------------

export interface Encoded {
  readonly grid: Grid;
  readonly classTokens: 0 | 1;
  readonly positions: Positions;
  /** Patches and positions, before any norm. */
  readonly embeddings: Tokens;
  /** The input of the blocks, and after each of them; none is normalised by the final norm. */
  readonly hidden: readonly Tokens[];
  /** The last of `hidden` after the final norm, for models that have one on all tokens, and else itself. */
  readonly last: Tokens;
}

/** `x` and what each block makes of it, in order. */
export function throughBlocks(
  x: Tokens,
  layers: number,
  block: (x: Tokens, index: number) => Tokens,
): readonly [Tokens, ...Tokens[]] {
  const hidden: [Tokens, ...Tokens[]] = [x];
  let stream = x;
  for (let i = 0; i < layers; i++) {
    stream = block(stream, i);
    hidden.push(stream);
  }
  return hidden;
}

/** Which features a connector takes of a tower. */
export interface TapOptions {
  /** Index into the hidden states, of which 0 is the input of the blocks; a negative one counts from the end. */
  readonly layer?: number | undefined;
  /** Apply the final norm. */
  readonly norm?: boolean | undefined;
  /** The grid to resize to; absent: as the tower has it. */
  readonly grid?: Grid | undefined;
}

/** The tokens of a hidden state, class token and all. Throws `OpabiniaError` for a layer that is not there. */
export function hiddenState(encoded: Encoded, layer: number): Tokens {
  const state = encoded.hidden.at(layer);
  if (state !== undefined) return state;
  const count = encoded.hidden.length;
  throw new OpabiniaError(`there is no hidden state ${layer}: there are ${count}`, {
    op: 'hiddenState',
    advice: `from ${-count} to ${count - 1}`,
  });
}

/** The patch tokens as a map, class tokens dropped, on the wanted grid. */
export function patchMap(tokens: Tokens, encoded: Encoded, grid?: Grid): FeatureMap {
  const map = rearrange(slice(tokens, 'n', { start: encoded.classTokens }), 'b (h w) c -> b h w c', {
    h: encoded.grid[0],
    w: encoded.grid[1],
  });
  return onGrid(map, grid);
}

/** What a tower gives a connector: the map of one hidden state, behind the tower's last norm where `norm` asks for it. */
export function tappedMap(
  encoded: Encoded,
  { layer, norm, grid }: { readonly layer: number; readonly norm: boolean; readonly grid: Grid | undefined },
  lastNorm: Params,
  eps: number,
): FeatureMap {
  const state = hiddenState(encoded, layer);
  return patchMap(norm ? layerNorm(lastNorm, state, { eps }) : state, encoded, grid);
}

/** The class token, for connectors that want it besides the map. Throws `OpabiniaError` for a tower that has none. */
export function classTokenOf(tokens: Tokens, encoded: Encoded): Tensor<'b c', Float> {
  if (encoded.classTokens === 0)
    throw new OpabiniaError('this tower has no class token', {
      op: 'classTokenOf',
      advice: 'take the mean of its map',
    });
  return tokens.at('n', 0);
}
