// What is asked about where nobody asks: to plan, and to check.
import type { Image } from '../../runtime/image/image.ts';

/** Large enough for every tower, and not square. */
export const trialPicture: Image = { width: 640, height: 480, rgb: new Uint8Array(640 * 480 * 3).fill(128) };
