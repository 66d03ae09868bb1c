// The whole source tree type-checks and keeps the laws that lint enforces: who may import whom among them.
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

async function complaints(tool: string, ...options: readonly string[]): Promise<string> {
  try {
    await promisify(execFile)(join(root, 'node_modules/.bin', tool), options, { cwd: root, maxBuffer: 2 ** 26 });
    return '';
  } catch (error) {
    return error instanceof Error && 'stdout' in error ? `${String(error.stdout)}\n${error.message}` : String(error);
  }
}

test('type-checks', async () => {
  expect(await complaints('tsc', '-p', '.')).toBe('');
});

test('lint finds nothing', async () => {
  expect(await complaints('oxlint', '--type-aware', '--tsconfig', 'tsconfig.json', '--format', 'unix')).toBe('');
});

/** Folders whose files are a list of like things, as long as the list is. */
const lists =
  /^(compiler\/(passes|schedule)|models\/(connectors(\/[a-z-]+)?|parts|towers|decoders|configs)|pipelines\/(verify\/(kinds|connectors)|train\/optimizers|eval\/benchmarks)|dsl\/(ops(\/map)?|functions|storage)|cli|bench(\/cases|\/peers)?|test(\/.*)?)$/;

test('every room has a README, and no more than twelve files lie about in it', () => {
  const rooms = ['dsl', 'compiler', 'runtime', 'models', 'pipelines', 'cli'].flatMap((top) => [
    top,
    ...readdirSync(join(root, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'gen')
      .map((entry) => relative(root, join(entry.parentPath, entry.name))),
  ]);
  for (const room of rooms) {
    const files = readdirSync(join(root, room), { withFileTypes: true }).filter((entry) => entry.isFile());
    if (!lists.test(room))
      expect(files.filter((file) => file.name.endsWith('.ts')).length, room).toBeLessThanOrEqual(12);
    expect(
      files.map((file) => file.name),
      room,
    ).toContain('README.md');
    const readme = readFileSync(join(root, room, 'README.md'), 'utf8');
    for (const part of [/\*\*Enters/, /\*\*Leaves|and leaves:\*\*/, /\*\*May import:\*\*/])
      expect(readme, room).toMatch(part);
  }
});

/** What a source file imports, types among it, of files of ours. */
function importsOf(file: string): readonly string[] {
  const found = readFileSync(join(root, file), 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g);
  return [...found].map(([, path = '']) => relative(root, join(root, file, '..', path)));
}

test('no circle of files, types among them, but a node and its record', () => {
  const files = ['dsl', 'compiler', 'runtime', 'models', 'pipelines', 'cli'].flatMap((top) =>
    readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
      .map((path) => join(top, path)),
  );
  const imports = new Map(files.map((file) => [file, importsOf(file)]));
  const allowed = new Set(['dsl/graph/graph.ts', 'dsl/graph/op.ts']);
  const state = new Map<string, 'open' | 'done'>();
  const way: string[] = [];
  const circles: string[] = [];
  const visit = (file: string): void => {
    state.set(file, 'open');
    way.push(file);
    for (const next of imports.get(file) ?? []) {
      if (allowed.has(file) && allowed.has(next)) continue;
      if (state.get(next) === 'open') circles.push([...way.slice(way.indexOf(next)), next].join(' → '));
      else if (state.get(next) === undefined && imports.has(next)) visit(next);
    }
    way.pop();
    state.set(file, 'done');
  };
  for (const file of files) if (state.get(file) === undefined) visit(file);
  expect(files.length).toBeGreaterThan(700);
  expect(circles).toEqual([]);
});

/** What many models share, the table of the study, and Cambrian, whose SVA stands in the decoder and in training. */
const shared = new Set([
  'towers/vit.ts',
  'towers/study.ts',
  'multimodal/cambrian-model.ts',
  'multimodal/cambrian-training.ts',
]);

test('a tower, a connector, a family of decoders or a model with pictures is a file of 150 lines at most', () => {
  const models = join(root, 'models');
  const listed = readdirSync(models, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) =>
      /^(towers\/.+|multimodal\/.+|decoders\/(families\/.+|llama|phi3)|connectors\/.+\/.+)\.ts$/.test(path),
    )
    .filter((path) => !shared.has(path));
  expect(listed.length).toBeGreaterThan(100);
  for (const path of listed)
    expect(readFileSync(join(models, path), 'utf8').trimEnd().split('\n').length, path).toBeLessThanOrEqual(150);
});

test('is formatted', async () => {
  expect(await complaints('oxfmt', '--check', '.')).toBe('');
});
