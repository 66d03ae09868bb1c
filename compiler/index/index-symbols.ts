// Symbols in index expressions: which there are, and the expression with values in their place.
import {
  add,
  atomIndex,
  clamp,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  variable,
  type Atom,
  type Index,
  type SymbolAtom,
} from './index-math.ts';

/** Every symbol that an expression reads, with its range. */
export function symbolsOf(x: Index, into: Map<string, SymbolAtom> = new Map()): Map<string, SymbolAtom> {
  const visit = (atom: Atom): void => {
    switch (atom.kind) {
      case 'variable':
        if (atom.end !== undefined) symbolsOf(atom.end, into);
        return;
      case 'symbol':
        into.set(atom.name, atom);
        return;
      case 'divide':
      case 'remainder':
        symbolsOf(atom.of, into);
        symbolsOf(atom.by, into);
        return;
      case 'clamp':
        symbolsOf(atom.of, into);
        symbolsOf(atom.end, into);
        return;
      case 'product':
        atom.factors.forEach(visit);
        return;
      default:
        return atom satisfies never;
    }
  };
  x.terms.forEach((t) => visit(t.atom));
  return into;
}

/** The expression with symbols given values, its interval as narrow as that allows: for `verify`. */
export function withSymbols(x: Index, values: ReadonlyMap<string, number>): Index {
  return add(constantIndex(x.constant), ...x.terms.map((t) => scale(atomWithSymbols(t.atom, values), t.times)));
}

function atomWithSymbols(atom: Atom, values: ReadonlyMap<string, number>): Index {
  switch (atom.kind) {
    case 'symbol':
      return constantIndex(values.get(atom.name) ?? atom.most);
    case 'variable':
      return atom.end === undefined
        ? atomIndex(atom)
        : atomIndex(
            variable(
              atom.name,
              Math.max(atom.least, Math.min(atom.most, withSymbols(atom.end, values).most - 1)),
              atom.least,
            ),
          );
    case 'divide':
      return divide(withSymbols(atom.of, values), withSymbols(atom.by, values));
    case 'remainder':
      return remainder(withSymbols(atom.of, values), withSymbols(atom.by, values));
    case 'clamp':
      return clamp(withSymbols(atom.of, values), withSymbols(atom.end, values));
    case 'product':
      return atom.factors.map((f) => atomWithSymbols(f, values)).reduce(multiply);
    default:
      return atom satisfies never;
  }
}

/** True when, at these values, the expression runs over a range or is brought into a range that is empty: nothing is read there that counts. */
export function isOverNothing(x: Index, values: ReadonlyMap<string, number>): boolean {
  const empty = (end: Index): boolean => withSymbols(end, values).most <= 0;
  const over = (atom: Atom): boolean => {
    switch (atom.kind) {
      case 'variable':
        return atom.end !== undefined && empty(atom.end);
      case 'symbol':
        return false;
      case 'divide':
      case 'remainder':
        return isOverNothing(atom.of, values);
      case 'clamp':
        return empty(atom.end) || isOverNothing(atom.of, values);
      case 'product':
        return atom.factors.some(over);
      default:
        return atom satisfies never;
    }
  };
  return x.terms.some((term) => over(term.atom));
}
