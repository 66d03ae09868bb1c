// The demo's picture: what it draws must follow the attention it is given.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { textWidth, text } from '../../examples/demo/glyphs.ts';
import {
  colourOf,
  drawOverlay,
  pictureSize,
  writePicture,
  type AttentionPicture,
} from '../../examples/demo/picture.ts';

// A grey square, 4 × 4 regions; the first encoder's mass grows along the row, the last row of regions is padding.
const picture: AttentionPicture = {
  image: { width: 8, height: 8, rgb: new Uint8Array(192).fill(128) },
  side: 4,
  padded: Array.from({ length: 16 }, (_, q) => q >= 12),
  panels: [
    { name: 'coarse', side: 4, mass: Array.from({ length: 16 }, (_, q) => (q % 4) / 10) },
    { name: 'fine', side: 8, mass: Array.from({ length: 16 }, (_, q) => 1 - (q % 4) / 10) },
  ],
  title: 'title',
  subtitle: 'subtitle',
  by: 'by',
};

describe('colourOf', () => {
  it('goes from dark to bright and stays within its ends', () => {
    const brightness = (t: number) => [...colourOf(t).matchAll(/\d+/g)].reduce((sum, [v]) => sum + Number(v), 0);
    for (let t = 0.1; t <= 1; t += 0.1) expect(brightness(t)).toBeGreaterThan(brightness(t - 0.1));
    expect(colourOf(-1)).toBe(colourOf(0));
    expect(colourOf(2)).toBe(colourOf(1));
  });
});

describe('captions', () => {
  it('are as wide as their letters', () => {
    expect(textWidth('AAA', 12)).toBeGreaterThan(textWidth('AA', 12));
    expect(textWidth('AA', 24)).toBeCloseTo(2 * textWidth('AA', 12));
    expect(text('Ab', 0, 0, { size: 6, colour: '#fff' }).match(/<path/g)).toHaveLength(2);
  });
  it('never let a caption become markup', () =>
    expect(text('"><script>', 0, 0, { size: 6, colour: '#fff' })).not.toContain('SCRIPT'));
});

describe('drawOverlay', () => {
  const svg = drawOverlay(picture);
  it('colours every region that shows the picture, once an encoder', () => {
    const coloured = svg.match(/<g opacity="0.56"[^>]*>(.*?)<\/g>/g) ?? [];
    expect(coloured.map((part) => part.match(/<rect/g)?.length)).toEqual([12, 12]);
    expect(coloured[0]).toContain(colourOf(0));
    expect(coloured[0]).toContain(colourOf(1));
  });
  it('draws fine lines only where an encoder has several tokens in a region', () =>
    expect(svg.match(/stroke-opacity="0.13"/g)).toHaveLength(1));
});

describe('writePicture', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'picture-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('writes a PNG whose regions are brighter where the mass is larger', async () => {
    const path = join(folder, 'made', 'demo.png');
    await writePicture(path, picture);
    const { data, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true });
    expect({ width: info.width, height: info.height }).toEqual(pictureSize(2));
    const sum = (x: number, y: number) => {
      const at = (y * info.width + x) * info.channels;
      return (data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0);
    };
    // Middles of the four regions of the second row, in both panels: 576 pixels wide, at x = 36 and 36 + 576 + 32, y = 120.
    const row = (left: number) => [0, 1, 2, 3].map((i) => sum(left + 72 + i * 144 + 5, 120 + 216 + 5));
    const [coarse, fine] = [row(36), row(644)];
    expect(coarse).toEqual([...coarse].sort((a, b) => a - b));
    expect(fine).toEqual([...fine].sort((a, b) => b - a));
    expect(new Set(coarse).size).toBe(4);
    expect(sum(36 + 77, 120 + 509)).toBeLessThan(Math.min(...coarse));
  });
  it('leaves SVG forbidden to files from outside', async () => {
    await writePicture(join(folder, 'again.png'), picture);
    await expect(
      sharp(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')).png().toBuffer(),
    ).rejects.toThrow();
  });
  it('refuses a grid that does not divide into the regions', async () => {
    const panels = [{ name: 'odd', side: 6, mass: new Float32Array(16) }];
    await expect(writePicture(join(folder, 'no.png'), { ...picture, panels })).rejects.toThrow(/panel 'odd'/);
  });
});
