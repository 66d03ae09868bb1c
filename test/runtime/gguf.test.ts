// GGUF files: the vectors of four families and of LLaVA's mmproj; every other family by its own PyTorch vectors, written as GGUF here; and
// what is refused.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { ggufDecoder } from '../../models/decoders/gguf-decoder.ts';
import { frequencies } from '../../models/decoders/rope.ts';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { languageGolden } from '../../pipelines/verify/kinds/language-model.ts';
import { compare, modelTolerance } from '../../pipelines/verify/verdict.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { openGguf } from '../../runtime/gguf/gguf-file.ts';
import { openGgufLanguage } from '../../runtime/gguf/open-language.ts';
import { factorTensors, goldenModel, languageSettings, languageTensors } from '../support/convert-to-gguf.ts';
import { ggufBytes, writeGguf, type GgufSetting, type TensorToWrite } from '../support/write-gguf.ts';

const folder = join(import.meta.dirname, '../golden/quant');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-gguf-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const expected = readdirSync(folder).filter((name) => name.endsWith('.expected.safetensors'));
test.each(expected)(
  '%s',
  async (name) => {
    const rows = await verifyFile(join(folder, name), referenceBackend());
    expect(rows.length).toBeGreaterThan(3);
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
  },
  60_000,
);

// ---- families whose vectors are Hugging Face checkpoints ---------------------------------------------------------------

test.each([
  ['llama-gqa', 'llama'],
  ['yi-style', 'llama'],
  ['vicuna-style-mha', 'llama'],
  ['mistral-sliding', 'llama'],
  ['qwen2', 'qwen2'],
  ['qwen3', 'qwen3'],
  ['gemma2', 'gemma2'],
  ['gemma3', 'gemma3'],
  ['phi3-style', 'phi3'],
  ['phi3-sliding', 'phi3'],
  ['phi3-longrope', 'phi3'],
])('%s as a GGUF file of the architecture %s', async (name, architecture) => {
  const file = new GoldenFile(join(import.meta.dirname, `../golden/models/${name}.safetensors`));
  const path = join(scratch, `${name}.gguf`);
  const hub = goldenModel(file);
  writeGguf(path, languageSettings(hub, architecture), [...languageTensors(hub, architecture), ...factorTensors(hub)]);
  const opened = await openGgufLanguage(path);
  try {
    const golden = languageGolden(file, ggufDecoder(opened, path), opened.checkpoint);
    const computed =
      golden.graph === undefined
        ? undefined
        : await referenceBackend().run(golden.graph, opened.checkpoint, golden.inputs);
    for (const output of ['block0', 'prefill_logits'])
      expect(
        compare(
          output,
          file.shape(`output.${output}`),
          computed?.get(output),
          file.numbers(`output.${output}`),
          'f32',
          modelTolerance,
        ).verdict,
        output,
      ).toBe('ok');
  } finally {
    opened.checkpoint.close();
    file.checkpoint.close();
  }
});

// ---- settings that llama.cpp has a rule for ------------------------------------------------------------------------------

/** Settings of a small model. */
const small = (architecture: string, more: Readonly<Record<string, GgufSetting>> = {}) => ({
  'general.architecture': architecture,
  ...Object.fromEntries(
    Object.entries({
      block_count: 2,
      context_length: 64,
      embedding_length: 94,
      feed_forward_length: 32,
      vocab_size: 16,
      'attention.head_count': 2,
      'attention.layer_norm_rms_epsilon': 2 ** -10,
      ...more,
    }).map(([key, value]) => [`${architecture}.${key}`, value]),
  ),
});

async function described(...what: Parameters<typeof ggufBytes>) {
  const path = join(scratch, 'described.gguf');
  writeGguf(path, ...what);
  const opened = await openGgufLanguage(path);
  opened.checkpoint.close();
  return { ...opened, path };
}

const factors = (name: string, values: readonly number[]): TensorToWrite => ({ name, shape: [values.length], values });

describe('as llama.cpp reads it', () => {
  const list = Array.from({ length: 23 }, (_, i) => 1 + i);
  test.each([
    ['a factor without a type is linear', { 'rope.scaling.factor': 4 }, { rope_type: 'linear', factor: 4 }],
    ['the older key of a factor', { 'rope.scale_linear': 4 }, { rope_type: 'linear', factor: 4 }],
    [
      'of both keys the newer one',
      { 'rope.scaling.factor': 2, 'rope.scale_linear': 4 },
      { rope_type: 'linear', factor: 2 },
    ],
    ['no factor', {}, undefined],
    [
      'the type with the older key',
      { 'rope.scaling.type': 'linear', 'rope.scale_linear': 4 },
      { rope_type: 'linear', factor: 4 },
    ],
    ['a factor of 0', { 'rope.scaling.factor': 0 }, undefined],
    ['the type none', { 'rope.scaling.type': 'none', 'rope.scaling.factor': 4 }, undefined],
  ])('%s', async (_what, more, scaling) => {
    expect((await described(small('qwen2', more), [])).config['rope_scaling']).toEqual(scaling);
  });

  test('the type linear without a factor is an error', async () => {
    await expect(described(small('qwen2', { 'rope.scaling.type': 'linear' }), [])).rejects.toThrow(
      /lacks 'qwen2.rope.scaling.factor'/,
    );
  });

  test('what cos and sin are multiplied by', async () => {
    const more = { 'rope.scaling.attn_factor': 1.5, 'attention.key_length': 46 };
    const { config } = await described(small('llama', more), [factors('rope_freqs.weight', list)]);
    expect(config['rope_scaling']).toMatchObject({ attention_factor: 1.5 });
    await expect(described(small('qwen2', more), [])).rejects.toThrow(/attn_factor' of 1\.5, and no factors/);
  });

  test('a factor comes on top of a list of them', async () => {
    const { config } = await described(small('llama', { 'rope.scaling.factor': 2, 'attention.key_length': 46 }), [
      factors('rope_freqs.weight', list),
    ]);
    expect(config['rope_scaling']).toMatchObject({ long_factor: list.map((value) => 2 * value) });
  });

  // ggml_rope_yarn_corr_dims and rope_yarn of ggml-cpu/ops.cpp.
  test.each([
    [{}, 32, 1, 1],
    [{ 'rope.scaling.yarn_beta_fast': 8, 'rope.scaling.yarn_beta_slow': 2 }, 8, 2, 1],
    [{ 'rope.scaling.attn_factor': 1.5 }, 32, 1, 1.5],
  ])('YaRN, with %j', async (more, fast, slow, stated) => {
    const [turned, base, original, factor] = [64, 10_000, 2048, 4];
    const opened = await described(
      small('qwen2', {
        'attention.key_length': turned,
        'rope.scaling.type': 'yarn',
        'rope.scaling.factor': factor,
        'rope.scaling.original_context_length': original,
        ...more,
      }),
      [],
    );
    const { rope } = ggufDecoder(opened, opened.path).config;
    const place = (turns: number): number =>
      (turned * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(base));
    const [low, high] = [Math.max(0, Math.floor(place(fast))), Math.min(turned - 1, Math.ceil(place(slow)))];
    expect(high).toBeGreaterThan(low);
    frequencies(rope, 1).forEach((found, i) => {
      const plain = base ** ((-2 * i) / turned);
      const ramp = 1 - Math.min(1, Math.max(0, (i - low) / (high - low)));
      expect(found).toBeCloseTo((plain / factor) * (1 - ramp) + plain * ramp, 14);
    });
    expect(rope.scaling).toHaveProperty('amplitude', expect.closeTo(stated * (1 + 0.1 * Math.log(factor)), 12));
  });

  test.each([
    ['rope.scaling.yarn_ext_factor', 0.5],
    ['rope.scaling.yarn_attn_factor', 2],
    ['rope.scaling.yarn_log_multiplier', 0.1],
  ])('YaRN with %s is an error', async (key, value) => {
    const more = { 'rope.scaling.type': 'yarn', 'rope.scaling.factor': 4, [key]: value };
    await expect(described(small('qwen2', more), [])).rejects.toThrow(new RegExp(`'yarn' with 'qwen2.${key}'`));
  });

  test.each(['long', 'short'])('only the list rope_factors_%s is an error', async (which) => {
    const other = which === 'long' ? 'short' : 'long';
    await expect(described(small('phi3'), [factors(`rope_factors_${which}.weight`, list)])).rejects.toThrow(
      new RegExp(`lacks the tensor 'rope_factors_${other}.weight'`),
    );
  });

  test("Gemma 2's caps and window stand where the file has none, and Gemma 3's do not", async () => {
    const own = { attn_logit_softcapping: 50, final_logit_softcapping: 30, sliding_window: 4096 };
    expect((await described(small('gemma2'), [])).config).toMatchObject(own);
    const stated = { 'attention.sliding_window': 8, attn_logit_softcapping: 2, final_logit_softcapping: 3 };
    expect((await described(small('gemma2', stated), [])).config).toMatchObject({
      attn_logit_softcapping: 2,
      final_logit_softcapping: 3,
      sliding_window: 8,
    });
    expect((await described(small('gemma3'), [])).config).toMatchObject({
      attn_logit_softcapping: null,
      final_logit_softcapping: null,
      sliding_window: null,
    });
  });

  test('a turn ends by tokens that are called so, of those that no text spells', async () => {
    const tokens = ['a', '<eos>', '<end_of_turn>', '<|im_end|>', '<|end|>'];
    const { config } = await described(
      {
        ...small('gemma3'),
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.token_type': [1, 3, 3, 1, 4],
        'tokenizer.ggml.eos_token_id': 1,
      },
      [],
    );
    expect(config['eos_token_id']).toEqual([1, 2, 4]);
  });

  // 47·(6/47) lies below 6.
  test.each(['qwen2', 'qwen3', 'gemma2', 'phi3'])('%s turns as many channels as the file says', async (name) => {
    const opened = await described(small(name, { 'rope.dimension_count': 6 }), []);
    expect(ggufDecoder(opened, opened.path).config.rope.rotated).toBe(6);
  });

  test('heads that do not divide are said of the file', async () => {
    const opened = await described(small('qwen2', { 'attention.head_count_kv': 3 }), []);
    expect(() => ggufDecoder(opened, opened.path)).toThrow(
      /described\.gguf is wrong: 2 query heads do not divide among 3/,
    );
  });

  test.each([
    ['llama', 6, /turns all of them/],
    ['qwen2', 7, /an even number/],
    ['qwen2', 48, /an even number/],
  ])('%s does not turn %i channels of 47', async (name, count, message) => {
    await expect(described(small(name, { 'rope.dimension_count': count }), [])).rejects.toThrow(message);
  });
});

// The library that parses headers reads pieces of 2 MB.
test.each([1, 12, 19])(
  'the last text of a list that lies across two pieces, %i bytes in the first',
  async (inFirst) => {
    const last = 'twenty bytes of text';
    const before = { 'general.architecture': 'llama' };
    const list = (length: number): Record<string, GgufSetting> => ({ ...before, list: ['x'.repeat(length), last] });
    const end = ggufBytes(list(0), []).lastIndexOf(last);
    const bytes = ggufBytes({ ...list(2_000_000 - inFirst - end), behind: 'y' }, []);
    expect(bytes.lastIndexOf(last)).toBe(2_000_000 - inFirst);
    const path = join(scratch, 'pieces.gguf');
    writeFileSync(path, bytes);
    const file = await openGguf(path);
    file.close();
    expect(file.settings.get('list')).toContain(last);
    expect(file.settings.get('behind')).toBe('y');
  },
);

// ---- what is refused -------------------------------------------------------------------------------------------------

const openFiles = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);

/** The message of the refusal of these bytes; nothing may stay open. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const path = join(scratch, 'refused.gguf');
  writeFileSync(path, bytes);
  const before = openFiles();
  try {
    (await openModel(path)).close();
  } catch (error) {
    expect(openFiles()).toBe(before);
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

const good = () => readFileSync(join(folder, 'qwen2-q4_0.gguf'));
const settings = { 'general.architecture': 'llama', 'llama.block_count': 1 };
const one = (more: Partial<TensorToWrite> = {}): TensorToWrite => ({
  name: 'a',
  shape: [2, 32],
  values: Array(64).fill(0),
  ...more,
});

function edited(change: (bytes: Buffer) => void): Buffer {
  const bytes = good();
  change(bytes);
  return bytes;
}

describe('refused', () => {
  test.each([
    ['another format', () => Buffer.from('PK\u0003\u0004 and so on, for quite a while'), /not a GGUF file/],
    ['an empty file', () => Buffer.alloc(0), /not a GGUF file/],
    ['half a header', () => good().subarray(0, 20), /has 20 bytes/],
    ['an older version', () => edited((b) => b.writeUInt32LE(1, 4)), /version 1/],
    ['the other byte order', () => edited((b) => b.writeUInt32BE(3, 4)), /big-endian/],
    ['more tensors than there is room for', () => edited((b) => b.writeBigUInt64LE(2n ** 60n, 8)), /no room/],
    ['more settings than there is room for', () => edited((b) => b.writeBigUInt64LE(2n ** 63n, 16)), /no room/],
    ['an end inside of the header', () => good().subarray(0, 3000), /header/],
    [
      'an end inside of a tensor',
      () => good().subarray(0, good().length - 4096),
      /end at byte \d+, and the file has \d+/,
    ],
    [
      'an unknown architecture',
      () => ggufBytes({ 'general.architecture': 'mamba' }, []),
      /'mamba'[\s\S]*known are llama, qwen2/,
    ],
    ['no architecture', () => ggufBytes({ x: 1 }, []), /lacks 'general.architecture'/],
    ['a setting that is missing', () => ggufBytes(settings, []), /lacks 'llama\./],
    [
      'a type that is not read',
      () => ggufBytes(settings, [one({ raw: { type: 16, bytes: new Uint8Array(64) } })]),
      /as iq2_xxs, which is not read[\s\S]*q4_K/,
    ],
    [
      'an unknown type',
      () => ggufBytes(settings, [one({ raw: { type: 77, bytes: new Uint8Array(64) } })]),
      /unknown number 77/,
    ],
    [
      'rows that blocks do not divide',
      () => ggufBytes(settings, [one({ shape: [2, 33], raw: { type: 2, bytes: new Uint8Array(64) } })]),
      /rows of 33 elements/,
    ],
    [
      'a setting twice',
      () => {
        const bytes = ggufBytes({ ...settings, first: 1, other: 2 }, []);
        bytes.write('first', bytes.indexOf('other'));
        return bytes;
      },
      /the setting 'first' twice/,
    ],
    ['a tensor twice', () => ggufBytes(settings, [one(), one()]), /'a' twice/],
    ['a mixture of experts', () => ggufBytes({ ...settings, 'llama.expert_count': 8 }, []), /mixture of experts/],
    ['an alignment that is none', () => ggufBytes({ ...settings, 'general.alignment': 24 }, []), /aligned to 24/],
  ])('%s', async (_what, bytes, message) => {
    expect(await refusal(bytes())).toMatch(message);
  });

  test('a file of another kind where a model is wanted', async () => {
    await expect(openModel(join(folder, 'mmproj-llava-f16.gguf'))).rejects.toThrow(/architecture 'clip'/);
  });

  test('no file', async () => {
    await expect(openModel(join(scratch, 'nowhere.gguf'))).rejects.toThrow(OpabiniaError);
  });

  test('damaged headers end in a typed error or in a file', async () => {
    const bytes = good();
    for (let i = 0; i < 120; i++) {
      const copy = Buffer.from(bytes);
      for (let n = 0; n < 4; n++) copy[Math.floor(((i * 7919 + n * 104_729) % 12_000) + 4)] = (i * 31 + n * 17) & 255;
      const path = join(scratch, 'mutated.gguf');
      writeFileSync(path, copy);
      try {
        (await openGguf(path)).close();
      } catch (error) {
        expect(error).toBeInstanceOf(OpabiniaError);
      }
    }
  });
});
