// Golden files of connectors whose queries each see a part of the picture.
import { OpabiniaError } from '../../../dsl/error.ts';
import { concat, rearrange, repeat, type Float, type Tensor } from '../../../dsl/index.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import type { TowerReadings } from '../../../models/connectors/connector.ts';
import { honeybeeDAbstractor } from '../../../models/connectors/regions/honeybee-d-abstractor.ts';
import { windowQueries } from '../../../models/connectors/regions/granite-4-vision.ts';
import { llavaUhd2 } from '../../../models/connectors/regions/llava-uhd-v2.ts';
import { miniCpmV46, windowMerger } from '../../../models/connectors/regions/minicpm-v-4.6.ts';
import { miniGemini } from '../../../models/connectors/regions/mini-gemini.ts';
import {
  molmoPooled,
  withPadding,
  type MolmoConfig,
  type MolmoPadding,
} from '../../../models/connectors/regions/molmo.ts';
import { indexedTokens } from '../../../models/connectors/regions/molmo2.ts';
import { oryx } from '../../../models/connectors/regions/oryx.ts';
import { tokenPacker } from '../../../models/connectors/regions/tokenpacker.ts';
import { tokensOf } from '../../../models/parts/attention.ts';
import type { Box } from '../../../models/parts/roi-align.ts';
import { asSquareMap, type FeatureMap } from '../../../models/sequence/regions.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  tokenpacker: (golden) => {
    const { config } = golden;
    const options = {
      scale: config.number('scale_factor'),
      inner: config.number('embed_dim'),
      heads: config.number('num_heads'),
      eps: config.number('ln_eps', 1e-6),
      layers: [0],
    };
    const tower = { hidden: () => asSquareMap(golden.input('features_multi', 'b n c')) } as Pick<
      TowerReadings,
      'hidden'
    >;
    const context = { tower: () => tower as TowerReadings };
    golden.takeTokens(tokenPacker.build(golden.params, [golden.gridMap()], options, context));
  },
  'mgm-patch-info-mining': (golden) => {
    const low = golden.input('features', 'b n c');
    const rows = golden.config.number('grid', Math.round(Math.sqrt(low.size('n'))));
    const maps = [
      rearrange(low, 'b (h w) c -> b h w c', { h: rows }),
      rearrange(golden.input('features_aux', 'b c h w'), 'b c h w -> b h w c'),
    ];
    const config = { eps: golden.config.number('ln_eps', 1e-5) };
    golden.takeTokens(miniGemini.build(golden.params, maps, config, golden.context));
  },
  'molmo-pool': (golden) => {
    const { config } = golden;
    const [h = 1] = config.numbers('image_num_patch');
    const [type = '', square = '2x2'] = config.text('pooling').split(' ');
    const crops = rearrange(golden.input('features', 'b t n c'), 'b t (h w) c -> b=(b t) h w c', { h });
    const padding = config.has('image_padding_embed') ? config.text('image_padding_embed') : undefined;
    const map = padding === undefined ? crops : padded(golden, crops, padding);
    const options = {
      ...molmoPooling(config),
      pool: Number(square.split('x')[0]),
      query: poolingQuery(config, type),
      hidden: undefined,
    } as const;
    golden.take('tokens', molmoPooled(golden.params, map, options, undefined));
  },
  'molmo2-indexed-pool': (golden) => {
    const { config } = golden;
    const patches = rearrange(golden.input('features', 'b t n c'), 'b t n c -> b n=(t n) c');
    const table = golden.integers('pooled_patches_idx', 'b n k');
    const options = { ...molmoPooling(config), pool: 1, masked: config.flag('pooling_attention_mask', false) };
    golden.take('tokens', indexedTokens(golden.params, patches, table, options));
  },
  'granite4-window-qformer': graniteWindows,
  'granite4-window-qformer-offset': graniteWindows,
  'llava-uhd2-roi-resampler': (golden) => {
    const { config } = golden;
    const [h = 1] = config.numbers('tgt_size');
    const [down = 3, across = 3] = config.numbers('out_bins_hw');
    const map = rearrange(golden.input('features', 'b n c'), 'b (h w) c -> b h w c', { h });
    const options = {
      side: config.number('grid_size'),
      heads: config.number('num_heads'),
      eps: config.number('ln_eps', 1e-6),
      bins: [down, across],
      boxes: boxesOf(config.raw('regions_xyxy')),
    } as const;
    golden.takeTokens(llavaUhd2.build(golden.params, [map], options, {}));
  },
  'minicpmv46-window-merger': (golden) => {
    const { config } = golden;
    const options = {
      merge: config.numbers('window')[0] ?? 2,
      heads: config.number('num_attention_heads'),
      intermediate: config.number('window_intermediate_size'),
      eps: config.number('ln_eps', 1e-6),
    };
    const merged = pictures(golden).map((map) => tokensOf(windowMerger(golden.params, map, options)));
    golden.take('tokens', concat(merged, 'n'));
  },
  'minicpmv46-merger': (golden) => {
    const { config } = golden;
    const options = {
      merge: config.numbers('merge')[0] ?? 2,
      eps: config.number('ln_eps', 1e-6),
      times: config.number('merger_times', 1),
    };
    for (const [i, map] of pictures(golden).entries())
      golden.takeTokens(miniCpmV46.build(golden.params, [map], options, {}), `tokens.${i}`);
  },
  'honeybee-d-abstractor': (golden) => {
    const { config } = golden;
    if (config.number('num_feature_levels', 1) !== 1)
      throw config.wrong('num_feature_levels', 'is not 1', 'the original code refuses to run with several levels');
    const options = {
      queries: config.number('num_queries'),
      size: config.number('d_model'),
      layers: config.number('decoder_layers'),
      heads: config.number('decoder_attention_heads'),
      points: config.number('decoder_n_points'),
      intermediate: config.number('decoder_ffn_dim'),
      pooled: pooledTarget(config),
      ends: config.number('num_eos_tokens', 0),
      placed: golden.file.has('v_pos_emb'),
    };
    golden.takeTokens(honeybeeDAbstractor.build(golden.params, [golden.gridMap()], options, {}));
  },
  'oryx-dynamic-compressor': (golden) => {
    const inner = golden.config.number('mid_channel');
    for (const [mode, merge] of [
      ['image', 1],
      ['video', 2],
      ['video_long', 4],
    ] as const)
      if (golden.file.has(`output.${mode}`))
        golden.takeTokens(oryx.build(golden.params, [golden.gridMap()], { merge, inner, projector: false }, {}), mode);
  },
};

function pooledTarget(config: ConfigReader): 'query' | 'tgt' | 'none' {
  const target = config.text('pooled_v_target', 'query');
  if (target === 'query' || target === 'tgt' || target === 'none') return target;
  throw config.wrong('pooled_v_target', `is '${target}'`, 'query, tgt or none');
}

function padded(golden: GoldenBuild, crops: FeatureMap, kind: string): FeatureMap {
  const known = ['pad_and_partial_pad', 'pad_embed', 'regress'] as const;
  const found: MolmoPadding | undefined = known.find((name) => name === kind);
  if (found === undefined)
    throw new OpabiniaError(`there is no padding '${kind}'`, { op: 'verify', advice: known.join(', ') });
  const real: Tensor<'b t n', Float> = golden.input('image_masks', 'b t n');
  return withPadding(golden.params, crops, rearrange(real, 'b t (h w) -> b=(b t) h w', { h: crops.size('h') }), found);
}

function poolingQuery(config: ConfigReader, type: string): MolmoConfig['query'] {
  const known = { attention: 'first', attention_meanq: 'mean', stack: 'stack' } as const;
  const name = type.replaceAll('-', '_');
  if (name in known) return known[name as keyof typeof known];
  throw config.wrong('pooling', `is '${type}'`, `known are ${Object.keys(known).join(', ')}`);
}

function molmoPooling(config: ConfigReader) {
  const heads = config.number('image_num_heads');
  return {
    heads,
    keyValueHeads: config.number('image_num_key_value_heads', heads),
    headSize: config.number('image_head_dim'),
    pooled: config.number('image_emb_dim'),
  };
}

function graniteWindows(golden: GoldenBuild): void {
  const { config } = golden;
  const [querySide = 1, windowSide = 1] = config.text('downsample_rate').split('/').map(Number);
  const own = config.inner('qformer');
  if (own === undefined) throw config.wrong('qformer', 'is missing');
  const options = {
    querySide,
    windowSide,
    normEps: config.number('norm_eps', 1e-6),
    layers: own.number('num_hidden_layers', 1),
    heads: own.number('num_attention_heads'),
    intermediate: own.number('intermediate_size'),
    crossEvery: own.number('cross_attention_frequency', 1),
    eps: own.number('layer_norm_eps', 1e-12),
    streams: [],
  };
  const offset = config.has('spatial_offset') ? config.number('spatial_offset') : undefined;
  const map = asSquareMap(golden.input('features', 'b n c'));
  golden.take('tokens', windowQueries(golden.params, map, options, offset, undefined));
}

function boxesOf(values: unknown): readonly Box[] {
  const isBox = (value: unknown): value is Box =>
    Array.isArray(value) && value.length === 4 && value.every((side) => typeof side === 'number');
  if (Array.isArray(values) && values.every(isBox)) return values;
  throw new OpabiniaError('the file has no list of boxes', { op: 'verify', advice: 'the file may be damaged' });
}

/** Pictures of different sizes, one behind the other, each in the order of its rows. */
function pictures(golden: GoldenBuild): readonly FeatureMap[] {
  const sizes = golden.numbers('target_sizes');
  const grids = Array.from({ length: sizes.length / 2 }, (_, i) => [sizes[2 * i] ?? 1, sizes[2 * i + 1] ?? 1] as const);
  const all = golden.input('features', 'b n c').at('b', 0);
  const pieces = golden.pieces(
    all,
    grids.map(([h, w]) => h * w),
  );
  return pieces.map((piece, i) =>
    repeat(rearrange(piece, '(h w) c -> h w c', { h: grids[i]?.[0] ?? 1 }), 'h w c -> b h w c', { b: 1 }),
  );
}
