// Small models with pictures in the layout of transformers, weights from a seed: `npx node test/support/made-vlm.ts gemma3 DIR`.
import { makeDirectory, writeJson, writeShards } from '../../examples/made/directory.ts';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { makeTensors } from '../../examples/made/weights.ts';
import { countParameters, type Shapes } from '../../models/configs/param-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';
import { llavaShapes } from '../../models/multimodal/llava/llava.ts';
import { qwenVlShapes } from '../../models/multimodal/qwen-vl-answer.ts';
import { sightedGemma3, sightedSmolVlm } from '../../models/multimodal/sighted-model.ts';

const vocabulary = 640;
const side = 56;

/** As published, but for the system's words. */
const gemmaTemplate = [
  "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}",
  "{{ '<start_of_turn>' + role + '\\n' }}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}",
  "{{ '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
].join('');

/** As published. */
const smolTemplate =
  "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

const text = {
  hidden_size: 96,
  intermediate_size: 160,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: vocabulary,
  max_position_embeddings: 1024,
};
const vision = {
  model_type: 'siglip_vision_model',
  hidden_size: 64,
  intermediate_size: 120,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  image_size: side,
  patch_size: 14,
};
const half = [0.5, 0.5, 0.5];
const pixels = {
  do_resize: true,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: half,
  image_std: half,
};

interface Making {
  readonly controls: readonly [string, ...string[]];
  readonly template: string;
  readonly end: string;
  /** Ids; 640 unless told otherwise. */
  readonly vocabulary?: number;
  /** Spellings that transformers' processors ask the tokenizer for. */
  readonly extra: Readonly<Record<string, string>>;
  readonly config: (idOf: (token: string) => number) => object;
  readonly processor: object;
  readonly shapes: (config: object) => Shapes;
}

const gemma3: Making = {
  controls: [
    '<bos>',
    '<eos>',
    '<pad>',
    '<start_of_turn>',
    '<end_of_turn>',
    '<start_of_image>',
    '<end_of_image>',
    '<image_soft_token>',
  ],
  template: gemmaTemplate,
  end: '<end_of_turn>',
  extra: { boi_token: '<start_of_image>', eoi_token: '<end_of_image>', image_token: '<image_soft_token>' },
  config: (idOf) => ({
    architectures: ['Gemma3ForConditionalGeneration'],
    model_type: 'gemma3',
    image_token_index: idOf('<image_soft_token>'),
    boi_token_index: idOf('<start_of_image>'),
    eoi_token_index: idOf('<end_of_image>'),
    mm_tokens_per_image: 4,
    eos_token_id: [idOf('<eos>'), idOf('<end_of_turn>')],
    text_config: {
      ...text,
      model_type: 'gemma3_text',
      head_dim: 24,
      query_pre_attn_scalar: 24,
      sliding_window: 24,
      layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
        sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
      },
      bos_token_id: idOf('<bos>'),
      eos_token_id: idOf('<eos>'),
      pad_token_id: idOf('<pad>'),
    },
    vision_config: vision,
  }),
  processor: {
    ...pixels,
    image_processor_type: 'Gemma3ImageProcessor',
    processor_class: 'Gemma3Processor',
    size: { height: side, width: side },
    resample: 2,
    image_seq_length: 4,
    do_pan_and_scan: null,
  },
  shapes: (config) => {
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'gemma3') throw new TypeError('the config is Gemma 3’s');
    return sightedGemma3(read.gemma3).shapes(new Map());
  },
};

const smolvlm: Making = {
  controls: [
    '<|endoftext|>',
    '<|im_start|>',
    '<end_of_utterance>',
    '<fake_token_around_image>',
    '<image>',
    '<global-img>',
    ...[1, 2, 3].flatMap((row) => [1, 2, 3].map((column) => `<row_${row}_col_${column}>`)),
  ],
  template: smolTemplate,
  end: '<end_of_utterance>',
  extra: {
    image_token: '<image>',
    fake_image_token: '<fake_token_around_image>',
    global_image_token: '<global-img>',
    end_of_utterance_token: '<end_of_utterance>',
  },
  config: (idOf) => ({
    architectures: ['SmolVLMForConditionalGeneration'],
    model_type: 'smolvlm',
    image_token_id: idOf('<image>'),
    scale_factor: 2,
    tie_word_embeddings: false,
    eos_token_id: idOf('<end_of_utterance>'),
    text_config: {
      ...text,
      model_type: 'llama',
      rms_norm_eps: 1e-5,
      rope_theta: 1e5,
      pad_token_id: 2,
      tie_word_embeddings: false,
    },
    vision_config: { ...vision, model_type: 'smolvlm_vision' },
  }),
  processor: {
    ...pixels,
    image_processor_type: 'SmolVLMImageProcessor',
    processor_class: 'SmolVLMProcessor',
    do_pad: true,
    do_image_splitting: true,
    size: { longest_edge: 3 * side },
    max_image_size: { longest_edge: side },
    resample: 1,
  },
  shapes: (config) => {
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'smolvlm') throw new TypeError('the config is SmolVLM’s');
    return sightedSmolVlm(read.smolvlm).shapes(new Map());
  },
};

/** As published, but for tools and video. */
const qwenTemplate = [
  "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n",
  "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}",
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}',
].join('');

function qwen(type: 'qwen2_5_vl' | 'qwen3_vl'): Making {
  const third = type === 'qwen3_vl';
  return {
    controls: [
      '<|endoftext|>',
      '<|im_start|>',
      '<|im_end|>',
      '<|vision_start|>',
      '<|vision_end|>',
      '<|image_pad|>',
      '<|video_pad|>',
    ],
    template: qwenTemplate,
    end: '<|im_end|>',
    extra: { image_token: '<|image_pad|>', video_token: '<|video_pad|>' },
    config: (idOf) => ({
      architectures: [third ? 'Qwen3VLForConditionalGeneration' : 'Qwen2_5_VLForConditionalGeneration'],
      model_type: type,
      image_token_id: idOf('<|image_pad|>'),
      video_token_id: idOf('<|video_pad|>'),
      vision_start_token_id: idOf('<|vision_start|>'),
      vision_end_token_id: idOf('<|vision_end|>'),
      tie_word_embeddings: false,
      text_config: {
        ...text,
        model_type: third ? 'qwen3_vl_text' : 'qwen2_5_vl_text',
        head_dim: 24,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        bos_token_id: idOf('<|endoftext|>'),
        eos_token_id: idOf('<|im_end|>'),
        rope_parameters: {
          rope_type: 'default',
          rope_theta: 1e4,
          mrope_section: [4, 4, 4],
          ...(third ? { mrope_interleaved: true } : {}),
        },
      },
      vision_config: third
        ? {
            depth: 4,
            hidden_size: 64,
            intermediate_size: 120,
            num_heads: 4,
            in_channels: 3,
            patch_size: 16,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            out_hidden_size: 96,
            num_position_embeddings: 36,
            deepstack_visual_indexes: [1, 2],
            hidden_act: 'gelu_pytorch_tanh',
          }
        : {
            depth: 4,
            hidden_size: 64,
            intermediate_size: 120,
            num_heads: 4,
            in_channels: 3,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            out_hidden_size: 96,
            window_size: 56,
            fullatt_block_indexes: [1, 3],
            hidden_act: 'silu',
          },
    }),
    processor: {
      ...pixels,
      image_processor_type: 'Qwen2VLImageProcessor',
      processor_class: third ? 'Qwen3VLProcessor' : 'Qwen2_5_VLProcessor',
      patch_size: third ? 16 : 14,
      temporal_patch_size: 2,
      merge_size: 2,
      size: { shortest_edge: 56 * 56, longest_edge: 28 * 28 * 16 },
      resample: 3,
    },
    shapes: (config) => {
      const read = readConfig(config, 'config.json');
      if (read.kind !== 'qwen-vl') throw new TypeError('the config is a Qwen-VL’s');
      // As the hub has them: of the third, all but the head below `model`.
      const shapes = [...qwenVlShapes(read.qwenVl)];
      return new Map(shapes.map(([name, shape]) => [third ? name.replace(/^visual\./, 'model.visual.') : name, shape]));
    },
  };
}

/** Few, so that vectors are short. */
const fewIds = 400;

/** As published, but for answers in a training. */
const oneVisionTemplate = [
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}",
  "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}{% endfor %}{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
].join('');

const thirds = [1, 2, 3].flatMap((rows) => [1, 2, 3].map((columns) => [rows * side, columns * side]));

/** Of two tiles' tokens at most, so that small pictures are shrunk already. */
const oneVision: Making = {
  controls: ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<image>', '<video>'],
  template: oneVisionTemplate,
  end: '<|im_end|>',
  vocabulary: fewIds,
  extra: { image_token: '<image>', video_token: '<video>' },
  config: (idOf) => ({
    architectures: ['LlavaOnevisionForConditionalGeneration'],
    model_type: 'llava_onevision',
    image_token_index: idOf('<image>'),
    video_token_index: idOf('<video>'),
    image_grid_pinpoints: thirds,
    vision_aspect_ratio: 'anyres_max_2',
    text_config: {
      ...text,
      model_type: 'qwen2',
      vocab_size: fewIds,
      rms_norm_eps: 1e-6,
      eos_token_id: idOf('<|im_end|>'),
    },
    vision_config: vision,
  }),
  processor: {
    ...pixels,
    image_processor_type: 'LlavaOnevisionImageProcessor',
    processor_class: 'LlavaOnevisionProcessor',
    do_pad: true,
    size: { height: side, width: side },
    image_grid_pinpoints: thirds,
    resample: 3,
  },
  shapes: (config) => {
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'llava') throw new TypeError('the config is a LLaVA’s');
    return llavaShapes(read.llava);
  },
};

/** As published, but for videos. */
const internVlTemplate = [
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}",
  "{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}",
].join('');

/** `large`: with the norms of InternViT-6B and one behind its last layer, and a Llama. */
function internVlMaking(large: boolean): Making {
  return {
    controls: ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<img>', '</img>', '<IMG_CONTEXT>', '<video>'],
    template: internVlTemplate,
    end: '<|im_end|>',
    vocabulary: fewIds,
    extra: {
      start_image_token: '<img>',
      end_image_token: '</img>',
      context_image_token: '<IMG_CONTEXT>',
      video_token: '<video>',
    },
    config: (idOf) => ({
      architectures: ['InternVLForConditionalGeneration'],
      model_type: 'internvl',
      image_token_id: idOf('<IMG_CONTEXT>'),
      image_seq_length: 4,
      downsample_ratio: 0.5,
      tie_word_embeddings: false,
      text_config: {
        ...text,
        model_type: large ? 'llama' : 'qwen2',
        vocab_size: fewIds,
        rms_norm_eps: 1e-6,
        eos_token_id: idOf('<|im_end|>'),
      },
      vision_config: {
        ...vision,
        model_type: 'internvl_vision',
        image_size: [side, side],
        patch_size: [14, 14],
        norm_type: large ? 'rms_norm' : 'layer_norm',
        use_qk_norm: large,
        attention_bias: !large,
        use_mean_pooling: !large,
      },
    }),
    processor: {
      ...pixels,
      image_processor_type: 'GotOcr2ImageProcessor',
      processor_class: 'InternVLProcessor',
      crop_to_patches: false,
      max_patches: 6,
      size: { height: side, width: side },
      resample: 3,
    },
    shapes: (config) => {
      const read = readConfig(config, 'config.json');
      if (read.kind !== 'internvl') throw new TypeError('the config is InternVL’s');
      return read.internVl.shapes(new Map([['language_model.lm_head.weight', []]]));
    },
  };
}

const makings = {
  gemma3,
  smolvlm,
  qwen2_5_vl: qwen('qwen2_5_vl'),
  qwen3_vl: qwen('qwen3_vl'),
  llava_onevision: oneVision,
  internvl: internVlMaking(false),
  internvl_6b: internVlMaking(true),
} as const;

export type VlmKind = keyof typeof makings;

/** The path of the directory. */
export function makeVlm(directory: string, kind: VlmKind): string {
  const making: Making = makings[kind];
  const { controls, template, end, extra, config: configOf, processor, shapes: shapesOf } = making;
  const write = (place: string, seed: number): number => {
    const tokenizer = makeTokenizer(making.vocabulary ?? vocabulary, { controls, end, chatTemplate: template });
    const config = configOf(tokenizer.idOf);
    writeJson(place, 'tokenizer.json', tokenizer.json);
    writeJson(place, 'tokenizer_config.json', { ...tokenizer.config, extra_special_tokens: extra });
    writeJson(place, 'config.json', config);
    writeJson(place, 'preprocessor_config.json', processor);
    // Read by transformers alone: how many tokens its processor writes for a picture.
    writeJson(place, 'processor_config.json', kind === 'gemma3' ? { image_seq_length: 4 } : { image_seq_len: 4 });
    const shapes = shapesOf(config);
    // A table that is the head too, and is scaled up where it is read: smaller, or each token would only ask for itself.
    const tensors = makeTensors(shapes, seed).map((tensor) =>
      kind === 'gemma3' && tensor.name.endsWith('embed_tokens.weight')
        ? { ...tensor, values: Array.from(tensor.values, (value) => value / 8) }
        : tensor,
    );
    writeShards(place, tensors);
    return countParameters(shapes);
  };
  return makeDirectory(directory, { what: kind, version: 1, seed: 1, write }).directory;
}

const [kind = '', directory] = process.argv.slice(2);
if (import.meta.main && Object.hasOwn(makings, kind) && directory !== undefined)
  console.log(makeVlm(directory, kind as VlmKind));
