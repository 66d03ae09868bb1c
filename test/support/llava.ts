// A LLaVA of a few thousand parameters for tests, under either set of names, and what it answers when it is computed at one go.
import {
  concat,
  gelu,
  linear,
  randomParams,
  repeat,
  slice,
  trace,
  type FloatSource,
  type Tensor,
} from '../../dsl/index.ts';
import { clipVision } from '../../models/towers/clip.ts';
import { readLlava, type LlavaConfig } from '../../models/configs/llava.ts';
import { decoderLayers, embedTokens, finalNorm, logitsOf, openTurn } from '../../models/decoders/decoder.ts';
import { turnTables } from '../../models/decoders/turn-graph.ts';
import { llavaShapes } from '../../models/multimodal/llava/llava.ts';
import { type LlavaNames } from '../../models/multimodal/llava/llava-names.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

const fields = {
  text_config: {
    model_type: 'llama',
    hidden_size: 24,
    intermediate_size: 40,
    num_hidden_layers: 2,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    vocab_size: 50,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 256,
  },
  vision_config: {
    model_type: 'clip_vision_model',
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 3,
    num_attention_heads: 2,
    image_size: 12,
    patch_size: 4,
  },
  image_token_index: 49,
};

export const tiny = readLlava({ ...fields, model_type: 'llava' }, 'llava', 'tiny');
export const tinyNext = readLlava(
  {
    ...fields,
    model_type: 'llava_next',
    image_grid_pinpoints: [
      [12, 24],
      [24, 12],
      [24, 24],
    ],
  },
  'llava_next',
  'tiny',
);
export const tinyWithClass = readLlava(
  { ...fields, model_type: 'llava', vision_feature_select_strategy: 'full' },
  'llava',
  'tiny',
);

/** Features of several layers side by side, as some are trained on. */
export const tinyLayers = readLlava(
  { ...fields, model_type: 'llava', vision_feature_layer: [-3, -1] },
  'llava',
  'tiny',
);

/** A new name as an old one, as the two versions of transformers have them. */
export function oldName(name: string): string {
  if (name.startsWith('lm_head.')) return `language_model.${name}`;
  return name
    .replace(/^model\.language_model\./, 'language_model.model.')
    .replace(/^model\./, '')
    .replace(/^vision_tower\./, 'vision_tower.vision_model.');
}

/** The same numbers under both sets of names. */
export function tinySource(config: LlavaConfig, names: LlavaNames, dtype: 'f32' | 'f16' = 'f32'): FloatSource {
  const random = randomParams(23, { dtype });
  return shapedParams(llavaShapes(config, names), {
    ...random,
    read: (path, shape) => random.read(names === 'new' ? oldName(path) : path, shape),
  });
}

/** Pictures of noise, `h w c`. */
export function noise(seed: number, side = 12): Float32Array {
  return randomParams(seed)
    .read('picture', [side * side * 3])
    .map((x) => 40 * x);
}

/** What stands in a sequence: a token of text, a token of a view, or a newline. */
export type Item = { readonly id: number } | { readonly view: number; readonly token: number } | 'newline';

/** Logits of the last item of one sequence, in f64, without cache, states or slots: embeddings one behind the other. */
export function answer(config: LlavaConfig, views: readonly Float32Array[], items: readonly Item[]): Float64Array {
  const { image } = config.vision;
  const s = items.length;
  const graph = trace(
    tinySource(config, 'old'),
    (t) => {
      const pixels = t.input('pixels', 'b h w c', { b: Math.max(1, views.length), h: image, w: image, c: 3 });
      const encoded = clipVision(t.params.at('vision_tower'), pixels, config.vision);
      const states = concat(
        config.layers.map((layer) => encoded.hidden[encoded.hidden.length + layer] ?? encoded.embeddings),
        'c',
      );
      const p = t.params.at('multi_modal_projector');
      const up = gelu(
        linear(p.at('linear_1'), config.dropClass ? slice(states, 'n', { start: 1 }) : states, 'e', { size: 24 }),
        'exact',
      );
      const tokens = linear(p.at('linear_2'), up, 'e', { size: 24 });
      const language = t.params.at('language_model');
      const row = (item: Item): Tensor<'b s e', 'f32' | 'f16'> => {
        if (item === 'newline') return repeat(t.params.get('image_newline', 'e'), 'e -> b s e', { b: 1, s: 1 });
        if ('id' in item)
          return embedTokens(language, config.language.config, t.constant([item.id], 'b s', { b: 1, s: 1 }, 'i32'));
        return repeat(tokens.at('b', item.view).at('n', item.token), 'e -> b s e', { b: 1, s: 1 });
      };
      const turn = openTurn(t, config.language.config, { batch: 1, length: s });
      const decoder = decoderLayers(language.at('model'), config.language, turn);
      let hidden = concat(items.map(row), 's');
      for (let i = 0; i < decoder.layers; i++) hidden = decoder.layer(hidden, i);
      return {
        logits: logitsOf(
          language,
          config.language.config,
          finalNorm(language, config.language.config, slice(hidden, 's', { start: s - 1 })),
        ),
      };
    },
    { unread: 'ignore' },
  );
  const pixels = Float32Array.from(views.flatMap((view) => Array.from(view)));
  const inputs = new Map<string, Float32Array>([
    ['pixels', views.length === 0 ? noise(0) : pixels],
    ...Object.entries(
      turnTables(
        config.language.config,
        items.map((_, i) => i),
      ),
    ),
  ]);
  const source = tinySource(config, 'old');
  return (
    evaluate(graph, { inputs, params: (path, shape) => source.read(path, shape) }, { precision: 'f64' }).outputs.get(
      'logits',
    )?.data ?? new Float64Array()
  );
}
