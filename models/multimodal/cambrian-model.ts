// Cambrian-1 whole: towers and connector as one graph a picture, then prefill with SVA layers between the decoder's, then decode.
import {
  rearrange,
  slice,
  trace,
  type Graph,
  type Params,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { embedSequence, type LlmVision } from './cambrian.ts';
import { cambrianShapes, type CambrianConfig, type NamedTower } from '../configs/cambrian.ts';
import { nativeSide, towerPixels, towerShapes, type TowerConfig } from '../configs/towers.ts';
import { maskGrids, regionSide } from '../sequence/masks.ts';
import { regionsOf, type FeatureMap, type RegionMasks } from '../sequence/regions.ts';
import { spatialVisionAggregator } from '../parts/sva/aggregator.ts';
import { under, type Shapes } from '../configs/param-shapes.ts';
import { prefillGraph, type GenerationSizes, type Sighted } from '../decoders/generation-graphs.ts';
import type { Pixels } from '../towers/tower.ts';
import { towerMap } from '../towers/tower-map.ts';

export interface CambrianModel {
  readonly config: CambrianConfig;
  /** In the order of `config.towers`. */
  readonly towers: readonly TowerConfig[];
}

export interface CambrianSizes extends GenerationSizes {
  /** Pictures in all prompts together. */
  readonly imageLimit: number;
}

/** Where the parameters of tower k stand in a source that has those of all towers and of the language model. */
export function towerRoot(k: number): string {
  return `vision_tower_aux.${k}`;
}

/** Names and shapes of all parameters, each tower's below its root. */
export function cambrianModelShapes({ config, towers }: CambrianModel): Shapes {
  return new Map([
    ...cambrianShapes(config, towers),
    ...towers.flatMap((tower, k) => under(towerRoot(k), towerShapes(tower))),
  ]);
}

/** Side of the square picture that tower k wants. */
export function towerSide({ config, towers }: CambrianModel, k: number): number {
  const [named, tower] = [config.towers[k], towers[k]];
  if (named === undefined || tower === undefined) throw new RangeError(`there is no tower ${k}`);
  return named.pixels ?? nativeSide(tower) ?? towerPixels[tower.tower].side;
}

// ---- one picture -----------------------------------------------------------------------------------------------------

/**
 * One picture through all towers and the connector. Inputs `pixels_{k}`, `b h w c` with b = 1, and `mask_{queries}_{k}`, `b q t`
 * (`regionMask`). Symbol `image`: its number among the pictures of the prompts, from 0. No outputs: tokens, and what the
 * language model goes on reading, are written into states.
 */
export function visionGraph(source: ParamSource, model: CambrianModel, sizes: CambrianSizes): Graph {
  const { config } = model;
  const { connector } = config;
  return trace(
    source,
    (t) => {
      const maps = model.towers.map((tower, k) => {
        const side = towerSide(model, k);
        const pixels = t.input<'b h w c', 'f32' | 'f16'>(
          `pixels_${k}`,
          'b h w c',
          { b: 1, h: side, w: side, c: 3 },
          source.dtype,
        );
        return ownMap(t.params.at(towerRoot(k)), pixels, tower, config.towers[k], config.clipLayer);
      });
      const masks = new Map(
        maskGrids(model.config).map((queries) => [
          queries,
          config.towers.map((tower, k): RegionMasks =>
            t.input(
              `mask_${queries}_${k}`,
              'b q t',
              { b: 1, q: queries * queries, t: regionSide(tower.side, queries) ** 2 },
              'bool',
            ),
          ),
        ]),
      );
      const { tokens, features, context } = spatialVisionAggregator(t.params.at('model'), maps, {
        ...connector,
        llmWidth: config.language.config.hidden,
        masks: (queries) => masks.get(queries) ?? [],
      });

      const image = t.symbol('image', { atLeast: 0, upTo: sizes.imageLimit - 1 });
      const states = openImages(t, model, sizes, source.dtype);
      t.update(states.tokens, rearrange(tokens, 'b h w e -> i=(b) h w e'), { i: image });
      if (states.sight !== undefined) {
        const { sight } = states;
        features.forEach((map, k) => put(t, sight.features[k], rearrange(map, 'b h w c -> i=(b) h w c'), image));
        t.update(sight.context, rearrange(context, 'b c -> i=(b) c'), { i: image });
        masks
          .get(connector.side)
          ?.forEach((mask, k) => put(t, sight.masks[k], rearrange(mask, 'b q t -> i=(b) q t'), image));
      }
      return {};
    },
    { unread: 'ignore' },
  );
}

/** The towers alone, `pictures` a run: inputs `pixels_{k}`, outputs `features_{k}`, `b h w c` on the grid that the connector takes. */
export function towersGraph(source: ParamSource, model: CambrianModel, pictures = 1): Graph {
  return trace(
    source,
    (t) =>
      Object.fromEntries(
        model.towers.map((tower, k) => {
          const side = towerSide(model, k);
          const pixels = t.input<'b h w c', 'f32' | 'f16'>(
            `pixels_${k}`,
            'b h w c',
            { b: pictures, h: side, w: side, c: 3 },
            source.dtype,
          );
          const map = ownMap(t.params.at(towerRoot(k)), pixels, tower, model.config.towers[k], model.config.clipLayer);
          return [`features_${k}`, map.cast('f32')];
        }),
      ),
    { unread: 'ignore' },
  );
}

function put(t: Trace, state: Tensor | undefined, value: Tensor, image: Size): void {
  if (state === undefined) throw new RangeError('there is one state for each tower');
  t.update(state, value, { i: image });
}

function ownMap(
  p: Params,
  pixels: Pixels,
  tower: TowerConfig,
  named: NamedTower | undefined,
  clipLayer: number,
): FeatureMap {
  const grid = named === undefined ? undefined : ([named.side, named.side] as const);
  return towerMap(p, pixels, tower, { grid, clipLayer, stages: named?.allStages === false ? [-1] : undefined });
}

// ---- states between the picture's graph and prefill --------------------------------------------------------------------

interface Images {
  readonly tokens: Tensor<'i h w e', 'f32' | 'f16'>;
  /** Absent where no SVA layer stands in the language model. */
  readonly sight:
    | {
        readonly features: readonly Tensor<'i h w c', 'f32' | 'f16'>[];
        readonly context: Tensor<'i c', 'f32' | 'f16'>;
        readonly masks: readonly Tensor<'i q t', 'bool'>[];
      }
    | undefined;
}

function openImages(
  t: Trace,
  { config }: CambrianModel,
  { imageLimit: i }: CambrianSizes,
  dtype: 'f32' | 'f16',
): Images {
  const {
    connector: { side, width: c },
    language,
    towers,
    schedule,
  } = config;
  return {
    tokens: t.state('image_tokens', 'i h w e', { i, h: side, w: side, e: language.config.hidden }, dtype),
    sight:
      schedule === undefined
        ? undefined
        : {
            features: towers.map((tower, k) =>
              t.state(`image_features_${k}`, 'i h w c', { i, h: tower.side, w: tower.side, c }, dtype),
            ),
            context: t.state('image_context', 'i c', { i, c }, dtype),
            masks: towers.map((tower, k) =>
              t.state(`image_mask_${k}`, 'i q t', { i, q: side * side, t: regionSide(tower.side, side) ** 2 }, 'bool'),
            ),
          },
  };
}

/**
 * `prefillGraph` with pictures: symbol `images`, at least 1; inputs `slots` `b s` (`SequenceBatch`), and where SVA layers stand in
 * the decoder `query_place` `b q` with b = images and `query_slot` `b s` (`queryPlaces`).
 */
export function cambrianPrefillGraph(source: ParamSource, model: CambrianModel, sizes: CambrianSizes): Graph {
  const { config } = model;
  const { connector } = config;
  const look = (t: Trace, ids: Tensor<'b s', 'i32'>): Sighted => {
    const [b, s] = [sizes.batch, ids.sizeOf('s')];
    const images = t.symbol('images', { upTo: sizes.imageLimit });
    const states = openImages(t, model, sizes, source.dtype);
    const tokens = rearrange(slice(states.tokens, 'i', { size: images }), 'i h w e -> b=(i) h w e');
    const start = embedSequence(t.params.at('model'), tokens, { ids, slots: t.input('slots', 'b s', { b, s }, 'i32') });
    const { sight } = states;
    if (sight === undefined || config.schedule === undefined) return { start, vision: undefined };
    const regions = sight.features.map((map) =>
      regionsOf(rearrange(slice(map, 'i', { size: images }), 'i h w c -> b=(i) h w c'), connector.side),
    );
    const vision: LlmVision = {
      schedule: config.schedule,
      heads: connector.heads,
      sight: {
        regions,
        context: rearrange(slice(sight.context, 'i', { size: images }), 'i c -> b=(i) c'),
        masks: sight.masks.map((mask) => rearrange(slice(mask, 'i', { size: images }), 'i q t -> b=(i) q t')),
      },
      place: t.input('query_place', 'b q', { b: images, q: connector.side ** 2 }, 'i32'),
      slot: t.input('query_slot', 'b s', { b, s }, 'i32'),
    };
    return { start, vision };
  };
  return prefillGraph(source, config.language, sizes, { look });
}
