// Golden files of what chooses and merges tokens.
import {
  constantLike,
  linear,
  pad,
  rearrange,
  reduce,
  repeat,
  rmsNorm,
  slice,
  softmax,
  type Float,
  type Tensor,
} from '../../../dsl/index.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import { clustered } from '../../../models/connectors/selection/chat-univi.ts';
import { keptVisual } from '../../../models/connectors/selection/fastv.ts';
import { gridResampler, resamplerWeights } from '../../../models/parts/grid-resampler.ts';
import { classLook, outlierRatio, pruneAndMerge } from '../../../models/connectors/selection/prumerge.ts';
import { zip } from '../../../models/connectors/selection/visionzip.ts';
import { attentionRow } from '../../../models/decoders/attention-rows.ts';
import { decoderLayers, type LanguageModel } from '../../../models/decoders/decoder.ts';
import { llama } from '../../../models/decoders/llama.ts';
import { anglesAt } from '../../../models/decoders/rope.ts';
import type { Sequence } from '../../../models/parts/attention.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  visionzip: (golden) => {
    const { config } = golden;
    const logits = golden.input('attention_logits', 'b a q n');
    const weights = slice(softmax(logits.at('q', 0).cast('f32'), 'n'), 'n', { start: 1 });
    const [hidden, metric] = [golden.input('hidden', 'b n c'), golden.input('metric', 'b n c')];
    const zippable = {
      classes: slice(hidden, 'n', { size: 1 }),
      patches: slice(hidden, 'n', { start: 1 }),
      attention: reduce(weights, 'b a n -> b n', 'sum'),
      metric: slice(metric, 'n', { start: 1 }),
    };
    const counts = { dominant: config.number('dominant'), contextual: config.number('contextual') };
    golden.take('tokens', zip(zippable, counts, golden.context.inspect));
  },
  prumerge: pruned,
  'prumerge-fixed-ratio': pruned,
  'chat-univi-dpc-knn': (golden) => {
    const { config } = golden;
    const options = { clusters: config.number('clusters'), neighbours: config.number('k') };
    const { tokens, cluster, weight } = clustered(golden.input('features', 'b n c'), options);
    golden.take('tokens', tokens);
    golden.take('cluster', cluster);
    golden.take('agg_weight', weight);
  },
  fastv: dropped,
  'fastv-mask': dropped,
  'pyramiddrop-rank-drop': (golden) => {
    const { config } = golden;
    const hidden = rearrange(golden.input('features', 'b t d'), 'b t d -> b s=(t) e=(d)');
    const [s, now] = [hidden.size('s'), config.number('image_tokens_now')];
    const model = languageModel(config, config.number('heads'), config.number('rms_eps'), s);
    const layer = golden.params.at('layers', config.number('rank_layer', 0));
    // Part of the layer, and of no effect on which tokens stay.
    layer.at('self_attn', 'v_proj').get('weight', 'o i');
    const last = config.number('prompt_len') + now - 1;
    const angles = anglesAt(places(hidden, s), model.config.rope, s);
    const row = attentionRow(layer, hidden, last, model, angles);
    const scores = padded(row, s);
    const slots = imageSlots(hidden, config.number('image_start'), now);
    const kept = keptVisual({ hidden, slots }, scores, { from: now, keep: config.number('keep'), form: 'drop' });
    golden.take('hidden', kept.hidden);
  },
  'llava-mini-compressor': (golden) => {
    const { config } = golden;
    const tokens = golden.input('features', 'b n c');
    const side = config.number('input_grid', Math.round(Math.sqrt(tokens.size('n'))));
    const map = rearrange(tokens, 'b (h w) c -> b h w c', { h: side });
    const options = {
      side: config.number('grid_size'),
      heads: config.number('num_heads'),
      eps: config.number('ln_eps', 1e-5),
      positions: 'queries and keys',
    } as const;
    golden.take('tokens', gridResampler(golden.params, map, options));
    golden.take('attention', resamplerWeights(golden.params, map, options));
  },
};

function pruned(golden: GoldenBuild): void {
  const { config } = golden;
  const x = golden.input('layer_input', 'b n c');
  const project = (name: string): Sequence => linear(golden.params.at(name), x, 'c', { size: x.size('c') });
  const [query, key] = [project('q_proj'), project('k_proj')];
  const patches = slice(golden.input('hidden', 'b n c'), 'n', { start: 1 });
  const look = slice(classLook(slice(query, 'n', { size: 1 }), key), 'n', { start: 1 });
  const ratio = config.flag('adaptive', false) ? outlierRatio(looksOf(golden)) : config.number('reduction_ratio');
  const keep = Math.trunc(patches.size('n') * ratio);
  golden.take('tokens', pruneAndMerge(patches, slice(key, 'n', { start: 1 }), look, { keep, neighbours: 32 }));
}

/** How much each class token looks at each patch, computed here: how many tokens stay decides the graph's shapes. */
function looksOf({ file }: GoldenBuild): readonly number[] {
  const [samples = 1, n = 1, c = 1] = file.shape('input.layer_input');
  const read = (name: string) => file.numbers(name);
  const x = read('input.layer_input');
  const [wq, bq, wk, bk] = [read('q_proj.weight'), read('q_proj.bias'), read('k_proj.weight'), read('k_proj.bias')];
  const project = (w: readonly number[], bias: readonly number[], row: number): readonly number[] =>
    bias.map((start, o) => bias.reduce((sum, _, i) => sum + (w[o * c + i] ?? 0) * (x[row * c + i] ?? 0), start));
  return Array.from({ length: samples }, (_, b) => {
    const query = project(wq, bq, b * n);
    const scores = Array.from({ length: n }, (_row, j) => {
      const key = project(wk, bk, b * n + j);
      return query.reduce((sum, value, i) => sum + value * (key[i] ?? 0), 0) / Math.sqrt(c);
    });
    const most = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - most));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.slice(1).map((power) => power / total);
  }).flat();
}

function dropped(golden: GoldenBuild): void {
  const { config, params } = golden;
  const hidden = rearrange(golden.input('embeds', 'b t d'), 'b t d -> b s=(t) e=(d)');
  const s = hidden.size('s');
  const model = languageModel(config, config.number('num_attention_heads'), config.number('rms_norm_eps'), s);
  const [from, layer] = [config.number('fast_v_image_token_length'), config.number('fast_v_agg_layer')];
  const start = config.number('fast_v_sys_length');
  const turn = (x: Hidden, positions: Tensor<'b s', 'i32'>, mask?: Tensor<string, 'bool'>) => ({
    angles: anglesAt(positions, model.config.rope, s),
    length: x.size('s'),
    mask,
    cache: undefined,
    inspect: undefined,
  });
  const all = places(hidden, s);
  const early = decoderLayers(params, model, turn(hidden, all));
  let x: Hidden = hidden;
  for (let i = 0; i < layer - 1; i++) x = early.layer(x, i);
  const scores = attentionRow(params.at('layers', layer - 1), x, s - 1, model, anglesAt(all, model.config.rope, s));
  golden.take('scores', slice(scores, 's', { start, size: from }));
  x = early.layer(x, layer - 1);
  const form = config.flag('inplace', true) ? 'drop' : 'mask';
  const keep = config.number('fast_v_attention_rank');
  const chosen = keptVisual({ hidden: x, slots: imageSlots(hidden, start, from) }, scores, { from, keep, form });
  x = chosen.hidden;
  const mask = chosen.seen === undefined ? undefined : rearrange(chosen.seen, 'b s -> b t=(s)');
  const late = decoderLayers(params, model, turn(x, chosen.kept ?? all, mask));
  for (let i = layer; i < model.config.layers; i++) x = late.layer(x, i);
  golden.take('hidden', rmsNorm(params.at('norm'), x, { eps: model.config.eps }));
}

type Hidden = Tensor<'b s e', Float>;

function languageModel(config: ConfigReader, heads: number, eps: number, s: number): LanguageModel {
  return llama({
    hidden_size: config.number('hidden_size'),
    intermediate_size: config.number('intermediate_size', 1),
    num_hidden_layers: config.number('num_hidden_layers', 1),
    num_attention_heads: heads,
    num_key_value_heads: config.number('num_key_value_heads', heads),
    vocab_size: 1,
    rms_norm_eps: eps,
    rope_theta: config.number('rope_theta', 10000),
    max_position_embeddings: s,
  });
}

/** The position along s. */
function places(like: Hidden, s: number): Tensor<'b s', 'i32'> {
  const all = Array.from({ length: s }, (_, i) => i);
  return repeat(constantLike(like, all, 's', { s }, 'i32'), 's -> b s', { b: like.sizeOf('b') });
}

/** Numbers of the visual tokens, which stand one behind the other; −1 elsewhere. */
function imageSlots(like: Hidden, start: number, count: number): Tensor<'b s', 'i32'> {
  const slots = Array.from({ length: like.size('s') }, (_, i) => (i >= start && i < start + count ? i - start : -1));
  return repeat(constantLike(like, slots, 's', { s: slots.length }, 'i32'), 's -> b s', { b: like.sizeOf('b') });
}

/** Zeros for what the row does not see. */
function padded(row: Tensor<'b s', Float>, s: number): Tensor<'b s', Float> {
  return pad(row, 's', { after: s - row.size('s') });
}
