// Traces a small model and runs it on the reference interpreter in double precision; random numbers for its inputs.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { randomParams, trace, type ParamSource, type Tensor, type Trace, type TraceOptions } from '../../dsl/index.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

export interface Setting {
  readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
  readonly symbols?: Readonly<Record<string, number>>;
  readonly params?: ParamSource;
  readonly unread?: NonNullable<TraceOptions['unread']>;
}

export interface Ran {
  readonly axes: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: readonly number[];
}

/** The values of the only output `y`. */
export function run(build: (t: Trace) => Tensor, setting: Setting = {}): Ran {
  const source = setting.params ?? randomParams(1);
  const graph = trace(source, (t) => ({ y: build(t) }), { unread: setting.unread ?? 'error' });
  const { outputs } = evaluate(
    graph,
    {
      inputs: new Map(Object.entries(setting.inputs ?? {})),
      params: (path, shape) => source.read(path, shape),
      symbols: new Map(Object.entries(setting.symbols ?? {})),
    },
    { precision: 'f64' },
  );
  const y = outputs.get('y');
  if (y === undefined) throw new Error('no output y');
  return {
    axes: y.axes.map((axis) => axis.name).join(' '),
    shape: y.axes.map((axis) => axis.size),
    dtype: y.dtype,
    data: [...y.data],
  };
}

/** Numbers between -1 and 1 that look irregular. */
export function numbers(count: number, seed = 1): readonly number[] {
  return Array.from(
    { length: count },
    (_, i) => Math.sin(seed * 12.9898 + i * 78.233) * 0.9 + Math.cos(i * i * 0.37 + seed) * 0.1,
  );
}

/** Row-major reading: `at(data, [2, 3, 4])(i, j, k)`. */
export function at(data: ArrayLike<number>, shape: readonly number[]): (...index: readonly number[]) => number {
  return (...index) => {
    if (index.some((i, n) => i < 0 || i >= (shape[n] ?? 0)))
      throw new Error(`no element ${index.join(' ')} in ${shape.join(' ')}`);
    return data[index.reduce((flat, i, n) => flat * (shape[n] ?? 0) + i, 0)] ?? NaN;
  };
}

/** Row-major values of a function of the indices. */
export function table(shape: readonly number[], f: (...index: number[]) => number): readonly number[] {
  const count = sizeProduct(shape);
  return Array.from({ length: count }, (_, flat) => {
    const index: number[] = [];
    for (let n = shape.length - 1, rest = flat; n >= 0; n--) {
      const size = shape[n] ?? 1;
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return f(...index);
  });
}

/** The largest difference; NaN equals NaN only. */
export function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Infinity;
  return a.reduce((most, x, i) => {
    const y = b[i] ?? NaN;
    if (x === y) return most;
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) === Number.isNaN(y) ? most : Infinity;
    return Math.max(most, Math.abs(x - y));
  }, 0);
}
