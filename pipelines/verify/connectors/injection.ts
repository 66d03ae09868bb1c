// Golden files of what connectors do inside a language model.
import { OpabiniaError } from '../../../dsl/error.ts';
import { concat, rearrange, reduce, repeat, slice, stack, type Tensor } from '../../../dsl/index.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import { stacksOf } from '../../../models/connectors/injection/deepstack.ts';
import { flamingoLatents, gatedCrossAttention } from '../../../models/connectors/injection/flamingo.ts';
import { ideficsGatedLayer } from '../../../models/connectors/injection/idefics.ts';
import { ideficsLatents } from '../../../models/parts/idefics-perceiver.ts';
import { mllamaCrossLayer } from '../../../models/connectors/injection/llama-3.2-vision.ts';
import type { Sight } from '../../../models/parts/gated-attention.ts';
import { addedRows } from '../../../models/parts/slots.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'flamingo-perceiver': (golden) => {
    const { config } = golden;
    const options = {
      latents: config.number('num_latents'),
      depth: config.number('depth'),
      ...perceiverHeads(config),
      every: 1,
      immediate: true,
      frames: config.has('max_num_frames') ? config.number('max_num_frames') : undefined,
      pictures: config.has('max_num_media') ? config.number('max_num_media') : undefined,
    };
    golden.take('latents', flamingoLatents(golden.params, golden.input('features', 'b m f n c'), options));
  },
  'flamingo-gated-xattn': flamingoLayer,
  'flamingo-gated-xattn-all-media': flamingoLayer,
  'idefics-perceiver': (golden) => {
    const { config } = golden;
    const options = {
      latents: config.number('n_latents'),
      depth: config.number('depth'),
      heads: config.number('n_heads'),
      headSize: config.number('head_dim'),
      headNorms: config.flag('qk_layer_norms', false),
    };
    golden.take('latents', ideficsLatents(golden.params, golden.input('features', 'b n c'), options));
  },
  'idefics-gated-xattn': (golden) => {
    const { config } = golden;
    const options = {
      heads: config.number('num_attention_heads'),
      intermediate: config.number('intermediate_size'),
      headNorms: config.flag('qk_layer_norms', false),
      gate: config.text('alpha_type', 'float') === 'vector' ? 'vector' : 'number',
      eps: config.number('rms_norm_eps'),
    } as const;
    const context = golden.input('vision', 'b n c');
    const sight = additiveSight(golden, 'image_attention_mask');
    const sees = golden.input('gate', 'b s').ne(0);
    const hidden = golden.input('hidden', 'b s e');
    golden.take('hidden', ideficsGatedLayer(golden.params, hidden, { context, sight, sees }, options));
  },
  'mllama-cross-attention-layer': (golden) => {
    const { config } = golden;
    const options = {
      heads: config.number('num_attention_heads'),
      keyValueHeads: config.number('num_key_value_heads'),
      headSize: config.number('head_dim'),
      intermediate: config.number('intermediate_size'),
      eps: config.number('rms_norm_eps'),
    };
    const context = golden.input('vision', 'b n c');
    const sight = additiveSight(golden, 'cross_attention_mask');
    const rows = golden.input('full_text_row_masked_out_mask', 'b i s j').at('i', 0).at('j', 0);
    const hidden = golden.input('hidden', 'b s e');
    golden.take('hidden', mllamaCrossLayer(golden.params, hidden, { context, sight, sees: rows.ne(0) }, options));
  },
  'qwen3vl-deepstack-inject': (golden) => {
    const mask = golden.integers('visual_pos_masks', 'b s');
    const flat = rearrange(mask, 'b s -> r=(b s)');
    // Rows stand in the order of the mask, all samples one behind the other.
    const slot = rearrange(runningCount(golden, flat).sub(1), '(b s) -> b s', { s: mask.size('s') });
    const rows = golden.input('visual_embeds', 'n e');
    const all = repeat(rows, 'n e -> b n e', { b: mask.sizeOf('b') });
    golden.take('hidden', addedRows(golden.input('hidden', 'b s e'), all, slot.where(mask.ne(0), -1)));
  },
  'deepstack-split': splitStacks,
};

function perceiverHeads(config: ConfigReader) {
  return { heads: config.number('heads'), headSize: config.number('dim_head'), expansion: config.number('ff_mult') };
}

function flamingoLayer(golden: GoldenBuild): void {
  const { config } = golden;
  const options = { ...perceiverHeads(config), immediate: config.flag('only_attend_immediate_media', true) };
  const locations = golden.integers('media_locations', 'b s');
  const flags = locations.ne(0).cast('i32');
  const wide = repeat(flags, 'b s -> b r s', { r: flags.size('s') });
  const [r, s] = [golden.trace.iota('r', flags.size('s')), golden.trace.iota('s', flags.size('s'))];
  const before = repeat(r, 'r -> r s', { s: flags.size('s') }).ge(s);
  const picture = rearrange(reduce(wide.where(before, 0), 'b r s -> b r', 'sum'), 'b r -> b s=(r)');
  const [hidden, media] = [golden.input('hidden', 'b s e'), golden.input('media', 'b m n c')];
  golden.take('hidden', gatedCrossAttention(golden.params, hidden, media, picture, options));
}

/** How many of the numbers up to each position are not zero. */
function runningCount(golden: GoldenBuild, x: Tensor<'r', 'i32'>): Tensor<'r', 'i32'> {
  const size = x.size('r');
  const others = repeat(rearrange(x.ne(0).cast('i32'), 'r -> t=(r)'), 't -> r t', { r: size });
  const before = repeat(golden.trace.iota('r', size), 'r -> r t', { t: size }).ge(golden.trace.iota('t', size));
  return reduce(others.where(before, 0), 'r t -> r', 'sum');
}

/** An additive mask of 0 and the lowest number as a mask. A row of nothing but the lowest attends to all alike, as one of zeros would. */
function additiveSight(golden: GoldenBuild, name: string): Sight {
  const stray = golden.numbers(name).find((value) => value !== 0 && value > -1e30);
  if (stray !== undefined)
    throw new OpabiniaError(`'input.${name}' has ${stray}, and a mask has 0 and the lowest number`, { op: 'verify' });
  return golden.input(name, 'b i q n').at('i', 0).gt(-1);
}

/** Pictures of different numbers of tiles, their views one behind the other, the whole picture first. */
function splitStacks(golden: GoldenBuild): void {
  const { config } = golden;
  const grids = gridsOf(config.raw('grids_wh'));
  const all = rearrange(golden.input('features', 'v n c'), 'v (h w) c -> v h w c', { h: config.number('patch_grid') });
  const sampling = config.text('deepstack_sampling', '2d') === '1d' ? '1d' : '2d';
  const most = config.number('num_crops');
  let start = 0;
  const pictures = grids.map(([columns, rows]) => {
    const views = Array.from({ length: 1 + rows * columns }, () =>
      rearrange(slice(all, 'v', { start: start++, size: 1 }), 'v h w c -> b=(v) h w c'),
    );
    const [whole] = views;
    if (whole === undefined) throw new OpabiniaError('a picture has no view', { op: 'verify' });
    const tiles = stacksOf(views.slice(1), [rows, columns], sampling);
    return { whole, stacks: Array.from({ length: most }, (_, s) => tiles[s] ?? whole.mul(0)) };
  });
  golden.take(
    'global',
    concat(
      pictures.map(({ whole }) => whole),
      'b',
    ),
  );
  const stacks = Array.from({ length: most }, (_, s) =>
    concat(
      pictures.map((picture) => picture.stacks[s] ?? picture.whole),
      'b',
    ),
  );
  golden.take('stacks', rearrange(stack(stacks, 's'), 'b h w c s -> s b h w c'));
}

function gridsOf(values: unknown): readonly (readonly [columns: number, rows: number])[] {
  const isGrid = (value: unknown): value is readonly [number, number] =>
    Array.isArray(value) && value.length === 2 && value.every((size) => Number.isInteger(size));
  if (Array.isArray(values) && values.every(isGrid)) return values;
  throw new OpabiniaError('the file has no list of grids', { op: 'verify', advice: 'the file may be damaged' });
}
