// Questions that come and go as they like: every answer is what the question has alone, whatever is answered beside it and in however
// many rows; whoever leaves gives a row back, and what fails is one question's affair.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import type { Question } from '../../pipelines/answer/family.ts';
import { ContextOverflowError } from '../../pipelines/answer/generate.ts';
import { NotFiniteError } from '../../pipelines/answer/not-finite.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import type { AskOptions, RowAnswer, RowSessionOptions } from '../../pipelines/answer/rows/asking.ts';
import { RowSession } from '../../pipelines/answer/rows/row-session.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import { editJson, editTensors } from '../support/edit-directory.ts';
import { makeLanguage } from '../support/made-language.ts';
import { makeVlm, type VlmKind } from '../support/made-vlm.ts';
import { everything, share } from '../support/share.ts';
import { seed, withoutGpu } from './compare.ts';

interface Asking {
  readonly question: Question;
  readonly options: AskOptions;
}

/** An answer and the pieces that it came in. */
interface Heard {
  readonly answer: RowAnswer;
  readonly pieces: readonly string[];
}

type Kind = 'cambrian' | 'language' | 'long rope' | 'llava' | 'assembled' | 'not a number' | VlmKind;

/** What the model knows of this letter is not a number. */
const poison = 'q';
function withoutNumber(directory: string): string {
  const { model } = readJsonFile(join(directory, 'tokenizer.json')) as {
    readonly model: { readonly vocab: Readonly<Record<string, number>> };
  };
  const id = model.vocab[poison];
  if (id === undefined) throw new TypeError('the letter is a token');
  for (const shard of readdirSync(directory).filter((file) => file.endsWith('.safetensors')))
    editTensors(join(directory, shard), (tensors) =>
      tensors.map((tensor) => {
        const [, width = 0] = tensor.shape;
        return tensor.name === 'model.embed_tokens.weight'
          ? { ...tensor, values: Float32Array.from(tensor.values, (x, i) => (Math.floor(i / width) === id ? NaN : x)) }
          : tensor;
      }),
    );
  return directory;
}

async function heard(asking: AsyncGenerator<string, RowAnswer>): Promise<Heard> {
  const pieces: string[] = [];
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop
    const next = await asking.next();
    if (next.done === true) return { answer: next.value, pieces };
    pieces.push(next.value);
  }
}

describe.skipIf(withoutGpu)('a session that answers by rows', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-rows-'));
  const models = new Map<string, Promise<OpenedModel>>();
  let device: Device;
  let photo: Image;
  const tall: Image = {
    width: 40,
    height: 70,
    rgb: Uint8Array.from({ length: 40 * 70 * 3 }, (_, i) => (i * 37) % 251),
  };

  beforeAll(async () => {
    device = await openDevice();
    photo = await decodeImage(join(import.meta.dirname, '../../examples/photos/chelsea.png'));
  }, 120_000);
  afterAll(async () => {
    for (const model of models.values()) (await model).close();
    expect(device.memory.now).toBe(0);
    device.close();
    rmSync(root, { recursive: true });
  });

  async function modelOf(kind: Kind): Promise<OpenedModel> {
    const known = models.get(kind) ?? directoryOf(kind).then(openModel);
    models.set(kind, known);
    return known;
  }

  async function directoryOf(kind: Kind): Promise<string> {
    const place = join(root, kind);
    switch (kind) {
      case 'cambrian':
        return makeCheckpoint(place).directory;
      case 'language':
        return makeLanguage(place, 'llama');
      case 'long rope':
        makeLanguage(place, 'phi3');
        editJson(place, 'config.json', (json) => {
          json['original_max_position_embeddings'] = 32;
          const factors = { short_factor: Array(6).fill(1), long_factor: [1, 1.5, 2, 3, 4, 6] };
          json['rope_scaling'] = { type: 'longrope', ...factors };
        });
        return place;
      case 'llava':
        return makeLlava(place).directory;
      case 'assembled': {
        const towers = [join(makeCheckpoint(join(root, 'cambrian')).directory, 'towers', 'ViT-made-14-98')];
        const language = makeLanguage(join(root, 'language'), 'llama');
        return (await assemble({ towers, connector: 'deco', tokens: 9, language, out: place })).directory;
      }
      case 'not a number':
        return withoutNumber(makeLanguage(place, 'llama'));
      default:
        return makeVlm(place, kind);
    }
  }

  async function using<T>(
    model: OpenedModel,
    options: RowSessionOptions,
    use: (session: RowSession) => Promise<T>,
  ): Promise<T> {
    const session = await RowSession.open(model, device, options);
    try {
      return await use(session);
    } finally {
      await session.close();
    }
  }

  /** What an ordinary session says, one question after the other. */
  async function alone(model: OpenedModel, context: number, all: readonly Asking[]): Promise<readonly RowAnswer[]> {
    const session = await Session.open(model, device, { context, images: 2 });
    try {
      const answers: RowAnswer[] = [];
      for (const { question, options } of all) {
        const running = session.answer(question, options);
        let next = await running.next();
        while (next.done !== true) next = await running.next();
        const { width } = await model.family.layOut([question], options);
        answers.push({ ...next.value, promptTokens: width });
      }
      return answers;
    } finally {
      session.dispose();
    }
  }

  const askings = (pictures: (n: number) => readonly Image[] | undefined): readonly Asking[] =>
    Array.from({ length: 7 }, (_, n): Asking => {
      const maxNewTokens = 2 + ((n * 5) % 9);
      const hot: AskOptions = {
        temperature: 0.7 + n / 10,
        topP: 0.9,
        topK: 60,
        seed: n,
        repetitionPenalty: 1 + (n % 2) / 5,
      };
      return {
        question: { text: `What ${'really '.repeat((n * 3) % 5)}is this?`, images: pictures(n) },
        options: n % 2 === 0 ? { maxNewTokens } : { ...hot, maxNewTokens },
      };
    });

  /** When each asks, in milliseconds, and after how many pieces it leaves. */
  const arrivals = (count: number) =>
    fc.record({
      order: fc.shuffledSubarray(
        Array.from({ length: count }, (_, n) => n),
        { minLength: Math.ceil(count / 2), maxLength: count },
      ),
      delays: fc.array(fc.integer({ min: 0, max: 60 }), { minLength: count, maxLength: count }),
      leaves: fc.array(fc.constantFrom(undefined, undefined, undefined, 0, 1), { minLength: count, maxLength: count }),
    });

  async function answersAlike(kind: 'cambrian' | 'language', context: number, rows: readonly number[]): Promise<void> {
    const model = await modelOf(kind);
    // The made Cambrian takes long to compile: who draws at random is left to the language model, and to all tests.
    const cheap = kind === 'cambrian' && !everything;
    const all = askings((n) => {
      if (kind === 'language') return undefined;
      return n % 3 === 2 ? [tall] : n % 3 === 1 ? [photo, tall] : [photo];
    }).filter((_, n) => !cheap || (n % 2 === 0 && n < 5));
    const draws = cheap ? 'greedy' : 'any';
    const wanted = await alone(model, context, all);
    for (const count of rows)
      await using(model, { rows: count, context, images: 2, draws }, async (session) => {
        await fc.assert(
          fc.asyncProperty(arrivals(all.length), async ({ order, delays, leaves }) => {
            await Promise.all(
              order.map(async (n, at) => {
                const asking = all[n];
                if (asking === undefined) throw new RangeError(`question ${n}`);
                await sleep(delays[at]);
                const leaving = leaves[at];
                const running = session.ask(asking.question, asking.options);
                if (leaving === undefined) {
                  const { answer, pieces } = await heard(running);
                  expect(answer).toEqual(wanted[n]);
                  expect(pieces.join('')).toBe(answer.text);
                  return;
                }
                for (let piece = 0; piece <= leaving; piece++) await running.next();
                await running.return({ text: '', tokens: [], reason: 'stop', promptTokens: 0 });
              }),
            );
            // Whoever left is noticed when the step that was running is over.
            for (let turns = 0; session.rows.busy + session.waiting > 0 && turns < 200; turns++) await sleep(5);
            expect([session.rows.busy, session.waiting]).toEqual([0, 0]);
          }),
          { numRuns: share(kind === 'cambrian' ? 1 : 2, 20), seed: seed + count, endOnFailure: true },
        );
      });
  }

  test(
    'a language model: as alone, in few rows and in many',
    () => answersAlike('language', 128, share([3], [1, 3, 8])),
    300_000,
  );
  // Its pictures go through the server's rows in `npm test` (serve.test.ts).
  test.runIf(everything)(
    'Cambrian, whose language model looks at pictures again',
    () => answersAlike('cambrian', 320, [3]),
    600_000,
  );

  test
    .runIf(everything)
    .each<Kind>(['llava', 'assembled', 'gemma3', 'smolvlm', 'qwen3_vl', 'qwen2_5_vl', 'llava_onevision', 'internvl'])(
    '%s: pictures and positions of its own',
    async (kind) => {
      const model = await modelOf(kind);
      const all = askings((n) => (n % 2 === 0 ? [photo] : [tall])).slice(0, 4);
      const wanted = await alone(model, 512, all);
      await using(model, { rows: 3, context: 512, images: 2 }, async (session) => {
        const answers = await Promise.all(all.map(({ question, options }) => heard(session.ask(question, options))));
        expect(answers.map(({ answer }) => answer)).toEqual(wanted);
      });
    },
    900_000,
  );

  test('rotations that change on the way: the prompt is read again with its answer, and goes on in its row', async () => {
    const model = await modelOf('long rope');
    const all = [4, 12, 20, 28].map((maxNewTokens, n): Asking => ({
      question: { text: `What ${'really '.repeat(n)}is this?` },
      options:
        everything && n === 2 ? { maxNewTokens, temperature: 0.8, seed: 3, repetitionPenalty: 1.2 } : { maxNewTokens },
    }));
    const wanted = await alone(model, 96, all);
    // Some begin before the length at which rotations change, and end behind it.
    expect(wanted.some(({ promptTokens, tokens }) => promptTokens < 32 && promptTokens + tokens.length > 34)).toBe(
      true,
    );
    await using(model, { rows: 3, context: 96, draws: share('greedy', 'any') }, async (session) => {
      const answers = await Promise.all(all.map(({ question, options }) => heard(session.ask(question, options))));
      expect(answers.map(({ answer }) => answer)).toEqual(wanted);
    });
  }, 300_000);

  test('values that are not numbers are one question’s, and nothing of them is left in a row', async () => {
    const model = await modelOf('not a number');
    await using(model, { rows: 2, context: 96, draws: 'greedy' }, async (session) => {
      const options = { maxNewTokens: 8 };
      const ask = async (text: string) => heard(session.ask({ text }, options)).catch((error: unknown) => error);
      const texts = ['What is this?', 'Who are you?', 'Where is it?'];
      const wanted = [];
      for (const text of texts) wanted.push(await ask(text));
      const bad = `What ${poison} ${'really '.repeat(12)}?`;
      const mixed = await Promise.all([texts[0], bad, texts[1], bad, texts[2]].map(async (text) => ask(text ?? '')));
      expect([mixed[0], mixed[2], mixed[4]]).toEqual(wanted);
      for (const error of [mixed[1], mixed[3]]) {
        expect(error).toBeInstanceOf(NotFiniteError);
        expect(error).toMatchObject({ layer: -1 });
      }
      expect(await Promise.all(texts.map(ask))).toEqual(wanted);
    });
  }, 300_000);

  test('what one asks wrongly touches nobody; a signal ends an answer, waiting or running; nothing is created on the way', async () => {
    const model = await modelOf('language');
    const [first, second] = askings(() => undefined);
    if (first === undefined || second === undefined) throw new RangeError('two questions');
    await using(model, { rows: 1, context: 128, draws: 'greedy' }, async (session) => {
      const greedy = { maxNewTokens: 12 };
      const whole = await heard(session.ask(first.question, greedy));
      const { created } = device;
      const running = session.ask(first.question, greedy);
      const begun = running.next();
      const refused = [
        session.ask({ text: 'why '.repeat(200) }, greedy),
        session.ask({ text: 'What?', images: [photo] }, greedy),
        session.ask(second.question, { temperature: 1 }),
        session.ask(second.question, { topK: 0 }),
        session.ask(second.question, { maxNewTokens: NaN }),
        session.ask(second.question, { seed: 0.5 }),
        session.ask({ text: 'What?', history: [{ role: 'assistant', text: 'I begin.' }] }, greedy),
      ].map((asking) => heard(asking).catch((error: unknown) => error));
      const waits = new AbortController();
      const waiting = heard(session.ask(second.question, { ...greedy, signal: waits.signal }));
      const behind = heard(session.ask(first.question, greedy));
      waits.abort(new Error('enough of waiting'));
      await expect(waiting).rejects.toThrow('enough of waiting');
      const [long, picture, hot, none, uncounted, half] = await Promise.all(refused);
      expect(long).toBeInstanceOf(ContextOverflowError);
      expect(String(picture)).toMatch(/reads text only/);
      expect(String(hot)).toMatch(/a temperature/);
      expect([none, uncounted, half].map(String)).toEqual([
        expect.stringMatching(/topK is 0/),
        expect.stringMatching(/maxNewTokens is NaN/),
        expect.stringMatching(/the seed is 0.5/),
      ]);
      const pieces = [(await begun).value];
      for (let next = await running.next(); ; next = await running.next()) {
        if (next.done === true) {
          expect(next.value).toEqual(whole.answer);
          break;
        }
        pieces.push(next.value);
      }
      expect(pieces).toEqual(whole.pieces);
      expect(await behind).toEqual(whole);

      const leaves = new AbortController();
      const left = session.ask(first.question, { maxNewTokens: 60, signal: leaves.signal });
      await left.next();
      leaves.abort(new Error('enough of it'));
      await expect(left.next()).rejects.toThrow('enough of it');
      expect(await heard(session.ask(first.question, greedy))).toEqual(whole);
      expect((await heard(session.ask(first.question, { maxNewTokens: 0 }))).answer.tokens).toEqual([]);
      expect(device.created).toEqual(created);
    });
  }, 300_000);

  test('what is asked when the session closes is refused', async () => {
    const model = await modelOf('language');
    const session = await RowSession.open(model, device, { rows: 2, context: 128, draws: 'greedy' });
    const asked = [1, 2, 3].map((n) =>
      heard(session.ask({ text: `What is ${n}?` }, { maxNewTokens: 100 })).catch((error: unknown) => String(error)),
    );
    await sleep(30);
    await session.close();
    for (const answer of await Promise.all(asked)) expect(answer).toMatch(/the session is closed/);
    expect(await heard(session.ask({ text: 'And now?' })).catch(String)).toMatch(/the session is closed/);
  }, 120_000);

  test('a number of rows that is none is refused', async () => {
    const model = await modelOf('language');
    await expect(RowSession.open(model, device, { rows: 0 })).rejects.toThrow(/0 rows/);
    await expect(RowSession.open(model, device, { rows: 1.5 })).rejects.toThrow(/1.5 rows/);
  });
});
