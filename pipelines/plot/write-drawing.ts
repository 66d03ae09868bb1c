// A drawing of our own as .svg, or as .png.
import sharp from 'sharp';
import { writeFileAtomic, type AtomicOptions } from '../../runtime/files/atomic-file.ts';

/** Throws `OpabiniaError` for a name that is a link or an input, and where there is no folder. */
export async function writeDrawing(file: string, svg: string, options: AtomicOptions = {}): Promise<void> {
  if (/\.svg$/i.test(file)) {
    writeFileAtomic(file, svg, options);
    return;
  }
  // Pictures of strangers may not be SVG, and loaders are blocked for the whole process: this one is our own.
  sharp.unblock({ operation: ['VipsForeignLoadSvgBuffer'] });
  writeFileAtomic(file, await sharp(Buffer.from(svg)).png().toBuffer(), options);
}
