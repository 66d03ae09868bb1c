// One JSON object a line, as lmms-eval and LLaVA write questions, or a JSON array of them. Long texts are pictures and are not kept.
import { createReadStream, closeSync } from 'node:fs';
import { basename } from 'node:path';
import { openRegular, readRegular } from '../../../runtime/files/regular-file.ts';
import { BenchmarkFileError } from '../errors.ts';
import { pictureFrom, pictureOf } from './picture.ts';
import { type Picture, type Row, type Table, type TableOptions } from './row.ts';

type Cells = Readonly<Record<string, unknown>>;

interface Line {
  readonly text: string;
  readonly start: number;
  /** From 1. */
  readonly number: number;
}

/** No question is as long. */
const longest = 16_384;
const lineLimit = 2 ** 28;
const arrayLimit = 2 ** 28;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Throws `BenchmarkFileError` for a file without an object. */
export async function openJsonLines(path: string, { folders }: TableOptions): Promise<Table> {
  closeSync(openRegular(path, 'eval'));
  let first: Cells | undefined;
  for await (const line of linesOf(path, 0)) {
    first = parsed(line, path);
    break;
  }
  if (first === undefined) throw new BenchmarkFileError(`${path} is empty`, 'give a file with at least one question');

  async function* rows(): AsyncGenerator<Row> {
    for await (const line of linesOf(path, 0)) {
      const again = async (name: string): Promise<unknown> => {
        for await (const same of linesOf(path, line.start)) return parsed(same, path)[name];
        return undefined;
      };
      yield rowOf(parsed(line, path), `${basename(path)}, line ${line.number}`, folders, again);
    }
  }
  return { path, columns: Object.keys(first), rows };
}

/** Throws `BenchmarkFileError` for what is not an array of objects. */
export async function openJson(path: string, { folders }: TableOptions): Promise<Table> {
  const text = textOf(readRegular(path, arrayLimit, 'eval'), path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new BenchmarkFileError(`${path} is not JSON: ${String(cause)}`, 'fetch it again', cause);
  }
  if (!Array.isArray(json) || !json.every(isCells))
    throw new BenchmarkFileError(`${path} is not an array of objects`, 'one object for each question is read');
  const all: readonly Cells[] = json;
  if (all.length === 0) throw new BenchmarkFileError(`${path} is empty`, 'give a file with at least one question');
  async function* rows(): AsyncGenerator<Row> {
    for (const [i, cells] of all.entries())
      yield rowOf(cells, `${basename(path)}, entry ${i}`, folders, (name) => Promise.resolve(cells[name]));
  }
  return { path, columns: Object.keys(all[0] ?? {}), rows };
}

/** Throws `BenchmarkFileError`: letters that are replaced would be other questions, and other answers to be right. */
function textOf(bytes: Uint8Array, where: string): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new BenchmarkFileError(`${where} is not UTF-8`, 'write the file anew in UTF-8', cause);
  }
}

function isCells(value: unknown): value is Cells {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function rowOf(
  cells: Cells,
  place: string,
  folders: readonly string[],
  again: (name: string) => Promise<unknown>,
): Row {
  const light: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(cells)) light[name] = isHeavy(value) ? heavy(name) : value;
  return { place, cells: light, picture: (text) => pictureOf(text, folders, place) };

  function heavy(name: string): Picture {
    return pictureFrom(`the picture of ${place}`, async () =>
      pictureOf(pictureText(await again(name)), folders, place).bytes(),
    );
  }
}

/** A long text, or the hub's record of bytes and path. */
function isHeavy(value: unknown): boolean {
  if (typeof value === 'string') return value.length > longest || value.startsWith('data:image/');
  return isCells(value) && (typeof value['bytes'] === 'string' || typeof value['path'] === 'string');
}

function pictureText(value: unknown): string {
  if (isCells(value)) return String(value['bytes'] ?? value['path'] ?? '');
  return String(value ?? '');
}

function parsed({ text, number }: Line, path: string): Cells {
  const refuse = (what: string, cause?: unknown): BenchmarkFileError =>
    new BenchmarkFileError(`${path}, line ${number} ${what}`, 'each line is one JSON object', cause);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw refuse(`is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  if (!isCells(json)) throw refuse('is not an object');
  return json;
}

/** Lines that hold something, from a byte on. */
async function* linesOf(path: string, from: number): AsyncGenerator<Line> {
  let [pieces, start, number]: [Buffer[], number, number] = [[], from, 1];
  let held = 0;
  const take = (): Line => {
    const line = { text: textOf(Buffer.concat(pieces), `${path}, line ${number}`).trim(), start, number };
    start += held;
    [pieces, held] = [[], 0];
    number++;
    return line;
  };
  for await (const chunk of createReadStream(path, { start: from, highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    let begun = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begun)) {
      pieces.push(chunk.subarray(begun, end + 1));
      held += end + 1 - begun;
      begun = end + 1;
      const line = take();
      if (line.text !== '') yield line;
    }
    pieces.push(chunk.subarray(begun));
    held += chunk.length - begun;
    if (held > lineLimit)
      throw new BenchmarkFileError(
        `${path}, line ${number} is longer than ${lineLimit} bytes`,
        'it is not a JSONL file',
      );
  }
  const last = take();
  if (last.text !== '') yield last;
}
