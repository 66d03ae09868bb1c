// The routes of the server: OpenAI's chat completions over a session that answers by rows, the model's name, health and figures.
import { createHash, randomInt, randomUUID, timingSafeEqual } from 'node:crypto';
import { Hono, type Context } from 'hono';
import { everyToken } from '../../models/decoders/sampling.ts';
import type { Decoder } from '../../runtime/text/tokenizer.ts';
import type { Answering, RowAnswer } from '../answer/rows/asking.ts';
import { ApiError, apiError } from './api-error.ts';
import { readJson } from './body.ts';
import { readChatRequest, type ChatRequest } from './chat-request.ts';
import { chunk, completion, finishReason, usageChunk, type AnswerHead, type Logprobs } from './chat-response.ts';
import { House, type Guest } from './house.ts';
import { Metrics } from './metrics.ts';
import { decodePicture, questionOf } from './questions.ts';
import { TokenLogprobs } from './token-logprobs.ts';
import { plural } from '../../dsl/text/plural.ts';

/** What is served: one model, under one name. */
export interface Served {
  readonly name: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** Whether photographs are turned as the camera was held. */
  readonly upright: boolean;
  /** Pictures of one question. */
  readonly images: number;
  /** Tokens of an answer, where the request does not say. */
  readonly maxNewTokens: number | undefined;
  readonly session: Answering & {
    readonly rows: { readonly busy: number; readonly all: number };
    readonly waiting: number;
    readonly context: number;
  };
  /** The model's tokenizer. */
  readonly decoder: Decoder;
  readonly deviceBytes: () => number;
}

export interface AppOptions {
  /** Without it, everybody may ask who reaches the server. */
  readonly apiKey?: string | undefined;
  /** Requests that wait for a row, at most. */
  readonly queue: number;
  readonly bodyBytes: number;
  /** Bytes of the decoded pictures of all requests together. */
  readonly pictureBytes: number;
  /** The server listens on loopback alone: nobody calls it by another name but a page that was led there. */
  readonly loopback: boolean;
  /** Told what went wrong in the server. */
  readonly failed?: ((error: unknown) => void) | undefined;
}

export interface App {
  readonly fetch: (request: Request) => Response | Promise<Response>;
  /** No more questions are taken; resolves when those that were asked are answered. */
  readonly close: () => Promise<void>;
}

const fingerprint = 'opabinia';

export function chatApp(served: Served, options: AppOptions): App {
  const { session } = served;
  const metrics = new Metrics();
  const house = new House(session.rows.all + options.queue, options.pictureBytes);
  /** Until a row is free for one more, as answers have taken so far. */
  const retryAfter = (): number => {
    const rounds = Math.max(1, house.inside - session.rows.all) / session.rows.all;
    return Math.min(60, Math.max(1, Math.ceil(rounds * (metrics.seconds.mean ?? 1))));
  };

  const app = new Hono();
  app.onError((error, c) => {
    const told = c.req.raw.signal.aborted ? new ApiError(499, 'the client left') : apiError(error);
    if (told.status >= 500) options.failed?.(told.cause ?? error);
    return refused(told);
  });
  app.notFound((c) =>
    refused(
      new ApiError(404, `there is nothing at ${c.req.method} ${c.req.path.slice(0, 200)}`, { code: 'unknown_url' }),
    ),
  );
  app.use(async (c, next) => {
    if (options.loopback) checkHost(c.req.header('host'));
    await next();
  });
  app.use('/v1/*', async (c, next) => {
    await next();
    metrics.requests.add(String(c.res.status));
  });
  for (const path of ['/v1/*', '/metrics'])
    app.use(path, async (c, next) => {
      checkKey(options.apiKey, c.req.header('authorization'));
      await next();
    });

  app.get('/health', (c) => {
    const { busy, all } = session.rows;
    const state = {
      status: house.closing ? 'closing' : 'ok',
      model: served.name,
      rows: { busy, all },
      waiting: session.waiting,
    };
    return c.json(state, house.closing ? 503 : 200);
  });
  app.get('/metrics', (c) => {
    const text = metrics.text({
      rows: session.rows.all,
      rowsBusy: session.rows.busy,
      waiting: session.waiting,
      deviceBytes: served.deviceBytes(),
      residentBytes: process.memoryUsage.rss(),
    });
    return c.body(text, 200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' });
  });
  const entry = { id: served.name, object: 'model', created: served.created, owned_by: 'opabinia' };
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [entry] }));
  app.get('/v1/models/:name{.+}', (c) => {
    checkModel(c.req.param('name'), served);
    return c.json(entry);
  });
  app.post('/v1/chat/completions', async (c) => {
    const guest = house.enter(retryAfter);
    let handed = false;
    try {
      const json = await readJson(c.req.raw, options.bodyBytes);
      const asked = await ask(served, readChatRequest(json), guest, metrics, c.req.raw.signal);
      if (!asked.request.stream) {
        const answer = await asked.whole();
        return c.json(completion(asked.head, answer, await asked.logprobs()));
      }
      await asked.accepted();
      handed = true;
      return streamed(c, asked, guest, options);
    } finally {
      if (!handed) guest.leave();
    }
  });
  for (const [path, allow] of [
    ['/v1/chat/completions', 'POST'],
    ['/v1/models', 'GET'],
    ['/v1/models/:name{.+}', 'GET'],
    ['/health', 'GET'],
    ['/metrics', 'GET'],
  ] as const)
    app.all(path, (c) => {
      const told = new ApiError(405, `${c.req.path.slice(0, 200)} takes ${allow}, not ${c.req.method}`, {
        code: 'method_not_allowed',
      });
      const response = refused(told);
      response.headers.set('Allow', allow);
      return response;
    });
  return { fetch: app.fetch, close: async () => house.close() };
}

function refused({ status, body, retryAfter }: ApiError): Response {
  const after = retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) };
  return Response.json(body, { status, headers: after });
}

// ---- one question ----------------------------------------------------------------------------------------------------

interface Asked {
  readonly request: ChatRequest;
  readonly head: AnswerHead;
  /** Resolves when the question waits for a row. Throws what it is refused for. */
  accepted(): Promise<void>;
  /** Words as they come. */
  pieces(): AsyncGenerator<string, RowAnswer, undefined>;
  whole(): Promise<RowAnswer>;
  /** Of the tokens since the last call. */
  logprobs(): Promise<Logprobs>;
}

/** Throws `ApiError`. */
async function ask(
  served: Served,
  request: ChatRequest,
  guest: Guest,
  metrics: Metrics,
  signal: AbortSignal,
): Promise<Asked> {
  const began = performance.now();
  checkModel(request.model, served);
  const { question, pictures } = questionOf(request.messages);
  if (pictures.length > served.images)
    throw new ApiError(
      400,
      `messages: ${plural(pictures.length, 'picture is', 'pictures are')} sent, and at most ${served.images} are read`,
      {
        param: 'messages',
        code: 'too_many_images',
      },
    );
  const images = [];
  for (const picture of pictures) {
    // oxlint-disable-next-line no-await-in-loop -- one by one, so that what does not fit is not decoded
    images.push(await guest.decode(async () => decodePicture(picture, served.upright)));
    metrics.images.add('');
  }
  const accepted = Promise.withResolvers<undefined>();
  const temperature = request.temperature ?? 1;
  const likely = request.logprobs === true ? new TokenLogprobs(served.decoder) : undefined;
  const running = served.session.ask(
    { ...question, images: images.length === 0 ? undefined : images },
    {
      signal,
      temperature,
      topP: request.top_p,
      topK: request.top_k === undefined || request.top_k > 0 ? request.top_k : everyToken,
      repetitionPenalty: request.repetition_penalty,
      seed: request.seed ?? (temperature > 0 ? randomInt(2 ** 31) : undefined),
      stop: typeof request.stop === 'string' ? [request.stop] : request.stop,
      maxNewTokens: request.max_completion_tokens ?? request.max_tokens ?? served.maxNewTokens,
      scores:
        likely === undefined ? undefined : { top: request.top_logprobs ?? 0, told: (score) => likely.push(score) },
      accepted: () => accepted.resolve(undefined),
    },
  );
  const first = running.next();
  async function* pieces(): AsyncGenerator<string, RowAnswer, undefined> {
    try {
      let next = await first;
      metrics.firstSeconds.observe((performance.now() - began) / 1000);
      for (; next.done !== true; next = await running.next()) yield next.value;
      metrics.seconds.observe((performance.now() - began) / 1000);
      metrics.tokens.add('prompt', next.value.promptTokens);
      metrics.tokens.add('answer', next.value.tokens.length);
      return next.value;
    } finally {
      // A reader that leaves gives the row back.
      await running.return(nothing);
      if (signal.aborted) metrics.abandoned.add('');
    }
  }
  return {
    request,
    head: {
      id: `chatcmpl-${randomUUID().replaceAll('-', '')}`,
      created: Math.floor(Date.now() / 1000),
      model: served.name,
      system_fingerprint: fingerprint,
    },
    accepted: async () => void (await Promise.race([accepted.promise, first])),
    pieces,
    logprobs: async () => likely?.take() ?? null,
    whole: async () => {
      const all = pieces();
      let next = await all.next();
      // oxlint-disable-next-line no-await-in-loop -- words come one after the other
      while (next.done !== true) next = await all.next();
      return next.value;
    },
  };
}

/** What a generator that is left gives. */
const nothing: RowAnswer = { text: '', tokens: [], reason: 'length', promptTokens: 0 };

/** Server-sent events. What goes wrong on the way is an event too: the status is long sent. */
function streamed(c: Context, asked: Asked, guest: Guest, { failed }: AppOptions): Response {
  const { head, request } = asked;
  const withUsage = request.stream_options?.include_usage === true;
  const usage = withUsage ? null : undefined;
  const { signal } = c.req.raw;
  const leave = (): void => guest.leave();
  // Whoever is gone before the first event is written never reads one.
  signal.addEventListener('abort', leave, { once: true });
  async function* events(): AsyncGenerator<string, void, undefined> {
    const pieces = asked.pieces();
    try {
      yield event(chunk(head, { role: 'assistant', content: '' }, { usage }));
      let next = await pieces.next();
      // oxlint-disable-next-line no-await-in-loop -- words come one after the other
      for (; next.done !== true; next = await pieces.next())
        yield event(chunk(head, { content: next.value }, { logprobs: await asked.logprobs(), usage }));
      const finish = finishReason(next.value);
      yield event(chunk(head, {}, { finish, logprobs: await asked.logprobs(), usage }));
      if (withUsage) yield event(usageChunk(head, next.value));
      yield 'data: [DONE]\n\n';
    } catch (error) {
      const told = apiError(error);
      if (told.status >= 500 && !signal.aborted) failed?.(told.cause ?? error);
      yield event(told.body);
    } finally {
      signal.removeEventListener('abort', leave);
      await pieces.return(nothing);
      guest.leave();
    }
  }
  return c.body(ReadableStream.from(events()).pipeThrough(new TextEncoderStream()), 200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-cache',
    'X-Accel-Buffering': 'no',
  });
}

function event(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

// ---- who may ask -----------------------------------------------------------------------------------------------------

/** Throws `ApiError` where a page of another origin calls by a name that leads here. */
function checkHost(host: string | undefined): void {
  const name = host?.replace(/:\d*$/, '') ?? '';
  if (/^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i.test(name)) return;
  throw new ApiError(403, 'the server listens on loopback and is called by another name', { code: 'foreign_host' });
}

function checkKey(key: string | undefined, authorization: string | undefined): void {
  if (key === undefined) return;
  const given = /^Bearer\s+(.+)$/i.exec(authorization ?? '')?.[1] ?? '';
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (timingSafeEqual(digest(given), digest(key))) return;
  throw new ApiError(
    401,
    given === '' ? "there is no key: send 'Authorization: Bearer KEY'" : 'the key is not that of this server',
    { code: 'invalid_api_key' },
  );
}

function checkModel(name: string, served: Served): void {
  if (name === served.name) return;
  throw new ApiError(404, `the model '${name.slice(0, 200)}' is not served here: there is '${served.name}'`, {
    param: 'model',
    code: 'model_not_found',
  });
}
