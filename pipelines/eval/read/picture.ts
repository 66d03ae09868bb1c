// Pictures that texts name or hold: a path below the folder of the file, a data URL, base64.
import { existsSync, realpathSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { readRegular } from '../../../runtime/files/regular-file.ts';
import { PictureError } from '../errors.ts';
import type { Picture } from './row.ts';

/** Bytes of a picture's file at most. */
const pictureLimit = 2 ** 28;
const dataUrl = /^data:[^,]*;base64,/;
const base64 = /^[A-Za-z0-9+/\s]{64,}={0,2}\s*$/;

/** What a text stands for, looked for in these folders. Nothing is read before it is asked for. */
export function pictureOf(text: string, folders: readonly string[], place: string): Picture {
  return {
    isPicture: true,
    name: text.length > 200 ? `the picture of ${place}` : text,
    bytes: async () => {
      const held = dataUrl.exec(text);
      if (held !== null) return Buffer.from(text.slice(held[0].length), 'base64');
      const path = findBelow(text, folders);
      if (path !== undefined) return readRegular(path, pictureLimit, 'eval');
      if (base64.test(text)) return Buffer.from(text, 'base64');
      throw new PictureError(
        `${place} names the picture '${text.slice(0, 200)}', which is not in ${folders.join(', ')}`,
      );
    },
  };
}

/** A picture whose bytes are there, or are fetched by `read`. */
export function pictureFrom(name: string, read: () => Promise<Uint8Array>): Picture {
  return { isPicture: true, name, bytes: read };
}

/** A file below one of the folders; links and `..` lead nowhere else. Throws `PictureError` where they would. */
function findBelow(text: string, folders: readonly string[]): string | undefined {
  if (text.length > 4096 || text.includes('\0')) return undefined;
  for (const folder of folders) {
    const path = resolve(folder, text);
    if (!existsSync(path)) continue;
    const root = realpathSync(folder);
    if (realpathSync(path).startsWith(root.endsWith(sep) ? root : root + sep)) return path;
    throw new PictureError(`the picture '${text}' lies outside of ${folder}`);
  }
  // Question files of LLaVA name pictures of COCO without their folder.
  const inFolder = folders.map((folder) => join(folder, 'images')).find((folder) => existsSync(folder));
  if (inFolder === undefined || folders.includes(inFolder)) return undefined;
  return findBelow(text, [inFolder]);
}
