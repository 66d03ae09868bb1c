// Resizing of images and feature maps with the weights of torch.nn.functional.interpolate: one constant matrix per axis, or samples at
// positions that are computed in the graph where a size is known in a run only.
import { printSize, sizeBound, sizeLeast, sizesEqual, type Size } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import type { Has } from '../axis/pattern-types.ts';
import { contractAxis, type Weights } from './resample.ts';
import { checkChoice, checkOptions } from './options.ts';
import { resizeInRun } from './resize-in-run.ts';
import { refusal, requireAxis, type Tensor } from '../tensor.ts';

export interface ResizeOptions {
  /** A number, or the size of a run such as `x.sizeOf('h')`. */
  readonly height: Size;
  readonly width: Size;
  readonly mode: 'bilinear' | 'bicubic';
  /** Widens the filter when shrinking; bicubic then has a = -0.5 (as Pillow), without it a = -0.75. */
  readonly antialias?: boolean | undefined;
  /** Whether the outermost samples of input and output lie on one another, instead of the borders of their cells; bilinear only. */
  readonly alignCorners?: boolean | undefined;
  /** Out/in ratios that sampling positions are computed with instead of those of the sizes: interpolate's `scale_factor`. */
  readonly factors?: readonly [number, number] | undefined;
}

/**
 * `b h w c` at another height and width, which may be sizes of a run, as may those of `x`. Weights and sums in f32.
 * Throws `OpabiniaError` for sizes that are not at least 1, and for symbolic ones whose bounds multiply to 2³⁰ along an axis.
 * Source: ATen native/UpSample.h (area_pixel_compute_source_index, cubic_convolution) and native/cpu/UpSampleKernel.cpp (antialias).
 * @example resize(image, { height: 12, width: 12, mode: 'bicubic' })
 */
export function resize<S extends string, D extends DType>(
  x: Tensor<S, D> & Has<S, 'h w'>,
  options: ResizeOptions,
): Tensor<S, D> {
  const [rows, columns] = [requireAxis('resize', x, 'h').size, requireAxis('resize', x, 'w').size];
  checkOptions('resize', x, options, ['height', 'width', 'mode', 'antialias', 'alignCorners', 'factors']);
  const { height, width, mode, antialias = false, alignCorners = false, factors } = options;
  checkChoice('resize', x, 'the mode', mode, ['bilinear', 'bicubic']);
  if (![height, width].every((n) => (typeof n !== 'number' || Number.isInteger(n)) && sizeLeast(n) >= 1))
    throw refusal(
      'resize',
      `an output of ${printSize(height)}×${printSize(width)} is not a size`,
      [x],
      'whole numbers from 1 on',
    );
  if ([rows, columns].some((n) => sizeLeast(n) < 1))
    throw refusal('resize', 'an image may have no pixels', [x], 'bound its sizes from below, by 1');
  if (factors?.some((f) => !(f > 0 && Number.isFinite(f))))
    throw refusal('resize', `factors are ${factors.join(' and ')}`, [x], 'positive numbers');
  if (alignCorners && (mode !== 'bilinear' || antialias || factors !== undefined))
    throw refusal('resize', 'alignCorners goes with plain bilinear sampling only', [x], 'leave it out');
  const along = (y: Tensor<S, D>, axis: 'h' | 'w'): Tensor<S, D> => {
    const [from, to, factor] = axis === 'h' ? [rows, height, factors?.[0]] : [columns, width, factors?.[1]];
    // Equal sizes sample the elements themselves, for every filter here.
    if (sizesEqual(from, to) && (factor ?? 1) === 1) return y;
    return typeof from !== 'number' || typeof to !== 'number'
      ? resizeInRun(y, axis, to, { mode, antialias, alignCorners, factor })
      : contractAxis(
          'resize',
          y,
          axis,
          alignCorners ? cornerWeights(from, to) : resizeWeights(from, to, mode, antialias, factor),
        );
  };
  // The axis that shrinks most goes first: the rest of the work is then smaller.
  const ratio = (to: Size, from: Size): number => sizeBound(to) / sizeBound(from);
  return ratio(height, rows) <= ratio(width, columns) ? along(along(x, 'h'), 'w') : along(along(x, 'w'), 'h');
}

/** The matrix of one axis: from `from` samples to `to`. */
export function resizeWeights(
  from: number,
  to: number,
  mode: 'bilinear' | 'bicubic',
  antialias: boolean,
  factor?: number,
): Weights {
  const scale = factor === undefined ? from / to : 1 / factor;
  const values = new Float64Array(to * from);
  for (let row = 0; row < to; row++) {
    const add = (i: number, weight: number) => {
      const column = Math.max(0, Math.min(from - 1, i));
      values[row * from + column] = (values[row * from + column] ?? 0) + weight;
    };
    if (antialias) antialiased(row, from, scale, mode, add);
    else if (mode === 'bilinear') linear(row, scale, add);
    else cubic(row, scale, add);
  }
  return { rows: to, columns: from, values };
}

/** Linear weights where sample 0 lies on sample 0 and the last on the last (`align_corners=True`). */
function cornerWeights(from: number, to: number): Weights {
  const values = new Float64Array(to * from);
  const scale = to > 1 ? (from - 1) / (to - 1) : 0;
  for (let row = 0; row < to; row++) {
    const position = scale * row;
    const left = Math.min(Math.floor(position), from - 1);
    const right = Math.min(left + 1, from - 1);
    values[row * from + left] = 1 - (position - left);
    values[row * from + right] = (values[row * from + right] ?? 0) + (position - left);
  }
  return { rows: to, columns: from, values };
}

type Add = (i: number, weight: number) => void;

function linear(row: number, scale: number, add: Add): void {
  const position = Math.max(0, scale * (row + 0.5) - 0.5);
  const left = Math.floor(position);
  add(left, 1 - (position - left));
  add(left + 1, position - left);
}

function cubic(row: number, scale: number, add: Add): void {
  const position = scale * (row + 0.5) - 0.5;
  const left = Math.floor(position);
  for (let k = -1; k <= 2; k++) add(left + k, cubicFilter(position - (left + k), -0.75));
}

/** Weights over the support of the stretched filter, scaled to sum 1. */
function antialiased(row: number, from: number, scale: number, mode: 'bilinear' | 'bicubic', add: Add): void {
  const stretch = Math.max(scale, 1);
  const support = (mode === 'bilinear' ? 1 : 2) * stretch;
  const centre = scale * (row + 0.5);
  const first = Math.max(0, Math.trunc(centre - support + 0.5));
  const end = Math.min(from, Math.trunc(centre + support + 0.5));
  const weights = Array.from({ length: Math.max(0, end - first) }, (_, j) => {
    const distance = (j + first - centre + 0.5) / stretch;
    return mode === 'bilinear' ? Math.max(0, 1 - Math.abs(distance)) : cubicFilter(distance, -0.5);
  });
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  weights.forEach((weight, j) => {
    add(first + j, total === 0 ? 0 : weight / total);
  });
}

/** Keys' cubic convolution kernel (IEEE TASSP 29, 1981, eq. 4). */
function cubicFilter(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}
