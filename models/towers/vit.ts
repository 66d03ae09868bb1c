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
  rmsNorm,
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
 * How a table of positions is resized. Bicubically with A = −0.75, sampled at ratios of the sizes, or at (n + offset) / M as the original
 * DINOv2 and the transformers of Cambrian-1 do, with offset 0.1. antialias: bicubically with a = −0.5, the filter widened when the grid
 * shrinks (DINOv2 with registers, timm). bilinear, bilinear-antialias (SigLIP 2 NaFlex), corners: bilinear, corners on corners (Qwen3-VL).
 */
export type PositionResize =
  | 'sizes'
  | 'antialias'
  | 'bilinear'
  | 'bilinear-antialias'
  | 'corners'
  | { readonly offset: number };

/** A map of a table on another grid. */
export function resizedTable(
  table: Tensor<'h w c', Float>,
  [height, width]: Grid,
  by: PositionResize,
): Tensor<'h w c', Float> {
  const [rows, columns] = [table.size('h'), table.size('w')];
  switch (by) {
    case 'sizes':
      return resize(table, { height, width, mode: 'bicubic' });
    case 'antialias':
      return resize(table, { height, width, mode: 'bicubic', antialias: true });
    case 'bilinear':
      return resize(table, { height, width, mode: 'bilinear' });
    case 'bilinear-antialias':
      return resize(table, { height, width, mode: 'bilinear', antialias: true });
    case 'corners':
      return resize(table, { height, width, mode: 'bilinear', alignCorners: true });
    default:
      return resize(table, {
        height,
        width,
        mode: 'bicubic',
        factors: [(height + by.offset) / rows, (width + by.offset) / columns],
      });
  }
}

export interface PositionOptions {
  readonly classTokens: number;
  readonly grid: Grid;
  /** Height and width of the picture in pixels. */
  readonly picture: readonly [number, number];
  readonly by?: PositionResize | undefined;
  /** The table's own grid, where it is not a square. */
  readonly native?: Grid | undefined;
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
  } = options;
  const side = Math.sqrt(table.size('n') - classTokens);
  if (options.native !== undefined) return resizedPositions(table, options, options.native);
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
  return resizedPositions(table, options, [side, side]);
}

function resizedPositions(
  table: Positions,
  { classTokens, grid, by = 'sizes' }: PositionOptions,
  native: Grid,
): Positions {
  if (by !== 'sizes' && typeof by === 'string' && native[0] === grid[0] && native[1] === grid[1]) return table;
  const map = rearrange(slice(table, 'n', { start: classTokens }), '(h w) c -> h w c', { h: native[0] });
  const resized = rearrange(resizedTable(map, grid, by), 'h w c -> n=(h w) c');
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

/** Tokens by heads. */
export type Heads = Tensor<'b n h d', Float>;

/** The parts of a block, wherever a checkpoint keeps them. */
export interface BlockParts {
  readonly norm1: Params;
  /** Three places, one whose rows are those of query, key and value in turn, or what makes the three. */
  readonly qkv:
    | Params
    | { readonly query: Params; readonly key: Params; readonly value: Params }
    | ((x: Tokens) => readonly [Tokens, Tokens, Tokens]);
  /** Do query, key and value have biases? They do by default. */
  readonly qkvBias?: boolean | { readonly query: boolean; readonly key: boolean; readonly value: boolean } | undefined;
  readonly out: Params;
  readonly outBias?: boolean | undefined;
  readonly norm2: Params;
  readonly mlp: (x: Tokens) => Tokens;
  /** LayerScale: factors of what attention and MLP add. */
  readonly scales?: readonly [Vector, Vector] | undefined;
  /** layer: LayerNorm, by default. rms: RMSNorm. */
  readonly norm?: 'layer' | 'rms' | undefined;
  /** A norm of all heads' queries and keys together (InternViT-6B). */
  readonly queryKeyNorm?: ((of: 'query' | 'key', x: Tokens) => Tokens) | undefined;
  /** Turns queries and keys by where they stand. */
  readonly turn?: ((x: Heads) => Heads) | undefined;
  /** Which keys `t` a query `n` may see, or what is added to its scores: given queries and keys as attention has them. */
  readonly mask?: ((query: Heads) => Tensor) | undefined;
  /** Between attention and its last projection (EVA-02 of CLIP). */
  readonly inner?: ((x: Tokens) => Tokens) | undefined;
}

/** x += scale₁ · attention(norm₁ x); x += scale₂ · mlp(norm₂ x). */
export function vitBlock(parts: BlockParts, x: Tokens, config: Pick<VitConfig, 'heads' | 'eps'>): Tokens {
  const read = selfAttention(parts, blockNorm(parts, parts.norm1, x, config.eps), config.heads);
  const middle = x.add(scaled(read, parts.scales?.[0]));
  return middle.add(scaled(parts.mlp(blockNorm(parts, parts.norm2, middle, config.eps)), parts.scales?.[1]));
}

function blockNorm({ norm }: BlockParts, p: Params, x: Tokens, eps: number): Tokens {
  return norm === 'rms' ? rmsNorm(p, x, { eps }) : layerNorm(p, x, { eps });
}

function scaled(x: Tokens, factors: Vector | undefined): Tokens {
  return factors === undefined ? x : x.mul(factors);
}

/** The attention of a block, of tokens that are normed already. */
export function selfAttention(parts: BlockParts, x: Tokens, heads: number): Tokens {
  const [query, key, value] = queryKeyValue(parts, x, heads);
  const keys = (y: Heads) => rearrange(y, 'b n h d -> b t=(n) h d');
  const read = attention(query, keys(key), keys(value), { key: 't', along: 'd', mask: parts.mask?.(query) });
  const flat: Tokens = rearrange(read, 'b n h d -> b n c=(h d)');
  return linear(parts.out, parts.inner?.(flat) ?? flat, 'c', { size: x.size('c'), bias: parts.outBias });
}

function queryKeyValue(parts: BlockParts, x: Tokens, heads: number): readonly [Heads, Heads, Heads] {
  const { qkv, qkvBias, queryKeyNorm, turn } = parts;
  const width = x.size('c');
  const split = (y: Tokens): Heads => rearrange(y, 'b n (h d) -> b n h d', { h: heads });
  const turned = (y: Heads): Heads => turn?.(y) ?? y;
  const normed = ([query, key, value]: readonly [Tokens, Tokens, Tokens]): readonly [Heads, Heads, Heads] => [
    turned(split(queryKeyNorm?.('query', query) ?? query)),
    turned(split(queryKeyNorm?.('key', key) ?? key)),
    split(value),
  ];
  if (typeof qkv === 'function') return normed(qkv(x));
  if ('query' in qkv) {
    const one = (name: 'query' | 'key' | 'value') =>
      linear(qkv[name], x, 'c', { size: width, bias: typeof qkvBias === 'object' ? qkvBias[name] : qkvBias });
    return normed([one('query'), one('key'), one('value')]);
  }
  const all = linear(qkv, x, 'o', { size: 3 * width, bias: qkvBias !== false });
  if (queryKeyNorm === undefined) {
    const three = rearrange(all, 'b n (s h d) -> s b n h d', { s: 3, h: heads });
    return [turned(three.at('s', 0)), turned(three.at('s', 1)), three.at('s', 2)];
  }
  const three = rearrange(all, 'b n (s c) -> s b n c', { s: 3 });
  return normed([three.at('s', 0), three.at('s', 1), three.at('s', 2)]);
}

/** W_down(act(W_gate x) · W_up x). */
export function gatedTokens(
  p: { readonly gate: Params; readonly up: Params; readonly down: Params },
  x: Tokens,
  options: { readonly hidden: number; readonly bias: boolean; readonly activation: (x: Tokens) => Tokens },
): Tokens {
  const { hidden: size, bias, activation } = options;
  const gate = activation(linear(p.gate, x, 'c', { size, bias }));
  return linear(p.down, gate.mul(linear(p.up, x, 'c', { size, bias })), 'c', { size: x.size('c'), bias });
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
  /** Tokens before those of the patches: a class token, registers. */
  readonly classTokens: number;
  readonly positions?: Positions | undefined;
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
