// Names and shapes of a model's parameters, as its checkpoint has them: to count them, and to make a checkpoint of any size.

import { sizeProduct } from '../../dsl/axis/axes.ts';
import type { FloatSource } from '../../dsl/index.ts';
import { requireFields } from '../../dsl/graph/required.ts';

export type Shapes = ReadonlyMap<string, readonly number[]>;
export type ShapeEntry = readonly [path: string, shape: readonly number[]];

/** A linear map or a convolution: `weight` with the output axis first, and `bias`. */
export function affineShapes(path: string, weight: readonly number[], bias = true): readonly ShapeEntry[] {
  return bias
    ? [
        [`${path}.weight`, weight],
        [`${path}.bias`, weight.slice(0, 1)],
      ]
    : [[`${path}.weight`, weight]];
}

export function normShapes(path: string, width: number): readonly ShapeEntry[] {
  return [
    [`${path}.weight`, [width]],
    [`${path}.bias`, [width]],
  ];
}

/** The two maps of an MLP of `c` channels, `hidden` inside: `fc1` and `fc2`. */
export function mlpShapes(path: string, c: number, hidden: number): readonly ShapeEntry[] {
  return [...affineShapes(`${path}.fc1`, [hidden, c]), ...affineShapes(`${path}.fc2`, [c, hidden])];
}

/** The entries that `each` gives for 0 … count − 1. */
export function repeated(count: number, each: (index: number) => readonly ShapeEntry[]): readonly ShapeEntry[] {
  return Array.from({ length: count }, (_, index) => each(index)).flat();
}

/** Whether a path is this one, or one below it. */
export function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}.`);
}

/** The same entries below a path. */
export function under(path: string, entries: Iterable<ShapeEntry>): readonly ShapeEntry[] {
  return path === '' ? [...entries] : [...entries].map(([name, shape]) => [`${path}.${name}`, shape] as const);
}

/**
 * The number of parameters.
 * @example countParameters(new Map([['weight', [4, 8]]])) // 32
 */
export function countParameters(shapes: Shapes): number {
  requireFields('countParameters', shapes, { values: 'function' }, "new Map([['weight', [4, 8]]])", 'the shapes');
  return [...shapes.values()].reduce((sum, shape) => sum + sizeProduct(shape), 0);
}

/**
 * Parameters of these names and shapes, with values from another source, e.g. `randomParams`.
 * @example shapedParams(new Map([['weight', [4, 8]]]), randomParams(1))
 */
export function shapedParams(shapes: Shapes, values: FloatSource): FloatSource {
  const call = "shapedParams(new Map([['weight', [4, 8]]]), randomParams(1))";
  requireFields('shapedParams', shapes, { get: 'function' }, call, 'the shapes');
  requireFields('shapedParams', values, { read: 'function' }, call, 'the source');
  return {
    dtype: values.dtype,
    shape: (path) => shapes.get(path),
    names: () => shapes.keys(),
    read: (path, shape) => values.read(path, shape),
  };
}
