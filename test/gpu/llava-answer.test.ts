// Made LLaVA directories answer on the device: greedy tokens are those of the interpreter, which reads the whole sequence anew for each.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Question } from '../../pipelines/answer/family.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { Session, type Answer } from '../../pipelines/answer/session.ts';
import { makeLlava, type LlavaChoices } from '../../examples/make-llava.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import { judgeLlava as judge, judgedSteps as steps } from '../support/llava-judge.ts';

async function finished(answers: AsyncGenerator<unknown, readonly Answer[]>): Promise<readonly Answer[]> {
  for (;;) {
    const next = await answers.next();
    if (next.done === true) return next.value;
  }
}

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('a LLaVA directory', () => {
  const folder = mkdtempSync(join(tmpdir(), 'opabinia-llava-'));
  const opened: OpenedModel[] = [];
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
  }, 60_000);
  afterAll(() => {
    for (const model of opened) model.close();
    expect(device.memory.now).toBe(0);
    device.close();
    rmSync(folder, { recursive: true });
  });

  async function made(choices: LlavaChoices): Promise<OpenedModel> {
    const model = await openModel(makeLlava(join(folder, String(opened.length)), choices).directory);
    opened.push(model);
    return model;
  }

  async function answers(
    model: OpenedModel,
    options: { readonly batch?: number; readonly images?: number },
    questions: readonly (readonly Question[])[],
  ): Promise<readonly (readonly (readonly number[])[])[]> {
    const session = await Session.open(model, device, { context: 320, ...options });
    try {
      const all = [];
      for (const asked of questions)
        all.push((await finished(session.answerAll(asked, { maxNewTokens: steps }))).map((answer) => answer.tokens));
      return all;
    } finally {
      session.dispose();
    }
  }

  const text = 'What is this?';

  test('LLaVA-1.5: a picture, two, none, and all of them as a batch', async () => {
    const model = await made({});
    const pictures = [[photo], [tall, photo], []] as const;
    const judged = pictures.map((own) => judge(model, text, own));
    // Rounding in f32 moves a logit by about 1e-5: that a token leads by more is what makes tokens comparable.
    expect(Math.min(...judged.flatMap(({ leads }) => leads))).toBeGreaterThan(1e-3);
    const questions = pictures.map((images): Question => ({ text, images }));
    const expected = judged.map(({ tokens }) => tokens);
    expect(new Set(expected.map(String)).size).toBe(3);
    const alone = await answers(
      model,
      { images: 2 },
      questions.map((question) => [question]),
    );
    expect(alone.flat()).toEqual(expected);
    expect(await answers(model, { batch: 3, images: 3 }, [questions])).toEqual([expected]);
  }, 600_000);

  test('LLaVA-1.5 with the newer names of transformers', async () => {
    const model = await made({ names: 'new' });
    const { tokens, leads } = judge(model, text, [photo]);
    expect(Math.min(...leads)).toBeGreaterThan(1e-3);
    expect((await answers(model, {}, [[{ text, images: [photo] }]]))[0]).toEqual([tokens]);
  }, 600_000);

  test('LLaVA-NeXT: pictures of two shapes in tiles', async () => {
    const model = await made({ type: 'llava_next' });
    const judged = [[photo], [tall, photo]].map((own) => judge(model, text, own));
    expect(Math.min(...judged.flatMap(({ leads }) => leads))).toBeGreaterThan(1e-3);
    expect(
      (await answers(model, { images: 2 }, [[{ text, images: [photo] }], [{ text, images: [tall, photo] }]])).flat(),
    ).toEqual(judged.map(({ tokens }) => tokens));
  }, 600_000);

  test('more pictures than the session was opened for, and an answer in f16', async () => {
    const model = await made({});
    const half = await openModel(model.directory, { dtype: 'f16' });
    opened.push(half);
    const session = await Session.open(half, device, { context: 128, images: 1 });
    try {
      await expect(finished(session.answerAll([{ text, images: [photo, tall] }]))).rejects.toThrow(
        /2 images are given[^]*at most 1/,
      );
      const [answer] = await finished(session.answerAll([{ text, images: [photo] }], { maxNewTokens: steps }));
      const { tokens, leads } = judge(model, text, [photo]);
      // Storage in half precision moves a logit by some hundredths.
      expect(leads[0]).toBeGreaterThan(0.2);
      expect(answer?.tokens[0]).toBe(tokens[0]);
    } finally {
      session.dispose();
    }
  }, 600_000);
});
