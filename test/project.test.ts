// The whole source tree type-checks and keeps the laws that lint enforces: who may import whom among them.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

async function complaints(tool: string, ...options: readonly string[]): Promise<string> {
  try {
    await promisify(execFile)(join(root, 'node_modules/.bin', tool), options, { cwd: root, maxBuffer: 2 ** 26 });
    return '';
  } catch (error) {
    return error instanceof Error && 'stdout' in error ? `${String(error.stdout)}\n${error.message}` : String(error);
  }
}

test('type-checks', async () => {
  expect(await complaints('tsc', '-p', '.')).toBe('');
});

test('lint finds nothing', async () => {
  expect(await complaints('oxlint', '--type-aware', '--tsconfig', 'tsconfig.json', '--format', 'unix')).toBe('');
});
