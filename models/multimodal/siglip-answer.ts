// SmolVLM, Gemma 3 and InternVL that answer token by token on the device: one view of a picture a run, its tokens in place of placeholders.
import {
  rearrange,
  trace,
  type Float,
  type Graph,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { embedTokens } from '../decoders/decoder.ts';
import { decodeGraph, prefillGraph, type GenerationSizes } from '../decoders/generation-graphs.ts';
import { insertPictures, openViewTokens, pictureSights } from './picture-prompts.ts';
import type { SightedModel } from './sighted-model.ts';

export interface SightedSizes extends GenerationSizes {
  /** Views of all pictures of all prompts together. */
  readonly viewLimit: number;
}

function openTokens(
  t: Trace,
  { tokens: n, language }: SightedModel,
  i: number,
  dtype: 'f32' | 'f16',
): Tensor<'i n e', 'f32' | 'f16'> {
  return openViewTokens(t, { i, n, e: language.config.hidden }, dtype);
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
