// Golden texts: a graph, `==> stage`, the expected text of that stage. `UPDATE=1` rewrites the expectations; review the diff.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { parse } from '../../dsl/text/parse.ts';
import { stages } from '../support/stages.ts';

const folder = join(import.meta.dirname, '..', 'golden', 'text');
const update = process.env['UPDATE'] === '1';

interface Section {
  readonly stage: string;
  readonly expected: string;
}

/** `graph text`, then any number of `==> stage` with the text up to the next one. */
function readCase(text: string): { readonly graph: string; readonly sections: readonly Section[] } {
  const [graph = '', ...rest] = text.split(/^==> */m);
  const sections = rest.map((part): Section => {
    const end = part.indexOf('\n');
    return { stage: part.slice(0, end).trim(), expected: part.slice(end + 1).trim() };
  });
  return { graph, sections };
}

/** The text of a stage; a stage that refuses gives its message, and `error` expects that the graph itself is refused. */
function runStage(name: string, graph: string): string {
  try {
    const parsed = parse(graph);
    if (name === 'error') return 'no error';
    const stage = stages.get(name);
    if (stage === undefined)
      throw new Error(`no stage is called '${name}'; known: error, ${[...stages.keys()].join(', ')}`);
    return stage(parsed).trim();
  } catch (error) {
    if (error instanceof OpabiniaError) return name === 'error' ? error.message : `refused\n${error.message}`;
    throw error;
  }
}

const files = readdirSync(folder)
  .filter((file) => file.endsWith('.txt'))
  .sort();

describe.each(files)('%s', (file) => {
  const path = join(folder, file);
  const { graph, sections } = readCase(readFileSync(path, 'utf8'));

  test('names a stage', () => {
    expect(sections.length).toBeGreaterThan(0);
  });

  if (update) {
    test('is rewritten', () => {
      const written = sections.map(({ stage }) => `==> ${stage}\n${runStage(stage, graph)}\n`).join('\n');
      writeFileSync(path, `${graph.trimEnd()}\n\n${written}`);
    });
    return;
  }
  test.each(sections)('$stage', ({ stage, expected }) => {
    // Blanks at line ends do not survive editors.
    const plain = (text: string) => text.replaceAll(/[ \t]+$/gm, '');
    expect(plain(runStage(stage, graph))).toBe(plain(expected));
  });
});
