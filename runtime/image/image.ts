// Photographs in: decoding (sharp), padding to a square, Pillow-exact resizing, normalising. No GPU.
import sharp, { type Metadata, type Sharp } from 'sharp';
import { OpabiniaError } from '../../dsl/error.ts';
import { readRegular } from '../files/regular-file.ts';
import { resample, type Filter, type Window } from './resample.ts';
import { requireOptions, said } from '../../dsl/graph/required.ts';

export type { Filter, Window } from './resample.ts';

/** 8-bit RGB, rows from the top, three bytes a pixel: `rgb.length === height * width * 3`. */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

export type Rgb = readonly [number, number, number];

/** More pixels than this are refused from the header alone, before anything is decoded. */
export const pixelLimit = 50_000_000;
/** The longest side: a line of a million pixels is not a photograph, and what is made of it is square. */
const sideLimit = 65_535;
/** Bytes of a file. */
const fileLimit = 2 ** 30;

const formats = {
  jpeg: { loader: 'VipsForeignLoadJpeg', matches: (b: Uint8Array) => starts(b, 0, [0xff, 0xd8, 0xff]) },
  png: {
    loader: 'VipsForeignLoadPng',
    matches: (b: Uint8Array) => starts(b, 0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  },
  webp: {
    loader: 'VipsForeignLoadWebp',
    matches: (b: Uint8Array) => starts(b, 0, [0x52, 0x49, 0x46, 0x46]) && starts(b, 8, [0x57, 0x45, 0x42, 0x50]),
  },
} as const;

function starts(bytes: Uint8Array, at: number, wanted: readonly number[]): boolean {
  return wanted.every((byte, i) => bytes[at + i] === byte);
}

// libvips can read far more than photographs (SVG, PDF, ImageMagick's formats): an untrusted file must not reach any of that.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({ operation: Object.values(formats).map((format) => format.loader) });

export interface DecodeOptions {
  /** How errors and notes call the image; the file's path by default. */
  readonly name?: string;
  /** Told when only a part of the file was used, e.g. the first frame of an animation. */
  readonly note?: (text: string) => void;
  /** Turned as the camera was held (EXIF orientation), as transformers' `load_image` does; Cambrian's own code does not. */
  readonly upright?: boolean;
  /** What shines through transparent pixels; by default alpha is dropped, as Pillow's `convert` does. */
  readonly background?: Rgb;
}

/**
 * The pixels of a JPEG, PNG or WebP file, or of its bytes, as `PIL.Image.open(…).convert('RGB')` gives them: alpha dropped, gray
 * widened (16 bits of gray cut off above 255), CMYK by complements, EXIF orientation and color profile ignored (`upright` turns), the
 * first frame of an animation. A JPEG with stray bytes or odd markers, as some phones write, is read as far as it goes; one that
 * ends early is refused.
 * Throws `OpabiniaError` for another format, a damaged file, and more than 50 million pixels.
 * @example const { width, height, rgb } = await decodeImage('photo.jpg')
 */
export async function decodeImage(source: string | Uint8Array, options: DecodeOptions = {}): Promise<Image> {
  if (typeof source !== 'string' && !(source instanceof Uint8Array))
    throw new OpabiniaError(`the image is ${said(source)}`, {
      op: 'decodeImage',
      advice: "give a path or the bytes of a file: decodeImage('photo.jpg')",
    });
  requireOptions('decodeImage', options, '{ upright: true }');
  const name = options.name ?? (typeof source === 'string' ? source : 'the image');
  const bytes = typeof source === 'string' ? readBytes(source) : source;
  if (!Object.values(formats).some((format) => format.matches(bytes))) {
    throw new OpabiniaError(`${name} is not a JPEG, PNG or WebP image: it begins with ${firstBytes(bytes)}`, {
      op: 'decodeImage',
      advice: 'convert it to PNG first',
    });
  }
  try {
    const header = await open(bytes, false).metadata();
    checkHeader(header, name);
    if ((header.pages ?? 1) > 1)
      options.note?.(`${name} is an animation of ${header.pages} frames; the first one is used`);
    const upright = options.upright === true ? open(bytes, pixelLimit).autoOrient() : open(bytes, pixelLimit);
    const space = spaceOf(header, bytes);
    const { background } = options;
    const opaque =
      background === undefined
        ? upright
        : upright.flatten({ background: { r: background[0], g: background[1], b: background[2] } });
    const decoded = await opaque
      .removeAlpha()
      .pipelineColourspace(space)
      .toColourspace(space)
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const { width, height, channels } = decoded.info;
    return { width, height, rgb: toRgb(decoded.data, width * height, channels) };
  } catch (cause) {
    if (cause instanceof OpabiniaError) throw cause;
    throw new OpabiniaError(
      `${name} could not be decoded: ${cause instanceof Error ? cause.message.trim() : String(cause)}`,
      {
        op: 'decodeImage',
        advice: 'check that the file is complete',
        cause,
      },
    );
  }
}

/** Warnings of the JPEG library are none of Pillow's errors; the end of the file before the end of the picture is. */
function open(bytes: Uint8Array, limit: number | false): Sharp {
  return sharp(bytes, { limitInputPixels: limit, ignoreIcc: true, failOn: 'error' });
}

function checkHeader({ width, height }: Metadata, name: string): void {
  const refuse = (what: string, advice: string): OpabiniaError =>
    new OpabiniaError(`${name} ${what}`, { op: 'decodeImage', advice });
  if (width * height > pixelLimit)
    throw refuse(
      `has ${width} × ${height} pixels, more than the ${pixelLimit / 1e6} million that are decoded`,
      'shrink it first',
    );
  if (Math.max(width, height) > sideLimit)
    throw refuse(`is ${width} × ${height} pixels, with a side of more than ${sideLimit}`, 'crop it first');
}

/** The color space in which the stored values come out as they are; libvips converts by profiles, Pillow by arithmetic. */
function spaceOf({ space, depth }: Metadata, bytes: Uint8Array): 'cmyk' | 'grey16' | 'srgb' {
  if (space === 'cmyk') return 'cmyk';
  // A PNG's kind: 0 is gray without an alpha channel; a color that is transparent looks like one.
  return depth === 'ushort' && bytes[25] === 0 ? 'grey16' : 'srgb';
}

function readBytes(path: string): Uint8Array {
  try {
    return readRegular(path, fileLimit, 'decodeImage');
  } catch (cause) {
    const why = cause instanceof OpabiniaError ? cause.what : cause instanceof Error ? cause.message : String(cause);
    const advice = cause instanceof OpabiniaError ? cause.advice : undefined;
    throw new OpabiniaError(`${path} could not be read: ${why}`, { op: 'decodeImage', cause, advice });
  }
}

function firstBytes(bytes: Uint8Array): string {
  return bytes.length === 0
    ? 'nothing, it is empty'
    : [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** One channel is gray, four are cyan, magenta, yellow and black: `clip(255 − k − ink·(255 − k)/255)`, rounded as Pillow rounds. */
function toRgb(bytes: Uint8Array, pixels: number, channels: number): Uint8Array {
  if (channels === 3) return new Uint8Array(bytes);
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0; i < rgb.length; i++) {
    const pixel = Math.trunc(i / 3) * channels;
    const value = bytes[pixel + (channels === 4 ? i % 3 : 0)] ?? 0;
    rgb[i] = channels === 4 ? complement(value, 255 - (bytes[pixel + 3] ?? 0)) : value;
  }
  return rgb;
}

function complement(ink: number, light: number): number {
  const scaled = ink * light + 128;
  return Math.max(0, light - (((scaled >> 8) + scaled) >> 8));
}

function checkImage(op: string, image: Image): void {
  const { width, height, rgb } = image;
  if (width < 1 || height < 1 || rgb.length !== width * height * 3) {
    throw new OpabiniaError(
      `an image of ${width} × ${height} pixels has ${width * height * 3} bytes of RGB, not ${rgb.length}`,
      { op },
    );
  }
}

function checkColour(op: string, what: string, colour: Rgb, ok: (value: number) => boolean): void {
  if (colour.length !== 3 || !colour.every(ok))
    throw new OpabiniaError(`${what} is [${colour.join(', ')}]`, {
      op,
      advice: 'give three numbers: red, green, blue',
    });
}

/** The padding colour that goes with a processor's mean: `int(255 · mean)` per channel. */
export function backgroundOf(mean: Rgb): Rgb {
  return [Math.trunc(mean[0] * 255), Math.trunc(mean[1] * 255), Math.trunc(mean[2] * 255)];
}

/** The image centred on a square of its longer side, the rest filled with `background` (bytes); offset ⌊(long − short)/2⌋ (Cambrian-1, `expand2square`). */
export function expandToSquare(image: Image, background: Rgb): Image {
  checkImage('expandToSquare', image);
  checkColour('expandToSquare', 'the background', background, (v) => Number.isInteger(v) && v >= 0 && v <= 255);
  const { width, height } = image;
  if (width === height) return image;
  const side = Math.max(width, height);
  if (side * side > pixelLimit)
    throw new OpabiniaError(
      `an image of ${width} × ${height} would be padded to ${side} × ${side} pixels, more than the ${pixelLimit / 1e6} million that are made`,
      { op: 'expandToSquare', advice: 'crop or shrink it first' },
    );
  const left = Math.floor((side - width) / 2);
  const top = Math.floor((side - height) / 2);
  const rgb = new Uint8Array(side * side * 3);
  for (let i = 0; i < rgb.length; i += 3) rgb.set(background, i);
  for (let y = 0; y < height; y++)
    rgb.set(image.rgb.subarray(y * width * 3, (y + 1) * width * 3), ((y + top) * side + left) * 3);
  return { width: side, height: side, rgb };
}

/** `PIL.Image.resize((width, height), filter)` of Pillow 12.3, byte for byte; of that only `window`, where one is given. */
export function resizePillow(
  image: Image,
  width: number,
  height: number,
  filter: Filter = 'bicubic',
  window: Window = { left: 0, top: 0, width, height },
): Image {
  checkImage('resizePillow', image);
  const made = window.width * window.height;
  const largest = Math.max(width, height);
  if (![width, height].every((n) => Number.isInteger(n) && n >= 1) || made > pixelLimit || largest > pixelLimit) {
    throw new OpabiniaError(`an image cannot be resized to ${width} × ${height}`, {
      op: 'resizePillow',
      advice: `give two positive integers of at most ${pixelLimit / 1e6} million pixels together`,
    });
  }
  const rgb = resample(image.rgb, image, { width, height }, 3, filter, window);
  return { width: window.width, height: window.height, rgb };
}

/** `(byte/255 − mean) / std` per channel, as `[channel, height, width]` ('chw', as PyTorch has it) or `[height, width, channel]` ('hwc'). */
export function normalize(image: Image, mean: Rgb, std: Rgb, layout: 'chw' | 'hwc' = 'chw'): Float32Array {
  checkImage('normalize', image);
  checkColour('normalize', 'the mean', mean, Number.isFinite);
  checkColour('normalize', 'the standard deviation', std, (v) => Number.isFinite(v) && v > 0);
  const pixels = image.width * image.height;
  const out = new Float32Array(pixels * 3);
  const [channelStep, pixelStep] = layout === 'chw' ? [pixels, 1] : [1, 3];
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < pixels; i++)
      out[c * channelStep + i * pixelStep] = ((image.rgb[i * 3 + c] ?? 0) / 255 - (mean[c] ?? 0)) / (std[c] ?? 1);
  }
  return out;
}
