// Golden kind of image preprocessing: pad to a square, resize as Pillow does, normalise. All of it on the host.
import { OpabiniaError } from '../../../dsl/error.ts';
import { clipPixels } from '../../../models/towers/clip.ts';
import { convNextPixels } from '../../../models/towers/convnext.ts';
import { dinov2Pixels } from '../../../models/towers/dinov2.ts';
import { siglipPixels } from '../../../models/towers/siglip.ts';
import type { PixelNorm } from '../../../models/towers/tower.ts';
import {
  backgroundOf,
  expandToSquare,
  normalize,
  resizePillow,
  type Image,
  type Rgb,
} from '../../../runtime/image/image.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';

/** A file lists its cases in the config, or has a picture a tag and an output for each tower that sees it. */
export const preprocess: Kind = (file) => (file.config.has('cases') ? statedCases(file) : towers(file));

function statedCases(file: GoldenFile): GoldenModel {
  const host = new Map<string, Numbers>();
  for (const one of file.config.list('cases')) {
    const index = one.number('index');
    const square = expandToSquare(picture(file, `input.rgb_${index}`), triple(one.numbers('background')));
    const resized = resizePillow(square, one.number('resolution'), one.number('resolution'), 'bicubic');
    host.set(`square_${index}`, square.rgb);
    host.set(`resized_${index}`, resized.rgb);
    host.set(`chw_${index}`, normalize(resized, triple(one.numbers('mean')), triple(one.numbers('std')), 'chw'));
  }
  return { inputs: new Map(), host };
}

const pixelNorms: ReadonlyMap<string, PixelNorm> = new Map([
  ['clip', clipPixels],
  ['siglip', siglipPixels],
  ['dinov2', dinov2Pixels],
  ['convnext', convNextPixels],
]);

/** Outputs `<tag>.<tower>`: what the tower is given for the picture `image_<tag>`, in f16, as Cambrian-1 hands it over; equal bit for bit. */
function towers(file: GoldenFile): GoldenModel {
  const host = new Map<string, Numbers>();
  for (const name of file.outputs) {
    const dot = name.lastIndexOf('.');
    const norm = pixelNorms.get(name.slice(dot + 1));
    // An output of another tower is then reported as missing.
    if (norm === undefined) continue;
    const side = file.size(`output.${name}`, 1);
    const square = expandToSquare(picture(file, `input.image_${name.slice(0, dot)}`), backgroundOf(norm.padding));
    host.set(name, normalize(resizePillow(square, side, side), norm.mean, norm.std, 'chw').map(Math.f16round));
  }
  return { inputs: new Map(), host, tolerance: () => ({ absolute: 0, relative: 0 }) };
}

function picture(file: GoldenFile, name: string): Image {
  return { height: file.size(name, 0), width: file.size(name, 1), rgb: Uint8Array.from(file.numbers(name)) };
}

function triple(values: readonly number[]): Rgb {
  const [r, g, b] = values;
  if (r === undefined || g === undefined || b === undefined)
    throw new OpabiniaError(`a colour has three channels, not ${values.length}`, { op: 'verify' });
  return [r, g, b];
}
