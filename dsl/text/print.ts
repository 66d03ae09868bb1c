// The text form of a graph: one line a node, stable and readable; parse.ts reads it back to the same graph.
import { isSymbolicSize, printAxes, type Axis, type Size } from '../axis/axis.ts';
import { printNumber, type Graph, type Node, type Update } from '../graph/graph.ts';
import { order } from '../graph/walk.ts';
import type { Attr, Attrs, Op, TensorType } from '../graph/op.ts';
import { ops } from '../ops/index.ts';
import { printSymbol, sortedSymbols } from '../graph/symbols.ts';
import { sameAxes } from '../axis/axes.ts';

/**
 * ```
 * graph (n <= 4096)
 * %0 = input name=x : f32 [b:1 n:n i:8]
 * %1 = param name=fc.weight : f32 [o:4 i:8]   ; fc
 * %2 = contract %0 %1 axes=[b n o] : f32 [b:1 n:n o:4]   ; fc
 * return y=%2
 * ```
 * Nodes are numbered in the order of `order(graph)`. Throws `OpabiniaError` when two symbols share a name and not their bounds.
 * @example print(graph)
 */
export function print(graph: Graph): string {
  const nodes = order(graph);
  const numbers = new Map(nodes.map((node, i) => [node, `%${i}`]));
  const reference = (node: Node): string => numbers.get(node) ?? '%?';
  const symbols = sortedSymbols(graph, 'print').map((symbol) => printSymbol(symbol, printWord(symbol.name)));
  const lines = [symbols.length === 0 ? 'graph' : `graph (${symbols.join(', ')})`];
  for (const node of nodes) lines.push(`${reference(node)} = ${printNode(node, node.inputs.map(reference))}`);
  lines.push(
    ['return', ...[...graph.outputs].map(([name, node]) => `${printWord(name)}=${reference(node)}`)].join(' '),
  );
  for (const update of graph.updates) {
    const at = [...update.at].map(([name, size]) => `${printWord(name)}:${printSizeText(size)}`);
    lines.push(
      `update ${reference(update.state)} = ${reference(update.value)}${at.length === 0 ? '' : ` at [${at.join(' ')}]`}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** One node without its number: `contract %0 %1 axes=[b n o] : f32 [b:1 n:577 o:4096]   ; layers.0.mlp.fc1` */
export function printNode(node: Node, operands: readonly string[]): string {
  const attrs = shortAttrs(node);
  // The name leads: it is what a reader looks for.
  const keys = Object.keys(attrs)
    .filter((key) => attrs[key] !== undefined)
    .sort((a, b) => Number(b === 'name') - Number(a === 'name') || (a < b ? -1 : 1));
  const written = keys.map((key) => `${printWord(key)}=${printValue(attrs[key])}`);
  const path = node.origin.path === '' ? '' : `   ; ${printWord(node.origin.path)}`;
  return `${[node.op.name, ...operands, ...written].join(' ')} : ${printType(node.type)}${path}`;
}

export function printType(type: TensorType): string {
  return `${type.dtype} [${type.axes.map(printPair).join(' ')}]`;
}

/** Attributes without what the line says anyway: a source's type, a view's in the form of its record. */
function shortAttrs(node: Node): Attrs {
  const { attrs, op, type } = node;
  if (
    op.kind === 'source' &&
    attrs['dtype'] === type.dtype &&
    printValue(attrs['axes']) === `[${type.axes.map(printPair).join(' ')}]`
  ) {
    const { axes: _axes, dtype: _dtype, ...rest } = attrs;
    return rest;
  }
  const operand = node.inputs[0]?.type.axes;
  return op.kind === 'view' && operand !== undefined ? (op.text?.write(attrs, operand) ?? attrs) : attrs;
}

// ---- values -----------------------------------------------------------------------------------------------------

/** Words that stand without quotes. */
const word = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$/;
/** Words with a meaning of their own in the text. */
export const reserved: ReadonlySet<string> = new Set([
  'graph',
  'return',
  'update',
  'at',
  'true',
  'false',
  'NaN',
  'Infinity',
]);

/** A name as it stands in the text: quoted unless it is a plain word. */
export function printWord(text: string): string {
  if (word.test(text) && !reserved.has(text)) return text;
  // Controls, separators and direction marks would hide in a terminal: written as escapes.
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u00a0\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `2n+1`, `h*w`; a symbol that could be read as an exponent or a keyword is quoted. */
function printSizeText(size: Size): string {
  if (typeof size === 'number') return printNumber(size);
  const parts = size.terms.map(({ symbols, times }) => {
    const name = symbols
      .map((symbol) => (/^[eE]\d/.test(symbol.name) ? JSON.stringify(symbol.name) : printWord(symbol.name)))
      .join('*');
    return times === 1 ? name : times === -1 ? `-${name}` : `${times}${name}`;
  });
  const all = size.constant === 0 ? parts : [...parts, String(size.constant)];
  return all.map((part, i) => (i === 0 || part.startsWith('-') ? part : `+${part}`)).join('');
}

function isSizeAttr(attr: Attr | undefined): attr is Size {
  return typeof attr === 'number' || (typeof attr === 'object' && isSymbolicSize(attr));
}

/** `n:577` */
function printPair(axis: Axis): string {
  return `${printWord(axis.name)}:${printSizeText(axis.size)}`;
}

/** A record {name, size} or {name, parts} in a list, short: `n:577`, `q:[h w]`. */
function shortPair(attr: Attr): string | undefined {
  if (typeof attr !== 'object' || Array.isArray(attr) || attr instanceof Float64Array || isSymbolicSize(attr))
    return undefined;
  const record = attr as Attrs;
  const { name, size, parts } = record;
  if (typeof name !== 'string' || Object.keys(record).length !== 2) return undefined;
  if (isSizeAttr(size)) return printPair({ name, size });
  return Array.isArray(parts) ? `${printWord(name)}:${printValue(parts)}` : undefined;
}

/** Numbers, words, `true`, sizes in `()`, lists in `[]`, records in `{}`, constants in `<>`. */
export function printValue(attr: Attr | undefined): string {
  if (typeof attr === 'string') return printWord(attr);
  if (typeof attr === 'number') return printNumber(attr);
  if (typeof attr !== 'object') return String(attr);
  if (attr instanceof Float64Array) return `<${printConstants(attr)}>`;
  if (Array.isArray(attr)) return `[${attr.map((item: Attr) => shortPair(item) ?? printValue(item)).join(' ')}]`;
  if (isSymbolicSize(attr)) return `(${printSizeText(attr)})`;
  const record = attr as Attrs;
  return `{${Object.keys(record)
    .filter((key) => record[key] !== undefined)
    .sort()
    .map((key) => `${printWord(key)}=${printValue(record[key])}`)
    .join(' ')}}`;
}

/** Runs of four or more equal numbers as `0*12`: interpolation matrices are mostly zero. */
function printConstants(values: Float64Array): string {
  const parts: string[] = [];
  for (let from = 0; from < values.length;) {
    let to = from + 1;
    while (to < values.length && Object.is(values[to], values[from])) to++;
    const text = printNumber(values[from] ?? NaN);
    if (to - from >= 4) parts.push(`${text}*${to - from}`);
    else for (let i = from; i < to; i++) parts.push(text);
    from = to;
  }
  return parts.join(' ');
}

// ---- equality ---------------------------------------------------------------------------------------------------

/** True when both graphs compute the same by the same nodes: ops, attributes, types, paths, outputs and updates in order. Places may differ. */
export function sameGraph(a: Graph, b: Graph): boolean {
  return graphDifference(a, b) === undefined;
}

/** The first difference, in words. */
export function graphDifference(a: Graph, b: Graph): string | undefined {
  const [left, right] = [order(a), order(b)];
  if (left.length !== right.length) return `${left.length} nodes and ${right.length}`;
  const partner = new Map<Node, Node>();
  for (const [i, x] of left.entries()) {
    const y = right[i];
    if (y === undefined) return `node ${i} is missing`;
    const what = nodeDifference(x, y, partner);
    if (what !== undefined) return `node %${i} (${x.op.name}): ${what}`;
    partner.set(x, y);
  }
  const [outputs, others] = [[...a.outputs], [...b.outputs]];
  if (
    outputs.length !== others.length ||
    outputs.some(([name, node], i) => others[i]?.[0] !== name || others[i]?.[1] !== partner.get(node))
  )
    return 'outputs differ';
  const sameUpdate = (x: Update, y: Update | undefined): boolean =>
    y !== undefined &&
    partner.get(x.state) === y.state &&
    partner.get(x.value) === y.value &&
    x.at.size === y.at.size &&
    [...x.at].every(([name, size]) => {
      const other = y.at.get(name);
      return other !== undefined && sameAttr(size, other);
    });
  if (a.updates.length !== b.updates.length || !a.updates.every((update, i) => sameUpdate(update, b.updates[i])))
    return 'updates differ';
  return undefined;
}

function nodeDifference(x: Node, y: Node, partner: ReadonlyMap<Node, Node>): string | undefined {
  if (x.op !== y.op) return `op ${x.op.name} and ${y.op.name}`;
  if (x.inputs.length !== y.inputs.length || x.inputs.some((input, k) => partner.get(input) !== y.inputs[k]))
    return 'other operands';
  if (!sameAttr(x.attrs, y.attrs)) return `attributes ${printValue(x.attrs)} and ${printValue(y.attrs)}`;
  if (x.type.dtype !== y.type.dtype) return `dtype ${x.type.dtype} and ${y.type.dtype}`;
  if (!sameAxes(x.type.axes, y.type.axes)) return `axes ${printAxes(x.type.axes)} and ${printAxes(y.type.axes)}`;
  return x.origin.path === y.origin.path ? undefined : `path '${x.origin.path}' and '${y.origin.path}'`;
}

/** Equality of attributes by value: numbers as Object.is, records whatever the order of their keys. */
export function sameAttr(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b);
  if (a instanceof Float64Array || b instanceof Float64Array) {
    return (
      a instanceof Float64Array &&
      b instanceof Float64Array &&
      a.length === b.length &&
      a.every((x, i) => Object.is(x, b[i]))
    );
  }
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return (
    left.size === right.size && [...left].every(([key, value]) => right.has(key) && sameAttr(value, right.get(key)))
  );
}

// ---- op table ---------------------------------------------------------------------------------------------------

/** Every op, one a line: name, kind, what else structural code asks of it, whether its record has a gradient, and what it is. */
export function printOpTable(records: readonly Op[] = ops): string {
  const rows = [
    ['op', 'kind', 'facts', 'gradient', 'what'],
    ...records.map((op) => [op.name, op.kind, factsOf(op), hasGradient(op) ? 'yes' : '-', op.doc]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return `${rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}

/** Maps and reductions have a rule in their record; the other kinds have one each, and sources need none. */
function hasGradient(op: Op): boolean {
  return op.kind === 'map' || op.kind === 'reduce' ? op.grad !== undefined : op.kind !== 'source' && op.kind !== 'sort';
}

function factsOf(op: Op): string {
  switch (op.kind) {
    case 'source':
      return op.fixed ? `${op.role}, fixed` : op.role;
    case 'map':
      return op.converts ? 'converts' : op.commutes ? 'commutes' : '-';
    case 'view':
      return op.shows;
    case 'reduce':
      return op.rounding === 1 ? 'rounds' : 'selects';
    case 'join':
    case 'gather':
    case 'scatter':
    case 'sort':
    case 'contract':
      return '-';
    default:
      return op satisfies never;
  }
}
