// The towers of Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL, with the names of transformers: pictures of any size as one sequence of
// patches, squares of patches that become one token behind one another, rotations by row and column.
import {
  concat,
  constantLike,
  einsum,
  gather,
  gelu,
  layerNorm,
  linear,
  rearrange,
  repeat,
  rmsNorm,
  silu,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { geluOf } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import { gridAngles, turnTokens } from './positions.ts';
import { gatedTokens, geluMlp, resizedTable, throughBlocks, vitBlock, type BlockParts, type Tokens } from './vit.ts';

/** Frames, rows and columns of patches of one picture; a still one has one frame, of two equal pictures. */
export type FrameGrid = readonly [frames: number, rows: number, columns: number];

export interface QwenTowerConfig {
  readonly kind: 'qwen2.5' | 'qwen3';
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly hidden: number;
  /** Numbers of a patch: channels, frames, rows, columns. */
  readonly patch: readonly [channels: number, frames: number, rows: number, columns: number];
  /** Side of the squares of patches that become one token. */
  readonly merge: number;
  readonly output: number;
  readonly theta: number;
  /** qwen2.5: blocks that see a whole picture, and the side of the windows of the others in merged tokens. */
  readonly whole: readonly number[];
  readonly window: number;
  /** qwen3: rows of the table of positions, and blocks behind which features are taken for the language model's first layers. */
  readonly positions: number;
  readonly taps: readonly number[];
  readonly activation: 'exact' | 'tanh' | 'quick';
}

/** A `vision_config`, or a config of its own. Throws `OpabiniaError`. */
export function qwenTowerConfig(read: ConfigReader, kind: QwenTowerConfig['kind']): QwenTowerConfig {
  const side = read.count('patch_size', kind === 'qwen3' ? 16 : 14);
  const merge = read.count('spatial_merge_size', 2);
  const list = (key: string, otherwise: readonly number[]) => (read.has(key) ? read.numbers(key) : otherwise);
  if (kind === 'qwen2.5' && read.text('hidden_act', 'silu') !== 'silu')
    throw read.wrong('hidden_act', `is '${read.text('hidden_act')}'`, "the tower's gate is 'silu'");
  return {
    kind,
    width: read.count('hidden_size', kind === 'qwen3' ? 1152 : 1280),
    layers: read.count('depth', kind === 'qwen3' ? 27 : 32),
    heads: read.count('num_heads', 16),
    hidden: read.count('intermediate_size', kind === 'qwen3' ? 4304 : 3420),
    patch: [
      read.count('in_channels', read.has('in_chans') ? read.count('in_chans') : 3),
      read.count('temporal_patch_size', 2),
      side,
      side,
    ],
    merge,
    output: read.count('out_hidden_size', 3584),
    theta: read.inner('rope_parameters')?.number('rope_theta', 10_000) ?? 10_000,
    whole: list('fullatt_block_indexes', [7, 15, 23, 31]),
    window: Math.max(1, Math.floor(read.number('window_size', 112) / side / merge)),
    positions: read.count('num_position_embeddings', 2304),
    taps: list('deepstack_visual_indexes', [8, 16, 24]),
    activation: kind === 'qwen3' ? geluOf(read, 'gelu_pytorch_tanh') : 'exact',
  };
}

/** Where each patch of a sequence stands, in the order of the sequence. */
interface Place {
  readonly row: number;
  readonly column: number;
  /** Number of its frame, over all pictures. */
  readonly frame: number;
  /** Number of its window, over all frames. */
  readonly window: string;
}

/** Squares row by row, patches row by row inside; grids are multiples of `merge`. */
function placesOf(grids: readonly FrameGrid[], merge: number, window: number): readonly Place[] {
  const places: Place[] = [];
  let frame = 0;
  for (const [frames, rows, columns] of grids)
    for (let f = 0; f < frames; f++, frame++)
      for (let n = 0; n < rows * columns; n++) {
        const square = Math.floor(n / merge ** 2);
        const inside = n % merge ** 2;
        const [y, x] = [Math.floor(square / (columns / merge)), square % (columns / merge)];
        places.push({
          row: y * merge + Math.floor(inside / merge),
          column: x * merge + (inside % merge),
          frame,
          window: [frame, Math.floor(y / window), Math.floor(x / window)].map((i) => String(i).padStart(6, '0')).join(),
        });
      }
  return places;
}

/** Tokens of one sequence in another order. */
function reordered(x: Tokens, order: readonly number[]): Tokens {
  const at = constantLike(x, order, 'n', { n: order.length }, 'i32');
  return repeat(gather(rearrange(x, 'b n c -> m=(b n) c'), at, 'm'), 'n c -> b n c', { b: 1 });
}

/** True where two patches have the same number. */
function same(like: Tensor, numbers: readonly number[]): Tensor<'n t', 'bool'> {
  const n = constantLike(like, numbers, 'n', { n: numbers.length }, 'i32');
  const t = constantLike(like, numbers, 't', { t: numbers.length }, 'i32');
  return repeat(n, 'n -> n t', { t: numbers.length }).eq(t);
}

export interface QwenEncoded {
  readonly embeddings: Tokens;
  /** In the order in which blocks read them: of windows in Qwen2.5-VL. */
  readonly hidden: readonly Tokens[];
  /** One token a square, picture by picture, row by row: `b n c` with b = 1. */
  readonly merged: Tokens;
  /** qwen3: what is added behind the language model's first layers, in order. */
  readonly deepstack: readonly Tokens[];
}

/** Patches `n k` (channels, frames, rows, columns), picture after picture, squares of `merge` × `merge` behind one another. */
export function qwenVision(
  p: Params,
  patches: Tensor<'n k', Float>,
  grids: readonly FrameGrid[],
  config: QwenTowerConfig,
): QwenEncoded {
  const { kind, width: c, merge, heads } = config;
  const [channels, frames, y, x] = config.patch;
  const eps = 1e-6;
  const places = placesOf(grids, merge, config.window);
  const weight = p.at('patch_embed', 'proj').get('weight', 'o i f y x', { o: c, i: channels, f: frames, y, x });
  const flat = einsum(patches, rearrange(weight, 'o i f y x -> o k=(i f y x)'), 'n k, o k -> n o');
  const first: Tokens = repeat(rearrange(flat, 'n o -> n c=(o)'), 'n c -> b n c', { b: 1 });
  const placed =
    kind === 'qwen3'
      ? first.add(p.at('patch_embed', 'proj').get('bias', 'c', { c })).add(tablePositions(p, grids, places, config))
      : first;

  // Stable: patches keep their order inside a window.
  const natural = Array.from(places.keys());
  const order =
    kind === 'qwen3'
      ? natural
      : natural.toSorted((a, b) => (places[a]?.window ?? '').localeCompare(places[b]?.window ?? '') || a - b);
  const ordered = order.map((i) => places[i] as Place);
  const embeddings = kind === 'qwen3' ? placed : reordered(placed, order);

  const head = c / heads;
  const frequencies = Array.from({ length: head / 4 }, (_, k) => config.theta ** ((-4 * k) / head));
  const angles = gridAngles(
    ordered.map(({ row, column }) => [row, column] as const),
    frequencies,
  );
  const windows = new Map([...new Set(ordered.map(({ window }) => window))].map((window, i) => [window, i]));
  const masks = {
    frame: same(
      patches,
      ordered.map(({ frame }) => frame),
    ),
    window: same(
      patches,
      ordered.map(({ window }) => windows.get(window) ?? 0),
    ),
  };
  const block = (i: number): BlockParts => {
    const at = p.at('blocks', i);
    const mlp = at.at('mlp');
    const whole = kind === 'qwen3' || config.whole.includes(i);
    return {
      norm: kind === 'qwen3' ? 'layer' : 'rms',
      norm1: at.at('norm1'),
      norm2: at.at('norm2'),
      qkv: at.at('attn', 'qkv'),
      out: at.at('attn', 'proj'),
      mask: () => (whole ? masks.frame : masks.window),
      turn: (z) => turnTokens(z, angles, 'half'),
      mlp: (z) =>
        kind === 'qwen3'
          ? geluMlp({ up: mlp.at('linear_fc1'), down: mlp.at('linear_fc2') }, z, config.hidden, config.activation)
          : gatedTokens({ gate: mlp.at('gate_proj'), up: mlp.at('up_proj'), down: mlp.at('down_proj') }, z, {
              hidden: config.hidden,
              bias: true,
              activation: silu,
            }),
    };
  };
  const hidden = throughBlocks(embeddings, config.layers, (z, i) => vitBlock(block(i), z, { heads, eps }));
  const end = hidden.at(-1) ?? embeddings;
  const square = merge ** 2;
  const merger = (at: Params, z: Tokens, after: boolean): Tokens => {
    const join = (t: Tokens): Tokens => rearrange(t, 'b (n m) c -> b n c=(m c)', { m: square });
    if (kind === 'qwen2.5') {
      const joined = join(rmsNorm(at.at('ln_q'), z, { eps }));
      const inner = gelu(linear(at.at('mlp', 0), joined, 'c', { size: square * c }));
      return linear(at.at('mlp', 2), inner, 'c', { size: config.output });
    }
    const normed = after ? layerNorm(at.at('norm'), join(z), { eps }) : join(layerNorm(at.at('norm'), z, { eps }));
    const inner = gelu(linear(at.at('linear_fc1'), normed, 'c', { size: square * c }));
    return linear(at.at('linear_fc2'), inner, 'c', { size: config.output });
  };
  const merged = merger(p.at('merger'), end, false);
  const squares = order.filter((_, i) => i % square === 0).map((i) => i / square);
  const back = squares.map((_, i) => squares.indexOf(i));
  return {
    embeddings,
    hidden,
    merged: kind === 'qwen3' ? merged : reordered(merged, back),
    deepstack:
      kind === 'qwen3'
        ? config.taps.map((layer, k) => merger(p.at('deepstack_merger_list', k), hidden[layer + 1] ?? end, true))
        : [],
  };
}

/** The learned table on each picture's grid, in the order of the sequence; frames share positions. */
function tablePositions(
  p: Params,
  grids: readonly FrameGrid[],
  places: readonly Place[],
  config: QwenTowerConfig,
): Tensor<'n c', Float> {
  const side = Math.round(Math.sqrt(config.positions));
  const table = p.at('pos_embed').get('weight', 'n c', { n: config.positions, c: config.width });
  const map = rearrange(table, '(h w) c -> h w c', { h: side });
  let start = 0;
  const parts = grids.map(([frames, height, width]) => {
    const own = places.slice(start, start + frames * height * width);
    start += own.length;
    const whole = rearrange(resizedTable(map, [height, width], 'corners'), 'h w c -> m=(h w) c');
    const at = own.map(({ row, column }) => row * width + column);
    return gather(whole, constantLike(table, at, 'n', { n: at.length }, 'i32'), 'm');
  });
  return concat(parts, 'n');
}
