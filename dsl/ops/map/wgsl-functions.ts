// What WGSL lacks, or has with another meaning or too coarsely: functions written once per operand type.
import { like, literal, scalarType, type HelperRecipe, type WgslType } from '../../wgsl.ts';

// WGSL lets a compiler assume that NaN does not occur, so `x != x` may fold to false: NaN is told by its bits.
export const isNaNBits = (x: string, type: WgslType): string =>
  `((bitcast<${like(type, 'u32')}>(${x}) & ${like(type, 'u32')}(0x7fffffffu)) > ${like(type, 'u32')}(0x7f800000u))`;

const propagating = (name: 'max' | 'min'): HelperRecipe => ({
  name: `${name}_nan`,
  write: (fn, type) =>
    scalarType(type) === 'f32'
      ? `fn ${fn}(a: ${type}, b: ${type}) -> ${type} { return select(select(${name}(a, b), b, ${isNaNBits('b', type)}), a, ${isNaNBits('a', type)}); }`
      : `fn ${fn}(a: ${type}, b: ${type}) -> ${type} { return ${name}(a, b); }`,
});
/** max that lets NaN win. */
export const largest = propagating('max');
/** min that lets NaN win. */
export const smallest = propagating('min');

// WGSL stops at the largest number that both types have, which is below the largest whole one, and says nothing of NaN.
const whole = (to: 'i32' | 'u32', top: number): HelperRecipe => ({
  name: `whole_${to}`,
  write: (fn, type) => {
    const wide = like(type, to);
    const inRange = `select(${wide}(x), ${wide}(${literal(top, to).text}), x >= ${type}(${literal(top + 1, 'f32').text}))`;
    return `fn ${fn}(x: ${type}) -> ${wide} { return select(${inRange}, ${wide}(0), ${isNaNBits('x', type)}); }`;
  },
});
/** A float cut off towards zero, as near as an i32 comes to it; 0 for NaN. */
export const wholeSigned = whole('i32', 2147483647);
/** The same as a u32. */
export const wholeUnsigned = whole('u32', 4294967295);

// Rational approximation on [-4, 4] (the one Eigen and XLA use); outside, |erf| rounds to 1. x comes last: times a coefficient the smallest
// numbers would be subnormal, and a device may make these 0.
export const erfRecipe: HelperRecipe = {
  name: 'erf',
  write: (fn, type) => {
    const horner = (coefficients: readonly number[]) =>
      coefficients.map((c) => `${type}(${literal(c, 'f32').text})`).reduce((sum, c) => `fma(${sum}, s, ${c})`);
    return `fn ${fn}(v: ${type}) -> ${type} {
  let x = clamp(v, ${type}(-4.0), ${type}(4.0));
  let s = x * x;
  let p = ${horner([-2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4, -2.954600006155e-3, -1.60960333262415e-2])};
  let q = ${horner([-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2])};
  return select(x * (p / q), v, ${isNaNBits('v', type)});
}`;
  },
};

// Sine by reduction to [-π/4, π/4] with π/2 in three parts (Cody and Waite), then a minimax polynomial: built-in sin is only good to 2^-11.
// A device may round the product of fma. The first part has 8 bits, and quarters are counted in two numbers of few bits, so that none is rounded.
const trig = (name: 'sine' | 'cosine'): HelperRecipe => ({
  name,
  write: (fn, type) => {
    const u = like(type, 'u32');
    const i = like(type, 'i32');
    return `fn ${fn}(x: ${type}) -> ${type} {
  let n = round(x * 0.636619772f);
  let high = trunc(n * 2.44140625e-4f) * 4096.0f;
  let near = fma(n - high, ${type}(-1.5703125f), fma(high, ${type}(-1.5703125f), x));
  let r = fma(n, ${type}(-7.54978942e-8f), fma(n, ${type}(-4.83751297e-4f), near));
  let s = r * r;
  let odd = fma(r * s, fma(s, fma(s, ${type}(-1.95152959e-4f), ${type}(8.33216087e-3f)), ${type}(-1.66666546e-1f)), r);
  let even = fma(s * s, fma(s, fma(s, ${type}(2.44331571e-5f), ${type}(-1.38873162e-3f)), ${type}(4.16666456e-2f)), fma(s, ${type}(-0.5f), ${type}(1.0f)));
  let quarter = (bitcast<${u}>(${i}(n)) + ${u}(${name === 'sine' ? '0u' : '1u'})) & ${u}(3u);
  let value = select(odd, even, (quarter & ${u}(1u)) == ${u}(1u));
  return select(value, -value, quarter >= ${u}(2u));
}`;
  },
});
export const sine = trig('sine');
export const cosine = trig('cosine');

// exp overflows for large |x| and a compiler may assume it does not: tanh by the odd rational for small x, by exp of a clamped x otherwise.
export const tanhRecipe: HelperRecipe = {
  name: 'tanh',
  write: (fn, type) => `fn ${fn}(x: ${type}) -> ${type} {
  let a = min(abs(x), ${type}(10.0f));
  let e = exp(-2.0f * a);
  let s = x * x;
  let small = x * fma(s, fma(s, fma(s, fma(s, ${type}(-5.70498872745e-3f), ${type}(2.06390887954e-2f)), ${type}(-5.37397155531e-2f)), ${type}(1.33314422036e-1f)), ${type}(-3.33332819422e-1f)) * s + x;
  let big = (1.0f - e) / (1.0f + e);
  let value = select(select(big, -big, x < ${type}(0.0f)), small, abs(x) < ${type}(0.625f));
  return select(value, x, ${isNaNBits('x', type)});
}`,
};

/**
 * x to the power y as C has it (C17, F.10.4.4), and PyTorch. WGSL's pow knows no x < 0, drivers give 0 for 0 to a negative power, and a compiler
 * may assume that there are neither infinities nor NaN: these are told by their bits. Subnormal numbers are
 * told by their bits too, since a device may take them for 0: x is then a whole number of 2^-149, y no whole number.
 */
export const power: HelperRecipe = {
  name: 'power',
  write: (fn, type) => {
    const u = like(type, 'u32');
    return `fn ${fn}(x: ${type}, y: ${type}) -> ${type} {
  let size = bitcast<${u}>(x) & ${u}(0x7fffffffu);
  let exponent = bitcast<${u}>(y) & ${u}(0x7fffffffu);
  let infinite = ${u}(0x7f800000u);
  let negative = bitcast<${u}>(x) != size;
  let whole = (exponent == ${u}(0u)) | (exponent == infinite) | ((exponent >= ${u}(0x3f800000u)) & (y == floor(y)));
  let odd = whole & (exponent != infinite) & (floor(y * 0.5f) * 2.0f != y);
  let logarithm = select(log2(abs(x)), log2(${type}(size)) - 149.0f, size < ${u}(0x00800000u));
  let grows = (size > ${u}(0x3f800000u)) == (bitcast<${u}>(y) == exponent);
  let limit = bitcast<${type}>(select(${u}(0u), infinite, grows));
  let power = select(exp2(y * logarithm), limit, (size == ${u}(0u)) | (size == infinite) | (exponent == infinite));
  let value = select(power, ${type}(1.0f), (size == ${u}(0x3f800000u)) | (exponent == ${u}(0u)));
  let ofNaN = ((size > infinite) & (exponent != ${u}(0u))) | ((exponent > infinite) & (bitcast<${u}>(x) != ${u}(0x3f800000u)));
  let unknown = ofNaN | (negative & !whole & (size != ${u}(0u)) & (size < infinite));
  let nan = bitcast<${type}>(${u}(0x7fc00000u) | (bitcast<${u}>(x) & ${u}(0x007fffffu)));
  return select(select(value, -value, negative & odd), nan, unknown);
}`;
  },
};

/** The same in double precision: what JavaScript's operator leaves open is 1 in C. */
export function powerOf(x: number, y: number): number {
  return x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y;
}

/**
 * What is left of x divided by y, with the sign of x: C's fmod (C17, F.10.7.1), and torch.fmod. WGSL's own remainder, x − y·trunc(x/y), is NaN for
 * an infinite y, and infinite where the quotient overflows; a device may also round a quotient by y above 2^126 to anything. Where y is
 * larger, x itself is left, which is told by the bits; infinities and NaN are too. A quotient above 2^24 has lost the digits that the
 * remainder is made of; of one that overflows, 0 is left.
 */
export const remainder: HelperRecipe = {
  name: 'remainder',
  write: (fn, type) => {
    const u = like(type, 'u32');
    return `fn ${fn}(x: ${type}, y: ${type}) -> ${type} {
  let size = bitcast<${u}>(x) & ${u}(0x7fffffffu);
  let divisor = bitcast<${u}>(y) & ${u}(0x7fffffffu);
  let infinite = ${u}(0x7f800000u);
  let scale = select(${type}(1.0f), ${type}(0.0078125f), divisor > ${u}(0x7d000000u));
  let quotient = trunc((x * scale) / (y * scale));
  let cut = x - y * quotient;
  let left = bitcast<${u}>(cut) & ${u}(0x7fffffffu);
  let none = (size == divisor) | (left >= infinite) | (left == ${u}(0u));
  let value = select(cut, bitcast<${type}>(bitcast<${u}>(x) & ${u}(0x80000000u)), none);
  let unknown = (size >= infinite) | (divisor > infinite) | (divisor == ${u}(0u));
  let nan = bitcast<${type}>(${u}(0x7fc00000u) | (bitcast<${u}>(x) & ${u}(0x007fffffu)));
  return select(select(value, x, size < divisor), nan, unknown);
}`;
  },
};
