// Transposed convolution on `b h w c`: what a convolution with the same weight would give back to its input.
import { addSizes, multiplySizes, type Size } from '../axis/axis.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { DType } from '../graph/op.ts';
import { rearrange as rearrangeOp } from '../ops/view.ts';
import { at } from '../origin.ts';
import type { Params } from '../params.ts';
import { apply, elementwise, refusal, renamed, requireAxis, type Float, type Tensor } from '../tensor.ts';
import { both, requireImage, type Pair } from './conv.ts';
import { checkDType } from './linear.ts';
import { flip, pad, product, rearrange, slice, window } from './shape.ts';
import { requireFields } from '../graph/required.ts';
import { requireParams } from '../params.ts';

export interface ConvTransposeOptions<O extends string> {
  /** Name of the axis of output channels; it may be `c`. */
  readonly out: O & Lacks<'b h w', O>;
  /** Number of output channels: checked against the checkpoint, and needed without one. */
  readonly size?: number | undefined;
  readonly kernel: Pair;
  readonly stride?: Pair | undefined;
  readonly padding?: Pair | undefined;
  /** Rows and columns that are added at the end: several inputs of a convolution have one output. Less than the stride or the dilation. */
  readonly outputPadding?: Pair | undefined;
  readonly dilation?: Pair | undefined;
  readonly groups?: number | undefined;
  readonly bias?: boolean | undefined;
}

/**
 * PyTorch's `ConvTranspose2d`: `weight` is `i o kh kw` with o = outputs / groups, and `bias` is `o`, at p. A result of
 * (n − 1)·stride − 2·padding + dilation·(kernel − 1) + outputPadding + 1. Where windows neither overlap nor leave gaps it is one product.
 * Throws when channels do not divide by `groups`, or the output padding is at least the stride and the dilation.
 * @example convTranspose2d(p.at('up'), image, { out: 'c', size: 8, kernel: 2, stride: 2 }) // Tensor<'b h w c', 'f32'>
 */
export function convTranspose2d<D extends DType, const O extends string>(
  p: Params,
  x: Tensor<'b h w c', D>,
  options: ConvTransposeOptions<O>,
): Tensor<`b h w ${O}`, D> {
  const name = 'convTranspose2d';
  requireParams(name, p);
  requireImage(name, x);
  requireFields(name, options, { out: 'string' }, "convTranspose2d(p.at('up'), x, { out: 'c', kernel: 2 })");
  if (['b', 'h', 'w'].includes(options.out))
    throw refusal(name, `the tensor has another axis '${options.out}' already`, [x], 'give the result another name');
  const channels = x.size('c');
  const groups = options.groups ?? 1;
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
    throw refusal(name, `${channels} channels do not divide into ${groups} groups`, [x], 'the division must come out');
  if (options.size !== undefined && options.size % groups !== 0)
    throw refusal(name, `${options.size} output channels do not divide into ${groups} groups`, [x]);
  const along = (['h', 'w'] as const).map((axis, i) => lineOf(name, x, axis, i, options));
  const [rows, columns] = along;
  if (rows === undefined || columns === undefined) throw new TypeError('two axes were asked for');
  return at(p.path, () => {
    const weight = p.get('weight', 'i o kh kw', {
      i: channels,
      kh: rows.kernel,
      kw: columns.kernel,
      ...(options.size === undefined ? {} : { o: options.size / groups }),
    });
    checkDType(name, x, weight);
    const filters = rearrange(weight, 'i=(g j) o kh kw -> g j o kh kw', { g: groups });
    const inputs = rearrange(x as Tensor<'b h w c', Float>, 'b h w c=(g j) -> b h w g j', { g: groups });
    const isTiled = along.every((l) => l.kernel === l.stride && l.padding === 0 && l.dilation === 1 && l.extra === 0);
    const grouped = isTiled ? tiled(inputs, filters) : overlapping(name, inputs, filters, along);
    const summed = rearrange<string, 'b h w g o', Float>(grouped, `b h w g o -> b h w ${options.out}=(g o)`);
    if (options.bias === false) return summed as Tensor as Tensor<`b h w ${O}`, D>;
    const bias = p.get('bias', 'o', { o: weight.size('o') * groups });
    return elementwise(
      'add',
      summed as Tensor<string, Float>,
      renamed<string, DType>(name, bias, new Map([['o', options.out]])),
    ) as Tensor as Tensor<`b h w ${O}`, D>;
  });
}

interface Line {
  readonly axis: 'h' | 'w';
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly dilation: number;
  readonly extra: number;
}

function lineOf(name: string, x: Tensor, axis: 'h' | 'w', i: number, options: ConvTransposeOptions<string>): Line {
  const number = (word: string, pair: Pair, least: number): number => {
    const n = both(pair)[i] ?? least;
    if (!Number.isInteger(n) || n < least)
      throw refusal(name, `${word} is ${n}`, [x], `a whole number from ${least} on`);
    return n;
  };
  const line = {
    axis,
    kernel: number('kernel', options.kernel, 1),
    stride: number('stride', options.stride ?? 1, 1),
    padding: number('padding', options.padding ?? 0, 0),
    dilation: number('dilation', options.dilation ?? 1, 1),
    extra: number('outputPadding', options.outputPadding ?? 0, 0),
  };
  if (line.extra >= Math.max(line.stride, line.dilation))
    throw refusal(
      name,
      `outputPadding is ${line.extra}, stride ${line.stride} and dilation ${line.dilation}`,
      [x],
      'it is less than the larger of the two',
    );
  return line;
}

type Inputs = Tensor<'b h w g j', Float>;
type Filters = Tensor<'g j o kh kw', Float>;

/** Every window its own square of the result. */
function tiled(x: Inputs, filters: Filters): Tensor<'b h w g o', Float> {
  const name = 'convTranspose2d';
  const y = product<'b h kh w kw g o', Float>(name, x, filters, ['b', 'h', 'kh', 'w', 'kw', 'g', 'o']);
  return rearrange(y, 'b h kh w kw g o -> b h=(h kh) w=(w kw) g o') as Tensor as Tensor<'b h w g o', Float>;
}

/** A convolution with the mirrored filter over inputs that stand `stride` apart, with zeros between them. */
function overlapping(name: string, x: Inputs, filters: Filters, along: readonly Line[]): Tensor<'b h w g o', Float> {
  const seen = along.reduce<Tensor<string, Float>>(
    (y, line) => {
      const reach = line.dilation * (line.kernel - 1);
      const wide = margins(spread(name, y, line.axis, line.stride), line.axis, reach - line.padding, line.extra);
      return window<string, Float, string, string, string>(wide, line.axis, {
        into: [line.axis, `k${line.axis}`],
        size: line.kernel,
        dilation: line.dilation,
      }) as Tensor<string, Float>;
    },
    x as Tensor<string, Float>,
  );
  const mirrored = flip(flip(filters, 'kh'), 'kw');
  return product<'b h w g o', Float>(name, seen, mirrored as Tensor<string, Float>, ['b', 'h', 'w', 'g', 'o']);
}

/** The elements `stride` apart, zeros between them. */
function spread(name: string, x: Tensor<string, Float>, axis: 'h' | 'w', stride: number): Tensor<string, Float> {
  if (stride === 1) return x;
  const { size } = requireAxis(name, x, axis);
  const gap = `${axis}_gap`;
  const sizes = Object.fromEntries(x.axes.map((a) => [a.name, a.size] as const));
  const parts = x.axes.flatMap((a) => (a.name === axis ? [axis, gap] : [a.name]));
  const unit = apply<string, Float>(name, rearrangeOp, [x], {
    split: x.axes.map((a) => (a.name === axis ? [axis, gap] : [a.name])),
    merge: parts.map((part) => ({ name: part, parts: [part] })),
    sizes: { ...sizes, [gap]: 1 },
  });
  const filled = pad<string, Float, string>(unit, gap, { after: stride - 1 });
  const whole = apply<string, Float>(name, rearrangeOp, [filled], {
    split: parts.map((part) => [part]),
    merge: x.axes.map((a) => ({ name: a.name, parts: a.name === axis ? [axis, gap] : [a.name] })),
    sizes: { ...sizes, [gap]: stride },
  });
  const length: Size = addSizes(multiplySizes(size, stride), 1 - stride);
  return slice<string, Float, string>(whole, axis, { start: 0, size: length });
}

/** As many zeros on both sides, and `extra` more at the end; less than none takes elements away. */
function margins(x: Tensor<string, Float>, axis: string, side: number, extra: number): Tensor<string, Float> {
  const [before, after] = [side, side + extra];
  const wide = pad<string, Float, string>(x, axis, { before: Math.max(0, before), after: Math.max(0, after) });
  if (before >= 0 && after >= 0) return wide;
  const { size } = requireAxis('convTranspose2d', wide, axis);
  return slice<string, Float, string>(wide, axis, {
    start: Math.max(0, -before),
    size: addSizes(size, Math.min(0, before) + Math.min(0, after)),
  });
}
