// The runs of a folder, side by side: how far each is, its losses, and in which settings they differ.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../../dsl/text/table.ts';
import { metricSchema, type MetricLine } from './run/run-folder.ts';

export interface ListedRun {
  readonly name: string;
  readonly lines: readonly MetricLine[];
  /** Settings of the config by their paths, such as `stages.0.batch`. */
  readonly settings: ReadonlyMap<string, string>;
}

/** The runs below `root`, by name. Folders that hold none are passed over. */
export function listRuns(root: string): readonly ListedRun[] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, entry.name, 'metrics.jsonl')))
    .map((entry) => ({
      name: entry.name,
      lines: readLines(join(root, entry.name, 'metrics.jsonl')),
      settings: readSettings(join(root, entry.name, 'config.json')),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function readLines(path: string): readonly MetricLine[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((text) => {
      const line = metricSchema.safeParse(parsed(text));
      return line.success ? [line.data] : [];
    });
}

function readSettings(path: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (value: unknown, at: string): void => {
    if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) visit(inner, at === '' ? key : `${at}.${key}`);
    else found.set(at, String(value));
  };
  if (existsSync(path)) visit(parsed(readFileSync(path, 'utf8')), '');
  return found;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const notCompared = /^(recipe\.name|git|node|generator|device|driver)$/;

/** A table of the runs, and one of the settings in which they differ. */
export function printRuns(runs: readonly ListedRun[]): string {
  const number = (value: number | null | undefined): string =>
    value === null || value === undefined ? '–' : value.toFixed(4);
  const table = formatTable(
    [
      { title: 'run' },
      { title: 'stage', align: 'right' },
      { title: 'step', align: 'right' },
      { title: 'first loss', align: 'right' },
      { title: 'last loss', align: 'right' },
      { title: 'best', align: 'right' },
      { title: 'tokens', align: 'right' },
      { title: 'skipped', align: 'right' },
    ],
    runs.map(({ name, lines }) => {
      const last = lines.at(-1);
      const losses = lines.flatMap((line) => (line.loss === null ? [] : [line.loss]));
      return [
        name,
        String((last?.stage ?? 0) + 1),
        String(last?.step ?? 0),
        number(losses[0]),
        number(losses.at(-1)),
        number(losses.length === 0 ? undefined : Math.min(...losses)),
        String(last?.tokens ?? 0),
        String(lines.filter((line) => line.skipped).length),
      ];
    }),
  );
  const keys = [...new Set(runs.flatMap(({ settings }) => [...settings.keys()]))].filter(
    (key) => !notCompared.test(key) && new Set(runs.map(({ settings }) => settings.get(key))).size > 1,
  );
  if (keys.length === 0) return table;
  const differing = formatTable(
    [{ title: 'differs in' }, ...runs.map(({ name }) => ({ title: name }))],
    keys.map((key) => [key.replace(/^recipe\./, ''), ...runs.map(({ settings }) => settings.get(key) ?? '–')]),
  );
  return `${table}\n\n${differing}`;
}
