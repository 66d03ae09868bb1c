// Images between their pixels: bilinear sampling at given points.
import { axisOf, multiplySizes, type Size } from '../axis/axis.ts';
import type { Points } from '../axis/argument-types.ts';
import type { First, Gathered, Has, Without } from '../axis/pattern-types.ts';
import type { DType } from '../graph/op.ts';
import { rearrange } from '../ops/view.ts';
import {
  apply,
  elementwise,
  refusal,
  renamed,
  requireAxis,
  sizeValue,
  type Float,
  type Tensor,
  requireTensor,
} from '../tensor.ts';
import { floor, where } from './math.ts';
import { checkChoice, checkOptions } from './options.ts';
import { gather } from './shape.ts';
import { requireOptions } from '../graph/required.ts';

export interface SampleOptions {
  /** What lies outside: nothing (the default), or the nearest pixel of the border. */
  readonly padding?: 'zeros' | 'border' | undefined;
}

export interface GridSampleOptions extends SampleOptions {
  /** Whether −1 and 1 are the middles of the outermost pixels, instead of their outer edges. Default false. */
  readonly alignCorners?: boolean | undefined;
}

/**
 * `x` at the points of `grid`, whose axis `xy` holds the column and the row from −1 to 1: PyTorch's `grid_sample`, bilinear. The result has
 * the axes of the grid without `xy`, then `b` where the grid has it not, and `c`; where it has, each picture has its own points. Positions and weights in f32.
 * @example gridSample(image, t.input('grid', 'b q xy', { b: 1, q: 5, xy: 2 })) // Tensor<'b q c', 'f32'>
 */
export function gridSample<D extends Float, G extends string>(
  x: Tensor<'b h w c', D>,
  grid: Tensor<G, Float> & First<Has<G, 'xy'>, Points<G>>,
  options: GridSampleOptions = {},
): Tensor<Gathered<'b n c', Without<G, 'xy'>, 'n'>, D> {
  checkOptions('gridSample', x, options, ['padding', 'alignCorners']);
  const two = requireAxis('gridSample', grid, 'xy').size;
  if (two !== 2) throw refusal('gridSample', `axis 'xy' has ${String(two)} elements`, [grid], 'a column and a row');
  const wide = grid.cast('f32') as Tensor as Tensor<'xy', 'f32'>;
  const pixels = (i: number, axis: 'h' | 'w'): Tensor<string, 'f32'> => {
    const at: Tensor<string, 'f32'> = wide.at('xy', i);
    const size = sizeValue('gridSample', at, requireAxis('gridSample', x, axis).size);
    return options.alignCorners === true
      ? elementwise('mul', at.add(1).mul(0.5), size.sub(1))
      : elementwise<string, 'f32'>('mul', at.add(1), size).sub(1).mul(0.5);
  };
  return sampled('gridSample', x, pixels(1, 'h'), pixels(0, 'w'), options) as Tensor as Tensor<
    Gathered<'b n c', Without<G, 'xy'>, 'n'>,
    D
  >;
}

/**
 * `x` between its pixels, at rows and columns counted from the middle of the first pixel: (0, 0) is the first pixel itself. The axes of
 * the columns are among those of the rows, and the result has these, then `b` where they have it not, and `c`; where they have, each picture has its own points.
 * @example sampleBilinear(image, t.input('rows', 'q', { q: 5 }), t.input('columns', 'q', { q: 5 })) // Tensor<'q b c', 'f32'>
 */
export function sampleBilinear<D extends Float, P extends string, Q extends string>(
  x: Tensor<'b h w c', D>,
  rows: Tensor<P, 'f32'> & Points<P>,
  columns: Tensor<Q, 'f32'> & Has<P, Q>,
  options: SampleOptions = {},
): Tensor<Gathered<'b n c', P, 'n'>, D> {
  checkOptions('sampleBilinear', x, options, ['padding']);
  return sampled('sampleBilinear', x, rows, columns, options) as Tensor as Tensor<Gathered<'b n c', P, 'n'>, D>;
}

function sampled(
  name: string,
  x: Tensor,
  rows: Tensor<string, 'f32'>,
  columns: Tensor<string, 'f32'>,
  options: SampleOptions,
): Tensor {
  requireOptions(name, options, "{ padding: 'zeros' }");
  const { padding = 'zeros' } = options;
  for (const one of [x, rows, columns]) requireTensor(name, one);
  checkChoice(name, x, 'the padding', padding, ['zeros', 'border']);
  const names = x.axes.map((axis) => axis.name).join(' ');
  if (names !== 'b h w c') throw refusal(name, `takes axes 'b h w c', not '${names}'`, [x], 'rearrange it');
  const stray = columns.axes.find((axis) => axisOf(rows.axes, axis.name) === undefined);
  if (stray !== undefined)
    throw refusal(
      name,
      `the columns have the axis '${stray.name}' and the rows have not`,
      [rows, columns],
      'name the axes of both alike, or widen the rows with repeat',
    );
  const clash = rows.axes.find((axis) => axis.name === 'c');
  if (clash !== undefined) throw refusal(name, "the points have the axis 'c'", [rows], 'give it another name');
  const points = new Set(rows.axes.map((axis) => axis.name));
  const fresh = (wanted: string): string => (points.has(wanted) ? fresh(`${wanted}_`) : wanted);
  const [h, w] = [fresh('h_in'), fresh('w_in')];
  const image = renamed<string, DType>(
    name,
    x,
    new Map([
      ['h', h],
      ['w', w],
    ]),
  );
  const inside = (at: Tensor<string, 'f32'>, axis: string): Tensor<string, 'f32'> => {
    const last = sizeValue(name, at, requireAxis(name, image, axis).size).sub(1);
    // As in PyTorch, a point on the border has no gradient where the border is what lies outside. Otherwise it has, and what is farther away
    // than a pixel is as good as one that is just outside.
    const [low, high, isBelow, isAbove]: readonly [number, Tensor<string, 'f32'>, ...Tensor<string, 'bool'>[]] =
      padding === 'border'
        ? [0, last, at.le(0), elementwise<string, 'bool'>('ge', at, last)]
        : [-1, last.add(1), at.lt(-1), elementwise<string, 'bool'>('gt', at, last.add(1))];
    return where(isBelow, low, where(isAbove, high, at));
  };
  const [r, c] = [inside(rows, h), inside(columns, w)];
  const [top, left] = [floor(r), floor(c)];
  const [down, right]: readonly Tensor<string, 'f32'>[] = [elementwise('sub', r, top), elementwise('sub', c, left)];
  if (down === undefined || right === undefined) throw new TypeError('two distances were made');
  const read = reader(name, image, h, w);
  const terms = [0, 1].flatMap((dy) =>
    [0, 1].map((dx) => {
      const [row, column] = [top.add(dy), left.add(dx)];
      const weight: Tensor<string, 'f32'> = elementwise(
        'mul',
        dy === 0 ? down.neg().add(1) : down,
        dx === 0 ? right.neg().add(1) : right,
      );
      const isInside = elementwise('and', within(name, row, image, h), within(name, column, image, w));
      const value = read(row.cast('i32'), column.cast('i32')).cast('f32');
      // A pixel that is not there counts for nothing, whatever stands where it is read.
      return elementwise<string, 'f32'>('mul', value, weight).where(isInside as never, 0) as Tensor<string, 'f32'>;
    }),
  );
  const [first, ...rest] = terms;
  if (first === undefined) throw new TypeError('four terms were made');
  const total = rest.reduce<Tensor<string, 'f32'>>((sum, term) => elementwise('add', sum, term), first);
  const order = [...rows.axes.map((axis) => axis.name), ...(points.has('b') ? [] : ['b']), 'c'];
  return renamed<string, DType>(name, total.cast(x.dtype), new Map(), order);
}

function within(name: string, at: Tensor<string, 'f32'>, image: Tensor, axis: string): Tensor<string, 'bool'> {
  const size = sizeValue(name, at, requireAxis(name, image, axis).size);
  return elementwise('and', at.ge(0), elementwise('lt', at, size) as Tensor<string, 'bool'>);
}

/** Pixels at rows and columns. Both axes are read as one where their product is a size. */
function reader(
  name: string,
  image: Tensor,
  h: string,
  w: string,
): (row: Tensor<string, 'i32'>, column: Tensor<string, 'i32'>) => Tensor<string, DType> {
  const [height, width] = [requireAxis(name, image, h).size, requireAxis(name, image, w).size];
  if (typeof height !== 'number' && typeof width !== 'number')
    return (row, column) => {
      const line = gather<string, DType, string, string>(image, bounded(name, row, height), h);
      return gather<string, DType, string, string>(line, bounded(name, column, width), w);
    };
  const flat = `${h}${w}`;
  const merged = apply<string, DType>(name, rearrange, [image], {
    split: image.axes.map((axis) => [axis.name]),
    merge: image.axes.flatMap((axis) =>
      axis.name === w
        ? []
        : [axis.name === h ? { name: flat, parts: [h, w] } : { name: axis.name, parts: [axis.name] }],
    ),
    sizes: Object.fromEntries(image.axes.map((axis) => [axis.name, axis.size])),
  });
  if (axisOf(merged.axes, flat) === undefined || multiplySizes(height, width) === 0) return () => merged;
  return (row, column) => {
    const start = elementwise<string, 'i32'>('mul', bounded(name, row, height), sizeValue(name, row, width));
    return gather<string, DType, string, string>(
      merged,
      elementwise<string, 'i32'>('add', start, bounded(name, column, width)),
      flat,
    );
  };
}

function bounded(name: string, at: Tensor<string, 'i32'>, size: Size): Tensor<string, 'i32'> {
  return elementwise('min', at.max(0), sizeValue(name, at, size).sub(1));
}
