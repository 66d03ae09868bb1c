// Leaves of the graph. Their type stands in their attributes: `axes` as a list of {name, size}, and `dtype`.
import type { Axis, Size } from '../axis/axis.ts';
import type { Attr, Attrs, DType, SourceOp, SourceRole, TensorType } from '../graph/op.ts';

const dtypes: readonly string[] = ['f32', 'f16', 'bf16', 'i32', 'u32', 'bool'] satisfies readonly DType[];

export function isDType(text: unknown): text is DType {
  return typeof text === 'string' && dtypes.includes(text);
}

/** Attributes that state a type. */
export function typeAttrs(axes: readonly Axis[], dtype: DType): Attrs {
  return { axes: axes.map((axis) => ({ name: axis.name, size: axis.size })), dtype };
}

/** The axes held in an attribute, as `typeAttrs` wrote them. */
export function axesOf(attr: Attr | undefined): readonly Axis[] {
  if (!Array.isArray(attr)) throw new TypeError('an attribute that should hold axes does not');
  return attr.map((item: Attr) => {
    const axis = item as { readonly name: string; readonly size: Size };
    return { name: axis.name, size: axis.size };
  });
}

function stated(_inputs: readonly TensorType[], attrs: Attrs): TensorType {
  const dtype = attrs['dtype'];
  if (!isDType(dtype)) throw new TypeError(`no dtype: ${String(dtype)}`);
  const axes = axesOf(attrs['axes']);
  const twice = axes.find((axis, i) => axes.findIndex((other) => other.name === axis.name) !== i);
  if (twice !== undefined) throw new TypeError(`axis '${twice.name}' stands twice`);
  return { axes, dtype };
}

const source = (name: string, role: SourceRole, fixed: boolean, doc: string): SourceOp => ({
  kind: 'source',
  name,
  role,
  fixed,
  doc,
  infer: stated,
});

export const input = source('input', 'input', false, 'a tensor given at each run (attr name)');
export const param = source('param', 'param', true, 'a tensor of the checkpoint (attr name: its path)');
export const state = source('state', 'state', false, 'a buffer that lives between runs (attr name)');
/** Attr `values`: row-major numbers, one per element. */
export const constant = source('const', 'constant', true, 'numbers known at trace time');
/** Attr `axes` has one axis; element i is i. */
export const iota = source('iota', 'index', true, 'the index along its only axis');
/** Attr `size`: the value of a size in this run, as an i32 scalar. */
export const extent = source('extent', 'extent', false, 'the value of a symbolic size');

export const sources: readonly SourceOp[] = [input, param, state, constant, iota, extent];
