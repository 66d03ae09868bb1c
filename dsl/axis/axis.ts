// Axes and their sizes. A size is a number, or a polynomial of bounded symbols such as `2n+1` with n ≤ 4096, or `h*w`.
import { OpabiniaError } from '../error.ts';
import { isObject, requireList, said } from '../graph/required.ts';

/** A size that changes from run to run; memory is planned for `bound`. */
export interface SizeSymbol {
  readonly name: string;
  readonly least: number;
  readonly bound: number;
}

/** `times` · the product of `symbols`, which are sorted by name; a power is a symbol that stands more than once. */
export interface SizeTerm {
  readonly symbols: readonly SizeSymbol[];
  readonly times: number;
}

/** `constant + Σ times·Π symbols`; terms sorted by their names, never empty, no zero coefficient, none without a symbol. */
export interface SymbolicSize {
  readonly constant: number;
  readonly terms: readonly SizeTerm[];
}

export type Size = number | SymbolicSize;

export interface Axis {
  readonly name: string;
  readonly size: Size;
}

/** The value of each symbol in one run. */
export type SymbolValues = ReadonlyMap<string, number>;

export function symbolSize(symbol: SizeSymbol): SymbolicSize {
  return { constant: 0, terms: [{ symbols: [symbol], times: 1 }] };
}

function terms(size: Size): readonly SizeTerm[] {
  return typeof size === 'number' ? [] : symbolic(size).terms;
}

function constant(size: Size): number {
  return typeof size === 'number' ? size : symbolic(size).constant;
}

/** Throws `OpabiniaError` for what is no size: callers may be without types. */
function symbolic(size: SymbolicSize): SymbolicSize {
  if (isObject(size) && Array.isArray(size['terms'])) return size;
  throw new OpabiniaError(`the size is ${said(size)}`, { advice: 'give a number, or a symbol: n of t.symbol' });
}

/** The name of a product of symbols; empty for none. */
function productName(symbols: readonly SizeSymbol[]): string {
  return symbols.map((symbol) => symbol.name).join('*');
}

function sumOf(base: number, parts: readonly SizeTerm[]): Size {
  const total = new Map<string, SizeTerm>();
  for (const part of parts) {
    const name = productName(part.symbols);
    total.set(name, { symbols: part.symbols, times: part.times + (total.get(name)?.times ?? 0) });
  }
  const kept = [...total].filter(([, term]) => term.times !== 0);
  kept.sort(([a], [b]) => (a < b ? -1 : 1));
  return kept.length === 0 ? base : { constant: base, terms: kept.map(([, term]) => term) };
}

/**
 * The sum of two sizes.
 * @example addSizes(x.sizeOf('n'), 1)
 */
export function addSizes(a: Size, b: Size): Size {
  return sumOf(constant(a) + constant(b), [...terms(a), ...terms(b)]);
}

/**
 * The product of two sizes.
 * @example multiplySizes(n, 2) // 2n
 */
export function multiplySizes(a: Size, b: Size): Size {
  const [left, right] = [terms(a), terms(b)];
  return sumOf(constant(a) * constant(b), [
    ...left.map(({ symbols, times }) => ({ symbols, times: times * constant(b) })),
    ...right.map(({ symbols, times }) => ({ symbols, times: times * constant(a) })),
    ...left.flatMap((x) =>
      right.map((y) => ({
        symbols: [...x.symbols, ...y.symbols].sort((p, q) => (p.name < q.name ? -1 : 1)),
        times: x.times * y.times,
      })),
    ),
  ]);
}

/**
 * The difference of two sizes.
 * @example subtractSizes(x.sizeOf('n'), 1)
 */
export function subtractSizes(a: Size, b: Size): Size {
  return addSizes(a, multiplySizes(-1, b));
}

/** a ≤ b for every value of the symbols. */
export function neverAbove(a: Size, b: Size): boolean {
  return sizeLeast(subtractSizes(b, a)) >= 0;
}

/** The multiples of `by` next to a size that is none, from 1 · `by` on: to pad, cut or resize to. */
export function nearestMultiples(size: number, by: number): readonly number[] {
  return [...new Set([Math.floor, Math.ceil].map((round) => by * Math.max(1, round(size / by))))];
}

/**
 * The exact quotient, or undefined when the division does not come out for every value of the symbols.
 * @example divideSize(x.sizeOf('n'), 2)
 */
export function divideSize(size: Size, by: Size): Size | undefined {
  const divisor = leadingTerm(by);
  if (divisor.times === 0) return undefined;
  let quotient: Size = 0;
  let rest = size;
  // Each step takes away the largest term that is left: products of symbols are well-ordered, so this ends.
  while (rest !== 0) {
    const dividend = leadingTerm(rest);
    const symbols = withoutFactors(dividend.symbols, divisor.symbols);
    if (symbols === undefined || dividend.times % divisor.times !== 0) return undefined;
    const step = termSize({ symbols, times: dividend.times / divisor.times });
    quotient = addSizes(quotient, step);
    rest = subtractSizes(rest, multiplySizes(step, by));
  }
  return quotient;
}

function termSize({ symbols, times }: SizeTerm): Size {
  return symbols.length === 0 ? times : { constant: 0, terms: [{ symbols, times }] };
}

/** The term of the highest degree, among those the last by name; the constant where there is no other. */
function leadingTerm(size: Size): SizeTerm {
  return terms(size).reduce((most, term) => (comesAfter(term.symbols, most.symbols) ? term : most), {
    symbols: [],
    times: constant(size),
  });
}

/**
 * The order of products of symbols that division needs: it is kept when both are multiplied. Of one degree, the product whose first
 * difference is the later symbol comes after.
 */
function comesAfter(a: readonly SizeSymbol[], b: readonly SizeSymbol[]): boolean {
  if (a.length !== b.length) return a.length > b.length;
  const at = a.findIndex((symbol, i) => symbol.name !== b[i]?.name);
  return at >= 0 && (a[at]?.name ?? '') > (b[at]?.name ?? '');
}

/** The factors that are left of a product, or undefined when it does not have all of them. */
function withoutFactors(
  symbols: readonly SizeSymbol[],
  factors: readonly SizeSymbol[],
): readonly SizeSymbol[] | undefined {
  const left = [...symbols];
  for (const factor of factors) {
    const at = left.findIndex((symbol) => symbol.name === factor.name);
    if (at < 0) return undefined;
    left.splice(at, 1);
  }
  return left;
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
 * The largest value the size can take; where a symbol is multiplied by itself, a number that it does not exceed.
 * @example sizeBound(n) // 64
 */
export function sizeBound(size: Size): number {
  return extreme(size, Math.max);
}

/**
 * The smallest value the size can take; where a symbol is multiplied by itself, a number that it does not fall below.
 * @example sizeLeast(n) // 1
 */
export function sizeLeast(size: Size): number {
  return extreme(size, Math.min);
}

/** More symbols than this in one size are bounded term by term. */
const mostCorners = 8;

/** A size that is linear in each of its symbols takes its extremes where each is at one of its ends. */
function extreme(size: Size, pick: (a: number, b: number) => number): number {
  if (typeof size === 'number') return size;
  const symbols = sizeSymbols(size);
  const isLinear = size.terms.every((t) => t.symbols.every((symbol, i) => symbol.name !== t.symbols[i - 1]?.name));
  const isSum = size.terms.every((t) => t.symbols.length === 1);
  if (isSum || !isLinear || symbols.length > mostCorners)
    return size.terms.reduce((sum, { symbols: factors, times }) => {
      const least = factors.reduce((product, symbol) => product * symbol.least, times);
      const bound = factors.reduce((product, symbol) => product * symbol.bound, times);
      return sum + pick(least, bound);
    }, size.constant);
  const corner = (values: ReadonlyMap<string, number>, open: readonly SizeSymbol[]): number => {
    const [first, ...rest] = open;
    return first === undefined
      ? evaluateSize(size, values)
      : pick(
          corner(new Map(values).set(first.name, first.least), rest),
          corner(new Map(values).set(first.name, first.bound), rest),
        );
  };
  return corner(new Map(), symbols);
}

/**
 * A size as a number, once its symbols have values. Throws `OpabiniaError` for a symbol without one.
 * @example evaluateSize(addSizes(n, 1), new Map([['n', 3]])) // 4
 */
export function evaluateSize(size: Size, values: SymbolValues): number {
  return terms(size).reduce(
    (sum, t) => sum + t.symbols.reduce((product, symbol) => product * symbolValue(symbol, values), t.times),
    constant(size),
  );
}

function symbolValue(symbol: SizeSymbol, values: SymbolValues): number {
  const value = values.get(symbol.name);
  if (value === undefined) throw new OpabiniaError(`no value was given for the symbol '${symbol.name}'`);
  return value;
}

/** True for a size in symbols, among the objects that an attribute may hold. */
export function isSymbolicSize(value: object): value is SymbolicSize {
  return 'terms' in value && 'constant' in value;
}

/**
 * The symbols that a size depends on.
 * @example sizeSymbols(n).map((symbol) => symbol.name)
 */
export function sizeSymbols(size: Size): readonly SizeSymbol[] {
  return [...new Map(terms(size).flatMap((t) => t.symbols.map((symbol) => [symbol.name, symbol] as const))).values()];
}

/**
 * `577`, `n`, `2n+1`, `h*w`: the form used in printed graphs and in errors.
 * @example printSize(addSizes(multiplySizes(2, n), 1)) // 2n+1
 */
export function printSize(size: Size): string {
  if (typeof size === 'number') return String(size);
  const parts = symbolic(size).terms.map(({ symbols, times }) => {
    const name = productName(symbols);
    return times === 1 ? name : times === -1 ? `-${name}` : `${times}${name}`;
  });
  const text = parts.join('+').replaceAll('+-', '-');
  return size.constant === 0 ? text : size.constant > 0 ? `${text}+${size.constant}` : `${text}${size.constant}`;
}

/**
 * `[b:2 n:577 d:1024]`
 * @example printAxes(x.axes) // [b:1 n:6 d:8]
 */
export function printAxes(axes: readonly Axis[]): string {
  requireList('printAxes', axes, 'the axes', 'printAxes(x.axes)');
  return `[${axes.map((a) => `${a.name}:${printSize(a.size)}`).join(' ')}]`;
}

/**
 * The axis of this name among axes.
 * @example axisOf(x.axes, 'n')?.size
 */
export function axisOf(axes: readonly Axis[], name: string): Axis | undefined {
  requireList('axisOf', axes, 'the axes', "axisOf(x.axes, 'n')");
  return axes.find((a) => a.name === name);
}
