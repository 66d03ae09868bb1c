// From a decoded picture to the numbers a tower reads: Cambrian's own way per tower, and what a `preprocessor_config.json` asks for.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { backgroundOf, expandToSquare, normalize, resizePillow, type Filter, type Image, type Rgb } from './image.ts';
import type { Canvas } from './anyres-tiles.ts';
import { centreCrop, padPixels, shownOf } from './crop.ts';
import { floatPicture } from './float-picture.ts';
import { resizeTo } from './resize-to.ts';
import {
  inMultiples,
  keptPart,
  processorClass,
  proportionate,
  type ProcessorClass,
  type Resize,
  type Shaping,
} from './processor-classes.ts';

export type Layout = 'chw' | 'hwc';

/** How a tower of Cambrian's wants its pictures. */
export interface TowerPixels {
  readonly side: number;
  readonly mean: Rgb;
  readonly std: Rgb;
  /** Mean whose bytes fill the margins: the processor's, which need not be the one that normalises. */
  readonly padding: Rgb;
}

/**
 * Padded to a square, resized as Pillow does (bicubic), normalised. With `half`, values are those of `.half()`, as the reference
 * hands them to its towers.
 */
export function towerPicture(
  image: Image,
  { side, mean, std, padding }: TowerPixels,
  options: { readonly layout?: Layout; readonly half?: boolean } = {},
): Float32Array {
  const square = expandToSquare(image, backgroundOf(padding));
  const pixels = normalize(resizePillow(square, side, side), mean, std, options.layout ?? 'hwc');
  return options.half === true ? Float32Array.from(pixels, Math.f16round) : pixels;
}

/**
 * Throws `OpabiniaError` for a picture so long that, padded to a square, no token of a `side × side` grid shows it: the reference then
 * gives the language model no image at all, and says nothing.
 */
export function checkAspectRatio(
  image: { readonly width: number; readonly height: number },
  side: number,
  name: string,
): void {
  const [long, short] = [Math.max(image.width, image.height), Math.min(image.width, image.height)];
  // The reference's own order of operations; it decides by a rounding.
  const shown = Math.trunc(short * (side / long));
  if (side - 2 * Math.floor((side - shown) / 2) > 0) return;
  throw new OpabiniaError(
    `${name} is ${image.width} × ${image.height}, ${(long / short).toFixed(1)} times as long as it is ${image.width >= image.height ? 'high' : 'wide'}: no token of the ${side} × ${side} grid would show it`,
    {
      op: 'preprocess',
      advice: `crop it to less than ${side} times`,
    },
  );
}

// ---- preprocessor_config.json -----------------------------------------------------------------------------------------

/** Pillow's codes. */
const filters: Readonly<Record<number, Filter | 'nearest'>> = {
  0: 'nearest',
  1: 'lanczos',
  2: 'bilinear',
  3: 'bicubic',
};

export interface ImageProcessor extends Shaping {
  /** Pad to a square first, with the bytes of `mean`. */
  readonly square: boolean;
  readonly filter: Filter | 'nearest';
  /** Scaled first, and not rounded to bytes when it is resized. */
  readonly inFloat: boolean;
  readonly scale: number;
  readonly mean: Rgb;
  readonly std: Rgb;
  /** Zeros below the normalised picture and on its right, up to this size. */
  readonly pad: { readonly height: number; readonly width: number } | undefined;
  /** LLaVA-NeXT's `image_grid_pinpoints`, where the file states them. */
  readonly canvases: readonly Canvas[] | undefined;
}

const side = z.int().min(1).max(16_384);
/** Height and width, as `get_size_dict` of transformers takes a list. */
const sides = z
  .tuple([side, side])
  .transform(([height, width]) => ({ height, width, shortest_edge: undefined, longest_edge: undefined }));
/** Known to change pictures, and not made here. */
const off = z.literal(false).nullish();
const channels = z.union([z.tuple([z.number(), z.number(), z.number()]), z.number()]);
const schema = z.looseObject({
  do_resize: z.boolean().nullish(),
  do_center_crop: z.boolean().nullish(),
  do_rescale: z.boolean().nullish(),
  do_normalize: z.boolean().nullish(),
  do_pad: z.boolean().nullish(),
  size: z
    .union([
      side,
      sides,
      z.looseObject({
        shortest_edge: side.nullish(),
        longest_edge: side.nullish(),
        height: side.nullish(),
        width: side.nullish(),
      }),
    ])
    .nullish(),
  crop_size: z.union([side, sides, z.looseObject({ height: side, width: side })]).nullish(),
  image_grid_pinpoints: z
    .array(z.tuple([side, side]))
    .max(64)
    .nullish(),
  resample: z.int().nullish(),
  rescale_factor: z.number().positive().max(1).nullish(),
  image_mean: channels.nullish(),
  image_std: channels.nullish(),
  do_flip_channel_order: off,
  do_crop_margin: off,
  do_align_long_axis: off,
  do_thumbnail: off,
  do_affine_pad: off,
  rescale_offset: off,
  crop_to_patches: off,
  keep_aspect_ratio: z.boolean().nullish(),
  ensure_multiple_of: side.nullish(),
  size_divisor: side.nullish(),
  pad_size: z.union([sides, z.looseObject({ height: side, width: side })]).nullish(),
  crop_pct: z.number().positive().max(1).nullish(),
  image_processor_type: z.string().max(80).nullish(),
  feature_extractor_type: z.string().max(80).nullish(),
});
type Fields = z.infer<typeof schema>;

/**
 * What is absent has the values of the class that the file names; of `CLIPImageProcessor` where it names none that is known. A picture is padded to a square where `square` says so, or by itself where the
 * file is of LLaVA's own processor and has `do_pad`. Throws `OpabiniaError` for what is not understood: a wrong picture would be
 * answered about.
 */
export function readProcessor(
  json: unknown,
  where: string,
  options: { readonly square?: boolean } = {},
): ImageProcessor {
  const refuse = (what: string, advice: string) => new OpabiniaError(`${where} ${what}`, { op: 'preprocess', advice });
  // processor_config.json of transformers 5 holds it one level below.
  const own: unknown =
    typeof json === 'object' && json !== null && 'image_processor' in json ? json.image_processor : json;
  const read = schema.safeParse(own);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw refuse(
      `is wrong at '${(issue?.path ?? []).join('.')}': ${issue?.message ?? ''}`,
      'the file is damaged, or of a processor that is not known',
    );
  }
  const fields = read.data;
  const otherwise = processorClass(fields.image_processor_type ?? fields.feature_extractor_type);
  const filter = filters[fields.resample ?? otherwise.resample];
  // Bytes that nobody scales are resized as bytes.
  const inFloat = otherwise.inFloat === true && fields.do_rescale !== false;
  if (filter === undefined || (inFloat && filter === 'nearest'))
    throw refuse(
      `asks for resampling ${String(fields.resample)}`,
      `known are ${Object.entries(filters)
        .filter(([, name]) => !inFloat || name !== 'nearest')
        .map(([code, name]) => `${code} (${name})`)
        .join(', ')}`,
    );
  if (fields.do_pad === true && typeof fields.size_divisor === 'number')
    throw refuse(
      `pads pictures to multiples of ${fields.size_divisor}`,
      'known are pictures of one size: set do_pad to false',
    );
  const resize = fields.do_resize === false ? undefined : shapedSize(fields, otherwise, refuse);
  return {
    square:
      options.square ?? (fields.do_pad === true && /^LlavaImageProcessor/.test(fields.image_processor_type ?? '')),
    filter,
    inFloat,
    ...(resize?.kind === 'shortest' && otherwise.cropPart !== undefined
      ? keptPart(resize.edge, fields.crop_pct ?? otherwise.cropPart)
      : { resize, crop: cropOf(fields, otherwise) }),
    pad: padOf(fields, otherwise),
    canvases: fields.image_grid_pinpoints ?? undefined,
    scale: fields.do_rescale === false ? 1 : (fields.rescale_factor ?? 1 / 255),
    ...(fields.do_normalize === false
      ? { mean: [0, 0, 0], std: [1, 1, 1] }
      : {
          mean: triple(fields.image_mean, otherwise.mean),
          std: checkedStd(triple(fields.image_std, otherwise.std), refuse),
        }),
  };
}

type Refuse = (what: string, advice: string) => OpabiniaError;

function cropOf({ do_center_crop: wanted, crop_size: size }: Fields, otherwise: ProcessorClass): Shaping['crop'] {
  const side = size ?? otherwise.crop;
  const cuts = wanted ?? otherwise.cuts ?? (size !== undefined && size !== null);
  if (!cuts || side === undefined) return undefined;
  return typeof side === 'number' ? { height: side, width: side } : side;
}

function padOf({ do_pad: wanted, pad_size: size }: Fields, { padTo }: ProcessorClass): ImageProcessor['pad'] {
  if (!(wanted ?? padTo !== undefined)) return undefined;
  if (size !== undefined && size !== null) return { height: size.height, width: size.width };
  return padTo === undefined ? undefined : { height: padTo, width: padTo };
}

function readSize(size: Fields['size'], otherwise: ProcessorClass, refuse: Refuse): Resize {
  if (size === undefined || size === null) return otherwise.size;
  if (typeof size === 'number')
    return otherwise.bothSides ? { kind: 'exact', height: size, width: size } : { kind: 'shortest', edge: size };
  const { shortest_edge: edge, longest_edge: longest, height, width } = size;
  if (otherwise.padTo !== undefined && typeof longest === 'number') return { kind: 'longest', edge: longest };
  if (typeof height === 'number' && typeof width === 'number') return { kind: 'exact', height, width };
  if (typeof edge === 'number' && Object.keys(size).every((key) => key === 'shortest_edge'))
    return { kind: 'shortest', edge };
  throw refuse(`asks for the size ${JSON.stringify(size)}`, 'known are shortest_edge, and height with width');
}

/** `readSize`, and what DPT makes of it; of another class nobody knows what it does with proportions and multiples. */
function shapedSize(fields: Fields, otherwise: ProcessorClass, refuse: Refuse): Resize {
  const size = readSize(fields.size, otherwise, refuse);
  const { keep_aspect_ratio: keeps, ensure_multiple_of: step } = fields;
  const multiple = step ?? 1;
  const isKnown = otherwise.inMultiples === true && size.kind === 'exact';
  if (isKnown) return keeps === true ? { ...size, kind: 'nearest', multiple } : inMultiples(size, multiple);
  if (keeps === true)
    throw refuse(
      'asks for keep_aspect_ratio',
      'known is that of DPT, with a height and a width: set it to false, and a picture is made as wide and as high as the size says',
    );
  if (size.kind === 'exact' && (size.height % multiple) + (size.width % multiple) > 0)
    throw refuse(
      `asks for multiples of ${multiple}`,
      `make the size that it states, ${size.height} × ${size.width}, one`,
    );
  return size;
}

function triple(value: readonly [number, number, number] | number | null | undefined, otherwise: Rgb): Rgb {
  if (typeof value === 'number') return [value, value, value];
  return value ?? otherwise;
}

function checkedStd(std: Rgb, refuse: Refuse): Rgb {
  if (std.some((value) => !(value > 0)))
    throw refuse(`divides by the standard deviation [${std.join(', ')}]`, 'three positive numbers');
  return std;
}

/** The size of what a processor makes of every picture; undefined where it depends on the picture. */
export function processedSize({
  square,
  resize,
  crop,
  pad,
}: ImageProcessor): { readonly height: number; readonly width: number } | undefined {
  if (pad !== undefined || crop !== undefined) return pad ?? crop;
  if (resize?.kind === 'exact') return { height: resize.height, width: resize.width };
  // The scale that is nearer to 1 is that of either side only where both are the same.
  if (square && resize?.kind === 'nearest')
    return resize.height === resize.width ? proportionate(resize, resize) : undefined;
  return square && resize?.kind === 'shortest' ? { height: resize.edge, width: resize.edge } : undefined;
}

export interface Picture {
  readonly height: number;
  readonly width: number;
  readonly pixels: Float32Array;
}

/** One picture through a processor: pad, resize, crop around the centre, scale, normalise. Throws `OpabiniaError` for one that outgrows its padding. */
export function processPicture(image: Image, processor: ImageProcessor, layout: Layout = 'hwc'): Picture {
  const { pad } = processor;
  const made = withoutPadding(image, processor, layout);
  return pad === undefined ? made : { ...pad, pixels: padPixels(made.pixels, made, pad, layout) };
}

function withoutPadding(image: Image, processor: ImageProcessor, layout: Layout): Picture {
  const { square, resize, filter, crop, scale, mean, std } = processor;
  const padded = square ? expandToSquare(image, backgroundOf(mean)) : image;
  const to = resize === undefined ? undefined : target(padded, resize);
  if (processor.inFloat && filter !== 'nearest' && to !== undefined) {
    const [width, height] = to;
    const whole = crop ?? { width, height };
    const shown = shownOf(to, whole);
    // torchvision rounds down here as well.
    const at = {
      left: Math.floor((whole.width - shown.width) / 2),
      top: Math.floor((whole.height - shown.height) / 2),
    };
    const pixels = floatPicture(padded, {
      to: { width, height },
      shown,
      crop: whole,
      at,
      filter,
      scale,
      mean,
      std,
      layout,
    });
    return { height: whole.height, width: whole.width, pixels };
  }
  const cropped = resizeAndCrop(padded, to, crop, filter);
  // `normalize` divides by 255: another scale goes into mean and deviation, (b·s − m)/d = (b/255 − m/(255·s)) / (d/(255·s)).
  const by = 255 * scale;
  const pixels =
    Math.abs(by - 1) < 1e-6
      ? normalize(cropped, mean, std, layout)
      : normalize(cropped, [mean[0] / by, mean[1] / by, mean[2] / by], [std[0] / by, std[1] / by, std[2] / by], layout);
  return { height: cropped.height, width: cropped.width, pixels };
}

function target(image: Image, resize: Resize): readonly [width: number, height: number] {
  if (resize.kind === 'exact') return [resize.width, resize.height];
  const { width, height } = image;
  if (resize.kind === 'nearest') {
    const { height, width } = proportionate(image, resize);
    if (height > 0 && width > 0) return [width, height];
    throw new OpabiniaError(
      `a picture of ${image.width} × ${image.height} is nothing in multiples of ${resize.multiple}`,
      { op: 'preprocess', advice: 'crop it: it is too long for its processor' },
    );
  }
  if (resize.kind === 'longest') {
    const by = resize.edge / Math.max(width, height);
    return [Math.max(1, Math.trunc(width * by + 0.5)), Math.max(1, Math.trunc(height * by + 0.5))];
  }
  const long = Math.trunc((resize.edge * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [resize.edge, long] : [long, resize.edge];
}

/**
 * Only what the crop keeps is made: a line of 1,000 × 1 pixels, resized to a shortest edge of 336, would be 336,000 × 336, of which
 * 336 × 336 stay.
 */
function resizeAndCrop(
  image: Image,
  to: readonly [width: number, height: number] | undefined,
  crop: ImageProcessor['crop'],
  filter: Filter | 'nearest',
): Image {
  const [width, height] = to ?? [image.width, image.height];
  if (crop === undefined) return resizeTo(image, width, height, filter);
  const shown = resizeTo(image, width, height, filter, shownOf([width, height], crop));
  return centreCrop(shown, crop.height, crop.width);
}
