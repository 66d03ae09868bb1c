// `check`: what a directory is, and whether `run` would open it; over what examples make, and over each way to break it.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import { makeModel } from '../../examples/shapes/make-model.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { checkModel, type Checked } from '../../pipelines/check/check-model.ts';
import { printChecked } from '../../pipelines/check/print-checked.ts';
import { editJson, rewriteWeights } from '../support/edit-directory.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-check-'));
const cambrian = join(root, 'cambrian');
const llava = join(root, 'llava');
const language = join(root, 'language');
let count = 0;
beforeAll(async () => {
  makeCheckpoint(cambrian);
  makeLlava(llava);
  makeLanguage(language, 'llama');
  // The sandbox keeps its pipe open.
  (await openModel(language)).close();
}, 60_000);
afterAll(() => rmSync(root, { recursive: true }));

const towerNames = [
  'ViT-made-14-98',
  'clip-vit-made-patch14-84',
  'dinov2-made-res98',
  'clip-convnext-made-res96-multi-stage',
];

const openFiles = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);

/** What is found in a changed copy; nothing may stay open. */
async function broken(directory: string, change: (copy: string) => void): Promise<Checked> {
  const copy = join(root, `copy${count++}`);
  cpSync(directory, copy, { recursive: true });
  change(copy);
  const before = openFiles();
  const checked = await checkModel(copy);
  expect(openFiles()).toBe(before);
  // `run` opens what `check` finds nothing wrong with, and refuses the rest with the first of the problems.
  const opened = await openModel(copy).then(
    (model) => {
      model.close();
      return undefined;
    },
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  if (checked.ok) expect(opened).toBeUndefined();
  else expect(opened).toContain(checked.problems[0]?.what.split('\n')[0]);
  rmSync(copy, { recursive: true });
  return checked;
}

const said = ({ problems }: Checked): string => problems.map(({ what }) => what).join('\n');

describe('what examples make', () => {
  test('a Cambrian: parts, files of model and towers, memory of its programs', async () => {
    const checked = await checkModel(cambrian);
    expect(checked).toMatchObject({
      ok: true,
      what: 'a Cambrian',
      modelType: 'cambrian_llama',
      problems: [],
      missing: [],
    });
    expect(checked.parts.map(({ name }) => name)).toEqual([
      ...towerNames,
      'connector',
      'SVA layers in the LLM',
      'language model',
    ]);
    expect(checked.weights.map(({ of, tensors }) => [of, tensors])).toEqual([
      ['model', 262],
      [towerNames[0], 66],
      [towerNames[1], 71],
      [towerNames[2], 79],
      [towerNames[3], 63],
    ]);
    expect(checked.weights[1]?.dtypes).toEqual({ BF16: 66 });
    // Every file below the directory is either read or ignored, and none is both.
    const files = readdirSync(cambrian, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(cambrian.length + 1));
    const told = [...checked.reads.map(({ file }) => file), ...checked.ignored.map(({ name }) => name)];
    expect(told.toSorted()).toEqual(files.toSorted());
    // 36 tokens of the picture, and words.
    expect(checked.memory?.prompt).toBeGreaterThan(36);
    expect(checked.memory).toMatchObject({ dtype: 'f32', context: 1024, images: 1 });
    // All of 8.23 million parameters are on the device, as f32.
    expect(checked.memory?.running).toBeGreaterThan(4 * 8.2e6);
    expect(checked.memory?.peak).toBeGreaterThanOrEqual(checked.memory?.running ?? Infinity);
    expect(printChecked(checked)).toMatch(
      /a Cambrian \(cambrian_llama\)[^]*is read[^]*while running[^]*`run` opens it$/,
    );
  }, 60_000);

  test.each(['old', 'new'] as const)(
    'a LLaVA with %s names, and a LLaVA-NeXT',
    async (names) => {
      const type = names === 'old' ? 'llava' : 'llava_next';
      const made = makeLlava(join(root, `llava-${names}`), { names, type }).directory;
      const checked = await checkModel(made);
      expect(checked).toMatchObject({
        ok: true,
        modelType: type,
        what: names === 'old' ? 'a LLaVA-1.5' : 'a LLaVA-NeXT',
        layout: `transformers, names of version ${names === 'old' ? 4 : 5}`,
      });
    },
    60_000,
  );

  test.each(['llama', 'phi3'] as const)('a language model: %s, without pictures', async (type) => {
    const checked = await checkModel(makeLanguage(join(root, `by-${type}`), type));
    expect(checked).toMatchObject({ ok: true, what: 'a language model', modelType: type });
    expect(checked.memory?.images).toBe(0);
  });

  test('the small Cambrian that learns drawn scenes', async () => {
    expect((await checkModel(makeModel(join(root, 'scenes')).directory)).ok).toBe(true);
  }, 60_000);

  test('a tower: known, whole, and nothing that answers', async () => {
    const checked = await checkModel(join(cambrian, 'towers/clip-vit-made-patch14-84'));
    expect(checked).toMatchObject({ ok: false, what: 'a vision tower', missing: [] });
    expect(said(checked)).toMatch(/is a vision tower$/);
  });

  test('f16 takes half of the memory of weights', async () => {
    const [wide, narrow] = [await checkModel(llava), await checkModel(llava, { dtype: 'f16' })];
    const weights = ({ memory }: Checked): number =>
      (memory?.items ?? []).filter(({ kind }) => kind === 'weights').reduce((sum, { bytes }) => sum + bytes, 0);
    expect(weights(narrow) / weights(wide)).toBeGreaterThan(0.45);
    expect(weights(narrow) / weights(wide)).toBeLessThan(0.6);
  }, 60_000);
});

describe('against what a device offers', () => {
  const limit = (budget: number) => ({ device: 'a small one', budget });
  test('enough, for all programs and for each', async () => {
    const { ok, memory } = await checkModel(language, { limit: limit(2 ** 30) });
    expect([ok, memory?.fits, memory?.budget]).toEqual([true, true, 2 ** 30]);
    expect(memory?.programs.map(({ name, fits }) => [name, fits])).toEqual([
      ['prefill', true],
      ['decode', true],
    ]);
    // They share weights and cache: together they take less than one after the other.
    const each = (memory?.programs ?? []).map(({ bytes }) => bytes);
    expect(memory?.peak).toBeGreaterThanOrEqual(Math.max(...each));
    expect(memory?.peak).toBeLessThan(each.reduce((sum, bytes) => sum + bytes, 0));
  });
  test('too little for all, enough for one', async () => {
    const { memory } = await checkModel(language);
    const [prefill, decode] = (memory?.programs ?? []).map(({ bytes }) => bytes);
    expect(memory).toMatchObject({ budget: undefined, fits: undefined });
    const checked = await checkModel(language, { limit: limit(((decode ?? 0) + (prefill ?? 0)) / 2) });
    expect(checked).toMatchObject({ ok: false });
    expect(checked.memory?.programs.map(({ fits }) => fits)).toEqual([false, true]);
    expect(said(checked)).toMatch(/takes .* at its peak, and 'a small one' offers/);
    expect(printChecked(checked)).toMatch(
      /too little[^]*prefill +[\d.]+ \w+ +does not fit[^]*decode .* fits[^]*would fail$/,
    );
  });
  test('too little for the keys and values alone', async () => {
    const checked = await checkModel(language, { limit: limit(1000) });
    expect(checked).toMatchObject({ ok: false, memory: undefined });
    expect(said(checked)).toMatch(/the cache of 256 tokens alone takes/);
  });
  test('a driver that does not tell', async () => {
    const { ok, memory } = await checkModel(language, { limit: limit(Infinity) });
    expect([ok, memory?.budget, memory?.fits]).toEqual([true, undefined, undefined]);
  });
});

describe('broken directories', () => {
  const shard = 'model-00001-of-00002.safetensors';
  const text = (json: Record<string, unknown>): Record<string, unknown> =>
    json['text_config'] as Record<string, unknown>;

  test('a missing shard', async () => {
    expect(said(await broken(llava, (copy) => rmSync(join(copy, shard))))).toMatch(
      /names the shard .*, which is missing/,
    );
  });
  test('a corrupt header, and all that is wrong besides', async () => {
    const checked = await broken(cambrian, (copy) => {
      rmSync(join(copy, 'tokenizer.json'));
      const bytes = readFileSync(join(copy, shard));
      bytes.write('"dtype":"F99"', bytes.indexOf('"dtype":"F32"'));
      writeFileSync(join(copy, shard), bytes);
      truncateSync(join(copy, 'towers/dinov2-made-res98/model.safetensors'), 100_000);
    });
    expect(checked.problems.map(({ what }) => what.replace(/^.*\//, ''))).toEqual([
      expect.stringMatching(/has no tokenizer\.json$/),
      expect.stringMatching(/00001-of-00002\.safetensors: tensor '.*' has the unknown dtype 'F99'$/),
      expect.stringMatching(/^model\.safetensors: is shorter than its tensors/),
    ]);
    // What could be read is told all the same.
    expect(checked.weights.map(({ of }) => of)).toContain(towerNames[3]);
  });
  test('a missing tensor, with the nearest names', async () => {
    const checked = await broken(language, (copy) =>
      rewriteWeights(copy, (tensors) => tensors.filter(({ name }) => name !== 'model.layers.1.mlp.up_proj.weight')),
    );
    expect(checked.missing.map(({ name }) => name)).toEqual(['model.layers.1.mlp.up_proj.weight']);
    expect(checked.ok).toBe(false);
  });
  test('codes of a quantization that no config states, where weights should be', async () => {
    const whole = (name: string, dtype: 'U8' | 'I64' | 'BOOL') => (copy: string) =>
      rewriteWeights(copy, (tensors) =>
        tensors.map((one) => (one.name === name ? { ...one, dtype, values: Array.from(one.values, () => 1) } : one)),
      );
    for (const dtype of ['U8', 'I64', 'BOOL'] as const) {
      const checked = await broken(language, whole('model.layers.1.mlp.up_proj.weight', dtype));
      expect([said(checked), checked.ok]).toEqual([
        expect.stringMatching(`holds 'model\\.layers\\.1\\.mlp\\.up_proj\\.weight' as ${dtype}: whole numbers are no`),
        false,
      ]);
    }
    // What nobody reads may be anything.
    const legacy = await broken(language, (copy) =>
      rewriteWeights(copy, (tensors) => [
        ...tensors,
        { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', dtype: 'I64', shape: [1], values: [0] },
      ]),
    );
    expect(legacy.ok).toBe(true);
  });
  test('a wrong shape', async () => {
    const checked = await broken(llava, (copy) =>
      editJson(copy, 'config.json', (json) => Object.assign(text(json), { intermediate_size: 264 })),
    );
    expect(said(checked)).toMatch(/misshapen[^]*mlp\.gate_proj\.weight {2}is \[256, 96\], wanted \[264, 96\]/);
  });
  test('an unknown key in rope_parameters, and one that is known', async () => {
    const withRope = (rope: object): Promise<Checked> =>
      broken(language, (copy) =>
        editJson(copy, 'config.json', (json) => Object.assign(json, { rope_parameters: rope })),
      );
    expect((await withRope({ rope_type: 'default', rope_theta: 5e4 })).ok).toBe(true);
    const checked = await withRope({ rope_type: 'default', rope_theta: 5e4, stretch_beyond: 2 });
    expect(said(checked)).toMatch(/'stretch_beyond' .* is not known/);
  });
  test('quantized weights are refused by the name of the method', async () => {
    const checked = await broken(llava, (copy) =>
      editJson(copy, 'config.json', (json) =>
        Object.assign(json, { quantization_config: { quant_method: 'bitsandbytes' } }),
      ),
    );
    expect(said(checked)).toMatch(/quantized by bitsandbytes/);
  });
  test('no tokenizer, no config, nothing', async () => {
    expect(said(await broken(llava, (copy) => rmSync(join(copy, 'tokenizer.json'))))).toMatch(/has no tokenizer\.json/);
    const without = await broken(llava, (copy) => rmSync(join(copy, 'config.json')));
    expect(without).toMatchObject({ ok: false, what: undefined, modelType: undefined });
    // The weights are looked at without knowing what of.
    expect(without.weights[0]?.tensors).toBe(89);
    await expect(checkModel(join(root, 'nowhere'))).rejects.toThrow(/there is no directory/);
  });
  test('spare tensors: those with a reason are ignored, all others are wrong', async () => {
    const tied = await broken(language, (copy) =>
      editJson(copy, 'config.json', (json) => Object.assign(json, { tie_word_embeddings: true })),
    );
    expect(tied.ok).toBe(true);
    expect(tied.ignored).toContainEqual({
      name: expect.stringMatching(/^lm_head\.weight in model/) as string,
      why: 'the head is tied to the embedding',
    });
    const spare = await broken(language, (copy) =>
      rewriteWeights(copy, (tensors) => [
        ...tensors,
        { name: 'adapter.weight', dtype: 'F32', shape: [1], values: [0] },
      ]),
    );
    expect(said(spare)).toMatch(/1 unexpected\n {2}adapter\.weight/);
  });
  test('a template that loses the picture', async () => {
    // Opening alone asks nothing: the trial question finds it.
    const copy = join(root, 'loses');
    cpSync(llava, copy, { recursive: true });
    writeFileSync(
      join(copy, 'chat_template.jinja'),
      "{% for m in messages %}{{ m['content'][1]['text'] }}{% endfor %}{# 'image' #}",
    );
    const found = await checkModel(copy);
    expect(found.ok).toBe(false);
    expect(said(found)).toMatch(/hold 1 images, and the chat template spells 0/);
  });
  test('leftovers of other formats are ignored, each with its reason', async () => {
    const checked = await broken(llava, (copy) => {
      for (const name of ['modeling_llava.py', 'pytorch_model.bin', 'tokenizer.model', 'README.md', 'what.xyz'])
        writeFileSync(join(copy, name), '');
    });
    expect(checked.ok).toBe(true);
    expect(Object.fromEntries(checked.ignored.map(({ name, why }) => [name, why]))).toMatchObject({
      'modeling_llava.py': 'code of a model is never run',
      'pytorch_model.bin': 'the weights are those of model.safetensors.index.json',
      'tokenizer.model': 'tokenizer.json is read',
      'README.md': 'for people',
      'what.xyz': 'not a file that is known',
    });
  });
});

test('as a command: JSON on stdout, exit code 1 where `run` would fail', () => {
  const run = (directory: string) =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../cli/opabinia.ts'), 'check', directory, '--json'], {
      encoding: 'utf8',
    });
  const [good, bad] = [run(language), run(join(cambrian, 'towers/dinov2-made-res98'))];
  expect([good.status, bad.status]).toEqual([0, 1]);
  expect((JSON.parse(good.stdout) as Checked).ok).toBe(true);
  expect((JSON.parse(bad.stdout) as Checked).problems).toHaveLength(1);
});
