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

/** Most views that one picture can have: one in LLaVA-1.5, in LLaVA-NeXT the whole and the tiles of the largest canvas. */
export function mostViews({ type, canvases, vision: { image } }: LlavaConfig): number {
  return type === 'llava'
    ? 1
    : 1 +
        canvases.reduce(
          (most, [height, width]) => Math.max(most, Math.ceil(height / image) * Math.ceil(width / image)),
          1,
        );
}

/** `prefillGraph` with pictures: one more input, `slots` `b s` (`layOutPrompts`). */
export function llavaAnswerPrefillGraph(source: ParamSource, config: LlavaConfig, sizes: LlavaAnswerSizes): Graph {
  return prefillGraph(source, config.language, sizes, {
    ...llavaDecodeParts(source),
    look: (t, ids) => {
      const slots = t.input('slots', 'b s', { b: sizes.batch, s: ids.sizeOf('s') }, 'i32');
      return {
        start: embedPrompts(
          t.params,
          llavaNames(source),
          config,
          openTokens(t, config, sizes, source.dtype),
          ids,
          slots,
        ),
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
