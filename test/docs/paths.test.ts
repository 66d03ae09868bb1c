// What the pages name is there: source files in backticks, by their whole path or by its end, and the targets of links.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const apart = new Set(['node_modules', 'dist', 'out', 'runs', 'evals', '.git']);

const files = readdirSync(root, { withFileTypes: true })
  .filter(({ name }) => !apart.has(name))
  .flatMap((top) =>
    top.isDirectory()
      ? readdirSync(join(root, top.name), { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
      : [top.name],
  );
const ends = new Set(files.flatMap((file) => file.split('/').map((_, i, parts) => parts.slice(i).join('/'))));
const pages = files.filter((file) => file.endsWith('.md'));

/** Fenced blocks are what a reader writes and sees, not what is there. */
function prose(page: string): string {
  return readFileSync(join(root, page), 'utf8').replaceAll(/^```[\s\S]*?^```$/gm, '');
}

/** Files of the reader's own. */
const theirs = /^(?:\.\/)?(?:mine|connector-surprise)\.ts$|NAME/;

test('every source file in backticks', () => {
  const lost = pages.flatMap((page) =>
    [...prose(page).matchAll(/`([\w.][\w./-]*\.(?:ts|js|py|sh|md|wgsl|proto))`/g)]
      .map(([, path = '']) => path)
      .filter((path) => !theirs.test(path) && !ends.has(path) && !existsSync(join(root, dirname(page), path)))
      .map((path) => `${page}: ${path}`),
  );
  expect(lost).toEqual([]);
});

test('every link to a file', () => {
  const lost = pages.flatMap((page) =>
    [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, to = '']) => to.replace(/#.*$/, ''))
      .filter((to) => to !== '' && !/^[a-z]+:/.test(to) && !existsSync(join(root, dirname(page), to)))
      .map((to) => `${page}: ${to}`),
  );
  expect(pages.length).toBeGreaterThan(30);
  expect(lost).toEqual([]);
});
