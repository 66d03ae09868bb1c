// The symbols that a graph depends on: those in the sizes of axes, in attributes, and in the positions of updates.
import { order } from './walk.ts';
import { isSymbolicSize, sizeSymbols, type SizeSymbol } from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import type { Graph, Node } from './graph.ts';
import type { Attr, Attrs } from './op.ts';

function symbolsIn(attr: Attr): readonly SizeSymbol[] {
  if (typeof attr !== 'object' || attr instanceof Float64Array) return [];
  if (Array.isArray(attr)) return attr.flatMap((item: Attr) => symbolsIn(item));
  return isSymbolicSize(attr) ? sizeSymbols(attr) : Object.values(attr as Attrs).flatMap(symbolsIn);
}

/** The symbols in a node's own axes and attributes, as often as they stand there. */
export function symbolsOfNode({ type, attrs }: Node): readonly SizeSymbol[] {
  return [...type.axes.flatMap((axis) => sizeSymbols(axis.size)), ...symbolsIn(attrs)];
}

/**
 * Every symbol of a graph once, in the order in which the graph comes to them. Throws `OpabiniaError` in the name of `op` when two
 * symbols share a name and not their bounds.
 */
export function symbolsOf(graph: Graph, op: string): readonly SizeSymbol[] {
  const found = new Map<string, SizeSymbol>();
  const used = [
    ...order(graph).flatMap(symbolsOfNode),
    ...graph.updates.flatMap((update) => [...update.at.values()].flatMap(sizeSymbols)),
  ];
  for (const symbol of used) {
    const known = found.get(symbol.name) ?? symbol;
    if (known.bound !== symbol.bound || known.least !== symbol.least) {
      throw new OpabiniaError(
        `the symbol '${symbol.name}' stands for two ranges, ${printSymbol(known)} and ${printSymbol(symbol)}`,
        { op, advice: 'make each symbol once and share it' },
      );
    }
    found.set(symbol.name, known);
  }
  return [...found.values()];
}

/** The same, sorted by name. */
export function sortedSymbols(graph: Graph, op: string): readonly SizeSymbol[] {
  return symbolsOf(graph, op).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** `n <= 4096`, `2 <= n <= 4096`; the name as it stands in the text may be another. */
export function printSymbol({ name, least, bound }: SizeSymbol, written = name): string {
  return least === 0 ? `${written} <= ${bound}` : `${least} <= ${written} <= ${bound}`;
}
