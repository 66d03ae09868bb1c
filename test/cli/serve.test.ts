// `opabinia serve` as a person runs it: in a process of its own, told to stop while it answers, and under load.
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { serveModel, type ServeFlags } from '../../cli/serve.ts';
import { held, startServer, underLoad } from '../../bench/serve.ts';
import { makeLanguage } from '../support/made-language.ts';
import { everything } from '../support/share.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-serve-'));
afterAll(() => rmSync(folder, { recursive: true }));

function serve(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(root, 'cli/opabinia.ts'), 'serve', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
}

const flags: ServeFlags = {
  host: '127.0.0.1',
  port: '0',
  images: '1',
  queue: '1',
  maxBody: '1',
  tower: [],
  dtype: 'f32',
  device: 'gpu',
};

test.each<[string, Partial<ServeFlags>, RegExp]>([
  ['an address that others reach', { host: '::' }, /--host :: is reached from other machines[^]*--api-key/],
  ['an empty key', { apiKey: '' }, /--api-key is empty/],
  ['a port that is none', { port: '70000' }, /--port is '70000'/],
  ['no rows', { rows: '0' }, /--rows is '0'/],
  ['half a picture', { images: '0.5' }, /--images is '0\.5'/],
  ['a queue below nothing', { queue: '-1' }, /--queue is '-1'/],
  ['no directory', {}, /no directory/],
])('%s is refused before a model is opened', async (_name, own, message) => {
  const around = {
    ready: () => {
      throw new TypeError('nothing is served');
    },
    stopped: () => Promise.resolve(''),
  };
  await expect(serveModel(join(folder, 'nothing'), { ...flags, ...own }, around)).rejects.toThrow(message);
});

test('exit code 1, with the reason on stderr', () => {
  const { status, stdout, stderr } = serve(join(folder, 'nothing'), '--host', '0.0.0.0');
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/0\.0\.0\.0 is reached from other machines, and no key is asked for[^]*--api-key/);
});

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('with a device', () => {
  test('SIGTERM: what runs is answered, and the process ends with exit code 0', async () => {
    const directory = makeLanguage(join(folder, 'made'), 'llama');
    const { url, child } = await startServer([directory, '--rows', '2', '--context', '128']);
    try {
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
      const { data } = (await (await fetch(`${url}/models`)).json()) as {
        readonly data: readonly { readonly id: string }[];
      };
      expect(data.map(({ id }) => id)).toEqual(['made']);
      const body = {
        model: 'made',
        messages: [{ role: 'user', content: 'What?' }],
        max_tokens: 40,
        stream: true,
        temperature: 0,
      };
      const response = await fetch(`${url}/chat/completions`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      expect(await response.text()).toMatch(/"finish_reason":"(?:length|stop)"[^]*\[DONE\]\n\n$/);
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  }, 120_000);

  test.runIf(everything)(
    '60 s of 32 clients: no error, and no more memory than before',
    async () => {
      const directory = makeLanguage(join(folder, 'made'), 'llama');
      const { url, child } = await startServer([directory, '--context', '128']);
      try {
        const load = await underLoad(url, { seconds: 60, clients: 32 }, (n) => ({
          model: 'made',
          messages: [{ role: 'user', content: `What ${'really '.repeat(n % 7)}is number ${n}?` }],
          max_tokens: 4 + (n % 29),
          temperature: n % 3 === 0 ? 0.8 : 0,
          seed: n,
        }));
        expect(load.failures).toEqual([]);
        expect(load.requests).toBeGreaterThan(100);
        expect(held(load), `${load.before} bytes became ${load.after}`).toBe(true);
      } finally {
        child.kill('SIGKILL');
      }
    },
    900_000,
  );
});
