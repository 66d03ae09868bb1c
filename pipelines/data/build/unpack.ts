// A dump as it lies on the disk, unpacked while it goes by: bzip2 (of many streams too), gzip, Zstandard, or plain.
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import unbzip2 from 'unbzip2-stream';
import { OpabiniaError } from '../../../dsl/error.ts';

const unpackers: Readonly<Record<string, () => NodeJS.ReadWriteStream>> = {
  bz2: unbzip2,
  gz: createGunzip,
  zst: createZstdDecompress,
};
const refused: Readonly<Record<string, string>> = { '7z': '7z x', xz: 'unxz -k' };

const endingOf = (path: string): string => path.split('.').at(-1)?.toLowerCase() ?? '';

/** Throws `OpabiniaError` where a dump is packed in a way that is not read here. */
export function checkPacking(path: string): void {
  const ending = endingOf(path);
  if (Object.hasOwn(refused, ending))
    throw new OpabiniaError(`${path} is packed, and .${ending} is not read here`, {
      op: 'data',
      advice: `unpack it first: ${refused[ending]} ${path}; .xml, .xml.bz2, .xml.gz and .xml.zst are read as they are`,
    });
}

/** The text of a file. Throws `OpabiniaError` for one that is damaged or cut off. */
export async function* unpackedText(path: string): AsyncGenerator<string> {
  const ending = endingOf(path);
  const unpacker = Object.hasOwn(unpackers, ending) ? unpackers[ending] : undefined;
  const file = createReadStream(path, { highWaterMark: 2 ** 18 });
  // `unbzip2-stream` is of the oldest kind of streams, which cannot be iterated.
  const text = unpacker === undefined ? file : new Readable().wrap(file.pipe(unpacker()));
  file.on('error', (error) => text.destroy(error));
  text.setEncoding('utf8');
  try {
    for await (const chunk of text) yield String(chunk);
  } catch (cause) {
    throw new OpabiniaError(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'data',
      advice: unpacker === undefined ? 'see that it may be read' : `see that it is whole, and packed as .${ending}`,
      cause,
    });
  } finally {
    file.destroy();
  }
}
