// Writes docs/api.md from the sources: every function that a face of the package exports, with its signature, what it does, and an
// example. `npm run docs` writes the page; a test says when it is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The faces, in the order of the page: what is shown under an earlier one is not shown again. */
const faces = [
  { file: 'dsl/index.ts', name: 'opabinia', what: 'write a model' },
  { file: 'index.ts', name: 'opabinia', what: 'compile it, run it, look at what was made of it' },
  { file: 'pipelines/testing/index.ts', name: 'opabinia/testing', what: 'test it' },
  { file: 'compiler/index.ts', name: 'opabinia/compiler', what: 'stages, plans and exports' },
  { file: 'runtime/index.ts', name: 'opabinia/runtime', what: 'devices, checkpoints, text and pictures' },
  { file: 'models/index.ts', name: 'opabinia/models', what: 'towers, language models and what joins them' },
  { file: 'pipelines/index.ts', name: 'opabinia/pipelines', what: 'what the commands do' },
] as const;

/** One exported function, as its source describes it. */
export interface ApiFunction {
  readonly name: string;
  readonly file: string;
  /** Each overload, as it stands in the source. */
  readonly signatures: readonly string[];
  readonly text: string;
  readonly example: string;
}

export interface ApiFace {
  readonly name: string;
  readonly what: string;
  readonly functions: readonly ApiFunction[];
}

/** The functions that each face exports. A function without a docstring or an example has an empty text. */
export function readApi(): readonly ApiFace[] {
  const seen = new Set<string>();
  return faces.map(({ file, name, what }) => ({
    name,
    what,
    functions: exportsOf(file).flatMap((found) => {
      const key = `${found.file} ${found.original}`;
      if (seen.has(key)) return [];
      seen.add(key);
      const entry = readFunction(found.file, found.original);
      return entry === undefined ? [] : [{ ...entry, name: found.name }];
    }),
  }));
}

interface Export {
  readonly name: string;
  readonly original: string;
  readonly file: string;
}

function exportsOf(face: string): readonly Export[] {
  const source = readFileSync(join(root, face), 'utf8');
  return [...source.matchAll(/^export (?:\* from '([^']+)'|\{([^}]*)\} from '([^']+)');/gm)].flatMap(
    ([, all, list = '', from = '']): readonly Export[] => {
      const file = relative(root, join(root, dirname(face), all ?? from));
      if (all !== undefined) return exportsOf(file);
      return list
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
        .map((item) => {
          const [original = item, name = original] = item.split(' as ');
          return { name, original, file };
        });
    },
  );
}

function readFunction(file: string, name: string): Omit<ApiFunction, 'name'> | undefined {
  const source = readFileSync(join(root, file), 'utf8');
  const heads = [...source.matchAll(new RegExp(`^export (?:async )?function ${name}\\b`, 'gm'))];
  const [first] = heads;
  if (first === undefined) return undefined;
  const all = heads.map((head) => signatureAt(source, head.index + 'export '.length));
  // The last of several is the implementation, which callers do not see.
  const signatures = all.length > 1 ? all.slice(0, -1) : all;
  const doc = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n$/.exec(source.slice(0, first.index))?.[1] ?? '';
  const lines = doc.split('\n').map((line) => line.replace(/^\s*\*? ?/, '').trimEnd());
  const at = lines.findIndex((line) => line.startsWith('@example'));
  const text = (at === -1 ? lines : lines.slice(0, at))
    .join('\n')
    .replaceAll(/```[\s\S]*?```/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  const example = at === -1 ? '' : lines.slice(at).join('\n').replace('@example', '').trim();
  return { file, signatures, text, example };
}

/** The text of a signature from `start` up to its body or its semicolon. */
function signatureAt(source: string, start: number): string {
  let depth = 0;
  let before = '';
  for (let i = start; i < source.length; i++) {
    const c = source[i] ?? '';
    const isArrow = c === '>' && before === '=';
    if (c === '{' && depth === 0 && !/[:|&]/.test(source.slice(start, i).trimEnd().at(-1) ?? ''))
      return source.slice(start, i).trimEnd();
    if (c === ';' && depth === 0) return source.slice(start, i);
    if (/[([{<]/.test(c)) depth++;
    if (/[)\]}]/.test(c) || (c === '>' && !isArrow)) depth--;
    before = c;
  }
  return source.slice(start);
}

/** The page. */
export function apiPage(api: readonly ApiFace[] = readApi()): string {
  const lines = [
    '# Functions',
    '',
    '<!-- Written by `npm run docs` from the sources: change the docstrings there. -->',
    '',
    'What an editor shows too. In the examples of the first part, `t` is what `trace` gives, `p` are its parameters, `x` and `y` are',
    "`Tensor<'b n d'>`, and `image` is `Tensor<'b h w c'>`; a test runs them all. Connectors are listed in [connectors.md](connectors.md),",
    "and PyTorch's idioms beside these in [from-pytorch.md](from-pytorch.md).",
  ];
  for (const { name, what, functions } of api) {
    if (functions.length === 0) continue;
    lines.push('', `## \`${name}\`: ${what}`);
    for (const { name: called, file, signatures, text, example } of functions) {
      lines.push('', `### \`${called}\``, '', `${text} ([source](../${file}))`, '');
      lines.push('```ts', ...signatures, '```', '', '```ts', example, '```');
    }
  }
  return `${lines.join('\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(root, 'docs/api.md'), apiPage());
