// A drawing of our own as .svg, or as .png.
import { writeFileSync } from 'node:fs';
import sharp from 'sharp';

export async function writeDrawing(file: string, svg: string): Promise<void> {
  if (file.endsWith('.svg')) {
    writeFileSync(file, svg);
    return;
  }
  // Pictures of strangers may not be SVG, and loaders are blocked for the whole process: this one is our own.
  sharp.unblock({ operation: ['VipsForeignLoadSvgBuffer'] });
  await sharp(Buffer.from(svg)).png().toFile(file);
}
