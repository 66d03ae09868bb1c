// Pictures of figures from a folder: found by their names as a wiki has them, made PNG on white.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import sharp from 'sharp';
import { statOf } from '../../../runtime/files/regular-file.ts';
import { decodeImage } from '../../../runtime/image/image.ts';

/** Where the file of a figure is, flat or in the folders of a wiki (`a/ab/Name.png`); undefined where it is not. */
export function findPicture(folder: string, file: string): string | undefined {
  const name = file.trim().replaceAll(' ', '_');
  if (name === '' || name.startsWith('.') || /[/\\\0]/.test(name)) return undefined;
  const first = name.slice(0, 1);
  const upper = first.toUpperCase() + name.slice(1);
  const hash = createHash('md5').update(upper).digest('hex');
  const spellings = [...new Set([name, upper, first.toLowerCase() + name.slice(1)])].flatMap((one) => [
    one,
    one.replaceAll('_', ' '),
  ]);
  const places = [...spellings, join(hash.slice(0, 1), hash.slice(0, 2), upper)].map((one) => join(folder, one));
  return places.find((place) => place.length < 4096 && statOf(place, 'data')?.isFile() === true);
}

/** The picture as a PNG, transparent parts white. Throws `OpabiniaError` as `decodeImage`. */
export async function asPng(path: string): Promise<Buffer> {
  const { width, height, rgb } = await decodeImage(path, { upright: true, background: [255, 255, 255] });
  return sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
