// Results that a folder had of other benchmarks: named before they are gone.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { leftOut } from '../../../pipelines/eval/report/earlier-results.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-earlier-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('benchmarks that are not asked this time; what is no result has none', () => {
  const path = join(folder, 'results.json');
  expect(leftOut(path, ['pope'])).toEqual([]);
  writeFileSync(path, JSON.stringify({ version: 1, benchmarks: [{ name: 'pope' }, { name: 'gqa', figures: [] }] }));
  expect(leftOut(path, ['pope'])).toEqual(['gqa']);
  for (const text of ['', '[]', '{"benchmarks":[{}]}']) {
    writeFileSync(path, text);
    expect(leftOut(path, ['pope'])).toEqual([]);
  }
});
