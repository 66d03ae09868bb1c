// InternVL in the layout of transformers: InternViT, squares of patches through a norm and an MLP, and a language model.
import { rearrange, randomParams, trace, type Float, type Params } from '../../dsl/index.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import { readInnerDecoder } from '../configs/decoders.ts';
import { asObject, checkConfig, type ConfigJson } from '../configs/fields.ts';
import { vitFields } from '../configs/towers.ts';
import { internvl } from '../connectors/space-to-depth/internvl.ts';
import { paramShapes } from '../connectors/traced.ts';
import { withHead } from '../decoders/language-params.ts';
import { backboneMap } from '../towers/backbone.ts';
import { internVit, squareSide } from '../towers/backbones/intern-vit.ts';
import type { Pixels } from '../towers/tower.ts';
import { bodyOf, languageParams, projectorName, placedShapes, type LlavaNames } from './llava/llava-names.ts';
import type { PictureTokens } from './picture-prompts.ts';
import type { SightedModel } from './sighted-model.ts';

export interface InternVl extends SightedModel {
  /** The tower, for people. */
  readonly tower: string;
}

const witness = `${projectorName}.linear_1.weight`;

/** A `config.json` of model type `internvl`. Throws `OpabiniaError`. */
export function internVl(json: ConfigJson, where: string): InternVl {
  const read = new ConfigReader(json, where);
  read.fixed({ projector_hidden_act: 'gelu', vision_feature_layer: -1, vision_feature_select_strategy: 'default' });
  const ratio = read.positive('downsample_ratio', 0.5);
  const merge = Math.round(1 / ratio);
  if (1 / merge !== ratio) throw read.wrong('downsample_ratio', `is ${ratio}`, 'known are 1, 1/2, 1/3, …');
  const place = `${where}, field 'vision_config'`;
  const vision = { model_type: 'internvl_vision', ...asObject(json['vision_config'], place) };
  const tower = new ConfigReader(vision, place);
  const [side, patch] = [squareSide(tower, 'image_size', 448), squareSide(tower, 'patch_size', 14)];
  const { hidden_size: width, num_hidden_layers: layers } = checkConfig(
    vitFields,
    { ...vision, image_size: side, patch_size: patch },
    place,
  );
  const backbone = internVit.read(tower);
  // Whether the head is tied says the checkpoint: transformers 5 writes true outside and false inside, and means either.
  const text = { model_type: 'qwen2', ...asObject(json['text_config'], `${where}, field 'text_config'`) };
  const language = readInnerDecoder(json, { ...text, tie_word_embeddings: false }, where);
  const mayTie = read.flag('tie_word_embeddings', true);
  const seen = (body: Params, pixels: Pixels): PictureTokens => {
    const map = backboneMap(backbone.encode(body.at('vision_tower'), pixels));
    const config = { merge, version: 'v2', names: 'transformers', eps: 1e-5 } as const;
    const { tokens } = internvl.build(body.at(projectorName), [map], config, { width: language.config.hidden });
    return rearrange(tokens, 'b n e -> r=(b n) e');
  };
  return {
    language,
    imageToken: read.number('image_token_id', 151_667),
    side,
    tokens: Math.floor(side / patch / merge) ** 2,
    wholePictures: false,
    tower: `intern-vit: ${layers ?? 24} layers of ${width ?? 1024}, pictures of ${side} × ${side}`,
    languageParams: (root) => {
      const own = languageParams(
        root,
        namesOf((path) => root.has(path)),
      );
      return mayTie ? withHead(own) : own;
    },
    pictures: (root, pixels) =>
      seen(
        bodyOf(
          root,
          namesOf((path) => root.has(path)),
        ),
        pixels,
      ),
    shapes: (stored) => {
      const body = trace(randomParams(0), (t) => {
        const pixels = t.input<'b h w c', Float>('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 });
        return { tokens: seen(t.params, pixels) };
      });
      const names = namesOf((path) => stored.has(path));
      const all = placedShapes(names, [...paramShapes(body)], decoderShapes(language));
      return new Map([...all].filter(([name]) => !mayTie || stored.has(name) || !name.endsWith('lm_head.weight')));
    },
  };
}

function namesOf(has: (path: string) => boolean): LlavaNames {
  return has(`model.${witness}`) ? 'new' : 'old';
}
