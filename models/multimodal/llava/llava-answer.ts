// LLaVA that answers token by token on the device: the graphs of generation-graphs.ts over its own parameters and pictures.
import type { Graph, ParamSource } from '../../../dsl/index.ts';
import type { LlavaConfig } from '../../configs/llava.ts';
import {
  decodeGraph,
  prefillGraph,
  type GenerationParts,
  type GenerationSizes,
} from '../../decoders/generation-graphs.ts';
import { embedPrompts, openTokens, type LlavaViews } from './llava-graphs.ts';
import { languageParams, llavaNames } from './llava-names.ts';

/** With the limit of `llavaVisionGraph`, whose state this reads. */
export interface LlavaAnswerSizes extends GenerationSizes, LlavaViews {}

/**
 * Most views of all pictures: one each in LLaVA-1.5, in the others the whole and the tiles of the largest canvas. OneVision cuts the only
 * picture of a prompt alone.
 */
export function mostViews(
  { type, canvases, vision: { image } }: LlavaConfig,
  { imageLimit, batch }: { readonly imageLimit: number; readonly batch: number },
): number {
  const tiles = canvases.map(([height, width]) => Math.ceil(height / image) * Math.ceil(width / image));
  const each = type === 'llava' ? 1 : 1 + Math.max(1, ...tiles);
  const cut = type === 'llava_onevision' ? Math.min(batch, imageLimit) : imageLimit;
  return each * cut + (imageLimit - cut);
}

/** `prefillGraph` with pictures: further inputs `b s`, those of `layOutPrompts`. */
export function llavaAnswerPrefillGraph(source: ParamSource, config: LlavaConfig, sizes: LlavaAnswerSizes): Graph {
  return prefillGraph(source, config.language, sizes, {
    ...llavaDecodeParts(source),
    look: (t, ids) => {
      const row = (name: string) => t.input(name, 'b s', { b: sizes.batch, s: ids.sizeOf('s') }, 'i32');
      const tokens = openTokens(t, config, sizes, source.dtype);
      const between =
        config.limit === undefined
          ? undefined
          : { right: row('right'), rightPart: row('rightPart'), below: row('below'), belowPart: row('belowPart') };
      return {
        start: embedPrompts(t.params, llavaNames(source), config, tokens, ids, row('slots'), between),
        vision: undefined,
      };
    },
  });
}

/** `decodeGraph` over the same states: the pictures have been read. */
export function llavaAnswerDecodeGraph(source: ParamSource, config: LlavaConfig, sizes: LlavaAnswerSizes): Graph {
  return decodeGraph(source, config.language, sizes, llavaDecodeParts(source));
}

/** Where decoding finds the language model. */
export function llavaDecodeParts(source: ParamSource): GenerationParts {
  const names = llavaNames(source);
  return { root: (checkpoint) => languageParams(checkpoint, names) };
}
