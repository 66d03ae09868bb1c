// Hugging Face checkpoints written as GGUF files, as llama.cpp's converters do: names, rows of pairs, Gemma's norms, settings, tokenizers;
// and LLaVA's tower and projector as an `mmproj`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConfigReader } from '../../models/configs/config-reader.ts';
import type { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import type { Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import type { GgufSetting, TensorToWrite } from './write-gguf.ts';

/** A checkpoint with its config; `root` stands before the language model's names. */
export interface HubModel {
  readonly config: ConfigReader;
  readonly checkpoint: Checkpoint;
  readonly numbers: (name: string) => readonly number[];
  readonly root?: string;
}

export const goldenModel = (file: GoldenFile): HubModel => ({
  config: file.config,
  checkpoint: file.checkpoint,
  numbers: (name) => file.numbers(name),
});

const inLayer: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.qkv_proj': 'attn_qkv',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'mlp.gate_up_proj': 'ffn_up',
};

const outside: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};

/** As convert_hf_to_gguf.py writes the tensors of a language model. */
export function languageTensors(
  { config, checkpoint, numbers, root = '' }: HubModel,
  architecture: string,
): readonly TensorToWrite[] {
  const isGemma = architecture.startsWith('gemma');
  return [...checkpoint.stored.values()].flatMap(({ name: full, shape }): readonly TensorToWrite[] => {
    if (!full.startsWith(root) || /^(input|output)\./.test(full)) return [];
    const name = full.slice(root.length);
    const [, layer, part = '', end = ''] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
    const outer = outside[name];
    const place =
      inLayer[part] ??
      {
        post_attention_layernorm: isGemma ? 'post_attention_norm' : 'ffn_norm',
        pre_feedforward_layernorm: 'ffn_norm',
        post_feedforward_layernorm: 'post_ffw_norm',
      }[part];
    if (outer === undefined && place === undefined) return [];
    let values = numbers(full);
    if (isGemma && /norm\.weight$/.test(name)) values = values.map((value) => 1 + value);
    const heads = { attn_q: 'num_attention_heads', attn_k: 'num_key_value_heads' }[place ?? ''];
    if (architecture === 'llama' && heads !== undefined) values = paired(values, shape, config.count(heads));
    return [{ name: outer ?? `blk.${layer}.${place}.${end}`, shape, values }];
  });
}

/** reshape(heads, 2, half, K).swap(1, 2) */
function paired(values: readonly number[], [rows = 0, wide = 1]: readonly number[], heads: number): number[] {
  const half = rows / heads / 2;
  return Array.from({ length: rows }, (_, row) => {
    const [head, inner] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const from = head * 2 * half + (inner % 2) * half + Math.floor(inner / 2);
    return values.slice(from * wide, (from + 1) * wide);
  }).flat();
}

/** Settings of the architecture from a config. */
export function languageSettings({ config }: HubModel, architecture: string): Record<string, GgufSetting> {
  const heads = config.count('num_attention_heads');
  const settings: Record<string, GgufSetting> = { 'general.architecture': architecture };
  const put = (key: string, value: GgufSetting | undefined): void => {
    if (value !== undefined) settings[`${architecture}.${key}`] = value;
  };
  const number = (key: string): number | undefined => (config.has(key) ? config.number(key) : undefined);
  put('block_count', config.count('num_hidden_layers'));
  put('context_length', config.count('max_position_embeddings'));
  put('embedding_length', config.count('hidden_size'));
  put('feed_forward_length', config.count('intermediate_size'));
  put('attention.head_count', heads);
  put('attention.head_count_kv', config.count('num_key_value_heads', heads));
  put('attention.layer_norm_rms_epsilon', config.number('rms_norm_eps'));
  put('rope.freq_base', number('rope_theta'));
  put('attention.key_length', number('head_dim'));
  put('attention.value_length', number('head_dim'));
  put('attention.sliding_window', number('sliding_window'));
  if (architecture === 'gemma3' && config.has('layer_types'))
    put(
      'attention.sliding_window_pattern',
      config.texts('layer_types').map((type) => type === 'sliding_attention'),
    );
  put('attn_logit_softcapping', number('attn_logit_softcapping'));
  put('final_logit_softcapping', number('final_logit_softcapping'));
  put('rope.scaling.original_context_length', number('original_max_position_embeddings'));
  return settings;
}

/** Long-RoPE's factors, which stand among the tensors. */
export function factorTensors({ config }: HubModel): readonly TensorToWrite[] {
  const scaling = config.inner('rope_scaling');
  if (scaling?.has('long_factor') !== true) return [];
  return (['long', 'short'] as const).map((which) => {
    const values = scaling.numbers(`${which}_factor`);
    return { name: `rope_factors_${which}.weight`, shape: [values.length], values };
  });
}

/** The byte BPE of a made directory as settings. */
export function tokenizerSettings(directory: string, { without = [] }: { readonly without?: readonly string[] } = {}) {
  const read = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(directory, name), 'utf8')) as Record<string, unknown>;
  const json = read('tokenizer.json') as {
    readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
    readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly merges: readonly string[] };
  };
  const config = read('tokenizer_config.json');
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) tokens[id] = token;
  for (const { id, content } of json.added_tokens) tokens[id] = without.includes(content) ? `[unused ${id}]` : content;
  const filled = Array.from(tokens, (token: string | undefined, id) => token ?? `[none ${id}]`);
  const control = new Set(json.added_tokens.map(({ id }) => id));
  const settings: Record<string, GgufSetting> = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': filled,
    'tokenizer.ggml.token_type': filled.map((_, id) => (control.has(id) ? 3 : 1)),
    'tokenizer.ggml.merges': json.model.merges,
    'tokenizer.ggml.add_bos_token': true,
  };
  for (const name of ['bos', 'eos'] as const) {
    const token = config[`${name}_token`];
    if (typeof token === 'string') settings[`tokenizer.ggml.${name}_token_id`] = filled.indexOf(token);
  }
  if (typeof config['chat_template'] === 'string') settings['tokenizer.chat_template'] = config['chat_template'];
  return settings;
}

const inBlock: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.out_proj': 'attn_out',
  layer_norm1: 'ln1',
  layer_norm2: 'ln2',
  'mlp.fc1': 'ffn_up',
  'mlp.fc2': 'ffn_down',
};

/** LLaVA's tower and projector, names of version 4: without the tower's last block, as the old converter writes them; of LLaVA-NeXT with its tiles. */
export function projectorFile({ config, checkpoint, numbers }: HubModel): {
  readonly settings: Readonly<Record<string, GgufSetting>>;
  readonly tensors: readonly TensorToWrite[];
} {
  const vision = config.inner('vision_config') ?? config;
  const canvases = config.raw('image_grid_pinpoints') as readonly (readonly number[])[] | undefined;
  const blocks = vision.count('num_hidden_layers') - 1;
  const root = 'vision_tower.vision_model.';
  const places: Readonly<Record<string, string>> = {
    'embeddings.class_embedding': 'v.class_embd',
    'embeddings.patch_embedding.weight': 'v.patch_embd.weight',
    'embeddings.position_embedding.weight': 'v.position_embd.weight',
    'pre_layrnorm.weight': 'v.pre_ln.weight',
    'pre_layrnorm.bias': 'v.pre_ln.bias',
  };
  const tensors = [...checkpoint.stored.values()].flatMap(({ name, shape }): readonly TensorToWrite[] => {
    const [, which, end] = /^multi_modal_projector\.linear_([12])\.(weight|bias)$/.exec(name) ?? [];
    if (which !== undefined) return [{ name: `mm.${which === '1' ? 0 : 2}.${end}`, shape, values: numbers(name) }];
    if (name === 'image_newline') return [{ name: 'model.image_newline', shape, values: numbers(name) }];
    if (!name.startsWith(root)) return [];
    const own = name.slice(root.length);
    const [, block, part = '', kind] = /^encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(own) ?? [];
    if (block !== undefined && Number(block) >= blocks) return [];
    const place = block === undefined ? places[own] : `v.blk.${block}.${inBlock[part]}.${kind}`;
    return place === undefined ? [] : [{ name: place, shape, values: numbers(name) }];
  });
  return {
    settings: {
      'general.architecture': 'clip',
      'clip.has_vision_encoder': true,
      'clip.has_llava_projector': true,
      'clip.projector_type': 'mlp',
      'clip.use_gelu': false,
      'clip.vision.image_size': vision.count('image_size'),
      'clip.vision.patch_size': vision.count('patch_size'),
      'clip.vision.embedding_length': vision.count('hidden_size'),
      'clip.vision.feed_forward_length': vision.count('intermediate_size'),
      'clip.vision.projection_dim': 32,
      'clip.vision.block_count': blocks,
      'clip.vision.attention.head_count': vision.count('num_attention_heads'),
      'clip.vision.attention.layer_norm_epsilon': 1e-5,
      'clip.vision.image_mean': [0.481_454_66, 0.457_827_5, 0.408_210_73],
      'clip.vision.image_std': [0.268_629_54, 0.261_302_58, 0.275_777_11],
      ...(Array.isArray(canvases)
        ? { 'clip.vision.image_grid_pinpoints': canvases.flat(), 'clip.vision.mm_patch_merge_type': 'spatial_unpad' }
        : {}),
    },
    tensors,
  };
}
