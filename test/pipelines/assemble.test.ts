// Parts that were made apart as one directory: whole and opened by all commands, or not there at all; what does not go together is told.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import { assemble, type AssembleOptions } from '../../pipelines/assemble/assemble.ts';
import { connectorNamed, connectStored } from '../../pipelines/assemble/connector-config.ts';
import { CambrianFamily } from '../../pipelines/answer/families/cambrian.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { writeTrained } from '../../pipelines/train/learned/write-trained.ts';
import { planDirectory } from '../../pipelines/plan/plan-model.ts';
import { planTraining, subjectOf } from '../../pipelines/plan/plan-training.ts';
import { printPlanned } from '../../pipelines/plan/print-planned.ts';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import type { Image } from '../../runtime/image/image.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { everything } from '../support/share.ts';
import { editJson, editTensors, readTensors } from '../support/edit-directory.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-assemble-'));
const made = join(root, 'made');
const [siglip, clip, dinov2, convnext] = [
  'ViT-made-14-98',
  'clip-vit-made-patch14-84',
  'dinov2-made-res98',
  'clip-convnext-made-res96-multi-stage',
].map((name) => join(made, 'towers', name)) as [string, string, string, string];
const llama = join(root, 'llama');
const phi3 = join(root, 'phi3');
beforeAll(() => {
  makeCheckpoint(made);
  makeLanguage(llama, 'llama');
  makeLanguage(phi3, 'phi3');
}, 60_000);
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;
const out = (): string => join(root, `out${count++}`);
const married = async (options: Partial<AssembleOptions>): Promise<string> =>
  (await assemble({ towers: [clip], connector: 'mlp2x', language: llama, out: out(), ...options })).directory;

/** Nothing half written stays beside what is there. */
const leftovers = (): readonly string[] => readdirSync(root).filter((name) => name.includes('partial'));
const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const picture: Image = { width: 60, height: 40, rgb: new Uint8Array(60 * 40 * 3).map((_, i) => (i * 37) % 256) };

interface Marriage {
  readonly connector: string;
  readonly towers: () => readonly string[];
  readonly language: () => string;
  /** What is asked for, and what a picture has then. */
  readonly asked?: number;
  readonly tokens: number;
}

const marriages: readonly Marriage[] = [
  { connector: 'mlp2x', towers: () => [clip], language: () => llama, tokens: 36 },
  // A square of 3 × 3, and a newline behind every row.
  { connector: 'sva', towers: () => [clip, dinov2], language: () => llama, asked: 9, tokens: 12 },
];
/** The rest of the kinds: with OPABINIA_ALL=1. */
const more: readonly Marriage[] = [
  { connector: 'prismatic', towers: () => [dinov2, siglip], language: () => llama, tokens: 49 },
  { connector: 'linear', towers: () => [siglip], language: () => phi3, tokens: 49 },
  { connector: 'deco', towers: () => [clip], language: () => llama, asked: 9, tokens: 9 },
  { connector: 'honeybee-c-abstractor', towers: () => [dinov2], language: () => llama, asked: 9, tokens: 9 },
  { connector: 'idefics3', towers: () => [clip], language: () => phi3, asked: 9, tokens: 9 },
  { connector: 'blip-2', towers: () => [siglip], language: () => llama, asked: 32, tokens: 32 },
  { connector: 'sva', towers: () => [siglip, clip, dinov2, convnext], language: () => phi3, tokens: 42 },
  {
    connector: 'sva',
    towers: () => [clip],
    language: () => makeLanguage(join(root, 'q2'), 'qwen2'),
    asked: 9,
    tokens: 12,
  },
  {
    connector: 'sva',
    towers: () => [clip],
    language: () => makeLanguage(join(root, 'q3'), 'qwen3'),
    asked: 9,
    tokens: 12,
  },
];

describe('a directory that every command takes', () => {
  test.each([...marriages, ...(everything ? more : [])])(
    '$connector, $tokens tokens',
    async ({ connector, towers, language, asked, tokens }) => {
      const directory = await married({ connector, towers: towers(), language: language(), tokens: asked });
      expect((await checkModel(directory)).problems).toEqual([]);
      expect(leftovers()).toEqual([]);
      // A picture twice as wide as high: Cambrian's own layout leaves out what only pads it.
      const square: Image = { ...picture, width: 40, height: 40, rgb: picture.rgb.subarray(0, 40 * 40 * 3) };
      const model = await openModel(directory);
      try {
        const laid = await model.family.layOut([{ text: 'What is it?', images: [square] }], {});
        expect(laid.width - (laid.ids[0]?.length ?? 0)).toBe(tokens);
      } finally {
        model.close();
      }
      const planned = await planDirectory(directory, { dtype: 'f32', context: 256, prompt: 128, images: 1 });
      expect(planned.programs.map(({ name }) => name)).toEqual(['one picture', 'prefill', 'decode']);
      expect(planned.towers).toBe(towers().length);
      // The connector does some arithmetic in front of the language model, and has parameters of its own.
      expect(planned.parameters.get('connector')).toBeGreaterThan(0);
      expect(planned.programs[0]?.flops.get('connector')).toBeGreaterThan(0);
      expect(printPlanned(planned, { dtype: 'f32', context: 256, prompt: 128, images: 1 })).toMatch(
        /without the towers/,
      );
      // Compiling a step takes its time: a second stage is the first with more that learns.
      for (const stage of everything ? ([1, 2] as const) : ([1] as const)) {
        const options = { stage, dtype: 'f32', length: 128, batch: 1 } as const;
        const { learned } = planTraining(await subjectOf(directory, options), options);
        // Stage 1 trains what is new, stage 2 all.
        expect(learned.some((path) => /layers\.0\.self_attn/.test(path) && !path.includes('vision_sampler'))).toBe(
          stage === 2,
        );
        expect(learned.length).toBeGreaterThan(0);
      }
    },
    120_000,
  );

  test.each(['mistral', 'qwen2', 'qwen3'] as const)("SVA in a %s, which has Llama's layers", async (type) => {
    const language = makeLanguage(join(root, type), type);
    const directory = await married({ connector: 'sva', language, tokens: 9 });
    const [whole, alone] = [await openModel(directory), await openModel(language)];
    try {
      if (!(whole.family instanceof CambrianFamily)) throw new Error('the layout is Cambrian’s');
      expect(whole.family.model.config).toMatchObject({ type: `cambrian_${type}`, schedule: { start: 0 } });
      expect(whole.language.config).toEqual(alone.language.config);
      // Its layers are the language model's own, SVA's stand beside them.
      const names = [...(whole.source.names() ?? [])];
      for (const name of alone.source.names() ?? []) expect(names).toContain(name);
      expect(names.some((name) => /vision_sampler_layers\.1\./.test(name))).toBe(true);
    } finally {
      whole.close();
      alone.close();
    }
  });

  test('weights are copied as they are, and the connector is the same wherever it is made', async () => {
    const [one, same, other] = [await married({}), await married({}), await married({ seed: 2 })];
    const names = (directory: string): readonly string[] =>
      readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
        .toSorted();
    expect(names(same)).toEqual(names(one));
    for (const name of names(one)) expect([name, digest(join(same, name))]).toEqual([name, digest(join(one, name))]);
    expect(digest(join(other, 'connector.safetensors'))).not.toBe(digest(join(one, 'connector.safetensors')));
    expect(digest(join(one, 'language-00001-of-00002.safetensors'))).toBe(
      digest(join(llama, 'model-00001-of-00002.safetensors')),
    );
    // What older directories say of tokens beside their tokenizer comes along.
    const language = join(root, 'older');
    cpSync(llama, language, { recursive: true });
    for (const name of ['added_tokens.json', 'special_tokens_map.json']) writeFileSync(join(language, name), '{}');
    expect(names(await married({ language }))).toEqual(
      expect.arrayContaining(['added_tokens.json', 'special_tokens_map.json']),
    );
    const [tower] = readdirSync(join(one, 'towers'));
    expect(digest(join(one, 'towers', tower ?? '', 'model.safetensors'))).toBe(digest(join(clip, 'model.safetensors')));
  });
});

test('as a command', () => {
  const directory = out();
  const command = ['assemble', '--tower', clip, '--connector', 'linear', '--llm', llama, '--out', directory, '--json'];
  const run = () =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../cli/opabinia.ts'), ...command], { encoding: 'utf8' });
  const [first, again] = [run(), run()];
  expect(first.status).toBe(0);
  expect(JSON.parse(first.stdout)).toMatchObject({ directory, modelType: 'opabinia', tokens: 36, fresh: 129 * 48 });
  // What is there is never written over.
  expect([again.status, again.stdout]).toEqual([1, '']);
  expect(again.stderr).toMatch(/exists/);
});

test.each(['mlp2x', 'sva'])('%s: what a run has learned of it is a directory as well', async (connector) => {
  const directory = await married({ connector, tokens: 9 });
  const run = out();
  mkdirSync(run);
  const [fresh] = readTensors(join(directory, 'connector.safetensors'));
  if (fresh === undefined) throw new RangeError('a connector without tensors');
  const taught = { ...fresh, values: Array.from(fresh.values, (_, i) => (i % 7) - 3) };
  writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model: directory, stages: [{}] } }));
  writeSafetensors(join(run, 'stage-1.safetensors'), [taught]);
  const learned = out();
  expect((await writeTrained(run, { out: learned })).learned).toBe(1);
  expect((await checkModel(learned)).ok).toBe(true);
  const [before, after] = [await openModel(directory), await openModel(learned)];
  try {
    expect([...after.source.read(fresh.name, fresh.shape)]).toEqual(taught.values);
    expect([...(after.source.names() ?? [])].sort()).toEqual([...(before.source.names() ?? [])].sort());
  } finally {
    before.close();
    after.close();
  }
});

describe('what is told before anything is written', () => {
  const refused = async (options: Partial<AssembleOptions>): Promise<string> => {
    const before = readdirSync(root);
    const error: unknown = await married(options).then(
      () => 'nothing was refused',
      (cause: unknown) => cause,
    );
    expect(readdirSync(root)).toEqual(before);
    return error instanceof Error ? error.message : String(error);
  };
  test('a target that exists, has no folder, or lies in an input', async () => {
    const there = join(root, 'there');
    mkdirSync(there);
    expect(await refused({ out: there })).toMatch(/exists/);
    expect(await refused({ out: llama })).toMatch(/exists/);
    expect(await refused({ out: join(root, 'no', 'where') })).toMatch(/there is no directory .*no/);
    expect(await refused({ out: join(llama, 'inside') })).toMatch(/lies in .*llama, which is read/);
    expect(await refused({ out: join(clip, 'inside') })).toMatch(/lies in .*clip/);
    expect(existsSync(join(clip, 'inside'))).toBe(false);
  });
  test('a connector that is not known, reads more than maps, acts inside, or reads one tower', async () => {
    expect(await refused({ connector: 'honeybee' })).toMatch(
      /honeybee' *, which is not known[^]*honeybee-c-abstractor/,
    );
    expect(await refused({ connector: 'fastv' })).toMatch(/acts inside the language model/);
    expect(await refused({ connector: 'instructblip' })).toMatch(/reads 'question/);
    expect(await refused({ towers: [clip, siglip] })).toMatch(/reads one tower, and 2 are given/);
  });
  test('a language model that is none, a tower that is none, no tower', async () => {
    expect(await refused({ language: made })).toMatch(/not a language model by itself/);
    expect(await refused({ language: clip })).toMatch(/vision tower/);
    expect(await refused({ towers: [llama] })).toMatch(/model_type 'llama', which is not a vision tower/);
    expect(await refused({ towers: [] })).toMatch(/there is no tower/);
  });
  test('SVA in front of a language model or on a tower that Cambrian’s config cannot name; tokens that are not a square', async () => {
    expect(await refused({ connector: 'sva', tokens: 8 })).toMatch(/8 tokens are not a square/);
    const olmo = makeLanguage(join(root, 'olmo'), 'olmo2');
    expect(await refused({ connector: 'sva', language: olmo })).toMatch(
      /of llama, phi3, mistral, qwen2, qwen3; .* is a olmo2, whose layers/,
    );
    expect(await refused({ connector: 'flamingo' })).toMatch(/acts inside the language model[^]*or sva/);
  });
  test('a picture that fills the context', async () => {
    const short = join(root, 'short');
    makeLanguage(short, 'llama');
    editJson(short, 'config.json', (json) => Object.assign(json, { max_position_embeddings: 90 }));
    expect(await refused({ language: short })).toMatch(
      /a picture has 36 tokens, and the language model knows 90 positions/,
    );
  });
  test('notes: room, vocabulary, dtypes, an own template, what is new', async () => {
    const own = join(root, 'own');
    makeLanguage(own, 'llama', "{% for m in messages %}{{ m['content'] }}{% endfor %}");
    const { notes } = await assemble({ towers: [siglip], connector: 'mlp2x', language: own, out: out() });
    expect(notes.join('\n')).toMatch(/chat template is not used/);
    expect(notes.join('\n')).toMatch(/stored as F32, BF16/);
    expect(notes.join('\n')).toMatch(/9,312 parameters are new/);
  });
});

describe('a stored configuration of a connector', () => {
  test.each<[string, unknown, RegExp]>([
    ['another kind', 'mlp', /connector\.config is a string/],
    ['an unknown field', { linears: [0, 2], more: 1 }, /unknown field 'more'/],
    ['a number without bound', { linears: [0, 1e9] }, /connector\.config\.linears\[1\] is 1000000000/],
    ['a list without end', { linears: Array.from({ length: 5000 }, () => 0) }, /has 5000 entries/],
    ['a text for a list', { linears: '0' }, /connector\.config\.linears is a string/],
  ])('%s is refused', async (_what, config, message) => {
    const llava = await connectorNamed('llava', 'x');
    expect(() => connectStored(llava, config, 'config.json')).toThrow(message);
  });
  test('a config.json with a connector that is not known, or whose sizes are not those of the weights', async () => {
    const directory = await married({});
    editJson(directory, 'config.json', (json) =>
      Object.assign(json, { connector: { name: 'llava', config: { linears: [0, 2, 4] } } }),
    );
    await expect(openModel(directory)).rejects.toThrow(/missing\n {2}model\.mm_projector\.4\./);
    editJson(directory, 'config.json', (json) => Object.assign(json, { connector: { name: 'lava', config: {} } }));
    await expect(openModel(directory)).rejects.toThrow(/connector 'lava', which is not known[^]*nearest are llava/);
    const towers = (
      readJsonFile(join(directory, 'config.json')) as { readonly towers: readonly { readonly folder: string }[] }
    ).towers;
    editJson(directory, 'config.json', (json) => Object.assign(json, { towers: [{ ...towers[0], folder: '../x' }] }));
    await expect(openModel(directory)).rejects.toThrow(/'towers\.0\.folder'/);
  });
});

/** The state `image_tokens` after one picture, by the interpreter in f64. */
function imageTokens(
  { family, source }: OpenedModel,
  inputs: Readonly<Record<string, Float32Array>>,
  symbol: string,
): readonly number[] {
  const sizes = { batch: 1, capacity: 64, promptLimit: 63, imageLimit: 1, draw: 'greedy' } as const;
  const graph = family.vision?.(sizes);
  if (graph === undefined) throw new Error('the model sees');
  const params = (path: string, shape: readonly number[]) => source.read(path, shape);
  const { states } = evaluate(
    graph,
    { inputs: new Map(Object.entries(inputs)), params, symbols: new Map([[symbol, 0]]) },
    { precision: 'f64' },
  );
  return Array.from(states.get('image_tokens') ?? []);
}

test('the parts of a LLaVA, assembled anew with its projector, give the tokens that LLaVA’s own layout gives', async () => {
  const llava = makeLlava(join(root, 'llava')).directory;
  const config = readJsonFile(join(llava, 'config.json')) as Record<'vision_config' | 'text_config', object>;
  const tensors = readdirSync(llava)
    .filter((name) => name.endsWith('.safetensors'))
    .flatMap((name) => readTensors(join(llava, name)));
  const part = (name: string, json: object, prefix: string, files: readonly string[]): string => {
    const place = join(root, name);
    mkdirSync(place);
    writeFileSync(join(place, 'config.json'), JSON.stringify(json));
    for (const file of files) copyFileSync(join(llava, file), join(place, file));
    const own = tensors.filter((tensor) => tensor.name.startsWith(prefix));
    writeSafetensors(
      join(place, 'model.safetensors'),
      own.map((tensor) => ({ ...tensor, name: tensor.name.slice(prefix.length) })),
    );
    return place;
  };
  const directory = await married({
    towers: [part('its-clip', config.vision_config, 'vision_tower.', ['preprocessor_config.json'])],
    language: part('its-llama', config.text_config, 'language_model.', ['tokenizer.json', 'tokenizer_config.json']),
  });
  const [model, original] = [await openModel(directory), await openModel(llava)];
  try {
    const [view] = (await original.family.layOut([{ text: 'a', images: [picture] }], {})).views;
    const [own] = (await model.family.layOut([{ text: 'a', images: [picture] }], {})).views;
    const pixels = view?.inputs()['pixels'] as Float32Array;
    expect(own?.inputs()).toEqual({ pixels_0: pixels });
    const before = imageTokens(model, { pixels_0: pixels }, 'image');
    editTensors(join(directory, 'connector.safetensors'), (fresh) =>
      fresh.map((tensor) => {
        const name = tensor.name
          .replace(/^model\.mm_projector\.0\./, 'linear_1.')
          .replace(/^model\.mm_projector\.2\./, 'linear_2.');
        const from = tensors.find((each) => each.name === `multi_modal_projector.${name}`);
        if (from === undefined) throw new Error(name);
        return { ...tensor, values: from.values };
      }),
    );
    const taught = await openModel(directory);
    try {
      const [ours, theirs] = [
        imageTokens(taught, { pixels_0: pixels }, 'image'),
        imageTokens(original, { pixels }, 'view'),
      ];
      expect(ours).toHaveLength(16 * 96);
      expect(ours).toEqual(theirs);
      expect(before).not.toEqual(theirs);
    } finally {
      taught.close();
    }
  } finally {
    model.close();
    original.close();
  }
});
