// Scores of models in benchmarks: from our own results, or from a CSV as one copies it from a paper.
import { parse } from 'csv-parse/sync';
import { basename, extname, join, resolve } from 'node:path';
import { readRegular, statOf } from '../../../runtime/files/regular-file.ts';
import { BenchmarkFileError } from '../errors.ts';
import type { EvaluationResult } from '../report/results.ts';

export type Setting = 'sighted' | 'blind' | 'chance';

/** One model in one setting. */
export interface StudyRow {
  readonly model: string;
  readonly setting: Setting;
  /** By benchmark; what was not measured is absent. */
  readonly scores: ReadonlyMap<string, number>;
}

export interface StudyTable {
  readonly benchmarks: readonly string[];
  /** Groups that somebody put the benchmarks in. */
  readonly groups: ReadonlyMap<string, string>;
  readonly rows: readonly StudyRow[];
}

const csvLimit = 2 ** 26;

/** Folders that `eval` wrote and CSV files, one after the other. Throws `BenchmarkFileError`. */
export function readStudy(paths: readonly string[]): StudyTable {
  const seen = new Set<string>();
  const tables = paths.map((path) => {
    const table = extname(path).toLowerCase() === '.csv' ? fromCsv(path) : fromResults(path);
    const own = table.rows.map(({ model }) => model);
    const rows = table.rows.map((row) => (seen.has(row.model) ? { ...row, model: `${row.model} (${path})` } : row));
    for (const model of own) seen.add(model);
    return { ...table, rows };
  });
  return {
    benchmarks: [...new Set(tables.flatMap(({ benchmarks }) => benchmarks))],
    groups: new Map(tables.flatMap(({ groups }) => [...groups])),
    rows: tables.flatMap(({ rows }) => rows),
  };
}

/**
 * Columns `model`, `setting`, then one a benchmark. Settings are sighted, blind and chance; a row of setting `group` says which group each
 * benchmark is of. Lines that begin with # are comments, empty cells were not measured.
 */
function fromCsv(path: string): StudyTable {
  const refuse = (what: string, advice: string, cause?: unknown): BenchmarkFileError =>
    new BenchmarkFileError(`${path} ${what}`, advice, cause);
  if (statOf(path, 'eval study') === undefined) throw refuse('is not there', 'check the path');
  let records: readonly (readonly string[])[];
  try {
    records = parse(readRegular(path, csvLimit, 'eval study'), {
      comment: '#',
      comment_no_infix: true,
      trim: true,
      skip_empty_lines: true,
    });
  } catch (cause) {
    throw refuse(`does not parse: ${cause instanceof Error ? cause.message : String(cause)}`, 'it is not CSV', cause);
  }
  const [header = [], ...lines] = records;
  const [model, setting, ...benchmarks] = header;
  if (model !== 'model' || setting !== 'setting' || benchmarks.length === 0)
    throw refuse(
      `begins with the columns ${header.join(', ') || 'none'}`,
      'needed are model, setting, and one for each benchmark',
    );
  const groups = new Map<string, string>();
  const rows: StudyRow[] = [];
  for (const [name = '', how = '', ...cells] of lines) {
    if (how === 'group') {
      for (const [i, cell] of cells.entries()) if (cell !== '') groups.set(benchmarks[i] ?? '', cell);
      continue;
    }
    if (how !== 'sighted' && how !== 'blind' && how !== 'chance')
      throw refuse(`has the setting '${how}' for ${name}`, 'known are sighted, blind, chance and group');
    const scores = new Map<string, number>();
    for (const [i, cell] of cells.entries()) {
      if (cell === '') continue;
      const value = Number(cell);
      if (!Number.isFinite(value)) throw refuse(`has '${cell}' for ${name}`, 'scores are numbers');
      scores.set(benchmarks[i] ?? '', value);
    }
    rows.push({ model: name, setting: how, scores });
  }
  return { benchmarks, groups, rows };
}

/** As far as a study reads it. */
function isJudged(one: unknown): boolean {
  if (typeof one !== 'object' || one === null || !('figures' in one) || !Array.isArray(one.figures)) return false;
  const figures: readonly unknown[] = one.figures;
  return figures.every((figure) => typeof figure === 'object' && figure !== null && 'value' in figure);
}

function fromResults(path: string): StudyTable {
  const folder = statOf(path, 'eval study');
  const file = folder?.isDirectory() === true ? join(path, 'results.json') : path;
  if (statOf(file, 'eval study') === undefined)
    throw new BenchmarkFileError(`there is no ${file}`, 'give folders that `eval` wrote, or CSV files');
  let result: EvaluationResult;
  try {
    result = JSON.parse(readRegular(file, csvLimit, 'eval study').toString('utf8')) as EvaluationResult;
  } catch (cause) {
    throw new BenchmarkFileError(`${file} is not JSON`, 'give the results.json that `eval` wrote', cause);
  }
  if (result.version !== 1 || !Array.isArray(result.benchmarks) || !result.benchmarks.every(isJudged))
    throw new BenchmarkFileError(`${file} is not a result of \`eval\``, 'give the results.json that it wrote');
  const judged = result.benchmarks.filter(({ figures }) => figures.length > 0);
  const name = basename(resolve(folder?.isDirectory() === true ? path : join(path, '..')));
  const rowOf = (setting: Setting, pick: (of: (typeof judged)[number]) => number | undefined): StudyRow => ({
    model: setting === 'chance' ? 'guessing' : name,
    setting,
    scores: new Map(
      judged.flatMap((one) => {
        const value = pick(one);
        const scale = one.figures[0]?.unit === 'points' ? 1 : 100;
        return value === undefined ? [] : [[one.title, scale * value] as const];
      }),
    ),
  });
  return {
    benchmarks: judged.map(({ title }) => title),
    groups: new Map(judged.flatMap(({ title, group }) => (group === undefined ? [] : [[title, group] as const]))),
    rows: [
      rowOf('sighted', ({ figures }) => figures[0]?.value),
      rowOf('blind', ({ blind }) => blind?.figures[0]?.value),
      rowOf('chance', ({ figures }) => figures[0]?.chance),
    ].filter(({ scores }) => scores.size > 0),
  };
}
