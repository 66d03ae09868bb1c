// The interval of a share (Wilson 1927), which holds near 0 and 1 and for few.

/** Of a standard normal, for 95 %. */
const z = 1.959963984540054;

/** 95 % interval of `right` out of `count`; `right` may be a sum of scores from 0 to 1. Without anything counted it is from 0 to 1. */
export function wilson(right: number, count: number): { readonly low: number; readonly high: number } {
  if (count <= 0) return { low: 0, high: 1 };
  const share = right / count;
  const center = share + (z * z) / (2 * count);
  const half = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
  const whole = 1 + (z * z) / count;
  return { low: Math.max(0, (center - half) / whole), high: Math.min(1, (center + half) / whole) };
}
