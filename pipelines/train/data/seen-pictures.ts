// What a step reads of pictures: maps of towers that are frozen, or the pixels of towers that learn.
import type { MapShape } from '../../../models/connectors/connector.ts';
import type { Image } from '../../../runtime/image/image.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import type { Features } from './feature-cache.ts';

/** A picture by the key of its bytes. */
export interface SeenPicture {
  readonly key: string;
  readonly image: Image;
}

export interface Sight {
  /** Names of the inputs, `{input}_{k}`, and what each holds of one picture. */
  readonly input: 'features' | 'pixels';
  readonly shapes: readonly MapShape[];
  /** Values of pictures, in order; what stands for undefined, a sample without one, is pixels of zero. */
  readonly see: (pictures: readonly (SeenPicture | undefined)[]) => Promise<readonly Features[]>;
}

/** Towers that learn: nothing of a picture can be kept from one step to the next. */
export function pixelSight(
  sides: readonly number[],
  inputs: (image: Image) => Readonly<Record<string, Float32Array>>,
): Sight {
  return {
    input: 'pixels',
    shapes: sides.map((side) => [side, side, 3] as const),
    see: async (pictures) =>
      pictures.map((picture) => {
        const made = picture === undefined ? {} : inputs(picture.image);
        return sides.map((side, k) => made[`pixels_${k}`] ?? new Float32Array(3 * side ** 2));
      }),
  };
}

/** What is seen in a batch, as the inputs of a step. */
export function sightInputs(
  { input, shapes }: Pick<Sight, 'input' | 'shapes'>,
  seen: readonly Features[],
): ReadonlyMap<string, Numbers> {
  return new Map(
    shapes.map(([rows, columns, channels], k) => {
      const each = rows * columns * channels;
      const values = new Float32Array(seen.length * each);
      seen.forEach((one, i) => values.set(one[k] ?? [], i * each));
      return [`${input}_${k}`, values] as const;
    }),
  );
}
