// The package as others get it: built, packed, installed into an empty folder, type-checked there, run there.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readApi } from '../../docs/generate-api.ts';
import { newProject, projectFiles } from '../../pipelines/new/new-project.ts';
import { withoutGpu } from '../gpu/compare.ts';
import { everything } from '../support/share.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { probe } from '../../pipelines/setup/adapter.ts';
import { blocks, missing, steps, typeCheck } from './tutorial.ts';

const root = join(import.meta.dirname, '../..');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-package-'));
const project = join(scratch, 'my-project');
const installed = join(project, 'node_modules', 'opabinia');

function run(command: string, args: readonly string[], folder = project): string {
  const child = spawnSync(command, [...args], {
    cwd: folder,
    encoding: 'utf8',
    timeout: everything ? 600_000 : 300_000,
  });
  if (child.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${child.stdout}${child.stderr}`);
  return child.stdout;
}
const node = (...args: readonly string[]): string => run(process.execPath, args);

const packageFaces = ['', '/models', '/connectors', '/compiler', '/runtime', '/pipelines', '/testing'];
let tarball = '';
beforeAll(
  () => {
    const report = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', scratch], root)) as
      | readonly { readonly filename: string }[]
      | Readonly<Record<string, { readonly filename: string }>>;
    tarball = join(scratch, Object.values(report)[0]?.filename ?? '');
    newProject(project, { opabinia: `file:${tarball}` });
    if (everything) run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline']);
    else unpack();
  },
  everything ? 900_000 : 300_000,
);
afterAll(() => rmSync(scratch, { recursive: true }));

/** The tarball as npm would lay it, over the dependencies that are here already: what takes long is fetching those. */
function unpack(): void {
  mkdirSync(installed, { recursive: true });
  run('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  // Only what the package itself depends on, so that a forgotten dependency is missed here too.
  const wanted = new Set([...Object.keys(dependencies), '@types/node', 'undici-types']);
  for (const name of wanted) for (const inner of closure(name)) wanted.add(inner);
  for (const name of wanted) {
    const place = join(project, 'node_modules', name);
    mkdirSync(join(place, '..'), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), place);
  }
}

function closure(name: string): readonly string[] {
  const file = join(root, 'node_modules', name, 'package.json');
  if (!existsSync(file)) return [];
  const json = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, Readonly<Record<string, string>>>>;
  return Object.keys({ ...json['dependencies'], ...json['optionalDependencies'] }).filter((inner) =>
    existsSync(join(root, 'node_modules', inner)),
  );
}

test('the tarball is small, and has what it must have and nothing else', () => {
  expect(statSync(tarball).size).toBeLessThan(1.5 * 2 ** 20);
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  expect(files).toEqual(
    expect.arrayContaining(['LICENSE', 'README.md', 'dist/index.js', 'dist/index.d.ts', 'dist/index.js.map']),
  );
  // Sources would be dragged through the user's compiler.
  expect(
    files.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts') && !file.startsWith('examples/')),
  ).toEqual([]);
  expect(files.filter((file) => /^(?:test|bench)\b/.test(file))).toEqual([]);
  // The pages, which README and errors name, without their pictures and tables.
  expect(files).toEqual(
    expect.arrayContaining(['docs/tutorial.md', 'docs/connector.md', 'docs/recipe.md', 'docs/api.md']),
  );
  expect(files.filter((file) => /^docs\/.*\.(?!md$)/.test(file))).toEqual(['docs/tutorial/surprise.safetensors']);
});

test('five files of a project, all or nothing', () => {
  expect(
    readdirSync(project)
      .filter((name) => name !== 'node_modules' && name !== 'package-lock.json')
      .sort(),
  ).toEqual([...projectFiles].sort());
  const lines = readFileSync(join(project, 'connector.ts'), 'utf8').trimEnd().split('\n').length;
  expect(lines).toBeGreaterThanOrEqual(40);
  expect(lines).toBeLessThanOrEqual(65);
  expect(() => newProject(project)).toThrow(/is not an empty folder/);
  expect(() => newProject(join(scratch, 'not a name'))).toThrow(/cannot be the name/);
  expect(readdirSync(scratch).filter((name) => name.endsWith('.partial'))).toEqual([]);
});

test('types check in the project, strictly, declarations of the package included', () => {
  writeFileSync(
    join(project, 'faces.ts'),
    packageFaces
      .map((path, i) => `import * as face${i} from 'opabinia${path}';\nconsole.log(Object.keys(face${i}).join());`)
      .join('\n'),
  );
  node(join(root, 'node_modules/typescript/bin/tsc'), '-p', '.');
  const lists = node('faces.ts').trim().split('\n');
  expect(lists).toHaveLength(7);
  // docs/api.md has them all, each under a face that exports it.
  const api = readApi();
  const values = (face?: string): readonly string[] =>
    api
      .filter(({ name }) => face === undefined || name === face)
      .flatMap(({ entries }) =>
        entries.filter(({ kind, typeOnly }) => !/type|inner/.test(kind) && typeOnly !== true).map(({ name }) => name),
      );
  const described = new Set(values());
  for (const [i, list] of lists.entries()) {
    const names = list.split(',');
    expect(names.length).toBeGreaterThan(2);
    expect(names.filter((name) => !described.has(name))).toEqual([]);
    expect(values(`opabinia${packageFaces[i] ?? ''}`).filter((name) => !names.includes(name))).toEqual([]);
  }
}, 120_000);

test('a mistake in a pattern is a type error there too, by axis name', () => {
  writeFileSync(
    join(project, 'wrong.ts'),
    "import { rearrange, type Tensor } from 'opabinia';\nexport const f = (x: Tensor<'b h w c'>) => rearrange(x, 'b h c w -> b c h w');\n",
  );
  const child = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'], {
    cwd: project,
    encoding: 'utf8',
  });
  rmSync(join(project, 'wrong.ts'));
  expect(child.status).not.toBe(0);
  expect(child.stdout).toContain("pattern has 'c' where the tensor 'b h w c' has 'w'");
}, 120_000);

test('the face loads nothing heavy, and traces without a GPU', () => {
  writeFileSync(
    join(project, 'light.ts'),
    `import { registerHooks } from 'node:module';
const seen: string[] = [];
registerHooks({ load(url, context, next) { seen.push(url); return next(url, context); } });
const { gatedPool, graph } = await import('./connector.ts');
console.log(JSON.stringify({ outputs: [...graph.outputs.keys()], packages: [...new Set(seen.flatMap((url) => /node_modules\\/((?:@[^/]+\\/)?[^/]+)\\//g.exec(url)?.[1] ?? []))] }));
`,
  );
  const { outputs, packages } = JSON.parse(node('light.ts')) as {
    readonly outputs: readonly string[];
    readonly packages: readonly string[];
  };
  expect(outputs).toEqual(['tokens']);
  for (const heavy of [
    'sharp',
    'commander',
    '@huggingface/hub',
    '@huggingface/tokenizers',
    '@huggingface/jinja',
    'webgpu',
    'onnxruntime-node',
    'zod',
  ])
    expect(packages).not.toContain(heavy);
});

test("an error names the user's own line, also where a function of the package made the op", () => {
  writeFileSync(
    join(project, 'turned.ts'),
    `import { rearrange } from 'opabinia';
import { connector, mapTokens, onlyMap } from 'opabinia/connectors';
export const turned = connector<object>({
  name: 'turned', title: 'Turned', paper: 'none', year: 2026, source: 'turned.ts', mathematics: ['y = x'], towers: 'one',
  presets: { one: { config: {}, maps: [[2, 3, 4]], width: 4 } },
  build: (_p, maps) => mapTokens(rearrange(onlyMap(maps), 'b h w c -> b c h w') as never),
});
`,
  );
  const child = spawnSync(process.execPath, [join(installed, 'dist/cli/bin.js'), 'compare', './turned.ts'], {
    cwd: project,
    encoding: 'utf8',
  });
  rmSync(join(project, 'turned.ts'));
  expect([child.status, child.stderr]).toEqual([1, expect.stringMatching(/has 'c'[^]*\n {2}at {2}turned\.ts:6\n/)]);
}, 60_000);

describe.skipIf(withoutGpu)('on the driver', () => {
  test('npm start and npm test of the project', () => {
    expect(run('npm', ['start', '--silent'])).toMatch(/kernels\ntokens b:1 q:16 e:48/);
    // To a file, as to a terminal: what a process cannot open again, such as a socket, hears Dawn's warnings.
    run('sh', ['-c', 'npm test --silent > said.txt 2>&1']);
    const said = readFileSync(join(project, 'said.txt'), 'utf8');
    rmSync(join(project, 'said.txt'));
    expect(said).toMatch(/pass 3\n/);
    expect(said).not.toMatch(/warning/i);
    // An older Node runs no TypeScript, finds no tests, and calls that a success.
    const { scripts } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as {
      readonly scripts: Readonly<Record<string, string>>;
    };
    const check = /^node -e "(.*)"$/.exec(scripts['check-node'] ?? '')?.[1] ?? '';
    const old = spawnSync(process.execPath, ['-e', check.replace('process.versions.node', "'20.1.0'")], {
      encoding: 'utf8',
    });
    expect([old.status, old.stderr]).toEqual([1, expect.stringContaining('needs Node 24')]);
    expect(scripts).toMatchObject({ prestart: 'npm run -s check-node', pretest: 'npm run -s check-node' });
  }, 240_000);

  test('the command: doctor, new, and what an older Node is told', () => {
    const bin = join(installed, 'dist/cli/bin.js');
    expect(readFileSync(bin, 'utf8').startsWith('#!/usr/bin/env node\n')).toBe(true);
    expect(node(bin, 'doctor')).toMatch(/adapter .*\n[^]*opabinia \d+\.\d+/);
    expect(node(bin, 'new', 'another')).toContain('npm install');
    expect(readdirSync(join(project, 'another')).sort()).toEqual([...projectFiles].sort());
    rmSync(join(project, 'another'), { recursive: true });
    cpSync(bin, join(project, 'old.mjs'));
    writeFileSync(join(project, 'old.mjs'), readFileSync(bin, 'utf8').replaceAll('process.versions.node', "'20.1.0'"));
    const old = spawnSync(process.execPath, ['old.mjs'], { cwd: project, encoding: 'utf8' });
    rmSync(join(project, 'old.mjs'));
    expect([old.status, old.stderr]).toEqual([1, expect.stringContaining('needs Node 24')]);
  }, 120_000);
});

describe('docs/tutorial.md, followed', () => {
  test('the numbers are those of the module on the page', () => {
    const golden = openCheckpoint(join(root, 'docs/tutorial/surprise.safetensors'));
    expect(golden.metadata.get('script')).toBe(blocks.find(({ language }) => language === 'python')?.body);
    golden.close();
  });

  const adapter = withoutGpu ? undefined : probe();
  const facts = adapter?.found === 'adapter' ? adapter.facts : undefined;
  // Plans follow the profile, which is the page's where vectors are as long.
  const lavapipe = facts?.software === true && facts.subgroups?.least === 8 && facts.subgroups.most === 8;
  test.each(steps().map((step) => [step.title, step] as const))(
    '%s',
    (title, { act, fails, expected }) => {
      if (withoutGpu && title.startsWith('node ')) return;
      const { output, failed } = act(project);
      expect(failed, output).toBe(fails);
      if (expected === undefined || (expected.about === 'lavapipe' && !lavapipe)) return;
      expect(missing(expected.body, output, expected.about !== ''), output).toEqual([]);
    },
    240_000,
  );

  test('all files of it are right for tsc', () => {
    expect(typeCheck(project)).toEqual({ output: '', failed: false });
  }, 120_000);
});
