// Granite 4 Vision: windows of a map through a small Q-Former whose queries are pooled patches; several layers of the tower, each added at its own depth of the language model.
import { adaptiveAvgPool2d, layerNorm, linear, OpabiniaError, slice, type Params } from '../../../dsl/index.ts';
import { asQueries, asTokens } from '../../parts/attention.ts';
import { addedAtSlots } from '../../parts/slots.ts';
import { qFormer, type QFormerConfig } from '../../parts/qformer.ts';
import { windowsAsMap, windowTokens } from '../../parts/windows.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

/** A stream of tokens: of which hidden state of the tower, and before which layer of the language model it is added. */
export interface GraniteStream {
  readonly hidden: number;
  readonly layer: number;
  /** Which cell of each 2 × 2 block its queries are made of, row by row; absent: the mean over what a query stands for. */
  readonly offset?: number | undefined;
}

export interface Granite4Config extends QFormerConfig {
  /** Sides of a window in queries and in patches: 4/8. */
  readonly querySide: number;
  readonly windowSide: number;
  readonly normEps: number;
  readonly streams: readonly GraniteStream[];
}

const depths = [0, 3, 6, 9].map((layer, i) => ({ hidden: [-19, -13, -7, -1][i] ?? -1, layer }));
const corners = [12, 15, 18, 21].map((layer, offset) => ({ hidden: -1, layer, offset }));

export const granite4Vision = connector<Granite4Config>({
  name: 'granite-4-vision',
  title: 'Granite 4 Vision window Q-Former',
  paper: 'https://huggingface.co/ibm-granite/granite-4.0-3b-vision',
  year: 2026,
  source:
    'huggingface/transformers models/granite4_vision/modeling_granite4_vision.py Granite4VisionWindowQFormerDownsampler',
  mathematics: [
    'z = LN(x);  in each 8 × 8 window: q = LN(Q + pool(z)), k = z + P',
    'q ← QFormer(q; k);  y_l = W q, one for each of eight streams',
    'y_l is added to the visual positions before layer l',
  ],
  towers: 'one',
  presets: {
    'granite-4.0-3b-vision': {
      config: {
        querySide: 4,
        windowSide: 8,
        normEps: 1e-6,
        layers: 1,
        heads: 18,
        intermediate: 3072,
        crossEvery: 1,
        eps: 1e-12,
        streams: [...depths, ...corners],
      },
      maps: [[24, 24, 1152]],
      width: 2560,
      layers: 40,
    },
  },
  build: (p, maps, config, context) => {
    const map = onlyMap(maps);
    const places = streamPlaces(config);
    const made = config.streams.map((stream, i) => {
      const seen =
        stream.hidden === -1 && context.tower === undefined
          ? map
          : required(context, 'tower', 'granite-4-vision')(0).hidden(stream.hidden);
      return mapTokens(windowQueries(p.at(places[i] ?? ''), seen, config, stream.offset, context.width));
    });
    const [first] = made;
    if (first === undefined) throw new OpabiniaError('there is no stream', { op: 'granite-4-vision' });
    return { ...first, carries: Object.fromEntries(made.map(({ tokens }, i) => [`stream_${i}`, tokens])) };
  },
  inject: {
    // The first stream is the tokens themselves: the language model reads it from its first layer on.
    after: ({ streams }) => streams.slice(1).map(({ layer }) => layer - 1),
    reads: 'hidden states at visual positions; one stream of window queries a layer',
    writes: 'their sum, at visual positions',
    apply: (_, state, __, { index }) => ({ hidden: addedAtSlots(state, `stream_${index + 1}`) }),
  },
});

/** Paths of the streams' parameters: those that pool and those that pick are numbered apart. */
function streamPlaces({ streams }: Granite4Config): readonly string[] {
  const [pooled, picked] = [
    streams.filter((s) => s.offset === undefined),
    streams.filter((s) => s.offset !== undefined),
  ];
  return streams.map((stream) =>
    stream.offset === undefined
      ? `layerwise_projectors.${pooled.indexOf(stream)}`
      : `spatial_projectors.${picked.indexOf(stream)}`,
  );
}

/** One stream: windows of the map through the Q-Former, back on a grid, projected. */
export function windowQueries(
  p: Params,
  map: FeatureMap,
  config: Granite4Config,
  offset: number | undefined,
  width: number | undefined,
): FeatureMap {
  const { querySide, windowSide, normEps, eps } = config;
  const c = map.size('c');
  const normed = layerNorm(p.at('norm'), map, { eps: normEps });
  const windows = windowTokens(normed, windowSide);
  const [rows, columns] = [map.size('h') / windowSide, map.size('w') / windowSide];
  const shape = { height: rows * querySide, width: columns * querySide };
  const coarse = offset === undefined ? adaptiveAvgPool2d(normed, shape) : cornersOf(normed, offset);
  const learned = p.get('query', 'i q c', { i: 1, q: querySide ** 2, c }).at('i', 0);
  const queries = asQueries(windowTokens(coarse, querySide)).add(learned);
  const places = p.get('image_positions', 'i n c', { i: 1, n: windowSide ** 2, c }).at('i', 0);
  const start = layerNorm(p.at('qformer', 'layernorm'), queries, { eps });
  const results = qFormer(p.at('qformer', 'encoder'), start, windows.add(places), config);
  return linear(p.at('out_linear'), windowsAsMap(asTokens(results), querySide, rows, columns), 'c', sized(width));
}

/** One cell of each 2 × 2 block: 0 and 1 above, 2 and 3 below. */
function cornersOf(map: FeatureMap, offset: number): FeatureMap {
  const rows = slice(map, 'h', { start: Math.floor(offset / 2), step: 2 });
  return slice(rows, 'w', { start: offset % 2, step: 2 });
}
