// Where the samples of a file lie: one JSON object a line, or a JSON array of them. The file goes by in pieces, however large it is.
import { fstatSync, readSync } from 'node:fs';
import { OpabiniaError } from '../../../dsl/error.ts';

export interface SampleRange {
  /** Bytes `start` to `end` − 1. */
  readonly start: number;
  readonly end: number;
  /** Of its line, from 1, or of its element, from 0. */
  readonly number: number;
}

export type SampleLayout = 'line' | 'element';

const chunkBytes = 2 ** 20;
const [quote, comma, backslash, open, close, openObject, closeObject] = [0x22, 0x2c, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d];

/** How samples stand in a file, by its first byte that is not blank; undefined for an empty one. */
export function layoutOf(descriptor: number): SampleLayout | undefined {
  const buffer = Buffer.alloc(4096);
  for (let at = markBytes(descriptor); ;) {
    const count = readSync(descriptor, buffer, 0, buffer.length, at);
    if (count === 0) return undefined;
    const first = buffer.subarray(0, count).find((byte) => byte > 32);
    if (first !== undefined) return first === open ? 'element' : 'line';
    at += count;
  }
}

/** Of each sample in turn; lines that hold nothing are none. Throws `OpabiniaError` for an array that does not end, or ends early. */
export function sampleRanges(descriptor: number, layout: SampleLayout, path: string): Generator<SampleRange> {
  return layout === 'line' ? lineRanges(descriptor) : elementRanges(descriptor, path);
}

/** Bytes of a byte order mark. */
function markBytes(descriptor: number): number {
  const buffer = Buffer.alloc(3);
  return readSync(descriptor, buffer, 0, 3, 0) === 3 && buffer.toString('hex') === 'efbbbf' ? 3 : 0;
}

function* lineRanges(descriptor: number): Generator<SampleRange> {
  const { size } = fstatSync(descriptor);
  const buffer = Buffer.alloc(chunkBytes);
  let [at, start, number, isBlank] = [markBytes(descriptor), markBytes(descriptor), 1, true];
  while (at < size) {
    const piece = buffer.subarray(0, readSync(descriptor, buffer, 0, buffer.length, at));
    if (piece.length === 0) break;
    for (let from = 0; ;) {
      const next = piece.indexOf(10, from);
      const to = next < 0 ? piece.length : next;
      for (let i = from; isBlank && i < to; i++) isBlank = (piece[i] ?? 0) <= 32;
      if (next < 0) break;
      if (!isBlank) yield { start, end: at + next, number };
      start = at + next + 1;
      number++;
      isBlank = true;
      from = next + 1;
    }
    at += piece.length;
  }
  if (!isBlank) yield { start, end: at, number };
}

function* elementRanges(descriptor: number, path: string): Generator<SampleRange> {
  const { size } = fstatSync(descriptor);
  const buffer = Buffer.alloc(chunkBytes);
  let [at, number, depth] = [markBytes(descriptor), 0, 0];
  let [isText, isEscaped, isOver] = [false, false, false];
  /** Where the element begins, and where its last byte that is not blank ends. */
  let [start, end] = [-1, -1];
  const wrong = (what: string): OpabiniaError =>
    new OpabiniaError(`${path} does not parse: ${what}`, {
      op: 'data',
      advice: 'the file is an array of samples, or one JSON object a line',
    });
  while (at < size) {
    const count = readSync(descriptor, buffer, 0, buffer.length, at);
    if (count === 0) break;
    for (let i = 0; i < count; i++) {
      const byte = buffer[i] ?? 0;
      if (isText) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) isText = false;
        end = at + i + 1;
        continue;
      }
      if (byte <= 32) continue;
      if (isOver) throw wrong(`something follows the array, at byte ${at + i}`);
      if (depth === 1 && (byte === comma || byte === close)) {
        if (start >= 0) yield { start, end, number: number++ };
        else if (byte === comma || number > 0) throw wrong(`an element is missing at byte ${at + i}`);
        start = -1;
        if (byte === close) [depth, isOver] = [0, true];
        continue;
      }
      if (depth === 1 && start < 0) start = at + i;
      if (byte === quote) isText = true;
      else if (byte === open || byte === openObject) depth++;
      else if (byte === close || byte === closeObject) depth--;
      if (depth < 1) throw wrong(`a bracket too many at byte ${at + i}`);
      end = at + i + 1;
    }
    at += count;
  }
  if (!isOver) throw wrong('the array does not end');
}
