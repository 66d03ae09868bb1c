// Positions on a grid that no checkpoint holds: tables of sines and cosines, and rotations by row and column.
import { constantLike, flip, OpabiniaError, rearrange } from '../../dsl/index.ts';
import type { Grid } from './tower.ts';
import type { Heads } from './vit.ts';

/**
 * Sines and cosines of w_k = 10000^(−k/(width/4)) of both coordinates, `rows · columns` × `width`. column: sin and cos of the column, then
 * of the row (MAE, AIMv2); row: the other way round (MoCo v3). `classRow` puts a row of zeros in front.
 */
export function sinCosTable(
  [rows, columns]: Grid,
  width: number,
  first: 'column' | 'row',
  classRow = false,
): Float64Array {
  const [quarter, start] = [width / 4, classRow ? 1 : 0];
  const table = new Float64Array((rows * columns + start) * width);
  for (let n = 0; n < rows * columns; n++) {
    const [row, column] = [Math.floor(n / columns), n % columns];
    const pair = first === 'column' ? [column, row] : [row, column];
    for (let k = 0; k < quarter; k++) {
      const w = 10000 ** (-k / quarter);
      pair.forEach((place, i) => {
        table[(n + start) * width + 2 * i * quarter + k] = Math.sin(place * w);
        table[(n + start) * width + (2 * i + 1) * quarter + k] = Math.cos(place * w);
      });
    }
  }
  return table;
}

/** Angles of the patches' rotations, `frequencies` of the row and then as many of the column for each. */
export interface GridAngles {
  readonly values: Float64Array;
  readonly tokens: number;
  /** Pairs that turn in a head. */
  readonly pairs: number;
}

export function gridAngles(
  places: readonly (readonly [y: number, x: number])[],
  frequencies: readonly number[],
): GridAngles {
  const pairs = 2 * frequencies.length;
  const values = new Float64Array(places.length * pairs);
  places.forEach((place, n) =>
    place.forEach((at, axis) =>
      frequencies.forEach((f, k) => (values[n * pairs + axis * frequencies.length + k] = at * f)),
    ),
  );
  return { values, tokens: places.length, pairs };
}

/** Rows and columns of a grid, in order, each by its own map. */
export function gridPlaces(
  [rows, columns]: Grid,
  y: (row: number) => number = (row) => row,
  x: (column: number) => number = (column) => column,
): readonly (readonly [y: number, x: number])[] {
  return Array.from({ length: rows * columns }, (_, n) => [y(Math.floor(n / columns)), x(n % columns)] as const);
}

/** Which channels of a head are a pair: j and j + half of them, or neighbours. */
export type PairLayout = 'half' | 'interleaved';

/** (a, b) → (a cos − b sin, b cos + a sin) for every pair; the first `prefix` tokens stay. In f32. */
export function turnTokens(x: Heads, angles: GridAngles, layout: PairLayout, prefix = 0): Heads {
  const { values, pairs: f, tokens } = angles;
  const n = tokens + prefix;
  const cos = new Float64Array(n * f).fill(1);
  const sin = new Float64Array(2 * n * f);
  values.forEach((angle, i) => {
    const at = prefix * f + i;
    cos[at] = Math.cos(angle);
    sin[at] = -Math.sin(angle);
    sin[n * f + at] = Math.sin(angle);
  });
  const wide = x.cast('f32');
  const two =
    layout === 'half'
      ? rearrange(wide, 'b n h (s f) -> s b n h f', { s: 2 })
      : rearrange(wide, 'b n h (f s) -> s b n h f', { s: 2 });
  const turned = two
    .mul(constantLike(x, cos, 'n f', { n, f }, 'f32'))
    .add(flip(two, 's').mul(constantLike(x, sin, 's n f', { s: 2, n, f }, 'f32')));
  const back =
    layout === 'half'
      ? rearrange(turned, 's b n h f -> b n h d=(s f)')
      : rearrange(turned, 's b n h f -> b n h d=(f s)');
  return back.cast(x.dtype);
}

/** Cosines and sines of the angles by channel of a head, as reference codes hand them over. */
export function angleTables(
  angles: GridAngles,
  layout: PairLayout,
): { readonly cos: Float64Array; readonly sin: Float64Array } {
  const { values, pairs, tokens } = angles;
  const all = Float64Array.from({ length: 2 * tokens * pairs }, (_, i) => {
    const [n, d] = [Math.floor(i / (2 * pairs)), i % (2 * pairs)];
    return values[n * pairs + (layout === 'half' ? d % pairs : Math.floor(d / 2))] ?? 0;
  });
  return { cos: all.map(Math.cos), sin: all.map(Math.sin) };
}

/** Throws `OpabiniaError` for more than `most` places: a table has one for each two of them, and sizes are claims of configs. */
export function checkPairs(count: number, most: number, op: string): void {
  if (count <= most) return;
  throw new OpabiniaError(`a bias for each two of ${count} places`, {
    op,
    advice: `at most ${most} are known to make sense: give smaller pictures`,
  });
}
