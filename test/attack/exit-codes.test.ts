// Every way out of a command says what is wrong, once, with the exit code of its kind.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const command = join(import.meta.dirname, '../../cli/opabinia.ts');

test('a name that is too long', () => {
  const { status, stderr } = spawnSync(process.execPath, [command, 'run', 'a'.repeat(5000), '--prompt', 'a'], {
    encoding: 'utf8',
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^opabinia: resolveModel: ENAMETOOLONG/);
  expect(stderr).not.toMatch(/\n\s+at /);
});

test('a reader that has gone away', async () => {
  const child = spawn(process.execPath, [command, 'runs', '--runs', join(import.meta.dirname, 'none')], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // The pipe is closed long before there is an answer.
  child.stdout.destroy();
  let said = '';
  child.stderr.on('data', (bytes) => (said += String(bytes)));
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(said).toContain('opabinia: stdout: write EPIPE');
  expect(code).toBe(1);
}, 120_000);
