// The same model on a device and on the CPU's ONNX Runtime: the same greedy tokens, one question alone and several at once.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { shippedModel } from '../../examples/shapes/demo.ts';
import { pictureOf } from '../../examples/shapes/judge-model.ts';
import { preset } from '../../examples/shapes/model-config.ts';
import { learnedSlices } from '../../examples/shapes/samples.ts';
import type { Question } from '../../pipelines/answer/family.ts';
import { NotFiniteError } from '../../pipelines/answer/not-finite.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { RowSession } from '../../pipelines/answer/rows/row-session.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { quantizeModel } from '../../pipelines/quantize/quantize-model.ts';
import { openCpu } from '../../pipelines/run/cpu/open-cpu.ts';
import type { CpuPlace, Place } from '../../pipelines/run/engine.ts';
import { questionsOf } from '../../pipelines/shapes/scene/questions.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { editTensors } from '../support/edit-directory.ts';
import { makeLanguage } from '../support/made-language.ts';
import { withoutGpu } from './compare.ts';

const photo = join(import.meta.dirname, '../../examples/photos/chelsea.png');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-same-'));

interface Asked {
  readonly questions: readonly Question[];
  readonly tokens: number;
  readonly context: number;
}

/** What a logit can be off, in f32 through a few layers of these models, times a thousand. */
const clear = 1e-3;

/** Tokens by a session, one question after the other. */
async function alone(model: OpenedModel, place: Place, { questions, tokens, context }: Asked): Promise<number[][]> {
  const session = await Session.open(model, place, { context, images: 1 });
  const all: number[][] = [];
  for (const question of questions) {
    const answer = session.answer(question, { maxNewTokens: tokens });
    for (let next = await answer.next(); ; next = await answer.next())
      if (next.done === true) {
        all.push([...next.value.tokens]);
        break;
      }
  }
  session.dispose();
  return all;
}

/** Tokens of all questions at once, and by how much each was likelier than the next. */
async function together(
  model: OpenedModel,
  place: Place,
  { questions, tokens, context }: Asked,
): Promise<{ readonly all: number[][]; readonly leads: readonly number[] }> {
  const session = await RowSession.open(model, place, { rows: questions.length, context, images: 1, draws: 'greedy' });
  const leads: number[] = [];
  const all = await Promise.all(
    questions.map(async (question) => {
      const told = ({ top }: { readonly top: readonly { readonly logprob: number }[] }): void =>
        void leads.push((top[0]?.logprob ?? NaN) - (top[1]?.logprob ?? NaN));
      const answer = session.ask(question, { maxNewTokens: tokens, scores: { top: 2, told } });
      for (;;) {
        const next = await answer.next();
        if (next.done === true) return [...next.value.tokens];
      }
    }),
  );
  await session.close();
  return { all, leads };
}

describe.skipIf(withoutGpu)('the same tokens on a device and on the CPU', () => {
  let device: Device;
  let cpu: CpuPlace;
  beforeAll(async () => {
    device = await openDevice();
    cpu = await openCpu();
  });
  afterAll(() => {
    device.close();
    cpu.close();
    rmSync(scratch, { recursive: true });
  });

  async function expectSame(model: OpenedModel, onDevice: OpenedModel, asked: Asked): Promise<void> {
    const { all, leads } = await together(model, cpu, asked);
    // Else which token is the likeliest would be chance.
    expect(Math.min(...leads)).toBeGreaterThan(clear);
    expect(await alone(model, cpu, asked)).toEqual(all);
    expect(await alone(onDevice, device, asked)).toEqual(all);
    expect(all.flat().length).toBeGreaterThan(0);
  }

  test('the made Cambrian, towers and SVA layers', { timeout: 600_000 }, async () => {
    const model = await openModel(makeCheckpoint(join(scratch, 'made')).directory);
    const images = [await decodeImage(photo)];
    const questions = ['What is this?', 'Which color?'].map((text) => ({ text, images }));
    await expectSame(model, model, { questions, tokens: 6, context: 256 });
    model.close();
  });

  test('the small Cambrian that comes with the package', { timeout: 600_000 }, async () => {
    const model = await openModel(shippedModel);
    const questions = [3, 4].flatMap((seed) => {
      const scene = makeScene(scenePresets[preset], seed);
      return questionsOf(scene, 4, { among: learnedSlices }).map(({ text }) => ({ text, images: [pictureOf(scene)] }));
    });
    await expectSame(model, model, { questions, tokens: 6, context: 96 });
    model.close();
  });

  test('weights that are stored quantized are decoded, and give the tokens of the packed ones', async () => {
    const out = join(scratch, 'q8');
    await quantizeModel(makeLanguage(join(scratch, 'language'), 'llama'), { format: 'q8', out, group: 16 });
    const [packed, floats] = [
      await openModel(out, { dtype: 'f32' }),
      await openModel(out, { dtype: 'f32', weights: 'floats' }),
    ];
    await expectSame(floats, packed, { questions: [{ text: 'Hi' }, { text: 'Why?' }], tokens: 4, context: 64 });
    packed.close();
    floats.close();
  });

  test('a damaged row of the output matrix is told on both, and not that its token never comes', async () => {
    const directory = makeLanguage(join(scratch, 'damaged'), 'llama');
    for (const shard of readdirSync(directory).filter((file) => file.endsWith('.safetensors')))
      editTensors(join(directory, shard), (tensors) =>
        tensors.map((tensor) => {
          if (tensor.name !== 'lm_head.weight') return tensor;
          const [, width = 0] = tensor.shape;
          return { ...tensor, values: Float32Array.from(tensor.values, (x, i) => (i === 300 * width ? NaN : x)) };
        }),
      );
    const model = await openModel(directory);
    for (const place of [device, cpu])
      await expect(alone(model, place, { questions: [{ text: 'Hi' }], tokens: 2, context: 64 })).rejects.toBeInstanceOf(
        NotFiniteError,
      );
    model.close();
  });
});
