// What golden files of gradients have in common: a loss, and gradients by parameters, inputs and intermediate activations.
import { OpabiniaError } from '../../dsl/error.ts';
import { gradients, reduce, type Float, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import type { Tolerance } from './verdict.ts';
import type { GoldenFile, OutputRecorder } from './golden-file.ts';

/** Σ y · upstream, with the input `upstream` of the shape of y; taken as `loss`. */
export function weightedLoss(t: Trace, file: GoldenFile, recorder: OutputRecorder, y: Tensor): Tensor {
  const names = y.axes.map((axis) => axis.name).join(' ');
  const sizes = Object.fromEntries(y.axes.map((axis) => [axis.name, axis.size]));
  const upstream = t.input<string, Float>('upstream', names, sizes, file.dtype);
  const loss = reduce((y as Tensor<string, Float>).mul(upstream).cast('f32'), `${names} ->` as never, 'sum') as Tensor;
  recorder.take('loss', loss);
  return loss;
}

/** Every gradient that the file has, as outputs `grad.*`. `given` are the inputs by name, `inner` activations that nobody inspects. */
export function takeGradients(
  t: Trace,
  file: GoldenFile,
  recorder: OutputRecorder,
  loss: Tensor,
  given: ReadonlyMap<string, Tensor>,
  inner: ReadonlyMap<string, Tensor> = new Map(),
): void {
  const names = file.gradients;
  const wrt = names.map((name) => {
    if (name.startsWith('input.')) return given.get(name.slice('input.'.length)) ?? missing(name);
    if (name.startsWith('inter.')) return inner.get(name) ?? recorder.tensors[name] ?? missing(name);
    return parameter(t.params, file, name);
  });
  // A parameter on which the loss depends nowhere has zeros in the file.
  gradients(loss, wrt, { unused: 'zeros' }).forEach((gradient, i) => recorder.take(`grad.${names[i] ?? ''}`, gradient));
}

function parameter(params: Params, file: GoldenFile, path: string): Tensor {
  const axes = file.shape(`grad.${path}`).map((_, i) => `axis${i}`);
  return params.get<string>(path, axes.join(' '));
}

function missing(name: string): never {
  throw new OpabiniaError(`the file has a gradient by '${name}', which the model has not`, {
    op: 'verify',
    advice: 'the file may be of another kind',
  });
}

/** A gradient may be off by `relative` · max |it| + `overall` · the largest element of all gradients; outputs by the usual bound. */
export function gradientTolerance(
  file: GoldenFile,
  relative: number,
  overall: number,
): (output: string) => Tolerance | undefined {
  const largest = file.config.number('max_abs_grad');
  return (output) =>
    output.startsWith('grad.')
      ? { absolute: relative * largestOf(file.numbers(output)) + overall * largest, relative: 0 }
      : undefined;
}

export function largestOf(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i] ?? 0));
  return most;
}
