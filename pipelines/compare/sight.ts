// Which cells of the map a token depends on: found by changing one cell at a time, on a small map, on the interpreter.
import { OpabiniaError, randomParams, trace, type Graph } from '../../dsl/index.ts';
import type { AnyConnector, MapShape } from '../../models/connectors/connector.ts';
import { tokenCount, type Layout } from '../../models/connectors/visual-tokens.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { languageModelNamed } from './language-models.ts';
import { referenceOf, referenceTokens } from './search.ts';
import { madeContext } from './surroundings.ts';

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

/** Views or towers that are looked at; more show nothing new. */
const mostMaps = 3;
const channels = 8;
const width = 8;
/** A change of a token below this share of its largest does not count as seeing: it is rounding. */
const leastShare = 1e-5;

/**
 * On a map of the first of `sides` that fits, with the connector's knobs turned so that it has about as many tokens for each cell as its
 * reference setting. Undefined where no small map fits it.
 */
export function sightOf(connector: AnyConnector, sides: readonly number[] = [6, 8, 4, 12, 24]): Sight | undefined {
  const preset = referenceOf(connector);
  const [rows, columns] = preset.maps[0] ?? [1, 1];
  for (const side of sides) {
    const shapes = preset.maps
      .slice(0, mostMaps)
      .map(([r, c, own]): MapShape => [
        Math.max(1, Math.round((r / rows) * side)),
        Math.max(1, Math.round((c / columns) * side)),
        own === 3 ? 3 : channels,
      ]);
    const sizes = preset.maps.map(([r, c]) => r * c);
    const share = referenceTokens(connector) / sizes.reduce((sum, size) => sum + size, 0);
    const tokens = Math.max(1, share * shapes.reduce((sum, [h, w]) => sum + h * w, 0));
    const made = [preset.config, ...(connector.variants?.(preset.config, tokens, shapes) ?? [])]
      .flatMap((own) => [narrowed(own), own])
      .map((config) => tracedSmall(connector, config, shapes))
      .filter((small) => small !== undefined);
    const distance = ({ layout }: Small) => Math.abs(Math.log(tokenCount(layout) / tokens));
    const [best] = made.toSorted((x, y) => distance(x) - distance(y));
    if (best !== undefined) return looked(best, shapes[0] ?? [1, 1, 1]);
  }
  return undefined;
}

/** The same configuration with widths inside that are quick to compute with. */
function narrowed(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 256 ? 8 : value;
  if (Array.isArray(value)) return value.map(narrowed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, narrowed(inner)]));
}

interface Small {
  readonly graph: Graph;
  readonly layout: Layout;
}

/** The connector on small maps, undefined where they do not fit it. Sample 0 is the picture itself, sample i + 1 has cell i changed. */
function tracedSmall(connector: AnyConnector, config: unknown, shapes: readonly MapShape[]): Small | undefined {
  const [first = [1, 1, 1]] = shapes;
  const b = first[0] * first[1] + 1;
  const around = {
    maps: shapes,
    towers: shapes.map(() => ({ heads: 2, classTokens: 1 })),
    model: { ...languageModelNamed('llama-3-8b'), width },
    dtype: 'f32' as const,
    question: 2,
    batch: b,
  };
  let layout: Layout = [];
  try {
    const graph = trace(
      randomParams(7),
      (t) => {
        const maps = shapes.map(([h, w, c], k) => t.input(`map_${k}`, 'b h w c', { b, h, w, c }));
        const made = connector.build(t.params, maps, config, madeContext(t, around));
        ({ layout } = made);
        return { tokens: made.tokens };
      },
      { unread: 'ignore' },
    );
    return { graph, layout };
  } catch (error) {
    if (error instanceof OpabiniaError) return undefined;
    throw error;
  }
}

function looked({ graph, layout }: Small, shape: MapShape): Sight | undefined {
  const cells = shape[0] * shape[1];
  const source = randomParams(7);
  const inputs = new Map(
    [...inputSizes(graph)].map(([name, sizes]) => [name, samples(name, sizes, name.startsWith('map_0') ? cells : 0)]),
  );
  const result = evaluate(graph, { inputs, params: (path, size) => source.read(path, size) }, { precision: 'f32' });
  const values = result.outputs.get('tokens')?.data;
  return values === undefined ? undefined : weigh(values, layout, shape, cells + 1);
}

function inputSizes(graph: Graph): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, readonly number[]>();
  const stack = [...graph.outputs.values()];
  const seen = new Set(stack);
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.op.name === 'input')
      found.set(
        String(node.attrs['name']),
        node.type.axes.map(({ size }) => (typeof size === 'number' ? size : 1)),
      );
    for (const input of node.inputs)
      if (!seen.has(input)) {
        seen.add(input);
        stack.push(input);
      }
  }
  return found;
}

/** The same numbers for every sample; of sample i + 1, those of cell i are others. */
function samples(name: string, sizes: readonly number[], cells: number): Float64Array {
  const [b = 1] = sizes;
  const each = sizes.slice(1).reduce((product, size) => product * size, 1);
  const out = new Float64Array(each * b);
  const noise = (i: number, salt: number) => Math.sin(12.9898 * (i + 1) + 78.233 * (salt + name.length)) * 1.3;
  for (let sample = 0; sample < b; sample++)
    for (let i = 0; i < each; i++) {
      const isChanged = cells > 0 && Math.floor(i / (each / cells)) === sample - 1;
      out[sample * each + i] = /ids|mask/.test(name) ? 1 : noise(i, isChanged ? 5 : 1);
    }
  return out;
}

function weigh(values: ArrayLike<number>, layout: Layout, [rows, columns]: MapShape, b: number): Sight {
  const count = layout.reduce((total, run) => total + run.count, 0);
  const weights = Array.from({ length: count }, (_, token) => {
    const own = Float64Array.from({ length: b - 1 }, (_cell, cell) => {
      let squares = 0;
      for (let e = 0; e < width; e++) {
        const at = token * width + e;
        squares += ((values[(cell + 1) * count * width + at] ?? 0) - (values[at] ?? 0)) ** 2;
      }
      return Math.sqrt(squares);
    });
    const most = own.reduce((a, x) => Math.max(a, x), 0);
    return own.map((x) => (most > 0 && x > leastShare * most ? x / most : 0));
  });
  return { rows, columns, layout, weights };
}

/** Read off what tokens see. */
export function keepsOf({ rows, columns, layout, weights }: Sight): Keeps {
  const cells = rows * columns;
  const looking = weights.map((own) => centreOf(own, columns, cells)).filter((centre) => centre !== undefined);
  const ordered = looking.slice(1).filter((centre, i) => {
    const before = looking[i];
    return before !== undefined && (centre.row > before.row + 0.25 || centre.column > before.column + 0.1);
  }).length;
  const order = looking.length > 1 && ordered >= 0.9 * (looking.length - 1);
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
