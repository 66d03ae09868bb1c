// Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL: their towers, whose merged tokens stand in the prompt, and Qwen2 or Qwen3 with three positions
// a token; Qwen3-VL's first layers are given features of the tower's own.
import { OpabiniaError, rearrange, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { readInnerDecoder } from '../configs/decoders.ts';
import { asObject, type ConfigJson } from '../configs/fields.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { withModelAt } from '../decoders/language-params.ts';
import type { FrameGrid } from '../towers/patch-sequence.ts';
import { qwenTowerConfig, type QwenTowerConfig } from '../towers/qwen-vl-config.ts';
import { qwenVision } from '../towers/qwen-vl.ts';
import { rootOf } from '../towers/tower.ts';
import type { Tokens } from '../towers/vit.ts';
import type { PictureTokens } from './picture-prompts.ts';

export interface QwenVl {
  readonly language: LanguageModel;
  readonly vision: QwenTowerConfig;
  readonly imageToken: number;
}

const types = { qwen2_5_vl: ['qwen2.5', 'qwen2'], qwen3_vl: ['qwen3', 'qwen3'] } as const;
export type QwenVlType = keyof typeof types;

/** A `config.json` of model type `qwen2_5_vl` or `qwen3_vl`; older ones of 2.5 have the language model's fields at the top. Throws `OpabiniaError`. */
export function qwenVl(json: ConfigJson, type: QwenVlType, where: string): QwenVl {
  const [tower, decoder] = types[type];
  const config = new ConfigReader(json, where);
  const text =
    json['text_config'] === undefined ? json : asObject(json['text_config'], `${where}, field 'text_config'`);
  const vision = config.inner('vision_config');
  if (vision === undefined) throw config.wrong('vision_config', 'is missing', 'the tower is described there');
  // What the code does whatever the config says: only Qwen3-VL interleaves the frequencies of its three positions.
  const turns = ['rope_scaling', 'rope_parameters'].flatMap((key) =>
    typeof text[key] === 'object' && text[key] !== null
      ? [[key, { ...text[key], mrope_interleaved: type === 'qwen3_vl' }] as const]
      : [],
  );
  const language = readInnerDecoder(json, { ...text, ...Object.fromEntries(turns), model_type: decoder }, where);
  if (language.config.rope.axes === undefined)
    throw config.wrong(
      'rope_scaling',
      "has no 'mrope_section'",
      'it divides the frequencies among time, rows and columns',
    );
  const read = qwenTowerConfig(vision, tower);
  if (read.output !== language.config.hidden)
    throw new OpabiniaError(
      `${where}: the tower gives ${read.output} channels, and the language model reads ${language.config.hidden}`,
      {
        op: 'config',
        advice: 'out_hidden_size is hidden_size',
      },
    );
  return { language, vision: read, imageToken: config.number('image_token_id', 151_655) };
}

/** The tower's parameters, and those of the language model below `model` and `lm_head`, by old names and by those of transformers 5. */
export function qwenVlParams(root: Params): { readonly tower: Params; readonly language: Params } {
  const tower = rootOf(root, ['visual', 'model.visual'], 'patch_embed.proj.weight');
  const own = rootOf(root, ['model.language_model', 'model'], 'embed_tokens.weight');
  return { tower, language: withModelAt(root, own) };
}

/** Tokens of all pictures in the order of their merged grids, and what the first layers are given. */
export function qwenVlPictures(
  tower: Params,
  patches: Tensor<'n k', Float>,
  grids: readonly FrameGrid[],
  { vision }: QwenVl,
): { readonly tokens: PictureTokens; readonly added: readonly PictureTokens[] } {
  const encoded = qwenVision(tower, patches, grids, vision);
  const rows = (x: Tokens): PictureTokens => rearrange(x, 'b n c -> r=(b n) e=(c)');
  return { tokens: rows(encoded.merged), added: encoded.deepstack.map(rows) };
}

/** Grids of merged tokens. */
export function mergedGrids(grids: readonly FrameGrid[], { vision: { merge } }: QwenVl): readonly FrameGrid[] {
  return grids.map(([frames, rows, columns]) => [frames, rows / merge, columns / merge]);
}
