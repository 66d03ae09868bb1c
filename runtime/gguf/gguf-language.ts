// Language models in GGUF: the settings as a Hugging Face config, and the names that its tensors have in a Hugging Face checkpoint.
import type { GgufFile, GgufTensor } from './gguf-file.ts';
import { GgufError } from './gguf-file.ts';
import { GgufSettings } from './gguf-settings.ts';

export const languageArchitectures = ['llama', 'qwen2', 'qwen3', 'gemma2', 'gemma3', 'phi3'] as const;
export type LanguageArchitecture = (typeof languageArchitectures)[number];

export interface GgufLanguage {
  readonly architecture: LanguageArchitecture;
  /** As `config.json` would have it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Norms are stored as the factor itself, which Gemma's checkpoints store less 1. */
  readonly wholeNorms: boolean;
  /** Heads of a matrix whose rows are in the order of adjacent pairs; undefined for one whose rows are where they belong. */
  readonly pairedHeads: (name: string) => number | undefined;
  /** The name in a Hugging Face checkpoint; undefined for what is not a parameter there. */
  readonly nameOf: (name: string) => string | undefined;
}

/** Throws `GgufError` for another architecture, and for settings that cannot be followed. */
export function ggufLanguage(file: GgufFile, readFactors: (tensor: GgufTensor) => Float32Array): GgufLanguage {
  const settings = new GgufSettings(file);
  const stated = settings.text('general.architecture');
  const architecture = languageArchitectures.find((known) => known === stated);
  if (architecture === undefined)
    throw new GgufError(
      file.path,
      `is of the architecture '${stated.slice(0, 80)}'`,
      `known are ${languageArchitectures.join(', ')}, and clip for LLaVA's mmproj`,
    );
  const config = configOf(file, architecture, readFactors);
  const [heads, keys] = [Number(config['num_attention_heads']), Number(config['num_key_value_heads'])];
  return {
    architecture,
    config,
    wholeNorms: architecture === 'gemma2' || architecture === 'gemma3',
    pairedHeads: (name) => {
      if (architecture !== 'llama') return undefined;
      return /\.attn_q\./.test(name) ? heads : /\.attn_k\./.test(name) ? keys : undefined;
    },
    nameOf: (name) => hubName(name, architecture),
  };
}

function configOf(
  file: GgufFile,
  architecture: LanguageArchitecture,
  readFactors: (tensor: GgufTensor) => Float32Array,
): Readonly<Record<string, unknown>> {
  const settings = new GgufSettings(file);
  const at = (key: string): string => `${architecture}.${key}`;
  if (settings.number(at('expert_count'), 0) > 0)
    throw new GgufError(file.path, 'is a mixture of experts', 'models without experts are read');
  const heads = settings.sameNumber(at('attention.head_count'));
  const hidden = settings.number(at('embedding_length'));
  const headSize = settings.number(at('attention.key_length'), hidden / heads);
  if (settings.number(at('attention.value_length'), headSize) !== headSize)
    throw new GgufError(file.path, 'has keys and values of two widths', 'models whose heads have one are read');
  const layers = settings.number(at('block_count'));
  const shared = {
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: settings.sameNumber(at('attention.head_count_kv'), heads),
    head_dim: headSize,
    intermediate_size: settings.sameNumber(at('feed_forward_length')),
    vocab_size: file.tensors.get('token_embd.weight')?.shape[0] ?? settings.number(at('vocab_size')),
    max_position_embeddings: settings.number(at('context_length')),
    rms_norm_eps: settings.number(at('attention.layer_norm_rms_epsilon')),
    rope_theta: settings.number(at('rope.freq_base'), 10_000),
    ...partialRotary(settings, file, architecture, headSize),
    tie_word_embeddings: !file.tensors.has('output.weight'),
    ...tokenIds(settings),
  };
  const scaling = scalingOf(file, architecture, readFactors);
  const rope = scaling === undefined ? {} : { rope_scaling: scaling };
  const window = settings.number(at('attention.sliding_window'), 0);
  switch (architecture) {
    case 'llama': {
      const plain = { ...shared, ...rope, attention_bias: file.tensors.has('blk.0.attn_q.bias') };
      return window > 0
        ? { ...plain, model_type: 'mistral', sliding_window: window }
        : { ...plain, model_type: 'llama', mlp_bias: file.tensors.has('blk.0.ffn_up.bias') };
    }
    case 'qwen2':
    case 'qwen3':
      return { ...shared, ...rope, model_type: architecture };
    case 'gemma2':
    case 'gemma3': {
      // The largest of either divides by the width of a head that its hidden size would give.
      const largest = architecture === 'gemma2' ? 46 : 62;
      // What llama.cpp takes where a file says nothing: Gemma 2's own caps and window, and no caps for Gemma 3.
      const isSecond = architecture === 'gemma2';
      const cap = (key: string, otherwise: number): number | null =>
        isSecond || settings.has(at(key)) ? settings.number(at(key), otherwise) : null;
      return {
        ...shared,
        ...rope,
        model_type: architecture === 'gemma2' ? 'gemma2' : 'gemma3_text',
        rope_theta: settings.number(at('rope.freq_base'), architecture === 'gemma2' ? 10_000 : 1e6),
        query_pre_attn_scalar: layers === largest ? hidden / heads : headSize,
        sliding_window: settings.number(at('attention.sliding_window'), isSecond ? 4096 : 0) || null,
        ...(architecture === 'gemma3' ? slidingOf(settings, at, layers) : {}),
        attn_logit_softcapping: cap('attn_logit_softcapping', 50),
        final_logit_softcapping: cap('final_logit_softcapping', 30),
      };
    }
    case 'phi3':
      return {
        ...shared,
        ...rope,
        model_type: 'phi3',
        ...(window > 0 ? { sliding_window: window } : {}),
        ...(settings.has(at('rope.scaling.original_context_length'))
          ? { original_max_position_embeddings: settings.number(at('rope.scaling.original_context_length')) }
          : {}),
      };
    default:
      return architecture satisfies never;
  }
}

/** Which layers of a Gemma 3 slide, and their rotations: stated as a period or layer by layer; else every sixth is full. */
function slidingOf(
  settings: GgufSettings,
  at: (key: string) => string,
  layers: number,
): Readonly<Record<string, unknown>> {
  const local = { rope_local_base_freq: settings.number(at('rope.freq_base_swa'), 10_000) };
  const key = at('attention.sliding_window_pattern');
  if (!settings.has(key)) return local;
  const slides = settings.flags(key);
  if (slides === undefined) return { ...local, sliding_window_pattern: settings.number(key) };
  if (slides.length !== layers) throw settings.wrong(key, `a list of ${layers}`);
  return { ...local, layer_types: slides.map((one) => (one ? 'sliding_attention' : 'full_attention')) };
}

/**
 * Tokens that end an answer by what they are called. The converter writes one end, that of tokenizer_config.json, which for Gemma and Phi-3 is
 * not the one that ends a turn; llama.cpp knows these by name as well (`special_eog_ids` of llama-vocab.cpp).
 */
const ends: ReadonlySet<string> = new Set([
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<end_of_utterance>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<EOT>',
]);

/** Ids of tokens that no text spells, which are called like an end. */
function endsByName(settings: GgufSettings): readonly number[] {
  const [tokens, types] = ['tokenizer.ggml.tokens', 'tokenizer.ggml.token_type'] as const;
  if (!settings.has(tokens) || !settings.has(types)) return [];
  const kinds = settings.numbers(types);
  return settings
    .texts(tokens)
    .flatMap((text, id) => (ends.has(text) && (kinds[id] === 3 || kinds[id] === 4) ? [id] : []));
}

function tokenIds(settings: GgufSettings): Readonly<Record<string, unknown>> {
  const id = (name: string): readonly number[] => {
    const key = `tokenizer.ggml.${name}_token_id`;
    return settings.has(key) ? [settings.number(key)] : [];
  };
  const [begin, end] = [id('bos'), [...new Set([...id('eos'), ...id('eot'), ...id('eom'), ...endsByName(settings)])]];
  return {
    ...(begin[0] === undefined ? {} : { bos_token_id: begin[0] }),
    ...(end.length === 0 ? {} : { eos_token_id: end }),
  };
}

/** `rope_scaling`. One factor a frequency, which Llama 3.1's files have as a tensor, is a long-RoPE whose two lists are equal. */
function scalingOf(
  file: GgufFile,
  architecture: LanguageArchitecture,
  readFactors: (tensor: GgufTensor) => Float32Array,
): Readonly<Record<string, unknown>> | undefined {
  const settings = new GgufSettings(file);
  const at = (key: string): string => `${architecture}.rope.scaling.${key}`;
  const factors = (name: string): readonly number[] | undefined => {
    const tensor = file.tensors.get(name);
    return tensor === undefined ? undefined : Array.from(readFactors(tensor));
  };
  const [one, long, short] = ['rope_freqs', 'rope_factors_long', 'rope_factors_short'].map((name) =>
    factors(`${name}.weight`),
  );
  const type = settings.text(at('type'), 'linear');
  if (!['none', 'linear', 'longrope', 'yarn'].includes(type))
    throw new GgufError(
      file.path,
      `stretches its positions by '${type.slice(0, 40)}'`,
      'known are none, linear, longrope, yarn, and factors in rope_freqs',
    );
  if (type === 'yarn') return yarnOf(file, architecture, (one ?? long ?? short) !== undefined);
  if ((long === undefined) !== (short === undefined) || (type === 'longrope' && (long ?? one) === undefined))
    throw new GgufError(
      file.path,
      `lacks the tensor 'rope_factors_${long === undefined ? 'long' : 'short'}.weight', and its positions are stretched by two lists`,
      'the file is not complete; convert the model again',
    );
  // llama.cpp's rules: the type is linear unless it is stated, the factor has an older name, 0 is none at all; and a list of factors comes on
  // top of it. Only what says that it is linear, and not by how much, is refused here.
  const older = `${architecture}.rope.scale_linear`;
  const isPromised = settings.has(at('type')) && type === 'linear' && (long ?? one) === undefined;
  const otherwise = settings.has(older) ? settings.number(older) : isPromised ? undefined : 0;
  const stated = settings.number(at('factor'), otherwise);
  const factor = type === 'none' || stated === 0 ? 1 : stated;
  const stretched = (list: readonly number[]): readonly number[] => list.map((value) => value * factor);
  const amplitude = settings.number(at('attn_factor'), 1);
  if (one !== undefined)
    return {
      rope_type: 'longrope',
      short_factor: stretched(one),
      long_factor: stretched(one),
      attention_factor: amplitude,
      original_max_position_embeddings: settings.number(`${architecture}.context_length`),
    };
  if (long !== undefined && short !== undefined)
    return {
      rope_type: 'longrope',
      short_factor: stretched(short),
      long_factor: stretched(long),
      ...(settings.has(at('attn_factor')) ? { attention_factor: settings.number(at('attn_factor')) } : {}),
    };
  if (amplitude !== 1)
    throw new GgufError(
      file.path,
      `has '${at('attn_factor')}' of ${amplitude}, and no factors of its positions`,
      'it is followed beside rope_freqs and rope_factors; the file may be damaged',
    );
  return factor === 1 ? undefined : { rope_type: 'linear', factor };
}

/** YaRN, whose cos and sin llama.cpp multiplies by 1 + ln(factor)/10, as its paper has it, and by what the file states besides. */
function yarnOf(
  file: GgufFile,
  architecture: LanguageArchitecture,
  hasFactors: boolean,
): Readonly<Record<string, unknown>> {
  const settings = new GgufSettings(file);
  const at = (key: string): string => `${architecture}.rope.scaling.${key}`;
  const odd = (
    [
      ['yarn_ext_factor', 1],
      ['yarn_attn_factor', 1],
      ['yarn_log_multiplier', 0],
    ] as const
  ).find(([key, usual]) => settings.number(at(key), usual) !== usual);
  if (odd !== undefined || hasFactors)
    throw new GgufError(
      file.path,
      `stretches its positions by 'yarn' with ${odd === undefined ? 'a list of factors' : `'${at(odd[0])}'`}`,
      'read is YaRN by its factor, its original length, its two betas and attn_factor',
    );
  const factor = settings.number(at('factor'));
  const optional = (key: string, field: string) => (settings.has(at(key)) ? { [field]: settings.number(at(key)) } : {});
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: settings.number(
      at('original_context_length'),
      settings.number(`${architecture}.context_length`),
    ),
    ...optional('yarn_beta_fast', 'beta_fast'),
    ...optional('yarn_beta_slow', 'beta_slow'),
    ...(settings.has(at('attn_factor'))
      ? { attention_factor: settings.number(at('attn_factor')) * (1 + 0.1 * Math.log(Math.max(1, factor))) }
      : {}),
  };
}

/** Channels of a head that turn, as the part of a head that a config states. Throws `GgufError` where the architecture turns them all. */
function partialRotary(
  settings: GgufSettings,
  file: GgufFile,
  architecture: LanguageArchitecture,
  headSize: number,
): Readonly<Record<string, unknown>> {
  const key = `${architecture}.rope.dimension_count`;
  const turned = settings.number(key, headSize);
  if (turned === headSize) return {};
  if (architecture === 'llama' || !Number.isInteger(turned) || turned <= 0 || turned > headSize || turned % 2 !== 0)
    throw new GgufError(
      file.path,
      `has '${key}' of ${turned} where heads have ${headSize} channels`,
      `${architecture === 'llama' ? 'this architecture turns all of them' : 'an even number turns, at most all of them'}; the file may be damaged`,
    );
  // What it comes to is cut down to whole channels, and the quotient may lie below its own.
  const part = turned / headSize;
  return { partial_rotary_factor: Math.trunc(headSize * part) === turned ? part : (turned + 0.5) / headSize };
}

const outer: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

const inLayer: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_qkv: 'self_attn.qkv_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** Where a family has another name for a place. */
const own: Partial<Record<LanguageArchitecture, Readonly<Record<string, string>>>> = {
  phi3: { ffn_up: 'mlp.gate_up_proj' },
  gemma2: gemmaNames(),
  gemma3: gemmaNames(),
};

function gemmaNames(): Readonly<Record<string, string>> {
  return {
    ffn_norm: 'pre_feedforward_layernorm',
    post_attention_norm: 'post_attention_layernorm',
    post_ffw_norm: 'post_feedforward_layernorm',
  };
}

function hubName(name: string, architecture: LanguageArchitecture): string | undefined {
  if (/^rope_(?:freqs|factors_long|factors_short)\.weight$/.test(name)) return undefined;
  const [, layer, part = '', end = ''] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const known = layer === undefined ? outer[part] : (own[architecture]?.[part] ?? inLayer[part]);
  // Under its own name it is reported as a tensor that the model does not have.
  if (known === undefined) return name;
  return layer === undefined ? `${known}.${end}` : `model.layers.${layer}.${known}.${end}`;
}
