// docs/tutorial.md as a reader follows it: every block is written, edited or run in a project that has the package installed.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

interface Block {
  readonly language: string;
  /** What stands behind the language: a file's name; `fails`; `exact`: what is printed is the same everywhere; `lavapipe`: the same on that driver. */
  readonly about: string;
  readonly body: string;
}

export const page = readFileSync(join(root, 'docs/tutorial.md'), 'utf8');
export const blocks: readonly Block[] = [...page.matchAll(/^```(\w+) ?([^\n]*)\n([\s\S]*?)^```$/gm)].map(
  ([, language = '', about = '', body = '']) => ({ language, about, body }),
);

/** One thing that a reader does, and what the page says he sees. */
export interface Step {
  readonly title: string;
  /** What he sees, and whether it went well. */
  readonly act: (project: string) => { readonly output: string; readonly failed: boolean };
  readonly fails: boolean;
  readonly expected: Block | undefined;
}

/** The steps of the page, in order. Throws for a block of a kind that this file does not know. */
export function steps(): readonly Step[] {
  return blocks.flatMap((block, i): readonly Step[] => {
    const next = blocks[i + 1];
    const expected = next?.language === 'text' ? next : undefined;
    switch (block.language) {
      case 'text':
        return [];
      case 'ts':
      case 'python':
        return [{ title: `writes ${block.about}`, act: writes(block), fails: false, expected: undefined }];
      case 'diff':
        return [{ title: `changes ${block.about}: ${changed(block)}`, act: changes(block), fails: true, expected }];
      case 'sh':
        return block.body
          .trim()
          .split('\n')
          .filter((line) => !madeAlready.test(line))
          .map((line) => ({ title: line, act: runs(line), fails: block.about === 'fails', expected }));
      default:
        throw new Error(`a block of '${block.language}'`);
    }
  });
}

/** Lines whose work the project of the test has behind it. */
const madeAlready = /^(?:npm ci |npm run -s opabinia -- new |cd |npm install)/;

function writes({ about, body }: Block): Step['act'] {
  return (project) => {
    writeFileSync(join(project, about), body);
    if (about.endsWith('.py'))
      copyFileSync(join(root, 'docs/tutorial/surprise.safetensors'), join(project, 'surprise.safetensors'));
    return { output: '', failed: false };
  };
}

const changed = ({ body }: Block): string => /^\+ *(.*)$/m.exec(body)?.[1] ?? '';

function changes({ about, body }: Block): Step['act'] {
  return (project) => {
    const [before, after] = ['-', '+'].map((sign) =>
      body
        .split('\n')
        .filter((line) => line.startsWith(sign))
        .map((line) => line.slice(1))
        .join('\n'),
    );
    const path = join(project, about);
    const text = readFileSync(path, 'utf8');
    if (before === undefined || after === undefined || text.split(before).length !== 2)
      throw new Error(`${about} has no such line once:\n${before}`);
    writeFileSync(
      path,
      text.replace(before, () => after),
    );
    try {
      return typeCheck(project);
    } finally {
      writeFileSync(path, text);
    }
  };
}

export function typeCheck(project: string): ReturnType<Step['act']> {
  return runIn(project, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.']);
}

function runs(line: string): Step['act'] {
  const words = line.split(' ');
  const bin = 'node_modules/opabinia/dist/cli/bin.js';
  const args = line.startsWith('npx opabinia ') ? [bin, ...words.slice(2)] : words.slice(1);
  if (!/^(?:npx opabinia|node) /.test(line)) throw new Error(`the line '${line}'`);
  return (project) => runIn(project, args);
}

function runIn(project: string, args: readonly string[]): ReturnType<Step['act']> {
  const child = spawnSync(process.execPath, [...args], { cwd: project, encoding: 'utf8', timeout: 300_000 });
  return { output: child.stdout + child.stderr, failed: child.status !== 0 };
}

/** A line without its figures, which are another machine's. */
function plain(line: string): string {
  return line
    .replace(/[\d.,]+ ?(?:[kMGT]i?)?(?:B|FLOP|ms|s)?(?![\w-])/g, '#')
    .replace(/─+/g, '─')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Lines of the page that the output does not have; with `exact`, by the letter. */
export function missing(expected: string, output: string, exact = false): readonly string[] {
  const lines = output.split('\n').map((line) => (exact ? line.trimEnd() : plain(line)));
  return expected
    .trimEnd()
    .split('\n')
    .filter((line) => (exact ? !lines.includes(line) : !lines.some((found) => found.includes(plain(line)))));
}
