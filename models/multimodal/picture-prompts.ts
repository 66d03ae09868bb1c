// Pictures in a prompt by placeholders, one a token: which row of the pictures' tokens stands where, what may see what, where tokens stand.
import { concat, gather, OpabiniaError, repeat, where, type Float, type Tensor, type Trace } from '../../dsl/index.ts';
import { decoderLayers, windowMask, type LanguageModel, type Sight, type Turn } from '../decoders/decoder.ts';
import type { FrameGrid } from '../towers/patch-sequence.ts';
import type { Hidden } from './cambrian.ts';

/** Tokens of all pictures, one behind the other. */
export type PictureTokens = Tensor<'r e', Float>;

/** The state between a graph that sees one view a run and prefill: `n` tokens of width `e` of each of `i` views. */
export function openViewTokens(
  t: Trace,
  sizes: { readonly i: number; readonly n: number; readonly e: number },
  dtype: 'f32' | 'f16',
): Tensor<'i n e', 'f32' | 'f16'> {
  return t.state('image_tokens', 'i n e', sizes, dtype);
}

/** The row of the pictures' tokens that each place of a prompt takes, −1 for text. Throws `OpabiniaError` where the counts differ. */
export function pictureSlots(ids: ArrayLike<number>, imageToken: number, tokens: number): Int32Array {
  let next = 0;
  const slots = Int32Array.from(ids, (id) => (id === imageToken ? next++ : -1));
  if (next === tokens) return slots;
  throw new OpabiniaError(`the prompt has ${next} places for image tokens, and its pictures have ${tokens} tokens`, {
    op: 'prompt',
    advice: `one id ${imageToken} for each token of a picture`,
  });
}

/** Text where no picture stands. */
export function insertPictures(text: Hidden, pictures: PictureTokens, slots: Tensor<'b s', 'i32'>): Hidden {
  return where(slots.ge(0), gather(pictures, slots, 'r'), text);
}

/** What is added to a state at the places of pictures (DeepStack, arXiv 2406.04334). */
export function addAtPictures(hidden: Hidden, pictures: PictureTokens, slots: Tensor<'b s', 'i32'>): Hidden {
  return hidden.add(gather(pictures, slots, 'r').where(slots.ge(0), 0));
}

/** Number of the block of neighbouring placeholders that each place belongs to, −1 for text. */
export function pictureBlocks(ids: ArrayLike<number>, imageToken: number): Int32Array {
  let block = -1;
  return Int32Array.from(ids, (id, i) => {
    if (id !== imageToken) return -1;
    if (i === 0 || ids[i - 1] !== imageToken) block++;
    return block;
  });
}

/**
 * Gemma 3: a token sees those before it and all of its own picture; sliding layers hold either to their window. `block` are
 * `pictureBlocks`, for a prompt that begins the sequence.
 */
export function pictureSights(t: Trace, { config }: LanguageModel, turn: Turn, block: Tensor<'b s', 'i32'>): Turn {
  const s = block.sizeOf('s');
  const queries = repeat(block, 'b s -> b s t', { t: s });
  const keys = repeat(block, 'b s -> b t=(s)') as Tensor<'b t', 'i32'>;
  const before = repeat(t.iota('s', s), 's -> b s t', { b: block.sizeOf('b'), t: s }).ge(t.iota('t', s));
  const own = queries.eq(keys).and(queries.ge(0));
  const mask = before.or(own);
  const near = windowMask(t, config, s, s);
  const sliding: Sight = {
    angles: turn.sliding?.angles ?? turn.angles,
    mask: near === undefined ? mask : mask.and(near),
  };
  return { ...turn, mask, sliding, unordered: true };
}

/** The decoder's layers over a prompt, each state told; tokens of pictures are added behind the first layers where a model does so. */
export function promptStates(
  p: Parameters<typeof decoderLayers>[0],
  model: LanguageModel,
  turn: Turn,
  start: Hidden,
  added: readonly PictureTokens[],
  slots: Tensor<'b s', 'i32'>,
): { readonly outputs: readonly Hidden[]; readonly last: Hidden } {
  const layers = decoderLayers(p, model, turn);
  const outputs: Hidden[] = [];
  let hidden = start;
  for (let i = 0; i < layers.layers; i++) {
    const out = layers.layer(hidden, i);
    outputs.push(out);
    const more = added[i];
    hidden = more === undefined ? out : addAtPictures(out, more, slots);
  }
  return { outputs, last: hidden };
}

export interface RopePositions {
  /** Positions in time, then of rows, then of columns, one a token each. */
  readonly positions: Int32Array;
  /** What is added to the number of tokens so far for the next one's position. */
  readonly delta: number;
}

/**
 * Qwen-VL's three positions of a token (M-RoPE, arXiv 2409.12191): text counts in all three; a picture stands at one time, at its rows and
 * columns after where it begins, and what follows counts on from its longer side. `grids` are of merged tokens. Throws `OpabiniaError`.
 */
export function ropePositions(ids: ArrayLike<number>, imageToken: number, grids: readonly FrameGrid[]): RopePositions {
  const count = ids.length;
  const positions = new Int32Array(3 * count);
  let [next, picture] = [0, 0];
  for (let i = 0; i < count;) {
    const grid = ids[i] === imageToken ? grids[picture++] : undefined;
    if (grid === undefined) {
      if (ids[i] === imageToken)
        throw new OpabiniaError(`the prompt has places for more than ${grids.length} pictures`, { op: 'prompt' });
      for (let axis = 0; axis < 3; axis++) positions[axis * count + i] = next;
      next++;
      i++;
      continue;
    }
    const [frames, rows, columns] = grid;
    for (let n = 0; n < frames * rows * columns; n++, i++) {
      positions[i] = next + Math.floor(n / (rows * columns));
      positions[count + i] = next + (Math.floor(n / columns) % rows);
      positions[2 * count + i] = next + (n % columns);
    }
    next += Math.max(frames, rows, columns);
  }
  return { positions, delta: next - count };
}

/** Tokens of pictures `b n c` as rows. */
export function pictureRows(tokens: readonly Tensor<'r e', Float>[]): PictureTokens {
  return concat(tokens, 'r');
}
