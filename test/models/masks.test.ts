// Padding masks: the exact arithmetic, windows, the fallback, and the training layout's quirk.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import {
  batchMasks,
  blockMask,
  blockPositions,
  crop,
  croppedPositions,
  gridMask,
  padding,
  regionMask,
  regionOrder,
  selectQueries,
  trainingQuirkMask,
} from '../../models/sequence/masks.ts';

const picture = fc.record({ width: fc.integer({ min: 1, max: 5000 }), height: fc.integer({ min: 1, max: 5000 }) });
const grids = fc.record({ queries: fc.integer({ min: 1, max: 8 }), region: fc.integer({ min: 1, max: 4 }) });

/** A mask as rows of text, `#` where the picture is. */
function drawn(mask: Uint8Array, width: number): string[] {
  return Array.from({ length: mask.length / width }, (_, row) =>
    [...mask.subarray(row * width, (row + 1) * width)].map((v) => (v === 1 ? '#' : '.')).join(''),
  );
}

describe('padding', () => {
  test('divides in the order of the original code', () => {
    // (h·s)/w would give 15 shown rows, so 4 lines; h·(s/w) rounds below 15.
    expect(padding({ width: 352, height: 220 }, 24)).toEqual({ along: 'rows', lines: 5 });
    expect(padding({ width: 220, height: 352 }, 24)).toEqual({ along: 'columns', lines: 5 });
    expect(padding({ width: 640, height: 480 }, 24)).toEqual({ along: 'rows', lines: 3 });
    expect(padding({ width: 500, height: 500 }, 24).lines).toBe(0);
    expect(padding({ width: 101, height: 100 }, 24).lines).toBe(0);
  });

  test('an odd remainder keeps one line more', () => {
    // 7 of 16 rows shown, 9 to spare: 4 at each end.
    expect(padding({ width: 1600, height: 700 }, 16)).toEqual({ along: 'rows', lines: 4 });
    expect(crop({ width: 1600, height: 700 }, 16)).toEqual({ top: 4, left: 0, height: 8, width: 16 });
  });

  test('an extreme picture shows nothing', () => {
    expect(crop({ width: 4000, height: 100 }, 24)).toEqual({ top: 12, left: 0, height: 0, width: 24 });
    expect(crop({ width: 100, height: 4000 }, 24)).toEqual({ top: 0, left: 12, height: 24, width: 0 });
  });

  test.each([
    [0, 10],
    [10, 0],
    [-5, 5],
    [1.5, 2],
    [NaN, 2],
    [Infinity, 2],
  ])('%d × %d is not a picture', (width, height) => {
    expect(() => padding({ width, height }, 8)).toThrow(OpabiniaError);
  });
});

describe('regions', () => {
  test('windows in row-major order, rows of windows first', () => {
    expect(regionOrder(4, 2)).toEqual([0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    expect(() => regionOrder(10, 4)).toThrow(/does not divide/);
  });

  test('every token stands in exactly one region', () => {
    fc.assert(
      fc.property(grids, ({ queries, region }) => {
        const order = regionOrder(queries * region, queries);
        expect(order.toSorted((a, b) => a - b)).toEqual(order.map((_, i) => i));
      }),
    );
  });

  test('a wide picture on 8 × 8, read by 4 × 4 queries', () => {
    const wide = { width: 640, height: 320 };
    expect(drawn(gridMask(wide, 8), 8)).toEqual([
      '........',
      '........',
      '########',
      '########',
      '########',
      '########',
      '........',
      '........',
    ]);
    const mask = regionMask(wide, 8, 4);
    // The first and last rows of queries see only padding, and so all of it.
    expect(drawn(mask.attend, 4)).toEqual(Array.from({ length: 16 }, () => '####'));
    // 500·8/600 truncates to 6 rows of 8: one line of padding at each end.
    expect(drawn(regionMask({ width: 600, height: 500 }, 8, 2).attend, 16)).toEqual([
      '....############',
      '....############',
      '############....',
      '############....',
    ]);
  });

  test('no query is without a token, and no token of the picture is lost', () => {
    fc.assert(
      fc.property(picture, grids, (size, { queries, region }) => {
        const side = queries * region;
        const mask = regionMask(size, side, queries);
        const grid = gridMask(size, side);
        const order = regionOrder(side, queries);
        for (let q = 0; q < mask.queries; q++) {
          const row = [...mask.attend.subarray(q * mask.tokens, (q + 1) * mask.tokens)];
          const shown = order.slice(q * mask.tokens, (q + 1) * mask.tokens).map((position) => grid[position]);
          expect(row).toEqual(shown.includes(1) ? shown : shown.map(() => 1));
        }
      }),
    );
  });

  test('selected queries keep their rows', () => {
    const mask = regionMask({ width: 600, height: 500 }, 8, 2);
    expect(drawn(selectQueries(mask, [2, 0]).attend, 16)).toEqual(['############....', '....############']);
    expect(selectQueries(mask, []).attend).toHaveLength(0);
  });

  test("the quirk re-reads the final grid's buffer, and is off by default", () => {
    const wide = { width: 500, height: 250 };
    const [correct, quirk] = [regionMask(wide, 12, 3), trainingQuirkMask(wide, 12, 3, 6)];
    expect([...quirk.attend]).toEqual([...regionMask(wide, 12, 6).attend]);
    expect([quirk.queries, quirk.tokens]).toEqual([correct.queries, correct.tokens]);
    expect([...quirk.attend]).not.toEqual([...correct.attend]);
    const layout = { sides: [12], finalSide: 6 };
    expect([...(batchMasks([wide], 3, layout)[0]?.attend ?? [])]).toEqual([...correct.attend]);
    expect([...(batchMasks([wide], 3, { ...layout, trainingQuirk: true })[0]?.attend ?? [])]).toEqual([
      ...quirk.attend,
    ]);
    expect([...(batchMasks([wide], 6, { ...layout, trainingQuirk: true })[0]?.attend ?? [])]).toEqual([
      ...regionMask(wide, 12, 6).attend,
    ]);
  });
});

describe('the block of the training layout', () => {
  test('wide: padded rows with their newline; tall: padded columns without', () => {
    expect(drawn(blockMask({ width: 640, height: 427 }, 4), 5)).toEqual(['.....', '#####', '#####', '.....']);
    expect(drawn(blockMask({ width: 300, height: 500 }, 4), 5)).toEqual(['.##.#', '.##.#', '.##.#', '.##.#']);
  });

  test('masked tokens repeat a position', () => {
    expect([...blockPositions(blockMask({ width: 300, height: 500 }, 4)).subarray(0, 8)]).toEqual([
      -1, 0, 1, 1, 2, 2, 3, 4,
    ]);
  });

  test('it shows exactly the crop', () => {
    fc.assert(
      fc.property(picture, fc.integer({ min: 1, max: 30 }), (size, side) => {
        const mask = blockMask(size, side);
        const area = crop(size, side);
        const tokens = croppedPositions(area, side).map(
          (position) => Math.floor(position / side) * (side + 1) + (position % side),
        );
        const newlines = Array.from({ length: area.height }, (_, row) => (area.top + row) * (side + 1) + side);
        expect([...mask.keys()].filter((i) => mask[i] === 1)).toEqual(
          [...tokens, ...newlines].toSorted((a, b) => a - b),
        );
      }),
    );
  });
});
