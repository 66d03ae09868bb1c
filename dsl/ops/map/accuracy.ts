// Bounds of what a device computes, from the table of WGSL §15.7.4.

/** One unit in the last place of an f32 of the size of y; subnormals may be flushed. */
export function ulp(y: number): number {
  const size = Math.abs(y);
  return size < 2 ** -126 ? 2 ** -126 : 2 ** (Math.floor(Math.log2(size)) - 23);
}

/** So many units in the last place, and so much besides. */
export const within =
  (ulps: number, absolute = 0) =>
  (y: number): number =>
    ulps * ulp(y) + absolute;

/** Sums, differences and products are correctly rounded: what f32 can hold is exact, as it is of whole numbers up to 2²⁴. */
export const correctlyRounded = (y: number, x: readonly number[]): number =>
  Math.abs(y) <= 2 ** 24 && x.every(Number.isInteger) ? 0 : ulp(y);

/** WGSL gives exp 3 + 2|x| ULP; Mesa's llvmpipe takes up to 0.37 more, just below 0 (of 4 million numbers in [-0.1, 0] 1,576 are over, the worst at -0.044). */
export const expError = (y: number, x: readonly number[]): number => (4 + 2 * Math.abs(x[0] ?? 0)) * ulp(y);
