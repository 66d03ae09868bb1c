// A row of a benchmark's file, whatever the file is, and what adapters read of it.
import { OpabiniaError } from '../../../dsl/error.ts';

/** A picture that is read when it is asked for. */
export interface Picture {
  readonly isPicture: true;
  /** For messages. */
  readonly name: string;
  /** The bytes of its file. Throws `OpabiniaError` where there are none. */
  readonly bytes: () => Promise<Uint8Array>;
}

/** Text, numbers, lists, records; `Picture` for what holds one. */
export interface Row {
  /** File and row, for messages. */
  readonly place: string;
  readonly cells: Readonly<Record<string, unknown>>;
  /** A picture of a text that names or holds one: a path below the file's folder, a data URL, base64. */
  readonly picture: (text: string) => Picture;
}

export function isPicture(value: unknown): value is Picture {
  return typeof value === 'object' && value !== null && 'isPicture' in value;
}

/** Of several columns the first that the row has; undefined where it has none, or nothing in it. */
export function cellOf(row: Row, ...columns: readonly string[]): unknown {
  for (const column of columns) {
    const value = row.cells[column];
    if (value !== undefined && value !== null && value !== '') return value;
  }
  return undefined;
}

/** A text; numbers are written out, what is missing is ''. */
export function textOf(row: Row, ...columns: readonly string[]): string {
  const value = cellOf(row, ...columns);
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  return JSON.stringify(value);
}

/** A text that a row must have. Throws `OpabiniaError` with its place. */
export function neededText(row: Row, ...columns: readonly string[]): string {
  const text = textOf(row, ...columns);
  if (text === '')
    throw new OpabiniaError(`${row.place} has nothing in ${columns.join(' or ')}`, {
      op: 'eval',
      advice: 'the row is damaged, or the file is of another split',
    });
  return text;
}

/**
 * A list of texts: also one that is written as JSON, or as Python prints it. Throws `OpabiniaError` with the row's place for a list of
 * records, which are no texts.
 */
export function listOf(row: Row, ...columns: readonly string[]): readonly string[] {
  const value = cellOf(row, ...columns);
  const texts = (list: readonly unknown[]): readonly string[] => {
    const other = list.find((one) => typeof one === 'object' && one !== null);
    if (other !== undefined)
      throw new OpabiniaError(`${row.place} has ${JSON.stringify(other).slice(0, 60)} among its ${columns[0] ?? ''}`, {
        op: 'eval',
        advice: 'texts are read: give each of them as a text',
      });
    return list.map(String);
  };
  if (Array.isArray(value)) return texts(value);
  if (typeof value !== 'string') return [];
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    // Not JSON: perhaps Python's.
  }
  if (Array.isArray(parsed)) return texts(parsed);
  return value.startsWith('[') ? [...value.matchAll(/'([^\n]*?)'|"([^\n]*?)"/g)].map(([, a, b]) => a ?? b ?? '') : [];
}

/** Options of a question: a list, or columns A, B, … as in VLMEvalKit's files. */
export function optionsOf(row: Row, ...columns: readonly string[]): readonly string[] {
  const list = listOf(row, ...columns);
  if (list.length > 0) return list;
  const lettered: string[] = [];
  for (let i = 0; i < 26; i++) {
    const option = textOf(row, String.fromCharCode(65 + i));
    if (option === '' || option === 'nan') break;
    lettered.push(option);
  }
  return lettered;
}

/** The pictures of a column: one, several, or none. */
export function picturesOf(row: Row, ...columns: readonly string[]): readonly Picture[] {
  const value = cellOf(row, ...columns);
  const all = Array.isArray(value) ? value : value === undefined ? [] : [value];
  return all.flatMap((one) => (isPicture(one) ? [one] : typeof one === 'string' ? [row.picture(one)] : []));
}

export interface Table {
  readonly path: string;
  readonly columns: readonly string[];
  /** Each row once; pictures are read when they are asked for. */
  readonly rows: () => AsyncGenerator<Row>;
}

export interface TableOptions {
  /** Columns that the adapter reads: only of these are pictures looked at. */
  readonly wanted: readonly string[];
  /** Where pictures that are named by paths are looked for. */
  readonly folders: readonly string[];
}
