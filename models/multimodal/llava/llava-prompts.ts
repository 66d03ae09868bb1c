// Prompts of LLaVA with their pictures in place: ids and slots, padded on the right.
import { OpabiniaError } from '../../../dsl/index.ts';
import type { LlavaConfig } from '../../configs/llava.ts';
import { emptySlot, textSlot } from '../../sequence/collate.ts';
import { viewTokens } from './llava.ts';
import type { LlavaViews } from './llava-graphs.ts';

export interface LlavaPrompt {
  /** Token ids, `imageToken` of the config once for each picture. */
  readonly ids: ArrayLike<number>;
  /** What stands in place of each, in order: `viewSlots`, or `anyresSlots` of LLaVA-NeXT. */
  readonly images: readonly (readonly number[])[];
}

/** Prompts with their image tokens in place, padded on the right; arrays are `prompts × length`, row-major. */
export interface LlavaBatch {
  readonly length: number;
  readonly ids: Int32Array;
  /** `textSlot`, `emptySlot`, `newlineSlot`, or an image token. */
  readonly slots: Int32Array;
  readonly attend: Uint8Array;
  /** The last token of each prompt. */
  readonly last: Int32Array;
}

/** LLaVA-1.5: the tokens of a picture, which is one view. */
export function viewSlots(config: LlavaConfig, view: number): readonly number[] {
  const count = viewTokens(config);
  return Array.from({ length: count }, (_, i) => view * count + i);
}

/**
 * Throws `OpabiniaError` for an empty prompt, where placeholders and pictures differ in number, and for a picture beyond `viewLimit`:
 * the device would read another one's tokens.
 */
export function layOutPrompts(
  prompts: readonly LlavaPrompt[],
  config: LlavaConfig,
  { viewLimit }: LlavaViews,
): LlavaBatch {
  const count = viewTokens(config);
  const views =
    1 +
    prompts
      .flatMap(({ images }) => images)
      .reduce((most, slots) => slots.reduce((last, slot) => Math.max(last, Math.floor(slot / count)), most), -1);
  if (views > viewLimit)
    throw new OpabiniaError(`the pictures have ${views} views, and there is room for ${viewLimit}`, {
      op: 'layOutPrompts',
      advice: 'raise viewLimit, or give fewer pictures',
    });
  const rows = prompts.map((prompt, index) => slotsOf(prompt, index, config.imageToken));
  const length = Math.max(0, ...rows.map((row) => row.length));
  const batch: LlavaBatch = {
    length,
    ids: new Int32Array(rows.length * length),
    slots: new Int32Array(rows.length * length).fill(emptySlot),
    attend: new Uint8Array(rows.length * length),
    last: Int32Array.from(rows, (row) => row.length - 1),
  };
  rows.forEach((row, b) =>
    row.forEach(([id, slot], i) => {
      batch.ids[b * length + i] = id;
      batch.slots[b * length + i] = slot;
      batch.attend[b * length + i] = 1;
    }),
  );
  return batch;
}

type Place = readonly [id: number, slot: number];

function slotsOf({ ids, images }: LlavaPrompt, index: number, imageToken: number): readonly Place[] {
  const tokens = Array.from(ids);
  const refuse = (what: string, advice: string) =>
    new OpabiniaError(`prompt ${index} ${what}`, { op: 'layOutPrompts', advice });
  if (tokens.length === 0) throw refuse('is empty', 'give at least one token');
  const placeholders = tokens.filter((id) => id === imageToken).length;
  if (placeholders !== images.length)
    throw refuse(
      `has ${placeholders} <image> placeholders (token ${imageToken}) and ${images.length} images`,
      'give one image for each <image>',
    );
  let used = 0;
  // The placeholder's id may lie beyond the table of embeddings.
  return tokens.flatMap((id): readonly Place[] =>
    id === imageToken ? (images[used++] ?? []).map((slot) => [0, slot]) : [[id, textSlot]],
  );
}
