// What `test/golden/whole/judge.py` writes, and the pictures that it makes.
import type { Image } from '../../runtime/image/image.ts';

export interface WholeGolden {
  readonly question: string;
  readonly cases: readonly {
    readonly pictures: readonly { readonly width: number; readonly height: number }[];
    readonly ids: readonly number[];
    readonly tokens: readonly number[];
    /** Of each token at least, before the next likeliest. */
    readonly lead: number;
    readonly logits: readonly number[];
  }[];
}

/** The ramp of `judge.py`. */
export function ramp({ width, height }: { readonly width: number; readonly height: number }): Image {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [pixel, channel] = [Math.floor(i / 3), i % 3];
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    return (x * (3 + channel) + y * (7 - 2 * channel) + Math.floor((x * y) / 5) * (channel + 1)) % 256;
  });
  return { width, height, rgb };
}
