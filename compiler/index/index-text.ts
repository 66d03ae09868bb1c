// Index expressions as WGSL.
import { add, constantIndex, type Atom, type Index } from './index-math.ts';

/** WGSL text in u32 arithmetic; negative intermediate values wrap and come back. */
export function indexText(x: Index): string {
  if (x.terms.length === 0) return `${x.constant >>> 0}u`;
  const parts: string[] = [];
  for (const [i, t] of x.terms.entries()) {
    const size = Math.abs(t.times);
    const text = size === 1 ? atomText(t.atom) : `${atomText(t.atom)} * ${size}u`;
    parts.push(i === 0 ? (t.times < 0 ? `0u - ${text}` : text) : `${t.times < 0 ? '-' : '+'} ${text}`);
  }
  if (x.constant !== 0) parts.push(`${x.constant < 0 ? '-' : '+'} ${Math.abs(x.constant)}u`);
  const [first = '0u'] = parts;
  return parts.length === 1 && !first.startsWith('0u -') ? first : `(${parts.join(' ')})`;
}

function atomText(atom: Atom): string {
  if ('identifier' in atom && atom.identifier !== undefined) return atom.identifier;
  switch (atom.kind) {
    case 'variable':
      return atom.name;
    case 'symbol':
      return symbolName(atom.name);
    case 'divide':
      return `(${operandText(atom.of)} / ${operandText(atom.by)})`;
    case 'remainder':
      return `(${operandText(atom.of)} % ${operandText(atom.by)})`;
    case 'clamp':
      return atom.of.least >= 0
        ? `min(${indexText(atom.of)}, ${indexText(add(atom.end, constantIndex(-1)))})`
        : `u32(clamp(i32(${indexText(atom.of)}), 0i, i32(${indexText(atom.end)}) - 1i))`;
    case 'product':
      return atom.factors.map(atomText).join(' * ');
    default:
      return atom satisfies never;
  }
}

/** In parentheses unless it is one word. */
function operandText(x: Index): string {
  const text = indexText(x);
  return /^\w+$/.test(text) || text.startsWith('(') ? text : `(${text})`;
}

/** The identifier that holds a symbol's value in a kernel. */
export function symbolName(name: string): string {
  return `size_${name.replace(/\W/g, '_')}`;
}
