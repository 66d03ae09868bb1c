// The towers of Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL, with the names of transformers: pictures of any size as one sequence of
// patches, squares of patches that become one token behind one another, rotations by row and column.
import {
  einsum,
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
import {
  placesOf,
  reordered,
  same,
  tablePositions,
  windowOrder,
  type FrameGrid,
  type Place,
} from './patch-sequence.ts';
import { gridAngles, turnTokens } from './positions.ts';
import type { QwenTowerConfig } from './qwen-vl-config.ts';
import { gatedTokens, geluMlp, throughBlocks, vitBlock, type BlockParts, type Tokens } from './vit.ts';

export interface QwenEncoded {
  readonly embeddings: Tokens;
  /** In the order in which blocks read them: of windows in Qwen2.5-VL. */
  readonly hidden: readonly Tokens[];
  /** One token a square, picture by picture, row by row: `b n c` with b = 1. */
  readonly merged: Tokens;
  /** qwen3: what is added behind the language model's first layers, in order. */
  readonly deepstack: readonly Tokens[];
}

const eps = 1e-6;

/** Patches `n k` (channels, frames, rows, columns), picture after picture, squares of `merge` × `merge` behind one another. */
export function qwenVision(
  p: Params,
  patches: Tensor<'n k', Float>,
  grids: readonly FrameGrid[],
  config: QwenTowerConfig,
): QwenEncoded {
  const { kind, heads } = config;
  const natural = placesOf(grids, config.merge, config.window);
  const order = kind === 'qwen3' ? Array.from(natural.keys()) : windowOrder(natural);
  const places = order.map((i) => natural[i] as Place);
  const placed = patchTokens(p, patches, config);
  const embeddings = kind === 'qwen3' ? placed.add(tablePositions(p, grids, places, config)) : reordered(placed, order);
  const block = blocksOf(p, patches, places, config);
  const hidden = throughBlocks(embeddings, config.layers, (x, i) => vitBlock(block(i), x, { heads, eps }));
  const end = hidden.at(-1) ?? embeddings;
  const merged = kind === 'qwen3' ? merge3(p.at('merger'), end, config, 'patch') : merge25(p.at('merger'), end, config);
  const square = config.merge ** 2;
  const squares = order.filter((_, i) => i % square === 0).map((i) => i / square);
  const back = squares.map((_, i) => squares.indexOf(i));
  return {
    embeddings,
    hidden,
    merged: kind === 'qwen3' ? merged : reordered(merged, back),
    deepstack:
      kind === 'qwen3'
        ? inOrder(config.taps).map(({ layer, k }) =>
            merge3(p.at('deepstack_merger_list', k), hidden[layer + 1] ?? end, config, 'square'),
          )
        : [],
  };
}

/** Taps as they are come by, whatever their order in the config, each with its place there, which names its merger. */
function inOrder(taps: readonly number[]): readonly { readonly layer: number; readonly k: number }[] {
  return taps.map((layer, k) => ({ layer, k })).sort((a, b) => a.layer - b.layer);
}

function patchTokens(p: Params, patches: Tensor<'n k', Float>, config: QwenTowerConfig): Tokens {
  const { kind, width: c } = config;
  const [channels, frames, y, x] = config.patch;
  const at = p.at('patch_embed', 'proj');
  const weight = at.get('weight', 'o i f y x', { o: c, i: channels, f: frames, y, x });
  const flat = einsum(patches, rearrange(weight, 'o i f y x -> o k=(i f y x)'), 'n k, o k -> n o');
  const tokens: Tokens = repeat(rearrange(flat, 'n o -> n c=(o)'), 'n c -> b n c', { b: 1 });
  return kind === 'qwen3' ? tokens.add(at.get('bias', 'c', { c })) : tokens;
}

/** The parts of each block. A token sees its frame; in most blocks of Qwen2.5-VL, its window alone. */
function blocksOf(
  p: Params,
  like: Tensor,
  places: readonly Place[],
  config: QwenTowerConfig,
): (index: number) => BlockParts {
  const { kind, hidden, activation } = config;
  const head = config.width / config.heads;
  const frequencies = Array.from({ length: head / 4 }, (_, k) => config.theta ** ((-4 * k) / head));
  const angles = gridAngles(
    places.map(({ row, column }) => [row, column] as const),
    frequencies,
  );
  const windows = new Map([...new Set(places.map(({ window }) => window))].map((window, i) => [window, i]));
  const frame = same(
    like,
    places.map((place) => place.frame),
  );
  const window = same(
    like,
    places.map((place) => windows.get(place.window) ?? 0),
  );
  return (i) => {
    const at = p.at('blocks', i);
    const mlp = at.at('mlp');
    const gated = { gate: mlp.at('gate_proj'), up: mlp.at('up_proj'), down: mlp.at('down_proj') };
    const plain = { up: mlp.at('linear_fc1'), down: mlp.at('linear_fc2') };
    return {
      norm: kind === 'qwen3' ? 'layer' : 'rms',
      norm1: at.at('norm1'),
      norm2: at.at('norm2'),
      qkv: at.at('attn', 'qkv'),
      out: at.at('attn', 'proj'),
      mask: () => (kind === 'qwen3' || config.whole.includes(i) ? frame : window),
      turn: (x) => turnTokens(x, angles, 'half'),
      mlp: (x) =>
        kind === 'qwen3'
          ? geluMlp(plain, x, hidden, activation)
          : gatedTokens(gated, x, { hidden, bias: true, activation: silu }),
    };
  };
}

const joined = (x: Tokens, { merge }: QwenTowerConfig): Tokens =>
  rearrange(x, 'b (n m) c -> b n c=(m c)', { m: merge ** 2 });

function merge25(p: Params, x: Tokens, config: QwenTowerConfig): Tokens {
  const wide = joined(rmsNorm(p.at('ln_q'), x, { eps }), config);
  const inner = gelu(linear(p.at('mlp', 0), wide, 'c', { size: wide.size('c') }));
  return linear(p.at('mlp', 2), inner, 'c', { size: config.output });
}

/** `normed`: whether the norm is of each patch, or of the square that it becomes part of. */
function merge3(p: Params, x: Tokens, config: QwenTowerConfig, normed: 'patch' | 'square'): Tokens {
  const norm = (y: Tokens): Tokens => layerNorm(p.at('norm'), y, { eps });
  const wide = normed === 'patch' ? joined(norm(x), config) : norm(joined(x, config));
  const inner = gelu(linear(p.at('linear_fc1'), wide, 'c', { size: wide.size('c') }));
  return linear(p.at('linear_fc2'), inner, 'c', { size: config.output });
}
