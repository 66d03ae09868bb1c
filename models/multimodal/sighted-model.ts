// Models whose pictures are views of one size, in one form: what differs between them, from configs to names of parameters.
import type { Params } from '../../dsl/index.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import { under, type ShapeEntry, type Shapes } from '../configs/param-shapes.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { siglipShapes } from '../towers/siglip-shapes.ts';
import type { Pixels } from '../towers/tower.ts';
import type { PictureTokens } from './picture-prompts.ts';
import {
  gemma3VlParams,
  gemma3VlPictures,
  smolVlmParams,
  smolVlmPictures,
  type Gemma3Vl,
  type SmolVlm,
} from './siglip-vlm.ts';

/** What differs between SmolVLM, Gemma 3 and InternVL. */
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
