// JSON files of a model directory that are wrong in one way: configs, processors, generation, quantization, tokenizers, indices of shards.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeTokenizer } from '../../../examples/made/vocabulary.ts';
import { readConfig } from '../../../models/configs/read.ts';
import { releasedCambrian } from '../../../models/configs/released.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { readJsonFile } from '../../../runtime/checkpoint/hub.ts';
import { packedConfig } from '../../../runtime/checkpoint/packed/packed-config.ts';
import { readProcessor } from '../../../runtime/image/preprocess.ts';
import { readGenerationConfig } from '../../../runtime/text/generation-config.ts';
import { Tokenizer } from '../../../runtime/text/tokenizer.ts';
import { faults, type Fault } from './fault.ts';

type Json = Readonly<Record<string, unknown>>;

/** Each field with each value. */
function crossed(fields: readonly string[], values: readonly unknown[]): Readonly<Record<string, Json>> {
  return Object.fromEntries(
    fields.flatMap((field) =>
      values.map((value) => [`${field} = ${JSON.stringify(value)}`, { [field]: value }] as const),
    ),
  );
}

const noCount = [0, -1, 1.5, '64', 1e15, [], {}, true] as const;
const noNumber = [-1, '1', 1e300, [], {}, true] as const;

const llama: Json = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 100,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 1e4,
};

const ramp: Json = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
const ones = [1, 1, 1, 1, 1, 1, 1, 1];
const stretched = (change: Json): Json => ({
  original_max_position_embeddings: 64,
  rope_scaling: { rope_type: 'longrope', short_factor: ones, long_factor: ones, ...change },
});
const gemma = (rotations: Json | null): Json => ({
  model_type: 'gemma3_text',
  head_dim: 16,
  rope_theta: null,
  rope_parameters: rotations,
});

const config = (change: Json): unknown => readConfig({ ...llama, ...change }, 'config.json');

const languages: readonly Fault[] = [
  ...faults(
    'config',
    crossed(
      [
        'hidden_size',
        'intermediate_size',
        'num_hidden_layers',
        'num_attention_heads',
        'num_key_value_heads',
        'head_dim',
        'vocab_size',
        'max_position_embeddings',
      ],
      noCount,
    ),
    config,
  ),
  ...faults('config', crossed(['rms_norm_eps', 'rope_theta'], noNumber), config),
  ...faults('config', crossed(['tie_word_embeddings', 'attention_bias', 'mlp_bias'], [1, 'true', [], {}]), config),
  ...faults('config', crossed(['rope_scaling', 'rope_parameters'], [1, 'yarn', true, []]), config),
  ...faults<Json>(
    'config',
    {
      'an unknown type': { model_type: 'gpt-j' },
      'a type that every object has': { model_type: '__proto__' },
      'a type that is a list': { model_type: ['llama'] },
      'heads that do not divide': { num_attention_heads: 5 },
      'keys that do not divide the heads': { num_key_value_heads: 3 },
      'another gate': { hidden_act: 'relu' },
      'an unknown rotation': { rope_scaling: { rope_type: 'spiral', factor: 2 } },
      'an unknown key in rope_parameters': { rope_parameters: { rope_type: 'default', twist: 1 } },
      'factors of another length': {
        rope_scaling: { rope_type: 'longrope', short_factor: [1], long_factor: [1] },
        original_max_position_embeddings: 64,
      },
      'a stretch by 0': { rope_scaling: { rope_type: 'linear', factor: 0 } },
      'a ramp without a length': { rope_parameters: { ...ramp, low_freq_factor: 4 } },
      'a ramp that falls': { rope_parameters: { ...ramp, low_freq_factor: 8 } },
      'a part of nothing that turns': { partial_rotary_factor: 0 },
      'a part of less than nothing that turns': { rope_parameters: { partial_rotary_factor: -1 } },
      'a long factor of 0': { ...stretched({ long_factor: [1, 1, 0, 1, 1, 1, 1, 1] }) },
      'a short factor below 0': { ...stretched({ short_factor: [-1, 1, 1, 1, 1, 1, 1, 1] }) },
      'an amplitude of 0': { ...stretched({ attention_factor: 0 }) },
      'positions in parts below 0': { rope_scaling: { type: 'mrope', mrope_section: [-2, 5, 5] } },
      'positions in parts that are no numbers of frequencies': {
        rope_scaling: { type: 'mrope', mrope_section: [2.5, 2.5, 3] },
      },
      'layers stretched by 0': gemma({ full_attention: { rope_type: 'linear', factor: 0 } }),
      'layers of a base below 0': gemma({ sliding_attention: { rope_type: 'default', rope_theta: -1 } }),
      'an unknown key of one kind of layers': gemma({ sliding_attention: { rope_type: 'default', twist: 1 } }),
      'an unknown key beside kinds of layers': gemma({ sliding_attention: { rope_type: 'default' }, twist: 1 }),
      'an unknown kind of layers': gemma({
        full_attention: { rope_type: 'default' },
        chunked_attention: { rope_type: 'default' },
      }),
      'attention both ways': { ...gemma(null), use_bidirectional_attention: true },
      'scores by the root of 0': { ...gemma(null), query_pre_attn_scalar: 0 },
      'an unknown method of quantization': { quantization_config: { quant_method: 'magic' } },
      'no method of quantization': { quantization_config: {} },
      'an end that is not an id': { eos_token_id: -7 },
      'a hundred ends': { eos_token_id: Array.from({ length: 100 }, (_, i) => i) },
    },
    config,
  ),
  ...faults<unknown>(
    'config',
    { 'a list': [], 'a text': 'llama', null: null, 'a number': 7, 'nothing in it': {} },
    (json) => readConfig(json, 'config.json'),
  ),
];

const cambrian: Json = releasedCambrian['cambrian-8b'];

const cambrians: readonly Fault[] = [
  ...faults('Cambrian', crossed(['image_token_len', 'connector_depth', 'vision_hidden_size'], noCount), (change) =>
    readConfig({ ...cambrian, ...change }, 'config.json'),
  ),
  ...faults<Json>(
    'Cambrian',
    {
      'towers without counts': { mm_vision_tower_aux_token_len_list: [576] },
      'no towers': { mm_vision_tower_aux_list: [] },
      'towers that are one text': { mm_vision_tower_aux_list: 'clip' },
      'tokens that are not a square': { image_token_len: 575 },
      'queries that are not a square': { query_num_list: [575] },
      'queries that do not divide': { query_num_list: [529] },
      'an unknown projector': { mm_projector_type: 'mystery' },
      'a tower that is not known': { mm_vision_tower_aux_list: ['a', 'b', 'c', 'd'] },
      'groups that are miscounted': { num_query_group: 3 },
      'an SVA layer behind the last': { start_of_vision_sampler_layers: 999 },
      'a thousand towers': { mm_vision_tower_aux_list: Array.from({ length: 1000 }, () => 'clip') },
    },
    (change) => readConfig({ ...cambrian, ...change }, 'config.json'),
  ),
];

const processors: readonly Fault[] = [
  ...faults('processor', crossed(['size', 'crop_size'], ['large', -1, true, [1, 2, 3], [1, -2]]), (change) =>
    readProcessor(change, 'preprocessor_config.json'),
  ),
  ...faults(
    'processor',
    crossed(['image_mean', 'image_std'], ['a', [1], [1, 2, 3, 4], ['a', 'b', 'c'], {}]),
    (change) => readProcessor(change, 'preprocessor_config.json'),
  ),
  ...faults<Json>(
    'processor',
    {
      'a resampling that is not known': { resample: 99 },
      'a resampling that is a text': { resample: 'soft' },
      'a deviation of 0': { image_std: [0, 1, 1] },
      'a size of unknown sides': { size: { depth: 3 } },
      'a size of two rules': { size: { shortest_edge: 8, longest_edge: 9 } },
      'sides below 0': { size: { height: -1, width: 5 } },
      'canvases that are numbers': { image_grid_pinpoints: [1, 2] },
    },
    (json) => readProcessor(json, 'preprocessor_config.json'),
  ),
];

const generation: readonly Fault[] = faults(
  'generation',
  {
    ...crossed(['temperature', 'repetition_penalty'], [-1, 1e9, 'hot', []]),
    ...crossed(['top_p'], [-0.5, 2, 'most']),
    ...crossed(['top_k', 'max_new_tokens'], [-2, 1.5, 1e9, 'many']),
    ...crossed(['eos_token_id'], [-1, 'end', [1, 'b'], {}]),
  },
  (json) => readGenerationConfig(json, 'generation_config.json'),
);

const compressed = (weights: Json, group: Json): Json => ({
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: {
    group_0: { targets: ['Linear'], weights: { num_bits: 4, type: 'int', group_size: 128, ...weights }, ...group },
  },
});

const quantization: readonly Fault[] = faults<Json>(
  'quantization',
  {
    'an unknown key of AWQ': { quant_method: 'awq', bits: 4, group_size: 128, twist: 1 },
    'modules of GPTQ that differ': { quant_method: 'gptq', bits: 4, group_size: 128, dynamic: { '-:lm_head': {} } },
    'an unknown key of MLX': { bits: 4, group_size: 64, twist: 1 },
    'activations in few bits': compressed({}, { input_activations: { num_bits: 8, type: 'int' } }),
    'keys and values in few bits': { ...compressed({}, {}), kv_cache_scheme: { num_bits: 8, type: 'float' } },
    'weights that are turned': { ...compressed({}, {}), transform_config: { config_groups: { R1: {} } } },
    'an unknown key of compressed weights': compressed({ block_structure: [128, 128] }, {}),
    'an unknown method': { quant_method: 'fp42' },
    'a method that every object has': { quant_method: 'constructor' },
    'a group that is a text': { group_size: 'large', bits: 4 },
    'bits that are none': { group_size: 64 },
    'an unknown mode': { group_size: 64, bits: 4, mode: 'mxfp4' },
    'AWQ of another version': { quant_method: 'awq', version: 'gemv', bits: 4, group_size: 64 },
    'GPTQ of another format': { quant_method: 'gptq', checkpoint_format: 'marlin', bits: 4, group_size: 64 },
    'compressed-tensors without groups': { quant_method: 'compressed-tensors' },
    'compressed-tensors of another format': { quant_method: 'compressed-tensors', format: 'marlin-24' },
    'compressed-tensors of floats': {
      quant_method: 'compressed-tensors',
      config_groups: { a: { weights: { type: 'float', num_bits: 8, strategy: 'channel' } } },
    },
  },
  (stated) => packedConfig({ quantization_config: stated }, 'config.json'),
);

const good = makeTokenizer(300);
const tokenizer = (json: unknown): unknown =>
  new Tokenizer(json as object, good.config as Json, 'tokenizer.json').encode([{ kind: 'user', text: 'What is it?' }]);
const model = (good.json as { readonly model: Json }).model;

const tokenizers: readonly Fault[] = [
  ...faults<unknown>(
    'tokenizer',
    { 'a list': [], null: null, 'a text': 'BPE', empty: {}, 'no model': { ...good.json, model: undefined } },
    tokenizer,
  ),
  ...faults<Json>(
    'tokenizer model',
    {
      'an unknown type': { ...model, type: 'Magic' },
      'no vocabulary': { ...model, vocab: undefined },
      'a vocabulary that is a number': { ...model, vocab: 7 },
      'merges that are a text': { ...model, merges: 'ab' },
      'merges of numbers': { ...model, merges: [1, 2] },
    },
    (own) => tokenizer({ ...good.json, model: own }),
  ),
];

const indices: readonly Fault[] = faults<unknown>(
  'index of shards',
  {
    'a list': [],
    'no map': {},
    'a map that is a list': { weight_map: [] },
    'a map that is a text': { weight_map: 'model.safetensors' },
    'an empty map': { weight_map: {} },
    'a shard that is a number': { weight_map: { a: 1 } },
    'a shard that is null': { weight_map: { a: null } },
    'a shard that is not there': { weight_map: { a: 'model-00001-of-00001.safetensors' } },
    'a shard above': { weight_map: { a: '../model.safetensors' } },
    'a shard at the root': { weight_map: { a: '/etc/passwd' } },
    'a shard of Windows': { weight_map: { a: '..\\model.safetensors' } },
    'a shard of another kind': { weight_map: { a: 'model.py' } },
    'a shard without a name': { weight_map: { a: '' } },
    'a shard that is a device': { weight_map: { a: '/dev/zero' } },
    'a name with a zero byte': { weight_map: { a: 'model\u0000.safetensors' } },
    'itself as a shard': { weight_map: { a: 'model.safetensors.index.json' } },
  },
  (json, folder) => {
    const path = join(folder, 'model.safetensors.index.json');
    writeFileSync(path, JSON.stringify(json));
    openCheckpoint(path).close();
  },
);

const texts: readonly Fault[] = faults<string | Uint8Array>(
  'JSON text',
  {
    empty: '',
    'a brace': '{',
    'a comma too many': '{"a":1,}',
    'single quotes': "{'a':1}",
    'a comment': '{/**/}',
    NaN: '{"a":NaN}',
    'two objects': '{}{}',
    'no UTF-8': Uint8Array.of(0x7b, 0xff, 0x7d),
    'UTF-16': new Uint8Array(Uint16Array.from('{"a":1}', (c) => c.charCodeAt(0)).buffer),
    'zero bytes': new Uint8Array(64),
    'eleven million bytes': ' '.repeat(11_000_000),
  },
  (text, folder) => {
    const path = join(folder, 'config.json');
    writeFileSync(path, text);
    readJsonFile(path);
  },
);

export const jsonFaults: readonly Fault[] = [
  ...languages,
  ...cambrians,
  ...processors,
  ...generation,
  ...quantization,
  ...tokenizers,
  ...indices,
  ...texts,
];
