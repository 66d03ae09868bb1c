// Parts of pictures around their centre, on black where they reach beyond.
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
