// Losses: cross-entropy of logits, and of hidden states with the language head behind them.
import { axisOf, printAxes, sizeBound, type Axis, type Size } from '../axis/axis.ts';
import { type DType } from '../graph/op.ts';
import { recompute } from '../gradient/recompute.ts';
import { stopGradient } from '../gradient/stop-gradient.ts';
import { constant, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import {
  elementwise,
  refusal,
  requireAxis,
  requireNumber,
  sizeValue,
  Tensor,
  widened,
  requireTensor,
} from '../tensor.ts';
import type { Head, Labels } from '../axis/argument-types.ts';
import type { Has, Words } from '../axis/pattern-types.ts';
import { exp, log, positions, where } from './math.ts';
import { concat } from './join.ts';
import { checkChoice } from './options.ts';
import { product, reduceAxes, slice } from './shape.ts';
import { requireOptions } from '../graph/required.ts';

export interface CrossEntropyOptions {
  /** The label of a row that counts for nothing. Default −100. */
  readonly ignore?: number | undefined;
  /** Weight of the mean over all classes against that of the label. Default 0. */
  readonly smoothing?: number | undefined;
  /** `mean` divides by the number of rows that count; of none, it is NaN, as in PyTorch. Default `mean`. */
  readonly reduction?: 'mean' | 'sum' | undefined;
}

/** What one row needs: log Σ e^logit, the label's logit, and where labels are smoothed the mean of all logits. */
interface RowTerms {
  readonly total: Tensor<string, 'f32'>;
  readonly label: Tensor<string, 'f32'>;
  readonly mean: Tensor<string, 'f32'> | undefined;
}

/**
 * −Σ log softmax(logits)[label] over the rows whose label counts, in f32: PyTorch's `cross_entropy`. `axis` is that of the classes;
 * the labels have the other axes. A label that is no class, and is not the ignored one, makes the loss and the gradients of its row NaN
 * (PyTorch refuses it; what is on a device cannot be refused).
 * @example crossEntropy(x, labels, { axis: 'd' }) // labels: Tensor<'b n', 'i32'>
 */
export function crossEntropy<S extends string, D extends DType, L extends string, A extends string>(
  logits: Tensor<S, D>,
  labels: Tensor<L, 'i32'> & Labels<L, S, A>,
  options: CrossEntropyOptions & { readonly axis: A & Has<S, A> },
): Tensor<'', 'f32'> {
  requireTensor('crossEntropy', logits);
  requireOptions('crossEntropy', options, "crossEntropy(logits, labels, { axis: 'v' })");
  const { size } = requireAxis('crossEntropy', logits, options.axis);
  checkLabels('crossEntropy', logits, labels, options.axis);
  const wide = logits.cast('f32') as Tensor<string, 'f32'>;
  return reduced('crossEntropy', rowTerms(wide, labels, options.axis, 0, options), labels, size, options);
}

export interface LinearCrossEntropyOptions extends CrossEntropyOptions {
  /** Bytes that the logits of one part of the classes may take in f32. Default 64 MiB. */
  readonly partBytes?: number | undefined;
}

/**
 * The same of the logits `hidden · headᵀ`, which never stand in memory together: the classes are taken in parts, whose logits the
 * backward pass computes again. `hidden` and `head` share one axis; the other axis of `head` is that of the classes. What is held is
 * the logits of two parts and their gradients.
 * @example linearCrossEntropy(x, p.get('head', 'v d', { v: 100, d: 8 }), labels)
 */
export function linearCrossEntropy<S extends string, T extends string, D extends DType, L extends string>(
  hidden: Tensor<S, D>,
  head: Tensor<T, D> & Head<T, S>,
  labels: Tensor<L, 'i32'> & Labels<L, S, Words<T>>,
  options: LinearCrossEntropyOptions = {},
): Tensor<'', 'f32'> {
  const name = 'linearCrossEntropy';
  for (const x of [hidden, head, labels]) requireTensor(name, x);
  const classes = head.axes.filter((axis) => axisOf(hidden.axes, axis.name) === undefined);
  const [along] = classes;
  if (along === undefined || classes.length !== 1 || head.axes.length !== 2)
    throw refusal(
      name,
      `the head ${printAxes(head.axes)} must share one axis with the hidden states, and have one of classes`,
      [hidden, head],
      'rename its axes with rearrange',
    );
  const rows = hidden.axes.filter((axis) => axisOf(head.axes, axis.name) === undefined);
  checkLabels(name, hidden, labels, head.axes.find((axis) => axis !== along)?.name ?? '');
  const count = requireNumber(name, head, along.name);
  const { partBytes = 64 * 2 ** 20 } = options;
  if (!(partBytes > 0)) throw refusal(name, `partBytes is ${partBytes}`, [hidden, head], 'a number above 0');
  const each = partSize(rows, count, partBytes);
  const names = rows.map((axis) => axis.name);
  const parts = Array.from({ length: Math.ceil(count / each) }, (_, i): RowTerms => {
    const start = i * each;
    const some = slice<string, D, string>(head, along.name, { start, size: Math.min(each, count - start) });
    const terms = (x: Tensor<string, D>): RowTerms =>
      rowTerms(
        product<string, D>(name, x, some, [...names, along.name]).cast('f32'),
        labels,
        along.name,
        start,
        options,
      );
    // Values of one block: the logits behind them are one node, forward and again.
    const held = (of: (terms: RowTerms) => Tensor<string, 'f32'>) =>
      recompute((x) => of(terms(x)), hidden as Tensor<string, D>);
    return {
      total: held((row) => row.total),
      label: held((row) => row.label),
      mean: (options.smoothing ?? 0) === 0 ? undefined : held((row) => row.mean ?? row.total),
    };
  });
  const axis = `${along.name}_part`;
  const sum = (x: Tensor<string, 'f32'>): Tensor<string, 'f32'> => reduceAxes('sum', x, [axis], name);
  const joined: RowTerms = {
    total: gathered(
      name,
      axis,
      parts.map((part) => part.total),
      (x) => logSumExp(x, axis),
    ),
    label: gathered(
      name,
      axis,
      parts.map((part) => part.label),
      sum,
    ),
    mean:
      (options.smoothing ?? 0) === 0
        ? undefined
        : gathered(
            name,
            axis,
            parts.map((part, i) => (part.mean ?? part.total).mul(Math.min(each, count - i * each) / count)),
            sum,
          ),
  };
  return reduced(name, joined, labels, count, options);
}

/** As many classes as `partBytes` hold the logits of, in whole tiles of a contraction. */
function partSize(rows: readonly Axis[], count: number, partBytes: number): number {
  const bytes = 4 * rows.reduce((total, axis) => total * Math.max(1, sizeBound(axis.size)), 1);
  const most = Math.max(64, Math.floor(partBytes / bytes / 64) * 64);
  const parts = Math.ceil(count / most);
  return Math.min(count, Math.ceil(count / parts / 64) * 64);
}

function checkLabels(name: string, x: Tensor, labels: Tensor, axis: string): void {
  const rows = x.axes.filter((a) => a.name !== axis);
  if (labels.axes.length !== rows.length || rows.some((a) => axisOf(labels.axes, a.name) === undefined))
    throw refusal(
      name,
      `the labels ${printAxes(labels.axes)} must have the axes ${printAxes(rows)}`,
      [x, labels],
      'one label a row',
    );
}

/** Of the classes that stand along `axis`, the first of which has the number `start`. */
function rowTerms(
  logits: Tensor<string, 'f32'>,
  labels: Tensor<string, 'i32'>,
  axis: string,
  start: number,
  { smoothing = 0 }: CrossEntropyOptions,
): RowTerms {
  const along = requireAxis('crossEntropy', logits, axis);
  const place = elementwise<string, 'i32'>('sub', labels, start);
  const isLabel: Tensor<string, 'bool'> = elementwise(
    'eq',
    widened<string, 'i32'>('crossEntropy', place, [...labels.axes, along]),
    positions(logits, along, axis),
  );
  return {
    total: logSumExp(logits, axis),
    label: reduceAxes('sum', where(isLabel, logits, 0), [axis], 'crossEntropy'),
    mean: smoothing === 0 ? undefined : reduceAxes('mean', logits, [axis], 'crossEntropy'),
  };
}

/** log Σ e^x along an axis, without overflow. */
function logSumExp(x: Tensor<string, 'f32'>, axis: string): Tensor<string, 'f32'> {
  const top: Tensor<string, 'f32'> = stopGradient(reduceAxes('max', x, [axis], 'logSumExp'));
  return top.add(log(reduceAxes<string, 'f32'>('sum', exp(x.sub(top)), [axis], 'logSumExp')));
}

/** Kernels have few bindings: so many tensors are put side by side at once. */
const mostJoined = 6;

/** All of them taken together by `reduce`, which is associative, along an axis of their own: a few at a time. */
function gathered(
  name: string,
  axis: string,
  xs: readonly Tensor<string, 'f32'>[],
  reduce: (x: Tensor<string, 'f32'>) => Tensor<string, 'f32'>,
): Tensor<string, 'f32'> {
  const [first] = xs;
  if (first === undefined) throw new TypeError('nothing to take together');
  if (xs.length === 1) return first;
  const groups = Array.from({ length: Math.ceil(xs.length / mostJoined) }, (_, i) =>
    xs.slice(i * mostJoined, (i + 1) * mostJoined),
  );
  const reduced = groups.map((group) => {
    const [only] = group;
    if (only !== undefined && group.length === 1) return only;
    const unit = group.map((x) => widened<string, 'f32'>(name, x, [...x.axes, { name: axis, size: 1 }]));
    return reduce(concat<string, 'f32', string>(unit, axis));
  });
  return gathered(name, axis, reduced, reduce);
}

function reduced(
  name: string,
  { total, label, mean }: RowTerms,
  labels: Tensor<string, 'i32'>,
  classes: Size,
  { ignore = -100, smoothing = 0, reduction = 'mean' }: CrossEntropyOptions,
): Tensor<'', 'f32'> {
  checkChoice(name, labels, 'the reduction', reduction, ['mean', 'sum']);
  const counts = labels.ne(ignore);
  const loss =
    mean === undefined
      ? total.sub(label)
      : total
          .sub(label)
          .mul(1 - smoothing)
          .add(total.sub(mean).mul(smoothing));
  const rows = loss.axes.map((axis) => axis.name);
  const judged = elementwise<string, 'f32'>('mul', loss, oneOrNaN(name, labels, counts, classes));
  const all = reduceAxes<'', 'f32'>('sum', where(counts, judged, 0), rows, name);
  if (reduction === 'sum') return all;
  return all.div(reduceAxes<'', 'f32'>('sum', counts.cast('f32') as Tensor<string, 'f32'>, rows, name));
}

/**
 * 1 for a row whose label is a class or is ignored, else NaN. It is a factor, for its gradient is NaN too: that of a choice would be 0, and
 * a training would go on. An ignored row has 1, since 0 · NaN, its gradient, would be NaN.
 */
function oneOrNaN(
  name: string,
  labels: Tensor<string, 'i32'>,
  counts: Tensor<string, 'bool'>,
  classes: Size,
): Tensor<string, 'f32'> {
  const below: Tensor<string, 'bool'> = elementwise('lt', labels, sizeValue(name, labels, classes));
  const known: Tensor<string, 'bool'> = elementwise('or', elementwise('and', labels.ge(0), below), counts.not());
  const nan = labels.builder.make(
    constant,
    [],
    { ...typeAttrs([], 'f32'), values: Float64Array.of(NaN) },
    originOf([labels.node]),
  );
  return where(known, 1, new Tensor<'', 'f32'>(labels.builder, nan)) as Tensor<string, 'f32'>;
}
