// The made checkpoint, and every way a model directory can be wrong: one typed error that says what and where, and nothing stays open.
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CambrianFamily } from '../../pipelines/answer/families/cambrian.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { asRecommended } from '../../pipelines/answer/opened-model.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { isGreedy } from '../../models/decoders/sampling.ts';
import { readGenerationConfig } from '../../runtime/text/generation-config.ts';
import { modelFiles, resolveModel, resolveTower } from '../../runtime/checkpoint/hub.ts';
import { editJson, editTensors } from '../support/edit-directory.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-model-'));
const good = join(root, 'good');
let copy = '';
let count = 0;
beforeAll(async () => {
  makeCheckpoint(good);
  // The sandbox keeps its pipe open.
  (await openModel(good)).close();
});
beforeEach(() => {
  copy = join(root, String(count++));
  cpSync(good, copy, { recursive: true });
});
afterEach(() => rmSync(copy, { recursive: true, force: true }));
afterAll(() => rmSync(root, { recursive: true }));

const openFiles = () => readdirSync('/proc/self/fd').length;
const shard = 'model-00001-of-00002.safetensors';

/** The message of the refusal; nothing may stay open. */
async function refusal(change: (directory: string) => void): Promise<string> {
  change(copy);
  const before = process.platform === 'linux' ? openFiles() : 0;
  try {
    (await openModel(copy)).close();
  } catch (error) {
    if (process.platform === 'linux') expect(openFiles()).toBe(before);
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the made checkpoint', () => {
  test('opens as a whole', async () => {
    const model = await openModel(good);
    const { family } = model;
    if (!(family instanceof CambrianFamily)) throw new Error('the made checkpoint is a Cambrian');
    expect(family.model.towers.map((tower) => tower.tower)).toEqual(['siglip', 'clip', 'dinov2', 'convnext']);
    expect(family.template).toBe('llama_3');
    expect(family.model.config.schedule).toEqual({ start: 0, stride: 3, count: 2 });
    model.close();
  });

  test('is the same wherever it is made, and is not made twice', async () => {
    const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    const again = makeCheckpoint(join(root, 'again'));
    expect(again.written).toBe(true);
    for (const name of [shard, 'tokenizer.json', 'towers/ViT-made-14-98/model.safetensors'])
      expect(digest(join(again.directory, name))).toBe(digest(join(good, name)));
    expect(makeCheckpoint(good)).toEqual({ ...again, directory: good, written: false });
    expect(makeCheckpoint(join(root, 'again'), 2).written).toBe(true);
    expect(digest(join(again.directory, shard))).not.toBe(digest(join(good, shard)));
  });

  test('is not written over what was not made here', async () => {
    const other = join(root, 'other');
    mkdirSync(other);
    expect(() => makeCheckpoint(other)).toThrow(/exists, and was not made here/);
    expect(readdirSync(root).filter((name) => name.includes('partial'))).toEqual([]);
  });
});

describe('directories that cannot be opened', () => {
  test('no directory, a file, an empty directory', async () => {
    await expect(openModel(join(root, 'nothing'))).rejects.toThrow(/there is no directory/);
    await expect(openModel(join(good, 'config.json'))).rejects.toThrow(/is a file, and a model is a directory/);
    expect(
      await refusal((directory) => {
        rmSync(directory, { recursive: true });
        mkdirSync(directory);
      }),
    ).toContain('has no config.json');
  });
  test('no config', async () => {
    expect(await refusal((directory) => rmSync(join(directory, 'config.json')))).toMatch(
      /has no config\.json[\s\S]*this has /,
    );
  });
  test('a config that is not a JSON, or no UTF-8', async () => {
    expect(await refusal((directory) => writeFileSync(join(directory, 'config.json'), '{"model_type": '))).toContain(
      'config.json is not JSON',
    );
    expect(
      await refusal((directory) => writeFileSync(join(directory, 'config.json'), Buffer.from([0x7b, 0xff]))),
    ).toContain('config.json is not UTF-8');
  });
  test('an unknown model type', async () => {
    expect(
      await refusal((directory) =>
        editJson(directory, 'config.json', (json) => {
          json['model_type'] = 'mamba';
        }),
      ),
    ).toMatch(/config\.json has the unknown model_type 'mamba'[\s\S]*known are cambrian_llama, /);
  });
  test('a shard missing', async () => {
    expect(await refusal((directory) => rmSync(join(directory, shard)))).toContain(
      `names the shard ${shard}, which is missing`,
    );
  });
  test('a shard truncated', async () => {
    expect(await refusal((directory) => truncateSync(join(directory, shard), 4_000_000))).toMatch(
      /00001-of-00002\.safetensors: is shorter than its tensors/,
    );
  });
  test('a header that lies about a size', async () => {
    expect(
      await refusal((directory) => {
        const path = join(directory, shard);
        const bytes = readFileSync(path);
        const at = bytes.indexOf('"shape":[672,192]');
        bytes.write('"shape":[673,192]', at);
        writeFileSync(path, bytes);
      }),
    ).toMatch(/tensor '.*' is F32 673×192, 516864 bytes, but has 516096/);
  });
  test('a dtype that is not supported', async () => {
    expect(
      await refusal((directory) => {
        const path = join(directory, 'towers/clip-vit-made-patch14-84/model.safetensors');
        const bytes = readFileSync(path);
        bytes.write('"dtype":"U16"', bytes.indexOf('"dtype":"F32"'));
        writeFileSync(path, bytes);
      }),
    ).toMatch(/clip-vit-made-patch14-84.*stored as U16, which is not supported/);
  });
  test('weights of another size than the config', async () => {
    expect(
      await refusal((directory) =>
        editJson(directory, 'config.json', (json) => {
          json['intermediate_size'] = 640;
        }),
      ),
    ).toMatch(/does not fit the model[\s\S]*misshapen[\s\S]*gate_proj\.weight {2}is \[512, 192\], wanted \[640, 192\]/);
  });
  test('more layers than there are weights', async () => {
    expect(
      await refusal((directory) =>
        editJson(directory, 'config.json', (json) => {
          json['num_hidden_layers'] = 7;
        }),
      ),
    ).toMatch(/9 missing[\s\S]*model\.layers\.6\./);
  });
  test('a tower with a tensor transposed, and one with a name of its own', async () => {
    const path = 'towers/dinov2-made-res98/model.safetensors';
    const message = await refusal((directory) =>
      editTensors(join(directory, path), (tensors) =>
        tensors.map((tensor) => {
          if (tensor.name === 'encoder.layer.1.mlp.weights_out.weight')
            return { ...tensor, shape: [...tensor.shape].reverse() };
          return tensor.name === 'layernorm.bias' ? { ...tensor, name: 'layernorm.biass' } : tensor;
        }),
      ),
    );
    expect(message).toMatch(
      /dinov2-made-res98 does not fit[\s\S]*1 missing\n {2}layernorm\.bias {2}\(nearest: layernorm\.biass\)[\s\S]*1 transposed\n {2}encoder\.layer\.1\.mlp\.weights_out\.weight/,
    );
  });
  test('a tower that is nowhere', async () => {
    expect(
      await refusal((directory) => rmSync(join(directory, 'towers/clip-vit-made-patch14-84'), { recursive: true })),
    ).toMatch(/vision tower 'made\/clip-vit-made-patch14-84' is neither in .* nor in the cache/);
  });
  test('no tokenizer', async () => {
    expect(await refusal((directory) => rmSync(join(directory, 'tokenizer.json')))).toContain('has no tokenizer.json');
  });
  test('ids that the model does not have, and a generation config out of range', async () => {
    expect(
      await refusal((directory) =>
        editJson(directory, 'tokenizer.json', (json) => {
          (json['added_tokens'] as object[]).push({ id: 900, content: '<|more|>', special: true });
        }),
      ),
    ).toMatch(/has ids up to 900, and .*config\.json a vocabulary of 672/);
    cpSync(join(good, 'tokenizer.json'), join(copy, 'tokenizer.json'));
    expect(
      await refusal((directory) => writeFileSync(join(directory, 'generation_config.json'), '{"eos_token_id": -5}')),
    ).toContain('generation_config.json is wrong');
  });
  test('a link that leads out of the directory', async () => {
    expect(
      await refusal((directory) => {
        rmSync(join(directory, 'generation_config.json'));
        symlinkSync('/etc/hostname', join(directory, 'generation_config.json'));
      }),
    ).toContain('is a link that leads out of its directory');
  });
});

describe('where models and towers are', () => {
  test('a repository that the cache does not have: how to get it, unless offline', async () => {
    expect(() => resolveModel('nobody/nothing', { HF_HUB_CACHE: root })).toThrow(/`opabinia fetch nobody\/nothing`/);
    expect(() => resolveModel('nobody/nothing', { HF_HUB_CACHE: root, HF_HUB_OFFLINE: '1' })).toThrow(
      /HF_HUB_OFFLINE forbids/,
    );
    expect(() => resolveModel('./nowhere/at/all', {})).toThrow(/there is no directory/);
  });
  test('a tower by its own directory, beside the model, or in the cache', async () => {
    const snapshot = join(root, 'hub', 'models--org--tower', 'snapshots', 'a'.repeat(40));
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(root, 'hub', 'models--org--tower', 'refs'));
    writeFileSync(join(root, 'hub', 'models--org--tower', 'refs', 'main'), `${'a'.repeat(40)}\n`);
    const env = { HF_HUB_CACHE: join(root, 'hub') };
    expect(resolveTower(good, 'x/unknown', ['no/such', 'org/tower'], undefined, env)).toBe(snapshot);
    expect(resolveTower(good, 'siglip/ViT-made-14-98', [], undefined, env)).toBe(
      join(good, 'towers', 'ViT-made-14-98'),
    );
    expect(resolveTower(good, 'x', [], good, env)).toBe(good);
    expect(() => resolveTower(good, 'x/..', [], undefined, env)).toThrow(/is neither in .* nor in the cache \S+\n/);
  });
  test('files of a directory', async () => {
    const files = modelFiles(good);
    expect([files.config, files.weights, files.chatTemplate].map((path) => path?.slice(good.length + 1))).toEqual([
      'config.json',
      'model.safetensors.index.json',
      undefined,
    ]);
    expect(existsSync(files.tokenizer ?? '')).toBe(true);
  });
});

test('generation_config.json: values and ranges', async () => {
  expect(
    readGenerationConfig(
      { eos_token_id: [1, 2], do_sample: true, temperature: 0.6, top_p: 0.9, top_k: 0, max_new_tokens: 5, other: 1 },
      'g.json',
    ),
  ).toEqual({
    ends: [1, 2],
    begin: undefined,
    pad: undefined,
    sample: true,
    temperature: 0.6,
    topK: undefined,
    topP: 0.9,
    repetitionPenalty: undefined,
    maxNewTokens: 5,
    changing: [],
  });
  expect(
    readGenerationConfig(
      { repetition_penalty: 1.05, no_repeat_ngram_size: 0, num_beams: 4, suppress_tokens: [], bad_words_ids: null },
      'g.json',
    ),
  ).toMatchObject({ repetitionPenalty: 1.05, changing: ['num_beams 4'] });
  for (const all of [0, -1]) expect(readGenerationConfig({ top_k: all }, 'g.json').topK).toBeUndefined();
  expect(readGenerationConfig({ eos_token_id: 7, bos_token_id: 1 }, 'g.json')).toMatchObject({
    ends: [7],
    begin: 1,
    sample: false,
  });
  for (const wrong of [
    { top_p: -0.1 },
    { top_p: 1.1 },
    { temperature: -1 },
    { eos_token_id: 'x' },
    { max_new_tokens: 0 },
  ])
    expect(() => readGenerationConfig(wrong, 'some/g.json')).toThrow(/some\/g\.json is wrong at/);
});

test('how tokens are drawn: as a question asks, else as generation_config.json recommends; top-k and top-p with a temperature alone', () => {
  const model = { recommended: { topK: 20, topP: 0.8, repetitionPenalty: 1.05 } };
  expect(asRecommended(model, {})).toEqual({ repetitionPenalty: 1.05 });
  expect(asRecommended(model, { temperature: 0.7 })).toEqual({ temperature: 0.7, ...model.recommended });
  const own = { temperature: 0.7, topK: 3, topP: 1, repetitionPenalty: 1 };
  expect(asRecommended(model, own)).toEqual(own);
  expect(isGreedy(asRecommended(model, {}))).toBe(false);
  expect(isGreedy(asRecommended(model, { repetitionPenalty: 1 }))).toBe(true);
});
