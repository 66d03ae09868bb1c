// Idefics 3 and SmolVLM cut a picture into tiles of the tower's size, the whole of it behind them (`SmolVLMImageProcessor` of transformers).
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { resizePillow, type Filter, type Image } from './image.ts';

export interface SplitRules {
  /** The longest edge is brought to it first. */
  readonly longest: number;
  /** Side of a tile. */
  readonly tile: number;
  /** Whether pictures are split; else each is brought to one tile. */
  readonly split: boolean;
  readonly filter: Filter;
}

const schema = z.looseObject({
  size: z.looseObject({ longest_edge: z.int().min(1).max(16_384) }).nullish(),
  max_image_size: z.looseObject({ longest_edge: z.int().min(1).max(4_096) }).nullish(),
  do_image_splitting: z.boolean().nullish(),
  do_resize: z.boolean().nullish(),
});

/** What the processor's own fields ask for; absent ones have the class's values. Throws `OpabiniaError`. */
export function readSplit(json: unknown, where: string, filter: Filter): SplitRules {
  const own: unknown =
    typeof json === 'object' && json !== null && 'image_processor' in json ? json.image_processor : json;
  const read = schema.safeParse(own);
  if (!read.success || read.data.do_resize === false)
    throw new OpabiniaError(
      `${where} ${read.success ? 'does not resize' : `is wrong at '${(read.error.issues[0]?.path ?? []).join('.')}'`}`,
      {
        op: 'preprocess',
        advice: 'the file is damaged, or of another processor: size and max_image_size have longest_edge',
      },
    );
  const { size, max_image_size: tile, do_image_splitting: split } = read.data;
  return { longest: size?.longest_edge ?? 4 * 364, tile: tile?.longest_edge ?? 364, split: split ?? true, filter };
}

export interface SplitPicture {
  /** Tiles row by row, then the whole. One picture where it is not split: rows and columns are 0 then. */
  readonly views: number;
  readonly rows: number;
  readonly columns: number;
  /** All of them; made when they are asked for. */
  readonly images: () => readonly Image[];
}

/** Sizes in whole pixels as the original rounds them: up to an even one, then up to whole tiles. */
export function splitPicture(image: Image, { longest, tile, split, filter }: SplitRules): SplitPicture {
  const [height, width] = longestSize(image, longest);
  const first = (): Image => resizePillow(image, width, height, filter);
  if (!split) return { views: 1, rows: 0, columns: 0, images: () => [resizePillow(first(), tile, tile, filter)] };
  const aspect = width / height;
  const whole = (size: number): number => Math.ceil(size / tile) * tile;
  const [tall, wide] =
    width >= height
      ? [whole(Math.trunc(whole(width) / aspect)), whole(width)]
      : [whole(height), whole(Math.trunc(whole(height) * aspect))];
  const resized = (): Image => resizePillow(first(), wide, tall, filter);
  if (tall <= tile && wide <= tile) return { views: 1, rows: 0, columns: 0, images: () => [resized()] };
  const [rows, columns] = [tall / tile, wide / tile];
  return {
    views: rows * columns + 1,
    rows,
    columns,
    images: () => {
      const picture = resized();
      const tiles = Array.from({ length: rows * columns }, (_, i) =>
        cut(picture, Math.floor(i / columns) * tile, (i % columns) * tile, tile),
      );
      return [...tiles, resizePillow(picture, tile, tile, filter)];
    },
  };
}

/** No larger than this, whatever a file asks for. */
const largest = 4_096;

function longestSize({ width, height }: Image, longest: number): readonly [height: number, width: number] {
  const even = (size: number): number => Math.max(1, size + (size % 2));
  const aspect = width / height;
  const [tall, wide] =
    width >= height ? [even(Math.trunc(longest / aspect)), longest] : [longest, even(Math.trunc(longest * aspect))];
  const ratio = wide / tall;
  if (wide >= tall && wide > largest) return [Math.max(1, Math.trunc(largest / ratio)), largest];
  if (tall > wide && tall > largest) return [largest, Math.max(1, Math.trunc(largest * ratio))];
  return [tall, wide];
}

function cut(image: Image, top: number, left: number, side: number): Image {
  const rgb = new Uint8Array(side * side * 3);
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * image.width + left) * 3;
    rgb.set(image.rgb.subarray(from, from + side * 3), y * side * 3);
  }
  return { width: side, height: side, rgb };
}
