// Leaves of the graph. Their type stands in their attributes: `axes` as a list of {name, size}, and `dtype`.
import type { Axis, Size } from '../axis/axis.ts';
import { attributes, axes, dtype, numbers, size, text } from '../graph/attributes.ts';
import { roleOf, type Node } from '../graph/graph.ts';
import type { Attrs, DType, Reader, SourceOp, SourceRole, TensorType } from '../graph/op.ts';

/** Attributes that state a type. */
export function typeAttrs(axes: readonly Axis[], dtype: DType): Attrs {
  return { axes: axes.map((axis) => ({ name: axis.name, size: axis.size })), dtype };
}

const readType = attributes('source', { axes, dtype });
const readName = attributes('source', { name: text });
const readPacked = attributes('packed', { name: text, of: text });
const readValues = attributes('const', { values: numbers });
const readExtent = attributes('extent', { size });

function stated(_inputs: readonly TensorType[], attrs: Attrs): TensorType {
  const type = readType(attrs);
  const twice = type.axes.find((axis, i) => type.axes.findIndex((other) => other.name === axis.name) !== i);
  if (twice !== undefined) throw new TypeError(`axis '${twice.name}' stands twice`);
  return type;
}

/** The name of an input, parameter, state or loaded tensor. */
export function nameOf(node: Node): string {
  return readName(node.attrs).name;
}

/** The path of the quantized parameter that a node is a part of; undefined for every other node. */
export function packedPath(node: Node): string | undefined {
  const { op } = node;
  return op.kind === 'source' && op.role === 'param' && !op.fixed ? readPacked(node.attrs).of : undefined;
}

/** The numbers of a constant, row-major; undefined for every other node. */
export function valuesOf(node: Node): Float64Array | undefined {
  return roleOf(node) === 'constant' ? readValues(node.attrs).values : undefined;
}

/** The size whose value an `extent` is; undefined for every other node. */
export function extentOf(node: Node): Size | undefined {
  return roleOf(node) === 'extent' ? readExtent(node.attrs).size : undefined;
}

const source = (name: string, role: SourceRole, fixed: boolean, doc: string, read?: Reader<unknown>): SourceOp => ({
  kind: 'source',
  name,
  role,
  fixed,
  doc,
  infer(inputs, attrs) {
    read?.(attrs);
    return stated(inputs, attrs);
  },
});

export const input = source('input', 'input', false, 'a tensor given at each run (attr name)', readName);
export const param = source('param', 'param', true, 'a tensor of the checkpoint (attr name: its path)', readName);
/**
 * Codes or scales of a quantized parameter (attr of: its path; name: the path, `#`, which). Not fixed: work on weights alone, done once when they are
 * loaded, would leave them unpacked in memory.
 */
export const packed = source(
  'packed',
  'param',
  false,
  'a part of a quantized tensor of the checkpoint (attrs name, of)',
  readPacked,
);
export const state = source('state', 'state', false, 'a buffer that lives between runs (attr name)', readName);
/** Attr `values`: row-major numbers, one per element. */
export const constant = source('const', 'constant', true, 'numbers known at trace time', readValues);
/** Attr `axes` has one axis; element i is i. */
export const iota = source('iota', 'index', true, 'the index along its only axis');
/** Attr `size`: the value of a size in this run, as an i32 scalar. */
export const extent = source('extent', 'extent', false, 'the value of a symbolic size', readExtent);

export const sources: readonly SourceOp[] = [input, param, packed, state, constant, iota, extent];
