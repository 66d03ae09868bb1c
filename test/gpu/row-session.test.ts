// Questions that come and go as they like: every answer is what the question has alone, whatever is answered beside it and in however
// many rows; whoever leaves gives a row back, and what fails is one question's affair.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import type { Question } from '../../pipelines/answer/family.ts';
import { ContextOverflowError } from '../../pipelines/answer/generate.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import type { AskOptions, RowAnswer, RowSessionOptions } from '../../pipelines/answer/rows/asking.ts';
import { RowSession } from '../../pipelines/answer/rows/row-session.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
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

  async function modelOf(kind: 'cambrian' | 'language' | VlmKind): Promise<OpenedModel> {
    const directory = (): string => {
      if (kind === 'cambrian') return makeCheckpoint(join(root, kind)).directory;
      return kind === 'language' ? makeLanguage(join(root, kind), 'llama') : makeVlm(join(root, kind), kind);
    };
    const known = models.get(kind) ?? openModel(directory());
    models.set(kind, known);
    return known;
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
  const arrivals = fc.record({
    order: fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6], { minLength: 4, maxLength: 7 }),
    delays: fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 7, maxLength: 7 }),
    leaves: fc.array(fc.constantFrom(undefined, undefined, undefined, 0, 1), { minLength: 7, maxLength: 7 }),
  });

  async function answersAlike(kind: 'cambrian' | 'language', context: number, rows: readonly number[]): Promise<void> {
    const model = await modelOf(kind);
    const all = askings(
      kind === 'cambrian' ? (n) => (n % 3 === 2 ? [tall] : n % 3 === 1 ? [photo, tall] : [photo]) : () => undefined,
    );
    const wanted = await alone(model, context, all);
    for (const count of rows)
      await using(model, { rows: count, context, images: 2 }, async (session) => {
        await fc.assert(
          fc.asyncProperty(arrivals, async ({ order, delays, leaves }) => {
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
          { numRuns: share(kind === 'cambrian' ? 1 : 4, 40), seed: seed + count, endOnFailure: true },
        );
      });
  }

  test('a language model: as alone, in 1, 3 and 8 rows', () => answersAlike('language', 128, [1, 3, 8]), 300_000);
  test('Cambrian, whose language model looks at pictures again', () => answersAlike('cambrian', 320, [3]), 600_000);

  test.runIf(everything).each<VlmKind>(['gemma3', 'smolvlm', 'qwen3_vl', 'qwen2_5_vl'])(
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
        session.ask({ text: 'What?', history: [{ role: 'assistant', text: 'I begin.' }] }, greedy),
      ].map((asking) => heard(asking).catch((error: unknown) => error));
      const waits = new AbortController();
      const waiting = heard(session.ask(second.question, { ...greedy, signal: waits.signal }));
      const behind = heard(session.ask(first.question, greedy));
      waits.abort(new Error('enough of waiting'));
      await expect(waiting).rejects.toThrow('enough of waiting');
      const [long, picture, hot] = await Promise.all(refused);
      expect(long).toBeInstanceOf(ContextOverflowError);
      expect(String(picture)).toMatch(/reads text only/);
      expect(String(hot)).toMatch(/a temperature/);
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
