// What an index expression is: a sum of products of loop variables, symbols, quotients and remainders, in one order, with its interval.
import type { Size, SizeSymbol } from '../../dsl/axis/axis.ts';

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

export function build(base: number, unordered: readonly Term[]): Index {
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
export function onlyQuotient(x: Index): Division | undefined {
  const [only] = x.terms;
  if (only === undefined || x.terms.length > 1 || x.constant !== 0 || only.times !== 1) return undefined;
  return only.atom.kind === 'divide' ? only.atom : undefined;
}

export function factorsOf(atom: Atom): readonly Atom[] {
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

export function productAtom(a: Atom, b: Atom): Atom {
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
