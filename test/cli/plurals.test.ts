// What commands print of one: not «1 questions asked».
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { printBuilt, type Built } from '../../pipelines/data/build/build-data.ts';
import { printDataReport, type DataReport } from '../../pipelines/data/check-data.ts';

const root = join(import.meta.dirname, '../..');
const counted =
  'answers batches benchmarks dispatches figures files kernels layers lines matrices models nodes outputs pages parameters pictures positions questions rows runs samples scenes steps stages tensors tokens topics towers turns';
const bare = new RegExp(`\\$\\{([^{}]+)\\} (?:${counted.split(' ').join('|')})\\b(?!/)`);

/** Where the number is never one, or is a text. */
const never = [
  /toLocaleString|formatCount/,
  /\bwithout(?: | .*)\b/,
  /`\$\{stages\} stages`/,
  /about \$\{/,
  /% 100_000/,
];

test('no line that is printed has a bare count before a plural', () => {
  const found = ['cli', 'pipelines'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) =>
        readFileSync(join(root, folder, name), 'utf8')
          .split('\n')
          .filter((line) => /\b(?:say|tell|note|print|rewrite|write)\??\.?\(`/.test(line) && bare.test(line))
          .filter((line) => !never.some((pattern) => pattern.test(line)))
          .map((line) => `${folder}/${name}: ${line.trim()}`),
      ),
  );
  expect(found).toEqual([]);
});

test('a set of one sample, and a file of one', () => {
  const counts = { topics: 1, pages: 2, figures: 1, 'figures without a file': 1, 'pictures that do not decode': 1 };
  const built = { set: 'set', samples: 1, counts, reason: undefined } as unknown as Built;
  expect(printBuilt(built)).toMatch(
    /^1 topic, 2 pages, 1 figure, 1 figure without a file, 1 picture that does not decode\n1 sample in /,
  );
  const report = {
    sources: [{ name: 'a', samples: 1, checked: 1 }],
    problems: {},
    remarks: {},
    wrong: 0,
    pictures: 1,
    labels: 1,
  } satisfies DataReport;
  expect(printDataReport(report)).toMatch(/0 of 1 sample wrong; 1 picture decoded; 1 label$/);
});
