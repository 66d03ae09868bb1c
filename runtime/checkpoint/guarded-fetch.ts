// The one place that asks the network: credentials go to the hub's own origin and nowhere else, redirects are followed here, and neither a
// body nor a silence is endless.
import { OpabiniaError } from '../../dsl/error.ts';

export interface Guard {
  /** The origin that may see the token. */
  readonly home: URL;
  readonly signal?: AbortSignal | undefined;
  /** Most bytes that one body may have. */
  readonly mostBytes: () => number;
  /** Milliseconds without an answer, or without another byte of it. */
  readonly patience?: number | undefined;
}

const mostRedirects = 10;
/** What tells a server who asks. */
const credentials = ['authorization', 'cookie', 'proxy-authorization', 'x-xet-session-id'];

/** `fetch` within these bounds. Throws `OpabiniaError` where a server oversteps one. */
export function guardedFetch({ home, signal, mostBytes, patience = 60_000 }: Guard): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    const headers = new Headers(request.headers);
    let url = new URL(request.url);
    for (let hop = 0; hop <= mostRedirects; hop++) {
      checkPlace(url, home);
      if (url.origin !== home.origin) stripCredentials(headers);
      const stop = new AbortController();
      const silence = new Silence(stop, patience, url);
      const response = await fetch(url, {
        method: request.method,
        headers,
        body: request.method === 'GET' || request.method === 'HEAD' ? null : await request.clone().arrayBuffer(),
        redirect: 'manual',
        signal: AbortSignal.any([request.signal, stop.signal, ...(signal === undefined ? [] : [signal])]),
      }).catch((cause: unknown) => {
        throw silence.reason ?? cause;
      });
      const next = response.status >= 300 && response.status < 400 ? response.headers.get('location') : null;
      if (next === null) return bounded(response, url, mostBytes(), silence);
      silence.end();
      await response.body?.cancel();
      const target = new URL(next, url);
      // Once a token was left out it stays left out, also when the way leads back.
      if (target.origin !== home.origin) stripCredentials(headers);
      url = target;
    }
    throw new OpabiniaError(`${home.origin} answers with more than ${mostRedirects} redirects`, {
      op: 'fetch',
      advice: 'check HF_ENDPOINT',
    });
  };
}

function stripCredentials(headers: Headers): void {
  for (const name of credentials) headers.delete(name);
}

function checkPlace(url: URL, home: URL): void {
  const legal = url.protocol === 'https:' || (url.protocol === 'http:' && home.protocol === 'http:');
  if (!legal)
    throw new OpabiniaError(`the hub sends on to ${url.protocol}//${url.host}, which is not encrypted as the hub is`, {
      op: 'fetch',
      advice: 'check HF_ENDPOINT',
    });
}

/** Ends a request that says nothing for too long. */
class Silence {
  readonly #stop: AbortController;
  readonly #patience: number;
  readonly #url: URL;
  #timer: NodeJS.Timeout | undefined;
  /** What happened, once it has. */
  reason: OpabiniaError | undefined;

  constructor(stop: AbortController, patience: number, url: URL) {
    this.#stop = stop;
    this.#patience = patience;
    this.#url = url;
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.reason = new OpabiniaError(`${this.#url.host} said nothing for ${this.#patience / 1000} s`, {
        op: 'fetch',
        advice: 'check the network, and try again: what is there is kept',
      });
      this.#stop.abort(this.reason);
    }, this.#patience);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** The same answer, whose body ends with an error when it is longer than `most` bytes. */
function bounded(response: Response, url: URL, most: number, silence: Silence): Response {
  if (response.body === null) {
    silence.end();
    return response;
  }
  let seen = 0;
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(bytes, controller) {
        silence.heard();
        seen += bytes.byteLength;
        if (seen <= most) return controller.enqueue(bytes);
        silence.end();
        controller.error(
          new OpabiniaError(`${url.host} sends more than the ${most} bytes that were announced`, {
            op: 'fetch',
            advice: 'check HF_ENDPOINT, and fetch again',
          }),
        );
      },
      flush: () => silence.end(),
    }),
  );
  const answer = new Response(counted, response);
  // The hub's library asks where an answer came from.
  Object.defineProperty(answer, 'url', { value: response.url });
  return answer;
}
