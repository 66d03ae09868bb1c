// Cambrian-1's Spatial Vision Aggregator: queries on a grid read their own region of every encoder; the same layers go on inside the language model.
import { constantLike, gather, rearrange, reduce, repeat, where, type Float, type Tensor } from '../../../dsl/index.ts';
import { carried } from '../../parts/slots.ts';
import { placesOf } from '../../parts/selection.ts';
import type { Crop } from '../../sequence/masks.ts';
import { cropGrid } from '../../sequence/newline.ts';
import { regionsOf, type Queries, type RegionMasks } from '../../sequence/regions.ts';
import { connector, type MapShape } from '../connector.ts';
import { svaHeads } from '../../parts/sva/layer.ts';
import { areaOf, masksOf } from '../../parts/sva/shown.ts';
import { spatialVisionAggregator, visionTokenSampler, type SvaConfig } from '../../parts/sva/aggregator.ts';
import { gridTokens, noTokens, rowsEndedBy, type VisualTokens } from '../visual-tokens.ts';

export interface SvaConnectorConfig extends Pick<SvaConfig, 'groups' | 'side' | 'depth' | 'heads' | 'layer' | 'width'> {
  /** Whether a learned token ends each row. */
  readonly newline: boolean;
  /** After which layers of the language model it acts: `start + j·stride`, j < count. */
  readonly inside?: { readonly start: number; readonly stride: number; readonly count: number } | undefined;
}

const maps: readonly MapShape[] = [
  [24, 24, 1152],
  [24, 24, 1024],
  [24, 24, 1536],
  [96, 96, 5760],
];
const released = { groups: [24], side: 24, depth: 3, heads: svaHeads, width: 1024, newline: true } as const;

export const sva = connector<SvaConnectorConfig>({
  name: 'sva',
  title: 'Cambrian-1 Spatial Vision Aggregator',
  paper: 'arXiv 2406.16860',
  year: 2024,
  source: 'cambrian-mllm/cambrian cambrian/model/vision_sampler.py, cambrian_arch.py',
  mathematics: [
    'F_m = LN(MLP x_m), g = mean F₀;  h = W [q ; W g]',
    'q ← q + MLP(LN(h + MHA(h; all F_m of its region)))  (sep: one attention an encoder, mixed by softmax of [q ; g])',
    'y = MLP q, a newline behind each row; the same layer on the visual positions inside the language model',
  ],
  towers: 'many',
  presets: {
    'cambrian-8b': {
      config: { ...released, inside: { start: 0, stride: 3, count: 10 } },
      maps,
      width: 4096,
      layers: 32,
    },
    'cambrian-13b': {
      config: { ...released, inside: { start: 0, stride: 4, count: 10 } },
      maps,
      width: 5120,
      layers: 40,
    },
    'cambrian-8b-sep': { config: { ...released, layer: 'sep' }, maps, width: 4096, layers: 32 },
  },
  variants: (config, tokens, given) => {
    const most = Math.min(...given.map(([rows]) => rows));
    const near = Math.sqrt(tokens);
    return Array.from({ length: most }, (_, i) => i + 1)
      .filter((side) => given.every(([rows, columns]) => rows % side === 0 && columns % side === 0))
      .sort((a, b) => Math.abs(a - near) - Math.abs(b - near))
      .slice(0, 4)
      .map((side) => ({ ...config, side, groups: [side] }));
  },
  build: (p, given, config, context) => {
    const { width, inspect, pictures } = context;
    const { side, newline } = config;
    const masks = masksOf(given, context);
    const made = spatialVisionAggregator(p, given, {
      ...config,
      masks,
      inspect,
      ...(width === undefined ? {} : { llmWidth: width }),
    });
    const e = made.tokens.size('e');
    const area = pictures === undefined ? { top: 0, left: 0, height: side, width: side } : areaOf(pictures, side);
    const grid = cropGrid(made.tokens, area);
    const tokens: VisualTokens =
      area.height * area.width === 0
        ? noTokens(made.tokens, e, {})
        : newline
          ? rowsEndedBy(grid, p.get('image_newline', 'e', { e }))
          : gridTokens(grid);
    const named = (name: string, all: readonly Tensor[] = []) => all.map((one, k) => [`${name}_${k}`, one] as const);
    return {
      ...tokens,
      carries: {
        context: made.context,
        ...Object.fromEntries([...named('map', made.features), ...named('mask', masks?.(side))]),
        ...(pictures === undefined || tokens.layout.length === 0 ? {} : { cells: cellsOf(made.context, area, config) }),
      },
    };
  },
  inject: {
    after: ({ inside }, layers) =>
      Array.from({ length: inside?.count ?? 0 }, (_, j) => (inside?.start ?? 0) + j * (inside?.stride ?? 1)).filter(
        (layer) => layer < layers,
      ),
    reads: 'hidden states of the cells; their regions of all encoders',
    writes: 'hidden states of the cells; newlines and text keep theirs',
    apply: (p, state, config, { index }) => {
      const { side } = config;
      const whole = { top: 0, left: 0, height: side, width: side };
      const cells = state.carried['cells']?.named('n') as Tensor<'n', 'i32'> | undefined;
      const slots = state.slots;
      const cell = gather(cells ?? cellsOf(slots, whole, config), slots, 'n').where(slots.ge(0), -1);
      const isCell = cell.ge(0);
      const named = (name: string) => Object.keys(state.carried).filter((own) => own.startsWith(name));
      const regions = named('map_').map((name) => regionsOf(carried(state, name, 'b h w c'), side));
      const masks = named('mask_').map((name) => state.carried[name]?.named('b q t') as RegionMasks);
      const query = cellStates(state.hidden, cell, isCell, side * side);
      const context = carried(state, 'context', 'b c');
      const sight = { context, regions, masks: masks.length === 0 ? undefined : masks };
      const updated = visionTokenSampler(p.at('vision_sampler_layers', index), query, sight, {
        ...config,
        depth: 1,
        inspect: undefined,
      });
      const back = gather(rearrange(updated, 'b q c -> b q e=(c)'), cell, 'q');
      return { hidden: where(isCell, back, state.hidden) };
    },
  },
});

/** For each visual token of a picture the cell of the grid that it is; −1 for a newline. */
function cellsOf(like: Tensor, area: Crop, { side, newline }: SvaConnectorConfig): Tensor<'n', 'i32'> {
  const columns = newline ? area.width + 1 : area.width;
  const cells = Array.from({ length: area.height * columns }, (_, n) => {
    const [row, column] = [Math.floor(n / columns), n % columns];
    return column < area.width ? (area.top + row) * side + area.left + column : -1;
  });
  return constantLike(like, cells, 'n', { n: cells.length }, 'i32');
}

/** The hidden state of each cell; of a cell that does not stand in the sequence any, which is dropped again. */
function cellStates(
  hidden: Tensor<'b s e', Float>,
  cell: Tensor<'b s', 'i32'>,
  isCell: Tensor<'b s', 'bool'>,
  cells: number,
): Queries {
  const at = repeat(cell, 'b s -> b q s', { q: cells });
  const hits = at.eq(placesOf(at, 'q')).and(isCell);
  const places = repeat(placesOf(cell, 's'), 's -> b q s', { b: cell.sizeOf('b'), q: cells }).where(hits, 0);
  return rearrange(gather(hidden, reduce(places, 'b q s -> b q', 'max'), 's'), 'b q e -> b q c=(e)');
}
