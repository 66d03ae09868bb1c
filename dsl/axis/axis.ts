// Axes and their sizes. A size is a number, or an affine expression of bounded symbols such as `2n+1` with n ≤ 4096.
import { OpabiniaError } from '../error.ts';

/** A size that changes from run to run; memory is planned for `bound`. */
export interface SizeSymbol {
  readonly name: string;
  readonly least: number;
  readonly bound: number;
}

export interface SizeTerm {
  readonly symbol: SizeSymbol;
  readonly times: number;
}

/** `constant + Σ times·symbol`; terms sorted by symbol name, never empty, no zero coefficient. */
export interface AffineSize {
  readonly constant: number;
  readonly terms: readonly SizeTerm[];
}

export type Size = number | AffineSize;

export interface Axis {
  readonly name: string;
  readonly size: Size;
}

/** The value of each symbol in one run. */
export type SymbolValues = ReadonlyMap<string, number>;

export function symbolSize(symbol: SizeSymbol): AffineSize {
  return { constant: 0, terms: [{ symbol, times: 1 }] };
}

function terms(size: Size): readonly SizeTerm[] {
  return typeof size === 'number' ? [] : size.terms;
}

function constant(size: Size): number {
  return typeof size === 'number' ? size : size.constant;
}

function affine(base: number, parts: readonly SizeTerm[]): Size {
  const total = new Map<string, SizeTerm>();
  for (const part of parts) {
    const known = total.get(part.symbol.name);
    total.set(part.symbol.name, { symbol: part.symbol, times: part.times + (known?.times ?? 0) });
  }
  const kept = [...total.values()].filter((term) => term.times !== 0);
  kept.sort((a, b) => (a.symbol.name < b.symbol.name ? -1 : 1));
  return kept.length === 0 ? base : { constant: base, terms: kept };
}

/**
 * The sum of two sizes.
 * @example addSizes(x.sizeOf('n'), 1)
 */
export function addSizes(a: Size, b: Size): Size {
  return affine(constant(a) + constant(b), [...terms(a), ...terms(b)]);
}

/**
 * The product; two symbolic sizes have no affine product and are refused.
 * @example multiplySizes(n, 2) // 2n
 */
export function multiplySizes(a: Size, b: Size): Size {
  if (typeof a === 'number')
    return affine(
      a * constant(b),
      terms(b).map((t) => ({ symbol: t.symbol, times: t.times * a })),
    );
  if (typeof b === 'number') return multiplySizes(b, a);
  throw new OpabiniaError(`the product of two symbolic sizes, ${printSize(a)} and ${printSize(b)}, is not a size`, {
    advice: 'keep the two axes apart, or give one of them a number',
  });
}

/**
 * The difference of two sizes.
 * @example subtractSizes(x.sizeOf('n'), 1)
 */
export function subtractSizes(a: Size, b: Size): Size {
  return addSizes(a, multiplySizes(-1, b));
}

/**
 * The exact quotient by a number, or undefined when the division does not come out.
 * @example divideSize(x.sizeOf('n'), 2)
 */
export function divideSize(size: Size, by: number): Size | undefined {
  if (by === 0) return undefined;
  const comesOut = constant(size) % by === 0 && terms(size).every((t) => t.times % by === 0);
  if (!comesOut) return undefined;
  return affine(
    constant(size) / by,
    terms(size).map((t) => ({ symbol: t.symbol, times: t.times / by })),
  );
}

/**
 * True when two sizes are the same number, or the same expression of symbols.
 * @example sizesEqual(x.sizeOf('n'), 6)
 */
export function sizesEqual(a: Size, b: Size): boolean {
  if (typeof a === 'number' || typeof b === 'number') return a === b;
  return printSize(a) === printSize(b);
}

/**
 * The largest value the size can take.
 * @example sizeBound(n) // 64
 */
export function sizeBound(size: Size): number {
  return terms(size).reduce(
    (sum, t) => sum + t.times * (t.times > 0 ? t.symbol.bound : t.symbol.least),
    constant(size),
  );
}

/**
 * The smallest value the size can take.
 * @example sizeLeast(n) // 1
 */
export function sizeLeast(size: Size): number {
  return terms(size).reduce(
    (sum, t) => sum + t.times * (t.times > 0 ? t.symbol.least : t.symbol.bound),
    constant(size),
  );
}

/**
 * A size as a number, once its symbols have values. Throws `OpabiniaError` for a symbol without one.
 * @example evaluateSize(addSizes(n, 1), new Map([['n', 3]])) // 4
 */
export function evaluateSize(size: Size, values: SymbolValues): number {
  return terms(size).reduce((sum, t) => sum + t.times * symbolValue(t.symbol, values), constant(size));
}

function symbolValue(symbol: SizeSymbol, values: SymbolValues): number {
  const value = values.get(symbol.name);
  if (value === undefined) throw new OpabiniaError(`no value was given for the symbol '${symbol.name}'`);
  return value;
}

/** True for a size in symbols, among the objects that an attribute may hold. */
export function isAffine(value: object): value is AffineSize {
  return 'terms' in value && 'constant' in value;
}

/**
 * The symbols that a size depends on.
 * @example sizeSymbols(n).map((symbol) => symbol.name)
 */
export function sizeSymbols(size: Size): readonly SizeSymbol[] {
  return terms(size).map((t) => t.symbol);
}

/**
 * `577`, `n`, `2n+1`: the form used in printed graphs and in errors.
 * @example printSize(addSizes(multiplySizes(2, n), 1)) // 2n+1
 */
export function printSize(size: Size): string {
  if (typeof size === 'number') return String(size);
  const parts = size.terms.map((t) =>
    t.times === 1 ? t.symbol.name : t.times === -1 ? `-${t.symbol.name}` : `${t.times}${t.symbol.name}`,
  );
  const text = parts.join('+').replaceAll('+-', '-');
  return size.constant === 0 ? text : size.constant > 0 ? `${text}+${size.constant}` : `${text}${size.constant}`;
}

/**
 * `[b:2 n:577 d:1024]`
 * @example printAxes(x.axes) // [b:1 n:6 d:8]
 */
export function printAxes(axes: readonly Axis[]): string {
  return `[${axes.map((a) => `${a.name}:${printSize(a.size)}`).join(' ')}]`;
}

/**
 * The axis of this name among axes.
 * @example axisOf(x.axes, 'n')?.size
 */
export function axisOf(axes: readonly Axis[], name: string): Axis | undefined {
  return axes.find((a) => a.name === name);
}
