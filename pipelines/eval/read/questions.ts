// All questions of a benchmark: files found, columns checked, rows read; pictures stay where they are.
import { readdirSync } from 'node:fs';
import { dirname, extname, join, relative, resolve } from 'node:path';
import { statOf } from '../../../runtime/files/regular-file.ts';
import type { Benchmark, Item } from '../benchmark.ts';
import { groupBy } from '../grade.ts';
import { BenchmarkColumnsError, BenchmarkFileError } from '../errors.ts';
import { letterAt } from '../matching/letters.ts';
import { endings, openTable, type Table, type TableOptions } from './table.ts';
import { isPicture, textOf, type Picture, type Row } from './row.ts';

export interface Asked {
  readonly item: Item;
  /** Its row in the files, in their order: pairs and submissions go by it. */
  readonly index: number;
  /** File and row, the same wherever the folder lies: what the journal knows it by. */
  readonly key: string;
}

export interface Questions {
  readonly benchmark: Benchmark;
  readonly files: readonly string[];
  readonly asked: readonly Asked[];
}

export interface ReadOptions {
  /** Of each benchmark the first so many. */
  readonly limit?: number | undefined;
  /** Further folders in which pictures are looked for. */
  readonly images?: readonly string[] | undefined;
}

/** Throws `BenchmarkFileError`, `BenchmarkColumnsError`. */
export async function readQuestions(
  benchmark: Benchmark,
  path: string,
  { limit = Infinity, images = [] }: ReadOptions = {},
): Promise<Questions> {
  const root = resolve(path);
  const files = filesOf(root, benchmark);
  const isFolder = files.length > 1 || files[0] !== root;
  const base = isFolder ? root : dirname(root);
  const optionsFor = (file: string): TableOptions => ({
    wanted: benchmark.columns.flat(),
    folders: [...new Set([dirname(file), base, ...images.map((folder) => resolve(folder))])],
  });
  const beside = benchmark.pictures;
  const [tables, pictureFiles] = split(files, (file) => beside === undefined || !file.includes(beside.files));
  const pictures = beside === undefined ? undefined : await pictureTable(pictureFiles, beside, optionsFor);
  const asked: Asked[] = [];
  for (const file of tables) {
    const table = await openTable(file, optionsFor(file));
    check(table, benchmark);
    let number = 0;
    for await (const row of table.rows()) {
      if (asked.length >= limit) break;
      const at = number++;
      const item = benchmark.item(pictures === undefined || beside === undefined ? row : joined(row, pictures, beside));
      if (item !== undefined)
        asked.push({ item, index: asked.length, key: `${relative(base, file).replaceAll('\\', '/')}#${at}` });
    }
  }
  if (asked.length === 0)
    throw new BenchmarkFileError(
      `${path} has no question of ${benchmark.title}`,
      `its source is ${benchmark.source}; check the split`,
    );
  refuseAnswers(benchmark, path, asked);
  return { benchmark, files: tables, asked };
}

/**
 * Throws `BenchmarkFileError` where none of the questions that ask for a letter, or yes or no, has one for its right answer: every model
 * would have nothing right.
 */
function refuseAnswers({ form, grade, title, source }: Benchmark, path: string, asked: readonly Asked[]): void {
  if (form !== 'letter' && form !== 'yes or no') return;
  const answersTo = ({ options = 26 }: Item): readonly string[] =>
    form === 'letter' ? Array.from({ length: Math.min(26, options) }, (_, place) => letterAt(place)) : ['yes', 'no'];
  const judged = asked.filter(({ item }) => grade?.('', item.gold) !== undefined);
  const isAnswerable = ({ item }: Asked): boolean =>
    answersTo(item).some((answer) => (grade?.(answer, item.gold)?.score ?? 0) > 0);
  if (judged.length > 0 && !judged.some(isAnswerable))
    throw new BenchmarkFileError(
      `none of the ${judged.length} right answers of ${path} is ${form === 'letter' ? 'the letter of an option' : 'yes or no'}: ${JSON.stringify(judged[0]?.item.gold)}`,
      `${title} is ${source}; check the column of the answers`,
    );
}

/** Files of one benchmark that were given one by one are one benchmark. Throws `BenchmarkFileError` for one that was given twice. */
export function mergeQuestions(all: readonly Questions[]): readonly Questions[] {
  return [...groupBy(all, ({ benchmark }) => benchmark.name).values()].flatMap((parts) => {
    const [first] = parts;
    if (first === undefined) return [];
    const asked = parts.flatMap((part) => part.asked).map((one, index) => ({ ...one, index }));
    const keys = new Set<string>();
    for (const { key } of asked) {
      if (keys.has(key))
        throw new BenchmarkFileError(
          `two files of ${first.benchmark.title} have the name ${key.split('#')[0] ?? ''}`,
          'give the folder that holds both, or other names: the journal knows questions by file and row',
        );
      keys.add(key);
    }
    return [{ benchmark: first.benchmark, files: parts.flatMap((part) => part.files), asked }];
  });
}

/** The file itself, or those of a directory: of the preferred ending, and of the benchmark's split where names say so. */
function filesOf(path: string, benchmark: Benchmark): readonly string[] {
  const there = statOf(path, 'eval');
  if (there === undefined)
    throw new BenchmarkFileError(`there is no file or folder ${path}`, `${benchmark.title} is ${benchmark.source}`);
  if (there.isFile()) return [path];
  const all = readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => !name.split('/').some((part) => part.startsWith('.')))
    .sort();
  for (const ending of endings) {
    const found = all.filter((name) => extname(name).toLowerCase() === ending);
    const ofSplit = found.filter((name) =>
      benchmark.files?.some((start) => name.split('/').some((part) => part.startsWith(start))),
    );
    if (found.length > 0) return (ofSplit.length > 0 ? ofSplit : found).map((name) => join(path, name));
  }
  throw new BenchmarkFileError(
    `${path} has no file that ends in ${endings.join(', ')}`,
    `${benchmark.title} is ${benchmark.source}`,
  );
}

function check({ path, columns }: Table, benchmark: Benchmark): void {
  const isThere = (names: readonly string[]): boolean => names.some((name) => columns.includes(name));
  if (!benchmark.columns.every(isThere))
    throw new BenchmarkColumnsError(path, benchmark.title, columns, benchmark.columns);
}

function split<T>(list: readonly T[], isFirst: (one: T) => boolean): readonly [readonly T[], readonly T[]] {
  return [list.filter(isFirst), list.filter((one) => !isFirst(one))];
}

async function pictureTable(
  files: readonly string[],
  { id, column }: NonNullable<Benchmark['pictures']>,
  optionsFor: (file: string) => TableOptions,
): Promise<ReadonlyMap<string, Picture>> {
  const found = new Map<string, Picture>();
  for (const file of files) {
    const table = await openTable(file, { ...optionsFor(file), wanted: [column] });
    if (![id, column].every((name) => table.columns.includes(name)))
      throw new BenchmarkColumnsError(file, 'the pictures', table.columns, [[id], [column]]);
    for await (const row of table.rows()) {
      const picture = row.cells[column];
      if (isPicture(picture)) found.set(textOf(row, id), picture);
    }
  }
  return found;
}

function joined(
  row: Row,
  pictures: ReadonlyMap<string, Picture>,
  { key, column }: NonNullable<Benchmark['pictures']>,
): Row {
  const picture = pictures.get(textOf(row, key));
  return picture === undefined || row.cells[column] !== undefined
    ? row
    : { ...row, cells: { ...row.cells, [column]: picture } };
}
