// A quantized matrix in a graph: codes in words of 32 bits and scales, in panels of columns as contractions read weights, and the arithmetic
// that makes numbers of them. It is arithmetic like any other, so kernels do it where they read the weight.
import type { Axis } from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import type { Builder } from '../graph/graph.ts';
import { iota, packed, typeAttrs } from '../ops/source.ts';
import { here } from '../origin.ts';
import { rearrange, repeat, slice } from '../functions/shape.ts';
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
  /** `panel group column`, and so are offsets where the format has them. */
  readonly scales: readonly [number, number, number];
  /** Elements of a row, the last block filled up. */
  readonly inner: number;
}

/** Undefined for what is no matrix, and for a format that is decoded when it is loaded. The last block of a row is filled up with zeros. */
export function planeShapes({ block, planes }: StorageFormat, shape: readonly number[]): PlaneShapes | undefined {
  const [rows = 0, inner = 0] = shape;
  if (planes === undefined || shape.length !== 2 || rows === 0 || inner === 0) return undefined;
  const columns = Math.min(panelColumns, Math.ceil(rows / 4) * 4);
  const panels = Math.ceil(rows / columns);
  const filled = Math.ceil(inner / block) * block;
  return {
    columns,
    panels,
    codes: [panels, (filled * planes.bits) / 32, columns],
    scales: [panels, filled / planes.group, columns],
    inner: filled,
  };
}

/** The matrix at `path` over `axes`, computed from its planes. Throws `OpabiniaError` for axes that the format does not take. */
export function unpacked(
  builder: Builder,
  path: string,
  format: StorageFormat,
  axes: readonly Axis[],
  dtype: Float,
): Tensor<string, Float> {
  const [row, inner] = axes;
  const shape = axes.map((axis) => Number(axis.size));
  const shapes = planeShapes(format, shape);
  const { planes } = format;
  if (shapes === undefined || planes === undefined || row === undefined || inner === undefined)
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
        },
        here(path),
      ),
    );
  const each = 32 / planes.bits;
  const codes = source('codes', 'panel word column', shapes.codes, 'u32');
  const scaleType = planes.wide === true ? 'f32' : dtype;
  const scales = source('scales', 'panel group column', shapes.scales, scaleType).cast('f32');
  const offsets =
    planes.offset === undefined
      ? undefined
      : source('offsets', 'panel group column', shapes.scales, scaleType).cast('f32');
  const groups = { group: shapes.scales[1] };
  const words = repeat(
    rearrange(codes, 'panel (group word) column -> panel group word column', groups),
    'panel group word column -> panel group word place column',
    { place: each },
  );
  const places = new Tensor<'place', 'i32'>(
    builder,
    builder.make(iota, [], typeAttrs([{ name: 'place', size: each }], 'i32'), here(path)),
  );
  const moved = shiftRight(words, places.mul(planes.bits).cast('u32'));
  const code = moved.mod(2 ** planes.bits).cast('f32');
  const centered =
    planes.offset?.kind === 'zero' && offsets !== undefined
      ? code.sub(offsets)
      : planes.zero === 0
        ? code
        : code.sub(planes.zero);
  const scaled = centered.mul(scales);
  const values = (planes.offset?.kind === 'bias' && offsets !== undefined ? scaled.add(offsets) : scaled).cast(dtype);
  const flat = rearrange(values, 'panel group word place column -> row=(panel column) inner=(group word place)');
  const rows = shapes.panels * shapes.columns === shape[0] ? flat : slice(flat, 'row', { size: shape[0] ?? 0 });
  const cut = shapes.inner === shape[1] ? rows : slice(rows, 'inner', { size: shape[1] ?? 0 });
  return renamed(
    'get',
    cut,
    new Map([
      ['row', row.name],
      ['inner', inner.name],
    ]),
  );
}
