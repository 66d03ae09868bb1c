// Golden files of connectors with learned queries that attend to the whole picture.
import { OpabiniaError } from '../../../dsl/error.ts';
import { rearrange, slice } from '../../../dsl/index.ts';
import { aria, ariaTokens } from '../../../models/connectors/queries/aria.ts';
import { blip2 } from '../../../models/connectors/queries/blip-2.ts';
import { honeybeeResampler } from '../../../models/connectors/queries/honeybee-resampler.ts';
import { idefics2Latents } from '../../../models/connectors/queries/idefics2.ts';
import { instructedRows } from '../../../models/connectors/queries/instructblip.ts';
import { kosmos2 } from '../../../models/connectors/queries/kosmos-2.ts';
import { llamaVid } from '../../../models/connectors/queries/llama-vid.ts';
import { llavaNextPerceiver } from '../../../models/connectors/queries/llava-next-perceiver.ts';
import { llavaUhd } from '../../../models/connectors/queries/llava-uhd.ts';
import { monkey } from '../../../models/connectors/queries/monkey.ts';
import { mplugOwl } from '../../../models/connectors/queries/mplug-owl.ts';
import { mqt } from '../../../models/connectors/queries/mqt.ts';
import { qwenVl } from '../../../models/connectors/queries/qwen-vl.ts';
import { siglipMapHead } from '../../../models/connectors/queries/siglip-map-head.ts';
import { textMonkey } from '../../../models/connectors/queries/textmonkey.ts';
import type { AbstractorConfig } from '../../../models/parts/visual-abstractor.ts';
import type { FeatureMap } from '../../../models/sequence/regions.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-next-perceiver-resampler': (golden) => {
    const { config } = golden;
    const options = {
      latents: config.number('num_latents'),
      depth: config.number('depth'),
      heads: config.number('heads', 8),
      headSize: config.number('dim_head', 64),
      expansion: config.number('ff_mult'),
      projector: false,
    };
    golden.takeTokens(llavaNextPerceiver.build(golden.params, [golden.rowMap()], options, {}));
  },
  'idefics2-connector': (golden) => {
    const { config } = golden;
    const options = {
      latents: config.number('n_latents'),
      depth: config.number('depth'),
      heads: config.number('n_heads'),
      keyValueHeads: config.number('num_key_value_heads'),
      headSize: config.number('head_dim'),
      intermediate: config.number('mlp_intermediate'),
      eps: config.number('rms_norm_eps'),
    };
    const seen = golden.file.has('input.attention_mask') ? golden.mask('attention_mask', 'b n') : undefined;
    golden.take('latents', idefics2Latents(golden.params, golden.rowMap(), options, { seen }));
  },
  'qwen-resampler': (golden) =>
    golden.takeTokens(
      qwenVl.build(golden.params, [inputGrid(golden)], { ...grid(golden.config, 1e-6), ...both, path: '' }, {}),
    ),
  'monkey-resampler': (golden) => {
    const options = { ...grid(golden.config, 1e-5), ...both, path: '', post: false } as const;
    golden.takeTokens(monkey.build(golden.params, [inputGrid(golden)], options, {}));
  },
  'llava-uhd-resampler': (golden) => {
    const options = { ...grid(golden.config, 1e-6), positions: 'keys' } as const;
    golden.takeTokens(llavaUhd.build(golden.params, [targetGrid(golden)], options, {}));
  },
  'mqt-query-transformer': (golden) => {
    const options = { ...grid(golden.config, 1e-6), tokens: golden.config.number('num_visual_tokens') };
    golden.takeTokens(mqt.build(golden.params, [targetGrid(golden)], options, {}));
  },
  'qformer-blip2': (golden) => {
    const options = { ...qFormer(golden.config), queries: golden.config.number('num_query_tokens') };
    golden.takeTokens(blip2.build(golden.params, [golden.rowMap()], options, golden.context));
  },
  'qformer-instructblip': (golden) => {
    const queries = golden.config.number('num_query_tokens');
    const ids = golden.integers('instruction_ids', 'b t');
    const mask = golden.file.has('input.instruction_mask') ? golden.mask('instruction_mask', 'b t') : undefined;
    const picture = golden.input('features', 'b n c');
    const rows = instructedRows(golden.params, picture, ids, mask, { ...qFormer(golden.config), queries });
    golden.take('all', rows);
    golden.take('queries', slice(rows, 'q', { size: queries }));
  },
  'mplug-owl-abstractor': (golden) => {
    const queries = golden.config.number('num_query_tokens');
    const options = { ...abstractor(golden.config), queries, learned: 'query_tokens', path: 'abstractor' } as const;
    golden.takeTokens(mplugOwl.build(golden.params, [golden.rowMap()], options, {}));
  },
  'mplug-owl2-abstractor': (golden) => {
    const queries = golden.config.number('num_learnable_queries');
    const options = {
      ...abstractor(golden.config),
      queries,
      positions: true,
      learned: 'query_embeds',
      path: '',
    } as const;
    golden.takeTokens(mplugOwl.build(golden.params, [golden.rowMap()], options, {}));
  },
  'honeybee-resampler': (golden) => {
    const { config } = golden;
    const options = {
      ...abstractor(config),
      queries: config.number('num_query_tokens'),
      ends: config.number('num_eos_tokens', 0),
      placed: config.flag('pos_emb', false),
    };
    golden.takeTokens(honeybeeResampler.build(golden.params, [golden.rowMap()], options, {}));
  },
  'kosmos2-connector': (golden) => {
    const { config } = golden;
    const options = { queries: config.number('latent_query_num'), heads: config.number('attention_heads') };
    golden.takeTokens(kosmos2.build(golden.params, [golden.rowMap()], options, {}));
  },
  'aria-projector': (golden) => {
    const { config } = golden;
    const options = {
      queriesFor: pairsOf(config.raw('patch_to_query')),
      heads: config.number('num_heads'),
      eps: config.number('ln_eps'),
    };
    const x = golden.input('features', 'b n c');
    if (!golden.file.has('input.attn_mask'))
      return golden.takeTokens(aria.build(golden.params, [golden.rowMap()], options, {}));
    const seen = golden.mask('attn_mask', 'b n').not();
    golden.take('tokens', ariaTokens(golden.params, x, options, { seen }));
  },
  'textmonkey-token-resampler': (golden) => {
    const { config } = golden;
    const options = {
      keep: config.number('keep'),
      inner: config.number('in_dim'),
      depth: config.number('depth'),
      heads: config.number('heads'),
      headSize: config.number('dim_head'),
    };
    golden.takeTokens(textMonkey.build(golden.params, [golden.rowMap()], options, golden.context));
  },
  'siglip-map-head': (golden) => {
    const { config } = golden;
    const options = {
      heads: config.number('num_attention_heads'),
      intermediate: config.number('intermediate_size'),
      eps: config.number('ln_eps', 1e-6),
      projector: false,
    };
    siglipMapHead.build(golden.params, [golden.rowMap()], options, golden.context);
  },
  'llama-vid-context-attention': (golden) => {
    const side = contentSide(golden.config);
    const question = () => golden.input('text_queries', 'b t e');
    golden.takeTokens(llamaVid.build(golden.params, [golden.gridMap()], { side }, { question }));
  },
};

const both = { positions: 'queries and keys' } as const;

function grid(config: ConfigReader, eps: number) {
  return { side: config.number('grid_size'), heads: config.number('num_heads'), eps: config.number('ln_eps', eps) };
}

/** Tokens as a grid of the side that the file states. */
function inputGrid(golden: GoldenBuild): FeatureMap {
  const tokens = golden.input('features', 'b n c');
  const side = golden.config.number('input_grid', Math.round(Math.sqrt(tokens.size('n'))));
  return rearrange(tokens, 'b (h w) c -> b h w c', { h: side });
}

/** Tokens as a grid of `tgt_size`; what is behind is cut off. */
function targetGrid(golden: GoldenBuild): FeatureMap {
  const [h = 1, w = 1] = golden.config.numbers('tgt_size');
  return rearrange(slice(golden.input('features', 'b n c'), 'n', { size: h * w }), 'b (h w) c -> b h w c', { h });
}

function qFormer(config: ConfigReader) {
  return {
    layers: config.number('num_hidden_layers'),
    heads: config.number('num_attention_heads'),
    intermediate: config.number('intermediate_size'),
    crossEvery: config.number('cross_attention_frequency'),
    eps: config.number('layer_norm_eps'),
  };
}

function abstractor(config: ConfigReader): AbstractorConfig {
  return {
    layers: config.number('num_hidden_layers'),
    heads: config.number('num_attention_heads'),
    intermediate: config.number('intermediate_size'),
    innerEps: config.number('ffn_ln_eps', 1e-6),
  };
}

/** `{ "16": 5, "9": 3 }` as pairs. */
function pairsOf(table: unknown): readonly (readonly [number, number])[] {
  if (typeof table !== 'object' || table === null)
    throw new OpabiniaError('the file does not say how many queries a picture has', {
      op: 'verify',
      advice: 'the file may be damaged',
    });
  return Object.entries(table).map(([patches, queries]) => [Number(patches), Number(queries)]);
}

/** `mean`, or `grid:N`. */
function contentSide(config: ConfigReader): number {
  const type = config.text('compress_type', '');
  if (type === 'mean') return 1;
  const side = /^grid:(\d+)$/.exec(type)?.[1];
  return side === undefined ? 0 : Number(side);
}
