// Image input against what Cambrian-1's own preprocessing and Pillow gave, and against hostile files.
import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import {
  backgroundOf,
  decodeImage,
  expandToSquare,
  normalize,
  pixelLimit,
  resizePillow,
  type Filter,
  type Image,
  type Rgb,
} from '../../runtime/image/image.ts';

interface Stored {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

function readGolden(file: string): {
  config: { cases?: readonly Case[]; sizes?: Record<string, number> };
  tensor(name: string): Stored;
} {
  const bytes = readFileSync(new URL(`../golden/${file}`, import.meta.url));
  const headerSize = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerSize).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  > & { __metadata__: { config: string } };
  return {
    config: JSON.parse(header.__metadata__.config) as { cases?: Case[] },
    tensor(name) {
      const entry = header[name];
      if (entry === undefined) throw new Error(`${file} has no ${name}`);
      const [from, to] = entry.data_offsets;
      const part = bytes.subarray(8 + headerSize + from, 8 + headerSize + to);
      const values =
        entry.dtype === 'I64'
          ? Array.from({ length: part.length / 8 }, (_, i) => Number(part.readBigInt64LE(i * 8)))
          : Array.from({ length: part.length / 4 }, (_, i) => part.readFloatLE(i * 4));
      return { shape: entry.shape, values };
    },
  };
}

interface Case {
  readonly index: number;
  readonly width: number;
  readonly height: number;
  readonly resolution: number;
  readonly background: Rgb;
  readonly mean: Rgb;
  readonly std: Rgb;
  readonly tower: string;
}

const imageOf = ({ shape: [height = 0, width = 0], values }: Stored): Image => ({
  width,
  height,
  rgb: Uint8Array.from(values),
});
const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? NaN))), 0);
};

describe("Cambrian-1's preprocessing (Pillow 9.4)", () => {
  const golden = readGolden('cambrian/preprocess.safetensors');
  const cases = golden.config.cases ?? [];
  it('has cases', () => expect(cases).toHaveLength(4));
  it.each(cases)('$tower: $width × $height to $resolution', ({ index, resolution, background, mean, std }) => {
    const square = expandToSquare(imageOf(golden.tensor(`input.rgb_${index}`)), background);
    expect([...square.rgb]).toEqual(golden.tensor(`output.square_${index}`).values);
    const resized = resizePillow(square, resolution, resolution);
    expect([...resized.rgb]).toEqual(golden.tensor(`output.resized_${index}`).values);
    expect(largest(normalize(resized, mean, std), golden.tensor(`output.chw_${index}`).values)).toBeLessThanOrEqual(
      1e-6,
    );
  });
});

describe("the processors' outputs in half precision (Pillow 12.3)", () => {
  const golden = readGolden('models/preprocess.safetensors');
  const clip: [Rgb, Rgb] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
  ];
  const dino: [Rgb, Rgb] = [
    [0.485, 0.456, 0.406],
    [0.229, 0.224, 0.225],
  ];
  const half: [Rgb, Rgb] = [
    [0.5, 0.5, 0.5],
    [0.5, 0.5, 0.5],
  ];
  // SigLIP is normalised with 0.5 but padded with CLIP's mean (specs of Cambrian-1, §3).
  const towers = { clip: [clip, clip], convnext: [clip, clip], dinov2: [dino, dino], siglip: [half, clip] } as const;
  it.each(
    ['small', 'tall', 'wide'].flatMap((tag) => Object.entries(towers).map(([tower, way]) => ({ tag, tower, way }))),
  )('$tag for $tower', ({ tag, tower, way: [[mean, std], [padded]] }) => {
    const size = golden.config.sizes?.[tower] ?? 0;
    const resized = resizePillow(
      expandToSquare(imageOf(golden.tensor(`input.image_${tag}`)), backgroundOf(padded)),
      size,
      size,
    );
    const got = normalize(resized, mean, std);
    const want = golden.tensor(`output.${tag}.${tower}`).values;
    // One unit in the last place of f16 for the rounding of the stored value; a byte too many would be five times that.
    const off = want.filter(
      (w, i) => Math.abs(w - (got[i] ?? NaN)) > Math.max(2 ** -14, 2 ** (Math.floor(Math.log2(Math.abs(w))) - 10)),
    );
    expect(off).toEqual([]);
    expect(got).toHaveLength(want.length);
  });
});

describe("Pillow's own test cases (Tests/test_image_resample.py)", () => {
  // Two bright and two dark squares; the expected top left quarter, the rest follows by symmetry.
  const rows: readonly { filter: Filter; from: number; to: number; quarter: string }[] = [
    { filter: 'bilinear', from: 8, to: 4, quarter: 'e1c9 c9b7' },
    { filter: 'bicubic', from: 12, to: 6, quarter: 'e1e3d4 e3e5d6 d4d6c9' },
    { filter: 'lanczos', from: 16, to: 8, quarter: 'e1e0e4d7 e0dfe3d6 e4e3e7da d7d6d9ce' },
    { filter: 'bilinear', from: 2, to: 4, quarter: 'e1b0 b098' },
    { filter: 'bicubic', from: 4, to: 8, quarter: 'e1e5eeb9 e5e9f3bc eef3fdc1 b9bcc1a2' },
    {
      filter: 'lanczos',
      from: 6,
      to: 12,
      quarter: 'e1e0dbedf5b8 e0dfdaecf3b7 dbdbd6e7eeb5 edece6fbffbf f5f4eeffffc4 b8b7b4bfc4a0',
    },
  ];
  it.each(rows)('$filter from $from to $to', ({ filter, from, to, quarter }) => {
    const rgb = Uint8Array.from({ length: from * from * 3 }, (_, i) => {
      const [x, y] = [Math.trunc(i / 3) % from, Math.trunc(i / 3 / from)];
      return x < from / 2 === y < from / 2 ? 0xe1 : 255 - 0xe1;
    });
    const out = resizePillow({ width: from, height: from, rgb }, to, to, filter);
    const want = quarter.split(' ').map((row) => [...Buffer.from(row, 'hex')]);
    for (let y = 0; y < to; y++) {
      for (let x = 0; x < to; x++) {
        const [mx, my] = [Math.min(x, to - 1 - x), Math.min(y, to - 1 - y)];
        const value = want[my]?.[mx] ?? NaN;
        const expected = x < to / 2 === y < to / 2 ? value : 255 - value;
        expect([...out.rgb.subarray((y * to + x) * 3, (y * to + x) * 3 + 3)], `${x} ${y}`).toEqual([
          expected,
          expected,
          expected,
        ]);
      }
    }
  });
});

describe('resizing', () => {
  it('keeps a flat colour whatever the sizes', () => {
    const size = fc.integer({ min: 1, max: 40 });
    const byte = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(
        size,
        size,
        size,
        size,
        fc.tuple(byte, byte, byte),
        fc.constantFrom<Filter[]>('bilinear', 'bicubic', 'lanczos'),
        (w, h, tw, th, colour, filter) => {
          const image = {
            width: w,
            height: h,
            rgb: Uint8Array.from({ length: w * h * 3 }, (_, i) => colour[i % 3] ?? 0),
          };
          const out = resizePillow(image, tw, th, filter);
          return (
            out.width === tw &&
            out.height === th &&
            out.rgb.length === tw * th * 3 &&
            out.rgb.every((v, i) => v === colour[i % 3])
          );
        },
      ),
      { numRuns: 200 },
    );
  });
  it('mirrors with the image, up to one level where the edge of a window is rounded', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 24 }),
        fc.uint8Array({ minLength: 12 * 3 * 3, maxLength: 12 * 3 * 3 }),
        (width, to, noise) => {
          const image = { width, height: 3, rgb: noise.subarray(0, width * 9) };
          const [a, b] = [mirror(resizePillow(image, to, 5)), resizePillow(mirror(image), to, 5)];
          return a.rgb.every((v, i) => Math.abs(v - (b.rgb[i] ?? NaN)) <= 1);
        },
      ),
      { numRuns: 100 },
    );
  });
  it('refuses a size that is none', () => {
    const image = { width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) };
    for (const size of [0, -1, 1.5, NaN]) expect(() => resizePillow(image, size, 4)).toThrow(/cannot be resized/);
    expect(() => resizePillow(image, 16_000, 16_000)).toThrow(/cannot be resized/);
    expect(() => resizePillow({ width: 2, height: 2, rgb: new Uint8Array(3) }, 1, 1)).toThrow(/12 bytes of RGB, not 3/);
  });
});

function mirror(image: Image): Image {
  const rgb = image.rgb.slice();
  for (let i = 0; i < image.width * image.height; i++) {
    const [x, y] = [i % image.width, Math.trunc(i / image.width)];
    rgb.set(image.rgb.subarray(i * 3, i * 3 + 3), (y * image.width + image.width - 1 - x) * 3);
  }
  return { ...image, rgb };
}

describe('normalize', () => {
  const image = { width: 2, height: 1, rgb: Uint8Array.of(0, 51, 102, 153, 204, 255) };
  it('lays channels out as asked', () => {
    expect([...normalize(image, [0, 0, 0], [1, 1, 1], 'chw')]).toEqual([0, 0.6, 0.2, 0.8, 0.4, 1].map(Math.fround));
    expect([...normalize(image, [0, 0, 0], [1, 1, 1], 'hwc')]).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1].map(Math.fround));
  });
  it('refuses a deviation of zero', () =>
    expect(() => normalize(image, [0, 0, 0], [1, 0, 1])).toThrow(/standard deviation/));
});

describe('decodeImage', () => {
  const pixels = { width: 5, height: 4, rgb: Uint8Array.from({ length: 60 }, (_, i) => (i * 37) % 256) };
  const raw = sharp(pixels.rgb, { raw: { width: 5, height: 4, channels: 3 } });
  it('reads the shipped photograph', async () => {
    const image = await decodeImage(new URL('../../examples/photos/chelsea.png', import.meta.url).pathname);
    expect([image.width, image.height, image.rgb.length]).toEqual([451, 300, 451 * 300 * 3]);
  });
  it('gives back the very bytes of a PNG and of a lossless WebP', async () => {
    expect(await decodeImage(await raw.clone().png().toBuffer())).toEqual(pixels);
    expect(await decodeImage(await raw.clone().webp({ lossless: true }).toBuffer())).toEqual(pixels);
  });
  it('drops alpha without blending and widens grey', async () => {
    const clear = await sharp(Uint8Array.of(10, 20, 30, 0), { raw: { width: 1, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect([...(await decodeImage(clear)).rgb]).toEqual([10, 20, 30]);
    const grey = await sharp(Uint8Array.of(7, 200), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect([...(await decodeImage(grey)).rgb]).toEqual([7, 7, 7, 200, 200, 200]);
  });
  it('cuts 16 bits of grey off, also where one value of it is transparent', async () => {
    const chunk = (type: string, data: Uint8Array): Buffer => {
      const body = Buffer.concat([Buffer.from(type), data]);
      const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
      length.writeUInt32BE(data.length);
      sum.writeUInt32BE(crc32(body));
      return Buffer.concat([length, body, sum]);
    };
    // Two pixels of one row, 300 and 7; 300 is what is transparent.
    const png = Buffer.concat([
      Buffer.from('89504e470d0a1a0a', 'hex'),
      chunk('IHDR', Buffer.from('00000002000000011000000000', 'hex')),
      chunk('tRNS', Buffer.from('012c', 'hex')),
      chunk('IDAT', deflateSync(Buffer.from('00012c0007', 'hex'))),
      chunk('IEND', Buffer.alloc(0)),
    ]);
    expect([...(await decodeImage(png)).rgb]).toEqual([255, 255, 255, 7, 7, 7]);
  });
  it('uses the first frame of an animation and says so', async () => {
    const still = (v: number) =>
      sharp({ create: { width: 3, height: 2, channels: 3, background: { r: v, g: v, b: v } } })
        .png()
        .toBuffer();
    const frames = await sharp([await still(0), await still(90)], { join: { animated: true } })
      .webp({ lossless: true })
      .toBuffer();
    const notes: string[] = [];
    const image = await decodeImage(frames, { name: 'cat.webp', note: (text) => notes.push(text) });
    expect([image.width, image.height, image.rgb[0]]).toEqual([3, 2, 0]);
    expect(notes).toEqual(['cat.webp is an animation of 2 frames; the first one is used']);
  });
  it('refuses what is not a photograph', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>';
    await expect(decodeImage(Buffer.from(svg))).rejects.toThrow(
      /is not a JPEG, PNG or WebP image: it begins with 3c 73 76 67/,
    );
    await expect(decodeImage(await raw.clone().gif().toBuffer())).rejects.toThrow(/not a JPEG, PNG or WebP/);
    await expect(decodeImage(new Uint8Array(0))).rejects.toThrow(/it is empty/);
    await expect(decodeImage('no/such/file.png')).rejects.toThrow(/no\/such\/file.png could not be read/);
  });
  it('refuses a damaged file', async () => {
    const whole = await sharp(
      Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7919) % 251),
      { raw: { width: 64, height: 64, channels: 3 } },
    )
      .png()
      .toBuffer();
    await expect(decodeImage(whole.subarray(0, whole.length >> 1), { name: 'half.png' })).rejects.toThrow(
      /half.png could not be decoded/,
    );
  });
  it('refuses a bomb by its header', async () => {
    const bomb = Buffer.from(await raw.clone().png().toBuffer());
    bomb.writeUInt32BE(16_000, 16);
    bomb.writeUInt32BE(16_000, 20);
    bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
    expect(16_000 * 16_000).toBeGreaterThan(pixelLimit);
    await expect(decodeImage(bomb, { name: 'bomb.png' })).rejects.toThrow(
      /bomb.png has 16000 × 16000 pixels, more than the 50 million/,
    );
  });
});
