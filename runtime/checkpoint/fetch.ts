// A repository of the Hugging Face hub into the standard cache, resumed where it stopped, checked when it is there.
import { createHash, type Hash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { downloadFile, listFiles, modelInfo, type ListFileEntry } from '@huggingface/hub';
import { OpabiniaError } from '../../dsl/error.ts';
import { writeFileAtomic } from '../files/atomic-file.ts';
import { withLock } from '../files/lock-file.ts';
import { guardedFetch } from './guarded-fetch.ts';
import { hubCache, isOffline, parseRepo, repoFolder, type Environment } from './hub.ts';
import { makeFolder } from '../files/make-folder.ts';

export interface FetchProgress {
  readonly file: string;
  readonly done: number;
  readonly total: number;
}

export interface FetchOptions {
  readonly env?: Environment | undefined;
  /** All files; by default those that a model directory is read from. */
  readonly all?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds that the hub may say nothing for; by default a minute. */
  readonly patience?: number | undefined;
  readonly progress?: ((progress: FetchProgress) => void) | undefined;
}

/** Configs, tokenizers, templates, weights in safetensors. */
const wanted =
  /(?:\.json|\.jinja|\.safetensors|(?:^|\/)(?:README\.md|LICENSE[^/]*|tokenizer\.model|merges\.txt|vocab\.txt))$/i;

/** Weights of PyTorch: for repositories that have no others. */
const pytorchWeights = /(?:^|\/)pytorch_model[\w.-]*\.bin(?:\.index\.json)?$/;

/** Where the hub is, unless HF_ENDPOINT says otherwise. */
const hubUrl = 'https://huggingface.co';
/** Bytes of one page of a listing; files, pages of files. */
const pageLimit = 64 * 2 ** 20;
const mostEntries = 100_000;
const mostPages = 1_000;

/** Retries of one file: a broken connection goes on where it stopped. */
const attempts = 5;

/** Returns the directory of the snapshot. Throws `OpabiniaError` for a name that is none, `HF_HUB_OFFLINE`, and whatever the hub refuses. */
export async function fetchModel(text: string, options: FetchOptions = {}): Promise<string> {
  const { env = process.env } = options;
  const name = parseRepo(text);
  if (name === undefined)
    throw new OpabiniaError(`'${text}' is not a repository`, {
      op: 'fetch',
      advice: 'owner/name, or owner/name@revision',
    });
  if (isOffline(env))
    throw new OpabiniaError(`HF_HUB_OFFLINE forbids fetching ${text}`, { op: 'fetch', advice: 'unset it' });
  const place = endpoint(env);
  // What one answer may hold: a page of a listing, or the file that is being fetched.
  let mostBytes = pageLimit;
  const hub = {
    repo: { type: 'model', name: name.repo } as const,
    hubUrl: place,
    ...(env['HF_TOKEN'] === undefined || env['HF_TOKEN'] === '' ? {} : { accessToken: env['HF_TOKEN'] }),
    fetch: guardedFetch({
      home: new URL(place),
      signal: options.signal,
      patience: options.patience,
      mostBytes: () => mostBytes,
    }),
  };
  const folder = repoFolder(hubCache(env), name.repo);
  const commit = await asking(
    text,
    async () => (await modelInfo({ ...hub, name: name.repo, revision: name.revision, additionalFields: ['sha'] })).sha,
  );
  if (!/^[0-9a-f]{40}$/.test(commit))
    throw new OpabiniaError(`the hub says that ${text} is at the commit '${String(commit).slice(0, 60)}'`, {
      op: 'fetch',
      advice: 'check HF_ENDPOINT',
    });
  const files = await asking(text, async () => {
    const found: ListFileEntry[] = [];
    let listed = 0;
    let pages = 0;
    const paged: typeof fetch = (input, init) => {
      if (++pages > mostPages) throw endless(text);
      return hub.fetch(input, init);
    };
    for await (const entry of listFiles({ ...hub, fetch: paged, recursive: true, revision: commit })) {
      if (++listed > mostEntries) throw endless(text);
      if (entry.type === 'file') found.push(entry);
    }
    if (options.all === true) return found;
    const safe = found.some((file) => file.path.endsWith('.safetensors'));
    return found.filter((file) => (pytorchWeights.test(file.path) ? !safe : wanted.test(file.path)));
  });
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  for (const file of files) {
    mostBytes = Math.max(pageLimit, file.size);
    await fetchFile(file, {
      folder,
      commit,
      open: () => downloadFile({ ...hub, path: file.path, revision: commit }),
      report: (done) => options.progress?.({ file: file.path, done: before + done, total }),
      signal: options.signal,
    });
    before += file.size;
  }
  // The branch points at the commit when all of it is there.
  if (name.revision !== commit) {
    const ref = join(folder, 'refs', name.revision);
    makeFolder(dirname(ref));
    writeFileAtomic(ref, commit, { op: 'fetch' });
  }
  return join(folder, 'snapshots', commit);
}

function endpoint(env: Environment): string {
  const url = env['HF_ENDPOINT'] ?? hubUrl;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new OpabiniaError(`HF_ENDPOINT is '${url}', which is not a web address`, {
      op: 'fetch',
      advice: hubUrl,
    });
  return url.replace(/\/+$/, '');
}

function endless(text: string): OpabiniaError {
  return new OpabiniaError(`the hub's list of the files of ${text} does not end`, {
    op: 'fetch',
    advice: 'check HF_ENDPOINT',
  });
}

async function asking<T>(text: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    throw refusal(text, cause);
  }
}

/** What the hub answered, as our own error: with the status, and what to do about it. Never with the token. */
function refusal(text: string, cause: unknown): OpabiniaError {
  if (cause instanceof OpabiniaError) return cause;
  const status =
    cause instanceof Error && 'statusCode' in cause && typeof cause.statusCode === 'number'
      ? cause.statusCode
      : undefined;
  const advice =
    status === 401 || status === 403
      ? 'the repository may be gated or private: accept its terms on the hub and set HF_TOKEN'
      : status === 404
        ? 'check the name and the revision'
        : 'check the network and HF_ENDPOINT, and try again: what is there is kept';
  const reason =
    cause instanceof Error
      ? [cause.message, cause.cause instanceof Error ? cause.cause.message : '']
          .filter((part) => part !== '')
          .join(': ')
      : String(cause);
  return new OpabiniaError(
    `${text} could not be fetched${status === undefined ? '' : ` (status ${status})`}: ${reason}`,
    { op: 'fetch', advice, cause },
  );
}

interface Download {
  readonly folder: string;
  readonly commit: string;
  readonly open: () => Promise<Blob | null>;
  readonly report: (done: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** Into `blobs/`, under the hash that the hub names it by, and a link to it from the snapshot: the layout of the hub's own tools. */
async function fetchFile(file: ListFileEntry, download: Download): Promise<void> {
  const { folder, commit, report } = download;
  if (
    file.path.split('/').some((part) => part === '' || part === '.' || part === '..') ||
    file.path.includes('\\') ||
    file.path.includes('\0')
  )
    throw new OpabiniaError(
      `the hub names the file '${file.path.slice(0, 200)}', which would be outside of the cache`,
      { op: 'fetch', advice: 'the repository is made to mislead' },
    );
  const hash = file.lfs?.oid ?? file.oid ?? '';
  if (!/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(hash))
    throw new OpabiniaError(`the hub gives no hash for ${file.path}`, { op: 'fetch', advice: 'check HF_ENDPOINT' });
  const [blob, link] = [join(folder, 'blobs', hash), join(folder, 'snapshots', commit, file.path)];
  makeFolder(dirname(blob));
  makeFolder(dirname(link));
  const isThere = (): boolean => statSync(blob, { throwIfNoEntry: false })?.size === file.size;
  // One process a blob: two that append to the same partial file spoil it for both.
  if (!isThere())
    await withLock(
      `${blob}.lock`,
      async () => {
        if (!isThere()) await fill(`${blob}.incomplete`, blob, hash, file, download);
      },
      download.signal,
    );
  report(file.size);
  if (existsSync(link)) return;
  rmSync(link, { force: true });
  try {
    symlinkSync(relative(dirname(link), blob), link);
  } catch (cause) {
    // Another process was faster.
    if (!existsSync(link)) throw cause;
  }
}

async function fill(
  partial: string,
  blob: string,
  hash: string,
  file: ListFileEntry,
  { open, report, signal }: Download,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await append(partial, file, open, report);
      break;
    } catch (cause) {
      if (signal?.aborted === true || attempt >= attempts || cause instanceof OpabiniaError)
        throw refusal(file.path, cause);
    }
  }
  const found = await hashOf(partial, file);
  if (found !== hash) {
    // What is wrong must not be gone on with.
    rmSync(partial);
    throw new OpabiniaError(`${file.path} has the hash ${found}, and the hub says ${hash}`, {
      op: 'fetch',
      advice: 'it was damaged on its way; fetch again',
    });
  }
  renameSync(partial, blob);
}

/** Goes on from the bytes that are there. */
async function append(
  partial: string,
  file: ListFileEntry,
  open: Download['open'],
  report: Download['report'],
): Promise<void> {
  let done = statSync(partial, { throwIfNoEntry: false })?.size ?? 0;
  if (done > file.size) {
    rmSync(partial);
    done = 0;
  }
  if (done === file.size && existsSync(partial)) return;
  const whole = await open();
  if (whole === null)
    throw new OpabiniaError(`the hub has no ${file.path} any more`, { op: 'fetch', advice: 'fetch again' });
  if (whole.size !== file.size)
    throw new OpabiniaError(`${file.path} has ${whole.size} bytes, and the hub listed ${file.size}`, {
      op: 'fetch',
      advice: 'check HF_ENDPOINT, and fetch again',
    });
  if (file.size === 0) return writeFileSync(partial, '');
  const from = Readable.fromWeb((done === 0 ? whole : whole.slice(done)).stream() as ReadableStream);
  from.on('data', (bytes: Uint8Array) => report((done += bytes.byteLength)));
  await pipeline(from, createWriteStream(partial, { flags: 'a' }));
  const got = statSync(partial).size;
  if (got < file.size) throw new Error(`the connection ended after ${got} of ${file.size} bytes`);
  if (got > file.size) {
    rmSync(partial);
    throw new Error('the server does not go on from where it stopped; from the beginning');
  }
}

/** sha256 of large files, and git's own hash of small ones. */
async function hashOf(path: string, file: ListFileEntry): Promise<string> {
  const hash: Hash = file.lfs === undefined ? createHash('sha1').update(`blob ${file.size}\0`) : createHash('sha256');
  for await (const bytes of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(bytes as Buffer);
  return hash.digest('hex');
}
