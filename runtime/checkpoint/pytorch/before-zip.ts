// Files as `torch.save` wrote them before PyTorch 1.6: five pickles, then each storage behind the number of its elements
// (`_legacy_save` in torch/serialization.py).
import { readSync } from 'node:fs';
import { EndedEarly, PickleError, readPickles, type Pickles, type Value } from './pickle.ts';

/** A number that all of them begin with, as a pickle. */
const beginning = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex');
/** Behind it: a version, facts about the machine, the object, the keys of its storages. */
const pickles = 4;

export interface Lying {
  readonly start: number;
  readonly bytes: number;
}

export function isBeforeZip(descriptor: number): boolean {
  return read(descriptor, 0, beginning.length).equals(beginning);
}

/**
 * The object, and where its storages lie; `unitOf` gives the bytes of an element by the name of its storage's type. Pickles take `most`
 * bytes at most. Throws `PickleError`.
 */
export function readBeforeZip(
  descriptor: number,
  size: number,
  allowed: ReadonlySet<string>,
  unitOf: (storage: Value) => number | undefined,
  most: number,
): { readonly object: Value; readonly storages: ReadonlyMap<string, Lying> } {
  const { values, end, persistent } = readStart(descriptor, size, allowed, most);
  const [, machine, object = null, keys] = values;
  if (machine instanceof Map && machine.get('little_endian') === false)
    throw new PickleError('was written on a big-endian machine');
  const units = new Map<Value, number>();
  for (const place of persistent) {
    const [what, type = null, key = null, , , view = null] = Array.isArray(place) ? (place as readonly Value[]) : [];
    const unit = unitOf(type);
    if (what !== 'storage' || unit === undefined || view !== null)
      throw new PickleError('has a storage that is not known');
    units.set(key, unit);
  }
  const storages = new Map<string, Lying>();
  let at = end;
  for (const key of Array.isArray(keys) ? (keys as readonly Value[]) : []) {
    const unit = units.get(key);
    if (typeof key !== 'string' || unit === undefined) throw new PickleError('lists a storage that nothing is in');
    const count = read(descriptor, at, 8);
    if (count.length < 8) throw new EndedEarly();
    const [start, bytes] = [at + 8, Number(count.readBigUInt64LE()) * unit];
    if (!(start + bytes <= size)) throw new EndedEarly();
    storages.set(key, { start, bytes });
    at = start + bytes;
  }
  return { object, storages };
}

/** How long the pickles are is known when they have been read. */
function readStart(descriptor: number, size: number, allowed: ReadonlySet<string>, most: number): Pickles {
  for (let length = 2 ** 20; ; length *= 8) {
    const bytes = read(descriptor, 0, Math.min(size, length, most));
    try {
      return readPickles(bytes, allowed, beginning.length, pickles);
    } catch (error) {
      if (!(error instanceof EndedEarly) || bytes.length === Math.min(size, most)) throw error;
    }
  }
}

function read(descriptor: number, start: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const got = readSync(descriptor, bytes, done, length - done, start + done);
    if (got === 0) return bytes.subarray(0, done);
    done += got;
  }
  return bytes;
}
