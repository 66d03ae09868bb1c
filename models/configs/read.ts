// Any config that this project knows, by its model type.
import { OpabiniaError } from '../../dsl/index.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { decoderTypes, isDecoderName, type DecoderName } from '../decoders/families.ts';
import { isCambrianType, cambrianDecoders, readCambrian, type CambrianConfig } from './cambrian.ts';
import { readDecoder } from './decoders.ts';
import { readAssembled, type AssembledConfig } from './assembled.ts';
import { asObject, statedDtype, type ConfigJson } from './fields.ts';
import { gemma3Vl, smolVlm, type Gemma3Vl, type SmolVlm } from '../multimodal/siglip-vlm.ts';
import { internVl, type InternVl } from '../multimodal/internvl.ts';
import { qwenVl, type QwenVl } from '../multimodal/qwen-vl-model.ts';
import { isLlavaType, llavaClasses, readLlava, type LlavaConfig } from './llava.ts';
import { readArchitecture, readTowerOf, towerTypes, type TowerConfig } from './towers.ts';

export type ModelConfig = { readonly json: ConfigJson; readonly dtype: string | undefined } & (
  | { readonly kind: 'language'; readonly family: DecoderName; readonly language: LanguageModel }
  | { readonly kind: 'tower'; readonly tower: TowerConfig }
  | { readonly kind: 'cambrian'; readonly cambrian: CambrianConfig }
  | { readonly kind: 'llava'; readonly llava: LlavaConfig }
  | { readonly kind: 'qwen-vl'; readonly qwenVl: QwenVl }
  | { readonly kind: 'gemma3'; readonly gemma3: Gemma3Vl }
  | { readonly kind: 'smolvlm'; readonly smolvlm: SmolVlm }
  | { readonly kind: 'internvl'; readonly internVl: InternVl }
  | { readonly kind: 'assembled'; readonly assembled: AssembledConfig }
);

/** Model types of `config.json` that can be read. */
export const modelTypes: readonly string[] = [
  ...Object.keys(cambrianDecoders),
  ...Object.keys(llavaClasses),
  'qwen2_5_vl',
  'qwen3_vl',
  'gemma3',
  'smolvlm',
  'idefics3',
  'internvl',
  'opabinia',
  ...Object.keys(decoderTypes),
  ...Object.keys(towerTypes),
];

/**
 * What a `config.json` or `open_clip_config.json` describes; `where` names the file in errors. Throws `OpabiniaError` for an unknown
 * model type, with the known ones, and for every field that is out of its range.
 * @example const config = readConfig(JSON.parse(text), 'config.json')
 */
export function readConfig(parsed: unknown, where: string): ModelConfig {
  const json = asObject(parsed, where);
  refuseQuantized(json, where);
  const common = { json, dtype: statedDtype(json) };
  const type = json['model_type'];
  if (isDecoderName(type))
    return { ...common, kind: 'language', family: type, language: readDecoder(json, type, where) };
  if (isCambrianType(type)) return { ...common, kind: 'cambrian', cambrian: readCambrian(json, type, where) };
  if (isLlavaType(type)) return { ...common, kind: 'llava', llava: readLlava(json, type, where) };
  switch (type) {
    case 'qwen2_5_vl':
    case 'qwen3_vl':
      return { ...common, kind: 'qwen-vl', qwenVl: qwenVl(json, type, where) };
    case 'gemma3':
      return { ...common, kind: 'gemma3', gemma3: gemma3Vl(json, where) };
    case 'smolvlm':
    case 'idefics3':
      return { ...common, kind: 'smolvlm', smolvlm: smolVlm(json, where) };
    case 'internvl':
      return { ...common, kind: 'internvl', internVl: internVl(json, where) };
    case 'internvl_chat':
      throw new OpabiniaError(`${where} is of an InternVL in the layout of its authors, with code of its own`, {
        op: 'config',
        advice: "take the checkpoint in the layout of transformers, such as OpenGVLab/InternVL3-1B-hf: 'internvl'",
      });
    case 'opabinia':
      return { ...common, kind: 'assembled', assembled: readAssembled(json, where) };
    default:
      return { ...common, kind: 'tower', tower: readTower(json, where) };
  }
}

/** Packed so, weights are read: MLX names no method. */
const readable: readonly unknown[] = ['mlx', 'metal', 'compressed-tensors', 'awq', 'gptq'];

/** What is stored as blocks of integers in another way would be read as numbers, or as tensors of another model. */
function refuseQuantized(json: ConfigJson, where: string): void {
  const found = [json, json['text_config']].flatMap((part) =>
    typeof part === 'object' && part !== null && 'quantization_config' in part ? [part.quantization_config] : [],
  )[0];
  if (found === undefined || found === null) return;
  if (typeof found === 'object' && found === json['quantization_config']) {
    const stated = 'quant_method' in found ? found.quant_method : 'group_size' in found ? 'mlx' : undefined;
    if (readable.includes(stated)) return;
  }
  const method =
    typeof found === 'object' && 'quant_method' in found ? String(found.quant_method) : 'an unnamed method';
  throw new OpabiniaError(
    `${where} says in 'quantization_config' that weights are quantized by ${method.slice(0, 40)}`,
    {
      op: 'config',
      advice: `take one packed by ${readable.join(', ')}, or the checkpoint in F32, F16 or BF16 that it was made from`,
    },
  );
}

/** A tower's config. Throws `OpabiniaError` for a model of another kind. */
export function readTower(parsed: unknown, where: string): TowerConfig {
  const json = asObject(parsed, where);
  const type = json['model_type'];
  const architecture = type === undefined ? readArchitecture(json, where) : undefined;
  if (architecture !== undefined) return architecture;
  const kind = typeof type === 'string' && Object.hasOwn(towerTypes, type) ? towerTypes[type] : undefined;
  if (kind !== undefined) return readTowerOf(json, kind, where);
  if (typeof type !== 'string')
    throw new OpabiniaError(`${where} has no model_type`, {
      op: 'config',
      advice: `known are ${modelTypes.join(', ')}`,
    });
  if (modelTypes.includes(type))
    throw new OpabiniaError(`${where} is of model_type '${type}', which is not a vision tower`, {
      op: 'config',
      advice: `towers are ${Object.keys(towerTypes).join(', ')}`,
    });
  throw new OpabiniaError(`${where} has the unknown model_type '${type.slice(0, 80)}'`, {
    op: 'config',
    advice: nameAdvice(type, modelTypes, `known are ${modelTypes.join(', ')}`),
  });
}
