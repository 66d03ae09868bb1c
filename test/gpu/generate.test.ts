// Generation on the made checkpoint: equal to the interpreter token by token, batch equal to one by one, nothing created in steady state.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Question } from '../../pipelines/answer/family.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { toPrompts } from '../../pipelines/answer/prompts.ts';
import { Session, type Answer, type AnswerOptions } from '../../pipelines/answer/session.ts';
import { compile } from '../../compiler/compile.ts';
import type { Graph } from '../../dsl/index.ts';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { decodeGraph, prefillGraph } from '../../models/decoders/generation-graphs.ts';
import type { Device } from '../../runtime/device/device.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import { ContextOverflowError, generateTokens, knownSymbols } from '../../pipelines/answer/generate.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import { load, type Inputs } from '../../runtime/program/program.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { SharedBuffers } from '../../runtime/program/shared-buffers.ts';

const steps = 6;

/** Every state of a graph, from one run of the interpreter to the next. */
class Interpreter {
  readonly #model: OpenedModel;
  readonly #states = new Map<string, Float64Array>();
  constructor(model: OpenedModel) {
    this.#model = model;
  }
  run(
    graph: Graph,
    inputs: Inputs,
    symbols: Readonly<Record<string, number>>,
  ): ReadonlyMap<string, { readonly data: Float64Array }> {
    const values = new Map(Object.entries(inputs).map(([name, value]) => [name, value as ArrayLike<number>]));
    const result = evaluate(
      graph,
      {
        inputs: values,
        params: (path, shape) => this.#model.source.read(path, shape),
        states: this.#states,
        symbols: new Map(Object.entries(symbols)),
      },
      { precision: 'f64' },
    );
    for (const [name, state] of result.states) this.#states.set(name, state as Float64Array);
    return result.outputs;
  }
}

async function finished(answers: AsyncGenerator<unknown, readonly Answer[]>): Promise<readonly Answer[]> {
  for (;;) {
    const next = await answers.next();
    if (next.done === true) return next.value;
  }
}

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('generation', () => {
  const folder = mkdtempSync(join(tmpdir(), 'opabinia-'));
  let model: OpenedModel;
  let device: Device;
  let photo: Image;
  let tall: Image;

  beforeAll(async () => {
    model = await openModel(makeCheckpoint(join(folder, 'made')).directory);
    device = await openDevice();
    photo = await decodeImage(join(import.meta.dirname, '../../examples/photos/chelsea.png'));
    // Another shape: its image block has other tokens.
    tall = { width: 40, height: 70, rgb: Uint8Array.from({ length: 40 * 70 * 3 }, (_, i) => (i * 37) % 251) };
  }, 120_000);
  afterAll(() => {
    model.close();
    expect(device.memory.now).toBe(0);
    device.close();
    rmSync(folder, { recursive: true });
  });

  async function using<T>(
    options: { readonly batch?: number; readonly images?: number; readonly context?: number },
    sampling: AnswerOptions,
    use: (session: Session) => Promise<T>,
  ): Promise<T> {
    const session = await Session.open(model, device, { context: 320, ...options }, sampling);
    try {
      return await use(session);
    } finally {
      session.dispose();
    }
  }

  test('logits and tokens are those of the interpreter, image tokens and all', async () => {
    const { family } = model;
    const sizes = { batch: 1, capacity: 320, promptLimit: 300, imageLimit: 2, draw: 'greedy' } as const;
    if (family.vision === undefined) throw new Error('the made checkpoint sees');
    const graphs = { vision: family.vision(sizes), prefill: family.prefill(sizes), decode: family.decode(sizes) };
    const laid = await family.layOut([{ text: 'What is this?', images: [photo] }], {});
    const prompts = toPrompts(model, laid, 1, 'greedy', {});
    const seen = laid.views[0]?.inputs() ?? {};

    const judge = new Interpreter(model);
    judge.run(graphs.vision, seen, { image: 0 });
    const expected = [judge.run(graphs.prefill, prompts.inputs, prompts.symbols)];
    for (let step = 1; step < steps; step++)
      expected.push(judge.run(graphs.decode, {}, { past: prompts.width + step - 1 }));

    const shared = new SharedBuffers();
    const profile = deviceProfile(device);
    const [vision, prefill, decode] = [
      await load(compile(graphs.vision, profile), device, model.source, { shared }),
      await load(compile(graphs.prefill, profile), device, model.source, { shared }),
      await load(compile(graphs.decode, profile), device, model.source, { shared }),
    ];
    try {
      await vision.run(seen, { symbols: { image: 0 } });
      for (const [step, wanted] of expected.entries()) {
        const got =
          step === 0
            ? await prefill.run(prompts.inputs, { symbols: knownSymbols(prefill, prompts.symbols) })
            : await decode.run({}, { symbols: { past: prompts.width + step - 1 } });
        const [logits, exact] = [got['logits']?.data ?? [], wanted.get('logits')?.data ?? new Float64Array(0)];
        expect(logits.length).toBe(model.language.config.vocabulary);
        const excess = exact.reduce(
          (most, y, i) => Math.max(most, Math.abs(y - (logits[i] ?? NaN)) / (1e-4 + 1e-4 * Math.abs(y))),
          0,
        );
        expect(excess).toBeLessThanOrEqual(1);
        expect([...(got['token']?.data ?? [])]).toEqual([...(wanted.get('token')?.data ?? [])]);
      }
    } finally {
      for (const program of [vision, prefill, decode]) program.dispose();
    }
  }, 600_000);

  test('a batch of different lengths and pictures answers as each alone; a step of decode creates nothing', async () => {
    const questions: readonly Question[] = [
      { text: 'What is this?', images: [photo] },
      { text: 'Tell me more about it, please.', images: [tall] },
    ];
    const alone = await using({}, {}, async (session) => {
      const answers = [];
      for (const question of questions)
        answers.push((await finished(session.answerAll([question], { maxNewTokens: steps })))[0]);
      return answers;
    });
    await using({ batch: 3, images: 3 }, {}, async (session) => {
      expect(await finished(session.answerAll(questions, { maxNewTokens: steps }))).toEqual(alone);
      expect(await finished(session.answerAll([...questions].reverse(), { maxNewTokens: steps }))).toEqual(
        [...alone].reverse(),
      );
      const before = device.created;
      await finished(session.answerAll(questions, { maxNewTokens: steps }));
      expect(device.created).toEqual(before);
    });
  }, 600_000);

  test('random draws: by the seed alone; penalty and top-k as told', async () => {
    const question: Question = { text: 'What is this?', images: [photo] };
    const hot: AnswerOptions = { temperature: 1.5, topK: 50, topP: 0.95, maxNewTokens: 12 };
    await using({}, hot, async (session) => {
      const [greedy, one, same, other, narrow, varied] = [
        await finished(session.answerAll([question], { maxNewTokens: 12 })),
        await finished(session.answerAll([question], { ...hot, seed: 1 })),
        await finished(session.answerAll([question], { ...hot, seed: 1 })),
        await finished(session.answerAll([question], { ...hot, seed: 2 })),
        await finished(session.answerAll([question], { ...hot, topK: 1, seed: 3 })),
        await finished(session.answerAll([question], { repetitionPenalty: 1e6, maxNewTokens: 12 })),
      ];
      expect(same).toEqual(one);
      expect(other).not.toEqual(one);
      expect(narrow).toEqual(greedy);
      const [tokens = []] = varied.map((answer) => answer.tokens);
      expect(new Set(tokens).size).toBe(tokens.length);
    });
  }, 600_000);

  test('what cannot be asked is refused before anything runs; abort ends an answer, and the next one is whole', async () => {
    const question: Question = { text: 'What is this?', images: [photo] };
    await using({ context: 200 }, {}, async (session) => {
      const [whole] = await finished(session.answerAll([question], { maxNewTokens: 10 }));
      await expect(finished(session.answerAll([{ ...question, text: 'why '.repeat(300) }]))).rejects.toThrow(
        ContextOverflowError,
      );
      await expect(finished(session.answerAll([{ text: 'What?' }]))).rejects.toThrow(/has no image/);
      await expect(finished(session.answerAll([question, question]))).rejects.toThrow(/from 1 to 1/);
      await expect(finished(session.answerAll([question], { topP: 90 }))).rejects.toThrow(/topP is 90/);
      await expect(
        finished(
          session.answerAll([{ ...question, images: [{ width: 700, height: 7, rgb: new Uint8Array(700 * 7 * 3) }] }]),
        ),
      ).rejects.toThrow(/100\.0 times/);

      const stopper = new AbortController();
      const pieces: string[] = [];
      await expect(
        (async () => {
          for await (const piece of session.answer(question, { signal: stopper.signal })) {
            pieces.push(piece);
            stopper.abort(new Error('enough'));
          }
        })(),
      ).rejects.toThrow('enough');
      expect(pieces).toHaveLength(1);
      expect((await finished(session.answerAll([question], { maxNewTokens: 10 })))[0]).toEqual(whole);

      // A reader that leaves its loop leaves the session free.
      for await (const piece of session.answer(question)) {
        expect(piece).toBe(pieces[0]);
        break;
      }
      expect((await finished(session.answerAll([question], { maxNewTokens: 10 })))[0]).toEqual(whole);

      const stop = whole?.text.slice(3, 9) ?? '';
      const [cut] = await finished(session.answerAll([question], { maxNewTokens: 10, stop: [stop] }));
      expect(cut).toMatchObject({ reason: 'stop', text: whole?.text.slice(0, whole.text.indexOf(stop)) });
    });
  }, 600_000);

  test('the context bounds an answer: it ends where no token fits', async () => {
    const question: Question = { text: 'What?', images: [photo] };
    const { width } = await model.family.layOut([question], {});
    await using({ context: width + 4 }, {}, async (session) => {
      const [answer] = await finished(session.answerAll([question]));
      expect(answer?.tokens.length).toBe(4);
      expect(answer?.reason).toBe('length');
    });
  }, 600_000);

  test('a decode step needs no input: its token comes from the step before', async () => {
    const shared = new SharedBuffers();
    const sizes = { batch: 1, capacity: 64, promptLimit: 32, draw: 'greedy' } as const;
    const profile = deviceProfile(device);
    const prefill = await load(
      compile(prefillGraph(model.source, model.language, sizes), profile),
      device,
      model.source,
      { shared },
    );
    const decode = await load(
      compile(decodeGraph(model.source, model.language, sizes), profile),
      device,
      model.source,
      { shared, atOnce: 5 },
    );
    try {
      expect(decode.plan.inputs).toEqual([]);
      const ids = Int32Array.of(5, 17, 300, 41);
      const prompts = { inputs: { ids, length: Int32Array.of(4) }, width: 4, symbols: { s: 4 } };
      const tokens: number[] = [];
      for await (const [token = -1] of generateTokens({ prefill, decode, ...sizes }, prompts, { maxNewTokens: 8 }))
        tokens.push(token);
      // Steps that begin before a token is read give the same tokens, also after an answer that was left while some were under way.
      for (const most of [4, 8]) {
        const others: number[] = [];
        const programs = { prefill, decode, ahead: 5, ...sizes };
        for await (const [token = -1] of generateTokens(programs, prompts, { maxNewTokens: 8 })) {
          others.push(token);
          if (others.length === most) break;
        }
        expect(others).toEqual(tokens.slice(0, most));
      }
      // Prefill of prompt and answer so far gives the next token, without any cache.
      for (let n = 1; n < tokens.length; n++) {
        const all = Int32Array.of(...ids, ...tokens.slice(0, n));
        const { token } = await prefill.run(
          { ids: all, length: Int32Array.of(all.length) },
          { symbols: { s: all.length }, outputs: ['token'] },
        );
        expect(token?.data[0]).toBe(tokens[n]);
      }
    } finally {
      prefill.dispose();
      decode.dispose();
    }
  }, 300_000);
});
