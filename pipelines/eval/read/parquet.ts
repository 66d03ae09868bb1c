// Parquet as the hub's data sets are: texts are read row group by row group, pictures when they are asked for.
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type AsyncBuffer,
  type FileMetaData,
  type SchemaTree,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { basename, dirname } from 'node:path';
import { BenchmarkFileError, PictureError } from '../errors.ts';
import { pictureFrom, pictureOf } from './picture.ts';
import { type Picture, type Row, type Table, type TableOptions } from './row.ts';

interface Group {
  readonly start: number;
  readonly end: number;
}

/** Decoded columns of pictures that are kept: neighbours are asked for one after the other. */
const kept = 256 * 2 ** 20;

/** Throws `BenchmarkFileError` for a file that is not Parquet. */
export async function openParquet(path: string, { wanted, folders }: TableOptions): Promise<Table> {
  const { file, metadata } = await opened(path);
  const columns = parquetSchema(metadata).children;
  const binary = columns.filter((column) => hasBytes(column) && wanted.includes(column.element.name));
  const texts = columns.filter((column) => !hasBytes(column)).map((column) => column.element.name);
  const groups = groupsOf(metadata);
  const cache = new ColumnCache(file, metadata);

  async function* rows(): AsyncGenerator<Row> {
    for (const group of groups) {
      const read = await readColumns(file, metadata, texts, group);
      const shapes = new Map<string, readonly unknown[]>();
      for (const column of binary)
        if (!isAlwaysThere(column, metadata, groups.indexOf(group)))
          shapes.set(column.element.name, (await cache.column(column.element.name, group)).map(shapeOf));
      for (let i = 0; i < group.end - group.start; i++) {
        const at = group.start + i;
        const place = `${basename(path)}, row ${at}`;
        const cells: Record<string, unknown> = { ...plain(read[i] ?? {}) };
        for (const { element } of binary) {
          const shape = shapes.get(element.name)?.[i] ?? (shapes.has(element.name) ? 0 : 'one');
          const lazy = (nth: number): Picture =>
            pictureFrom(`the picture of ${place}`, async () => {
              const value = (await cache.column(element.name, group))[i];
              return bytesOf(Array.isArray(value) ? value[nth] : value, [...folders, dirname(path)], place);
            });
          if (shape === 'one') cells[element.name] = lazy(0);
          else if (typeof shape === 'number')
            cells[element.name] = Array.from({ length: shape }, (_, nth) => lazy(nth));
        }
        yield { place, cells, picture: (text) => pictureOf(text, folders, place) };
      }
    }
  }
  return { path, columns: columns.map((column) => column.element.name), rows };
}

async function opened(path: string): Promise<{ readonly file: AsyncBuffer; readonly metadata: FileMetaData }> {
  try {
    const file = await asyncBufferFromFile(path);
    return { file, metadata: await parquetMetadataAsync(file) };
  } catch (cause) {
    throw new BenchmarkFileError(
      `${path} is not a Parquet file: ${cause instanceof Error ? cause.message : String(cause)}`,
      'the download may have stopped, or the file is a pointer of Git LFS',
      cause,
    );
  }
}

function groupsOf(metadata: FileMetaData): readonly Group[] {
  let start = 0;
  return metadata.row_groups.map(({ num_rows: count }) => {
    const group = { start, end: start + Number(count) };
    start = group.end;
    return group;
  });
}

/** Columns with bytes that are not text: pictures, or records of bytes and path. */
function hasBytes({ element, children }: SchemaTree): boolean {
  if (children.length > 0) return children.some(hasBytes);
  return element.type === 'BYTE_ARRAY' && element.converted_type === undefined && element.logical_type === undefined;
}

/** Whether the file says itself that no row of the group is without a picture, and that each has one. */
function isAlwaysThere(column: SchemaTree, metadata: FileMetaData, group: number): boolean {
  if (isList(column)) return false;
  const chunks = (metadata.row_groups[group]?.columns ?? []).filter(
    (chunk) => chunk.meta_data?.path_in_schema[0] === column.element.name,
  );
  const bytes = chunks.find((chunk) => chunk.meta_data?.path_in_schema.at(-1) !== 'path');
  const missing = bytes?.meta_data?.statistics?.null_count;
  return missing !== undefined && Number(missing) === 0;
}

function isList({ element, children }: SchemaTree): boolean {
  return (
    element.repetition_type === 'REPEATED' || children.some((child) => child.element.repetition_type === 'REPEATED')
  );
}

/** Nothing, one picture, or so many. */
function shapeOf(value: unknown): 'one' | 'none' | number {
  if (Array.isArray(value)) return value.length;
  if (value === null || value === undefined) return 'none';
  if (value instanceof Uint8Array) return 'one';
  const record = value as { readonly bytes?: unknown; readonly path?: unknown };
  return record.bytes instanceof Uint8Array || typeof record.path === 'string' ? 'one' : 'none';
}

async function bytesOf(value: unknown, folders: readonly string[], place: string): Promise<Uint8Array> {
  if (value instanceof Uint8Array) return value;
  const record = (value ?? {}) as { readonly bytes?: unknown; readonly path?: unknown };
  if (record.bytes instanceof Uint8Array) return record.bytes;
  if (typeof record.path === 'string') return pictureOf(record.path, folders, place).bytes();
  throw new PictureError(`${place} has no picture`);
}

async function readColumns(
  file: AsyncBuffer,
  metadata: FileMetaData,
  columns: readonly string[],
  { start, end }: Group,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  try {
    return await parquetReadObjects({
      file,
      metadata,
      compressors,
      columns: [...columns],
      rowStart: start,
      rowEnd: end,
      utf8: false,
    });
  } catch (cause) {
    throw new BenchmarkFileError(
      `rows ${start} to ${end} do not read: ${cause instanceof Error ? cause.message : String(cause)}`,
      'the file is damaged: fetch it again',
      cause,
    );
  }
}

/** The columns of pictures that were read last. */
class ColumnCache {
  readonly #file: AsyncBuffer;
  readonly #metadata: FileMetaData;
  readonly #columns = new Map<string, Promise<readonly unknown[]>>();
  readonly #sizes = new Map<string, number>();

  constructor(file: AsyncBuffer, metadata: FileMetaData) {
    this.#file = file;
    this.#metadata = metadata;
  }

  /** One column of one row group. */
  column(name: string, group: Group): Promise<readonly unknown[]> {
    const key = `${group.start} ${name}`;
    const known = this.#columns.get(key);
    if (known !== undefined) {
      // To the end of the line of those that are let go.
      this.#columns.delete(key);
      this.#columns.set(key, known);
      return known;
    }
    const reading = readColumns(this.#file, this.#metadata, [name], group).then((rows) => {
      const values = rows.map((row) => row[name]);
      this.#sizes.set(
        key,
        values.reduce((sum: number, value) => sum + sizeOf(value), 0),
      );
      this.#forget(key);
      return values;
    });
    this.#columns.set(key, reading);
    return reading;
  }

  #forget(newest: string): void {
    let sum = [...this.#sizes.values()].reduce((all, size) => all + size, 0);
    for (const key of [...this.#columns.keys()]) {
      if (sum <= kept || key === newest) continue;
      sum -= this.#sizes.get(key) ?? 0;
      this.#columns.delete(key);
      this.#sizes.delete(key);
    }
  }
}

function sizeOf(value: unknown): number {
  if (value instanceof Uint8Array) return value.byteLength;
  if (Array.isArray(value)) return value.reduce((sum: number, one) => sum + sizeOf(one), 0);
  return typeof value === 'object' && value !== null && 'bytes' in value ? sizeOf(value.bytes) : 0;
}

/** Large integers as numbers: adapters print and compare them. */
function plain<T>(value: T): T {
  if (typeof value === 'bigint') return Number(value) as T;
  if (Array.isArray(value)) return value.map(plain) as T;
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && !(value instanceof Date))
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)])) as T;
  return value;
}
