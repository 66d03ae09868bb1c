// Integer index expressions: sums of products of loop variables, symbols, quotients and remainders, simplified as they are made.
// An expression knows its interval, so that `(4i + j) / 4` with 0 ≤ j < 4 is `i`, and so that loads can be proved in range.
import type { Size, SizeSymbol } from '../../dsl/axis/axis.ts';
import type { IndexMath } from '../../dsl/graph/op.ts';

export interface Variable {
  readonly kind: 'variable';
  /** Identifier in the kernel. */
  readonly name: string;
  readonly least: number;
  readonly most: number;
  readonly key: string;
  /** The exclusive end where it depends on symbols. */
  readonly end?: Index;
}
export interface SymbolAtom {
  readonly kind: 'symbol';
  readonly name: string;
  readonly least: number;
  readonly most: number;
  readonly key: string;
}
interface Division {
  readonly kind: 'divide' | 'remainder';
  readonly of: Index;
  readonly by: Index;
  readonly least: number;
  readonly most: number;
  readonly key: string;
  /** Variable of the kernel that holds it. */
  readonly identifier?: string;
}
interface ProductAtom {
  readonly kind: 'product';
  readonly factors: readonly Atom[];
  readonly least: number;
  readonly most: number;
  readonly key: string;
}
/** `of`, brought into 0 … end-1: the index of a load that a guard may void, or of a position read from memory. */
interface Clamp {
  readonly kind: 'clamp';
  readonly of: Index;
  readonly end: Index;
  readonly least: number;
  readonly most: number;
  readonly key: string;
  /** Variable of the kernel that holds it. */
  readonly identifier?: string;
}
export type Atom = Variable | SymbolAtom | Division | ProductAtom | Clamp;

export interface Term {
  readonly atom: Atom;
  readonly times: number;
}

export interface Index {
  readonly constant: number;
  readonly terms: readonly Term[];
  readonly least: number;
  readonly most: number;
  readonly key: string;
}

export function variable(name: string, most: number, least = 0): Variable {
  return { kind: 'variable', name, least, most, key: name };
}

function build(base: number, unordered: readonly Term[]): Index {
  let constant = base;
  let terms = collect(unordered);
  for (let pair = quotientAndRest(terms); pair !== undefined; pair = quotientAndRest(terms)) {
    // f·d·(x/d) + f·(x%d) is f·x.
    const { quotient, rest, of, others } = pair;
    const whole = of.terms.map((t) => ({ atom: others.reduce(productAtom, t.atom), times: t.times * rest.times }));
    const [first, ...more] = others;
    if (first === undefined) constant += of.constant * rest.times;
    else whole.push({ atom: more.reduce(productAtom, first), times: of.constant * rest.times });
    terms = collect([...terms.filter((t) => !quotient.includes(t) && t !== rest), ...whole]);
  }
  terms.sort((a, b) => b.times - a.times || (a.atom.key < b.atom.key ? -1 : 1));
  let least = constant;
  let most = constant;
  for (const { atom, times } of terms) {
    least += times > 0 ? times * atom.least : times * atom.most;
    most += times > 0 ? times * atom.most : times * atom.least;
  }
  return {
    constant,
    terms,
    least,
    most,
    key:
      terms.length === 0
        ? String(constant)
        : `(${terms.map((t) => (t.times === 1 ? t.atom.key : `${t.times}*${t.atom.key}`)).join('+')}${constant === 0 ? '' : `+${constant}`})`,
  };
}

function collect(terms: readonly Term[]): Term[] {
  if (terms.length === 1) return terms[0]?.times === 0 ? [] : [...terms];
  const merged = new Map<string, Term>();
  for (const term of terms) {
    const known = merged.get(term.atom.key);
    merged.set(term.atom.key, known === undefined ? term : { atom: term.atom, times: term.times + known.times });
  }
  return [...merged.values()].filter((t) => t.times !== 0);
}

interface Whole {
  readonly rest: Term;
  readonly of: Index;
  /** The factors that both the quotient and the rest are multiplied with. */
  readonly others: readonly Atom[];
  /** The terms that together are by·(of / by), times the others. */
  readonly quotient: readonly Term[];
}

function quotientAndRest(terms: readonly Term[]): Whole | undefined {
  if (terms.length < 2) return undefined;
  for (const rest of terms) {
    for (const factor of factorsOf(rest.atom)) {
      if (factor.kind !== 'remainder') continue;
      const { of, by } = factor;
      const others = factorsOf(rest.atom).filter((other) => other !== factor);
      const shared = [...others.map((other) => other.key), quotientKey(of, by)];
      const wanted = [
        ...by.terms.map((t) => ({
          key: productKey([...factorsOf(t.atom).map((own) => own.key), ...shared]),
          times: rest.times * t.times,
        })),
        ...(by.constant === 0 ? [] : [{ key: productKey(shared), times: rest.times * by.constant }]),
      ];
      const quotient = wanted.flatMap((w) => terms.filter((t) => t.atom.key === w.key && t.times === w.times));
      if (quotient.length === wanted.length) return { rest, of, others, quotient };
    }
  }
  return undefined;
}

/** The key that `divide` gives a quotient: of a quotient, by a number, it is the quotient by both. */
function quotientKey(of: Index, by: Index): string {
  const inner = by.terms.length === 0 ? onlyQuotient(of) : undefined;
  return inner === undefined ? `(${of.key}/${by.key})` : `(${inner.of.key}/${multiply(inner.by, by).key})`;
}

/** The quotient that an expression is, where it is nothing else. */
function onlyQuotient(x: Index): Division | undefined {
  const [only] = x.terms;
  if (only === undefined || x.terms.length > 1 || x.constant !== 0 || only.times !== 1) return undefined;
  return only.atom.kind === 'divide' ? only.atom : undefined;
}

function factorsOf(atom: Atom): readonly Atom[] {
  return atom.kind === 'product' ? atom.factors : [atom];
}

function productKey(keys: readonly string[]): string {
  return [...keys].sort().join('*');
}

export function constantIndex(value: number): Index {
  return build(value, []);
}

export function atomIndex(atom: Atom): Index {
  return build(0, [{ atom, times: 1 }]);
}

export function sizeIndex(size: Size): Index {
  if (typeof size === 'number') return constantIndex(size);
  return build(
    size.constant,
    size.terms.map(({ symbols, times }) => ({ times, atom: symbols.map(symbolAtom).reduce(productAtom) })),
  );
}

function symbolAtom({ name, least, bound }: SizeSymbol): Atom {
  return { kind: 'symbol', name, least, most: bound, key: `$${name}` };
}

export function add(...parts: readonly Index[]): Index {
  return build(
    parts.reduce((sum, p) => sum + p.constant, 0),
    parts.flatMap((p) => p.terms),
  );
}

export function scale(a: Index, times: number): Index {
  return times === 1
    ? a
    : build(
        a.constant * times,
        a.terms.map((t) => ({ atom: t.atom, times: t.times * times })),
      );
}

export function multiply(a: Index, b: Index): Index {
  if (b.terms.length === 0) return scale(a, b.constant);
  if (a.terms.length === 0) return scale(b, a.constant);
  const terms: Term[] = [];
  for (const x of a.terms)
    for (const y of b.terms) terms.push({ atom: productAtom(x.atom, y.atom), times: x.times * y.times });
  for (const x of a.terms) if (b.constant !== 0) terms.push({ atom: x.atom, times: x.times * b.constant });
  for (const y of b.terms) if (a.constant !== 0) terms.push({ atom: y.atom, times: y.times * a.constant });
  return build(a.constant * b.constant, terms);
}

function productAtom(a: Atom, b: Atom): Atom {
  const factors = [a, b].flatMap(factorsOf);
  factors.sort((x, y) => (x.key < y.key ? -1 : 1));
  const corners = factors.reduce<readonly number[]>((ends, f) => ends.flatMap((e) => [e * f.least, e * f.most]), [1]);
  return {
    kind: 'product',
    factors,
    least: Math.min(...corners),
    most: Math.max(...corners),
    key: productKey(factors.map((f) => f.key)),
  };
}

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
