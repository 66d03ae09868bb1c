// Fetching, against a server on this machine that answers as the hub does: layout of the cache, resuming, damage, refusals.
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fetchModel, type FetchProgress } from '../../runtime/checkpoint/fetch.ts';
import { progressLine } from '../../cli/progress-line.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { resolveModel } from '../../runtime/checkpoint/hub.ts';

const commit = 'c0ffee'.padEnd(40, '0');
const weights = Buffer.alloc(300_000, 'weights ');
const files = new Map<string, Buffer>([
  ['config.json', Buffer.from('{"model_type":"llama"}')],
  ['sub/tokenizer.json', Buffer.from('{}')],
  ['model.safetensors', weights],
  ['pytorch_model.bin', Buffer.from('pickle')],
]);
const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

interface Behaviour {
  cutAfter?: number;
  damage?: boolean;
  status?: number;
  listed?: readonly object[];
}
let behaviour: Behaviour = {};
let asked: { url: string; range: string | undefined; token: string | undefined }[] = [];

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '', 'http://127.0.0.1');
  asked.push({ url: url.pathname, range: request.headers.range, token: request.headers.authorization });
  const json = (body: unknown) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(body));
  };
  if (behaviour.status !== undefined) {
    response.statusCode = behaviour.status;
    return json({ error: 'no' });
  }
  if (url.pathname.startsWith('/api/models/made/model/revision/'))
    return json({
      _id: '1',
      id: 'made/model',
      sha: commit,
      lastModified: '2026-01-01T00:00:00Z',
      downloads: 0,
      likes: 0,
      private: false,
      gated: false,
    });
  if (url.pathname.startsWith('/api/models/made/model/tree/'))
    return json(
      behaviour.listed ??
        [...files].map(([path, bytes]) => ({
          type: 'file',
          path,
          size: bytes.length,
          oid: gitHash(bytes),
          ...(path.endsWith('.safetensors')
            ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }
            : {}),
        })),
    );
  const path = decodeURIComponent(url.pathname).replace(`/made/model/resolve/${commit}/`, '');
  const bytes = files.get(path);
  if (bytes === undefined) {
    response.statusCode = 404;
    return json({ error: 'no file' });
  }
  const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const [start, end] = [Number(from), to === '' ? bytes.length - 1 : Math.min(Number(to), bytes.length - 1)];
  response.statusCode = request.headers.range === undefined ? 200 : 206;
  response.setHeader('etag', `"${gitHash(bytes)}"`);
  response.setHeader('content-length', end - start + 1);
  if (request.headers.range !== undefined) response.setHeader('content-range', `bytes ${start}-${end}/${bytes.length}`);
  const body = Buffer.from(bytes.subarray(start, end + 1));
  if (behaviour.damage === true && body.length > 1000) body[500] = 0;
  const cut = behaviour.cutAfter;
  if (cut === undefined || body.length <= cut) return void response.end(body);
  delete behaviour.cutAfter;
  response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 30));
}

const server = createServer(answer);
const root = mkdtempSync(join(tmpdir(), 'opabinia-fetch-'));
let cache = '';
let count = 0;
const env = (more: Record<string, string> = {}) => ({
  HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  HF_HUB_CACHE: cache,
  ...more,
});

beforeAll(
  () =>
    new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    }),
);
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  cache = join(root, String(count++));
  behaviour = {};
  asked = [];
});

const blobOf = (hash: string) => join(cache, 'models--made--model', 'blobs', hash);

describe('a repository in the cache', () => {
  test('has the layout of the hub’s own tools, without pickles', async () => {
    const seen: FetchProgress[] = [];
    const directory = await fetchModel('made/model', {
      env: env({ HF_TOKEN: 'hf_secret' }),
      progress: (progress) => seen.push(progress),
    });
    expect(directory).toBe(join(cache, 'models--made--model', 'snapshots', commit));
    expect(readFileSync(join(directory, 'model.safetensors'))).toEqual(weights);
    expect(lstatSync(join(directory, 'sub/tokenizer.json')).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(directory, 'sub/tokenizer.json'), 'utf8')).toBe('{}');
    expect(existsSync(join(directory, 'pytorch_model.bin'))).toBe(false);
    expect(existsSync(blobOf(sha256(weights)))).toBe(true);
    expect(readFileSync(join(cache, 'models--made--model', 'refs', 'main'), 'utf8')).toBe(commit);
    expect(resolveModel('made/model', env())).toBe(directory);
    expect(resolveModel('made/model@c0ffee00', env())).toBe(directory);
    expect(asked.every((one) => one.token === 'Bearer hf_secret')).toBe(true);
    expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
  });

  test('is not fetched again', async () => {
    await fetchModel('made/model', { env: env() });
    asked = [];
    await fetchModel('made/model', { env: env() });
    expect(asked.filter((one) => one.url.includes('/resolve/'))).toEqual([]);
  });

  test('goes on where an earlier call stopped', async () => {
    mkdirSync(join(cache, 'models--made--model', 'blobs'), { recursive: true });
    writeFileSync(`${blobOf(sha256(weights))}.incomplete`, weights.subarray(0, 123_456));
    const directory = await fetchModel('made/model', { env: env() });
    expect(asked.map((one) => one.range)).toContain(`bytes=123456-${weights.length - 1}`);
    expect(readFileSync(join(directory, 'model.safetensors')).equals(weights)).toBe(true);
  });

  test('goes on after a broken connection', async () => {
    behaviour = { cutAfter: 100_000 };
    const directory = await fetchModel('made/model', { env: env() });
    expect(asked.some((one) => one.url.endsWith('model.safetensors') && /^bytes=[1-9]\d+-/.test(one.range ?? ''))).toBe(
      true,
    );
    expect(readFileSync(join(directory, 'model.safetensors')).equals(weights)).toBe(true);
  });
});

describe('refusals', () => {
  const failure = async (text: string, more: Record<string, string> = {}): Promise<string> => {
    const error: unknown = await fetchModel(text, { env: env(more) }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof OpabiniaError)) throw error;
    return error.message;
  };

  test('bytes that are not what the hub says, of which nothing stays', async () => {
    behaviour = { damage: true };
    expect(await failure('made/model')).toMatch(/model\.safetensors has the hash [0-9a-f]{64}, and the hub says/);
    expect(existsSync(blobOf(sha256(weights)))).toBe(false);
    expect(existsSync(`${blobOf(sha256(weights))}.incomplete`)).toBe(false);
    expect(existsSync(join(cache, 'models--made--model', 'refs', 'main'))).toBe(false);
  });

  test('offline, before anything is asked', async () => {
    expect(await failure('made/model', { HF_HUB_OFFLINE: '1' })).toContain('HF_HUB_OFFLINE forbids');
    expect(asked).toEqual([]);
  });

  test.each(['a/b/c', '../x', 'a b', 'x@y@z', 'made/model@../../x'])('%s is not a repository', async (name) => {
    expect(await failure(name)).toContain('is not a repository');
  });

  test('a repository that may not be read, without the token in the message', async () => {
    behaviour = { status: 401 };
    const message = await failure('made/model', { HF_TOKEN: 'hf_secret' });
    expect(message).toContain('status 401');
    expect(message).toContain('HF_TOKEN');
    expect(message).not.toContain('hf_secret');
  });

  test('a path that leads out of the cache', async () => {
    behaviour = { listed: [{ type: 'file', path: '../../evil.json', size: 2, oid: gitHash(Buffer.from('{}')) }] };
    expect(await failure('made/model')).toContain('outside of the cache');
    expect(existsSync(join(root, 'evil.json'))).toBe(false);
  });

  test('an endpoint that is none', async () => {
    expect(await failure('made/model', { HF_ENDPOINT: 'file:///etc' })).toContain('not a web address');
  });
});

test('progress is one line on a terminal, and a line each ten seconds elsewhere', () => {
  let text = '';
  let time = 0;
  const line = progressLine({ isTTY: false, write: (more) => (text += more) }, () => time);
  for (let done = 0; done <= 30; done++, time += 1000) line({ file: 'x', done, total: 100 });
  expect(text.trimEnd().split('\n')).toHaveLength(4);
});
