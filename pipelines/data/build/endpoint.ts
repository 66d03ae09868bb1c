// An endpoint that talks like OpenAI's, `opabinia serve` among them: one question, one answer, bounded, tried again where that may help.
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';

export interface EndpointOptions {
  /** `http://127.0.0.1:8000/v1`, or the whole address of its chat completions. */
  readonly url: string;
  readonly model: string;
  /** Sent to this origin alone: redirects are not followed. */
  readonly key?: string | undefined;
  /** Further tries, and milliseconds before the first of them, which double. */
  readonly retries?: number | undefined;
  readonly backoff?: number | undefined;
  /** Milliseconds of one try. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the endpoint refuses of one question, and not of all: the others go on. */
export class RefusedError extends OpabiniaError {}

const schema = z.looseObject({
  choices: z.array(z.looseObject({ message: z.looseObject({ content: z.string().nullish() }) })).min(1),
});
const [bodyLimit, waitLimit] = [2 ** 20, 60_000];

/** Milliseconds that the endpoint asks to wait. */
function waitAsked(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  const wait = header.trim() !== '' && Number.isFinite(seconds) ? 1000 * seconds : Date.parse(header) - now;
  return Number.isFinite(wait) ? Math.min(waitLimit, Math.max(0, wait)) : undefined;
}

export class Endpoint {
  readonly #url: string;
  readonly #options: EndpointOptions;

  /** Throws `OpabiniaError` for an address that is none. */
  constructor(options: EndpointOptions) {
    this.#options = options;
    this.#url = addressOf(options.url);
  }

  /** The answer's text; `png` is shown with the question. Throws `RefusedError` for what concerns this question, `OpabiniaError` for what concerns all. */
  async ask(system: string, user: string, png?: Buffer): Promise<string> {
    const { retries = 5, backoff = 1000, signal } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const tried = await this.#once(system, user, png);
      if (typeof tried === 'string') return tried;
      if (attempt >= retries)
        throw new OpabiniaError(`${this.#url} does not answer: ${tried.why}, after ${attempt + 1} tries`, {
          op: 'data',
          advice: 'see that it runs; the same command goes on where it stopped',
        });
      await sleep(tried.wait ?? Math.min(waitLimit, backoff * 2 ** attempt * (0.5 + Math.random() / 2)), undefined, {
        signal,
      });
    }
  }

  async #once(
    system: string,
    user: string,
    png: Buffer | undefined,
  ): Promise<string | { readonly why: string; readonly wait?: number | undefined }> {
    const { model, key, timeout = 120_000, signal } = this.#options;
    const limit = AbortSignal.timeout(timeout);
    let response: Response;
    let body: string;
    try {
      response = await fetch(this.#url, {
        method: 'POST',
        redirect: 'error',
        headers: {
          'content-type': 'application/json',
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        },
        body: JSON.stringify({
          model,
          messages: [
            { role: 'system', content: system },
            { role: 'user', content: png === undefined ? user : shown(user, png) },
          ],
          temperature: 0,
          max_tokens: 512,
        }),
        signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
      });
      body = await bounded(response);
    } catch (cause) {
      if (cause instanceof OpabiniaError) throw cause;
      signal?.throwIfAborted();
      const reason = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : '';
      return { why: reason };
    }
    if (response.ok) return contentOf(body, this.#url);
    const why = `HTTP ${response.status}: ${body.slice(0, 200).replaceAll(/\s+/g, ' ')}`;
    if (response.status === 408 || response.status === 409 || response.status === 429 || response.status >= 500)
      return { why, wait: waitAsked(response.headers.get('retry-after'), Date.now()) };
    if (response.status === 400 || response.status === 413 || response.status === 422)
      throw new RefusedError(why, { op: 'data' });
    throw new OpabiniaError(`${this.#url} refuses: ${why}`, {
      op: 'data',
      advice:
        response.status === 401 || response.status === 403
          ? 'give the key by --api-key-env NAME'
          : 'check --endpoint and --model',
    });
  }
}

function shown(text: string, png: Buffer): readonly object[] {
  const url = `data:image/png;base64,${png.toString('base64')}`;
  return [
    { type: 'image_url', image_url: { url } },
    { type: 'text', text },
  ];
}

function addressOf(url: string): string {
  const wrong = (what: string): OpabiniaError =>
    new OpabiniaError(`--endpoint '${url}' ${what}`, { op: 'data', advice: 'such as http://127.0.0.1:8000/v1' });
  if (!URL.canParse(url)) throw wrong('is not an address');
  const parsed = new URL(url);
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') throw wrong('is neither http nor https');
  if (parsed.username !== '' || parsed.password !== '') throw wrong('holds a password');
  if (!parsed.pathname.endsWith('/chat/completions'))
    parsed.pathname = `${parsed.pathname.replace(/\/+$/, '')}/chat/completions`;
  return parsed.href;
}

async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.byteLength;
    if (size > bodyLimit)
      throw new RefusedError(`an answer of more than ${bodyLimit} bytes`, { op: 'data', advice: 'ask another model' });
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function contentOf(body: string, url: string): string {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    json = undefined;
  }
  const found = schema.safeParse(json);
  if (!found.success)
    throw new OpabiniaError(`${url} answers, and not as OpenAI's: ${body.slice(0, 120)}`, {
      op: 'data',
      advice: 'give the address of chat completions',
    });
  return found.data.choices[0]?.message.content ?? '';
}
