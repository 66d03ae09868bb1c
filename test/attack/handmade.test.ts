// Files that are wrong in one way each, by kind of fault: every one is refused by a typed error, soon, and nothing stays open.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { binaryFaults } from './handmade/binary.ts';
import { ggufFaults } from './handmade/gguf.ts';
import { jsonFaults } from './handmade/json.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-handmade-'));
afterAll(() => rmSync(folder, { recursive: true }));
const openFiles = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);

const all = { gguf: ggufFaults, json: jsonFaults, binary: binaryFaults } as const;

test('there are enough, and no two are called alike', () => {
  const names = Object.values(all).flatMap((some) => some.map(({ name }) => name));
  expect(names.length).toBeGreaterThanOrEqual(300);
  expect(new Set(names).size).toBe(names.length);
});

test.each(Object.entries(all))('%s', async (_kind, some) => {
  const before = openFiles();
  const wrong: string[] = [];
  for (const { name, take } of some) {
    const began = process.cpuUsage();
    try {
      await take(folder);
      wrong.push(`${name} was taken`);
    } catch (error) {
      if (!(error instanceof OpabiniaError))
        wrong.push(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    if (process.cpuUsage(began).user > 5e6) wrong.push(`${name} took more than 5 s`);
  }
  expect(wrong).toEqual([]);
  // The library that reads the headers of GGUF closes its own stream a moment later.
  await expect.poll(openFiles, { timeout: 10_000 }).toBeLessThanOrEqual(before);
});
