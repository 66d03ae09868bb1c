// Parameters without a checkpoint: from a seed, for prototypes and tests, or from numbers in memory.
import { sizeProduct } from './axis/axes.ts';
import { nearestNames, OpabiniaError } from './error.ts';
import { here } from './origin.ts';
import type { FloatSource } from './params.ts';
import type { Float } from './tensor.ts';
import { plural } from './text/plural.ts';
import { requireFields, requireOptions, said } from './graph/required.ts';

/**
 * Any path exists; its values depend on seed and path alone, so two models that share a path share its values.
 * Tensors of two axes and more: normal with deviation 1/√fan-in, the fan-in being all sizes but the first (PyTorch's layout).
 * Of one axis: `weight` is 1 + N(0, 0.02), as in a norm; everything else N(0, 0.02).
 * @example randomParams(1)
 */
export function randomParams(seed: number, options: { readonly dtype?: Float } = {}): FloatSource {
  if (typeof seed !== 'number')
    throw new OpabiniaError(`the seed is ${said(seed)}`, { op: 'randomParams', advice: 'randomParams(1)' });
  requireOptions('randomParams', options, "{ dtype: 'f16' }");
  const dtype = options.dtype ?? 'f32';
  return {
    dtype,
    shape: () => undefined,
    names: () => undefined,
    read: (path, shape) => {
      const count = sizeProduct(shape);
      const fanIn = sizeProduct(shape.slice(1));
      const deviation = shape.length >= 2 ? 1 / Math.sqrt(Math.max(1, fanIn)) : 0.02;
      const middle = shape.length === 1 && /(^|\.)(weight|gamma)$/.test(path) ? 1 : 0;
      const values = normals(hash(path, seed), count);
      for (let i = 0; i < count; i++) {
        const value = middle + deviation * (values[i] ?? 0);
        // What the graph holds as f16 is f16 for everybody who reads it.
        values[i] = dtype === 'f16' ? Math.f16round(value) : value;
      }
      return values;
    },
  };
}

/**
 * Parameters given as numbers. Reading checks the shape.
 * @example fixedParams({ 'fc.weight': { shape: [2, 3], values: [1, 2, 3, 4, 5, 6] } })
 */
export function fixedParams(
  tensors: Readonly<Record<string, { readonly shape: readonly number[]; readonly values: ArrayLike<number> }>>,
  options: { readonly dtype?: Float } = {},
): FloatSource {
  requireOptions('fixedParams', tensors, "{ 'fc.weight': { shape: [2], values: [1, 2] } }", 'the tensors');
  for (const [path, tensor] of Object.entries(tensors))
    requireFields(
      'fixedParams',
      tensor,
      { shape: 'object', values: 'object' },
      '{ shape: [2], values: [1, 2] }',
      `tensor '${path}'`,
    );
  const known = new Map(Object.entries(tensors));
  return {
    dtype: options.dtype ?? 'f32',
    shape: (path) => known.get(path)?.shape,
    names: () => known.keys(),
    read: (path, shape) => {
      const tensor = known.get(path);
      const refuse = (what: string, advice?: string) =>
        new OpabiniaError(what, { op: 'read', path, place: here().place, advice });
      if (tensor === undefined)
        throw refuse(
          `there is no tensor of shape [${shape.join(' ')}]`,
          `the nearest are ${nearestNames(path, known.keys()).join(', ')}`,
        );
      if (tensor.shape.join() !== shape.join())
        throw refuse(`the tensor has shape [${tensor.shape.join(' ')}], and [${shape.join(' ')}] is read`);
      if (tensor.values.length !== sizeProduct(shape))
        throw refuse(`${plural(tensor.values.length, 'number')} given for shape [${shape.join(' ')}]`);
      return options.dtype === 'f16'
        ? Float32Array.from(tensor.values, (value) => Math.f16round(value))
        : Float32Array.from(tensor.values);
    },
  };
}

/** FNV-1a over the path, mixed with the seed. */
function hash(path: string, seed: number): number {
  let h = 0x811c9dc5 ^ Math.imul(seed | 0, 0x9e3779b1);
  for (let i = 0; i < path.length; i++) h = Math.imul(h ^ path.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Standard normal numbers: mulberry32 and the Box-Muller transform. */
function normals(start: number, count: number): Float32Array {
  let state = start;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < count) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}
