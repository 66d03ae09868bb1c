// Index expressions of symbols alone, as formulas of a Plan.
import type { Atom, Index } from './index-math.ts';
import type { Formula } from '../plan.ts';

export function formulaOf(x: Index): Formula {
  const parts: Formula[] = x.terms.map(({ atom, times }) =>
    times === 1 ? atomFormula(atom) : { product: [times, atomFormula(atom)] },
  );
  if (x.constant !== 0 || parts.length === 0) parts.push(x.constant);
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : { sum: parts };
}

function atomFormula(atom: Atom): Formula {
  switch (atom.kind) {
    case 'symbol':
      return { symbol: atom.name };
    case 'product':
      return { product: atom.factors.map(atomFormula) };
    case 'divide': {
      if (atom.by.terms.length > 0) throw new TypeError('a quotient by a symbol is not a formula');
      // floor(x / d) = ceil((x - d + 1) / d)
      return { ceil: { sum: [formulaOf(atom.of), 1 - atom.by.constant] }, by: atom.by.constant };
    }
    case 'variable':
    case 'remainder':
    case 'clamp':
      throw new TypeError(`a ${atom.kind} is not a formula of symbols`);
    default:
      return atom satisfies never;
  }
}
