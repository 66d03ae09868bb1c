// GGUF files that are wrong in one way: settings, tensors, tokenizers.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ggufDecoder } from '../../../models/decoders/gguf-decoder.ts';
import { ggufTokenizer } from '../../../runtime/gguf/gguf-tokenizer.ts';
import { openGgufLanguage } from '../../../runtime/gguf/open-language.ts';
import { openGgufProjector } from '../../../runtime/gguf/gguf-projector.ts';
import { ggufBytes, type GgufSetting, type TensorToWrite } from '../../support/write-gguf.ts';
import { faults, type Fault } from './fault.ts';

type Settings = Readonly<Record<string, GgufSetting | undefined>>;

const tokens = ['a', 'b', 'ab', '<end>'];

/** A Qwen2 of one small layer. */
export const goodSettings: Readonly<Record<string, GgufSetting>> = {
  'general.architecture': 'qwen2',
  'qwen2.block_count': 1,
  'qwen2.context_length': 64,
  'qwen2.embedding_length': 32,
  'qwen2.feed_forward_length': 32,
  'qwen2.attention.head_count': 2,
  'qwen2.attention.head_count_kv': 1,
  'qwen2.attention.layer_norm_rms_epsilon': 1e-6,
  'qwen2.rope.freq_base': 10_000,
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'qwen2',
  'tokenizer.ggml.tokens': tokens,
  'tokenizer.ggml.token_type': [1, 1, 1, 3],
  'tokenizer.ggml.merges': ['a b'],
  'tokenizer.ggml.eos_token_id': 3,
};

export function tensor(name: string, ...shape: readonly number[]): TensorToWrite {
  return { name, shape, values: new Float32Array(shape.reduce((all, size) => all * size, 1)) };
}

export const goodTensors: readonly TensorToWrite[] = [
  tensor('token_embd.weight', tokens.length, 32),
  tensor('output_norm.weight', 32),
  tensor('blk.0.attn_norm.weight', 32),
  tensor('blk.0.attn_q.weight', 32, 32),
  tensor('blk.0.attn_q.bias', 32),
  tensor('blk.0.attn_k.weight', 16, 32),
  { ...tensor('blk.0.attn_v.weight', 16, 32), raw: { type: 8, bytes: new Uint8Array(16 * 34) } },
  tensor('blk.0.ffn_norm.weight', 32),
];

/** Opened as `run` does, and every value read. */
async function open(bytes: Uint8Array, folder: string): Promise<void> {
  const path = join(folder, 'model.gguf');
  writeFileSync(path, bytes);
  const opened = await openGgufLanguage(path);
  try {
    ggufDecoder(opened, path);
    ggufTokenizer(opened.file);
    for (const name of opened.checkpoint.stored.keys()) opened.checkpoint.tensor(name);
  } finally {
    opened.checkpoint.close();
  }
}

/** The good settings with some changed, or left out where they are undefined. */
function changed(changes: Settings): Readonly<Record<string, GgufSetting>> {
  return Object.fromEntries(
    Object.entries({ ...goodSettings, ...changes }).filter(
      (entry): entry is [string, GgufSetting] => entry[1] !== undefined,
    ),
  );
}

const needed = Object.keys(goodSettings).filter(
  (key) => !/freq_base|head_count_kv|token_type|eos_token_id|ggml\.pre$/.test(key),
);
const counts = ['block_count', 'context_length', 'embedding_length', 'feed_forward_length', 'attention.head_count'].map(
  (key) => `qwen2.${key}`,
);

const settings: readonly Fault[] = [
  ...faults('gguf lacks', Object.fromEntries(needed.map((key) => [key, { [key]: undefined }])), (change, folder) =>
    open(ggufBytes(changed(change), goodTensors), folder),
  ),
  ...faults(
    'gguf setting',
    Object.fromEntries(
      [...counts, 'qwen2.attention.head_count_kv'].flatMap((key) =>
        (['text', true, -3, 0, 1.5, 4e9, ['a']] as const).map((value) => [
          `${key} = ${JSON.stringify(value)}`,
          { [key]: value },
        ]),
      ),
    ),
    (change, folder) => open(ggufBytes(changed(change), goodTensors), folder),
  ),
  ...faults<Settings>(
    'gguf setting',
    {
      'another architecture': { 'general.architecture': 'mamba' },
      'an architecture that every object has': { 'general.architecture': '__proto__' },
      'no text for an architecture': { 'general.architecture': 7 },
      'a projector where a model is wanted': { 'general.architecture': 'clip' },
      experts: { 'qwen2.expert_count': 8 },
      'heads that differ': { 'qwen2.attention.head_count': [2, 4] },
      'keys that are wider than values': { 'qwen2.attention.key_length': 16, 'qwen2.attention.value_length': 8 },
      'an unknown stretch of positions': { 'qwen2.rope.scaling.type': 'twisted' },
      'YaRN by less than nothing': { 'qwen2.rope.scaling.type': 'yarn', 'qwen2.rope.scaling.factor': -1 },
      'a stretch without its factor': { 'qwen2.rope.scaling.type': 'linear' },
      'an alignment of 24': { 'general.alignment': 24 },
      'an alignment of 0': { 'general.alignment': 0 },
      'an alignment that is a text': { 'general.alignment': 'page' },
      'an alignment of 2³¹': { 'general.alignment': 2 ** 31 },
      'one part of many': { 'split.count': 3, 'split.no': 0 },
      'parts without end': { 'split.count': 4_000_000_000 },
      'a part of a part': { 'split.count': 1.5 },
      'an unknown tokenizer': { 'tokenizer.ggml.model': 'bert' },
      'a tokenizer that every object has': { 'tokenizer.ggml.model': 'constructor' },
      'an unknown way to split': { 'tokenizer.ggml.pre': 'whatever' },
      'a way to split that every object has': { 'tokenizer.ggml.pre': '__proto__' },
      'tokens that are numbers': { 'tokenizer.ggml.tokens': [1, 2, 3, 4] },
      'a token twice': { 'tokenizer.ggml.tokens': ['a', 'b', 'a', '<end>'] },
      'fewer types than tokens': { 'tokenizer.ggml.token_type': [1, 1, 1] },
      'types that are texts': { 'tokenizer.ggml.token_type': ['1', '1', '1', '3'] },
      'merges that are numbers': { 'tokenizer.ggml.merges': [1] },
      'SentencePiece without scores': { 'tokenizer.ggml.model': 'llama' },
      'SentencePiece with too few scores': {
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.scores': [0.5],
      },
      'SentencePiece with an unknown type': {
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.scores': [0.5, 0.5, 0.5, 0.5],
        'tokenizer.ggml.token_type': [1, 1, 9, 3],
      },
      'begin-of-text as a text': { 'tokenizer.ggml.bos_token_id': 'a' },
      'a flag as a text': { 'tokenizer.ggml.add_bos_token': 'yes' },
      'a template that is a number': { 'tokenizer.chat_template': 7 },
    },
    (change, folder) => open(ggufBytes(changed(change), goodTensors), folder),
  ),
];

/** ggml's types that are known by name and not read, and numbers that are not types. */
const unread = [9, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 34, 35, 39, 40, 41, 4, 5, 31, 77, 4e9];
const blocks = [2, 3, 6, 7, 8, 10, 11, 12, 13, 14];

const withTensor = (one: TensorToWrite): Buffer => ggufBytes(goodSettings, [...goodTensors, one]);

const tensors: readonly Fault[] = [
  ...faults('gguf tensor of type', Object.fromEntries(unread.map((type) => [type, type])), (type, folder) =>
    open(withTensor({ ...tensor('x', 2, 256), raw: { type, bytes: new Uint8Array(4096) } }), folder),
  ),
  ...faults(
    'gguf rows of 31 as blocks of type',
    Object.fromEntries(blocks.map((type) => [type, type])),
    (type, folder) => open(withTensor({ ...tensor('x', 2, 31), raw: { type, bytes: new Uint8Array(4096) } }), folder),
  ),
  ...faults(
    'gguf blocks that end early, of type',
    Object.fromEntries(blocks.map((type) => [type, type])),
    (type, folder) => open(withTensor({ ...tensor('x', 64, 256), raw: { type, bytes: new Uint8Array(64) } }), folder),
  ),
  ...faults<TensorToWrite>(
    'gguf tensor',
    {
      'that is there already': tensor('token_embd.weight', 4, 32),
      'of five axes': { ...tensor('x', 1, 1, 1, 1, 4) },
      'of 2⁴⁰ rows': { ...tensor('x', 4), shape: [2 ** 40, 32] },
      'of more elements than numbers count': { ...tensor('x', 4), shape: [2 ** 40, 2 ** 40] },
      'larger than the file': { ...tensor('x', 4), shape: [4096, 4096] },
    },
    (one, folder) => open(withTensor(one), folder),
  ),
  ...faults<(bytes: Buffer) => Buffer>(
    'gguf bytes',
    {
      'another magic': (b) => Buffer.concat([Buffer.from('GGML'), b.subarray(4)]),
      'version 0': (b) => (b.writeUInt32LE(0, 4), b),
      'version 1': (b) => (b.writeUInt32LE(1, 4), b),
      'version 4': (b) => (b.writeUInt32LE(4, 4), b),
      'the other byte order': (b) => (b.writeUInt32BE(3, 4), b),
      '2³² tensors': (b) => (b.writeBigUInt64LE(2n ** 32n, 8), b),
      '2⁶³ settings': (b) => (b.writeBigUInt64LE(2n ** 63n, 16), b),
      'one tensor more than there are': (b) => (b.writeBigUInt64LE(b.readBigUInt64LE(8) + 1n, 8), b),
      'one setting more than there are': (b) => (b.writeBigUInt64LE(b.readBigUInt64LE(16) + 1n, 16), b),
      'a key of 2⁶³ bytes': (b) => (b.writeBigUInt64LE(2n ** 63n, 24), b),
      'a key longer than the file': (b) => (b.writeBigUInt64LE(2n ** 24n, 24), b),
      ...Object.fromEntries(
        [0, 3, 8, 23, 24, 40, 100, 500].map((size) => [`cut to ${size}`, (b: Buffer) => b.subarray(0, size)]),
      ),
      'the last tensor cut off': (b) => b.subarray(0, b.length - 64),
    },
    (change, folder) => open(change(ggufBytes(goodSettings, goodTensors)), folder),
  ),
];

const projector: Readonly<Record<string, GgufSetting>> = {
  'general.architecture': 'clip',
  'clip.projector_type': 'mlp',
  'clip.vision.image_size': 28,
  'clip.vision.patch_size': 14,
  'clip.vision.embedding_length': 8,
  'clip.vision.feed_forward_length': 8,
  'clip.vision.block_count': 0,
  'clip.vision.attention.head_count': 2,
  'clip.vision.attention.layer_norm_epsilon': 1e-5,
  'clip.vision.image_mean': [0.5, 0.5, 0.5],
  'clip.vision.image_std': [0.5, 0.5, 0.5],
};

const projectors: readonly Fault[] = [
  ...faults(
    'mmproj lacks',
    Object.fromEntries(Object.keys(projector).flatMap((key) => (key === 'clip.projector_type' ? [] : [[key, key]]))),
    async (key, folder) => {
      const path = join(folder, 'mmproj.gguf');
      writeFileSync(
        path,
        ggufBytes(Object.fromEntries(Object.entries(projector).filter(([name]) => name !== key)), []),
      );
      (await openGgufProjector(path)).file.close();
    },
  ),
  ...faults<Settings>(
    'mmproj',
    {
      'of another projector': { 'clip.projector_type': 'resampler' },
      'that is a language model': { 'general.architecture': 'llama' },
      'with more blocks than it has': { 'clip.vision.block_count': 23 },
      'with means that are texts': { 'clip.vision.image_mean': ['a', 'b', 'c'] },
      'with a size that is a text': { 'clip.vision.image_size': 'large' },
    },
    async (change, folder) => {
      const path = join(folder, 'mmproj.gguf');
      const all = Object.entries({ ...projector, ...change }) as [string, GgufSetting][];
      writeFileSync(path, ggufBytes(Object.fromEntries(all), []));
      (await openGgufProjector(path)).file.close();
    },
  ),
];

export const ggufFaults: readonly Fault[] = [...settings, ...tensors, ...projectors];
