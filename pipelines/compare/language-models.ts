// Language models that visual tokens are read by: width, layers, and what a prompt of so many tokens costs.
import { OpabiniaError } from '../../dsl/error.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { readDecoder } from '../../models/configs/decoders.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';
import { releasedDecoders } from '../../models/decoders/families/released.ts';
import { llamaConfigs } from '../../models/decoders/llama.ts';
import { phi3Configs } from '../../models/decoders/phi3.ts';

const known: Readonly<Record<string, () => LanguageModel>> = {
  'llama-3-8b': () => readDecoder(llamaConfigs['Meta-Llama-3-8B-Instruct'], 'llama', 'llama-3-8b'),
  'vicuna-13b': () => readDecoder(llamaConfigs['vicuna-13b-v1.5'], 'llama', 'vicuna-13b'),
  'yi-34b': () => readDecoder(llamaConfigs['Nous-Hermes-2-Yi-34B'], 'llama', 'yi-34b'),
  'phi-3-mini': () => readDecoder(phi3Configs['Phi-3-mini-4k-instruct'], 'phi3', 'phi-3-mini'),
  ...Object.fromEntries(
    Object.entries(releasedDecoders).map(([name, json]) => [name, () => readDecoder(json, json.model_type, name)]),
  ),
};

export interface ReadingModel {
  readonly name: string;
  readonly width: number;
  readonly layers: number;
  /** Parameters of one layer. */
  readonly layerParameters: number;
  /** Heads times their size. */
  readonly attentionWidth: number;
}

/** Throws `OpabiniaError` for an unknown model, with the nearest names. */
export function languageModelNamed(name: string): ReadingModel {
  const make = Object.hasOwn(known, name) ? known[name] : undefined;
  if (make === undefined) {
    const names = Object.keys(known);
    throw new OpabiniaError(`there is no language model '${name}'`, {
      op: 'compare',
      advice: nameAdvice(name, names),
    });
  }
  const model = make();
  const { config } = model;
  const inLayers = [...decoderShapes(model)].filter(([path]) => path.startsWith('model.layers.'));
  return {
    name,
    width: config.hidden,
    layers: config.layers,
    layerParameters: countParameters(new Map(inLayers)) / config.layers,
    attentionWidth: config.heads * config.headSize,
  };
}

/**
 * FLOP of a prompt in the decoder's layers, `tokens[l]` positions in layer l: two for each parameter and token, and causal attention,
 * which reads half of all pairs: 2 · T² · width for scores and as many for values, halved.
 */
export function prefillFlops(model: ReadingModel, tokens: readonly number[]): number {
  return tokens.reduce((sum, t) => sum + 2 * model.layerParameters * t + 2 * model.attentionWidth * t * t, 0);
}
