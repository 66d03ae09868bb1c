// What a hub, or whoever stands between, may not do: see a token that is not for it, answer for ever, or have two processes spoil one file.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fetchModel } from '../../runtime/checkpoint/fetch.ts';
import { guardedFetch } from '../../runtime/checkpoint/guarded-fetch.ts';

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => void;

const servers: Server[] = [];
let cache = '';
/** Tokens that another server than the hub was shown. */
let leaked: string[] = [];

beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'opabinia-guard-'));
  leaked = [];
});
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(cache, { recursive: true });
});

async function serve(answer: Answer): Promise<string> {
  const server = createServer((request, response) =>
    answer(request, response, new URL(request.url ?? '', 'http://127.0.0.1')),
  );
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const stranger: Answer = (request, response) => {
  if (request.headers.authorization !== undefined) leaked.push(request.headers.authorization);
  response.statusCode = 404;
  response.end('{}');
};

const commit = 'c0ffee'.padEnd(40, '0');
const config = Buffer.from('{"model_type":"llama"}');
const oid = (bytes: Buffer): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** A hub with one small file; `resolve` and `tree` may answer otherwise. */
const hub =
  (more: { readonly resolve?: Answer; readonly tree?: Answer } = {}): Answer =>
  (request, response, url) => {
    response.setHeader('content-type', 'application/json');
    if (url.pathname.includes('/revision/'))
      return void response.end(
        JSON.stringify({
          _id: '1',
          id: 'made/model',
          sha: commit,
          lastModified: '2026-01-01T00:00:00Z',
          private: false,
        }),
      );
    if (url.pathname.includes('/tree/')) {
      if (more.tree !== undefined) return more.tree(request, response, url);
      return void response.end(
        JSON.stringify([{ type: 'file', path: 'config.json', size: config.length, oid: oid(config) }]),
      );
    }
    if (more.resolve !== undefined) return more.resolve(request, response, url);
    const probe = request.headers.range === 'bytes=0-0';
    response.setHeader('etag', `"${oid(config)}"`);
    response.statusCode = probe ? 206 : 200;
    if (probe) response.setHeader('content-range', `bytes 0-0/${config.length}`);
    response.end(probe ? config.subarray(0, 1) : config);
  };

const env = (endpoint: string) => ({ HF_ENDPOINT: endpoint, HF_HUB_CACHE: cache, HF_TOKEN: 'hf_secret' });

test('a redirect marked as cloudfront gets no token, and its address none later', async () => {
  const other = await serve((request, response) => {
    response.setHeader('x-cache', 'Hit from cloudfront');
    response.setHeader('content-range', `bytes 0-0/${config.length}`);
    response.setHeader('etag', '"x"');
    stranger(request, response, new URL('http://x'));
  });
  const endpoint = await serve(
    hub({
      resolve: (_request, response) => {
        response.statusCode = 302;
        response.setHeader('location', `${other}/file`);
        response.end();
      },
    }),
  );
  await expect(fetchModel('made/model', { env: env(endpoint) })).rejects.toThrow(/could not be fetched/);
  expect(leaked).toEqual([]);
});

test('links to Xet on another host get no token', async () => {
  const other = await serve(stranger);
  const endpoint = await serve(
    hub({
      resolve: (_request, response) => {
        response.setHeader('content-type', 'application/vnd.xet-fileinfo+json');
        response.setHeader('x-linked-size', String(config.length));
        response.setHeader('x-xet-hash', 'a'.repeat(64));
        response.setHeader('etag', '"x"');
        response.setHeader('link', `<${other}/auth>; rel="xet-auth", <${other}/info>; rel="xet-reconstruction-info"`);
        response.end('{}');
      },
    }),
  );
  await expect(fetchModel('made/model', { env: env(endpoint) })).rejects.toThrow();
  expect(leaked).toEqual([]);
});

test('the next page on another host gets no token', async () => {
  const other = await serve(stranger);
  const endpoint = await serve(
    hub({
      tree: (_request, response) => {
        response.setHeader('link', `<${other}/more>; rel="next"`);
        response.end('[]');
      },
    }),
  );
  await expect(fetchModel('made/model', { env: env(endpoint) })).rejects.toThrow();
  expect(leaked).toEqual([]);
});

test('a token left out once stays left out when the way leads back', async () => {
  const shown: (string | undefined)[] = [];
  const endpoint = await serve((request, response, url) => {
    if (url.pathname === '/start') {
      response.statusCode = 302;
      response.setHeader('location', `${other}/back`);
    } else shown.push(request.headers.authorization);
    response.end('ok');
  });
  const other = await serve((_request, response) => {
    response.statusCode = 302;
    response.setHeader('location', `${endpoint}/end`);
    response.end();
  });
  const get = guardedFetch({ home: new URL(endpoint), mostBytes: () => 100 });
  const answer = await get(`${endpoint}/start`, { headers: { authorization: 'Bearer hf_secret' } });
  expect(await answer.text()).toBe('ok');
  expect(answer.url).toBe(`${endpoint}/end`);
  expect(shown).toEqual([undefined]);
});

test('pages without an end, redirects without an end, bodies without an end, silence', async () => {
  let asked = 0;
  const endpoint = await serve(
    hub({
      tree: (_request, response) => {
        asked++;
        response.setHeader('link', `<${endpoint}/api/models/made/model/tree/x?cursor=${asked}>; rel="next"`);
        response.end('[]');
      },
    }),
  );
  await expect(fetchModel('made/model', { env: env(endpoint) })).rejects.toThrow(/does not end/);
  expect(asked).toBeLessThanOrEqual(1_000);

  const round = await serve((_request, response) => {
    response.statusCode = 302;
    response.setHeader('location', '/again');
    response.end();
  });
  await expect(guardedFetch({ home: new URL(round), mostBytes: () => 100 })(`${round}/`)).rejects.toThrow(/redirects/);

  const long = await serve((_request, response) => {
    const more = (): void => void (response.destroyed ? undefined : response.write('x'.repeat(50), more));
    more();
  });
  const answer = await guardedFetch({ home: new URL(long), mostBytes: () => 100 })(`${long}/`);
  await expect(answer.text()).rejects.toThrow(/more than the 100 bytes/);

  const mute = await serve(() => undefined);
  await expect(guardedFetch({ home: new URL(mute), mostBytes: () => 100, patience: 100 })(`${mute}/`)).rejects.toThrow(
    /said nothing for 0.1 s/,
  );
  const halting = await serve((_request, response) => void response.write('x'));
  const half = await guardedFetch({ home: new URL(halting), mostBytes: () => 100, patience: 100 })(`${halting}/`);
  await expect(half.text()).rejects.toThrow(/said nothing/);
});

test('eight fetches of one repository at once: each file once, none spoilt, no lock left', async () => {
  let downloads = 0;
  const whole = hub();
  const endpoint = await serve((request, response, url) => {
    if (url.pathname.includes('/resolve/') && request.headers.range === undefined) downloads++;
    whole(request, response, url);
  });
  const directories = await Promise.all(
    Array.from({ length: 8 }, async () => await fetchModel('made/model', { env: env(endpoint) })),
  );
  for (const directory of directories) expect(readFileSync(join(directory, 'config.json'))).toEqual(config);
  expect(downloads).toBe(1);
  expect(readdirSync(join(cache, 'models--made--model', 'blobs'))).toEqual([oid(config)]);
});

test('a lock of a process that died is taken over', async () => {
  const endpoint = await serve(hub());
  const blobs = join(cache, 'models--made--model', 'blobs');
  mkdirSync(blobs, { recursive: true });
  // Process numbers end at 4,194,304 on Linux: nobody has this one.
  writeFileSync(join(blobs, `${oid(config)}.lock`), `99999999 ${(await import('node:os')).hostname()}`);
  const directory = await fetchModel('made/model', { env: env(endpoint) });
  expect(readFileSync(join(directory, 'config.json'))).toEqual(config);
});
