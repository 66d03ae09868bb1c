// Resizing along an axis whose old or new size is known in a run only: what `resizeWeights` computes beforehand, computed in the graph.
// Positions are quotients of whole numbers, so that no rounding takes a sample to the wrong side of a pixel.
import { sizeBound, type Axis, type Size } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { elementwise, refusal, renamed, requireAxis, sizeValue, widened, type Tensor } from '../tensor.ts';
import { abs, floor, positions } from './math.ts';
import { gather, product, reduceAxes } from './shape.ts';

export interface Filter {
  readonly mode: 'bilinear' | 'bicubic';
  readonly antialias: boolean;
  readonly alignCorners: boolean;
  /** Out/in ratio in place of that of the sizes. */
  readonly factor: number | undefined;
}

type F32 = Tensor<string, 'f32'>;
type I32 = Tensor<string, 'i32'>;

/** Whole numbers of twice the product of both sizes are i32. */
const mostProduct = 2 ** 30;

/** `x` with `to` samples along an axis. In f32, whatever the dtype of x. */
export function resizeInRun<S extends string, D extends DType>(
  x: Tensor<S, D>,
  axis: string,
  to: Size,
  filter: Filter,
): Tensor<S, D> {
  const from = requireAxis('resize', x, axis).size;
  if (sizeBound(from) * sizeBound(to) >= mostProduct)
    throw refusal('resize', `the sizes along '${axis}' may be too large to compute positions with`, [x], 'bound them');
  const inner = `${axis}_in`;
  const wide = renamed<string, 'f32'>('resize', x.cast('f32'), new Map([[axis, inner]]));
  const order = x.axes.map((a) => a.name);
  if (filter.antialias) {
    const matrix = antialiasedWeights(x, { name: axis, size: to }, { name: inner, size: from }, filter);
    return product<S, 'f32'>('resize', wide, matrix, order).cast(x.dtype);
  }
  const [first, ...rest] = tapsOf(x, { name: axis, size: to }, from, filter).map(({ at, weight }) =>
    elementwise<string, 'f32'>('mul', gather<string, 'f32', string, string>(wide, at, inner), weight),
  );
  if (first === undefined) throw new TypeError('an interpolation without taps');
  const sum = rest.reduce<F32>((total, term) => elementwise('add', total, term), first);
  return renamed<S, 'f32'>('resize', sum, new Map(), order).cast(x.dtype);
}

/** One of the samples that an output is made of. */
interface Tap {
  readonly at: I32;
  readonly weight: F32;
}

function tapsOf(like: Tensor, out: Axis, from: Size, { mode, alignCorners, factor }: Filter): readonly Tap[] {
  const o = positions(like, out, out.name) as I32;
  const [size, target] = [sizeValue('resize', o, from), sizeValue('resize', o, out.size)];
  const inside = (at: I32): I32 => elementwise('min', at.max(0), size.sub(1) as I32);
  const { left, rest } = alignCorners
    ? split(elementwise('mul', o, size.sub(1) as I32), target.sub(1).max(1) as I32)
    : factor === undefined
      ? halfPixel(o, size, target, mode)
      : scaled(o, factor, mode);
  return mode === 'bilinear'
    ? [
        { at: inside(left), weight: rest.neg().add(1) },
        { at: inside(left.add(1)), weight: rest },
      ]
    : [-1, 0, 1, 2].map((k) => ({
        at: inside(left.add(k)),
        weight:
          k === 0 || k === 1
            ? near(k === 0 ? rest : rest.neg().add(1), -0.75)
            : far(k < 0 ? rest.add(1) : rest.neg().add(2), -0.75),
      }));
}

/** A position: the pixel to the left, and how far from it. */
interface Position {
  readonly left: I32;
  readonly rest: F32;
}

function split(above: I32, below: I32): Position {
  const left = elementwise<string, 'i32'>('div', above, below);
  const over = elementwise<string, 'i32'>('sub', above, elementwise<string, 'i32'>('mul', left, below));
  return { left, rest: elementwise('div', over.cast('f32'), below.cast('f32')) };
}

/** (o + ½)·from/to − ½, not below 0 for bilinear samples; for bicubic ones one more, so that the quotient is not negative. */
function halfPixel(o: I32, from: I32, to: I32, mode: Filter['mode']): Position {
  const twice = elementwise<string, 'i32'>('mul', o.mul(2).add(1), from);
  if (mode === 'bilinear') return split(elementwise<string, 'i32'>('sub', twice, to).max(0), to.mul(2));
  const { left, rest } = split(elementwise('add', twice, to), to.mul(2));
  return { left: left.sub(1), rest };
}

function scaled(o: I32, factor: number, mode: Filter['mode']): Position {
  const plain = o
    .cast('f32')
    .add(0.5)
    .mul(1 / factor)
    .sub(0.5);
  const at = mode === 'bilinear' ? plain.max(0) : plain;
  const left = floor(at);
  return { left: left.cast('i32'), rest: elementwise('sub', at, left) };
}

/** Keys' kernel (IEEE TASSP 29, 1981, eq. 4) at distances up to 1. */
function near(distance: F32, a: number): F32 {
  const square = elementwise<string, 'f32'>('mul', distance, distance);
  return elementwise<string, 'f32'>('mul', square, distance.mul(a + 2).sub(a + 3)).add(1);
}

/** The same from 1 to 2. */
function far(distance: F32, a: number): F32 {
  const inner = elementwise<string, 'f32'>('mul', distance, distance.mul(a).sub(5 * a)).add(8 * a);
  return elementwise<string, 'f32'>('mul', distance, inner).sub(4 * a);
}

/** The stretched filter at the distance of every input from the centre of every output, each row scaled to sum 1. */
function antialiasedWeights(like: Tensor, out: Axis, source: Axis, { mode, factor }: Filter): F32 {
  const both = [out, source];
  const o = widened<string, 'i32'>('resize', positions(like, out, out.name) as I32, both);
  const i = positions(like, source, source.name) as I32;
  const [from, to] = [sizeValue('resize', o, source.size), sizeValue('resize', o, out.size)];
  // (i + ½ − (o + ½)·from/to) / max(from/to, 1) over the common denominator.
  const apart =
    factor === undefined
      ? elementwise<string, 'f32'>(
          'div',
          elementwise<string, 'i32'>(
            'sub',
            elementwise<string, 'i32'>('mul', widened<string, 'i32'>('resize', i, both).mul(2).add(1), to),
            elementwise<string, 'i32'>('mul', o.mul(2).add(1), from),
          ).cast('f32'),
          elementwise<string, 'i32'>('max', from as I32, to as I32)
            .mul(2)
            .cast('f32'),
        )
      : elementwise<string, 'f32'>(
          'sub',
          widened<string, 'f32'>('resize', i.cast('f32'), both).add(0.5),
          o
            .cast('f32')
            .add(0.5)
            .mul(1 / factor),
        ).mul(Math.min(factor, 1));
  const distance = abs(apart);
  const weights: F32 =
    mode === 'bilinear'
      ? distance.neg().add(1).max(0)
      : (near(distance.min(1), -0.5).where(distance.le(1) as never, far(distance.min(2), -0.5)) as F32);
  const total = reduceAxes<string, 'f32'>('sum', weights, [source.name], 'resize') as F32;
  // Where all pixels lie outside of the filter, the sample is 0.
  return elementwise('div', weights, total.where(total.ne(0), 1) as F32);
}
