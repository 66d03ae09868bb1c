// The text form of a graph, read back: syntax tree to nodes, each type inferred again and held against the written one.
import type { IToken } from 'chevrotain';
import {
  addSizes,
  multiplySizes,
  sizesEqual,
  symbolSize,
  type Axis,
  type Size,
  type SizeSymbol,
} from '../axis/axis.ts';
import { nearestNames, OpabiniaError } from '../error.ts';
import { Builder, inferType, roleOf, type Graph, type Node, type Update } from '../graph/graph.ts';
import { isDType, type Attr, type Attrs, type Op, type TensorType } from '../graph/op.ts';
import { opByName, ops } from '../ops/index.ts';
import { nameOf, typeAttrs } from '../ops/source.ts';
import { printType } from './print.ts';
import { readGraphSyntax, type Mistake } from './grammar.ts';
import {
  nameIn,
  type AxisSyntax,
  type FieldSyntax,
  type NodeSyntax,
  type SizeSyntax,
  type ValueSyntax,
} from './graph-syntax.ts';
import { requireText } from '../graph/required.ts';

/**
 * The graph of a text that `print` wrote or a person did. `#` starts a comment.
 * Throws `OpabiniaError` with line, column, what was expected and the line itself: for text that is not a graph, for unknown ops,
 * values and symbols, for what an op refuses, and for a written type that is not the inferred one. `builder` takes the nodes.
 * @example parse(print(graph))
 */
export function parse(text: string, builder: Builder = new Builder()): Graph {
  requireText('parse', text, 'the graph', 'parse(print(graph))');
  const fail = (what: string, at: IToken | Mistake, advice?: string, cause?: unknown): never => {
    const [line, column] = 'image' in at ? [at.startLine ?? 1, at.startColumn ?? 1] : [at.line, at.column];
    const shown = text.split('\n')[line - 1]?.replaceAll('\t', ' ') ?? '';
    // Lines of constants are long: show the neighbourhood.
    const from = Math.max(0, column - 60);
    const [start, end] = [from === 0 ? '' : '…', shown.length > from + 100 ? '…' : ''];
    const pointer = `${' '.repeat(start.length + column - 1 - from)}^`;
    throw new OpabiniaError(
      `line ${line}, column ${column}: ${what}\n  ${start}${shown.slice(from, from + 100)}${end}\n  ${pointer}`,
      { op: 'parse', advice, cause },
    );
  };
  const tree = readGraphSyntax(text);
  if ('what' in tree) return fail(tree.what, tree);

  const symbols = new Map<string, SizeSymbol>();
  for (const { name, least, bound } of tree.symbols) {
    if (symbols.has(nameIn(name))) fail(`the symbol '${nameIn(name)}' is declared twice`, name);
    if (!Number.isSafeInteger(least) || !Number.isSafeInteger(bound) || least > bound)
      fail(`expected whole bounds with least ≤ bound, found ${least} and ${bound}`, name);
    symbols.set(nameIn(name), { name: nameIn(name), least, bound });
  }
  const reading: Reading = { symbols, fail, constants: { count: 0 } };
  const nodes = new Map<string, Node>();
  const sources = new Set<string>();
  const valueAt = (token: IToken): Node => nodes.get(token.image) ?? fail(`${token.image} is not defined above`, token);
  for (const line of tree.nodes) {
    if (nodes.has(line.result.image)) fail(`${line.result.image} is defined twice`, line.result);
    const node = readNode(line, line.operands.map(valueAt), builder, reading);
    nodes.set(line.result.image, node);
    const role = roleOf(node);
    if (role === undefined || !('name' in node.attrs)) continue;
    const named = `the ${role} '${nameOf(node)}'`;
    if (sources.has(named)) fail(`${named} is defined twice`, line.result, 'use the value of the first line');
    sources.add(named);
  }
  const outputs = new Map<string, Node>();
  for (const { name, value } of tree.outputs) {
    if (outputs.has(nameIn(name))) fail(`the output '${nameIn(name)}' is returned twice`, name);
    outputs.set(nameIn(name), valueAt(value));
  }
  const updates = tree.updates.map((line): Update => {
    const state = valueAt(line.state);
    if (roleOf(state) !== 'state')
      fail(`expected a state, ${line.state.image} is made by '${state.op.name}'`, line.state);
    return {
      state,
      value: valueAt(line.value),
      at: new Map(readAxes(line.at, reading).map((axis) => [axis.name, axis.size])),
    };
  });
  return { outputs, updates };
}

interface Reading {
  /** Numbers of all constants so far. */
  readonly constants: { count: number };
  readonly symbols: ReadonlyMap<string, SizeSymbol>;
  readonly fail: (what: string, at: IToken, advice?: string, cause?: unknown) => never;
}

function readNode(line: NodeSyntax, inputs: readonly Node[], builder: Builder, reading: Reading): Node {
  const name = line.op.image;
  const op =
    opByName(name) ??
    reading.fail(
      `no op is called '${name}'`,
      line.op,
      `one of ${nearestNames(
        name,
        ops.map((known) => known.name),
      ).join(', ')}`,
    );
  const dtype = line.dtype.image;
  if (!isDType(dtype))
    return reading.fail(`expected a dtype, found '${dtype}'`, line.dtype, 'one of f32, f16, bf16, i32, u32, bool');
  const written: TensorType = { axes: readAxes(line.axes, reading), dtype };
  const attrs = fullAttrs(op, readFields(line.attrs, reading), written, inputs);
  if (typeof attrs === 'string') return reading.fail(attrs, line.op);
  const node = makeNode(op, inputs, attrs, line, builder, reading);
  const same =
    node.type.dtype === dtype &&
    node.type.axes.length === written.axes.length &&
    node.type.axes.every(
      (axis, i) => axis.name === written.axes[i]?.name && sizesEqual(axis.size, written.axes[i]?.size ?? NaN),
    );
  return same
    ? node
    : reading.fail(
        `expected the type ${printType(node.type)}, which '${name}' gives here, found ${printType(written)}`,
        line.dtype,
      );
}

/** What the printer left out is put back. */
function fullAttrs(op: Op, attrs: Attrs, type: TensorType, inputs: readonly Node[]): Attrs | string {
  if (op.kind === 'source') {
    const stated = ['axes', 'dtype'].find((name) => Object.hasOwn(attrs, name));
    if (stated !== undefined) return `expected no attribute '${stated}': the type behind the colon says it`;
    const count = attrs['values'] instanceof Float64Array ? attrs['values'].length : undefined;
    const wanted = type.axes.reduce((product, axis) => (typeof axis.size === 'number' ? product * axis.size : NaN), 1);
    if (count !== undefined && count !== wanted)
      return `expected ${Number.isNaN(wanted) ? 'axes of known size' : `${wanted} values`} in a constant of type ${printType(type)}, found ${count} values`;
    return { ...typeAttrs(type.axes, type.dtype), ...attrs };
  }
  const [operand] = inputs;
  return op.kind === 'view' && op.text !== undefined && operand !== undefined
    ? op.text.read(attrs, operand.type.axes)
    : attrs;
}

function makeNode(
  op: Op,
  inputs: readonly Node[],
  attrs: Attrs,
  line: NodeSyntax,
  builder: Builder,
  reading: Reading,
): Node {
  let node: Node;
  try {
    node = builder.make(op, inputs, attrs, {
      path: line.path === undefined ? '' : nameIn(line.path),
      place: undefined,
    });
  } catch (error) {
    // A shape rule that meets an attribute missing or of another form throws a TypeError: here that is a mistake in the text.
    if (error instanceof OpabiniaError) return reading.fail(error.message, line.op, undefined, error);
    const why = error instanceof TypeError && !error.message.startsWith('Cannot ') ? `: ${error.message}` : '';
    return reading.fail(
      `expected other attributes: one that '${op.name}' needs is missing or of another form${why}`,
      line.op,
      undefined,
      error,
    );
  }
  const [unknown] = unread(op, inputs, attrs);
  return unknown === undefined
    ? node
    : reading.fail(`'${op.name}' has no attribute '${unknown}'`, line.op, 'take it out: it would change nothing');
}

/** Attributes that the op's shape rule, which reads them all, does not ask for. */
function unread(op: Op, inputs: readonly Node[], attrs: Attrs): readonly string[] {
  const read = new Set<string | symbol>();
  const watched = new Proxy(attrs, {
    get: (all, key) => {
      read.add(key);
      return typeof key === 'string' && Object.hasOwn(all, key) ? all[key] : undefined;
    },
  });
  inferType(
    op,
    inputs.map(({ type }) => type),
    watched,
  );
  return Object.keys(attrs).filter((key) => !read.has(key));
}

// ---- values -----------------------------------------------------------------------------------------------------

function readSize(syntax: SizeSyntax, reading: Reading): Size {
  let size: Size = syntax.constant;
  for (const { symbols, times } of syntax.terms) {
    const factors = symbols.map((symbol) => {
      const name = nameIn(symbol);
      const known =
        reading.symbols.get(name) ??
        reading.fail(
          `the symbol '${name}' is not declared`,
          symbol,
          `declare it in the first line: graph (${name} <= 4096)${reading.symbols.size === 0 ? '' : `; declared: ${[...reading.symbols.keys()].join(', ')}`}`,
        );
      return symbolSize(known);
    });
    size = addSizes(size, factors.reduce<Size>(multiplySizes, times));
  }
  return size;
}

function readAxes(axes: readonly AxisSyntax[], reading: Reading): readonly Axis[] {
  return axes.map((axis, i) => {
    const name = nameIn(axis.name);
    if (axes.findIndex((other) => nameIn(other.name) === name) !== i)
      reading.fail(`axis '${name}' stands twice`, axis.name);
    const size = readSize(axis.size, reading);
    if (typeof size === 'number' && !(Number.isSafeInteger(size) && size >= 0))
      reading.fail(`axis '${name}' has the size ${size}`, axis.name, 'sizes are whole numbers from 0 on');
    return { name, size };
  });
}

function readFields(fields: readonly FieldSyntax[], reading: Reading): Attrs {
  const entries = fields.map(({ key, value }, i): readonly [string, Attr] => {
    const name = nameIn(key);
    if (fields.findIndex((other) => nameIn(other.key) === name) !== i) reading.fail(`'${name}' is given twice`, key);
    return [name, readValue(value, reading)];
  });
  // fromEntries defines own properties: a key such as __proto__ is a key like any other.
  return Object.fromEntries(entries);
}

/** The most numbers that the constants of a text may hold together: a run such as `0*999999999999` must not exhaust the memory. */
const longest = 2 ** 25;

function readValue(syntax: ValueSyntax, reading: Reading): Attr {
  switch (syntax.kind) {
    case 'plain':
      return syntax.value;
    case 'size':
      return readSize(syntax.size, reading);
    case 'list':
      return syntax.items.map((item) => readValue(item, reading));
    case 'record':
      return readFields(syntax.fields, reading);
    case 'pair':
      return syntax.size === undefined
        ? { name: syntax.name, parts: syntax.parts === undefined ? [] : readValue(syntax.parts, reading) }
        : { name: syntax.name, size: readSize(syntax.size, reading) };
    case 'constants': {
      const count = syntax.runs.reduce((sum, run) => sum + run.times, 0);
      reading.constants.count += count;
      if (!Number.isSafeInteger(count) || reading.constants.count > longest)
        reading.fail(
          `constants hold ${reading.constants.count} numbers, more than ${longest}`,
          syntax.open,
          'give long tables as parameters',
        );
      const values = new Float64Array(count);
      let at = 0;
      for (const { value, times } of syntax.runs) values.fill(value, at, (at += times));
      return values;
    }
    default:
      return syntax satisfies never;
  }
}
