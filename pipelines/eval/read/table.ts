// A file of rows: its columns, and its rows one after the other. What an ending means.
import { extname } from 'node:path';
import { BenchmarkFileError } from '../errors.ts';
import { openDelimited } from './delimited.ts';
import { openJson, openJsonLines } from './json-lines.ts';
import { openParquet } from './parquet.ts';
import type { Table, TableOptions } from './row.ts';

export type { Table, TableOptions } from './row.ts';

type Open = (path: string, options: TableOptions) => Promise<Table>;

const openers: Readonly<Record<string, Open>> = {
  '.parquet': openParquet,
  '.tsv': (path, options) => openDelimited(path, '\t', options),
  '.csv': (path, options) => openDelimited(path, ',', options),
  '.jsonl': openJsonLines,
  '.json': openJson,
};

/** In the order in which a folder's files are preferred: the hub's own first. */
export const endings = Object.keys(openers);

/** Throws `BenchmarkFileError` for a file that is none of these, or does not begin like one. */
export async function openTable(path: string, options: TableOptions): Promise<Table> {
  const open = openers[extname(path).toLowerCase()];
  if (open === undefined)
    throw new BenchmarkFileError(
      `${path} is not a file of a known kind`,
      `give one that ends in ${endings.join(', ')}`,
    );
  return open(path, options);
}
