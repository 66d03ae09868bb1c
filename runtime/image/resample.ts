// Pillow's 8-bit image resampler: the same fixed-point arithmetic in the same order, so that every byte agrees.
//
// A port of the algorithm in Pillow's src/libImaging/Resample.c, whose notice is kept here as its licence asks:
//
//   The Python Imaging Library (PIL) is Copyright © 1997-2011 by Secret Labs AB, Copyright © 1995-2011 by Fredrik Lundh and
//   contributors. Pillow is the friendly PIL fork. It is Copyright © 2010 by Jeffrey A. Clark and contributors.
//   Like PIL, Pillow is licensed under the open source MIT-CMU (HPND) licence:
//
//   By obtaining, using, and/or copying this software and/or its associated documentation, you agree that you have read, understood,
//   and will comply with the following terms and conditions: Permission to use, copy, modify and distribute this software and its
//   documentation for any purpose and without fee is hereby granted, provided that the above copyright notice appears in all copies,
//   and that both that copyright notice and this permission notice appear in supporting documentation, and that the name of Secret
//   Labs AB or the author not be used in advertising or publicity pertaining to distribution of the software without specific,
//   written prior permission.
//
//   SECRET LABS AB AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE, INCLUDING ALL IMPLIED WARRANTIES OF
//   MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL SECRET LABS AB OR THE AUTHOR BE LIABLE FOR ANY SPECIAL, INDIRECT OR CONSEQUENTIAL
//   DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR
//   OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.

/** `bicubic` is Pillow's default for RGB, with a = −0.5; all three antialias when they shrink. */
export type Filter = 'bilinear' | 'bicubic' | 'lanczos';

interface Kernel {
  /** Half width, in source pixels at scale 1. */
  readonly support: number;
  weight(x: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

// The polynomials are bracketed as Pillow brackets them: another order rounds differently.
const kernels: { readonly [F in Filter]: Kernel } = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const t = Math.abs(x);
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
      return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

// 8 bits of the result and 2 for overshoot leave 22 bits of a signed 32-bit sum for the fraction.
const fractionBits = 32 - 8 - 2;
const half = 2 ** (fractionBits - 1);

interface Taps {
  /** First source element of each output element. */
  readonly first: Int32Array;
  /** How many source elements it reads. */
  readonly count: Int32Array;
  /** `stride` weights an output element, of sum 1. */
  readonly weights: Float64Array;
  readonly stride: number;
}

/** A stretch of the outputs of one axis. */
interface Stretch {
  readonly start: number;
  readonly length: number;
}

/** Taps of the outputs of `stretch` alone. */
function tapsOf(from: number, to: number, { start, length }: Stretch, kernel: Kernel): Taps {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = kernel.support * stretch;
  const stride = Math.ceil(support) * 2 + 1;
  const taps: Taps = {
    first: new Int32Array(length),
    count: new Int32Array(length),
    weights: new Float64Array(length * stride),
    stride,
  };
  const shrink = 1 / stretch;
  for (let i = 0; i < length; i++) {
    const center = (start + i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(from, Math.trunc(center + support + 0.5)) - first;
    let total = 0;
    for (let j = 0; j < count; j++) {
      const weight = kernel.weight((j + first - center + 0.5) * shrink);
      taps.weights[i * stride + j] = weight;
      total += weight;
    }
    taps.first[i] = first;
    taps.count[i] = count;
    if (total === 0) continue;
    for (let j = 0; j < count; j++) taps.weights[i * stride + j] = (taps.weights[i * stride + j] ?? 0) / total;
  }
  return taps;
}

const fixedPoint = (weight: number): number => Math.trunc(weight * 2 ** fractionBits + (weight < 0 ? -0.5 : 0.5));

/**
 * One pass along one axis of a dense byte array seen as [outer, from, inner] → [outer, stretch, inner].
 * Between the two passes the values are rounded to bytes, as Pillow does.
 */
function pass(
  bytes: Uint8Array,
  outer: number,
  [from, to]: readonly [number, number],
  stretch: Stretch,
  inner: number,
  kernel: Kernel,
): Uint8Array {
  const { first, count, weights: exact, stride } = tapsOf(from, to, stretch, kernel);
  const weights = Int32Array.from(exact, fixedPoint);
  const { length } = stretch;
  const out = new Uint8ClampedArray(outer * length * inner);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < length; i++) {
      const base = (o * from + (first[i] ?? 0)) * inner;
      const taps = count[i] ?? 0;
      for (let e = 0; e < inner; e++) {
        let sum = half;
        for (let j = 0; j < taps; j++) sum += (bytes[base + j * inner + e] ?? 0) * (weights[i * stride + j] ?? 0);
        out[(o * length + i) * inner + e] = sum >> fractionBits;
      }
    }
  }
  return new Uint8Array(out.buffer);
}

/** `start` and `length` of the outputs along one axis where nothing is resized. */
function cut(bytes: Uint8Array, outer: number, from: number, { start, length }: Stretch, inner: number): Uint8Array {
  if (start === 0 && length === from) return bytes;
  const out = new Uint8Array(outer * length * inner);
  for (let o = 0; o < outer; o++)
    out.set(bytes.subarray((o * from + start) * inner, (o * from + start + length) * inner), o * length * inner);
  return out;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A part of the resized image: the rest of it is never made. */
export interface Window extends Size {
  readonly left: number;
  readonly top: number;
}

/**
 * `[height, width, channels]` bytes resized to `[toHeight, toWidth, channels]`, or that result's `window`: horizontal pass, then
 * vertical; the other way round for an image over a hundred times as high as wide that becomes less high (Pillow ≥ 12.3,
 * `Image.resize`); a pass that would change nothing is skipped. All sizes are positive integers, the window lies inside; the caller
 * has checked them.
 */
export function resample(
  bytes: Uint8Array,
  size: Size,
  to: Size,
  channels: number,
  filter: Filter,
  window: Window = { left: 0, top: 0, ...to },
): Uint8Array {
  const kernel = kernels[filter];
  const columns = { start: window.left, length: window.width };
  const rows = { start: window.top, length: window.height };
  const across = (from: Uint8Array, height: number): Uint8Array =>
    size.width === to.width
      ? cut(from, height, size.width, columns, channels)
      : pass(from, height, [size.width, to.width], columns, channels, kernel);
  const down = (from: Uint8Array, width: number): Uint8Array =>
    size.height === to.height
      ? cut(from, 1, size.height, rows, width * channels)
      : pass(from, 1, [size.height, to.height], rows, width * channels, kernel);
  const tall = size.height > size.width * 100 && to.height < size.height;
  const out = tall ? across(down(bytes, size.width), window.height) : down(across(bytes, size.height), window.width);
  return out === bytes ? bytes.slice() : out;
}

/**
 * The same without a rounding to bytes, as torch's `interpolate` with antialiasing has it: the window `[height, width, channels]`, whose
 * values may lie beyond those of bytes.
 */
export function resampleExactly(
  bytes: Uint8Array,
  size: Size,
  to: Size,
  channels: number,
  filter: Filter,
  window: Window,
): Float64Array {
  const along = (
    source: ArrayLike<number>,
    outer: number,
    [from, wanted]: readonly [number, number],
    stretch: Stretch,
    inner: number,
  ): Float64Array => {
    const { first, count, weights, stride } = tapsOf(from, wanted, stretch, kernels[filter]);
    const out = new Float64Array(outer * stretch.length * inner);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < stretch.length; i++)
        for (let j = 0; j < (count[i] ?? 0); j++)
          for (let e = 0; e < inner; e++) {
            const at = (o * stretch.length + i) * inner + e;
            const read = source[(o * from + (first[i] ?? 0) + j) * inner + e] ?? 0;
            out[at] = (out[at] ?? 0) + read * (weights[i * stride + j] ?? 0);
          }
    return out;
  };
  const columns = { start: window.left, length: window.width };
  const wide = along(bytes, size.height, [size.width, to.width], columns, channels);
  const rows = { start: window.top, length: window.height };
  return along(wide, 1, [size.height, to.height], rows, window.width * channels);
}
