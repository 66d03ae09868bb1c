// Parts of pictures around their centre, on black where they reach beyond; pictures above and on the left of nothing.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Image, Window } from './image.ts';

/** What a crop around the centre keeps. */
export function shownOf(
  [width, height]: readonly [width: number, height: number],
  crop: { readonly height: number; readonly width: number },
): Window {
  const [across, down] = [Math.min(width, crop.width), Math.min(height, crop.height)];
  return { left: cropOffset(width, across), top: cropOffset(height, down), width: across, height: down };
}

/** A window of an image on black; the window may reach beyond it. */
export function windowOf(image: Image, left: number, top: number, width: number, height: number): Image {
  const rgb = new Uint8Array(width * height * 3);
  const [from, to] = [Math.max(0, left), Math.min(image.width, left + width)];
  for (let y = 0; y < height && to > from; y++) {
    const row = top + y;
    if (row < 0 || row >= image.height) continue;
    rgb.set(
      image.rgb.subarray((row * image.width + from) * 3, (row * image.width + to) * 3),
      (y * width + from - left) * 3,
    );
  }
  return { width, height, rgb };
}

/** transformers' `center_crop`: offsets rounded down inside of an image, and up where it is padded with black. */
export function centreCrop(image: Image, height: number, width: number): Image {
  return windowOf(image, cropOffset(image.width, width), cropOffset(image.height, height), width, height);
}

/** Where a crop of `wanted` pixels begins in `size`; negative where it is larger. */
function cropOffset(size: number, wanted: number): number {
  return wanted <= size ? Math.floor((size - wanted) / 2) : -Math.ceil((wanted - size) / 2);
}

/** Numbers of a picture of `size` in one of `to`, in its upper left corner, the others zero. Throws `OpabiniaError` for a smaller one. */
export function padPixels(
  pixels: Float32Array,
  size: { readonly height: number; readonly width: number },
  to: { readonly height: number; readonly width: number },
  layout: 'chw' | 'hwc',
): Float32Array {
  if (size.height > to.height || size.width > to.width)
    throw new OpabiniaError(
      `a picture of ${size.height} × ${size.width} does not go into the ${to.height} × ${to.width} that pad_size states`,
      { op: 'preprocess', advice: 'pad_size is at least as large as what the size makes of pictures' },
    );
  const out = new Float32Array(to.height * to.width * 3);
  const [planes, inner] = layout === 'chw' ? [3, 1] : [1, 3];
  for (let c = 0; c < planes; c++)
    for (let y = 0; y < size.height; y++) {
      const from = (c * size.height + y) * size.width * inner;
      out.set(pixels.subarray(from, from + size.width * inner), (c * to.height + y) * to.width * inner);
    }
  return out;
}
