// Convolution and pooling on `b h w c`, as functions of windows, products and reductions.
import { printSize } from '../axis/axis.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { DType } from '../graph/op.ts';
import { reduceMax } from '../ops/reduce.ts';
import { rearrange as rearrangeOp } from '../ops/view.ts';
import { at } from '../origin.ts';
import { withOption, type Params, requireParams } from '../params.ts';
import { checkDType } from './linear.ts';
import { checkOptions } from './options.ts';
import { average, contractAxis } from './resample.ts';
import { reduceAxes, pad, product, rearrange, window } from './shape.ts';
import {
  apply,
  elementwise,
  refusal,
  renamed,
  requireAxis,
  requireNumber,
  type Float,
  type Tensor,
  requireTensor,
} from '../tensor.ts';
import { requireFields, requireOptions } from '../graph/required.ts';

/** One number for both axes, or height and width. */
export type Pair = number | readonly [number, number];

export function both(pair: Pair): readonly [number, number] {
  // What is neither is no number, which is refused where it is looked at.
  return typeof pair === 'number' ? [pair, pair] : Array.isArray(pair) ? pair : [NaN, NaN];
}

interface WindowOptions {
  readonly kernel: Pair;
  readonly stride?: Pair | undefined;
  readonly padding?: Pair | undefined;
  readonly dilation?: Pair | undefined;
}

/** Windows over h and w: `b h w c` becomes `b h kh w kw c`. */
function windows(name: string, x: Tensor, options: WindowOptions, value: number): Tensor {
  const word: unknown = options.padding;
  if (typeof word === 'string')
    throw refusal(
      name,
      `padding is '${word}'`,
      [x],
      'give numbers: (kernel − 1) / 2 keeps the size of an odd kernel, 0 pads nothing',
    );
  const [kernel, stride, padding, dilation] = [
    both(options.kernel),
    both(options.stride ?? 1),
    both(options.padding ?? 0),
    both(options.dilation ?? 1),
  ];
  return (['h', 'w'] as const).reduce<Tensor>((y, axis, i) => {
    const [k, s, p, d] = [kernel[i] ?? 1, stride[i] ?? 1, padding[i] ?? 0, dilation[i] ?? 1];
    const { size } = requireAxis(name, y, axis);
    checkWindow(name, x, axis, { kernel: k, stride: s, padding: p, dilation: d });
    // Patches that neither overlap nor leave gaps are a one-to-one view.
    if (k === s && p === 0 && d === 1 && typeof size === 'number' && size % k === 0)
      return tiles(name, y, axis, `k${axis}`, k);
    return window(pad(y, axis, { before: p, after: p, value }), axis, {
      into: [axis, `k${axis}`],
      size: k,
      stride: s,
      dilation: d,
    });
  }, x);
}

/** Throws where one axis cannot have such windows. */
function checkWindow(
  name: string,
  x: Tensor,
  axis: string,
  along: Readonly<Record<'kernel' | 'stride' | 'padding' | 'dilation', number>>,
): void {
  for (const [word, n] of Object.entries(along)) {
    const least = word === 'padding' ? 0 : 1;
    if (!Number.isSafeInteger(n) || n < least)
      throw refusal(name, `${word} is ${n}`, [x], `a whole number from ${least} on`);
  }
  const { kernel, padding, dilation } = along;
  const { size } = requireAxis(name, x, axis);
  if (typeof size === 'number' && dilation * (kernel - 1) + 1 > size + 2 * padding)
    throw refusal(
      name,
      `a window of ${dilation * (kernel - 1) + 1} does not fit axis '${axis}' of size ${printSize(size)} with padding ${padding}`,
      [x],
      'more padding, or a smaller kernel',
    );
}

/** Splits an axis into positions, which keep its name, and the elements of each. */
function tiles(name: string, x: Tensor, axis: string, inner: string, size: number): Tensor {
  const parts = x.axes.flatMap((a) => (a.name === axis ? [[axis, inner]] : [[a.name]]));
  const sizes = Object.fromEntries(
    x.axes.flatMap((a) =>
      a.name === axis
        ? [
            [axis, requireNumber(name, x, axis) / size],
            [inner, size],
          ]
        : [[a.name, a.size]],
    ),
  );
  return apply(name, rearrangeOp, [x], {
    split: parts,
    merge: parts.flat().map((part) => ({ name: part, parts: [part] })),
    sizes,
  });
}

export function requireImage(name: string, x: Tensor): void {
  requireTensor(name, x);
  const names = x.axes.map((axis) => axis.name).join(' ');
  if (names !== 'b h w c') throw refusal(name, `takes axes 'b h w c', not '${names}'`, [x], 'rearrange it');
}

export interface ConvOptions<O extends string> extends WindowOptions {
  /** Name of the axis of output channels; it may be `c`. */
  readonly out: O & Lacks<'b h w', O>;
  /** Number of output channels: checked against the checkpoint, and needed without one. */
  readonly size?: number | undefined;
  readonly groups?: number | undefined;
  readonly bias?: boolean | undefined;
}

/**
 * Convolution (cross-correlation, as in PyTorch): `weight` is `o i kh kw` with i = channels / groups, and `bias` is `o`, at p.
 * Throws when channels do not divide by `groups`, or the window does not fit.
 * @example conv2d(p.at('conv'), image, { out: 'c', size: 16, kernel: 3, padding: 1 })
 */
export function conv2d<D extends DType, const O extends string>(
  p: Params,
  x: Tensor<'b h w c', D>,
  options: ConvOptions<O>,
): Tensor<`b h w ${O}`, D> {
  requireParams('conv2d', p);
  requireImage('conv2d', x);
  checkOptions('conv2d', x, options, ['out', 'kernel', 'stride', 'padding', 'dilation', 'groups', 'size', 'bias']);
  requireFields('conv2d', options, { out: 'string' }, "conv2d(p.at('conv'), x, { out: 'c', kernel: 3 })");
  if (['b', 'h', 'w'].includes(options.out))
    throw refusal(
      'conv2d',
      `the tensor has another axis '${options.out}' already`,
      [x],
      'give the result another name',
    );
  const [kh, kw] = both(options.kernel);
  const channels = x.size('c');
  const groups = options.groups ?? 1;
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
    throw refusal(
      'conv2d',
      `${channels} channels do not divide into ${groups} groups`,
      [x],
      'the division must come out',
    );
  return at(p.path, () => {
    const seen = windows('conv2d', x, options, 0) as Tensor<string, Float>;
    const weight = withOption('conv2d', 'o', 'size', () =>
      p.get('weight', 'o i kh kw', {
        i: channels / groups,
        kh,
        kw,
        ...(options.size === undefined ? {} : { o: options.size }),
      }),
    );
    checkDType('conv2d', x, weight);
    const outputs = weight.size('o');
    if (outputs % groups !== 0)
      throw refusal(
        'conv2d',
        `${outputs} output channels do not divide into ${groups} groups`,
        [x, weight],
        'the division must come out',
      );
    const summed =
      groups === 1
        ? dense(seen, weight, options.out)
        : groups === channels && outputs === channels
          ? depthwise(seen, weight, options.out)
          : grouped(seen, weight, options.out, groups);
    if (options.bias === false) return summed as Tensor as Tensor<`b h w ${O}`, D>;
    return elementwise(
      'add',
      summed,
      renamed<string, DType>('conv2d', p.get('bias', 'o', { o: outputs }), new Map([['o', options.out]])),
    );
  });
}

function dense(seen: Tensor<string, Float>, weight: Tensor<string, Float>, out: string): Tensor<string, Float> {
  return product(
    'conv2d',
    renamed('conv2d', seen, new Map([['c', 'c_in']])),
    renamed(
      'conv2d',
      weight,
      new Map([
        ['i', 'c_in'],
        ['o', out],
      ]),
    ),
    ['b', 'h', 'w', out],
  );
}

/** One filter a channel: a reduction over each window, not a product of matrices. The operands are renamed, so that the sum has its last name and maps after it fuse. */
function depthwise(
  seen: Tensor<string, Float>,
  weight: Tensor<'o i kh kw', Float>,
  out: string,
): Tensor<string, Float> {
  const filter = renamed<string, Float>('conv2d', weight.at('i', 0), new Map([['o', out]]));
  return reduceAxes<string, Float>(
    'sum',
    elementwise('mul', renamed<string, Float>('conv2d', seen, new Map([['c', out]])), filter),
    ['kh', 'kw'],
  );
}

function grouped(
  seen: Tensor<string, Float>,
  weight: Tensor<'o i kh kw', Float>,
  out: string,
  groups: number,
): Tensor<string, Float> {
  const filters = rearrange(weight, 'o=(g m) i kh kw -> g m i kh kw', { g: groups });
  const split = rearrange(seen as Tensor<'b h kh w kw c', Float>, 'b h kh w kw c=(g i) -> b h kh w kw g i', {
    g: groups,
  });
  const y = product<'b h w g m', Float>('conv2d', split, filters, ['b', 'h', 'w', 'g', 'm']);
  return rearrange<string, 'b h w g m', Float>(y, `b h w g m -> b h w ${out}=(g m)`);
}

/**
 * The largest element of each window; padding never wins. Of equal elements the first has the gradient, as in PyTorch.
 * @example maxPool2d(image, { kernel: 2 })
 */
export function maxPool2d<D extends DType>(x: Tensor<'b h w c', D>, options: WindowOptions): Tensor<'b h w c', D> {
  requireImage('maxPool2d', x);
  checkOptions('maxPool2d', x, options, ['kernel', 'stride', 'padding', 'dilation']);
  const lowest = reduceMax.identityOf(x.dtype);
  const seen = windows('maxPool2d', x, { ...options, stride: options.stride ?? options.kernel }, lowest);
  return apply('maxPool2d', reduceMax, [seen], { axes: ['kh', 'kw'], ties: 'first' });
}

/**
 * The mean of each window. Padding counts as zeros, as PyTorch does by default; `countPadding: false` leaves it out of the count.
 * @example avgPool2d(image, { kernel: 2 })
 */
export function avgPool2d<D extends DType>(
  x: Tensor<'b h w c', D>,
  options: Omit<WindowOptions, 'dilation'> & { readonly countPadding?: boolean | undefined },
): Tensor<'b h w c', D> {
  requireImage('avgPool2d', x);
  checkOptions('avgPool2d', x, options, ['kernel', 'stride', 'padding', 'countPadding']);
  const [padding, shape] = [both(options.padding ?? 0), { ...options, stride: options.stride ?? options.kernel }];
  if (options.countPadding !== false || (padding[0] === 0 && padding[1] === 0))
    return reduceAxes('mean', windows('avgPool2d', x, shape, 0), ['kh', 'kw']) as Tensor<'b h w c', D>;
  // A mean of means: the windows of h and w are independent.
  return (['h', 'w'] as const).reduce((y, axis, i) => {
    const [k, s, p] = [both(shape.kernel)[i] ?? 1, both(shape.stride)[i] ?? 1, padding[i] ?? 0];
    const size = requireNumber('avgPool2d', y, axis);
    checkWindow('avgPool2d', x, axis, { kernel: k, stride: s, padding: p, dilation: 1 });
    // A window that sees nothing but padding has no mean.
    if (2 * p > k)
      throw refusal(
        'avgPool2d',
        `padding ${p} is more than half of a kernel of ${k}`,
        [x],
        'less padding, or countPadding',
      );
    const count = Math.floor((size + 2 * p - k) / s) + 1;
    return contractAxis(
      'avgPool2d',
      y,
      axis,
      average(
        size,
        Array.from({ length: count }, (_, o) => [Math.max(0, o * s - p), Math.min(size, o * s - p + k)] as const),
      ),
    );
  }, x);
}

/**
 * Means over `height` × `width` bins from ⌊i·in/out⌋ to ⌈(i+1)·in/out⌉, as PyTorch's AdaptiveAvgPool2d.
 * @example adaptiveAvgPool2d(image, { height: 3, width: 3 })
 */
export function adaptiveAvgPool2d<D extends DType>(
  x: Tensor<'b h w c', D>,
  options: { readonly height: number; readonly width: number },
): Tensor<'b h w c', D> {
  requireImage('adaptiveAvgPool2d', x);
  requireOptions('adaptiveAvgPool2d', options, 'adaptiveAvgPool2d(x, { height: 3, width: 3 })');
  const [rows, columns] = [requireNumber('adaptiveAvgPool2d', x, 'h'), requireNumber('adaptiveAvgPool2d', x, 'w')];
  for (const n of [options.height, options.width])
    if (!Number.isInteger(n) || n < 1)
      throw refusal(
        'adaptiveAvgPool2d',
        `an output of ${options.height}×${options.width} is not a size`,
        [x],
        'whole numbers from 1 on',
      );
  if (rows % options.height === 0 && columns % options.width === 0)
    return avgPool2d(x, { kernel: [rows / options.height, columns / options.width] });
  const bins = (size: number, out: number) =>
    average(
      size,
      Array.from({ length: out }, (_, i) => [Math.floor((i * size) / out), Math.ceil(((i + 1) * size) / out)] as const),
    );
  return contractAxis(
    'adaptiveAvgPool2d',
    contractAxis('adaptiveAvgPool2d', x, 'h', bins(rows, options.height)),
    'w',
    bins(columns, options.width),
  );
}

/**
 * Channels into space, in PyTorch's order: channel c·r² + i·r + j goes to row i and column j of its r × r square.
 * @example pixelShuffle(image, 2) // half as many pixels' channels, twice the height and width
 */
export function pixelShuffle<D extends DType>(x: Tensor<'b h w c', D>, factor: number): Tensor<'b h w c', D> {
  return rearrange(x, 'b h w c=(d i j) -> b h=(h i) w=(w j) c=(d)', { i: factor, j: factor });
}

/**
 * Space into channels: the inverse of `pixelShuffle`.
 * @example pixelUnshuffle(image, 2)
 */
export function pixelUnshuffle<D extends DType>(x: Tensor<'b h w c', D>, factor: number): Tensor<'b h w c', D> {
  return rearrange(x, 'b h=(y i) w=(x j) c -> b h=(y) w=(x) c=(c i j)', { i: factor, j: factor });
}
