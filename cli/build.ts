// `npm run build`: the package as others install it, in `dist/`: JavaScript, declarations and source maps.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');
/** Of numbers in source maps. */
const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
// Comments are for readers: of sources in the repository, of declarations in an editor.
for (const emitted of [
  ['--declaration', 'false', '--removeComments', 'true'],
  ['--emitDeclarationOnly', 'true', '--sourceMap', 'false'],
]) {
  const { status } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', ...emitted],
    { cwd: root, stdio: 'inherit' },
  );
  if (status !== 0) process.exit(status ?? 1);
}

// Generated code has its JavaScript already.
const generated = 'compiler/export/gen';
cpSync(join(root, generated), join(dist, generated), {
  recursive: true,
  // What it was generated from is nobody's to run.
  filter: (path) => !path.endsWith('.proto'),
});

writeConnectors();
for (const path of files('.d.ts')) mendDeclarations(path);
for (const path of files('.js.map')) mendMap(path);
dropUnreachableDeclarations();
chmodSync(join(dist, 'cli/bin.js'), 0o755);

function files(ending: string): readonly string[] {
  return readdirSync(dist, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => join(dist, path));
}

/** Who installs the package can only name what `exports` names: declarations that none of those leads to are never read. */
function dropUnreachableDeclarations(): void {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Readonly<Record<string, string | { readonly types: string }>>;
  };
  const reached = new Set<string>();
  const open = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [] : [join(root, entry.types)]));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const [, from = ''] of readFileSync(path, 'utf8').matchAll(
      /(?:from|import\(|import)\s*['"](\.[^'"]+)\.js['"]/g,
    ))
      open.push(join(path, '..', `${from}.d.ts`));
  }
  for (const path of files('.d.ts')) if (!reached.has(path)) rmSync(path);
}

/** `opabinia/connectors`: the folder of connectors is its registry, so this face of it is written, not kept. */
function writeConnectors(): void {
  const folder = join(dist, 'models/connectors');
  const modules = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.js') && path !== 'index.js')
    .map((path) => path.replaceAll('\\', '/'))
    .sort();
  const seen = new Set<string>();
  const lines = modules.flatMap((path) => {
    const names = exportedNames(readFileSync(join(folder, path), 'utf8')).filter((name) => !seen.has(name));
    for (const name of names) seen.add(name);
    return names.length === 0 ? [] : [`export { ${names.join(', ')} } from './${path}';`];
  });
  const types = [`export type * from './connector.js';`, `export type * from './visual-tokens.js';`];
  writeFileSync(join(folder, 'index.js'), `${lines.join('\n')}\n`);
  writeFileSync(join(folder, 'index.d.ts'), `${[...types, ...lines].join('\n')}\n`);
}

function exportedNames(code: string): readonly string[] {
  return [...code.matchAll(/^export (?:async )?(?:const|function|class) ([A-Za-z_$][\w$]*)/gm)].map(
    ([, name = '']) => name,
  );
}

/**
 * Imports by their real ending, and the libraries that a declaration needs whatever the user's own settings are: 16-bit floats of
 * ECMAScript 2025, Node.
 */
function mendDeclarations(path: string): void {
  const text = readFileSync(path, 'utf8')
    .split('\n')
    // A comment may show an import of the user's own file, which keeps its ending and is none of ours.
    .map((line) =>
      /^\s*(?:\/\*\*|\*)/.test(line)
        ? line
        : line.replace(/((?:from|import\()\s*['"]\.{1,2}\/[^'"]*)\.ts(['"])/g, '$1.js$2'),
    )
    .join('\n');
  const needs = [
    /\bFloat16Array\b/.test(text) ? '/// <reference lib="esnext.float16" />' : '',
    /\bSymbol\.(?:async)?[dD]ispose\b/.test(text) ? '/// <reference lib="esnext.disposable" />' : '',
    /\bfrom 'node:|\bBuffer\b|\bNodeJS\b/.test(text) ? '/// <reference types="node" />' : '',
  ].filter((line) => line !== '');
  writeFileSync(path, [...needs, text].join('\n'));
}

/**
 * The package has no sources: maps name them as the repository does, so that a stack trace can be read there. A stack trace is read by
 * its lines: of each line of JavaScript the map keeps where it begins, a fifth of the whole.
 */
function mendMap(path: string): void {
  const map = JSON.parse(readFileSync(path, 'utf8')) as { sources: readonly string[]; mappings: string };
  const source = relative(dist, path)
    .replaceAll('\\', '/')
    .replace(/\.js\.map$/, '.ts');
  writeFileSync(
    path,
    JSON.stringify({ ...map, names: [], mappings: lineStarts(map.mappings), sources: [`opabinia:///${source}`] }),
  );
}

/** The first mapping of each line (ECMA-426): numbers of five bits a digit, each relative to the one before it. */
function lineStarts(mappings: string): string {
  let [source, line, column] = [0, 0, 0];
  let [lastSource, lastLine, lastColumn] = [0, 0, 0];
  const kept = mappings.split(';').map((segments) => {
    let first = '';
    for (const segment of segments.split(',')) {
      const [, toSource, toLine = 0, toColumn = 0] = numbersOf(segment);
      if (toSource === undefined) continue;
      [source, line, column] = [source + toSource, line + toLine, column + toColumn];
      if (first !== '') continue;
      first = [0, source - lastSource, line - lastLine, column - lastColumn].map(digitsOf).join('');
      [lastSource, lastLine, lastColumn] = [source, line, column];
    }
    return first;
  });
  return kept.join(';');
}

function numbersOf(segment: string): readonly number[] {
  const numbers: number[] = [];
  let [value, shift] = [0, 0];
  for (const digit of segment) {
    const bits = digits.indexOf(digit);
    value += (bits & 31) * 2 ** shift;
    shift += 5;
    if ((bits & 32) !== 0) continue;
    numbers.push((value & 1) === 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}

function digitsOf(number: number): string {
  let rest = number < 0 ? -number * 2 + 1 : number * 2;
  let text = '';
  do {
    const bits = rest & 31;
    rest >>= 5;
    text += digits[bits + (rest > 0 ? 32 : 0)] ?? '';
  } while (rest > 0);
  return text;
}
