// Golden files of connectors that make one token of a square of patches.
import { concat, rearrange, repeat, type Float, type Tensor } from '../../../dsl/index.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import { ayaVision } from '../../../models/connectors/space-to-depth/aya-vision.ts';
import { commandA } from '../../../models/connectors/space-to-depth/command-a-vision.ts';
import { deepseekVl2 } from '../../../models/connectors/space-to-depth/deepseek-vl2.ts';
import { docowl } from '../../../models/connectors/space-to-depth/docowl.ts';
import { ernie45vl } from '../../../models/connectors/space-to-depth/ernie-4.5-vl.ts';
import { glm4v } from '../../../models/connectors/space-to-depth/glm-4v.ts';
import { hunyuanVl } from '../../../models/connectors/space-to-depth/hunyuan-vl.ts';
import { idefics3 } from '../../../models/connectors/space-to-depth/idefics3.ts';
import { internvl } from '../../../models/connectors/space-to-depth/internvl.ts';
import { kimi } from '../../../models/connectors/space-to-depth/kimi.ts';
import { lfm2vl } from '../../../models/connectors/space-to-depth/lfm2-vl.ts';
import { llama4 } from '../../../models/connectors/space-to-depth/llama-4.ts';
import { minimaxM3 } from '../../../models/connectors/space-to-depth/minimax-m3.ts';
import { mistral3 } from '../../../models/connectors/space-to-depth/mistral-3.ts';
import { nanovlm } from '../../../models/connectors/space-to-depth/nanovlm.ts';
import { paddleOcrVl } from '../../../models/connectors/space-to-depth/paddleocr-vl.ts';
import { qwen25vl } from '../../../models/connectors/space-to-depth/qwen2.5-vl.ts';
import { qwen2vl } from '../../../models/connectors/space-to-depth/qwen2-vl.ts';
import { qwen3vl } from '../../../models/connectors/space-to-depth/qwen3-vl.ts';
import { vila } from '../../../models/connectors/space-to-depth/vila.ts';
import { croppedTo } from '../../../models/parts/space-to-depth.ts';
import type { FeatureMap } from '../../../models/sequence/regions.ts';
import type { Adapter, Adapters, GoldenBuild } from '../golden-build.ts';

/** A connector that takes one map, with the configuration that a file states. */
const onMap =
  (from: AnyConnector, config: (golden: GoldenBuild) => object, map: (golden: GoldenBuild) => FeatureMap): Adapter =>
  (golden) =>
    golden.takeTokens(from.build(golden.params, [map(golden)], config(golden), golden.context));

const grid = (golden: GoldenBuild): FeatureMap => golden.gridMap();
const withoutClass = (golden: GoldenBuild): FeatureMap => golden.gridMap('features', 1);
const blocks = (golden: GoldenBuild): FeatureMap =>
  golden.blockMap(golden.input('features', 'n c'), golden.config.number('spatial_merge_size', 2));

const mergeOf = (key: string, otherwise?: number) => (golden: GoldenBuild) => ({
  merge: golden.config.number(key, otherwise),
});
const normed = (key: string, eps: number) => (golden: GoldenBuild) => ({
  merge: golden.config.number(key, 2),
  eps: golden.config.number('ln_eps', eps),
});

export const adapters: Adapters = {
  'internvl-mlp1': onMap(
    internvl,
    ({ config }) => ({ merge: shuffled(config, 'downsample_ratio'), version: 'v2', names: 'transformers', eps: 1e-5 }),
    withoutClass,
  ),
  'internvl-official-ps': onMap(
    internvl,
    ({ config }) => ({
      merge: shuffled(config, 'downsample_ratio'),
      version: config.text('ps_version'),
      names: 'mlp1',
      eps: 1e-5,
    }),
    grid,
  ),
  'idefics3-connector': onMap(idefics3, mergeOf('scale_factor'), grid),
  'nanovlm-projector': onMap(nanovlm, mergeOf('mp_pixel_shuffle_factor'), grid),
  'qwen2vl-merger': onMap(qwen2vl, normed('spatial_merge_size', 1e-6), blocks),
  'qwen25vl-merger': onMap(qwen25vl, normed('spatial_merge_size', 1e-6), blocks),
  'qwen3vl-merger': onMap(qwen3vl, qwen3, blocks),
  'qwen3vl-deepstack-merger': onMap(qwen3vl, qwen3, blocks),
  'deepseek-vl2-projector': onMap(deepseekVl2, deepseek, grid),
  'deepseek-vl2-token-pooling': onMap(deepseekVl2, deepseek, grid),
  'llama4-projector': onMap(
    llama4,
    ({ config }) => ({
      merge: shuffled(config, 'pixel_shuffle_ratio'),
      hidden: config.number('projector_input_dim'),
    }),
    grid,
  ),
  'aya-vision': onMap(ayaVision, normed('downsample_factor', 1e-6), grid),
  'command-a-vision': onMap(commandA, mergeOf('downsample_factor'), grid),
  'mistral3-projector': packedPictures,
  'kimi-k25-projector': (golden) => {
    const [merge = 2, across = merge] = golden.config.numbers('merge');
    if (across !== merge)
      throw golden.config.wrong('merge', 'is not a square', 'the connector merges squares of patches');
    const map = golden.blockMap(rearrange(golden.input('features', 'n s c'), 'n s c -> n=(n s) c'), merge);
    const config = { merge, eps: golden.config.number('ln_eps'), names: 'k2.5' } as const;
    golden.takeTokens(kimi.build(golden.params, [map], config, golden.context));
  },
  'lfm2-vl-projector': onMap(
    lfm2vl,
    ({ config }) => ({
      merge: config.number('downsample_factor'),
      hidden: config.number('projector_hidden_size'),
      normed: config.flag('layernorm', true),
      bias: config.flag('projector_bias', true),
      eps: 1e-5,
    }),
    (golden) => golden.input('features', 'b h w c'),
  ),
  'glm4v-merger': onMap(glm4v, normed('spatial_merge_size', 1e-5), blocks),
  'hunyuan-vl-merger': onMap(
    hunyuanVl,
    ({ config }) => ({ merge: config.number('spatial_merge_size', 2), eps: config.number('rms_eps') }),
    // The convolution does not read what is left beside the last whole square.
    (golden) => croppedTo(golden.gridMap(), golden.config.number('spatial_merge_size', 2)),
  ),
  'minimax-m3-projector': onMap(
    minimaxM3,
    ({ config }) => ({ merge: config.number('spatial_merge_size', 2), hidden: config.number('projector_hidden_size') }),
    blocks,
  ),
  'ernie45-vl-resampler': framePairs,
  'paddleocr-vl-projector': packedFrames,
  'vila-downsample-2x2': onMap(vila, vilaConfig, grid),
  'vila-downsample-3x3': onMap(vila, vilaConfig, grid),
  'mplug-docowl-hreducer': onMap(
    docowl,
    ({ config }) => ({ columns: Number(config.text('conv_shape', '1x4').split('x')[1]) }),
    withoutClass,
  ),
};

/** How many patches one side of a merged token has, of the ratio that it shrinks by. */
function shuffled(config: ConfigReader, ratio: string): number {
  return Math.round(1 / config.number(ratio, 0.5));
}

function qwen3({ config }: GoldenBuild): object {
  return {
    merge: config.number('spatial_merge_size'),
    eps: config.number('ln_eps', 1e-6),
    postShuffle: config.flag('use_postshuffle_norm', false),
  };
}

function deepseek({ config }: GoldenBuild): object {
  const pooled = config.flag('token_pooling', false);
  const downsample = 'downsample_mlp_gelu';
  const type = config.text('projector_type', pooled ? 'mlp_gelu' : downsample);
  const known = pooled ? ['mlp_gelu'] : ['mlp_gelu', downsample];
  if (!known.includes(type)) throw config.wrong('projector_type', `is '${type}'`, `known are ${known.join(', ')}`);
  return {
    // An MLP of every patch is one of squares of one.
    merge: pooled || type === downsample ? config.number('downsample_ratio', 2) : 1,
    depth: config.number('depth', 2),
    ratio: config.number('mlp_ratio', 1),
    form: pooled ? 'pooling' : 'downsample',
    newline: false,
  };
}

function vilaConfig({ config }: GoldenBuild): object {
  const type = config.text('mm_projector_type');
  const known = ['mlp_downsample', 'mlp_downsample_2x2_fix', 'mlp_downsample_3x3_fix'];
  if (!known.includes(type)) throw config.wrong('mm_projector_type', `is '${type}'`, `known are ${known.join(', ')}`);
  const isThree = type === 'mlp_downsample_3x3_fix';
  return { merge: isThree ? 3 : 2, narrowed: isThree, eps: config.number('ln_eps', 1e-5) };
}

/** One frame of patches in the order of its rows. */
function frame(tokens: Tensor<'n c', Float>, rows: number): FeatureMap {
  return repeat(rearrange(tokens, '(h w) c -> h w c', { h: rows }), 'h w c -> b h w c', { b: 1 });
}

/** Pictures of different sizes, their patches one behind the other. */
function packedPictures(golden: GoldenBuild): void {
  const { config } = golden;
  const [patch, merge] = [config.number('patch_size'), config.number('spatial_merge_size')];
  const grids = rowsOf(golden.numbers('image_sizes'), 2).map(
    ([h = 0, w = 0]) => [Math.floor(h / patch), Math.floor(w / patch)] as const,
  );
  const pieces = golden.pieces(
    golden.input('features', 'n c'),
    grids.map(([h, w]) => h * w),
  );
  const options = { merge, eps: config.number('rms_eps'), bias: config.flag('bias', true) };
  const tokens = pieces.map(
    // `unfold` does not read what is left beside the last whole square.
    (piece, i) =>
      mistral3.build(golden.params, [croppedTo(frame(piece, grids[i]?.[0] ?? 1), merge)], options, {}).tokens,
  );
  golden.take('tokens', concat(tokens, 'n'));
}

/** Pictures and videos one behind the other, each frame in the order of its rows. */
function packedFrames(golden: GoldenBuild): void {
  const grids = rowsOf(golden.numbers('image_grid_thw'), 3);
  const frames = grids.flatMap(([t = 1, h = 1, w = 1]) => Array.from({ length: t }, () => [h, w] as const));
  const pieces = golden.pieces(
    golden.input('features', 'n c'),
    frames.map(([h, w]) => h * w),
  );
  const options = { merge: golden.config.number('spatial_merge_size', 2), eps: golden.config.number('ln_eps', 1e-5) };
  const tokens = pieces.map(
    (piece, i) => paddleOcrVl.build(golden.params, [frame(piece, frames[i]?.[0] ?? 1)], options, {}).tokens,
  );
  golden.take('tokens', concat(tokens, 'n'));
}

/** Pictures and videos one behind the other, their frames in the order of squares. */
function framePairs(golden: GoldenBuild): void {
  const { config } = golden;
  const merge = config.number('spatial_merge_size', 2);
  const options = { merge, eps: config.number('ln_eps'), rmsEps: config.number('rms_eps') };
  const grids = rowsOf(golden.numbers('grid_thw'), 3);
  const pieces = golden.pieces(
    golden.input('features', 'n c'),
    grids.map(([t = 1, h = 1, w = 1]) => t * h * w),
  );
  const tokens = pieces.map((piece, i) => {
    const [t = 1, h = 1, w = 1] = grids[i] ?? [];
    const frames = golden.pieces(
      piece,
      Array.from({ length: t }, () => h * w),
    );
    const maps = frames.map((one) => golden.blockMap(one, options.merge));
    return ernie45vl.build(golden.params, maps, options, {}).tokens;
  });
  golden.take('tokens', concat(tokens, 'n'));
}

function rowsOf(values: readonly number[], columns: number): readonly (readonly number[])[] {
  return Array.from({ length: values.length / columns }, (_, i) => values.slice(i * columns, (i + 1) * columns));
}
