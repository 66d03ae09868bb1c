// From token ids with image placeholders to the sequence the LLM reads: ids, labels, attention, positions, and what stands in each slot.
import { OpabiniaError } from '../../dsl/error.ts';
import { blockMask, blockPositions, crop, croppedPositions, type Crop, type PictureSize } from './masks.ts';

/** Stands for an image in token ids. */
export const imagePlaceholder = -200;
/** Label of a position that is not trained on. */
export const ignoredLabel = -100;
/** The picture size that Cambrian gives to a sample without one. */
export const dummyPicture: PictureSize = { width: 336, height: 336 };

/** Slot values below zero; from zero on, a slot is an image token. */
export const textSlot = -1;
export const emptySlot = -2;
export const newlineSlot = -3;

export interface TokenSample {
  readonly ids: ArrayLike<number>;
  /** By default nothing is trained on. */
  readonly labels?: ArrayLike<number>;
}

export type PaddingSide = 'left' | 'right';

/** Where the block of one image begins in its sample, and which part of its grid it shows. */
export interface ImageBlock {
  readonly image: number;
  readonly sample: number;
  readonly start: number;
  readonly area: Crop;
}

/** A batch of sequences; every array is `samples × length`, row-major. */
export interface SequenceBatch {
  readonly samples: number;
  readonly length: number;
  /** Ids for the embedding table: 0 where an image token or nothing stands. */
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  /** 1 = may be attended to. */
  readonly attend: Uint8Array;
  readonly positions: Int32Array;
  /** What stands there: `textSlot`, `emptySlot`, `newlineSlot`, or the image token `image·side² + row·side + column`. */
  readonly slots: Int32Array;
  readonly blocks: readonly ImageBlock[];
}

interface Slot {
  readonly id: number;
  readonly label: number;
  readonly attend: number;
  readonly position: number;
  readonly slot: number;
}

/** The tokens of one image: its crop row by row, a newline after each row. */
function blockSlots(image: number, side: number, area: Crop): readonly number[] {
  const positions = croppedPositions(area, side);
  // A crop without columns still has the newlines of its rows.
  return Array.from({ length: area.height }, (_, row) => [
    ...positions.slice(row * area.width, (row + 1) * area.width).map((position) => image * side * side + position),
    newlineSlot,
  ]).flat();
}

function toBatch(rows: readonly (readonly Slot[])[], length: number, blocks: readonly ImageBlock[]): SequenceBatch {
  const column = <A extends Int32Array | Uint8Array>(into: A, pick: (slot: Slot) => number): A => {
    rows.forEach((row, sample) =>
      row.forEach((slot, at) => {
        into[sample * length + at] = pick(slot);
      }),
    );
    return into;
  };
  const count = rows.length * length;
  return {
    samples: rows.length,
    length,
    blocks,
    ids: column(new Int32Array(count), (s) => s.id),
    labels: column(new Int32Array(count).fill(ignoredLabel), (s) => s.label),
    attend: column(new Uint8Array(count), (s) => s.attend),
    positions: column(new Int32Array(count), (s) => s.position),
    slots: column(new Int32Array(count).fill(emptySlot), (s) => s.slot),
  };
}

export interface InferenceLayout {
  /** Side of the grid of image tokens. */
  readonly side: number;
  /** Of every picture so many tokens, one behind the other, whatever their grid: no part of it is left out, and no newline comes in. */
  readonly tokens?: number | undefined;
  /** Longer sequences are cut; by default none is. */
  readonly maxLength?: number;
  readonly paddingSide?: PaddingSide;
}

export interface InferenceSample extends TokenSample {
  /** 0 where the token is padding; by default every token counts. */
  readonly attend?: ArrayLike<number>;
  /** Index into the pictures for each placeholder, in order. */
  readonly images: readonly number[];
}

/**
 * Inference layout: padding dropped, each placeholder replaced by the unpadded part of its image with a newline after every row,
 * re-padded to the longest. Throws `OpabiniaError` when placeholders and images do not match.
 */
export function layOutForInference(
  samples: readonly InferenceSample[],
  pictures: readonly PictureSize[],
  layout: InferenceLayout,
): SequenceBatch {
  const { side, tokens, maxLength = Infinity, paddingSide = 'right' } = layout;
  const found: ImageBlock[] = [];
  const rows = samples.map((sample, index): readonly Slot[] => {
    const row: Slot[] = [];
    const add = (id: number, label: number, slot: number) =>
      row.push({ id, label, slot, attend: 1, position: row.length });
    let used = 0;
    for (let at = 0; at < sample.ids.length; at++) {
      if (sample.attend !== undefined && sample.attend[at] === 0) continue;
      const id = sample.ids[at] ?? 0;
      if (id !== imagePlaceholder) {
        add(id, sample.labels?.[at] ?? ignoredLabel, textSlot);
        continue;
      }
      const image = sample.images[used++];
      const picture = image === undefined ? undefined : pictures[image];
      if (image === undefined || picture === undefined)
        throw mismatch(index, countPlaceholders(sample), sample.images.length, pictures.length);
      const area = crop(picture, side);
      found.push({ image, sample: index, start: row.length, area });
      const slots =
        tokens === undefined
          ? blockSlots(image, side, area)
          : Array.from({ length: tokens }, (_, i) => image * tokens + i);
      for (const slot of slots) add(0, ignoredLabel, slot);
    }
    if (used !== sample.images.length) throw mismatch(index, used, sample.images.length, pictures.length);
    return row.slice(0, maxLength);
  });
  const length = Math.max(0, ...rows.map((row) => row.length));
  const shift = (sample: number) => (paddingSide === 'left' ? length - (rows[sample]?.length ?? 0) : 0);
  const nothing: Slot = { id: 0, label: ignoredLabel, attend: 0, position: 0, slot: emptySlot };
  return toBatch(
    rows.map((row, sample) => [...Array.from({ length: shift(sample) }, () => nothing), ...row]),
    length,
    found.map((block) => ({ ...block, start: block.start + shift(block.sample) })),
  );
}

function countPlaceholders(sample: InferenceSample): number {
  return Array.from(sample.ids).filter(
    (id, at) => id === imagePlaceholder && (sample.attend === undefined || sample.attend[at] !== 0),
  ).length;
}

function mismatch(sample: number, placeholders: number, images: number, pictures: number): OpabiniaError {
  return new OpabiniaError(
    `sample ${sample} has ${placeholders} image placeholders and ${images} images (of ${pictures} pictures)`,
    {
      op: 'layOutForInference',
      advice: 'give one image for each <image> in the prompt',
    },
  );
}

export interface TrainingLayout {
  readonly side: number;
  /** Where the dummy image of a text-only sample goes. */
  readonly imagePosition: number;
  /** Every sequence has this length. */
  readonly maxLength: number;
  readonly padId: number;
  readonly paddingSide?: PaddingSide;
}

export interface TrainingBatch extends SequenceBatch {
  /** Ids as Cambrian's collator gives them: the placeholder stays at the first slot of its block. */
  readonly idsWithPlaceholder: Int32Array;
}

/**
 * Training layout: one image per sample, always side·(side+1) slots, padding masked instead of cropped; a text-only sample gets a
 * masked dummy image. Sequences are cut to `maxLength` once before and once after the blocks are put in.
 * Throws `OpabiniaError` when a sample has more than one image.
 */
export function collateForTraining(
  samples: readonly TokenSample[],
  pictures: readonly PictureSize[],
  layout: TrainingLayout,
): TrainingBatch {
  const { maxLength } = layout;
  if (samples.length !== pictures.length) {
    throw new OpabiniaError(`${samples.length} samples and ${pictures.length} pictures`, {
      op: 'collateForTraining',
      advice: 'give one picture size per sample, dummyPicture for a sample without one',
    });
  }
  const placeholders = new Int32Array(samples.length).fill(-1);
  const blocks: ImageBlock[] = [];
  const rows = samples.map((sample, index): readonly Slot[] => {
    const tokens = withOneImage(paddedTokens(sample, layout), layout, index);
    const at = tokens.findIndex((token) => token.id === imagePlaceholder);
    const picture = pictures[index] ?? dummyPicture;
    if (at < maxLength) placeholders[index] = at;
    blocks.push({
      image: index,
      sample: index,
      start: at,
      area: { top: 0, left: 0, height: layout.side, width: layout.side },
    });
    return withBlock(tokens, at, trainingBlock(picture, tokens[at]?.attend === 1, at, index, layout.side)).slice(
      0,
      maxLength,
    );
  });
  const batch = toBatch(rows, maxLength, blocks);
  const idsWithPlaceholder = batch.ids.slice();
  placeholders.forEach((at, sample) => {
    if (at >= 0) idsWithPlaceholder[sample * maxLength + at] = imagePlaceholder;
  });
  return { ...batch, idsWithPlaceholder };
}

interface Token {
  readonly id: number;
  readonly label: number;
  readonly attend: number;
}

/** Cut or padded to exactly `maxLength`; a token equal to the padding id is never attended to, wherever it stands. */
function paddedTokens(sample: TokenSample, layout: TrainingLayout): readonly Token[] {
  const tokens = Array.from(sample.ids)
    .slice(0, layout.maxLength)
    .map((id, at): Token => ({ id, label: sample.labels?.[at] ?? ignoredLabel, attend: id === layout.padId ? 0 : 1 }));
  const filler = Array.from({ length: layout.maxLength - tokens.length }, (): Token => ({
    id: layout.padId,
    label: ignoredLabel,
    attend: 0,
  }));
  return layout.paddingSide === 'left' ? [...filler, ...tokens] : [...tokens, ...filler];
}

function withOneImage(tokens: readonly Token[], layout: TrainingLayout, sample: number): readonly Token[] {
  const images = tokens.filter((token) => token.id === imagePlaceholder).length;
  if (images > 1)
    throw new OpabiniaError(`sample ${sample} has ${images} images; the training layout takes one`, {
      op: 'collateForTraining',
      advice: 'split the sample, or use the inference layout',
    });
  if (images === 1) return tokens;
  if (layout.imagePosition >= layout.maxLength) {
    throw new OpabiniaError(
      `the dummy image of text-only sample ${sample} goes to ${layout.imagePosition}, beyond the length ${layout.maxLength}`,
      { op: 'collateForTraining', advice: 'raise maxLength' },
    );
  }
  const dummy: Token = { id: imagePlaceholder, label: ignoredLabel, attend: 0 };
  return [...tokens.slice(0, layout.imagePosition), dummy, ...tokens.slice(layout.imagePosition, -1)];
}

function trainingBlock(
  picture: PictureSize,
  real: boolean,
  start: number,
  image: number,
  side: number,
): readonly Slot[] {
  const mask = blockMask(picture, side);
  const positions = blockPositions(mask);
  const full: Crop = { top: 0, left: 0, height: side, width: side };
  return blockSlots(image, side, full).map((slot, i): Slot => ({
    id: 0,
    label: ignoredLabel,
    slot,
    attend: real ? (mask[i] ?? 0) : 0,
    position: real ? start + (positions[i] ?? 0) : 0,
  }));
}

/** Text counts on; after the block it continues one above the block's last position, or where it was if the image is a dummy. */
function withBlock(tokens: readonly Token[], at: number, block: readonly Slot[]): readonly Slot[] {
  const text = (token: Token, position: number): Slot => ({ ...token, slot: textSlot, position });
  const real = tokens[at]?.attend === 1;
  const next = real ? Math.max(...block.map((slot) => slot.position)) + 1 : at;
  return [...tokens.slice(0, at).map(text), ...block, ...tokens.slice(at + 1).map((token, i) => text(token, next + i))];
}

/** Integers that tell SVA layers inside the LLM which hidden vectors are queries, and where their results go. */
export interface QueryPlaces {
  /** `images × side²`: row of a query in the hidden states seen as `samples·length` rows; 0 where a query was cropped away. */
  readonly place: Int32Array;
  /** `samples × length`: `image·side² + query`, or -1 where the hidden state stays as it is. */
  readonly slot: Int32Array;
}

/**
 * Places of the image blocks in a batch. Cambrian's released models take every block to begin at the constant
 * `imagePosition` of their config; without it the blocks' true starts are used. Newlines are not queries.
 */
export function queryPlaces(batch: SequenceBatch, images: number, side: number, imagePosition?: number): QueryPlaces {
  const place = new Int32Array(images * side * side);
  const slot = new Int32Array(batch.samples * batch.length).fill(-1);
  for (const { image, sample, start: trueStart, area } of batch.blocks) {
    const start = imagePosition ?? trueStart;
    croppedPositions(area, side).forEach((position, i) => {
      const at = start + Math.floor(i / area.width) * (area.width + 1) + (i % area.width);
      if (at >= batch.length) return;
      const query = image * side * side + position;
      place[query] = sample * batch.length + at;
      slot[sample * batch.length + at] = query;
    });
  }
  return { place, slot };
}
