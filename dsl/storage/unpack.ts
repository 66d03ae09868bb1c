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
  /** `panel group column`. */
  readonly scales: readonly [number, number, number];
}

/** Undefined for what is no matrix, and for a format that is decoded when it is loaded. The last block of a row is filled up with zeros. */
export function planeShapes({ block, planes }: StorageFormat, shape: readonly number[]): PlaneShapes | undefined {
  const [rows = 0, inner = 0] = shape;
  if (planes === undefined || shape.length !== 2 || rows === 0 || inner === 0) return undefined;
  const columns = Math.min(panelColumns, Math.ceil(rows / 4) * 4);
  const panels = Math.ceil(rows / columns);
  const groups = Math.ceil(inner / block);
  return {
    columns,
    panels,
    codes: [panels, (groups * block * planes.bits) / 32, columns],
    scales: [panels, groups, columns],
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
  const scales = source('scales', 'panel group column', shapes.scales, dtype);
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
  const values = moved
    .mod(2 ** planes.bits)
    .cast('f32')
    .sub(planes.zero)
    .mul(scales.cast('f32'))
    .cast(dtype);
  const flat = rearrange(values, 'panel group word place column -> row=(panel column) inner=(group word place)');
  const rows = shapes.panels * shapes.columns === shape[0] ? flat : slice(flat, 'row', { size: shape[0] ?? 0 });
  const cut = shapes.scales[1] * format.block === shape[1] ? rows : slice(rows, 'inner', { size: shape[1] ?? 0 });
  return renamed(
    'get',
    cut,
    new Map([
      ['row', row.name],
      ['inner', inner.name],
    ]),
  );
}
