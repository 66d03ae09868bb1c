// Tables with a header: VLMEvalKit's TSV with pictures in base64, and CSV. A picture is not kept: where its row begins is.
import { parse } from 'csv-parse';
import { createReadStream, closeSync } from 'node:fs';
import { basename } from 'node:path';
import { BenchmarkFileError, PictureError } from '../errors.ts';
import { openRegular } from '../../../runtime/files/regular-file.ts';
import { pictureFrom, pictureOf } from './picture.ts';
import { type Picture, type Row, type Table, type TableOptions } from './row.ts';

/** Longer texts are pictures and are read again when they are asked for. */
const longest = 64;
const pictureColumn = 'image';

interface Parsed {
  readonly record: readonly string[];
  readonly info: { readonly bytes: number };
}

/** Throws `BenchmarkFileError` for a file without a header, or whose rows do not parse. */
export async function openDelimited(path: string, delimiter: string, { folders }: TableOptions): Promise<Table> {
  closeSync(openRegular(path, 'eval'));
  const columns = (await firstRecord(path, delimiter, 0))?.map((name) => name.replace(/^\ufeff/, ''));
  if (columns === undefined) throw new BenchmarkFileError(`${path} is empty`, 'fetch it again');
  const header = columns;
  const at = header.indexOf(pictureColumn);
  // Rotations of a question name the row that has the picture by its index.
  const starts = new Map<string, number>();

  const longPicture = (place: string, start: number): Picture =>
    pictureFrom(`the picture of ${place}`, async () => {
      const text = (await firstRecord(path, delimiter, start))?.[at] ?? '';
      if (text.length > longest) return pictureOf(text, folders, place).bytes();
      const other = starts.get(text);
      if (other === undefined || other === start)
        throw new PictureError(`${place} names the picture of row '${text}', which is not in the file`);
      return longPicture(place, other).bytes();
    });

  async function* rows(): AsyncGenerator<Row> {
    let [number, start] = [0, 0];
    const index = header.indexOf('index');
    for await (const { record, info } of records(path, delimiter, 0)) {
      const here = start;
      start = info.bytes;
      if (number++ === 0) continue;
      const place = `${basename(path)}, row ${number - 2}`;
      if (record.length !== header.length)
        throw new BenchmarkFileError(
          `${place} has ${record.length} fields, and the header has ${header.length}`,
          'the file is damaged: fetch it again',
        );
      if (index >= 0) starts.set(record[index] ?? '', here);
      const cells: Record<string, unknown> = {};
      for (const [i, name] of header.entries()) {
        const text = record[i] ?? '';
        if (i !== at || text === '') cells[name] = text;
        else cells[name] = isPathOf(text) ? pictureOf(text, folders, place) : longPicture(place, here);
      }
      yield { place, cells, picture: (text) => pictureOf(text, folders, place) };
    }
  }
  return { path, columns: header, rows };
}

/** A file's name, not base64 and not another row's index. */
function isPathOf(text: string): boolean {
  return text.length < 4096 && /\.(?:jpe?g|png|webp)$/i.test(text);
}

async function* records(path: string, delimiter: string, start: number): AsyncGenerator<Parsed> {
  const parser = createReadStream(path, { start, highWaterMark: 2 ** 20 }).pipe(
    parse({ delimiter, info: true, relax_column_count: true, relax_quotes: true, skip_empty_lines: true }),
  );
  try {
    for await (const parsed of parser) yield parsed as Parsed;
  } catch (cause) {
    throw new BenchmarkFileError(
      `${path} does not parse: ${cause instanceof Error ? cause.message : String(cause)}`,
      'the file is damaged: fetch it again',
      cause,
    );
  }
}

async function firstRecord(path: string, delimiter: string, start: number): Promise<readonly string[] | undefined> {
  for await (const { record } of records(path, delimiter, start)) return record;
  return undefined;
}
