// Around the LLM of Cambrian-1: image tokens put into the text's embeddings, and SVA layers between the decoder's layers.
import { gather, rearrange, recompute, where, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { emptySlot, newlineSlot } from '../sequence/collate.ts';
import type { Inspect } from '../sequence/regions.ts';
import type { Sight } from '../parts/sva/layer.ts';
import { visionTokenSampler } from '../parts/sva/aggregator.ts';

/** Hidden states of the LLM. */
export type Hidden = Tensor<'b s e', Float>;

/** What stands where in a batch of sequences: the arrays of the same names in `SequenceBatch`. */
export interface SequenceTensors {
  readonly ids: Tensor<'b s', 'i32'>;
  readonly slots: Tensor<'b s', 'i32'>;
}

/**
 * Embeddings of text, image tokens and newlines in place; zeros where nothing stands. One graph serves pictures of any size: which
 * token stands where comes in as integers. `p` holds `embed_tokens` and `image_newline`.
 */
export function embedSequence(p: Params, tokens: Tensor<'b h w e', Float>, sequence: SequenceTensors): Hidden {
  const { ids, slots } = sequence;
  const text = gather(p.at('embed_tokens').get('weight', 'v e'), ids, 'v');
  const image = gather(rearrange(tokens, 'b h w e -> r=(b h w) e'), slots, 'r');
  const newline = p.get('image_newline', 'e');
  const written = where(slots.ge(0), image, where(slots.eq(newlineSlot), newline, text));
  return written.where(slots.ne(emptySlot), 0);
}

/** Which decoder layers are followed by an SVA layer: `start + j·stride` for j < count. */
export interface VisionSchedule {
  readonly start: number;
  readonly stride: number;
  readonly count: number;
}

/** What SVA layers inside the LLM read, and which hidden states are their queries (`queryPlaces`). */
export interface LlmVision {
  readonly schedule: VisionSchedule;
  /** Regions of the final grid: one query per image token. */
  readonly sight: Sight;
  readonly heads?: number | undefined;
  readonly place: Tensor<'b q', 'i32'>;
  readonly slot: Tensor<'b s', 'i32'>;
}

/** The `index`-th layer of a decoder, attention and MLP residuals included. */
export type DecoderLayer = (hidden: Hidden, index: number) => Hidden;

export interface Decoder {
  readonly layers: number;
  readonly layer: DecoderLayer;
  /** A backward pass keeps of each layer, and of the SVA layer behind it, what enters it alone. */
  readonly recomputes?: boolean | undefined;
}

/**
 * The decoder's layers in order, each SVA layer after its own, on the raw residual stream. `vision` is for prefill: a decode
 * step has no image tokens and leaves it out. `p` holds `vision_sampler_layers`. `inspect` is told `hidden_00`, the input of each
 * layer, and the result.
 */
export function decodeWithVision(
  p: Params,
  hidden: Hidden,
  decoder: Decoder,
  vision?: LlmVision,
  inspect?: Inspect,
): Hidden {
  const named = (index: number) => `hidden_${String(index).padStart(2, '0')}`;
  const again = decoder.recomputes === true ? recompute : plainly;
  let stream = hidden;
  inspect?.(named(0), stream);
  for (let i = 0; i < decoder.layers; i++) {
    stream = again((x) => decoder.layer(x, i), stream);
    const j = vision === undefined ? undefined : samplerAfter(vision.schedule, i);
    if (vision !== undefined && j !== undefined) {
      const update = (x: Hidden, context: Sight['context'], ...regions: Sight['regions']): Hidden => {
        const sight = { ...vision.sight, context, regions };
        return updateImageTokens(p.at('vision_sampler_layers', j), x, { ...vision, sight }, inspect);
      };
      stream = again(update, stream, vision.sight.context, ...vision.sight.regions);
    }
    inspect?.(named(i + 1), stream);
  }
  return stream;
}

function plainly<X extends readonly Tensor[]>(f: (...xs: X) => Hidden, ...xs: X): Hidden {
  return f(...xs);
}

/** The sampler that follows decoder layer `index`, if one does. */
export function samplerAfter(schedule: VisionSchedule, index: number): number | undefined {
  const steps = (index - schedule.start) / schedule.stride;
  return Number.isInteger(steps) && steps >= 0 && steps < schedule.count ? steps : undefined;
}

/**
 * Image tokens become queries, read their regions, and go back to their places. Queries that were cropped away are computed and
 * dropped, so that regions stay views of the maps; text and newlines keep their values.
 */
function updateImageTokens(p: Params, hidden: Hidden, vision: LlmVision, inspect?: Inspect): Hidden {
  const rows = rearrange(hidden, 'b s e -> r=(b s) e');
  const query = rearrange(gather(rows, vision.place, 'r'), 'b q e -> b q c=(e)');
  const updated = visionTokenSampler(p, query, vision.sight, { depth: 1, heads: vision.heads, inspect });
  const back = gather(rearrange(updated, 'b q c -> r=(b q) e=(c)'), vision.slot, 'r');
  return where(vision.slot.ge(0), back, hidden);
}
