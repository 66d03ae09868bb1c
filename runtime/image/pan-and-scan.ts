// Gemma 3 shows a long picture whole and cut into pieces along its longer side (`Gemma3ImageProcessor.pan_and_scan` of transformers).
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Image } from './image.ts';

export interface PanAndScan {
  /** Side of a crop at least, in pixels; no picture is cut smaller. */
  readonly least: number;
  readonly mostCrops: number;
  /** Longer side over shorter one from which on a picture is cut. */
  readonly ratio: number;
}

const schema = z.looseObject({
  do_pan_and_scan: z.boolean().nullish(),
  pan_and_scan_min_crop_size: z.int().min(1).max(16_384).nullish(),
  pan_and_scan_max_num_crops: z.int().min(1).max(64).nullish(),
  pan_and_scan_min_ratio_to_activate: z.number().min(1).max(1_000).nullish(),
});

/** Undefined where the processor shows whole pictures alone; absent fields have the class's values. Throws `OpabiniaError`. */
export function readPanAndScan(json: unknown, where: string): PanAndScan | undefined {
  const own: unknown =
    typeof json === 'object' && json !== null && 'image_processor' in json ? json.image_processor : json;
  const read = schema.safeParse(own);
  if (!read.success)
    throw new OpabiniaError(
      `${where} is wrong at '${(read.error.issues[0]?.path ?? []).join('.')}': ${read.error.issues[0]?.message ?? ''}`,
      { op: 'preprocess', advice: 'the file is damaged, or of a processor that is not known' },
    );
  if (read.data.do_pan_and_scan !== true) return undefined;
  return {
    least: read.data.pan_and_scan_min_crop_size ?? 256,
    mostCrops: read.data.pan_and_scan_max_num_crops ?? 4,
    ratio: read.data.pan_and_scan_min_ratio_to_activate ?? 1.2,
  };
}

export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The pieces of a picture, in order; none where it is not long enough, or the pieces would be too small. */
export function cropsOf({ width, height }: Pick<Image, 'width' | 'height'>, rules: PanAndScan): readonly Crop[] {
  const [long, short] = width >= height ? [width, height] : [height, width];
  if (long / short < rules.ratio) return [];
  const near = Math.min(Math.floor(long / rules.least), Math.floor(long / short + 0.5));
  const count = Math.min(rules.mostCrops, Math.max(2, near));
  const size = Math.ceil(long / count);
  if (Math.min(size, short) < rules.least) return [];
  // The last piece is what is left, which is nothing where very small pieces are allowed.
  return Array.from({ length: count }, (_, i) => ({ at: i * size, length: Math.min(size, long - i * size) }))
    .filter(({ length }) => length > 0)
    .map(({ at, length }) =>
      width >= height ? { left: at, top: 0, width: length, height } : { left: 0, top: at, width, height: length },
    );
}

/** One piece of a picture. */
export function cropImage(image: Image, { left, top, width, height }: Crop): Image {
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3;
    rgb.set(image.rgb.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, rgb };
}
