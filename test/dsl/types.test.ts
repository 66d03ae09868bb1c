// Type errors are what an editor shows, so their text is golden: test/types/NAME.ts has its messages in NAME.txt. UPDATE=1 rewrites them.
// And the cost of the types: models/ stays under a budget of instantiations.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { everything } from '../support/share.ts';

const root = resolve(import.meta.dirname, '../..');
const folder = resolve(root, 'test/types');
/** Towers, decoders, whole models (some 5,000 each) and what they share; and what a connector may add to that, on the average: at most 8,000 for the largest. */
const base = 210_000;
const eachConnector = 1_500;
const connectors = readdirSync(resolve(root, 'models/connectors'), { recursive: true }).filter((name) =>
  String(name).endsWith('.ts'),
);
const budget = base + eachConnector * connectors.length;

/** What `tsc` prints, whether it finds errors or not. */
async function tsc(...args: readonly string[]): Promise<string> {
  try {
    return (
      await promisify(execFile)(process.execPath, [resolve(root, 'node_modules/typescript/bin/tsc'), ...args], {
        cwd: root,
        maxBuffer: 1 << 24,
      })
    ).stdout;
  } catch (error) {
    if (error instanceof Error && 'stdout' in error && typeof error.stdout === 'string' && error.stdout !== '')
      return error.stdout;
    throw error;
  }
}

/** Errors by file, each as `line: source`, then its messages. */
function byFile(output: string): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  let file = '';
  for (const line of output.split('\n')) {
    const head = /^(?:.*\/)?([\w-]+)\.ts\((\d+),\d+\): error (TS\d+): (.*)$/.exec(line);
    if (head !== null) {
      file = head[1] ?? '';
      const source = readFileSync(resolve(folder, `${file}.ts`), 'utf8').split('\n')[Number(head[2]) - 1] ?? '';
      texts.set(file, `${texts.get(file) ?? ''}${source}\n    ${head[4]}\n`);
    } else if (line.startsWith(' ') && file !== '') {
      texts.set(file, `${texts.get(file) ?? ''}    ${line}\n`);
    }
  }
  return texts;
}

const errors = tsc('-p', folder, '--pretty', 'false').then(byFile);

test('the messages of type errors', { timeout: 60_000 }, async () => {
  const found = await errors;
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => basename(name, '.ts'));
  expect(found.has('right')).toBe(false);
  for (const name of names) {
    const golden = resolve(folder, `${name}.txt`);
    if (process.env['UPDATE'] === '1') {
      if (found.has(name)) writeFileSync(golden, found.get(name) ?? '');
      else rmSync(golden, { force: true });
    }
    expect(found.get(name) ?? '', name).toBe(existsSync(golden) ? readFileSync(golden, 'utf8') : '');
  }
});

test('every mistake is found on its own line', { timeout: 60_000 }, async () => {
  // A call, or a result with an annotation, is a mistake in these files, up to the line that says otherwise.
  const found = await errors;
  for (const name of ['axes', 'patterns', 'dtypes']) {
    const lines =
      readFileSync(resolve(folder, `${name}.ts`), 'utf8')
        .split('\n// These are right')[0]
        ?.split('\n') ?? [];
    const mistakes = lines.filter((line) => /^(export const|[a-z][\w.]*\()/.test(line));
    expect(mistakes.length).toBeGreaterThan(8);
    for (const line of mistakes) expect(found.get(name), line).toContain(`${line}\n    `);
  }
});

test(`models/ costs less than ${budget} type instantiations`, { timeout: 60_000 }, async () => {
  const report = await tsc('-p', 'test/dsl/models.tsconfig.json', '--extendedDiagnostics', '--pretty', 'false');
  const count = Number(/Instantiations:\s+(\d+)/.exec(report)?.[1]);
  expect(count).toBeGreaterThan(1000);
  expect(count).toBeLessThan(budget);
});

/** Modules that connectors stand on, without the connectors themselves. */
function shared(connector: readonly string[]): readonly string[] {
  const found = new Set(['dsl/index.ts']);
  for (const file of connector)
    for (const [, from = ''] of readFileSync(resolve(root, file), 'utf8').matchAll(/ from '(\.[^']*)'/g))
      found.add(relative(root, resolve(root, dirname(file), from)));
  return [...found].filter((file) => !connector.includes(file));
}

/** Instantiations of these modules, and all that they import, checked by one thread: the count does not depend on how work is shared. */
async function instantiations(folder: string, modules: readonly string[]): Promise<number> {
  const project = join(folder, 'tsconfig.json');
  writeFileSync(
    project,
    JSON.stringify({
      extends: resolve(root, 'tsconfig.json'),
      compilerOptions: { typeRoots: [resolve(root, 'node_modules/@types')], types: ['node'] },
      include: [],
      files: modules.map((file) => resolve(root, file)),
    }),
  );
  const report = await tsc('-p', project, '--singleThreaded', '--extendedDiagnostics', '--pretty', 'false');
  return Number(/Instantiations:\s+(\d+)/.exec(report)?.[1]);
}

test.runIf(everything)(
  'no connector costs more than 8,000 instantiations beside what it stands on',
  { timeout: 1_800_000 },
  async () => {
    const files = connectors
      .filter((name) => String(name).includes('/'))
      .map((name) => `models/connectors/${String(name)}`);
    const common = shared(files);
    const folder = mkdtempSync(join(tmpdir(), 'opabinia-types-'));
    try {
      const without = await instantiations(folder, common);
      expect(without).toBeGreaterThan(1000);
      const costs = new Map<string, number>();
      for (const file of files) costs.set(file, (await instantiations(folder, [...common, file])) - without);
      expect([...costs].filter(([, cost]) => !(cost <= 8_000))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
