// LoRA of a run as PEFT's adapter: judged by a file that PEFT itself wrote with the logits that it gave, and by PEFT's rules for names.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { adapterConfig } from '../../../pipelines/train/learned/adapter-config.ts';
import { writeAdapter } from '../../../pipelines/train/learned/write-adapter.ts';
import { writeTrained } from '../../../pipelines/train/learned/write-trained.ts';
import { referenceBackend } from '../../../pipelines/verify/backends.ts';
import { verifyFile } from '../../../pipelines/verify/verify.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors, type TensorToStore } from '../../../runtime/checkpoint/safetensors-write.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-adapter-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const configSchema = z.looseObject({
  r: z.number(),
  lora_alpha: z.number(),
  rank_pattern: z.record(z.string(), z.number()),
  alpha_pattern: z.record(z.string(), z.number()),
  target_modules: z.array(z.string()),
});
const configOf = (value: unknown): z.infer<typeof configSchema> => configSchema.parse(value);

/** What PEFT makes of a config (`check_target_module_exists`, `get_pattern_key`): of every module that it adapts, rank and alpha. */
function peftModules(
  config: z.infer<typeof configSchema>,
  modules: readonly string[],
): ReadonlyMap<string, readonly [rank: number, alpha: number]> {
  const valueOf = (patterns: Readonly<Record<string, number>>, path: string, usual: number): number => {
    const key = Object.keys(patterns).find((pattern) => new RegExp(`^(.*\\.)?(${pattern})$`).test(path));
    return key === undefined ? usual : (patterns[key] ?? usual);
  };
  return new Map(
    modules
      .filter((path) => config.target_modules.some((name) => path === name || path.endsWith(`.${name}`)))
      .map((path) => [
        path,
        [valueOf(config.rank_pattern, path, config.r), valueOf(config.alpha_pattern, path, config.lora_alpha)],
      ]),
  );
}

function readTensors(path: string): ReadonlyMap<string, TensorToStore> {
  const opened = openCheckpoint(path);
  const read = [...opened.stored].map(([name, { shape, dtype }]) => {
    const values = Array.from(opened.tensor(name), Number);
    return [name, { name, shape, dtype, values }] as const;
  });
  opened.close();
  return new Map(read);
}

const writeRun = (run: string, model: string, stages: readonly unknown[]): void => {
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages } }));
};
const readConfig = (folder: string): unknown => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));

/** What is meant by a recipe so that PEFT's modules, ranks and alphas come of it, and how many matrices it adds to. */
const cases = [
  {
    name: 'peft-llama',
    matrices: 10,
    ranks: [2, 3, 4],
    lora: [
      { paths: ['*q_proj.weight', '*v_proj.weight'], rank: 4, alpha: 6 },
      { paths: ['*o_proj.weight'], rank: 2, alpha: 5 },
      { paths: ['*layers.1.mlp.down_proj.weight'], rank: 3 },
    ],
  },
  ...['peft-embedding', 'peft-tied'].map((name) => ({
    name,
    matrices: 4,
    ranks: [2, 3],
    lora: [
      { paths: ['*q_proj.weight', '*k_proj.weight', '*v_proj.weight'], rank: 2, alpha: 3 },
      { paths: ['*embed_tokens.weight'], rank: 3 },
    ],
  })),
];

/** What we learn of it: additions to a matrix of rows, as to any other. Those of a tied head are the embedding's. */
function learnedOf(tensor: TensorToStore): readonly TensorToStore[] {
  const name = tensor.name.replace('base_model.model.', '');
  const [rows = 0, columns = 0] = tensor.shape;
  const turned = {
    ...tensor,
    shape: [columns, rows],
    values: Array.from(
      { length: rows * columns },
      (_, i) => tensor.values[(i % rows) * columns + Math.floor(i / rows)] ?? NaN,
    ),
  };
  if (name.startsWith('lm_head.')) return [];
  if (name.endsWith('.lora_embedding_A')) return [{ ...turned, name: name.replace('embedding_A', 'B.weight') }];
  if (name.endsWith('.lora_embedding_B')) return [{ ...turned, name: name.replace('embedding_B', 'A.weight') }];
  return [{ ...tensor, name }];
}

describe.each(cases)('against PEFT: $name', ({ name: file, matrices, ranks, lora }) => {
  const golden = join(import.meta.dirname, `../../golden/adapter/${file}.safetensors`);
  const opened = openCheckpoint(golden);
  const { metadata } = opened;
  opened.close();
  const all = readTensors(golden);
  const json = (name: string): unknown => JSON.parse(metadata.get(name) ?? 'null');
  const adapters = [...all].flatMap(([name, tensor]) =>
    name.startsWith('adapter.') ? [{ ...tensor, name: name.slice('adapter.'.length) }] : [],
  );
  const weights = [...all.values()].filter(({ name }) => !/^(?:adapter|input|output)\./.test(name));
  const asked = [...all.values()].filter(({ name }) => /^(?:input|output)\./.test(name));
  const root = join(scratch, file);
  const [model, run] = [join(root, 'model'), join(root, 'run')];
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, 'config.json'), metadata.get('config') ?? '');
  writeSafetensors(join(model, 'model.safetensors'), weights);
  writeRun(run, model, [{ lora }]);
  writeSafetensors(join(run, 'stage-1.safetensors'), adapters.flatMap(learnedOf));

  test('its tensors are PEFT’s, and PEFT makes of its config the same modules, ranks and alphas', async () => {
    const out = join(root, 'adapter');
    const written = await writeAdapter(run, { out, base: 'owner/name' });
    expect(written).toMatchObject({ base: 'owner/name', matrices, ranks, left: new Map(), stages: 1 });
    expect(readdirSync(out).toSorted()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    expect(readTensors(join(out, 'adapter_model.safetensors'))).toEqual(
      new Map(adapters.map((tensor) => [tensor.name, tensor])),
    );
    const [config, wanted] = [
      configOf(readConfig(out)),
      z.record(z.string(), z.unknown()).parse(json('adapter_config')),
    ];
    const modules = [...new Set([...weights.map(({ name }) => name.replace(/\.weight$/, '')), 'lm_head'])];
    expect(peftModules(config, modules)).toEqual(
      new Map(Object.entries(z.record(z.string(), z.array(z.number())).parse(json('modules')))),
    );
    // How modules are meant is a choice; everything else is what PEFT writes.
    const chosen = ['target_modules', 'rank_pattern', 'alpha_pattern', 'base_model_name_or_path'];
    for (const [field, value] of Object.entries(config))
      if (!chosen.includes(field)) expect([field, value]).toEqual([field, wanted[field]]);
    expect(config['base_model_name_or_path']).toBe('owner/name');
  });

  test('the model with it folded in has the logits that PEFT gives, and the model without it has others', async () => {
    const merged = join(root, 'merged');
    await writeTrained(run, { out: merged });
    for (const [folder, verdict] of [
      [merged, 'ok'],
      [model, 'WRONG'],
    ] as const) {
      const path = join(root, 'logits.safetensors');
      const own = [...readTensors(join(folder, 'model.safetensors')).values()];
      writeSafetensors(path, [...own, ...asked], Object.fromEntries(metadata));
      const rows = await verifyFile(path, referenceBackend());
      expect(rows.map((row) => [row.tensor, row.verdict])).toEqual([['prefill_logits', verdict]]);
    }
  });
});

const paths = Array.from({ length: 12 }, (_, i) => `model.layers.${i}`).flatMap((layer) =>
  ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'].map((name) => `${layer}.${name}`),
);
const modules = [...paths, 'model.vision_sampler_layers.0.q_proj', 'model.embed_tokens', 'lm_head'];

test('whatever modules have whatever ranks and alphas, PEFT reads these and no others from the config', () => {
  const pair = fc.record({ rank: fc.constantFrom(2, 4, 8), alpha: fc.constantFrom(2, 4, 5) });
  const adapted = fc
    .record({
      // By name, as recipes mean them, and some of them otherwise.
      byName: fc.record({ q_proj: fc.option(pair), v_proj: fc.option(pair), down_proj: fc.option(pair) }),
      other: fc.dictionary(fc.constantFrom(...paths, 'lm_head'), fc.option(pair), { maxKeys: 4 }),
    })
    .map(({ byName, other }) =>
      [...paths, 'lm_head'].flatMap((path) => {
        const usual = Object.entries(byName).find(([name]) => path.endsWith(`.${name}`))?.[1];
        const own = Object.hasOwn(other, path) ? other[path] : usual;
        return own === undefined || own === null ? [] : [{ path, ...own }];
      }),
    );
  fc.assert(
    fc.property(adapted, (some) => {
      const config = configOf(adapterConfig('base', some, modules));
      expect(peftModules(config, modules)).toEqual(new Map(some.map(({ path, rank, alpha }) => [path, [rank, alpha]])));
    }),
    { numRuns: 300 },
  );
});

test('names are short where they mean no other module', () => {
  const all = ['a.q', 'b.q', 'a.v', 'b.v', 'head'];
  const config = adapterConfig(
    'base',
    ['a.q', 'b.q', 'a.v'].map((path) => ({ path, rank: 1, alpha: 1 })),
    all,
  );
  expect(config['target_modules']).toEqual(['a.v', 'q']);
});

const matrix = (name: string, values: readonly (readonly number[])[]): TensorToStore => ({
  name,
  dtype: 'F32',
  shape: [values.length, values[0]?.length ?? 0],
  values: values.flat(),
});

describe('a run of several stages', () => {
  const root = join(scratch, 'stages');
  const [model, run] = [join(root, 'model'), join(root, 'run')];
  const [q, v, down] = ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'].map(
    (name) => `model.layers.0.${name}`,
  );
  const lora = [{ paths: ['*q_proj.weight', '*v_proj.weight', '*mm_projector.weight'], rank: 1, alpha: 4 }];
  const later = [{ paths: ['*q_proj.weight'], rank: 2, alpha: 1 }];
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, 'config.json'), '{}');
  const zeros = [
    [0, 0],
    [0, 0],
  ];
  const projector = 'model.mm_projector';
  const names = [q, v, down, projector, 'model.embed_tokens'];
  writeSafetensors(
    join(model, 'model.safetensors'),
    names.map((name) => matrix(`${name}.weight`, zeros)),
  );
  const additions = (path: string | undefined, a: readonly number[][], b: readonly number[][]): TensorToStore[] => [
    matrix(`${path}.lora_A.weight`, a),
    matrix(`${path}.lora_B.weight`, b),
  ];
  const write = (stage: number, tensors: readonly TensorToStore[]): void =>
    writeSafetensors(join(run, `stage-${stage}.safetensors`), tensors);
  const second = additions(q, [[1, 2], [3, 4]], [[2, 4], [6, 8]]); // prettier-ignore
  const reset = (): void => {
    rmSync(run, { recursive: true, force: true });
    writeRun(run, model, [{ lora }, { lora: later }]);
    write(1, [q, v, projector].flatMap((path) => additions(path, [[1, 2]], [[3], [5]]))); // prettier-ignore
    write(2, [
      ...second,
      matrix(`${v}.weight`, zeros),
      matrix(`${down}.weight`, zeros),
      matrix('vision_tower.0.x.weight', [[1]]),
      matrix('vision_tower.0.y.weight', [[1]]),
    ]);
  };

  test('additions of several stages to one matrix are one, and what learned besides is told', async () => {
    reset();
    const out = join(root, 'joined');
    const written = await writeAdapter(run, { out });
    expect(written).toMatchObject({ base: model, matrices: 1, ranks: [3], stages: 2 });
    // Of v_proj the second stage wrote the whole; the connector's additions are no language model's.
    expect(written.left).toEqual(
      new Map([
        [projector, 1],
        ['model.layers', 2],
        ['vision_tower.0', 2],
      ]),
    );
    const found = readTensors(join(out, 'adapter_model.safetensors'));
    expect([...found.values()].map(({ name, shape, values }) => [name, shape, values])).toEqual([
      [`base_model.model.${q}.lora_A.weight`, [3, 2], [1, 2, 1, 2, 3, 4]],
      [`base_model.model.${q}.lora_B.weight`, [2, 3], [4 * 3, 1, 2, 4 * 5, 3, 4]],
    ]);
    expect(configOf(readConfig(out))).toMatchObject({ r: 3, lora_alpha: 3, target_modules: ['q_proj'] });
  });

  test('a matrix that learned whole before something was added to it is told of: its addition alone is not what it learned', async () => {
    reset();
    write(1, [matrix(`${q}.weight`, zeros)]);
    write(2, second);
    const { matrices, left } = await writeAdapter(run, { out: join(root, 'whole first') });
    expect([matrices, [...left]]).toEqual([1, [['model.layers', 1]]]);
  });

  test('averages are taken where they are wanted', async () => {
    reset();
    writeRun(run, model, [{ lora }, { lora: later, ema: 0.5 }]);
    const last = join(run, 'checkpoint-1-2');
    mkdirSync(last);
    const averaged = additions(q, [[5, 5], [5, 5]], [[7, 7], [7, 7]]); // prettier-ignore
    writeSafetensors(
      join(last, 'optimizer.safetensors'),
      averaged.map((tensor) => ({ ...tensor, name: `ema.${tensor.name}` })),
    );
    const sha256 = { 'optimizer.safetensors': contentKey([], [join(last, 'optimizer.safetensors')]) };
    const position = { stage: 1, step: 2, samples: 1, tokens: 1 };
    writeFileSync(join(last, 'run_state.json'), JSON.stringify({ position, sha256 }));
    const out = join(root, 'averaged');
    expect((await writeAdapter(run, { out, ema: true })).averages).toEqual({ stage: 2, decay: 0.5 });
    const found = [...readTensors(join(out, 'adapter_model.safetensors')).values()];
    expect(found.map(({ name, values }) => [name.replace(/^.*_proj\./, ''), values])).toEqual([
      ['lora_A.weight', [1, 2, 5, 5, 5, 5]],
      ['lora_B.weight', [12, 3.5, 3.5, 20, 3.5, 3.5]],
      ['lora_A.weight', [1, 2]],
      ['lora_B.weight', [3, 5]],
    ]);
  });

  test('a run that added nothing to the language model, and what f16 does not hold, are refused; nothing stays', async () => {
    reset();
    const out = join(root, 'refused');
    write(1, additions(projector, [[1, 2]], [[3], [5]]));
    write(2, [matrix(`${v}.weight`, zeros)]);
    await expect(writeAdapter(run, { out })).rejects.toThrow(/added nothing of low rank[^]*leave --adapter out/);
    write(2, additions(q, [[1, 2], [3, 70_000]], [[2, 4], [6, 8]])); // prettier-ignore
    await expect(writeAdapter(run, { out, dtype: 'f16' })).rejects.toThrow(/lora_A\.weight' holds 70000\.0/);
    await expect(writeAdapter(run, { out, ema: true })).rejects.toThrow(/kept no averages of stage 2/);
    await expect(writeAdapter(run, { out, signal: AbortSignal.abort() })).rejects.toThrow(/aborted/);
    expect([existsSync(out), readdirSync(root).filter((name) => name.includes('partial'))]).toEqual([false, []]);
    await expect(writeAdapter(run, { out: model })).rejects.toThrow(/is there already/);
    // The rest of it fits, and the same in f32.
    await writeAdapter(run, { out });
    expect(
      readTensors(join(out, 'adapter_model.safetensors')).get(`base_model.model.${q}.lora_A.weight`),
    ).toMatchObject({ dtype: 'F32', values: [1, 2, 3, 70_000] });
  });
});
