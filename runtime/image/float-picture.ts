// Pictures of a processor that scales them before it resizes them: numbers, which nothing rounds to bytes (DINOv3's).
import type { Image, Rgb } from './image.ts';
import { resampleExactly, type Filter, type Size, type Window } from './resample.ts';

/**
 * Bytes resized to `to`, of which `shown` is made, in the middle of `crop`, around it zeros; times `scale`, minus `mean`, over `std`.
 */
export function floatPicture(
  image: Image,
  options: {
    readonly to: Size;
    readonly shown: Window;
    readonly crop: Size;
    /** Of the first pixel of `shown` in `crop`. */
    readonly at: { readonly left: number; readonly top: number };
    readonly filter: Filter;
    readonly scale: number;
    readonly mean: Rgb;
    readonly std: Rgb;
    readonly layout: 'chw' | 'hwc';
  },
): Float32Array {
  const { to, shown, crop, at, filter, scale, mean, std, layout } = options;
  const count = crop.width * crop.height;
  const resized = resampleExactly(image.rgb, image, to, 3, filter, shown);
  return Float32Array.from({ length: count * 3 }, (_, i) => {
    const [pixel, c] = layout === 'hwc' ? [Math.floor(i / 3), i % 3] : [i % count, Math.floor(i / count)];
    const [x, y] = [(pixel % crop.width) - at.left, Math.floor(pixel / crop.width) - at.top];
    const inside = x >= 0 && x < shown.width && y >= 0 && y < shown.height;
    const value = inside ? (resized[(y * shown.width + x) * 3 + c] ?? 0) * scale : 0;
    return (value - (mean[c] ?? 0)) / (std[c] ?? 1);
  });
}
