// Integer index expressions, simplified as they are made. An expression knows its interval, so that `(4i + j) / 4` with 0 ≤ j < 4 is `i`,
// and so that loads can be proved in range.
import type { IndexMath } from '../../dsl/graph/op.ts';
import {
  add,
  atomIndex,
  build,
  constantIndex,
  factorsOf,
  multiply,
  onlyQuotient,
  productAtom,
  scale,
  sizeIndex,
  type Atom,
  type Index,
  type Term,
} from './index-terms.ts';

export { add, atomIndex, constantIndex, multiply, scale, sizeIndex, variable } from './index-terms.ts';
export type { Atom, Index, SymbolAtom, Term, Variable } from './index-terms.ts';

function gcd(a: number, b: number): number {
  return b === 0 ? Math.abs(a) : gcd(b, a % b);
}

/** x = g·large + small with 0 ≤ small < g, for the largest useful g that divides `by`. */
function split(x: Index, by: number): { readonly g: number; readonly large: Index; readonly small: Index } | undefined {
  const candidates = new Set<number>([by]);
  for (const t of x.terms) {
    const g = gcd(by, t.times);
    if (g > 1) candidates.add(g);
  }
  for (const g of [...candidates].sort((a, b) => b - a)) {
    const rest = ((x.constant % g) + g) % g;
    const small = build(
      rest,
      x.terms.filter((t) => t.times % g !== 0),
    );
    if (small.least < 0 || small.most >= g) continue;
    const large = build(
      (x.constant - rest) / g,
      x.terms.filter((t) => t.times % g === 0).map((t) => ({ atom: t.atom, times: t.times / g })),
    );
    return { g, large, small };
  }
  return undefined;
}

/** True when 0 ≤ x < by is certain. */
function fits(x: Index, by: Index): boolean {
  if (x.least < 0) return false;
  if (x.most < by.least) return true;
  // ⌊a / b⌋ < c where a < b·c.
  const inner = onlyQuotient(x);
  if (inner !== undefined && fits(inner.of, multiply(inner.by, by))) return true;
  const [only] = x.terms;
  if (x.terms.length !== 1 || x.constant !== 0 || only === undefined || only.times !== 1) return false;
  const { atom } = only;
  return (
    (atom.kind === 'remainder' && atom.by.key === by.key) ||
    (atom.kind === 'variable' && atom.key.endsWith(`<${by.key}`)) ||
    (atom.kind === 'clamp' && atom.end.key === by.key)
  );
}

/**
 * x = quotient·by + rest: every term that has the largest product of a symbolic divisor as a factor gives one term of the quotient.
 * Undefined where no term has.
 */
function symbolicSplit(x: Index, by: Index): { readonly quotient: Index; readonly rest: Index } | undefined {
  const leading = by.terms.reduce<Term | undefined>(
    (most, t) => (most === undefined || factorsOf(t.atom).length > factorsOf(most.atom).length ? t : most),
    undefined,
  );
  if (leading === undefined) return undefined;
  const wanted = factorsOf(leading.atom);
  const quotient = add(
    ...x.terms.flatMap((t) => {
      const left = withoutFactors(factorsOf(t.atom), wanted);
      if (left === undefined || t.times % leading.times !== 0) return [];
      const [first, ...others] = left;
      const times = t.times / leading.times;
      return [
        first === undefined ? constantIndex(times) : build(0, [{ atom: others.reduce(productAtom, first), times }]),
      ];
    }),
  );
  if (quotient.key === '0') return undefined;
  return { quotient, rest: add(x, scale(multiply(quotient, by), -1)) };
}

/** What is left of the factors of a product; undefined when it does not have all those wanted. */
function withoutFactors(factors: readonly Atom[], wanted: readonly Atom[]): readonly Atom[] | undefined {
  const left = [...factors];
  for (const { key } of wanted) {
    const at = left.findIndex((factor) => factor.key === key);
    if (at < 0) return undefined;
    left.splice(at, 1);
  }
  return left;
}

/** floor(x / by), for x ≥ 0. */
export function divide(x: Index, by: Index): Index {
  if (by.key === '1') return x;
  if (by.key === '0' || fits(x, by)) return constantIndex(0); // along an empty axis there is no index
  if (by.terms.length === 0) {
    const d = by.constant;
    if (x.terms.length === 0) return constantIndex(Math.floor(x.constant / d));
    const parts = split(x, d);
    if (parts !== undefined) {
      if (parts.g === d) return parts.large;
      return divide(parts.large, constantIndex(d / parts.g));
    }
    // d·q + r with r not provably small: the multiples of d leave the quotient.
    const whole = build(
      Math.floor(x.constant / d),
      x.terms.filter((t) => t.times % d === 0).map((t) => ({ atom: t.atom, times: t.times / d })),
    );
    const rest = build(
      ((x.constant % d) + d) % d,
      x.terms.filter((t) => t.times % d !== 0),
    );
    if (whole.key !== '0' && rest.least >= 0) return add(whole, divide(rest, by));
    const inner = onlyQuotient(x);
    if (inner !== undefined) return divide(inner.of, multiply(inner.by, by));
  } else {
    const parts = symbolicSplit(x, by);
    if (parts !== undefined && fits(parts.rest, by)) return parts.quotient;
  }
  const most = Math.floor(Math.max(0, x.most) / Math.max(1, by.least));
  return atomIndex({ kind: 'divide', of: x, by, least: 0, most, key: `(${x.key}/${by.key})` });
}

/** x mod by, for x ≥ 0. */
export function remainder(x: Index, by: Index): Index {
  if (by.key === '1' || by.key === '0') return constantIndex(0);
  if (fits(x, by)) return x;
  if (by.terms.length === 0) {
    const d = by.constant;
    if (x.terms.length === 0) return constantIndex(((x.constant % d) + d) % d);
    const parts = split(x, d);
    if (parts !== undefined) {
      if (parts.g === d) return parts.small;
      return add(scale(remainder(parts.large, constantIndex(d / parts.g)), parts.g), parts.small);
    }
    const rest = build(
      ((x.constant % d) + d) % d,
      x.terms.filter((t) => t.times % d !== 0),
    );
    if (rest.key !== x.key && rest.least >= 0) return remainder(rest, by);
  } else {
    const parts = symbolicSplit(x, by);
    // The rest of a difference may be negative, whose remainder in u32 is another.
    if (parts !== undefined && parts.rest.least >= 0) return remainder(parts.rest, by);
  }
  return atomIndex({
    kind: 'remainder',
    of: x,
    by,
    least: 0,
    most: Math.max(0, Math.min(x.most, by.most - 1)),
    key: `(${x.key}%${by.key})`,
  });
}

/** x brought into 0 … end-1; x itself where that is certain. */
export function clamp(x: Index, end: Index): Index {
  if (fits(x, end)) return x;
  return atomIndex({
    kind: 'clamp',
    of: x,
    end,
    least: 0,
    most: Math.max(0, Math.min(x.most < 0 ? 0 : x.most, end.most - 1)),
    key: `clamp(${x.key},${end.key})`,
  });
}

/** True when the expression is certainly a multiple of `by`. */
export function isMultiple(x: Index, by: number): boolean {
  return x.constant % by === 0 && x.terms.every((t) => t.times % by === 0);
}

export function isConstant(x: Index): boolean {
  return x.terms.length === 0;
}

/** A condition on indices: certainly true, or a list of tests that must all hold. */
export interface Guard {
  readonly of: Index;
  readonly least: Index;
  readonly end: Index;
}

export const indexMath: IndexMath<Index, Guard> = {
  of: sizeIndex,
  add: (a, b) => add(a, b),
  multiply: (a, by) => multiply(a, sizeIndex(by)),
  divide: (a, by) => divide(a, sizeIndex(by)),
  remainder: (a, by) => remainder(a, sizeIndex(by)),
  within: (of, least, end) => ({ of, least: sizeIndex(least), end: sizeIndex(end) }),
};

export function alwaysHolds(guard: Guard): boolean {
  const low = guard.of.least >= guard.least.most;
  return low && (guard.of.most < guard.end.least || fits(guard.of, guard.end));
}
