// Towers, a connector and a language model that were made apart: pictures to tokens, tokens in place of pictures.
import {
  rearrange,
  trace,
  type Float,
  type Graph,
  type ParamSource,
  type Params,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import { under, type Shapes } from '../configs/param-shapes.ts';
import type { Connect, MapShape } from '../connectors/connector.ts';
import { factsOf } from '../connectors/traced.ts';
import { tokenCount, type VisualTokens } from '../connectors/visual-tokens.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { embedTokens } from '../decoders/decoder.ts';
import { prefillGraph, type GenerationSizes } from '../decoders/generation-graphs.ts';
import type { AnyTower } from '../towers/any-tower.ts';
import type { Hidden } from './cambrian.ts';
import { insertPictures, openViewTokens, type PictureTokens } from './picture-prompts.ts';

export interface AssembledModel {
  readonly language: LanguageModel;
  readonly towers: readonly { readonly tower: AnyTower; readonly side: number; readonly map: MapShape }[];
  readonly connector: Connect;
}

export interface AssembledSizes extends GenerationSizes {
  /** Pictures in all prompts together. */
  readonly imageLimit: number;
}

/** Where the connector's parameters stand, as in LLaVA and Cambrian. */
export const connectorRoot = 'model.mm_projector';

/** Where the parameters of tower k stand in a source that has those of all towers and of the language model. */
export function assembledTowerRoot(k: number): string {
  return `vision_tower.${k}`;
}

/** What the connector is without weights. Throws `OpabiniaError` where it does not fit the maps, or reads more than maps. */
export function connectorFacts({ connector, towers, language }: AssembledModel): ReturnType<typeof factsOf> {
  return factsOf(
    connector,
    towers.map(({ map }) => map),
    language.config.hidden,
  );
}

/** Names and shapes of the language model and the connector; each tower has a checkpoint of its own. */
export function assembledShapes(model: AssembledModel): Shapes {
  return new Map([...decoderShapes(model.language), ...under(connectorRoot, connectorFacts(model).shapes)]);
}

/** Tokens of one picture. */
export function pictureTokenCount(model: AssembledModel): number {
  return tokenCount(connectorFacts(model).layout);
}

/** What the connector makes of the towers' maps. */
export function visualOf(root: Params, maps: readonly Tensor<'b h w c', Float>[], model: AssembledModel): VisualTokens {
  const context = { width: model.language.config.hidden };
  return model.connector.build(root.at(...connectorRoot.split('.')), maps, context);
}

function mapsOf(
  t: Trace,
  model: AssembledModel,
  dtype: 'f32' | 'f16',
  pictures = 1,
): readonly Tensor<'b h w c', Float>[] {
  return mapsOfPixels(
    t.params,
    model,
    model.towers.map(({ side }, k) =>
      t.input<'b h w c', 'f32' | 'f16'>(`pixels_${k}`, 'b h w c', { b: pictures, h: side, w: side, c: 3 }, dtype),
    ),
  );
}

/** The map of each tower of its own pixels, all `b h w c`. */
export function mapsOfPixels(
  root: Params,
  { towers }: Pick<AssembledModel, 'towers'>,
  pixels: readonly Tensor<'b h w c', 'f32' | 'f16'>[],
): readonly Tensor<'b h w c', Float>[] {
  return pixels.flatMap((own, k) => towers[k]?.tower.map(root.at(...assembledTowerRoot(k).split('.')), own) ?? []);
}

/** The towers alone, `pictures` a run: inputs `pixels_{k}`, outputs `features_{k}`, `b h w c`. */
export function assembledTowersGraph(source: ParamSource, model: AssembledModel, pictures = 1): Graph {
  return trace(
    source,
    (t) =>
      Object.fromEntries(mapsOf(t, model, source.dtype, pictures).map((map, k) => [`features_${k}`, map.cast('f32')])),
    { unread: 'ignore' },
  );
}

function openTokens(t: Trace, model: AssembledModel, i: number, dtype: 'f32' | 'f16'): Tensor<'i n e', 'f32' | 'f16'> {
  return openViewTokens(t, { i, n: pictureTokenCount(model), e: model.language.config.hidden }, dtype);
}

/** One picture: inputs `pixels_{k}`, symbol `image`, its number among those of the prompts. No outputs: tokens go into a state. */
export function assembledVisionGraph(source: ParamSource, model: AssembledModel, sizes: AssembledSizes): Graph {
  return trace(
    source,
    (t) => {
      const { tokens } = visualOf(t.params, mapsOf(t, model, source.dtype), model);
      const image = t.symbol('image', { atLeast: 0, upTo: sizes.imageLimit - 1 });
      t.update(openTokens(t, model, sizes.imageLimit, source.dtype), rearrange(tokens, 'b n e -> i=(b) n e'), {
        i: image,
      });
      return {};
    },
    { unread: 'ignore' },
  );
}

/** `prefillGraph` with pictures: one more input, `slots` `b s`: the row of the pictures' tokens, below 0 for text. */
export function assembledPrefillGraph(source: ParamSource, model: AssembledModel, sizes: AssembledSizes): Graph {
  return prefillGraph(source, model.language, sizes, {
    look: (t, ids) => {
      const slots = t.input('slots', 'b s', { b: sizes.batch, s: ids.sizeOf('s') }, 'i32');
      const rows = rearrange(openTokens(t, model, sizes.imageLimit, source.dtype), 'i n e -> r=(i n) e');
      return { start: embedded(t.params, model, ids, rows, slots), vision: undefined };
    },
  });
}

/** A prompt with its pictures in place. */
export function embedded(
  root: Params,
  { language }: AssembledModel,
  ids: Tensor<'b s', 'i32'>,
  pictures: PictureTokens,
  slots: Tensor<'b s', 'i32'>,
): Hidden {
  return insertPictures(embedTokens(root, language.config, ids), pictures, slots);
}
