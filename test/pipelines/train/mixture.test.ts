// Mixtures: what is taken of each file, against counting by hand and properties.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { openMixture, type Mixture } from '../../../pipelines/train/data/mixture.ts';
import { responseFormats } from '../../../pipelines/train/data/response-formats.ts';
import { cambrianShares } from '../../../pipelines/train/recipe/cambrian.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-mixture-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file whose samples say where they stand. */
function fileOf(name: string, count: number): string {
  const path = join(folder, `${name}-${count}.jsonl`);
  const lines = Array.from({ length: count }, (_, i) =>
    JSON.stringify({
      image: `${i}.png`,
      conversations: [
        { from: 'human', value: `<image>\n${name} ${i}` },
        { from: 'gpt', value: 'Yes.' },
        { from: 'human', value: 'Why?' },
        { from: 'gpt', value: 'So.' },
      ],
    }),
  );
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

function taken(mixture: Mixture, seed = 1): readonly string[] {
  const file = openMixture(mixture, seed);
  const texts = Array.from({ length: file.count }, (_, i) => file.sample(i).turns[0]?.text ?? '');
  file.close();
  return texts;
}

const source = (name: string, count: number) => ({ file: fileOf(name, count), images: join(folder, name) });
const countOf = (texts: readonly string[], name: string): number =>
  texts.filter((text) => text.startsWith(`${name} `)).length;

describe('what a mixture takes', () => {
  test('a cap for all, and one of a source', () => {
    const texts = taken({ mixture: [source('a', 40), { ...source('b', 40), cap: 5 }, source('c', 7)], cap: 20 });
    expect(['a', 'b', 'c'].map((name) => countOf(texts, name))).toEqual([20, 5, 7]);
    expect(new Set(texts).size).toBe(32);
  });

  test('shares of categories: as many as the scarcest allows, in proportion within a category', () => {
    const mixture = [
      { ...source('a', 30), category: 'General' },
      { ...source('b', 10), category: 'General' },
      { ...source('c', 25), category: 'OCR' },
    ];
    // 40 of General are 2 of 3 parts: 20 of OCR beside them, three quarters of General from a.
    const texts = taken({ mixture, shares: { General: 2, OCR: 1 } });
    expect(['a', 'b', 'c'].map((name) => countOf(texts, name))).toEqual([30, 10, 20]);
    const fewer = taken({ mixture, shares: { General: 2, OCR: 1 }, total: 30 });
    expect(['a', 'b', 'c'].map((name) => countOf(fewer, name))).toEqual([15, 5, 10]);
  });

  test('sentences stand behind each question, pictures below their folder', () => {
    const file = openMixture({ mixture: [{ ...source('a', 1), format: responseFormats.phrase }, source('b', 1)] }, 1);
    expect(file.sample(0)).toMatchObject({
      image: join(folder, 'a', '0.png'),
      turns: [
        { role: 'user', text: `a 0\n${responseFormats.phrase}`, images: 1 },
        { role: 'assistant', text: 'Yes.' },
        { role: 'user', text: `Why?\n${responseFormats.phrase}` },
        { role: 'assistant', text: 'So.' },
      ],
    });
    expect(file.sample(1).turns[0]).toEqual({ role: 'user', text: 'b 0', images: 1 });
    file.close();
  });

  test('another seed takes others, the same seed the same', () => {
    const mixture = { mixture: [source('a', 200)], cap: 20 };
    expect(taken(mixture, 1)).toEqual(taken(mixture, 1));
    expect(taken(mixture, 1)).not.toEqual(taken(mixture, 2));
  });

  test('any caps, shares and totals: none twice, none over its cap, shares within one sample, and exactly the total', () => {
    const size = fc.integer({ min: 1, max: 60 });
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            count: size,
            cap: fc.option(size, { nil: undefined }),
            category: fc.constantFrom('A', 'B', 'C'),
          }),
          {
            minLength: 1,
            maxLength: 5,
          },
        ),
        fc.array(fc.double({ min: 0.01, max: 10, noNaN: true }), { minLength: 3, maxLength: 3 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (sources, parts, some) => {
          const mixture = sources.map(({ count, cap, category }, i) => ({ ...source(`s${i}`, count), cap, category }));
          const categories = [...new Set(sources.map(({ category }) => category))];
          const shares = Object.fromEntries(
            categories.map((category) => [category, parts['ABC'.indexOf(category)] ?? 1]),
          );
          const most = taken({ mixture, shares });
          const total = Math.floor(some * most.length);
          const texts = total === 0 ? most : taken({ mixture, shares, total });
          expect(texts.length).toBe(total === 0 ? most.length : total);
          expect(new Set(texts).size).toBe(texts.length);
          const whole = categories.reduce((sum, category) => sum + (shares[category] ?? 0), 0);
          for (const category of categories) {
            const own = sources.flatMap((one, i) => (one.category === category ? [countOf(texts, `s${i}`)] : []));
            const found = own.reduce((sum, one) => sum + one, 0);
            expect(Math.abs(found - (texts.length * (shares[category] ?? 0)) / whole)).toBeLessThan(1 + 1e-6);
          }
          sources.forEach(({ count, cap }, i) =>
            expect(countOf(texts, `s${i}`)).toBeLessThanOrEqual(Math.min(count, cap ?? count)),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  test('published shares are of a hundred', () => {
    for (const shares of Object.values(cambrianShares))
      expect(Object.values(shares).reduce((sum, share) => sum + share, 0)).toBeCloseTo(100, 0);
  });
});

describe('what is refused', () => {
  const mixture = [
    { ...source('a', 10), category: 'General' },
    { ...source('b', 4), category: 'OCR' },
  ];
  test.each<[string, Mixture, RegExp]>([
    ['nothing', { mixture: [] }, /no files/],
    ['a cap of 0', { mixture, cap: 0 }, /cap of 0/],
    ['a share of 0', { mixture, shares: { General: 1, OCR: 0 } }, /'OCR' has a share of 0/],
    ['an unknown category', { mixture, shares: { General: 1, OCR: 1, Math: 1 } }, /no file is of category 'Math'/],
    ['a category without a share', { mixture, shares: { General: 1 } }, /'OCR' has no share/],
    [
      'a total that is too large',
      { mixture, shares: { General: 1, OCR: 1 }, total: 9 },
      /more of category 'OCR' than the 4/,
    ],
  ])('%s', (_what, wrong, message) => {
    expect(() => openMixture(wrong, 1)).toThrow(message);
  });
});
