// Sequences with images: the inference layout, the training layout, and where SVA layers in the LLM find their queries.
import { describe, expect, test } from 'vitest';
import {
  collateForTraining,
  dummyPicture,
  emptySlot,
  ignoredLabel,
  imagePlaceholder as image,
  layOutForInference,
  newlineSlot,
  queryPlaces,
  textSlot,
} from '../../models/sequence/collate.ts';
import { OpabiniaError } from '../../dsl/error.ts';

const wide = { width: 640, height: 320 };
const tall = { width: 100, height: 200 };
const [n, t, e] = [newlineSlot, textSlot, emptySlot];

describe('inference layout', () => {
  test('placeholders become cropped rows with newlines, samples are re-padded', () => {
    const batch = layOutForInference(
      [
        { ids: [5, image, 6], labels: [1, 2, 3], images: [0] },
        { ids: [7, 8, 9, 0], attend: [1, 1, 1, 0], images: [] },
      ],
      [wide],
      { side: 4 },
    );
    expect(batch.length).toBe(12);
    // Rows 1 and 2 of 4: tokens 4…11.
    expect([...batch.slots]).toEqual([t, 4, 5, 6, 7, n, 8, 9, 10, 11, n, t, t, t, t, e, e, e, e, e, e, e, e, e]);
    expect([...batch.ids.subarray(0, 12)]).toEqual([5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
    expect([...batch.labels.subarray(0, 12)]).toEqual([1, ...Array.from({ length: 10 }, () => ignoredLabel), 3]);
    expect([...batch.attend.subarray(12)]).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...batch.positions.subarray(12)]).toEqual([0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(batch.blocks).toEqual([{ image: 0, sample: 0, start: 1, area: { top: 1, left: 0, height: 2, width: 4 } }]);
  });

  test('several images in one sample, in any order, padded on the left', () => {
    const batch = layOutForInference(
      [
        { ids: [image, 1, image], images: [1, 0] },
        { ids: [2], images: [] },
      ],
      [wide, tall],
      { side: 2, paddingSide: 'left' },
    );
    // The wide picture on 2 × 2 has one row shown and none to drop at either end; the tall one likewise.
    expect([...batch.slots]).toEqual([
      4,
      5,
      n,
      6,
      7,
      n,
      t,
      0,
      1,
      n,
      2,
      3,
      n,
      ...Array.from({ length: 12 }, () => e),
      t,
    ]);
    expect([...batch.attend.subarray(13)]).toEqual([...Array.from({ length: 12 }, () => 0), 1]);
    expect(batch.blocks.map((block) => [block.image, block.start])).toEqual([
      [1, 0],
      [0, 7],
    ]);
  });

  test('a maximum length cuts', () => {
    const batch = layOutForInference([{ ids: [5, image, 6], images: [0] }], [wide], { side: 4, maxLength: 4 });
    expect([...batch.slots]).toEqual([t, 4, 5, 6]);
  });

  test('a picture without shown rows leaves nothing, one without columns its newlines', () => {
    const extreme = layOutForInference(
      [
        { ids: [1, image, 2], images: [0] },
        { ids: [3, image], images: [1] },
      ],
      [
        { width: 4000, height: 10 },
        { width: 10, height: 4000 },
      ],
      { side: 2 },
    );
    expect([...extreme.slots]).toEqual([t, t, e, t, n, n]);
  });

  test('placeholders and images must match', () => {
    for (const [ids, images] of [
      [[1, image], []],
      [[1], [0]],
      [[image], [3]],
      [[image, image], [0]],
    ] as const) {
      expect(() => layOutForInference([{ ids, images }], [wide], { side: 4 })).toThrow(OpabiniaError);
    }
  });
});

describe('training layout', () => {
  const layout = { side: 2, imagePosition: 1, maxLength: 10, padId: 0 };

  test('a text-only sample gets a masked dummy image and loses its last slot', () => {
    const batch = collateForTraining([{ ids: [5, 6, 7], labels: [1, 2, 3] }], [dummyPicture], layout);
    expect([...batch.idsWithPlaceholder]).toEqual([5, image, 0, 0, 0, 0, 0, 6, 7, 0]);
    expect([...batch.labels]).toEqual([1, ...Array.from({ length: 6 }, () => ignoredLabel), 2, 3, ignoredLabel]);
    expect([...batch.attend]).toEqual([1, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
    expect([...batch.positions]).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    expect([...batch.slots]).toEqual([t, 0, 1, n, 2, 3, n, t, t, t]);
  });

  test('a sequence is cut before and after the block goes in', () => {
    const ids = Array.from({ length: 20 }, (_, i) => i + 1);
    const batch = collateForTraining([{ ids: [9, image, ...ids] }], [{ width: 50, height: 50 }], layout);
    expect([...batch.ids]).toEqual([9, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    expect([...batch.positions]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('an image that the first cut removes is replaced by the dummy', () => {
    const batch = collateForTraining([{ ids: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, image] }], [wide], layout);
    expect([...batch.attend.subarray(0, 8)]).toEqual([1, 0, 0, 0, 0, 0, 0, 1]);
  });

  test('padding on the left', () => {
    const batch = collateForTraining([{ ids: [image, 4] }], [{ width: 5, height: 5 }], {
      ...layout,
      maxLength: 4,
      paddingSide: 'left',
    });
    expect([...batch.slots]).toEqual([t, t, 0, 1]);
    expect([...batch.attend]).toEqual([0, 0, 1, 1]);
  });

  test('two images, or a dummy beyond the end, are refused', () => {
    expect(() => collateForTraining([{ ids: [image, image] }], [wide], layout)).toThrow(/one/);
    expect(() => collateForTraining([{ ids: [1] }], [wide], { ...layout, imagePosition: 10 })).toThrow(OpabiniaError);
    expect(() => collateForTraining([{ ids: [1] }], [], layout)).toThrow(OpabiniaError);
  });
});

describe('queries inside the LLM', () => {
  const batch = layOutForInference(
    [
      { ids: [5, 5, image, 6], images: [0] },
      { ids: [5, 5, image], images: [1] },
    ],
    [wide, { width: 9, height: 9 }],
    { side: 4 },
  );

  test('shown tokens are found and written back, newlines and text are not', () => {
    const { place, slot } = queryPlaces(batch, 2, 4);
    const length = batch.length;
    expect(length).toBe(22);
    for (let at = 0; at < slot.length; at++) {
      const query = slot[at] ?? -1;
      expect(query).toBe((batch.slots[at] ?? -1) >= 0 ? batch.slots[at] : -1);
      if (query >= 0) expect(place[query]).toBe(at);
    }
    expect([...place.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
  });

  test('a constant position of the block overrides the true one', () => {
    const { place, slot } = queryPlaces(batch, 2, 4, 3);
    expect([...slot.subarray(0, 14)]).toEqual([-1, -1, -1, 4, 5, 6, 7, -1, 8, 9, 10, 11, -1, -1]);
    expect(place[4]).toBe(3);
    // The second block would end one slot beyond the sequence: its last newline falls off, no query does.
    expect(slot[22 + 21]).toBe(31);
  });
});
