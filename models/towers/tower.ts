// What vision towers share: pictures to patches, feature maps on the grid a connector wants, where the names of a checkpoint begin.
import {
  conv2d,
  OpabiniaError,
  rearrange,
  resize,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { requireParams } from '../../dsl/params.ts';

/** Normalised pictures, channels last. */
export type Pixels = Tensor<'b h w c', Float>;

/** Pictures as PyTorch has them, channels first, with channels last: a view. */
export function channelsLast(pixels: Tensor<'b c h w', Float>): Pixels {
  return rearrange(pixels, 'b c h w -> b h w c');
}

/** Rows and columns. */
export type Grid = readonly [height: number, width: number];

type Rgb = readonly [number, number, number];

/** How a tower wants its pictures: a square of `side` pixels, bytes / 255, minus `mean`, over `std`. */
export interface PixelNorm {
  readonly side: number;
  readonly mean: Rgb;
  readonly std: Rgb;
  /** Mean whose bytes fill the margins of a padded picture: that of the image processor, which need not be the one that normalises. */
  readonly padding: Rgb;
}

export const clipMean: Rgb = [0.48145466, 0.4578275, 0.40821073];
export const clipStd: Rgb = [0.26862954, 0.26130258, 0.27577711];

/**
 * A convolution whose stride is its kernel: each patch of the picture is one output. Pixels beyond the last whole patch are dropped.
 * `weight` is `o i kh kw` at p. Throws `OpabiniaError` for a picture smaller than a patch.
 */
export function patchConv(
  p: Params,
  x: Pixels,
  options: { readonly patch: number; readonly size: number; readonly bias?: boolean },
): FeatureMap {
  const { patch, size, bias = true } = options;
  const grid = gridOf(x, patch);
  if (grid[0] === 0 || grid[1] === 0)
    throw new OpabiniaError(`a picture of ${x.size('h')} × ${x.size('w')} has no whole patch of ${patch} × ${patch}`, {
      op: 'patchConv',
      path: p.path,
      advice: 'give larger pictures',
    });
  // A whole number of patches makes the windows a plain view, so that this is one product of matrices.
  const whole = slice(slice(x, 'h', { size: grid[0] * patch }), 'w', { size: grid[1] * patch });
  return conv2d(p, whole, { out: 'c', size, kernel: patch, stride: patch, bias });
}

/** Tables are made of every patch, and sizes of pictures and patches are claims of configs. */
const mostPatches = 2 ** 20;

/** Whole patches in a picture. Throws `OpabiniaError` for more than a million. */
export function gridOf(x: Pixels, patch: number): Grid {
  const grid: Grid = [Math.floor(x.size('h') / patch), Math.floor(x.size('w') / patch)];
  if (grid[0] * grid[1] <= mostPatches) return grid;
  throw new OpabiniaError(
    `a picture of ${x.size('h')} × ${x.size('w')} has ${grid[0]} × ${grid[1]} patches of ${patch} × ${patch}`,
    { op: 'patches', advice: `at most ${mostPatches} are known to make sense: give smaller pictures` },
  );
}

/** A map on another grid, by sampling without antialiasing, as Cambrian-1 does for every tower; untouched when the grid is that already. */
export function onGrid(map: FeatureMap, grid: Grid | undefined): FeatureMap {
  return grid === undefined ? map : resize(map, { height: grid[0], width: grid[1], mode: 'bilinear' });
}

/** The first of `roots` under which the checkpoint has `witness`; the first of all when none has, so that the error names a path of it. */
export function rootOf(p: Params, roots: readonly string[], witness: string): Params {
  requireParams('tower', p);
  const below = (root: string) => (root === '' ? p : p.at(root));
  const found = roots.find((root) => below(root).has(witness));
  return below(found ?? roots[0] ?? '');
}
