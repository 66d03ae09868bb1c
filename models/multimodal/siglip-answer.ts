// SmolVLM and Gemma 3 that answer token by token on the device: one view of a picture a run, its tokens in place of placeholders.
import {
  rearrange,
  trace,
  type Float,
  type Graph,
  type Params,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import { under, type ShapeEntry, type Shapes } from '../configs/param-shapes.ts';
import { embedTokens, type LanguageModel } from '../decoders/decoder.ts';
import { decodeGraph, prefillGraph, type GenerationSizes } from '../decoders/generation-graphs.ts';
import { siglipShapes } from '../towers/siglip-shapes.ts';
import type { Pixels } from '../towers/tower.ts';
import { insertPictures, pictureSights, type PictureTokens } from './picture-prompts.ts';
import {
  gemma3VlParams,
  gemma3VlPictures,
  smolVlmParams,
  smolVlmPictures,
  type Gemma3Vl,
  type SmolVlm,
} from './siglip-vlm.ts';

/** What differs between the two. */
export interface SightedModel {
  readonly language: LanguageModel;
  /** Id that stands for a token of a picture. */
  readonly imageToken: number;
  /** Side of a view in pixels, and its tokens. */
  readonly side: number;
  readonly tokens: number;
  /** Tokens of a picture see all of it, those behind them too. */
  readonly wholePictures: boolean;
  readonly languageParams: (root: Params) => Params;
  readonly pictures: (root: Params, pixels: Pixels) => PictureTokens;
  /** Names and shapes of all that is read, as a checkpoint with these names has them. */
  readonly shapes: (stored: Shapes) => Shapes;
}

export function sightedGemma3(config: Gemma3Vl): SightedModel {
  const { language, vision, imageToken, tokens } = config;
  return {
    language,
    imageToken,
    tokens,
    side: vision.image,
    wholePictures: true,
    languageParams: (root) => gemma3VlParams(root).language,
    pictures: (root, pixels) => gemma3VlPictures(gemma3VlParams(root).body, pixels, config).tokens,
    shapes: (stored) => {
      const projector: readonly ShapeEntry[] = [
        ['mm_input_projection_weight', [vision.width, language.config.hidden]],
        ['mm_soft_emb_norm.weight', [vision.width]],
      ];
      const body = stored.has('model.multi_modal_projector.mm_input_projection_weight') ? 'model' : '';
      const old = stored.has('language_model.model.embed_tokens.weight') || body === '';
      return new Map([
        ...under(body, [
          ...towerEntries(config, 'vision_tower', stored, body),
          ...under('multi_modal_projector', projector),
        ]),
        ...(old ? under('language_model', decoderShapes(language)) : languageEntries(language, 'model.language_model')),
      ]);
    },
  };
}

export function sightedSmolVlm(config: SmolVlm): SightedModel {
  const { language, vision, imageToken, scale } = config;
  const side = Math.floor(vision.image / vision.patch);
  return {
    language,
    imageToken,
    tokens: Math.floor(side / scale) ** 2,
    side: vision.image,
    wholePictures: false,
    languageParams: (root) => smolVlmParams(root).language,
    // Views are whole: their sides are those of the tower's pictures.
    pictures: (root, pixels) =>
      smolVlmPictures(smolVlmParams(root).body, pixels, [Array.from({ length: side * side }, () => true)], config)
        .tokens,
    shapes: (stored) =>
      new Map([
        ...under('model', [
          ...towerEntries(config, 'vision_model', stored, 'model'),
          ['connector.modality_projection.proj.weight', [language.config.hidden, vision.width * scale ** 2]] as const,
        ]),
        ...languageEntries(language, 'model.text_model'),
      ]),
  };
}

/** The tower below `place`, with transformers' names; older versions have `vision_model` in between. */
function towerEntries(
  { vision }: Pick<Gemma3Vl, 'vision'>,
  place: string,
  stored: Shapes,
  body: string,
): readonly ShapeEntry[] {
  const outer = body === '' ? place : `${body}.${place}`;
  const between = stored.has(`${outer}.vision_model.post_layernorm.weight`) ? `${place}.vision_model` : place;
  // What it ends with pools, and nobody reads it.
  const bare = [...siglipShapes(vision, 'hub')]
    .map(([name, shape]) => [name.replace(/^vision_model\./, ''), shape] as const)
    .filter(([name]) => !name.startsWith('head.'));
  return under(between, bare);
}

function languageEntries(language: LanguageModel, model: string): readonly ShapeEntry[] {
  return [...decoderShapes(language)].map(([name, shape]) => [name.replace(/^model\./, `${model}.`), shape]);
}

// ---- graphs ----------------------------------------------------------------------------------------------------------

export interface SightedSizes extends GenerationSizes {
  /** Views of all pictures of all prompts together. */
  readonly viewLimit: number;
}

function openTokens(t: Trace, model: SightedModel, i: number, dtype: 'f32' | 'f16'): Tensor<'i n e', 'f32' | 'f16'> {
  return t.state('image_tokens', 'i n e', { i, n: model.tokens, e: model.language.config.hidden }, dtype);
}

/** One view: input `pixels`, `b h w c` with b = 1; symbol `view`, its number. No outputs: its tokens go into a state. */
export function sightedVisionGraph(source: ParamSource, model: SightedModel, sizes: SightedSizes): Graph {
  const { side } = model;
  return trace(
    source,
    (t) => {
      const pixels = t.input<'b h w c', Float>('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 }, source.dtype);
      const rows = model.pictures(t.params, pixels);
      t.update(openTokens(t, model, sizes.viewLimit, source.dtype), rearrange(rows, '(i n) e -> i n e', { i: 1 }), {
        i: t.symbol('view', { atLeast: 0, upTo: sizes.viewLimit - 1 }),
      });
      return {};
    },
    { unread: 'ignore' },
  );
}

/** `prefillGraph` with pictures: inputs `slots` `b s`, the row of the views' tokens, below 0 for text, and `block` (`pictureBlocks`). */
export function sightedPrefillGraph(source: ParamSource, model: SightedModel, sizes: SightedSizes): Graph {
  const { language, wholePictures } = model;
  return prefillGraph(source, language, sizes, {
    root: model.languageParams,
    look: (t, ids) => {
      const places = { b: sizes.batch, s: ids.sizeOf('s') };
      const rows = rearrange(openTokens(t, model, sizes.viewLimit, source.dtype), 'i n e -> r=(i n) e');
      const text = embedTokens(model.languageParams(t.params), language.config, ids);
      const start = insertPictures(text, rows, t.input('slots', 'b s', places, 'i32'));
      return {
        start,
        vision: undefined,
        turn: wholePictures
          ? (turn) => pictureSights(t, language, turn, t.input('block', 'b s', places, 'i32'))
          : undefined,
      };
    },
  });
}

/** `decodeGraph` over the same states: the pictures have been read. */
export function sightedDecodeGraph(source: ParamSource, model: SightedModel, sizes: SightedSizes): Graph {
  return decodeGraph(source, model.language, sizes, { root: model.languageParams });
}
