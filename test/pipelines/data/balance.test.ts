// Balanced mixtures: an index gives what the mixture gives, sample by sample; the table is the counts by hand; what is wrong is told first.
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { balance, printBalanced } from '../../../pipelines/data/balance.ts';
import { readMix, readShares } from '../../../pipelines/data/read-mix.ts';
import { openLlavaFile, passingSamples } from '../../../pipelines/train/data/llava-file.ts';
import { openIndex } from '../../../pipelines/train/data/mixture-index.ts';
import { openMixture, type Mixture } from '../../../pipelines/train/data/mixture.ts';
import { openDataSet } from '../../../pipelines/train/data/open-data.ts';
import { responseFormats } from '../../../pipelines/train/data/response-formats.ts';
import { sgd } from '../../../pipelines/train/optimizers/sgd.ts';
import { checkRecipe } from '../../../pipelines/train/recipe/open-recipe.ts';
import { everything } from '../../support/share.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-balance-'));
afterAll(() => rmSync(folder, { recursive: true }));

const sampleOf = (name: string, i: number, more: object = {}) => ({
  image: `${i}.png`,
  conversations: [
    { from: 'human', value: `<image>\n${name} "${i}" [{,}] \\` },
    { from: 'gpt', value: 'Yes.' },
  ],
  ...more,
});

/** As lines with blank ones between, or as an array laid out for people. */
function fileOf(name: string, count: number, layout: 'lines' | 'array' = 'lines'): string {
  const path = join(folder, `${name}-${count}.${layout === 'lines' ? 'jsonl' : 'json'}`);
  const samples = Array.from({ length: count }, (_, i) => sampleOf(name, i));
  const text =
    layout === 'array'
      ? JSON.stringify(samples, null, 2)
      : samples.map((sample, i) => `${i % 3 === 1 ? ' \n' : ''}${JSON.stringify(sample)}\n`).join('');
  writeFileSync(path, text);
  return path;
}

let made = 0;
function mixFile(json: unknown): string {
  const path = join(folder, `mix${made++}.json`);
  writeFileSync(path, JSON.stringify(json));
  return path;
}
const indexPath = (): string => join(folder, `index${made++}.safetensors`);

describe('an index', () => {
  test('gives what the mixture gives, whatever the caps, shares and seed', () => {
    const source = fc.record({
      count: fc.integer({ min: 1, max: 30 }),
      layout: fc.constantFrom('lines' as const, 'array' as const),
      cap: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
      category: fc.constantFrom('A', 'B'),
      format: fc.constantFrom(undefined, responseFormats.phrase),
    });
    fc.assert(
      fc.property(
        fc.array(source, { minLength: 1, maxLength: 4 }),
        fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }),
        fc.boolean(),
        fc.nat(1000),
        (sources, cap, isShared, seed) => {
          const mixture = sources.map(({ count, layout, ...rest }, i) => ({
            file: fileOf(`s${i}`, count, layout),
            images: folder,
            ...rest,
          }));
          const categories = [...new Set(sources.map(({ category }) => category))];
          const shares = isShared ? Object.fromEntries(categories.map((name, i) => [name, i + 1])) : undefined;
          const all: Mixture = { mixture, cap, shares };
          const mixed = openMixture(all, seed);
          if (mixed.count === 0) return;
          const out = indexPath();
          const { sources: rows } = balance(readMix(mixFile(all)), { seed, out });
          const index = openIndex(out);
          expect(index.count).toBe(mixed.count);
          expect(rows.reduce((sum, row) => sum + row.after, 0)).toBe(mixed.count);
          for (let i = 0; i < mixed.count; i++) {
            expect(index.sample(i)).toEqual(mixed.sample(i));
            expect(index.where(i)).toBe(mixed.where(i));
          }
          index.close();
          mixed.close();
          rmSync(out);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('is a data set of a recipe, wherever the command runs', () => {
    const out = indexPath();
    balance(readMix(mixFile({ mixture: [{ file: fileOf('r', 12).slice(folder.length + 1) }], cap: 5 })), { out });
    const data = openDataSet({ index: out }, 0);
    expect(data.count).toBe(5);
    expect(data.file?.sample(0).image).toMatch(new RegExp(`^${folder}/\\d+\\.png$`));
    data.file?.close();
    const stage = {
      name: 's',
      optimizer: sgd(),
      groups: [{ paths: ['*'], lr: 1 }],
      schedule: { shape: 'constant' },
      batch: 1,
      steps: 1,
      length: 8,
    };
    for (const set of [{ index: out }, { mixture: [{ file: 'a', images: 'b' }], cap: 3 }])
      expect(() => checkRecipe({ name: 'r', model: 'm', stages: [{ ...stage, data: set }] }, 'here')).not.toThrow();
  });

  test('the same bytes for the same seed, other ones for another', () => {
    const mix = readMix(mixFile({ mixture: [{ file: fileOf('d', 60) }], cap: 9 }));
    const bytes = (seed: number): string => {
      const out = indexPath();
      balance(mix, { seed, out });
      return readFileSync(out, 'hex');
    };
    expect(bytes(1)).toBe(bytes(1));
    expect(bytes(1)).not.toBe(bytes(2));
  });

  test('a field tells the sources of one file apart', () => {
    const path = join(folder, 'many.jsonl');
    const names = Array.from({ length: 40 }, (_, i) => ['ocr', 'vqa', 'ocr', 'text'][i % 4] ?? '');
    writeFileSync(path, names.map((source, i) => JSON.stringify(sampleOf(source, i, { source }))).join('\n'));
    const out = indexPath();
    const { sources } = balance(readMix(mixFile({ mixture: [{ file: 'many.jsonl', by: 'source' }], cap: 8 })), { out });
    expect(sources.map(({ name, before, after }) => [name, before, after])).toEqual([
      ['ocr', 20, 8],
      ['text', 10, 8],
      ['vqa', 10, 8],
    ]);
    const index = openIndex(out);
    const texts = Array.from({ length: index.count }, (_, i) => index.sample(i).turns[0]?.text.split(' ')[0]);
    expect(texts).toEqual([...Array(8).fill('ocr'), ...Array(8).fill('text'), ...Array(8).fill('vqa')]);
    index.close();
    expect(() => balance(readMix(mixFile({ mixture: [{ file: 'many.jsonl', by: 'origin' }] })))).toThrow(
      /line 1, has no field 'origin'/,
    );
  });
});

test('a plan on paper: counts without files, shares by hand', () => {
  const mix = readMix(
    mixFile({
      mixture: [
        { name: 'a', count: 900_000, category: 'General' },
        { name: 'b', count: 100_000, category: 'General' },
        { name: 'c', count: 400_000, category: 'OCR' },
      ],
    }),
  );
  // Capped at 350,000: 450,000 of General are 2 of 3 parts, so 225,000 of OCR stand beside them.
  const balanced = balance(mix, { cap: 350_000, shares: readShares('General=2,OCR=1') });
  expect(balanced.sources.map(({ after }) => after)).toEqual([350_000, 100_000, 225_000]);
  const text = printBalanced(balanced);
  expect(text).toMatch(/a +General +900,000 +64\.29 % +350,000 +51\.85 %/);
  expect(text).toMatch(/OCR +400,000 +28\.57 % +225,000 +33\.33 %/);
  expect(() => balance(mix, { out: indexPath() })).toThrow(/'a' is a count without a file/);
  expect(readShares('best')).toMatchObject({ General: 34.52 });
});

describe('what is refused, with nothing written', () => {
  test.each<[string, unknown, RegExp]>([
    ['no sources', { mixture: [] }, /field 'mixture'/],
    ['an unknown field', { mixture: [{ file: 'a', wight: 1 }] }, /wight/],
    ['neither file nor count', { mixture: [{ name: 'a' }] }, /a file or a count/],
    ['samples', [sampleOf('a', 1)], /field ''/],
  ])('%s', (_what, json, message) => expect(() => readMix(mixFile(json))).toThrow(message));

  test('outputs over inputs, links, files that change', () => {
    const file = fileOf('w', 20);
    const mix = readMix(mixFile({ mixture: [{ file }] }));
    const before = readFileSync(file);
    expect(() => balance(mix, { out: file })).toThrow(/is read to make it/);
    expect(readFileSync(file)).toEqual(before);
    const out = indexPath();
    balance(mix, { out });
    appendFileSync(file, `${JSON.stringify(sampleOf('w', 99))}\n`);
    expect(() => openIndex(out)).toThrow(/w-20\.jsonl has \d+ bytes, and had \d+ when the index was written/);
    writeFileSync(join(folder, 'none.safetensors'), 'x'.repeat(40));
    expect(() => openIndex(join(folder, 'none.safetensors'))).toThrow();
    const absent = join(folder, 'absent.safetensors');
    const wrong = { mixture: [{ file: 'nowhere.jsonl' }] };
    expect(() => balance(readMix(mixFile(wrong)), { out: absent })).toThrow(/nowhere\.jsonl cannot be read/);
    expect(() => balance(mix, { out: absent, shares: { General: 1 } })).toThrow(/no file is of category 'General'/);
    expect(existsSync(absent)).toBe(false);
    expect(() => readShares('General')).toThrow(/not CATEGORY=SHARE/);
    expect(() => readShares('A=1,A=2')).toThrow(/stands twice/);
    expect(readdirSync(folder).filter((name) => name.includes('partial'))).toEqual([]);
  });

  test.each([
    ['[{"a": 1}', /does not end/],
    ['[{"a": 1}] x', /something follows/],
    ['[{"a": 1},,{"a": 2}]', /an element is missing/],
    ['[{"a": 1}}]', /a bracket too many/],
  ])('the array %s', (text, message) => {
    writeFileSync(join(folder, 'bad.json'), text);
    expect(() => openLlavaFile(join(folder, 'bad.json'))).toThrow(message);
  });
});

test('any JSON array is found element by element, as JSON.parse finds it', () => {
  const path = join(folder, 'any.json');
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { minLength: 1 }), fc.constantFrom(undefined, 1, 2), (values, space) => {
      writeFileSync(path, ` ${JSON.stringify(values, null, space)}\n`);
      expect([...passingSamples(path)].map(({ json }) => json)).toEqual(JSON.parse(JSON.stringify(values)));
    }),
  );
});

test.runIf(everything)(
  'ten million lines are balanced in memory that lines do not count in',
  { timeout: 600_000 },
  () => {
    const path = join(folder, 'large.jsonl');
    const line = `${JSON.stringify(sampleOf('large', 1))}\n`;
    const lines = 10_000_000;
    for (let i = 0; i < 100; i++) appendFileSync(path, line.repeat(lines / 100));
    const script = `
import { balance } from '${join(import.meta.dirname, '../../../pipelines/data/balance.ts')}';
import { readMix } from '${join(import.meta.dirname, '../../../pipelines/data/read-mix.ts')}';
import { existsSync, readFileSync } from 'node:fs';
const { sources } = balance(readMix(process.argv[1]), { cap: 350000, out: process.argv[2] });
// Linux counts what the process that began it had as its own most, but not here.
const own = existsSync('/proc/self/status') ? /VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] : undefined;
console.log(JSON.stringify({ sources, rss: Number(own ?? process.resourceUsage().maxRSS) }));`;
    const printed = execFileSync(
      process.execPath,
      ['--input-type=module', '-e', script, mixFile({ mixture: [{ file: path }] }), indexPath()],
      { encoding: 'utf8' },
    );
    const { sources, rss } = JSON.parse(printed) as { sources: { after: number }[]; rss: number };
    expect(sources[0]?.after).toBe(350_000);
    // The file has 1.3 GB; an order of its samples 40 MB.
    expect(rss).toBeLessThan(400 * 1024);
    rmSync(path);
  },
);
