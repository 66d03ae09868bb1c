// Files that commands write: beside their name and renamed, never over an input, never through a link, refused before the work.
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'opabinia-outputs-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

function opabinia(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(root, 'cli/opabinia.ts'), ...args], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
  });
}

function refused(args: readonly string[], message: RegExp): void {
  const { status, stdout, stderr } = opabinia(...args);
  expect(stderr).toMatch(message);
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).not.toMatch(/\n\s+at \S/);
}

/** A connector of one's own that is one of the zoo. */
function own(name: string): string {
  writeFileSync(
    at(name),
    `export { llava as mine } from ${JSON.stringify(join(root, 'models/connectors/pointwise/llava.ts'))};\n`,
  );
  return `./${name}`;
}

const outputs: readonly (readonly [option: string, file: string, args: readonly string[]])[] = [
  ['draw --out', 'link.png', ['draw', 'red disc', '--out']],
  ['compare --plot', 'plot.svg', ['compare', 'llava', '--plot']],
  ['compare --document', 'doc.md', ['compare', 'llava', '--document']],
  ['compare --train --report', 'rep.html', ['compare', '--train', 'shapes', '--report']],
];

test.each(outputs)('%s goes through no link', (_option, file, args) => {
  writeFileSync(at('precious'), 'mine');
  symlinkSync(at('precious'), at(file));
  refused([...args, file], /is a link/);
  expect(readFileSync(at('precious'), 'utf8')).toBe('mine');
});

test.each(outputs)('%s: a folder that is missing, another ending', (_option, file, args) => {
  refused([...args, `sub/${file}`], /there is no directory .*sub\n {2}try make it first/);
  refused([...args, 'shuffle.ts'], /is 'shuffle\.ts'\n {2}try a file that ends in /);
  expect(readdirSync(folder)).toEqual([]);
});

test('a connector of the user stays, under every name that it has', () => {
  const mine = own('mine.ts');
  const before = readFileSync(at('mine.ts'), 'utf8');
  linkSync(at('mine.ts'), at('second.md'));
  refused(['compare', mine, '--document', 'mine.ts'], /ends in \.md/);
  refused(['compare', mine, '--document', 'second.md'], /second\.md is another name of \.\/mine\.ts/);
  expect(readFileSync(at('mine.ts'), 'utf8')).toBe(before);
});

test('a scene, a plot and a page are written whole', () => {
  expect(opabinia('draw', 'red disc', '--out', 'scene.png').status).toBe(0);
  expect(readFileSync(at('scene.png')).subarray(1, 4).toString()).toBe('PNG');
  writeFileSync(at('plot.svg'), 'older');
  expect(opabinia('compare', 'llava', '--plot', 'plot.svg').status).toBe(0);
  expect(readFileSync(at('plot.svg'), 'utf8')).toMatch(/^<svg/);
  expect(opabinia('compare', 'llava', '--document', 'page.md').status).toBe(0);
  expect(existsSync(at('page.md'))).toBe(true);
  expect(readdirSync(folder).toSorted()).toEqual(['page.md', 'plot.svg', 'scene.png']);
});

test('a file that does not load is told with its line, or the line of what it imports', () => {
  writeFileSync(at('bad.ts'), 'const a = 1;\nexport const x = {\n  a: = 3,\n};\n');
  writeFileSync(at('via.ts'), "import './bad.ts';\n");
  writeFileSync(at('throws.ts'), "\nthrow new TypeError('oh');\nexport const x = 1;\n");
  const told = /does not load: Expression expected\n {2}at {2}bad\.ts:3\n/;
  refused(['compare', './bad.ts'], told);
  refused(['compare', './via.ts'], told);
  refused(['compare', './throws.ts'], /does not load: oh\n {2}at {2}throws\.ts:2\n/);
  refused(['export', 'bad.ts', '--onnx', 'm.onnx'], told);
  refused(['train', 'bad.ts'], told);
}, 60_000);

test("a connector of one's own that cannot be built, or a setting that it has not: exit code 1, nothing trained", () => {
  writeFileSync(
    at('bad1.ts'),
    `import { pixelUnshuffle } from ${JSON.stringify(join(root, 'dsl/index.ts'))};
import { connector, onlyMap } from ${JSON.stringify(join(root, 'models/connectors/connector.ts'))};
import { gridTokens } from ${JSON.stringify(join(root, 'models/connectors/visual-tokens.ts'))};
export const bad = connector({
  name: 'bad1', title: 'Bad', paper: 'none', year: 2026, source: 'bad1.ts', mathematics: ['none'],
  towers: 'one', presets: { one: { config: {}, maps: [[24, 24, 1024]], width: 4096 } },
  build: (p, maps) => gridTokens(pixelUnshuffle(onlyMap(maps), 5)),
});
`,
  );
  const train = ['compare', '--train', 'shapes', '--steps', '5', '--seeds', '1', '--runs', 'rb'];
  refused([...train, './bad1.ts'], /bad1 cannot be built: rearrange: axis .h. of size 8/);
  refused([...train, 'deco', './bad1.ts'], /bad1 cannot be built: rearrange: axis .h. of size 8/);
  refused([...train, 'sva', '--grid', 'Z=2'], /sva Z=2 cannot be built: shapes: sva has no setting 'Z'/);
  expect(existsSync(at('rb'))).toBe(false);
}, 60_000);
