// What the configs of Qwen2.5-VL's and Qwen3-VL's towers say.
import { geluOf } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';

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
  const layers = read.count('depth', kind === 'qwen3' ? 27 : 32);
  const taps = list('deepstack_visual_indexes', [8, 16, 24]);
  const isBlock = (index: number, i: number): boolean =>
    Number.isInteger(index) && index >= 0 && index < layers && taps.indexOf(index) === i;
  if (kind === 'qwen3' && !taps.every(isBlock))
    throw read.wrong(
      'deepstack_visual_indexes',
      `is ${taps.join(', ')}`,
      `each is one of the ${layers} blocks, from 0, and none is there twice`,
    );
  return {
    kind,
    width: read.count('hidden_size', kind === 'qwen3' ? 1152 : 3584),
    layers,
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
    taps,
    activation: kind === 'qwen3' ? geluOf(read, 'gelu_pytorch_tanh') : 'exact',
  };
}
