// The variables of an index expression: where they stand, and another expression in the place of one.
import {
  add,
  atomIndex,
  clamp,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  type Atom,
  type Index,
} from './index-math.ts';

/** The expression with one variable replaced. */
export function substitute(x: Index, name: string, by: Index): Index {
  if (!mentions(x, name)) return x;
  return add(constantIndex(x.constant), ...x.terms.map((t) => scale(substituteAtom(t.atom, name, by), t.times)));
}

function substituteAtom(atom: Atom, name: string, by: Index): Index {
  if (!atomMentions(atom, name)) return atomIndex(atom);
  switch (atom.kind) {
    case 'variable':
      return atom.name === name ? by : atomIndex(atom);
    case 'symbol':
      return atomIndex(atom);
    case 'divide':
      return divide(substitute(atom.of, name, by), substitute(atom.by, name, by));
    case 'remainder':
      return remainder(substitute(atom.of, name, by), substitute(atom.by, name, by));
    case 'clamp':
      return clamp(substitute(atom.of, name, by), substitute(atom.end, name, by));
    case 'product':
      return atom.factors.map((f) => substituteAtom(f, name, by)).reduce(multiply);
    default:
      return atom satisfies never;
  }
}

/** True when the variable stands anywhere in the expression. */
export function mentions(x: Index, name: string): boolean {
  return x.terms.some((t) => atomMentions(t.atom, name));
}

function atomMentions(atom: Atom, name: string): boolean {
  switch (atom.kind) {
    case 'variable':
      return atom.name === name;
    case 'symbol':
      return false;
    case 'divide':
    case 'remainder':
      return mentions(atom.of, name) || mentions(atom.by, name);
    case 'clamp':
      return mentions(atom.of, name) || mentions(atom.end, name);
    case 'product':
      return atom.factors.some((f) => atomMentions(f, name));
    default:
      return atom satisfies never;
  }
}

/** The coefficient of a variable when the expression is linear in it, else undefined. */
export function coefficient(x: Index, name: string): number | undefined {
  let found = 0;
  for (const t of x.terms) {
    if (t.atom.kind === 'variable' && t.atom.name === name) found = t.times;
    else if (atomMentions(t.atom, name)) return undefined;
  }
  return found;
}
