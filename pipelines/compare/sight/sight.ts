// Which cells of the map a token depends on: found by changing one cell at a time, on a small map, on the interpreter.
import { sizeProduct } from '../../../dsl/axis/axes.ts';
import { randomParams, type Graph } from '../../../dsl/index.ts';
import { roleOf } from '../../../dsl/graph/graph.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { withoutPlaces } from '../../../dsl/origin.ts';
import type { AnyConnector, MapShape } from '../../../models/connectors/connector.ts';
import type { Layout } from '../../../models/connectors/visual-tokens.ts';
import { evaluate } from '../../../runtime/reference/reference.ts';
import { smallGraph, smallSetting, smallWidth } from './small.ts';
import { nameOf } from '../../../dsl/ops/source.ts';

export interface Sight {
  readonly rows: number;
  readonly columns: number;
  readonly layout: Layout;
  /** For each token, how much each cell of map 0 changes it, row-major, the largest of a token being 1; all 0 where none does. */
  readonly weights: readonly Float64Array[];
}

/** What of the picture's order survives. */
export interface Keeps {
  /** Tokens lie on a grid, each where what it sees most lies. */
  readonly grid: boolean;
  /** Tokens follow one another as what they see most does, row by row. */
  readonly order: boolean;
  /** No token sees more than half of the map. */
  readonly regions: boolean;
}

/** A change of a token below this share of its largest does not count as seeing: it is rounding. */
const leastShare = 1e-5;

/** Undefined where no small map fits the connector. */
export function sightOf(connector: AnyConnector, sides?: readonly number[]): Sight | undefined {
  const small = smallSetting(connector, sides);
  const shape = small?.shapes[0];
  if (small === undefined || shape === undefined) return undefined;
  const cells = shape[0] * shape[1];
  // Sample 0 is the picture itself, sample i + 1 has cell i changed.
  const { graph, layout } = withoutPlaces(() => smallGraph(connector, small, cells + 1, ({ tokens }) => ({ tokens })));
  const source = randomParams(7);
  // Towers look at the same place of the picture; views at places of their own.
  const isSeen = (name: string) => (connector.towers === 'many' ? name.startsWith('map_') : name.startsWith('map_0'));
  const inputs = new Map(
    [...inputSizes(graph)].map(([name, sizes]) => [name, sampleValues(name, sizes, isSeen(name) ? shape : undefined)]),
  );
  const result = evaluate(graph, { inputs, params: (path, size) => source.read(path, size) }, { precision: 'f32' });
  const values = result.outputs.get('tokens')?.data;
  return values === undefined ? undefined : weigh(values, layout, shape, cells + 1);
}

/** Sizes of the inputs that a graph reads. */
export function inputSizes(graph: Graph): ReadonlyMap<string, readonly number[]> {
  const inputs = order(graph).filter((node) => roleOf(node) === 'input');
  return new Map(
    inputs.map((node) => [nameOf(node), node.type.axes.map(({ size }) => (typeof size === 'number' ? size : 1))]),
  );
}

/** The same numbers for every sample; of sample i + 1, those of cell i of a map of this shape are others, on any grid. */
export function sampleValues(name: string, sizes: readonly number[], shape?: MapShape): Float64Array {
  const [b = 1, h = 1, w = 1, c = 1] = sizes;
  const each = sizeProduct(sizes.slice(1));
  const out = new Float64Array(each * b);
  const noise = (i: number, salt: number) => Math.sin(12.9898 * (i + 1) + 78.233 * (salt + name.length)) * 1.3;
  const cellOf = (i: number): number => {
    if (shape === undefined) return -1;
    const [row, column] = [Math.floor(i / (w * c)), Math.floor(i / c) % w];
    return Math.floor((row * shape[0]) / h) * shape[1] + Math.floor((column * shape[1]) / w);
  };
  const base = Float64Array.from({ length: each }, (_, i) => (/ids|mask/.test(name) ? 1 : noise(i, 1)));
  for (let sample = 0; sample < b; sample++) out.set(base, sample * each);
  if (/ids|mask/.test(name)) return out;
  for (let i = 0; i < each; i++) {
    const sample = cellOf(i) + 1;
    if (sample > 0 && sample < b) out[sample * each + i] = noise(i, 5);
  }
  return out;
}

function weigh(values: ArrayLike<number>, layout: Layout, [rows, columns]: MapShape, b: number): Sight {
  const count = layout.reduce((total, run) => total + run.count, 0);
  const weights = Array.from({ length: count }, (_, token) => {
    const own = Float64Array.from({ length: b - 1 }, (_cell, cell) => {
      let squares = 0;
      for (let e = 0; e < smallWidth; e++) {
        const at = token * smallWidth + e;
        squares += ((values[(cell + 1) * count * smallWidth + at] ?? 0) - (values[at] ?? 0)) ** 2;
      }
      return Math.sqrt(squares);
    });
    const most = own.reduce((a, x) => Math.max(a, x), 0);
    return own.map((x) => (most > 0 && x > leastShare * most ? x / most : 0));
  });
  return { rows, columns, layout, weights };
}

/** Fewer tokens stand in order by chance. */
const fewestOrdered = 4;

/** Read off what tokens see. */
export function keepsOf({ rows, columns, layout, weights }: Sight): Keeps {
  const cells = rows * columns;
  const looking = weights.map((own) => centreOf(own, columns, cells)).filter((centre) => centre !== undefined);
  const ordered = looking.slice(1).filter((centre, i) => {
    const before = looking[i];
    return before !== undefined && (centre.row > before.row + 0.25 || centre.column > before.column + 0.1);
  }).length;
  const order = looking.length >= fewestOrdered && ordered >= 0.9 * (looking.length - 1);
  return {
    grid: layout.some((run) => run.role === 'cell') && order,
    order,
    regions: looking.length > 0 && looking.every(({ seen }) => 2 * seen <= cells),
  };
}

/** The middle of what a token sees: of a region all cells alike, of the whole map by weight. Undefined for one that sees nothing. */
function centreOf(
  own: Float64Array,
  columns: number,
  cells: number,
): { readonly row: number; readonly column: number; readonly seen: number } | undefined {
  const seen = own.filter((x) => x > 0).length;
  if (seen === 0) return undefined;
  const mass = own.map((x) => (2 * seen <= cells ? Number(x > 0) : x * x));
  const total = mass.reduce((sum, x) => sum + x, 0);
  const along = (of: (cell: number) => number) => mass.reduce((sum, x, cell) => sum + (x * of(cell)) / total, 0);
  return { row: along((cell) => Math.floor(cell / columns)), column: along((cell) => cell % columns), seen };
}
