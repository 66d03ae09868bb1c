// Pictures of any size as patches (`Qwen2VLImageProcessor` of transformers): sides brought to whole squares of merged patches, the number of
// pixels within bounds.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { normalize, resizePillow, type Filter, type Image } from './image.ts';
import type { ImageProcessor } from './preprocess.ts';

export interface PatchRules {
  readonly patch: number;
  /** Side of the squares of patches that become one token; frames of a patch. */
  readonly merge: number;
  readonly frames: number;
  /** Pixels of a picture. */
  readonly least: number;
  readonly most: number;
}

const side = z.int().min(1).max(512);
const pixels = z.int().min(1).max(268_435_456);
const schema = z.looseObject({
  patch_size: side.nullish(),
  merge_size: side.nullish(),
  temporal_patch_size: z.int().min(1).max(16).nullish(),
  min_pixels: pixels.nullish(),
  max_pixels: pixels.nullish(),
  size: z.looseObject({ shortest_edge: pixels.nullish(), longest_edge: pixels.nullish() }).nullish(),
  do_resize: z.literal(true).nullish(),
});

/** What is absent has the class's values. Throws `OpabiniaError`. */
export function readPatchRules(json: unknown, where: string): PatchRules {
  const read = schema.safeParse(json);
  if (!read.success)
    throw new OpabiniaError(`${where} is wrong at '${(read.error.issues[0]?.path ?? []).join('.')}'`, {
      op: 'preprocess',
      advice: 'the file is damaged, or of another processor',
    });
  const {
    patch_size: patch,
    merge_size: merge,
    temporal_patch_size: frames,
    size,
    min_pixels: min,
    max_pixels: max,
  } = read.data;
  const rules = {
    patch: patch ?? 14,
    merge: merge ?? 2,
    frames: frames ?? 2,
    least: min ?? size?.shortest_edge ?? 56 * 56,
    most: max ?? size?.longest_edge ?? 28 * 28 * 1280,
  };
  if (rules.least <= rules.most && rules.most >= (rules.patch * rules.merge) ** 2) return rules;
  throw new OpabiniaError(`${where} asks for pictures of ${rules.least} to ${rules.most} pixels`, {
    op: 'preprocess',
    advice: 'the most is at least the least, and a square of merged patches',
  });
}

/** Of a processor whose pictures are cut, which are not made of nearest pixels. Throws `OpabiniaError` where it asks for them. */
export function smoothFilter({ filter }: Pick<ImageProcessor, 'filter'>, where: string): Filter {
  if (filter !== 'nearest') return filter;
  throw new OpabiniaError(`${where} takes the nearest pixel, which pieces of pictures are not made with`, {
    op: 'preprocess',
    advice: 'state resample 1, 2 or 3, as the released model does',
  });
}

/** Half goes to the even number, as in Python. */
function rounded(value: number): number {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}

/** Rows and columns of patches that a picture becomes. Throws `OpabiniaError` for one over 200 times as long as wide. */
export function patchGrid(
  { width, height }: Pick<Image, 'width' | 'height'>,
  rules: PatchRules,
): readonly [number, number] {
  const { patch, merge, least, most } = rules;
  if (Math.max(width, height) / Math.min(width, height) > 200)
    throw new OpabiniaError(`a picture of ${width} × ${height} is over 200 times as long on one side`, {
      op: 'preprocess',
      advice: 'crop it',
    });
  const factor = patch * merge;
  let [tall, wide] = [rounded(height / factor) * factor, rounded(width / factor) * factor];
  if (tall * wide > most) {
    const beta = Math.sqrt((height * width) / most);
    const fit = (size: number): number => Math.max(factor, Math.floor(size / beta / factor) * factor);
    [tall, wide] = [fit(height), fit(width)];
  } else if (tall * wide < least) {
    const beta = Math.sqrt(least / (height * width));
    const fit = (size: number): number => Math.ceil((size * beta) / factor) * factor;
    [tall, wide] = [fit(height), fit(width)];
  }
  return [tall / patch, wide / patch];
}

/** `n k`: squares of merged patches row by row, patches row by row inside; channels, frames, rows, columns of each. */
export function pictureAsPatches(
  image: Image,
  [rows, columns]: readonly [number, number],
  { patch, merge, frames }: PatchRules,
  { mean, std, filter }: Pick<ImageProcessor, 'mean' | 'std'> & { readonly filter: Filter },
): Float32Array {
  const [height, width] = [rows * patch, columns * patch];
  const planes = normalize(resizePillow(image, width, height, filter), mean, std, 'chw');
  const each = 3 * frames * patch * patch;
  const out = new Float32Array(rows * columns * each);
  for (let n = 0; n < rows * columns; n++) {
    const [square, inside] = [Math.floor(n / merge ** 2), n % merge ** 2];
    const across = columns / merge;
    const row = Math.floor(square / across) * merge + Math.floor(inside / merge);
    const column = (square % across) * merge + (inside % merge);
    for (let c = 0; c < 3; c++)
      for (let frame = 0; frame < frames; frame++)
        for (let y = 0; y < patch; y++) {
          const from = (c * height + row * patch + y) * width + column * patch;
          const to = n * each + ((c * frames + frame) * patch + y) * patch;
          out.set(planes.subarray(from, from + patch), to);
        }
  }
  return out;
}
