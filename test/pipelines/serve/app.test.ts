// The server's routes over a session that says what it is told to: what is taken, what is refused and how, how much is inside at once.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../../dsl/error.ts';
import { everyToken } from '../../../models/decoders/sampling.ts';
import type { Question } from '../../../pipelines/answer/family.ts';
import { ContextOverflowError } from '../../../pipelines/answer/generate.ts';
import type { AskOptions, RowAnswer } from '../../../pipelines/answer/rows/asking.ts';
import type { ApiErrorBody } from '../../../pipelines/serve/api-error.ts';
import { chatApp, type App, type AppOptions, type Served } from '../../../pipelines/serve/app.ts';
import { DeviceLostError } from '../../../runtime/device/failure.ts';
import { share } from '../../support/share.ts';

const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==';
const picture = { type: 'image_url', image_url: { url: `data:image/png;base64,${pixel}` } };

type Script = (question: Question, options: AskOptions) => AsyncGenerator<string, RowAnswer, undefined>;

async function* twoWords(_question: Question, options: AskOptions): AsyncGenerator<string, RowAnswer, undefined> {
  options.accepted?.();
  yield 'two ';
  yield 'words';
  return { text: 'two words', tokens: [1, 2, 3], reason: 'end', promptTokens: 7 };
}

interface Asked {
  readonly question: Question;
  readonly options: AskOptions;
}

/** A server whose questions are noted. */
function serverOf(
  options: Partial<AppOptions> = {},
  script: Script = twoWords,
  about: Partial<Served> = {},
): { readonly app: App; readonly asked: readonly Asked[] } {
  const asked: Asked[] = [];
  const app = chatApp(
    {
      name: 'made',
      created: 1,
      upright: false,
      images: 3,
      maxNewTokens: 17,
      session: {
        ask: (question, given = {}) => {
          asked.push({ question, options: given });
          return script(question, given);
        },
        rows: { busy: 0, all: 2 },
        waiting: 0,
        context: 100,
      },
      decoder: { decodeAll: (lists) => lists.map((ids) => ids.map((id) => `<${id}>`).join('')) },
      deviceBytes: () => 5,
      ...about,
    },
    { queue: 1, bodyBytes: 100_000, pictureBytes: 1e6, loopback: false, ...options },
  );
  return { app, asked };
}

const json = { 'Content-Type': 'application/json' };
const base = { model: 'made', messages: [{ role: 'user', content: 'What?' }] };

async function post(app: App, body: unknown, init: RequestInit = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return app.fetch(
    new Request('http://127.0.0.1:1/v1/chat/completions', { method: 'POST', headers: json, body: text, ...init }),
  );
}

/** A refusal in OpenAI's form. */
async function refusal(response: Response): Promise<ApiErrorBody['error'] & { readonly status: number }> {
  const body: unknown = await response.json();
  expect(body).toEqual({
    error: {
      message: expect.stringMatching(/./) as string,
      type: expect.stringMatching(/_error$/) as string,
      param: expect.toSatisfy((param) => param === null || typeof param === 'string') as string,
      code: expect.toSatisfy((code) => code === null || typeof code === 'string') as string,
    },
  });
  return { ...(body as ApiErrorBody).error, status: response.status };
}

/** The data of an event stream. */
async function events(response: Response): Promise<readonly unknown[]> {
  const text = await response.text();
  expect(text.endsWith('\n\n')).toBe(true);
  return text
    .slice(0, -2)
    .split('\n\n')
    .map((event) => {
      expect(event.startsWith('data: ')).toBe(true);
      const data = event.slice('data: '.length);
      return data === '[DONE]' ? data : (JSON.parse(data) as unknown);
    });
}

describe('what is asked', () => {
  test('a plain answer, with its usage', async () => {
    const { app, asked } = serverOf();
    const response = await post(app, { ...base, temperature: 0, max_tokens: 5, stop: 'x', seed: 3, top_p: 0.5 });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      object: 'chat.completion',
      model: 'made',
      choices: [{ index: 0, message: { role: 'assistant', content: 'two words' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
    });
    expect(asked[0]?.question).toEqual({ text: 'What?', system: undefined, history: undefined, images: undefined });
    expect(asked[0]?.options).toMatchObject({ temperature: 0, maxNewTokens: 5, stop: ['x'], seed: 3, topP: 0.5 });
  });

  test('in pieces, whose sum it is; usage in a chunk of its own where it is asked for', async () => {
    const { app } = serverOf();
    const plain = await events(await post(app, { ...base, stream: true }));
    expect(plain.at(-1)).toBe('[DONE]');
    expect(plain.slice(0, -1)).toMatchObject([
      {
        object: 'chat.completion.chunk',
        choices: [{ delta: { role: 'assistant', content: '' }, finish_reason: null }],
      },
      { choices: [{ delta: { content: 'two ' }, finish_reason: null }] },
      { choices: [{ delta: { content: 'words' }, finish_reason: null }] },
      { choices: [{ delta: {}, finish_reason: 'stop' }] },
    ]);
    expect(JSON.stringify(plain)).not.toMatch(/usage/);
    const counted = await events(await post(app, { ...base, stream: true, stream_options: { include_usage: true } }));
    expect(counted.slice(-3)).toMatchObject([
      { choices: [{ finish_reason: 'stop' }], usage: null },
      { choices: [], usage: { total_tokens: 10 } },
      '[DONE]',
    ]);
  });

  test('system, history and pictures; two messages of one speaker are one turn', async () => {
    const { app, asked } = serverOf();
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'developer', content: [{ type: 'text', text: 'Be kind.' }], name: 'me' },
      { role: 'user', content: [picture, { type: 'text', text: 'Who?' }] },
      { role: 'assistant', content: 'A cat.', refusal: null, annotations: [], tool_calls: [] },
      { role: 'user', content: 'And' },
      { role: 'user', content: [{ type: 'text', text: 'this?' }, picture, picture] },
    ];
    expect((await post(app, { ...base, messages })).status).toBe(200);
    const image = { width: 1, height: 1, rgb: expect.any(Uint8Array) as Uint8Array };
    expect(asked[0]?.question).toEqual({
      text: 'And\nthis?',
      system: 'Be brief.\nBe kind.',
      history: [
        { role: 'user', text: 'Who?', images: 1 },
        { role: 'assistant', text: 'A cat.', images: 0 },
      ],
      images: [image, image, image],
    });
  });

  test('what harnesses and clients send besides is taken; null is as good as nothing', async () => {
    const { app, asked } = serverOf();
    // lmms-eval, VLMEvalKit, the openai and AI SDK clients, and vLLM's names.
    const extra = {
      chat_template_kwargs: { enable_thinking: false },
      media_io_kwargs: {},
      n: 1,
      top_p: null,
      user: 'me',
      store: false,
      metadata: {},
      response_format: { type: 'text' },
      logprobs: false,
      frequency_penalty: 0,
      presence_penalty: 0,
      logit_bias: {},
      tools: [],
      tool_choice: 'none',
      max_completion_tokens: 9,
      max_tokens: 9,
      top_k: -1,
      repetition_penalty: 1.1,
      service_tier: 'auto',
      stream_options: { include_usage: true, include_obfuscation: false },
    };
    expect((await post(serverOf().app, { ...base, tools: [], tool_choice: 'auto' })).status).toBe(200);
    const detailed = { type: 'image_url', image_url: { ...picture.image_url, detail: 'low' } };
    const messages = [{ role: 'user', content: [{ type: 'text', text: 'What?' }, detailed] }];
    expect((await post(app, { ...base, ...extra, messages })).status).toBe(200);
    expect(asked[0]?.options).toMatchObject({
      maxNewTokens: 9,
      topK: everyToken,
      topP: undefined,
      repetitionPenalty: 1.1,
    });
    // By the API's own default, with a seed of its own.
    expect(asked[0]?.options).toMatchObject({ temperature: 1, seed: expect.any(Number) as number });
    expect((await post(app, base)).status).toBe(200);
    expect(asked[1]?.options.maxNewTokens).toBe(17);
  });

  test('the other routes', async () => {
    const { app } = serverOf();
    const get = async (path: string): Promise<Response> => app.fetch(new Request(`http://127.0.0.1:1${path}`));
    const entry = { id: 'made', object: 'model', created: 1, owned_by: 'opabinia' };
    expect(await (await get('/v1/models')).json()).toEqual({ object: 'list', data: [entry] });
    expect(await (await get('/v1/models/made')).json()).toEqual(entry);
    expect((await refusal(await get('/v1/models/other'))).code).toBe('model_not_found');
    expect(await (await get('/health')).json()).toMatchObject({ status: 'ok', model: 'made', rows: { all: 2 } });
    await post(app, base);
    const metrics = await get('/metrics');
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
    const lines = (await metrics.text()).trimEnd().split('\n');
    for (const line of lines)
      expect(line).toMatch(
        /^(?:# (?:HELP|TYPE) [a-z_]+ \S.*|[a-z_]+(?:\{[a-z]+="[^"]*"\})? \d+(?:\.\d+)?(?:e[+-]\d+)?)$/,
      );
    expect(lines).toContain('opabinia_tokens_total{kind="prompt"} 7');
    expect(lines).toContain('opabinia_requests_total{status="200"} 3');
    expect(lines).toContain('opabinia_request_seconds_count 1');
  });
});

describe('how likely tokens were', () => {
  const scored = (text: string, [token, logprob]: readonly [number, number]) => ({
    token: text,
    logprob,
    bytes: [...Buffer.from(text)],
    top_logprobs: [
      { token: text, logprob, bytes: [...Buffer.from(text)] },
      { token: `<${token + 1}>`, logprob: -9999, bytes: [...Buffer.from(`<${token + 1}>`)] },
    ],
  });
  async function* script(_question: Question, { scores }: AskOptions): AsyncGenerator<string, RowAnswer, undefined> {
    const tell = (token: number, logprob: number) =>
      scores?.told({
        token,
        logprob,
        top: [
          { token, logprob },
          { token: token + 1, logprob: -Infinity },
        ],
      });
    tell(1, -0.25);
    yield 'two ';
    tell(2, -0.5);
    tell(3, -1);
    yield 'words';
    return { text: 'two words', tokens: [1, 2, 3], reason: 'end', promptTokens: 7 };
  }
  const content = [scored('<1>', [1, -0.25]), scored('<2>', [2, -0.5]), scored('<3>', [3, -1])];

  test('in a plain answer', async () => {
    const { app } = serverOf({}, script);
    const response = await post(app, { ...base, logprobs: true, top_logprobs: 2 });
    expect(await response.json()).toMatchObject({ choices: [{ logprobs: { content, refusal: null } }] });
  });

  test('with the words that they belong to', async () => {
    const { app } = serverOf({}, script);
    const response = await post(app, { ...base, logprobs: true, top_logprobs: 2, stream: true });
    const told = (await events(response)).slice(0, -1) as readonly {
      readonly choices: readonly [{ readonly logprobs: unknown }];
    }[];
    expect(told.map(({ choices: [{ logprobs }] }) => logprobs)).toEqual([
      null,
      { content: content.slice(0, 1), refusal: null },
      { content: content.slice(1), refusal: null },
      null,
    ]);
  });

  test('are not read back where nobody asks', async () => {
    const { app, asked } = serverOf({}, script);
    expect(await (await post(app, base)).json()).toMatchObject({ choices: [{ logprobs: null }] });
    expect(asked[0]?.options.scores).toBeUndefined();
  });
});

describe('what is refused', () => {
  test.each<[string, object, string, RegExp]>([
    ['a field that nobody knows', { foo: 1 }, 'foo', /'foo' is not known/],
    ['one below', { stream_options: { usage: true } }, 'stream_options.usage', /is not known/],
    ['two answers', { n: 2 }, 'n', /one answer/],
    ['probabilities of no token', { top_logprobs: 2 }, 'top_logprobs', /with logprobs: true/],
    ['more of them than there are', { logprobs: true, top_logprobs: 21 }, 'top_logprobs', /<=20/],
    ['probabilities as a number', { logprobs: 3 }, 'logprobs', /boolean/],
    ['JSON', { response_format: { type: 'json_object' } }, 'response_format.type', /answers are text/],
    [
      'a schema',
      { response_format: { type: 'json_schema', json_schema: {} } },
      'response_format.type',
      /answers are text/,
    ],
    ['tools', { tools: [{ type: 'function' }] }, 'tools[0]', /calls no tools/],
    ['a tool that must be called', { tool_choice: 'required' }, 'tool_choice', /calls no tools/],
    ['a penalty that would be missed', { frequency_penalty: 0.5 }, 'frequency_penalty', /repetition_penalty/],
    ['a temperature', { temperature: 2.1 }, 'temperature', /<=2/],
    ['a share', { top_p: -0.1 }, 'top_p', />=0/],
    ['no tokens', { max_tokens: 0 }, 'max_tokens', />=1/],
    ['half a token', { max_tokens: 1.5 }, 'max_tokens', /int/],
    ['two bounds', { max_tokens: 1, max_completion_tokens: 2 }, 'max_completion_tokens', /give one/],
    ['five stops', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop', /<=4/],
    ['an empty stop', { stop: '' }, 'stop', /./],
    ['no messages', { messages: [] }, 'messages', />=1/],
    ['a tool’s message', { messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].role', /./],
    [
      'the assistant last',
      { messages: [...base.messages, { role: 'assistant', content: 'x' }] },
      'messages',
      /the last one/,
    ],
    [
      'the assistant first',
      { messages: [{ role: 'assistant', content: 'x' }, ...base.messages] },
      'messages',
      /speaks first/,
    ],
    [
      'the system late',
      { messages: [...base.messages, { role: 'system', content: 'x' }] },
      'messages[1].role',
      /behind others/,
    ],
    [
      'an unknown part',
      { messages: [{ role: 'user', content: [{ type: 'input_audio' }] }] },
      'messages[0].content[0].type',
      /./,
    ],
    ['a number as text', { messages: [{ role: 'user', content: 3 }] }, 'messages[0].content', /./],
    [
      'a remote picture',
      withPicture('https://example.com/cat.png'),
      'messages[0].content[0].image_url.url',
      /nothing is fetched/,
    ],
    ['a file', withPicture('file:///etc/passwd'), 'messages[0].content[0].image_url.url', /nothing is fetched/],
    [
      'an SVG',
      withPicture('data:image/svg+xml;base64,PHN2Zy8+'),
      'messages[0].content[0].image_url.url',
      /PNG, JPEG or WebP/,
    ],
    ['no base64', withPicture('data:image/png;base64,%%%%'), 'messages[0].content[0].image_url.url', /not base64/],
    [
      'no picture',
      withPicture('data:image/png;base64,AAAA'),
      'messages[0].content[0].image_url.url',
      /not a JPEG, PNG or WebP/,
    ],
    [
      'half a picture',
      withPicture(`data:image/png;base64,${pixel.slice(0, 60)}`),
      'messages[0].content[0].image_url.url',
      /could not be decoded/,
    ],
    [
      'four pictures',
      { messages: [{ role: 'user', content: [picture, picture, picture, picture] }] },
      'messages',
      /at most 3/,
    ],
  ])('%s', async (_name, fields, param, message) => {
    const { app, asked } = serverOf();
    const told = await refusal(await post(app, { ...base, ...fields }));
    expect([told.status, told.param]).toEqual([400, param]);
    expect(told.message).toMatch(message);
    expect(asked).toEqual([]);
  });

  test('another model, other paths and methods, other bodies', async () => {
    const { app } = serverOf();
    expect(await refusal(await post(app, { ...base, model: 'gpt' }))).toMatchObject({ status: 404, param: 'model' });
    const at = async (path: string, init?: RequestInit) =>
      refusal(await app.fetch(new Request(`http://127.0.0.1:1${path}`, init)));
    expect((await at('/v1/completions', { method: 'POST' })).status).toBe(404);
    expect((await at('/')).status).toBe(404);
    expect((await at('/v1/chat/completions')).status).toBe(405);
    expect((await at('/health', { method: 'DELETE' })).status).toBe(405);
    expect((await refusal(await post(app, base, { headers: { 'Content-Type': 'text/plain' } }))).status).toBe(415);
    expect((await refusal(await post(app, base, { headers: { ...json, 'Content-Encoding': 'gzip' } }))).status).toBe(
      415,
    );
    expect((await refusal(await post(app, '{"model":'))).code).toBe('invalid_json');
    expect((await refusal(await post(app, { ...base, user: 'x'.repeat(100_001) }))).status).toBe(413);
    const stream = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(60_000)),
    });
    const endless: RequestInit & { duplex: 'half' } = { body: stream, duplex: 'half' };
    expect((await refusal(await post(app, '', endless))).status).toBe(413);
  });

  test('what the session refuses is the question’s, what breaks is the server’s', async () => {
    const failing = (error: Error): Script =>
      async function* (_question, options) {
        if (error instanceof DeviceLostError) options.accepted?.();
        yield* [];
        throw error;
      };
    const about = async (error: Error, stream: boolean) => {
      const told: unknown[] = [];
      const { app } = serverOf({ failed: (what) => void told.push(what) }, failing(error));
      return { response: await post(app, { ...base, stream }), told };
    };
    for (const stream of [false, true]) {
      const long = await about(new ContextOverflowError(200, 99, 'shorten the prompt'), stream);
      expect(await refusal(long.response)).toMatchObject({ status: 400, code: 'context_length_exceeded' });
      const own = await about(new OpabiniaError('a template', { advice: 'say less' }), stream);
      expect(await refusal(own.response)).toMatchObject({ status: 400, message: 'a template: say less' });
      const fault = new TypeError('x is not a function');
      const broken = await about(fault, stream);
      expect(await refusal(broken.response)).toMatchObject({
        status: 500,
        message: 'something went wrong in the server',
      });
      expect(broken.told).toEqual([fault]);
    }
    const lost = new DeviceLostError('gone', {});
    expect((await refusal((await about(lost, false)).response)).status).toBe(503);
    // The stream has begun: an event says it, and the stream ends.
    const late = await about(lost, true);
    expect(await events(late.response)).toMatchObject([{ choices: [{}] }, { error: { type: 'server_error' } }]);
    expect(late.told).toEqual([lost]);
  });

  test('keys, and names that lead to loopback', async () => {
    const { app } = serverOf({ apiKey: 'right' });
    const headers = (authorization: string) => ({ headers: { ...json, Authorization: authorization } });
    expect((await refusal(await post(app, base))).status).toBe(401);
    expect((await refusal(await post(app, base, headers('Bearer wrong')))).code).toBe('invalid_api_key');
    expect((await post(app, base, headers('Bearer right'))).status).toBe(200);
    expect((await app.fetch(new Request('http://127.0.0.1:1/metrics'))).status).toBe(401);
    expect((await app.fetch(new Request('http://127.0.0.1:1/health'))).status).toBe(200);
    const near = serverOf({ loopback: true });
    const called = async (host: string) =>
      (await near.app.fetch(new Request('http://127.0.0.1:1/v1/models', { headers: { host } }))).status;
    expect(await Promise.all(['127.0.0.1:1', 'localhost:8000', '[::1]:8000'].map(called))).toEqual([200, 200, 200]);
    expect(await Promise.all(['evil.example', '127.0.0.1.evil.example', '[::2]'].map(called))).toEqual([403, 403, 403]);
  });
});

function withPicture(url: string): object {
  return { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] };
}

describe('how much is inside', () => {
  /** Answers that end when they are told to. */
  function held(): { readonly script: Script; readonly finish: () => void } {
    const open = Promise.withResolvers<undefined>();
    return {
      finish: () => open.resolve(undefined),
      script: async function* (_question, options) {
        options.accepted?.();
        await Promise.race([
          open.promise,
          new Promise((_, reject) => options.signal?.addEventListener('abort', () => reject(options.signal?.reason))),
        ]);
        yield 'done';
        return { text: 'done', tokens: [1], reason: 'length', promptTokens: 1 };
      },
    };
  }

  test('rows and queue together; beyond, a client is told when to come back; who leaves makes room', async () => {
    const { script, finish } = held();
    const { app, asked } = serverOf({}, script);
    const leaving = new AbortController();
    const inside = [post(app, base), post(app, { ...base, stream: true }), post(app, base, { signal: leaving.signal })];
    while (asked.length < 3) await new Promise(setImmediate);
    const full = await post(app, base);
    expect(Number(full.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refusal(full)).toMatchObject({ status: 429, type: 'rate_limit_error', code: 'queue_full' });
    leaving.abort();
    await inside[2];
    const next = post(app, base);
    while (asked.length < 4) await new Promise(setImmediate);
    expect((await post(app, base)).status).toBe(429);
    finish();
    const [plain, stream] = [await inside[0], await inside[1]];
    expect(plain?.status).toBe(200);
    expect(await stream?.text()).toMatch(/"done"[^]*\[DONE\]/);
    expect((await next).status).toBe(200);
    expect((await post(app, base)).status).toBe(200);
  });

  test('a stream that is not read to its end leaves too', async () => {
    const { app, asked } = serverOf();
    for (let turn = 0; turn < 12; turn++) {
      const response = await post(app, { ...base, stream: true });
      expect(response.status).toBe(200);
      await response.body?.cancel();
    }
    expect(asked).toHaveLength(12);
  });

  test('pictures of all requests together', async () => {
    const { script, finish } = held();
    const { app, asked } = serverOf({ pictureBytes: 3 }, script);
    const first = post(app, { ...base, ...withPicture(picture.image_url.url) });
    while (asked.length < 1) await new Promise(setImmediate);
    expect(await refusal(await post(app, { ...base, ...withPicture(picture.image_url.url) }))).toMatchObject({
      status: 429,
      code: 'pictures_full',
    });
    finish();
    expect((await first).status).toBe(200);
    expect((await post(app, { ...base, ...withPicture(picture.image_url.url) })).status).toBe(200);
  });

  test('closing: what runs is answered, nothing new is taken', async () => {
    const { script, finish } = held();
    const { app, asked } = serverOf({}, script);
    const running = post(app, base);
    while (asked.length < 1) await new Promise(setImmediate);
    const closed = app.close();
    expect(await refusal(await post(app, base))).toMatchObject({ status: 503, code: 'closing' });
    expect((await app.fetch(new Request('http://127.0.0.1:1/health'))).status).toBe(503);
    finish();
    expect((await running).status).toBe(200);
    await closed;
  });
});

describe('malformed requests', () => {
  const content = fc.oneof(
    fc.integer(),
    fc.constant(null),
    fc.object(),
    fc.array(fc.oneof(fc.integer(), fc.record({ type: fc.string() }), fc.constant({ type: 'text' })), { minLength: 1 }),
    fc.string().map((url) => [{ type: 'image_url', image_url: { url } }]),
    fc.base64String().map((data) => [{ type: 'image_url', image_url: { url: `data:image/jpeg;base64,${data}` } }]),
    fc.uint8Array({ minLength: 1 }).map((bytes) => [
      {
        type: 'image_url',
        image_url: {
          url: `data:image/png;base64,${Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, ...bytes]).toString('base64')}`,
        },
      },
    ]),
    fc.constant([{ type: 'image_url', image_url: { url: picture.image_url.url, extra: 1 } }]),
  );
  const role = fc.string().filter((name) => !['user', 'system', 'developer', 'assistant'].includes(name));
  const messages = fc.oneof(
    fc.jsonValue().filter((value) => value !== null),
    fc.tuple(content).map(([value]) => [{ role: 'user', content: value }]),
    fc.tuple(role).map(([name]) => [{ role: name, content: 'x' }]),
    fc.string().map((text) => [
      { role: 'user', content: 'x' },
      { role: 'assistant', content: text },
    ]),
  );
  /** A field, and values that it must not have; what is not a number is null as JSON, which is as good as nothing. */
  const field = fc.oneof(
    fc.tuple(
      fc.constantFrom('temperature', 'top_p'),
      fc.oneof(fc.double({ min: 2.01, max: 1e9, noNaN: true }), fc.string(), fc.boolean()),
    ),
    fc.tuple(
      fc.constantFrom('max_tokens', 'max_completion_tokens'),
      fc.oneof(fc.integer({ max: 0 }), fc.string(), fc.double({ min: 0.1, max: 0.9, noNaN: true })),
    ),
    fc.tuple(
      fc.constantFrom('stop'),
      fc.oneof(fc.integer(), fc.object(), fc.array(fc.string({ minLength: 1 }), { minLength: 5 })),
    ),
    fc.tuple(fc.constantFrom('seed'), fc.oneof(fc.double({ min: 0.1, max: 0.9, noNaN: true }), fc.string())),
    fc.tuple(fc.constantFrom('stream'), fc.oneof(fc.integer(), fc.string())),
    fc.tuple(fc.constantFrom('n'), fc.oneof(fc.integer({ min: 2 }), fc.string())),
    fc.tuple(fc.constantFrom('tools', 'response_format', 'logit_bias'), fc.oneof(fc.constant(true), fc.integer())),
    fc.tuple(
      fc.constantFrom('logprobs', 'top_logprobs'),
      fc.oneof(fc.string(), fc.integer({ min: 21 }), fc.integer({ max: -1 })),
    ),
    fc.tuple(
      fc.string({ minLength: 1 }).map((name) => `x_${name}`),
      fc.jsonValue().filter((value) => value !== null),
    ),
    fc.tuple(fc.constantFrom('model'), fc.oneof(fc.integer(), fc.string())),
    fc.tuple(fc.constantFrom('messages'), messages),
  );
  const broken = fc.oneof(
    field.map(([name, value]) => ({ field: name, body: JSON.stringify({ ...base, [name]: value }), headers: json })),
    fc.jsonValue().map((value) => ({ field: undefined, body: JSON.stringify(value), headers: json })),
    fc.tuple(fc.nat(), fc.string()).map(([at, text]) => {
      const whole = JSON.stringify(base);
      const cut = 1 + (at % (whole.length - 1));
      return { field: undefined, body: `${whole.slice(0, cut)}${text.replaceAll(/["}\]]/g, '')}`, headers: json };
    }),
    fc.string().map((type) => ({
      field: undefined,
      body: JSON.stringify(base),
      headers: { 'Content-Type': `text/${type.replaceAll(/[^a-z]/g, '')}` },
    })),
  );

  test('1,000 of them: all 4xx, in OpenAI’s form, with the field that is wrong', async () => {
    const { app, asked } = serverOf();
    await fc.assert(
      fc.asyncProperty(broken, async ({ field: name, body, headers }) => {
        const response = await post(app, body, { headers });
        const told = await refusal(response);
        expect([told.status, body]).toSatisfy(
          ([status]) => typeof status === 'number' && status >= 400 && status < 500,
        );
        if (name !== undefined) expect(told.param?.startsWith(name), `${told.param} for ${body}`).toBe(true);
      }),
      { numRuns: share(1000, 10_000), seed: 14 },
    );
    expect(asked).toEqual([]);
  }, 60_000);
});
