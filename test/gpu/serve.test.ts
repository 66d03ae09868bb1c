// The server as clients that we did not write see it: OpenAI's own for JavaScript, the AI SDK, and what the harnesses send.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import sharp from 'sharp';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { toPrompts } from '../../pipelines/answer/prompts.ts';
import { RowSession } from '../../pipelines/answer/rows/row-session.ts';
import { serveChat, type ServeOptions, type Serving } from '../../pipelines/serve/serve.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { makeLanguage } from '../support/made-language.ts';
import { everything, share } from '../support/share.ts';
import { withoutGpu } from './compare.ts';

type Params = OpenAI.ChatCompletionCreateParamsNonStreaming;

interface Said {
  readonly content: string;
  readonly finish: string;
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number; readonly total_tokens: number };
}

describe.skipIf(withoutGpu)('clients', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-serve-'));
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  }, 60_000);
  afterAll(() => {
    expect(device.memory.now).toBe(0);
    device.close();
    rmSync(root, { recursive: true });
  });

  async function serving<T>(
    model: OpenedModel,
    { rows, context, images }: { readonly rows: number; readonly context: number; readonly images: number },
    options: ServeOptions,
    use: (server: Serving, session: RowSession) => Promise<T>,
  ): Promise<T> {
    const session = await RowSession.open(model, device, { rows, context, images });
    const server = await serveChat(
      {
        name: 'made',
        created: 1,
        upright: model.upright,
        images,
        maxNewTokens: model.maxNewTokens,
        session,
        decoder: model.tokenizer,
        deviceBytes: () => device.memory.now,
      },
      { port: 0, ...options },
    );
    try {
      return await use(server, session);
    } finally {
      await server.close();
      await session.close();
      model.close();
    }
  }

  const clientOf = ({ url }: Serving): OpenAI =>
    new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0, timeout: 300_000 });

  async function whole(client: OpenAI, params: Params): Promise<Said> {
    const { choices, usage } = await client.chat.completions.create(params);
    const [choice] = choices;
    if (choice?.message.content == null || usage === undefined) throw new TypeError('an answer has a text and a usage');
    return { content: choice.message.content, finish: choice.finish_reason, usage };
  }

  async function inPieces(client: OpenAI, params: Params): Promise<Said> {
    const stream = await client.chat.completions.create({
      ...params,
      stream: true,
      stream_options: { include_usage: true },
    });
    let [content, finish] = ['', ''];
    let usage: Said['usage'] | undefined;
    for await (const { choices, usage: counted } of stream) {
      content += choices[0]?.delta.content ?? '';
      finish = choices[0]?.finish_reason ?? finish;
      usage = counted ?? usage;
    }
    if (usage === undefined) throw new TypeError('a stream ends with its usage');
    return { content, finish, usage };
  }

  /** Questions of all kinds; `picture` gives what is shown with the n-th, where the model sees. */
  const questions = (picture: (n: number) => readonly string[]): readonly Params[] =>
    Array.from({ length: 10 }, (_, n): Params => {
      const text = { type: 'text', text: `What ${'really '.repeat(n % 4)}is this?` } as const;
      const shown = picture(n).map((url) => ({ type: 'image_url', image_url: { url, detail: 'low' } }) as const);
      const drawn = n % 2 === 1 ? { temperature: 0.9, top_p: 0.95, seed: n } : { temperature: 0 };
      return {
        model: 'made',
        messages: [
          ...(n % 5 === 4 ? [{ role: 'system', content: 'Be brief.' } as const] : []),
          { role: 'user', content: n % 3 === 0 && shown.length === 0 ? text.text : [...shown, text] },
        ],
        ...drawn,
        ...(n % 4 === 0 ? { max_completion_tokens: 3 + n } : { max_tokens: 3 + n }),
        ...(n === 6 ? { stop: ['a'] } : {}),
        ...(n === 7 ? { user: 'me', n: 1 } : {}),
      };
    });

  /** `count` requests, `atOnce` at a time, each with the answer that it has alone. */
  async function alike(client: OpenAI, all: readonly Params[], count: number, atOnce: number): Promise<void> {
    const alone: Said[] = [];
    // oxlint-disable-next-line no-await-in-loop -- alone
    for (const params of all) alone.push(await whole(client, params));
    let next = 0;
    const one = async (): Promise<void> => {
      for (let n = next++; n < count; n = next++) {
        const params = all[n % all.length];
        if (params === undefined) throw new RangeError(`question ${n}`);
        // oxlint-disable-next-line no-await-in-loop -- a client asks one thing after the other
        expect(await (n % 3 === 1 ? inPieces : whole)(client, params)).toEqual(alone[n % all.length]);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    expect(new Set(alone.map(({ content }) => content)).size).toBeGreaterThan(all.length / 2);
    for (const { usage } of alone) expect(usage.prompt_tokens + usage.completion_tokens).toBe(usage.total_tokens);
  }

  test('the openai client: many requests, 32 at once, whole and in pieces, each as alone; who leaves gives a row back', async () => {
    const model = await openModel(makeLanguage(join(root, 'language'), 'llama'));
    await serving(model, { rows: 8, context: 128, images: 1 }, {}, async (server, session) => {
      const client = clientOf(server);
      expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['made']);
      await alike(
        client,
        questions(() => []),
        share(64, 200),
        32,
      );

      // VLMEvalKit posts to the whole address, lmms-eval sends lists of parts and fields of other servers.
      const posted = await fetch(`${server.url}/chat/completions`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: 'Bearer sk-x' },
        body: JSON.stringify({
          model: 'made',
          messages: [
            { role: 'system', content: 'Be brief.' },
            { role: 'user', content: [{ type: 'text', text: 'What?' }] },
          ],
          temperature: 0,
          max_tokens: 4,
          chat_template_kwargs: { enable_thinking: false },
          media_io_kwargs: {},
        }),
      });
      expect(posted.status).toBe(200);

      const refused = client.chat.completions.create({
        model: 'made',
        messages: [{ role: 'user', content: 'x' }],
        n: 2,
      });
      await expect(refused).rejects.toMatchObject({ status: 400, param: 'n', type: 'invalid_request_error' });
      const unknown = client.chat.completions.create({ model: 'other', messages: [{ role: 'user', content: 'x' }] });
      await expect(unknown).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
      const long = client.chat.completions.create({
        model: 'made',
        messages: [{ role: 'user', content: 'why '.repeat(200) }],
      });
      await expect(long).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });

      // One leaves a stream, one an answer, one while it waits.
      const gone = Array.from({ length: 12 }, async (_, n) => {
        const leaving = new AbortController();
        const asking = client.chat.completions.create(
          {
            model: 'made',
            messages: [{ role: 'user', content: `What is ${n}?` }],
            max_tokens: 100,
            stream: n % 2 === 0,
          },
          { signal: leaving.signal },
        );
        setTimeout(() => leaving.abort(), 5 * n);
        const stream = await asking;
        if (Symbol.asyncIterator in stream) for await (const piece of stream) void piece;
      });
      await Promise.allSettled(gone);
      for (let turns = 0; session.rows.busy + session.waiting > 0 && turns < 400; turns++) await sleep(5);
      expect([session.rows.busy, session.waiting]).toEqual([0, 0]);
      await alike(client, questions(() => []).slice(0, 3), 6, 3);

      // The AI SDK.
      const provider = createOpenAICompatible({ name: 'made', baseURL: server.url });
      const prompt = 'What is this?';
      const { text, finishReason, usage } = await generateText({
        model: provider('made'),
        prompt,
        temperature: 0,
        maxOutputTokens: 6,
      });
      expect([text !== '', finishReason, usage.outputTokens]).toEqual([true, 'length', 6]);
      const stream = streamText({ model: provider('made'), prompt, temperature: 0, maxOutputTokens: 6 });
      expect(await stream.text).toBe(text);
    });
  }, 600_000);

  test.runIf(everything)(
    'pictures through Cambrian, from the openai client and the AI SDK; a full house; closing answers what runs',
    async () => {
      const model = await openModel(makeCheckpoint(join(root, 'cambrian')).directory);
      const png = readFileSync(join(import.meta.dirname, '../../examples/photos/chelsea.png'));
      const jpeg = await sharp(png).resize(90, 60).jpeg().toBuffer();
      const urls = [
        `data:image/png;base64,${png.toString('base64')}`,
        `data:image/jpeg;base64,${jpeg.toString('base64')}`,
      ] as const;
      await serving(
        model,
        { rows: 3, context: 400, images: 2 },
        { queue: 1, apiKey: 'key' },
        async (server, session) => {
          const client = new OpenAI({ baseURL: server.url, apiKey: 'key', maxRetries: 0, timeout: 300_000 });
          const all = questions((n) => (n % 3 === 0 ? urls : [urls[n % 2] ?? urls[0]]));
          await alike(client, all, 60, 4);

          const provider = createOpenAICompatible({ name: 'made', baseURL: server.url, apiKey: 'key' });
          const content = [{ type: 'image', image: png } as const, { type: 'text', text: 'What is this?' } as const];
          const ask = { temperature: 0, maxOutputTokens: 6, messages: [{ role: 'user' as const, content }] };
          const { text } = await generateText({ model: provider('made'), ...ask });
          expect(text).not.toBe('');
          expect(await streamText({ model: provider('made'), ...ask }).text).toBe(text);

          await expect(clientOf(server).models.list()).rejects.toMatchObject({ status: 401 });
          const remote = { type: 'image_url', image_url: { url: 'https://example.com/x.png' } } as const;
          const far = client.chat.completions.create({
            model: 'made',
            messages: [{ role: 'user', content: [remote] }],
          });
          await expect(far).rejects.toMatchObject({ status: 400, code: 'invalid_image' });

          // Five at once, of which four may come in: what is too much is told when to come back, and the client does.
          const patient = new OpenAI({ baseURL: server.url, apiKey: 'key', maxRetries: 20, timeout: 300_000 });
          const asked = all[0] ?? { model: 'made', messages: [] };
          const heard = await Promise.all(Array.from({ length: 5 }, async () => whole(patient, asked)));
          expect(new Set(heard.map((said) => JSON.stringify(said))).size).toBe(1);

          const running = whole(client, asked);
          while (session.rows.busy + session.waiting === 0) await sleep(1);
          const closing = server.close();
          expect(await running).toEqual(heard[0]);
          await closing;
          const after = await new Promise<string | undefined>((resolve) => {
            request(`${server.url}/models`)
              .on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
              .end();
          });
          expect(after).toBe('ECONNREFUSED');
        },
      );
    },
    900_000,
  );

  test('how likely each token was: the scores that it was drawn from, as the interpreter has them, and nobody else answers otherwise for it', async () => {
    const model = await openModel(makeLanguage(join(root, 'language'), 'llama'));
    await serving(model, { rows: 4, context: 64, images: 1 }, {}, async (server) => {
      const client = clientOf(server);
      const params = {
        model: 'made',
        messages: [{ role: 'user', content: 'What is it?' }],
        max_tokens: 6,
      } satisfies Params;
      const [greedy, drawn] = [{ temperature: 0 }, { temperature: 0.9, seed: 5 }];
      const [plain, asked, told] = await Promise.all([
        whole(client, { ...params, ...greedy }),
        client.chat.completions.create({ ...params, ...greedy, logprobs: true, top_logprobs: 20 }),
        client.chat.completions.create({ ...params, ...drawn, logprobs: true }),
      ]);
      const [choice] = asked.choices;
      const content = choice?.logprobs?.content ?? [];
      expect(choice?.message.content).toBe(plain.content);
      expect(content).toHaveLength(asked.usage?.completion_tokens ?? NaN);
      expect(content.map(({ token }) => token).join('')).toBe(plain.content);
      for (const { token, logprob, top_logprobs: top } of content) {
        expect(top).toHaveLength(20);
        expect(top[0]).toMatchObject({ token, logprob });
        expect(top.map((one) => one.logprob)).toEqual(top.map((one) => one.logprob).toSorted((a, b) => b - a));
        expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThanOrEqual(1 + 1e-9);
      }
      expect(told.choices[0]?.logprobs?.content?.every((one) => one.top_logprobs.length === 0)).toBe(true);

      const laid = await model.family.layOut([{ text: 'What is it?' }], {});
      const { inputs, symbols } = toPrompts(model, laid, 1, 'greedy', {});
      const { outputs } = evaluate(
        model.family.prefill({ batch: 1, capacity: 64, promptLimit: 63, imageLimit: 1, draw: 'greedy' }),
        {
          inputs: new Map(Object.entries(inputs).map(([name, value]) => [name, value as ArrayLike<number>])),
          params: (path, shape) => model.source.read(path, shape),
          symbols: new Map(Object.entries(symbols)),
        },
        { precision: 'f64' },
      );
      const scores = Array.from(outputs.get('logits')?.data ?? []);
      const norm = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
      const wanted = scores.map((score) => score - norm).toSorted((a, b) => b - a);
      const found = content[0]?.top_logprobs.map((one) => one.logprob) ?? [];
      // As decoding by rows is judged, for two scores.
      for (const [i, logprob] of found.entries())
        expect(Math.abs(logprob - (wanted[i] ?? NaN))).toBeLessThan(2e-4 * (1 + Math.abs(logprob)));
      expect(found).toHaveLength(20);

      const pieces = await client.chat.completions.create({ ...params, ...greedy, logprobs: true, stream: true });
      let text = '';
      let tokens = '';
      for await (const { choices } of pieces) {
        text += choices[0]?.delta.content ?? '';
        tokens += choices[0]?.logprobs?.content?.map(({ token }) => token).join('') ?? '';
      }
      expect([text, tokens]).toEqual([plain.content, plain.content]);
    });
  }, 300_000);

  test('an address that others reach needs a key; a port that is taken is told', async () => {
    const model = await openModel(makeLanguage(join(root, 'language'), 'llama'));
    await serving(model, { rows: 1, context: 64, images: 1 }, {}, async (server) => {
      const served = {
        name: 'x',
        created: 1,
        upright: false,
        images: 1,
        maxNewTokens: 1,
        decoder: model.tokenizer,
        deviceBytes: () => 0,
      };
      const session = {
        ask: () => {
          throw new TypeError('nobody asks');
        },
        rows: { busy: 0, all: 1 },
        waiting: 0,
        context: 1,
      };
      await expect(serveChat({ ...served, session }, { host: '0.0.0.0', port: 0 })).rejects.toThrow(
        /no key is asked for[^]*--api-key/,
      );
      const port = Number(new URL(server.url).port);
      await expect(serveChat({ ...served, session }, { port })).rejects.toThrow(/is taken[^]*another --port/);
    });
  }, 120_000);
});
