// Prompts of LLaVA with their pictures in place: ids and slots, padded on the right.
import { OpabiniaError } from '../../../dsl/index.ts';
import type { LlavaConfig } from '../../configs/llava.ts';
import { betweenNames, type Between, type Place } from '../../sequence/anyres.ts';
import { emptySlot, textSlot } from '../../sequence/collate.ts';
import { viewTokens } from './llava.ts';
import type { LlavaViews } from './llava-graphs.ts';

export interface LlavaPrompt {
  /** Token ids, `imageToken` of the config once for each picture. */
  readonly ids: ArrayLike<number>;
  /** What stands in place of each, in order: `viewSlots`, or `anyresPlaces` of pictures in tiles. */
  readonly images: readonly (readonly Place[])[];
}

/** Prompts with their image tokens in place, padded on the right; arrays are `prompts × length`, row-major. */
export interface LlavaBatch {
  readonly length: number;
  readonly ids: Int32Array;
  /** `textSlot`, `emptySlot`, `newlineSlot`, or an image token. */
  readonly slots: Int32Array;
  /** 0 but for what lies between tokens. */
  readonly between: Readonly<Record<keyof Between, Int32Array>>;
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
      .reduce(
        (most, places) => places.reduce<number>((last, place) => Math.max(last, lastView(place, count)), most),
        -1,
      );
  if (views > viewLimit)
    throw new OpabiniaError(`the pictures have ${views} views, and there is room for ${viewLimit}`, {
      op: 'layOutPrompts',
      advice: 'raise viewLimit, or give fewer pictures',
    });
  const rows = prompts.map((prompt, index) => placesOf(prompt, index, config.imageToken));
  const length = Math.max(0, ...rows.map((row) => row.length));
  const zeros = (): Int32Array => new Int32Array(rows.length * length);
  const batch: LlavaBatch = {
    length,
    ids: zeros(),
    slots: zeros().fill(emptySlot),
    between: { right: zeros(), rightPart: zeros(), below: zeros(), belowPart: zeros() },
    attend: new Uint8Array(rows.length * length),
    last: Int32Array.from(rows, (row) => row.length - 1),
  };
  rows.forEach((row, b) =>
    row.forEach(([id, place], i) => {
      const at = b * length + i;
      batch.ids[at] = id;
      batch.slots[at] = slotOf(place);
      batch.attend[at] = 1;
      if (typeof place !== 'number') for (const name of betweenNames) batch.between[name][at] = place[name];
    }),
  );
  return batch;
}

function slotOf(place: Place): number {
  return typeof place === 'number' ? place : place.slot;
}

/** Of a place between tokens, that of the last one. */
function lastView(place: Place, count: number): number {
  return Math.floor((typeof place === 'number' ? place : place.slot + place.right + place.below) / count);
}

type Token = readonly [id: number, place: Place];

function placesOf({ ids, images }: LlavaPrompt, index: number, imageToken: number): readonly Token[] {
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
  return tokens.flatMap((id): readonly Token[] =>
    id === imageToken ? (images[used++] ?? []).map((place) => [0, place]) : [[id, textSlot]],
  );
}
