// Models in GGUF: opened, checked and planned like the Hugging Face directories that they were converted from, with a tower, in parts.
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeLlava } from '../../examples/make-llava.ts';
import { q8_0 } from '../../dsl/storage/q8-0.ts';
import { ConfigReader } from '../../models/configs/config-reader.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { trialPicture } from '../../pipelines/answer/trial-picture.ts';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { modelIdentity } from '../../pipelines/model-identity.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import { planDirectory } from '../../pipelines/plan/plan-model.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import {
  languageSettings,
  languageTensors,
  projectorFile,
  tokenizerSettings,
  type HubModel,
} from '../support/convert-to-gguf.ts';
import { editJson, editTensors } from '../support/edit-directory.ts';
import { judgeFamily } from '../support/family-judge.ts';
import { goldenTower } from '../support/golden-tower.ts';
import { writeGguf, type GgufSetting, type TensorToWrite } from '../support/write-gguf.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-gguf-model-'));
const hub = join(root, 'hub');
const at = (...names: readonly string[]): string => join(root, ...names);
/** A made LLaVA as its two files say it; the checkpoint stays open. */
function converted(directory: string) {
  const source = openCheckpoint(directory);
  const json = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as { readonly text_config: object };
  const numbers = (name: string): readonly number[] => Array.from(source.tensor(name), Number);
  const language: HubModel = {
    config: new ConfigReader({ rope_theta: 10_000, ...json.text_config }, 'text_config'),
    checkpoint: source,
    numbers,
    root: 'language_model.',
  };
  return {
    source,
    tensors: languageTensors(language, 'llama'),
    settings: { ...languageSettings(language, 'llama'), ...tokenizerSettings(directory) },
    projector: projectorFile({ config: new ConfigReader(json, 'config.json'), checkpoint: source, numbers }),
  };
}

let source: Checkpoint;
let tensors: readonly TensorToWrite[] = [];
let settings: Readonly<Record<string, GgufSetting>> = {};
let projector: ReturnType<typeof projectorFile>;
beforeAll(async () => {
  makeLlava(hub);
  ({ source, tensors, settings, projector } = converted(hub));
  mkdirSync(at('both'));
  writeGguf(at('both/model.gguf'), settings, tensors);
  writeGguf(at('both/mmproj-model.gguf'), projector.settings, projector.tensors);
  writeGguf(at('bare.gguf'), { ...settings, ...tokenizerSettings(hub, { without: ['<image>'] }) }, tensors);
  // The sandbox keeps its pipe open.
  (await openModel(hub)).close();
});
afterAll(() => {
  source.close();
  rmSync(root, { recursive: true });
});

const question = { text: 'What is on the left?', images: [trialPicture] };
const openFiles = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);

/** Tokens, and logits of the first: means, deviations and ε are f32 in a GGUF file. */
async function expectAlike(expected: OpenedModel, opened: OpenedModel, steps: number): Promise<void> {
  const [first, second] = [await judgeFamily(expected, question, steps), await judgeFamily(opened, question, steps)];
  expect(second.tokens).toEqual(first.tokens);
  const most = Math.max(...first.logits.map(Math.abs));
  first.logits.forEach((logit, i) => expect(Math.abs((second.logits[i] ?? NaN) - logit)).toBeLessThan(1e-5 * most));
}

async function refusal(model: string, towers?: readonly string[]): Promise<string> {
  const before = openFiles();
  const error: unknown = await openModel(model, { towers }).then(
    (opened) => opened.close(),
    (reason: unknown) => reason,
  );
  // The library that reads headers closes its own stream a moment later.
  await expect.poll(openFiles).toBeLessThanOrEqual(before);
  return error instanceof Error ? error.message : 'nothing was refused';
}

test.each(['model.gguf', 'mmproj-model.gguf'])('a model is known by every number of its files: %s', async (file) => {
  const folder = at(`known-${file.replace('.gguf', '')}`);
  cpSync(at('both'), folder, { recursive: true });
  const known = async (): Promise<unknown> => {
    const opened = await openModel(folder);
    opened.close();
    return modelIdentity(opened, '')['weights'];
  };
  const before = await known();
  const bytes = readFileSync(join(folder, file));
  writeFileSync(join(folder, file), bytes.with(-1, (bytes.at(-1) ?? 0) ^ 1));
  expect(await known()).not.toBe(before);
});

test('a file whose name ends in capitals', async () => {
  copyFileSync(at('bare.gguf'), at('LOUD.GGUF'));
  const [small, capital] = [await openModel(at('bare.gguf')), await openModel(at('LOUD.GGUF'))];
  const asked = { text: question.text };
  expect((await capital.family.layOut([asked], {})).ids).toEqual((await small.family.layOut([asked], {})).ids);
  small.close();
  capital.close();
});

describe('a LLaVA of two files', () => {
  test.each([
    ['the directory that holds them', ['both'], undefined],
    ['a file and its mmproj', ['both/model.gguf'], 'both/mmproj-model.gguf'],
    ['a tokenizer that has no token for pictures', ['bare.gguf'], 'both/mmproj-model.gguf'],
  ] as const)('%s: answers as the directory of Hugging Face does', async (_what, [model], projector) => {
    const expected = await openModel(hub);
    const opened = await openModel(at(model), { towers: projector === undefined ? undefined : [at(projector)] });
    try {
      const [wanted, got] = [await expected.family.layOut([question], {}), await opened.family.layOut([question], {})];
      expect(got.rows['ids']?.values).toEqual(wanted.rows['ids']?.values);
      expect(got.rows['slots']?.values).toEqual(wanted.rows['slots']?.values);
      await expectAlike(expected, opened, 2);
    } finally {
      expected.close();
      opened.close();
    }
  });

  test('a LLaVA-NeXT, whose pictures come in tiles, answers as its directory does', async () => {
    makeLlava(at('next-hub'), { type: 'llava_next' });
    const next = converted(at('next-hub'));
    mkdirSync(at('next'));
    writeGguf(at('next/model.gguf'), next.settings, next.tensors);
    writeGguf(at('next/mmproj.gguf'), next.projector.settings, next.projector.tensors);
    const odd = { ...next.projector.settings, 'clip.vision.image_grid_pinpoints': [56, 112, 112] };
    writeGguf(at('odd-mmproj.gguf'), odd, next.projector.tensors);
    next.source.close();
    expect(await checkModel(at('next'))).toMatchObject({ ok: true, what: 'a LLaVA-NeXT', problems: [], missing: [] });
    const [expected, opened] = [await openModel(at('next-hub')), await openModel(at('next'))];
    try {
      const [wanted, got] = [await expected.family.layOut([question], {}), await opened.family.layOut([question], {})];
      expect(got.rows['ids']?.values).toEqual(wanted.rows['ids']?.values);
      await expectAlike(expected, opened, 1);
    } finally {
      expected.close();
      opened.close();
    }
    expect(await refusal(at('next/model.gguf'), [at('odd-mmproj.gguf')])).toMatch(/pairs of heights and widths/);
  });

  test.each([[[1]], [[0, 1]]])('the projector reads the feature layers %j that the file lists', async (layers) => {
    const wide = (values: ArrayLike<number>, columns: number): number[] =>
      Array.from({ length: values.length / columns }, (_, row) =>
        layers.flatMap(() => Array.from(values).slice(row * columns, (row + 1) * columns)),
      ).flat();
    const name = `layers-${layers.length}`;
    cpSync(hub, at(`${name}-hub`), { recursive: true });
    editJson(at(`${name}-hub`), 'config.json', (json) => (json['vision_feature_layer'] = layers));
    for (const shard of readdirSync(hub).filter((file) => file.endsWith('.safetensors')))
      editTensors(at(`${name}-hub`, shard), (all) =>
        all.map((one) => {
          if (!one.name.endsWith('linear_1.weight')) return one;
          const [rows = 0, columns = 0] = one.shape;
          return { ...one, shape: [rows, columns * layers.length], values: wide(one.values, columns) };
        }),
      );
    mkdirSync(at(name));
    writeGguf(at(name, 'model.gguf'), settings, tensors);
    writeGguf(
      at(name, 'mmproj.gguf'),
      { ...projector.settings, 'clip.vision.feature_layer': layers.toReversed() },
      projector.tensors.map((one) => {
        if (one.name !== 'mm.0.weight') return one;
        const [rows = 0, columns = 0] = one.shape;
        return { ...one, shape: [rows, columns * layers.length], values: wide(one.values, columns) };
      }),
    );
    const [expected, opened] = [await openModel(at(`${name}-hub`)), await openModel(at(name))];
    try {
      await expectAlike(expected, opened, 1);
    } finally {
      expected.close();
      opened.close();
    }
  });

  test.each([[[3]], [[0]], [[1.5]]])('feature layers %j are refused', async (layers) => {
    writeGguf(
      at('wrong-mmproj.gguf'),
      { ...projector.settings, 'clip.vision.feature_layer': layers },
      projector.tensors,
    );
    expect(await refusal(at('both/model.gguf'), [at('wrong-mmproj.gguf')])).toMatch(
      /wrong-mmproj.gguf has 'clip.vision.feature_layer' of [\d.]+, and its tower has 2 blocks/,
    );
  });

  test('check and plan say what it is', async () => {
    const checked = await checkModel(at('both'));
    expect(checked).toMatchObject({ ok: true, what: 'a LLaVA-1.5', problems: [], missing: [] });
    expect(checked.parts.map(({ name }) => name)).toEqual(['tower', 'connector', 'language model']);
    expect(new Set(checked.reads.map(({ file }) => file))).toEqual(new Set(['model.gguf', 'mmproj-model.gguf']));
    const options = { dtype: 'f32', context: 128, prompt: 64, images: 1 } as const;
    const [ours, theirs] = [await planDirectory(at('both'), options), await planDirectory(hub, options)];
    expect(ours.programs.map(({ name }) => name)).toEqual(['one picture', 'prefill', 'decode']);
    expect(ours.parameters.get('language model')).toBe(theirs.parameters.get('language model'));
    expect(ours.programs.at(-1)?.flops).toEqual(theirs.programs.at(-1)?.flops);
  });

  test('what is wrong with a file is said of that file', async () => {
    const cut = (name: string, change: (all: readonly TensorToWrite[]) => readonly TensorToWrite[]): string => {
      writeGguf(at(name), settings, change(tensors));
      return at(name);
    };
    const lacking = cut('lacking.gguf', (all) => all.filter(({ name }) => name !== 'output_norm.weight'));
    expect(await refusal(lacking)).toMatch(
      /lacking\.gguf does not fit the model[^]*1 missing\n {2}model\.norm\.weight/,
    );
    const stray = cut('stray.gguf', (all) => [
      ...all,
      { name: `\u001b[31m\n${'x'.repeat(500)}`, shape: [1], values: [0] },
    ]);
    const message = await refusal(stray);
    expect(message).toMatch(/stray\.gguf does not fit[^]*1 unexpected\n {2}\\u001b\[31m\\u000ax{114}…/);
    expect(message).not.toMatch(/x{115}/);
    for (const [count, what] of [
      [0, "'num_attention_heads' is wrong"],
      [7, 'do not divide among 7 heads'],
    ] as const) {
      const changed = { ...projector.settings, 'clip.vision.attention.head_count': count };
      writeGguf(at('heads-mmproj.gguf'), changed, projector.tensors);
      const refused = await refusal(at('both/model.gguf'), [at('heads-mmproj.gguf')]);
      expect(refused).toMatch(new RegExp(`heads-mmproj\\.gguf: .*${what}`));
      expect(refused).not.toMatch(/both/);
    }
  });

  test('what does not belong together', async () => {
    const mmproj = at('both/mmproj-model.gguf');
    expect(await refusal(at('both/model.gguf'), [hub])).toMatch(/one file, its mmproj/);
    expect(await refusal(at('both/model.gguf'), [mmproj, mmproj])).toMatch(/one file, its mmproj/);
    expect(await refusal(at('both/model.gguf'), [at('bare.gguf')])).toMatch(/architecture 'llama'/);
    mkdirSync(at('several'));
    for (const name of ['a.gguf', 'b.gguf']) copyFileSync(at('bare.gguf'), at('several', name));
    expect(await refusal(at('several'))).toMatch(/has 2 models[^]*a\.gguf, b\.gguf/);
    const other = join(import.meta.dirname, '../golden/quant/llama-spm-q8_0.gguf');
    expect(await refusal(other, [mmproj])).toMatch(/makes tokens of 96 numbers, and .* reads \d+/);
    const alone = await openModel(at('both/model.gguf'));
    await expect(alone.family.layOut([question], {})).rejects.toThrow(/reads text only[^]*mmproj/);
    alone.close();
  });
});

describe('a model in parts', () => {
  const parts = 3;
  const name = (part: number, of = parts): string =>
    `m-${String(part).padStart(5, '0')}-of-${String(of).padStart(5, '0')}.gguf`;
  const write = (
    folder: string,
    change: (part: number) => Readonly<Record<string, GgufSetting>> = () => ({}),
    left: readonly number[] = [],
  ): string => {
    mkdirSync(at(folder));
    const each = Math.ceil(tensors.length / parts);
    for (let part = 0; part < parts; part++)
      if (!left.includes(part))
        writeGguf(
          at(folder, name(part + 1)),
          {
            ...(part === 0 ? settings : {}),
            'split.no': part,
            'split.count': parts,
            'split.tensors.count': tensors.length,
            ...change(part),
          },
          tensors.slice(part * each, (part + 1) * each),
        );
    return at(folder);
  };

  test('opens by any of its parts, and by its directory', async () => {
    const folder = write('parts');
    const [whole, ...split] = [
      await openModel(at('both/model.gguf')),
      await openModel(folder),
      await openModel(join(folder, name(1))),
      await openModel(join(folder, name(3))),
    ];
    for (const model of split) {
      expect([...(model.source.names() ?? [])].sort()).toEqual([...(whole?.source.names() ?? [])].sort());
      for (const path of ['model.embed_tokens.weight', 'model.layers.1.self_attn.k_proj.weight', 'lm_head.weight']) {
        const shape = whole?.source.shape(path) ?? [];
        expect(model.source.read(path, shape)).toEqual(whole?.source.read(path, shape));
      }
      model.close();
    }
    whole?.close();
    expect((await checkModel(folder)).weights[0]?.files).toHaveLength(parts);
  });

  test('a part that is missing, of another model, or misnamed', async () => {
    expect(await refusal(write('missing', undefined, [1]))).toMatch(/one of 3 parts, and this is not there: .*00002/);
    expect(await refusal(write('swapped', (part) => ({ 'split.no': part === 1 ? 2 : part })))).toMatch(
      /says that it is part 3 of 3, and its name says 2/,
    );
    expect(await refusal(write('counted', () => ({ 'split.tensors.count': tensors.length + 1 })))).toMatch(
      /the model has \d+ tensors, and its parts have/,
    );
    expect(await refusal(write('endless', () => ({ 'split.count': 4_000_000_000 })))).toMatch(/at most 1024/);
    const folder = write('misnamed');
    copyFileSync(join(folder, name(1)), at('alone.gguf'));
    expect(await refusal(at('alone.gguf'))).toMatch(/and its name does not/);
  });
});

test('check counts tensors by the types that the file has them in, and its bytes', async () => {
  const { weights } = await checkModel(join(import.meta.dirname, '../golden/quant/qwen3-q5_0-mix.gguf'));
  // As gguf-py counts.
  expect(weights[0]?.dtypes).toEqual({ F32: 9, q5_0: 6, q8_0: 5, q5_1: 2, q4_1: 2 });
  expect(weights[0]?.bytes).toBe(119_472);
});

test('what --weights leaves out stays packed as it is stored, and nothing is quantized twice', async () => {
  const golden = (name: string): string => join(import.meta.dirname, `../golden/quant/${name}.gguf`);
  const mixed = golden('qwen2-q4_0');
  const [stored, some] = [
    await openModel(mixed),
    await openModel(mixed, { weights: { format: 'q8', only: ['*.up_proj.*'], least: 1 } }),
  ];
  try {
    const packed = [...(stored.source.names() ?? [])].filter((path) => stored.source.packedAs?.(path) !== undefined);
    expect(packed.length).toBeGreaterThan(4);
    for (const path of packed) expect(some.source.packedAs?.(path), path).toBe(stored.source.packedAs?.(path));
    // It is stored as bf16.
    const [up] = [...(stored.source.names() ?? [])].filter(
      (path) => path.includes('up_proj') && !packed.includes(path),
    );
    expect(some.source.packedAs?.(up ?? '')).toBe(q8_0);
  } finally {
    for (const model of [stored, some]) model.close();
  }
  const before = openFiles();
  await expect(openModel(golden('qwen3-q5_0-mix'), { weights: { format: 'q4', least: 1 } })).rejects.toThrow(
    /is quantized already, as q\d_\d[^]*in {2}model\./,
  );
  await expect.poll(openFiles).toBeLessThanOrEqual(before);
});

describe('assembled with a tower', () => {
  test.each(['llama-q4_K_M', 'qwen3-q5_0-mix'])(
    '%s: every number of the language model stays what it is',
    async (name) => {
      const golden = join(import.meta.dirname, '../golden/quant', `${name}.gguf`);
      const tower = goldenTower(at(`tower-${name}`), 'clip-vit');
      const { directory } = await assemble({
        towers: [tower],
        connector: 'mlp2x',
        language: golden,
        out: at(`married-${name}`),
      });
      const [whole, alone] = [await openModel(directory), await openModel(golden)];
      try {
        expect(whole.language.config).toEqual(alone.language.config);
        const packed: string[] = [];
        for (const path of alone.source.names() ?? []) {
          const shape = alone.source.shape(path) ?? [];
          const [got, wanted] = [whole.source.read(path, shape), alone.source.read(path, shape)];
          expect(got.length).toBe(wanted.length);
          // −0 becomes 0 where a bias is added.
          expect(got.every((value, i) => value === wanted[i])).toBe(true);
          if (alone.source.packedAs?.(path) !== undefined) packed.push(path);
        }
        expect(packed.length).toBeGreaterThan(4);
        for (const path of packed) expect(whole.source.packedAs?.(path), path).toBeDefined();
      } finally {
        whole.close();
        alone.close();
      }
      expect(readdirSync(root).filter((file) => file.includes('partial'))).toEqual([]);
    },
  );
});
