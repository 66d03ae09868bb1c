// Whole models on a SigLIP tower: SmolVLM and Idefics3 (arXiv 2504.05299), whose positions are buckets of the patches that are there, and
// Gemma 3 with pictures (arXiv 2503.19786), whose pictures see all of themselves.
import { constantLike, gather, layerNorm, rearrange, type Params } from '../../dsl/index.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { readInnerDecoder } from '../configs/decoders.ts';
import { asObject, type ConfigJson } from '../configs/fields.ts';
import { gemma3 as gemma3Projector } from '../connectors/pooling/gemma-3.ts';
import { idefics3 } from '../connectors/space-to-depth/idefics3.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { withModelAt } from '../decoders/language-params.ts';
import { encodeVit } from '../towers/backbone.ts';
import { patchTokens } from '../towers/hub-layer.ts';
import { siglipConfig, siglipVision, type SiglipConfig } from '../towers/siglip.ts';
import { hubNames } from '../towers/siglip-names.ts';
import { gridOf, rootOf, type Grid, type Pixels } from '../towers/tower.ts';
import { geluMlp, patchMap, type Tokens } from '../towers/vit.ts';
import type { PictureTokens } from './picture-prompts.ts';

interface SiglipVlm {
  readonly language: LanguageModel;
  readonly vision: SiglipConfig;
  readonly imageToken: number;
}

/** What the tower gives, and its tokens as the language model reads them. */
export interface Seen {
  readonly encoded: Tokens;
  readonly tokens: PictureTokens;
}

function readVlm(json: ConfigJson, where: string, imageToken: number): SiglipVlm {
  const config = new ConfigReader(json, where);
  const vision = config.inner('vision_config');
  if (vision === undefined) throw config.wrong('vision_config', 'is missing', 'the tower is described there');
  const key = ['image_token_id', 'image_token_index'].find((name) => config.has(name));
  return {
    language: readInnerDecoder(json, asObject(json['text_config'], `${where}, field 'text_config'`), where),
    vision: siglipConfig(vision),
    imageToken: key === undefined ? imageToken : config.number(key),
  };
}

export interface SmolVlm extends SiglipVlm {
  /** Side of the square of patches that becomes one token. */
  readonly scale: number;
}

/** A `config.json` of model type `smolvlm` or `idefics3`. Throws `OpabiniaError`. */
export function smolVlm(json: ConfigJson, where: string): SmolVlm {
  return {
    ...readVlm(json, where, 128_257),
    scale: new ConfigReader(json, where).count('scale_factor', 2),
  };
}

export function smolVlmParams(root: Params): { readonly body: Params; readonly language: Params } {
  const body = rootOf(root, ['model', ''], 'text_model.embed_tokens.weight');
  return { body, language: withModelAt(root, body.at('text_model')) };
}

/**
 * Position ids of a picture's patches: bucket(r / rows) · side + bucket(c / columns), of the rows and columns that are there; patches that
 * are not have 0.
 */
function bucketIds(valid: readonly boolean[], [rows, columns]: Grid, side: number): readonly number[] {
  const tall = Array.from({ length: rows }, (_, r) => valid[r * columns] === true).filter(Boolean).length;
  const wide = Array.from({ length: columns }, (_, c) => valid[c] === true).filter(Boolean).length;
  const bucket = (i: number, of: number): number => Math.min(side - 1, Math.floor((i * side) / of));
  return valid.map((there, n) =>
    there ? bucket(Math.floor(n / columns), tall) * side + bucket(n % columns, wide) : 0,
  );
}

/**
 * Tokens of pictures `b h w c`, those of nothing but zeros left out by the caller. `valid`: for each picture, which of its patches are
 * there, row by row.
 */
export function smolVlmPictures(
  body: Params,
  pixels: Pixels,
  valid: readonly (readonly boolean[])[],
  config: SmolVlm,
): Seen {
  const { vision, scale, language } = config;
  const { width: c, patch, eps, hidden, activation = 'tanh' } = vision;
  const names = hubNames(body.at('vision_model'));
  const grid = gridOf(pixels, patch);
  const n = grid[0] * grid[1];
  const side = Math.floor(vision.image / patch);
  const table = names.positions({ n: side * side, c });
  const ids = valid.flatMap((own) => bucketIds(own, grid, side));
  const at = constantLike(table, ids, 'b m', { b: valid.length, m: n }, 'i32');
  const positions: Tokens = rearrange(gather(table, at, 'n'), 'b m c -> b n=(m) c');
  const there = constantLike(table, valid.flat().map(Number), 'b t', { b: valid.length, t: n }, 'i32').gt(0);
  const all = valid.every((own) => own.every(Boolean));
  const encoded = encodeVit({
    grid,
    classTokens: 0,
    embeddings: patchTokens(names.patches, pixels, { patch, size: c }).add(positions),
    config: vision,
    block: (i) => {
      const { up, down, ...parts } = names.block(i);
      return {
        ...parts,
        mask: all ? undefined : () => there,
        mlp: (x) => geluMlp({ up, down }, x, hidden, activation),
      };
    },
    norm: (x) => layerNorm(names.norm, x, { eps }),
  });
  const map = patchMap(encoded.last, encoded);
  const { tokens } = idefics3.build(body.at('connector'), [map], { merge: scale }, { width: language.config.hidden });
  return { encoded: encoded.last, tokens: rearrange(tokens, 'b n e -> r=(b n) e') };
}

export interface Gemma3Vl extends SiglipVlm {
  /** Tokens of a picture. */
  readonly tokens: number;
}

/** A `config.json` of model type `gemma3`. Throws `OpabiniaError`. */
export function gemma3Vl(json: ConfigJson, where: string): Gemma3Vl {
  const text = asObject(json['text_config'], `${where}, field 'text_config'`);
  // The whole model's code does not cap its logits, as that of the language model by itself does.
  const own = { model_type: 'gemma3_text', ...text, final_logit_softcapping: null };
  return {
    ...readVlm({ ...json, text_config: own }, where, 262_144),
    tokens: new ConfigReader(json, where).count('mm_tokens_per_image', 256),
  };
}

export function gemma3VlParams(root: Params): { readonly body: Params; readonly language: Params } {
  const body = rootOf(root, ['', 'model'], 'multi_modal_projector.mm_input_projection_weight');
  const old = root.has('language_model.model.embed_tokens.weight');
  return { body, language: old ? root.at('language_model') : withModelAt(root, body.at('language_model')) };
}

/** Tokens of pictures `b h w c`. */
export function gemma3VlPictures(body: Params, pixels: Pixels, { vision, tokens: count, language }: Gemma3Vl): Seen {
  const encoded = siglipVision(body.at('vision_tower'), pixels, vision);
  const { tokens } = gemma3Projector.build(
    body.at('multi_modal_projector'),
    [patchMap(encoded.last, encoded)],
    { side: Math.round(Math.sqrt(count)), eps: vision.eps },
    { width: language.config.hidden },
  );
  return { encoded: encoded.last, tokens: rearrange(tokens, 'b n e -> r=(b n) e') };
}
