// Gradients end to end in a few long values: two reductions find all their norms, and the compiler updates what they belong to in one kernel.
import { concat, gather, slice, where, type Float, type Tensor } from '../../../dsl/index.ts';
import { dtypeBytes } from '../../../dsl/graph/elements.ts';
import { arange, constantLike } from '../../../dsl/functions/fill.ts';
import { reduceAxes } from '../../../dsl/functions/shape.ts';
import { rearrange } from '../../../dsl/ops/view.ts';
import { apply, renamed, widened } from '../../../dsl/tensor.ts';
import type { Value } from '../optimizers/optimizer.ts';

/** In the dtype of the model's arithmetic. */
export type Gradient = Tensor<string, Float>;
type Flat = Tensor<'flat', Float>;

export interface FlatGradients {
  /** As given, each a range of a long value. */
  readonly gradients: readonly Gradient[];
  /** Σ g² of each, in the order given. */
  readonly squares: Tensor<'p', 'f32'>;
}

/** A gradient in its place. */
interface Part {
  readonly gradient: number;
  readonly start: number;
  readonly count: number;
}

/** Gradients that lie end to end. */
interface Run {
  readonly flat: Flat;
  readonly parts: readonly Part[];
}

/** Elements that one workgroup of the first of two sums adds up. */
const blockLength = 4096;
/** Bytes of a run, at most: its buffer is held from its first gradient on. */
const mostBytes = 64 * 2 ** 20;
/** A run of fewer bytes holds no memory to speak of. */
const fewBytes = 16 * 2 ** 20;
/** Of all runs together, what one may be: the others' gradients need not have been computed when it begins. */
const share = 8;
/** Bindings begin at multiples of this many bytes on every device. */
const alignment = 256;

/**
 * Gradients in the order in which the model reads their parameters: the backward pass makes the last first. `kindOf`: only gradients of
 * one kind and dtype lie in one run, those whose parameters are updated alike. The values are what they were, to the bit. `unscaled`: what
 * is squared of one.
 */
export function flattened(
  gradients: readonly Gradient[],
  kindOf: (gradient: number) => number,
  unscaled: (gradient: Gradient) => Value,
): FlatGradients {
  const runs = runsOf(gradients, kindOf).map((run) => endToEnd(gradients, run));
  const views = new Map<number, Gradient>();
  for (const { flat: run, parts } of runs)
    for (const { gradient, start, count } of parts) {
      const like = gradients[gradient];
      if (like !== undefined && parts.length > 1)
        views.set(gradient, shaped(slice(run, 'flat', { start, size: count }), like));
    }
  return {
    gradients: gradients.map((gradient, i) => views.get(i) ?? gradient),
    squares: squaresOf(runs, gradients, unscaled),
  };
}

function runsOf(gradients: readonly Gradient[], kindOf: (gradient: number) => number): readonly (readonly number[])[] {
  const bytes = (i: number): number => bytesOf(gradients[i]);
  const total = gradients.reduce((sum, gradient) => sum + bytesOf(gradient), 0);
  const most = Math.min(mostBytes, Math.max(fewBytes, total / share));
  const open = new Map<string, { readonly members: number[]; bytes: number }>();
  const runs: number[][] = [];
  for (let i = gradients.length - 1; i >= 0; i--) {
    const kind = `${kindOf(i)} ${gradients[i]?.dtype}`;
    const last = open.get(kind);
    if (last !== undefined && last.bytes + bytes(i) <= most) {
      last.members.push(i);
      last.bytes += bytes(i);
      continue;
    }
    const members = [i];
    runs.push(members);
    // What is larger than a run stands alone, and the run before it goes on.
    if (bytes(i) <= most) open.set(kind, { members, bytes: bytes(i) });
  }
  return runs;
}

function endToEnd(gradients: readonly Gradient[], members: readonly number[]): Run {
  // What is not a multiple of the alignment comes last: what stands behind it could not be bound by itself.
  const isAligned = (i: number): boolean => bytesOf(gradients[i]) % alignment === 0;
  const sorted = [...members.filter(isAligned), ...members.filter((i) => !isAligned(i))];
  let start = 0;
  const parts = sorted.map((gradient): Part => {
    const count = countOf(gradients[gradient]);
    const part = { gradient, start, count };
    start += count;
    return part;
  });
  const flats = sorted.flatMap((i) => gradients[i] ?? []).map(flat);
  const [first] = flats;
  if (first === undefined) throw new TypeError('a run without gradients');
  return { parts, flat: flats.length === 1 ? first : concat<'flat', Float, 'flat'>(flats, 'flat') };
}

/**
 * Two reductions for all: blocks of a run, of whole gradients or parts of them, then the blocks of each gradient. Where blocks begin, and
 * how long they are, is known now.
 */
function squaresOf(
  runs: readonly Run[],
  gradients: readonly Gradient[],
  unscaled: (gradient: Gradient) => Value,
): Tensor<'p', 'f32'> {
  const blocksOf = new Map<number, { readonly first: number; readonly count: number }>();
  let total = 0;
  const sums = runs.map(({ flat: values, parts }) => {
    const starts: number[] = [];
    const counts: number[] = [];
    for (const { gradient, start, count } of parts) {
      const blocks = Math.max(1, Math.ceil(count / blockLength));
      blocksOf.set(gradient, { first: total, count: blocks });
      total += blocks;
      for (let block = 0; block < blocks; block++) {
        starts.push(start + block * blockLength);
        counts.push(Math.min(blockLength, count - block * blockLength));
      }
    }
    return renamed<'flat', 'f32'>(
      'squares',
      segmentSums(values, starts, counts, 's', (given) => {
        const x = unscaled(given);
        return x.mul(x);
      }),
      new Map([['s', 'flat']]),
    );
  });
  const [first] = sums;
  if (first === undefined) throw new TypeError('nothing learns');
  const places = gradients.map((_, i) => blocksOf.get(i) ?? { first: 0, count: 0 });
  return segmentSums(
    sums.length === 1 ? first : concat<'flat', 'f32', 'flat'>(sums, 'flat'),
    places.map((place) => place.first),
    places.map((place) => place.count),
    'p',
    (x) => x.cast('f32') as Value,
  );
}

/** Σ of the terms of each segment, along a new axis. */
function segmentSums<A extends 's' | 'p'>(
  values: Flat,
  starts: readonly number[],
  counts: readonly number[],
  axis: A,
  term: (x: Gradient) => Value,
): Tensor<A, 'f32'> {
  // As many as there are rows of an embedding: too many to be arguments.
  const longest = counts.reduce((most, count) => Math.max(most, count), 0);
  const axes = [
    { name: axis, size: starts.length },
    { name: 'e', size: longest },
  ];
  const numbers = (given: readonly number[]): Tensor<string, 'i32'> =>
    widened('squares', constantLike<string, 'i32'>(values, given, axis, { [axis]: given.length }, 'i32'), axes);
  const within = widened<string, 'i32'>('squares', arange(values, 'e', longest), axes);
  const found = gather<'flat', Float, string, 'flat'>(values, within.add(numbers(starts)), 'flat') as Gradient;
  return reduceAxes<A, 'f32'>('sum', where(within.lt(numbers(counts)), term(found), 0) as Value, ['e']);
}

/** The axes merged into one. */
function flat(x: Gradient): Flat {
  if (x.axes.length === 0) return widened<'flat', Float>('flat', x, [{ name: 'flat', size: 1 }]);
  const names = x.axes.map((axis) => axis.name);
  return apply<'flat', Float>('flat', rearrange, [x], {
    split: names.map((name) => [name]),
    merge: [{ name: 'flat', parts: names }],
    sizes: Object.fromEntries(x.axes.map((axis) => [axis.name, axis.size])),
  });
}

/** One axis as those of `like`. */
function shaped(x: Flat, like: Gradient): Gradient {
  if (like.axes.length === 0) return x.at('flat', 0);
  const names = like.axes.map((axis) => axis.name);
  return apply<string, Float>('flat', rearrange, [x], {
    split: [names],
    merge: names.map((name) => ({ name, parts: [name] })),
    sizes: Object.fromEntries(like.axes.map((axis) => [axis.name, axis.size])),
  });
}

function countOf(x: Gradient | undefined): number {
  return (x?.axes ?? []).reduce((count, { size }) => count * (typeof size === 'number' ? size : 1), 1);
}

function bytesOf(x: Gradient | undefined): number {
  return countOf(x) * dtypeBytes(x?.dtype ?? 'f32');
}
