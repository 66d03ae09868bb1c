// Parameters that learn are states: a `Params` whose reads below some paths are buffers that live from step to step.
import { OpabiniaError, type Float, type Params, type Tensor, type Trace } from '../../../dsl/index.ts';
import { here } from '../../../dsl/origin.ts';
import { renamed } from '../../../dsl/tensor.ts';
import type { Value } from '../optimizers/optimizer.ts';

/** The parameters that a model has read as states, by path. */
export interface TrainedParams {
  readonly params: Params;
  readonly values: ReadonlyMap<string, Value>;
  /** The same as the model reads them: of these gradients are taken, which are then no wider than the model's arithmetic. */
  readonly read: ReadonlyMap<string, Tensor<string, Float>>;
}

/**
 * `t.params` with the paths that `learns` means as states of f32 under their own names; where the source is f16 they are cast as they
 * are read: masters in f32, arithmetic in f16. Axes and sizes are checked against the source as ever.
 */
export function trainedParams(t: Trace, learns: (path: string) => boolean): TrainedParams {
  const values = new Map<string, Value>();
  const read = new Map<string, Tensor<string, Float>>();
  const wrap = (inner: Params): Params => ({
    path: inner.path,
    at: (...path) => wrap(inner.at(...path)),
    has: (name) => inner.has(name),
    get: <S extends string>(name: string, axes: S, sizes?: Readonly<Record<string, number>>): Tensor<S, Float> => {
      const like = inner.get<string>(name, axes, sizes) as Tensor<S, Float>;
      const path = inner.path === '' ? name : `${inner.path}.${name}`;
      if (!learns(path)) return like;
      const names = like.axes.map((axis) => axis.name);
      const known = read.get(path);
      if (known !== undefined)
        return renamed<string, Float>(
          'get',
          known,
          new Map(known.axes.map((axis, i) => [axis.name, names[i] ?? axis.name])),
        ) as Tensor<S, Float>;
      const value = t.state<string, 'f32'>(
        path,
        names.join(' '),
        Object.fromEntries(like.axes.map((a) => [a.name, fixed(a.size, path)])),
      );
      const own = value.cast(like.dtype) as Tensor<string, Float>;
      values.set(path, value);
      read.set(path, own);
      return own as Tensor<S, Float>;
    },
  });
  return { params: wrap(t.params), values, read };
}

function fixed(size: unknown, path: string): number {
  if (typeof size === 'number') return size;
  throw new OpabiniaError('a parameter has fixed sizes', { op: 'train', path, place: here().place });
}
