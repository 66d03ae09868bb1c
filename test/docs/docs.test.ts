// The pages for people: every function has a line and an example that runs, and what stands beside PyTorch's code computes the same.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { apiPage, faces, readApi } from '../../docs/generate-api.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { randomParams } from '../../dsl/index.ts';
import { describeLayout } from '../../models/connectors/visual-tokens.ts';
import { compareConnectors } from '../../pipelines/compare/compare.ts';
import { encodersNamed } from '../../pipelines/compare/encoders.ts';
import { languageModelNamed } from '../../pipelines/compare/language-models.ts';
import { listed } from '../../pipelines/compare/registry.ts';
import { openRecipe } from '../../pipelines/train/recipe/open-recipe.ts';
import { connectorsFace, exampleFiles, fromSources, unsaid } from './surroundings.ts';
import { checkpoint, declarations, numbersOf, runBlock } from './prelude.ts';

const root = join(import.meta.dirname, '../..');
const api = readApi();
const functions = api.map(({ name, entries }) => ({ name, functions: entries.filter(({ kind }) => kind === 'function') }));
const dsl = functions[0]?.functions ?? [];

const packageSchema = z.object({ exports: z.record(z.string(), z.unknown()) });
const page = readFileSync(join(root, 'docs/from-pytorch.md'), 'utf8');
const idioms = [...page.matchAll(/^## (.*)\n([\s\S]*?)(?=^## |$(?![\s\S]))/gm)].map(([, title = '', body = '']) => ({
  title,
  ours: /```ts\n([\s\S]*?)```/.exec(body)?.[1]?.trim() ?? '',
}));
const folder = join(root, 'out/docs');
/** Whole files on the pages, and what two of README's leave out. The tutorial's are written and run by test/package. */
const files = ['README.md', 'docs/connector.md', 'docs/recipe.md', 'docs/eval.md', 'docs/serving.md'].flatMap((from) =>
  [...readFileSync(join(root, from), 'utf8').matchAll(/^```ts ?(\S*)\n([\s\S]*?)^```$/gm)].map(([, name = '', code = ''], i) => ({
    page: from,
    name: name === '' ? `${from.replaceAll(/\W/g, '-')}-${i}.ts` : name,
    code: `${unsaid[`${from} ${i}`] ?? ''}${fromSources(code)}`,
  })),
);

const golden = z
  .record(z.string(), z.object({ shape: z.array(z.number()), values: z.array(z.number()) }))
  .parse(JSON.parse(readFileSync(join(root, 'test/golden/from-pytorch.json'), 'utf8')));

beforeAll(() => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'connectors-face.ts'), connectorsFace);
  for (const { name, code } of files) writeFileSync(join(folder, name), code);
});

test('api.md is what the sources say: `npm run docs`', () => {
  expect(readFileSync(join(root, 'docs/api.md'), 'utf8')).toBe(apiPage(api));
});

test.each(functions.flatMap(({ name, functions: own }) => own.map((f) => [`${name} ${f.name}`, f] as const)))(
  '%s says what it does, and shows it',
  (_name, { text, example, name }) => {
    expect(text.length).toBeGreaterThan(2);
    expect(example).toMatch(new RegExp(`\\b${name}(?:<.*>)?\\(`));
  },
);

test('classes, constants and parts of connectors say what they are', () => {
  const silent = api.flatMap(({ name, entries }) =>
    entries.filter(({ kind, text }) => !/type|inner/.test(kind) && text.length < 3).map((entry) => `${name} ${entry.name}`),
  );
  expect(silent).toEqual([]);
});

test('everything that an entry point of the package exports is on the page', async () => {
  const { exports } = packageSchema.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  expect([...new Set(faces.map(({ name }) => name.replace('opabinia', '.')))].toSorted()).toEqual(
    Object.keys(exports)
      .filter((path) => path !== './package.json')
      .toSorted(),
  );
  const names = new Set(api.flatMap(({ entries }) => entries.map((entry) => entry.name)));
  for (const { file } of faces) {
    // The folder of connectors has no file of its own; test/package compares it with what the build writes.
    if (!file.endsWith('.ts')) continue;
    const face = (await import(join(root, file))) as object;
    expect(
      Object.keys(face).filter((name) => !names.has(name)),
      file,
    ).toEqual([]);
  }
});

test.each(dsl.map(({ name, example }) => [name, example]))('the example of %s runs', (_name, example) => {
  expect(() => runBlock(example, randomParams(1))).not.toThrow();
});

describe('from-pytorch.md', () => {
  test('has PyTorch’s numbers for every block', () => expect(idioms.map(({ title }) => title)).toEqual(Object.keys(golden)));

  test.each(idioms.map(({ title, ours }) => [title, ours]))('%s', (title, ours) => {
    const { graph } = runBlock(ours, checkpoint);
    const { shape, values } = numbersOf(graph, checkpoint);
    const expected = golden[title];
    expect(shape).toEqual(expected?.shape);
    expect(values).toHaveLength(expected?.values.length ?? -1);
    // PyTorch computes in f32, from sums of at most 36 products of numbers up to 1.
    values.forEach((value, i) => expect(Math.abs(value - (expected?.values[i] ?? NaN))).toBeLessThan(2e-5));
  });
});

describe('connector.md and recipe.md', () => {
  test('every connector is one that `compare` takes', async () => {
    const found = await listed(files.filter(({ page }) => page === 'docs/connector.md').map(({ name }) => join(folder, name)));
    expect(found).toHaveLength(5);
    const { rows, refused } = await compareConnectors(found, {
      encoders: encodersNamed(['clip-l-336', 'siglip-so400m-384']),
      model: languageModelNamed('llama-3-8b'),
      profile: desktopGpu,
      dtype: 'f16',
      question: 64,
      look: false,
    });
    expect(refused.map(({ reason }) => reason.message)).toEqual([]);
    expect(rows.map(({ cost }) => describeLayout(cost.layout))).toEqual([
      '64 queries',
      'start + 12×12 with newlines',
      '24×24',
      '24×24',
      '24×24',
    ]);
  });

  test('the recipe is one', async () => {
    const { stages } = await openRecipe(join(folder, 'recipe.ts'));
    expect(stages.map(({ name }) => name)).toEqual(['stage 1', 'instructions']);
  });
});

test('every block is right for tsc', { timeout: 120_000 }, async () => {
  const blocks = [...dsl.map(({ example }) => example), ...idioms.map(({ ours }) => ours)];
  writeFileSync(join(folder, 'blocks.ts'), `${declarations}${blocks.map((code) => `{\n${code}\n}`).join('\n')}\n`);
  for (const [name, text] of exampleFiles(api)) writeFileSync(join(folder, name), text);
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.json',
      compilerOptions: { noUnusedLocals: false },
      include: ['*.ts'],
      exclude: [],
    }),
  );
  const tsc = promisify(execFile)(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder]);
  expect(
    await tsc.then(
      () => '',
      (error: unknown) => (error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error)),
    ),
  ).toBe('');
});
