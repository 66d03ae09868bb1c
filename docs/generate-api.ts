// Writes docs/api.md from the sources: what the faces of the package export. Of a function its signature, what it does, and an example; of
// a class its public members; constants one a line; types as they are declared. `npm run docs` writes the page; a test says when it is stale.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const connectors = 'models/connectors';

/** The faces, in the order of the page: what is shown under an earlier one is not shown again. A folder is the face of its files, as the build makes it. */
export const faces = [
  { file: 'dsl/index.ts', name: 'opabinia', what: 'write a model' },
  { file: 'index.ts', name: 'opabinia', what: 'compile it, run it, look at what was made of it' },
  { file: 'pipelines/testing/index.ts', name: 'opabinia/testing', what: 'test it' },
  { file: connectors, name: 'opabinia/connectors', what: 'a connector of your own, and the published ones' },
  { file: 'compiler/index.ts', name: 'opabinia/compiler', what: 'stages, plans and exports' },
  { file: 'runtime/index.ts', name: 'opabinia/runtime', what: 'devices, checkpoints, text and pictures' },
  { file: 'models/index.ts', name: 'opabinia/models', what: 'towers, language models and what joins them' },
  { file: 'pipelines/index.ts', name: 'opabinia/pipelines', what: 'what the commands do' },
] as const;

/** One exported name, as its source describes it. */
export interface ApiEntry {
  readonly name: string;
  /** part: a function in a file of a published connector. inner: a type that no face exports, and that a signature names. */
  readonly kind: 'function' | 'part' | 'class' | 'constant' | 'type' | 'inner';
  readonly file: string;
  /** As it stands in the source: each overload of a function, a class without bodies, a whole type. */
  readonly code: readonly string[];
  readonly text: string;
  /** Of functions; parts of published connectors have none. */
  readonly example: string;
  /** A class that its users name and do not make. */
  readonly typeOnly?: boolean | undefined;
}

export interface ApiFace {
  readonly name: string;
  readonly what: string;
  readonly entries: readonly ApiEntry[];
}

/** What each face exports. Throws for a name whose declaration is not found. */
export function readApi(): readonly ApiFace[] {
  const seen = new Set<string>();
  const shown = faces.map(({ file, name, what }) => ({
    name,
    what,
    entries: (file === connectors ? exportsOfFolder(file) : exportsOf(file)).flatMap((found) => {
      const entry = readEntry(found.file, found.original);
      const key = `${entry.file} ${found.original}`;
      if (seen.has(key)) return [];
      seen.add(key);
      return [{ ...entry, name: found.name, typeOnly: found.typeOnly }];
    }),
  }));
  const named = new Set(shown.flatMap(({ entries }) => entries.map(({ name }) => name)));
  // What the DSL's signatures name beside it are errors by axis name, which are written for the editor.
  return shown.map((face, i) => (i === 0 ? face : { ...face, entries: [...face.entries, ...innerTypes(face.entries, named)] }));
}

/** Types that signatures of these functions and classes name, and that have no name outside: options and results. */
function innerTypes(entries: readonly ApiEntry[], named: Set<string>): readonly ApiEntry[] {
  return entries.flatMap(({ kind, file, code }) => {
    if (kind !== 'function' && kind !== 'class') return [];
    const words = new Set(code.flatMap((text) => text.replaceAll(/\/\*\*.*?\*\//g, '').match(/\b[A-Z]\w+/g) ?? []));
    return [...words].flatMap((name): readonly ApiEntry[] => {
      if (named.has(name)) return [];
      const found = importedType(file, name);
      if (found === undefined) return [];
      named.add(name);
      return [{ ...found, kind: 'inner', name }];
    });
  });
}

/** A type that a file declares or imports from a file of ours; undefined for what is neither, and for classes. */
function importedType(file: string, name: string): Omit<ApiEntry, 'name'> | undefined {
  const source = readFileSync(join(root, file), 'utf8');
  if (new RegExp(`^export (?:interface|type) ${name}\\b`, 'm').test(source)) return readEntry(file, name);
  for (const [, list = '', from = ''] of source.matchAll(/^import (?:type )?\{([^}]*)\} from '(\.[^']+)';/gm)) {
    const item = list
      .split(',')
      .map((one) => one.trim().replace(/^type /, ''))
      .find((one) => one === name || one.endsWith(` as ${name}`));
    if (item === undefined) continue;
    const entry = readEntry(relative(root, join(root, dirname(file), from)), item.split(' as ')[0] ?? name);
    return entry.kind === 'type' ? entry : undefined;
  }
  return undefined;
}

interface Export {
  readonly name: string;
  readonly original: string;
  readonly file: string;
  readonly typeOnly?: boolean | undefined;
}

function exportsOf(face: string): readonly Export[] {
  const source = readFileSync(join(root, face), 'utf8');
  return [...source.matchAll(/^export (type )?(?:\* from '([^']+)'|\{([^}]*)\} from '([^']+)');/gm)].flatMap(
    ([, type, all, list = '', from = '']): readonly Export[] => {
      const file = relative(root, join(root, dirname(face), all ?? from));
      if (all !== undefined) return exportsOf(file);
      return list
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
        .map((item) => {
          const [original = item, name = original] = item.replace(/^type /, '').split(' as ');
          return { name, original, file, typeOnly: type !== undefined || item.startsWith('type ') };
        });
    },
  );
}

/** What the build puts into the face of a folder: values of all files, the first of a name, and types of what stands in the folder itself. */
function exportsOfFolder(folder: string): readonly Export[] {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.ts'))
    .sort();
  const seen = new Set<string>();
  return files.flatMap((path): readonly Export[] => {
    const kinds = /^(?:connector|visual-tokens)\.ts$/.test(path) ? 'const|function|class|interface|type' : 'const|function|class';
    const source = readFileSync(join(root, folder, path), 'utf8');
    return [...source.matchAll(new RegExp(`^export (?:async )?(?:${kinds}) (\\w+)`, 'gm'))].flatMap(([, name = '']) => {
      if (seen.has(name)) return [];
      seen.add(name);
      return [{ name, original: name, file: join(folder, path) }];
    });
  });
}

function readEntry(file: string, name: string): Omit<ApiEntry, 'name'> {
  const source = readFileSync(join(root, file), 'utf8');
  const heads = [
    ...source.matchAll(
      new RegExp(`^export (?:declare )?(?:async )?(function|class|const|interface|type) ${name}\\b`, 'gm'),
    ),
  ];
  const [first] = heads;
  if (first === undefined) {
    const from = exportsOf(file).find((one) => one.name === name);
    if (from === undefined) throw new TypeError(`${file} does not export ${name}`);
    return readEntry(from.file, from.original);
  }
  const { text, example } = readComment(source.slice(0, first.index));
  const start = first.index + 'export '.length;
  switch (first[1]) {
    case 'function': {
      const all = heads.map((head) => signatureAt(source, head.index + 'export '.length));
      // The last of several is the implementation, which callers do not see.
      const code = all.length > 1 ? all.slice(0, -1) : all;
      return { kind: isPart(file) ? 'part' : 'function', file, code, text, example };
    }
    case 'class':
      return { kind: 'class', file, code: [classAt(source, start)], text, example };
    case 'const': {
      const title = /^ {2}title: (?:'([^']+)'|"([^"]+)"),$/m.exec(source.slice(start));
      const isConnector = isPart(file) && /^const \w+ = connector\b/.test(source.slice(start));
      return { kind: 'constant', file, code: [], text: (isConnector ? (title?.[1] ?? title?.[2]) : text) ?? '', example };
    }
    default:
      return { kind: 'type', file, code: [typeAt(source, start)], text, example };
  }
}

/** Whether it stands in a file of a published connector. */
function isPart(file: string): boolean {
  return file.startsWith(`${connectors}/`) && file.split('/').length > 3;
}

/** The comment that ends this text. */
function readComment(before: string): { readonly text: string; readonly example: string } {
  const doc = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n$/.exec(before)?.[1] ?? '';
  const lines = doc.split('\n').map((line) => line.replace(/^\s*\*? ?/, '').trimEnd());
  const at = lines.findIndex((line) => line.startsWith('@example'));
  const text = (at === -1 ? lines : lines.slice(0, at))
    .join('\n')
    .replaceAll(/```[\s\S]*?```/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  const example = at === -1 ? '' : lines.slice(at).join('\n').replace('@example', '').trim();
  return { text, example };
}

/** A type as it is declared, with its comments. */
function typeAt(source: string, start: number): string {
  const rest = source.slice(start);
  const found = rest.startsWith('interface')
    ? /^[\s\S]*?(?:^\}|\{\})$/m.exec(rest)
    : /^[\s\S]*?;$(?!\n(?: |\}|\)))/m.exec(rest);
  return found?.[0] ?? '';
}

/** A class without what is private in it and without bodies. The formatter sees to it that members stand two spaces deep. */
function classAt(source: string, start: number): string {
  const head = signatureAt(source, start);
  const body = /^\{\n([\s\S]*?)^\}$/m.exec(source.slice(start + head.length).trimStart())?.[1] ?? '';
  const members = [...body.matchAll(/^ {2}(?:(?:declare|static|readonly|async|override|get) )*\*?[A-Za-z]\w*(?:[(<:!?]| =)/gm)];
  const lines = members.flatMap((member): readonly string[] => {
    if (/^ {2}(?:private|protected) /.test(body.slice(member.index))) return [];
    const { text } = readComment(body.slice(0, member.index));
    const signature = signatureAt(body, member.index + 2)
      .replace(/^declare |(?<=^|static )async (?:\*)?|^\*/, '')
      .replaceAll(/\s*\n\s*/g, ' ')
      .replaceAll('( ', '(')
      .replaceAll(', )', ')')
      // A function in a field.
      .replace(/^(\w+) = (?:async )?(\(.*) =>$/, '$1$2');
    return [...(text === '' ? [] : [`  /** ${text} */`]), `  ${signature};`];
  });
  return [`${head.replaceAll(/\s*\n\s*/g, ' ')} {`, ...lines, '}'].join('\n');
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
    '# What the package exports',
    '',
    '<!-- Written by `npm run docs` from the sources: change the docstrings there. -->',
    '',
    'What an editor shows too. In the examples of the first part, `t` is what `trace` gives, `p` are its parameters, `x` and `y` are',
    "`Tensor<'b n d'>`, and `image` is `Tensor<'b h w c'>`; a test runs them all, and type-checks those of the other parts.",
    'What the published connectors compute is in [connectors.md](connectors.md), how to write one in [connector.md](connector.md);',
    "PyTorch's idioms stand beside these in [from-pytorch.md](from-pytorch.md).",
  ];
  for (const { name, what, entries } of api) {
    if (entries.length === 0) continue;
    lines.push('', `## \`${name}\`: ${what}`);
    const of = (kind: ApiEntry['kind']): readonly ApiEntry[] => entries.filter((entry) => entry.kind === kind);
    for (const { name: called, file, code, text, example } of of('function')) {
      lines.push('', `### \`${called}\``, '', `${text} ([source](../${file}))`, '');
      lines.push('```ts', ...code, '```', '', '```ts', example, '```');
    }
    for (const { name: called, file, code, text, typeOnly } of of('class')) {
      const made = typeOnly === true ? code.map((one) => one.replaceAll(/^ {2}(?:\/\*\*.*\n {2})?constructor\(.*\n/gm, '')) : code;
      const face = typeOnly === true ? 'Exported as a type. ' : '';
      lines.push('', `### Class \`${called}\``, '', `${face}${text} ([source](../${file}))`, '', '```ts', ...made, '```');
    }
    for (const [title, kind] of [
      ['Constants', 'constant'],
      ['Parts of published connectors', 'part'],
    ] as const) {
      const some = of(kind);
      if (some.length === 0) continue;
      lines.push('', `### ${title}`, '');
      for (const { name: called, file, text } of some) lines.push(`- [\`${called}\`](../${file}): ${text}`);
    }
    for (const [title, kind] of [
      ['Types', 'type'],
      ['Types of options and results, which have no name outside', 'inner'],
    ] as const) {
      const types = of(kind);
      if (types.length === 0) continue;
      lines.push('', `### ${title}`, '', '```ts');
      for (const [i, { code, text }] of types.entries())
        lines.push(...(i === 0 ? [] : ['']), ...(text === '' ? [] : [`/** ${text} */`]), ...code);
      lines.push('```');
    }
  }
  return `${lines.join('\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(root, 'docs/api.md'), apiPage());
