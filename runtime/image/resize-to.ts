// Pictures resized by any of Pillow's filters that configs name, or to their nearest pixels, as Pillow does.
import { resizePillow, type Filter, type Image, type Window } from './image.ts';

/** The picture, or the window of it. */
export function resizeTo(
  image: Image,
  width: number,
  height: number,
  filter: Filter | 'nearest',
  window: Window = { left: 0, top: 0, width, height },
): Image {
  return filter === 'nearest'
    ? resizeNearest(image, width, height, window)
    : resizePillow(image, width, height, filter, window);
}

/** Pillow's nearest neighbor: the source pixel under the center of each. */
function resizeNearest(image: Image, width: number, height: number, window: Window): Image {
  const rgb = new Uint8Array(window.width * window.height * 3);
  const rows = centersOf(image.height, height);
  const columns = centersOf(image.width, width);
  for (let y = 0; y < window.height; y++) {
    const row = rows[window.top + y] ?? 0;
    for (let x = 0; x < window.width; x++) {
      const from = (row * image.width + (columns[window.left + x] ?? 0)) * 3;
      rgb.set(image.rgb.subarray(from, from + 3), (y * window.width + x) * 3);
    }
  }
  return { width: window.width, height: window.height, rgb };
}

/** The source position under each center, summed step by step as Pillow does: its rounding decides where a center lies between two. */
function centersOf(from: number, to: number): Int32Array {
  const step = from / to;
  let center = step / 2;
  return Int32Array.from({ length: to }, () => {
    const at = Math.min(from - 1, Math.floor(center));
    center += step;
    return at;
  });
}
