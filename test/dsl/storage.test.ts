// Storage formats: what they decode equals the vectors made by ggml and by the packers of affine forms; round trips stay in their bounds.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { affine } from '../../dsl/storage/affine.ts';
import { decodeBlocks, encodeBlocks, storedBytesOf, type StorageFormat } from '../../dsl/storage/format.ts';
import { blockFormats, storageFormat } from '../../dsl/storage/index.ts';

const affines = ([4, 8] as const).flatMap((bits) =>
  (['f32', 'f16', 'bf16'] as const).flatMap((scale) =>
    ([32, 64, 128] as const).map((group) => affine({ bits, group, scale, offset: 'bias' })),
  ),
);
const encoders = [...blockFormats, ...affines].filter((format) => format.encode !== undefined);

/** Values of one block: of one magnitude, of several, all of one sign, all equal. */
const valuesOf = (format: StorageFormat): fc.Arbitrary<Float32Array> =>
  fc
    .record({
      magnitude: fc.integer({ min: -18, max: 10 }),
      shift: fc.constantFrom(0, 0, -1, 1, 30),
      spread: fc.constantFrom(0, 1, 6),
      values: fc.array(fc.double({ min: -1, max: 1, noNaN: true }), {
        minLength: format.block,
        maxLength: format.block,
      }),
    })
    .map(({ magnitude, shift, spread, values }) =>
      Float32Array.from(values, (value, i) => (value + shift) * 2 ** (magnitude - ((i * spread) % 12))),
    );

test.each(encoders.map((format) => [format.name, format] as const))(
  '%s: a round trip changes no value by more than its bound',
  (_name, format) => {
    fc.assert(
      fc.property(valuesOf(format), (values) => {
        const bytes = encodeBlocks(format, values);
        expect(bytes.byteLength).toBe(format.bytes);
        const back = decodeBlocks(format, bytes);
        const bound = format.roundTrip?.(Math.min(...values), Math.max(...values)) ?? 0;
        values.forEach((value, i) => {
          expect(Math.abs(value - (back[i] ?? NaN)), `${value} became ${back[i]}`).toBeLessThanOrEqual(bound);
        });
      }),
      { numRuns: 200 },
    );
  },
);

test.each([...blockFormats, ...affines].map((format) => [format.name, format] as const))(
  '%s: a name finds its record, and any bytes decode',
  (name, format) => {
    expect(storageFormat(name)).toBe(format);
    expect(format.bytes % 2).toBe(0);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: format.bytes * 2, maxLength: format.bytes * 2 }), (bytes) => {
        // A block does not depend on what stands beside it.
        const values = decodeBlocks(format, bytes);
        expect(values.length).toBe(2 * format.block);
        expect(decodeBlocks(format, bytes.slice(format.bytes))).toEqual(values.slice(format.block));
      }),
      { numRuns: 20 },
    );
  },
);

test('sizes are those of the blocks, and rows that no block divides have none', () => {
  const q4 = storageFormat('q4_K');
  expect(q4 && storedBytesOf(q4, [3, 512])).toBe(3 * 2 * 144);
  expect(q4 && storedBytesOf(q4, [3, 500])).toBeUndefined();
  expect(storageFormat('q9_Z')).toBeUndefined();
  expect(storageFormat('affine4_12_f16_bias')).toBeUndefined();
  expect(() => affine({ bits: 4, group: 12, scale: 'f16', offset: 'bias' })).toThrow(/multiple of 8/);
  expect(() =>
    encodeBlocks(affine({ bits: 4, group: 32, scale: 'f16', offset: 'bias' }), new Float32Array(33)),
  ).toThrow(/not a multiple of 32/);
});

test.each([...blockFormats, ...affines].map((format) => [format.name, format] as const))(
  '%s: words of codes are those codes side by side',
  (_name, format) => {
    const { bits, high = 0, code, word, highWord } = format.planes;
    const sideBySide = (view: DataView, w: number, own: number, part: (q: number) => number): number => {
      let side = 0;
      for (let i = 0; i < 32 / own; i++) side |= part(code(view, 0, (w * 32) / own + i)) << (own * i);
      return side >>> 0;
    };
    fc.assert(
      fc.property(fc.uint8Array({ minLength: format.bytes, maxLength: format.bytes }), (bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let w = 0; word !== undefined && w < (format.block * bits) / 32; w++)
          expect(word(view, 0, w) >>> 0).toBe(sideBySide(view, w, bits, (q) => q & (2 ** bits - 1)));
        for (let w = 0; highWord !== undefined && w < (format.block * high) / 32; w++)
          expect(highWord(view, 0, w) >>> 0).toBe(sideBySide(view, w, high, (q) => q >>> bits));
      }),
    );
  },
);

test('ggml’s usual formats have their words at once', () => {
  for (const name of ['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'q4_K', 'q5_K', 'q6_K']) {
    const { word, high, highWord } = storageFormat(name)?.planes ?? {};
    expect(word, name).toBeDefined();
    if (high !== undefined) expect(highWord, name).toBeDefined();
  }
});
