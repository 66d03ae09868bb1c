// Running sums, in blocks.
import { sizeBound, subtractSizes } from '../axis/axis.ts';
import type { Has } from '../axis/pattern-types.ts';
import type { DType } from '../graph/op.ts';
import { rearrange } from '../ops/view.ts';
import { apply, refusal, renamed, requireAxis, widened, type Tensor } from '../tensor.ts';
import { positions } from './math.ts';
import { pad, reduceAxes, slice } from './shape.ts';

/** Elements of a block: an element is added up from so many at most, and as many blocks are added before it. */
const block = 64;

/**
 * Element i is the sum of the elements 0 … i along the axis: `torch.cumsum`. Sums of f16 accumulate in f32. An infinity or NaN reaches only
 * what comes after it. Within blocks of 64 each sum is taken anew, and so are the sums of blocks: n·64 additions, and little memory.
 * Throws `OpabiniaError` for bool.
 * @example const ends = cumsum(x, 'n')
 */
export function cumsum<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('cumsum', x, axis);
  if (x.dtype === 'bool') throw refusal('cumsum', 'bool is not summed', [x], "cast it to 'i32' first");
  return x.dtype === 'f16'
    ? (running(x.cast('f32') as Tensor, axis).cast('f16') as Tensor as Tensor<S, D>)
    : (running(x, axis) as Tensor as Tensor<S, D>);
}

function running(x: Tensor, axis: string): Tensor {
  const { size } = requireAxis('cumsum', x, axis);
  const most = sizeBound(size);
  if (most <= 2 * block) return within(x, axis);
  const blocks = Math.ceil(most / block);
  const [outer, inner] = [fresh(x, `${axis}_block`), fresh(x, `${axis}_in`)];
  const filled = pad<string, DType, string>(x, axis, { after: subtractSizes(blocks * block, size) });
  const sizes = Object.fromEntries([
    ...x.axes.filter((a) => a.name !== axis).map((a) => [a.name, a.size] as const),
    [outer, blocks] as const,
    [inner, block] as const,
  ]);
  const parts = x.axes.map((a) => (a.name === axis ? [outer, inner] : [a.name]));
  const apart = apply<string, DType>('cumsum', rearrange, [filled], {
    split: parts,
    merge: parts.flat().map((part) => ({ name: part, parts: [part] })),
    sizes,
  });
  const sums = within(apart, inner);
  const totals = running(reduceAxes<string, DType>('sum', apart, [inner], 'cumsum'), outer);
  const before = slice<string, DType, string>(pad<string, DType, string>(totals, outer, { before: 1 }), outer, {
    start: 0,
    size: blocks,
  });
  const whole = apply<string, DType>('cumsum', rearrange, [sums.add(before as never)], {
    split: parts.flat().map((part) => [part]),
    merge: x.axes.map((a) => ({ name: a.name, parts: a.name === axis ? [outer, inner] : [a.name] })),
    sizes,
  });
  return slice<string, DType, string>(whole, axis, { start: 0, size });
}

/** Each element the sum of its own terms. */
function within(x: Tensor, axis: string): Tensor {
  const along = requireAxis('cumsum', x, axis);
  const from = fresh(x, `${axis}_from`);
  const terms = { name: from, size: along.size };
  const pairs = x.axes.flatMap((a) => (a.name === axis ? [a, terms] : [a]));
  const wide = widened<string, DType>('cumsum', renamed<string, DType>('cumsum', x, new Map([[axis, from]])), pairs);
  const mine = widened<string, 'i32'>('cumsum', positions(x, along, axis), [along, terms]);
  const isBefore: Tensor<string, 'bool'> = mine.ge(positions(x, terms, from) as never);
  return reduceAxes<string, DType>('sum', wide.where(isBefore as never, 0), [from], 'cumsum');
}

function fresh(x: Tensor, wanted: string): string {
  return x.axes.some((axis) => axis.name === wanted) ? fresh(x, `${wanted}_`) : wanted;
}
