// What lists of axes have in common, and how many elements they span.
import { axisOf, sizeBound, sizesEqual, type Axis } from './axis.ts';

/** Whether a text may name an axis: as patterns and printed graphs have them. */
export function isAxisName(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_]*$/.test(text);
}

/** The names of axes, in order. */
export function namesOf(axes: readonly Axis[]): readonly string[] {
  return axes.map((axis) => axis.name);
}

/** The same axes in the same order. */
export function sameAxes(a: readonly Axis[], b: readonly Axis[]): boolean {
  return (
    a.length === b.length &&
    a.every((axis, i) => {
      const other = b[i];
      return other !== undefined && axis.name === other.name && sizesEqual(axis.size, other.size);
    })
  );
}

/** True when every axis of `a` is among those of `b`. */
export function axesWithin(a: readonly Axis[], b: readonly Axis[]): boolean {
  return a.every((axis) => axisOf(b, axis.name) !== undefined);
}

/** The product of sizes: elements of an array of this shape. */
export function sizeProduct(sizes: readonly number[]): number {
  return sizes.reduce((product, size) => product * size, 1);
}

/** Elements at the largest sizes that the symbols allow. */
export function elementsOf(axes: readonly Axis[]): number {
  return sizeProduct(axes.map((axis) => sizeBound(axis.size)));
}

/** Elements; Infinity where a size is a symbol. */
export function fixedElements(axes: readonly Axis[]): number {
  return sizeProduct(axes.map(({ size }) => (typeof size === 'number' ? size : Infinity)));
}
