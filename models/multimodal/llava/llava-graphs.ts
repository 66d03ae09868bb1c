// LLaVA's pictures as a graph of their own, and prompts with their tokens in place.
import {
  gather,
  rearrange,
  trace,
  where,
  type Float,
  type Graph,
  type Params,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import type { LlavaConfig } from '../../configs/llava.ts';
import { embedTokens } from '../../decoders/decoder.ts';
import type { Between } from '../../sequence/anyres.ts';
import { newlineSlot } from '../../sequence/collate.ts';
import { clipUnread } from '../../towers/clip.ts';
import { siglipUnread } from '../../towers/siglip-names.ts';
import type { Hidden } from '../cambrian.ts';
import { insertPictures, openViewTokens, type PictureTokens } from '../picture-prompts.ts';
import { llavaTokens, viewTokens } from './llava.ts';
import { bodyOf, inBody, languageParams, llavaNames, type LlavaNames } from './llava-names.ts';

/** Parts of the tower that no hidden state depends on. */
function unread({ tower }: LlavaConfig): readonly string[] {
  return tower === 'siglip' ? [...siglipUnread, 'vision_model.post_layernorm', 'post_layernorm'] : clipUnread;
}

export interface LlavaViews {
  /** Views of all pictures of all prompts together: one a picture in LLaVA-1.5, with its tiles in the others. */
  readonly viewLimit: number;
}

/** The state between the graph of the views and prefill. */
export function openTokens(
  t: Trace,
  config: LlavaConfig,
  { viewLimit: i }: LlavaViews,
  dtype: 'f32' | 'f16',
): Tensor<'i n e', 'f32' | 'f16'> {
  return openViewTokens(t, { i, n: viewTokens(config), e: config.language.config.hidden }, dtype);
}

/** One view. Input `pixels`, `b h w c` with b = 1; symbol `view`: its number, from 0. No outputs: its tokens go into a state. */
export function llavaVisionGraph(source: ParamSource, config: LlavaConfig, sizes: LlavaViews): Graph {
  const names = llavaNames(source);
  const side = config.vision.image;
  return trace(
    source,
    (t) => {
      const pixels = t.input<'b h w c', Float>('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 }, source.dtype);
      const tokens = rearrange(llavaTokens(bodyOf(t.params, names), pixels, config), 'b n e -> i=(b) n e');
      t.update(openTokens(t, config, sizes, source.dtype), tokens, {
        i: t.symbol('view', { atLeast: 0, upTo: sizes.viewLimit - 1 }),
      });
      return {};
    },
    {
      unread: [
        ...unread(config).map((name) => inBody(names, `vision_tower.${name}`)),
        inBody(names, 'language_model'),
        'lm_head',
        inBody(names, 'image_newline'),
      ],
    },
  );
}

/** Inputs of what lies between tokens, `b s` each. */
export type BetweenRows = Readonly<Record<keyof Between, Tensor<'b s', 'i32'>>>;

/** Embeddings of text, image tokens and newlines in their places; padding has those of token 0, and nobody attends to it. */
export function embedPrompts(
  root: Params,
  names: LlavaNames,
  config: LlavaConfig,
  tokens: Tensor<'i n e', Float>,
  ids: Tensor<'b s', 'i32'>,
  slots: Tensor<'b s', 'i32'>,
  between?: BetweenRows,
): Hidden {
  const text = embedTokens(languageParams(root, names), config.language.config, ids);
  const rows: PictureTokens = rearrange(tokens, 'i n e -> r=(i n) e');
  const seen =
    between === undefined
      ? insertPictures(text, rows, slots)
      : where(slots.ge(0), betweenTokens(rows, slots, between), text);
  if (config.type === 'llava') return seen;
  const newline = bodyOf(root, names).get('image_newline', 'e', { e: config.language.config.hidden });
  return where(slots.eq(newlineSlot), newline, seen);
}

/** Bilinear: between a token and the one to the right, the same of the row below, and between these two; in f32. */
function betweenTokens(rows: PictureTokens, slots: Tensor<'b s', 'i32'>, by: BetweenRows): Hidden {
  const at = (place: Tensor<'b s', 'i32'>): Tensor<'b s e', 'f32'> => gather(rows, place, 'r').cast('f32');
  const mixed = (a: Tensor<'b s e', 'f32'>, b: Tensor<'b s e', 'f32'>, part: Tensor<'b s', 'i32'>) =>
    a.add(b.sub(a).mul(part.cast('f32').mul(2 ** -24)));
  const row = (first: Tensor<'b s', 'i32'>) => mixed(at(first), at(first.add(by.right)), by.rightPart);
  return mixed(row(slots), row(slots.add(by.below)), by.belowPart).cast(rows.dtype);
}
