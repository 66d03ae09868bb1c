// A quantized matrix in a graph: codes in words of 32 bits and scales, in panels of columns as contractions read weights, and the arithmetic
// that makes numbers of them. It is arithmetic like any other, so kernels do it where they read the weight.
import { axisOf, type Axis } from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import type { Builder, Node } from '../graph/graph.ts';
import { iota, packed, packedPath, typeAttrs } from '../ops/source.ts';
import { here } from '../origin.ts';
import { gather, rearrange, repeat, slice } from '../functions/shape.ts';
import { shiftRight } from '../functions/math.ts';
import { renamed, Tensor, type Float } from '../tensor.ts';
import type { StorageFormat } from './format.ts';

/** Columns of a panel: as many as the kernels of unquantized weights have. */
const panelColumns = 64;

export interface PlaneShapes {
  /** Rows of the matrix, which are columns of the product, side by side; the last panel is filled up with zeros. */
  readonly columns: number;
  readonly panels: number;
  /** u32, `panel word column`. */
  readonly codes: readonly [number, number, number];
  /** Of the bits above, where the format has such; as `codes`. */
  readonly high: readonly [number, number, number] | undefined;
  /** `panel group column`, and so are offsets where the format has them. */
  readonly scales: readonly [number, number, number];
  /** Elements of a row, the last block filled up. */
  readonly inner: number;
}

/** Undefined for what is not a matrix. The last block of a row is filled up with zeros. */
export function planeShapes({ block, planes }: StorageFormat, shape: readonly number[]): PlaneShapes | undefined {
  const [rows = 0, inner = 0] = shape;
  if (shape.length !== 2 || rows === 0 || inner === 0) return undefined;
  const columns = Math.min(panelColumns, Math.ceil(rows / 4) * 4);
  const panels = Math.ceil(rows / columns);
  const filled = Math.ceil(inner / block) * block;
  return {
    columns,
    panels,
    codes: [panels, (filled * planes.bits) / 32, columns],
    high: planes.high === undefined ? undefined : [panels, (filled * planes.high) / 32, columns],
    scales: [panels, filled / planes.group, columns],
    inner: filled,
  };
}

/** Words of a column, of a node that is a plane of codes; undefined for every other node. */
export function planeWords(node: Node): number | undefined {
  if (packedPath(node) === undefined || node.type.dtype !== 'u32') return undefined;
  const words = axisOf(node.type.axes, 'word')?.size;
  return typeof words === 'number' ? words : undefined;
}

/** How a quantized parameter is stored. */
export interface PackedForm {
  readonly format: StorageFormat;
  /** Columns stand in another order in the blocks: then `path#order` has the place of each. */
  readonly isSorted: boolean;
}

/** The matrix at `path` over `axes`, computed from its planes. Throws `OpabiniaError` for axes that the format does not take. */
export function unpacked(
  builder: Builder,
  path: string,
  { format, isSorted }: PackedForm,
  axes: readonly Axis[],
  dtype: Float,
): Tensor<string, Float> {
  const [row, inner] = axes;
  const shape = axes.map((axis) => Number(axis.size));
  const shapes = planeShapes(format, shape);
  const { planes } = format;
  if (shapes === undefined || row === undefined || inner === undefined)
    throw new OpabiniaError(`a tensor ${shape.join('×')} cannot be read as ${format.name}`, {
      op: 'get',
      path,
      place: here(path).place,
      advice: 'matrices are stored so',
    });
  const source = <S extends string, D extends Float | 'u32'>(name: string, of: S, sizes: readonly number[], as: D) =>
    new Tensor<S, D>(
      builder,
      builder.make(
        packed,
        [],
        {
          ...typeAttrs(
            of.split(' ').map((axis, i) => ({ name: axis, size: sizes[i] ?? 1 })),
            as,
          ),
          name: `${path}#${name}`,
          of: path,
        },
        here(path),
      ),
    );
  const scaleType = planes.wide === true ? 'f32' : dtype;
  const scales = source('scales', 'panel group column', shapes.scales, scaleType).cast('f32');
  const offsets =
    planes.offset === undefined
      ? undefined
      : source('offsets', 'panel group column', shapes.scales, scaleType).cast('f32');
  const groups = { group: shapes.scales[1] };
  /** The bits of every element, of words that hold so many of each. */
  const bitsOf = (name: string, sizes: readonly number[], bits: number): Tensor<'panel group member column', 'u32'> => {
    const each = 32 / bits;
    const words = repeat(
      rearrange(
        source(name, 'panel word column', sizes, 'u32'),
        'panel (group word) column -> panel group word column',
        groups,
      ),
      'panel group word column -> panel group word place column',
      { place: each },
    );
    const places = new Tensor<'place', 'i32'>(
      builder,
      builder.make(iota, [], typeAttrs([{ name: 'place', size: each }], 'i32'), here(path)),
    );
    const moved = shiftRight(words, places.mul(bits).cast('u32')).mod(2 ** bits);
    return rearrange(moved, 'panel group word place column -> panel group member=(word place) column');
  };
  const low = bitsOf('codes', shapes.codes, planes.bits);
  const whole =
    shapes.high === undefined ? low : low.add(bitsOf('high', shapes.high, planes.high ?? 1).mul(2 ** planes.bits));
  const code = whole.cast('f32');
  const centered =
    planes.offset?.kind === 'zero' && offsets !== undefined
      ? code.sub(offsets)
      : planes.zero === 0
        ? code
        : code.sub(planes.zero);
  const scaled = centered.mul(scales);
  const values = (planes.offset?.kind === 'bias' && offsets !== undefined ? scaled.add(offsets) : scaled).cast(dtype);
  const flat = rearrange(values, 'panel group member column -> row=(panel column) inner=(group member)');
  const rows = shapes.panels * shapes.columns === shape[0] ? flat : slice(flat, 'row', { size: shape[0] ?? 0 });
  const cut = shapes.inner === shape[1] ? rows : slice(rows, 'inner', { size: shape[1] ?? 0 });
  const placed = isSorted
    ? rearrange(
        gather(cut, source('order', 'place', [shape[1] ?? 0], 'u32'), 'inner'),
        'place row -> row inner=(place)',
      )
    : cut;
  return renamed(
    'get',
    placed,
    new Map([
      ['row', row.name],
      ['inner', inner.name],
    ]),
  );
}
