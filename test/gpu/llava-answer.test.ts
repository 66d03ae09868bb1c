// Made LLaVA directories answer on the device: greedy tokens are those of the interpreter, which reads the whole sequence anew for each.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LlavaFamily } from '../../cli/answer/llava-family.ts';
import type { Question } from '../../cli/answer/family.ts';
import { openModel, type OpenedModel } from '../../cli/answer/open-model.ts';
import { Session, type Answer } from '../../cli/answer/session.ts';
import { makeLlava, type LlavaChoices } from '../../examples/make-llava.ts';
import type { LlavaConfig } from '../../models/configs/llava.ts';
import { turnTables } from '../../models/decoder-graphs.ts';
import { anyresLayout, anyresSlots } from '../../models/llava-next.ts';
import { layOutPrompts, llavaPrefillGraph, llavaVisionGraph, viewSlots } from '../../models/llava.ts';
import { openDevice } from '../../runtime/dawn.ts';
import type { Device } from '../../runtime/device.ts';
import { modelFiles, readJsonFile } from '../../runtime/hub.ts';
import { decodeImage, type Image } from '../../runtime/image.ts';
import { anyresTiles, processPicture, readProcessor } from '../../runtime/preprocess.ts';
import { evaluate } from '../../runtime/reference.ts';

const steps = 6;

async function finished(answers: AsyncGenerator<unknown, readonly Answer[]>): Promise<readonly Answer[]> {
  for (;;) {
    const next = await answers.next();
    if (next.done === true) return next.value;
  }
}

function configOf({ family }: OpenedModel): LlavaConfig {
  if (family instanceof LlavaFamily) return family.config;
  throw new Error('the made directory is a LLaVA');
}

/** `USER: <image>\n{text} ASSISTANT:` with the token of an image once for each picture, put together from pieces. */
function promptIds({ tokenizer }: OpenedModel, image: number, text: string, pictures: number): readonly number[] {
  const ids = (piece: string) => tokenizer.encode([{ kind: 'control', text: piece }], { automatic: false });
  const begin = tokenizer.idOf('<s>') ?? -1;
  if (pictures === 0) return [begin, ...ids(`USER: ${text} ASSISTANT:`)];
  const shown = Array.from({ length: pictures }, (_, i) => [...i === 0 ? [] : ids('\n'), image]).flat();
  return [begin, ...ids('USER: '), ...shown, ...ids(`\n${text} ASSISTANT:`)];
}

interface Judged {
  readonly tokens: readonly number[];
  /** Of each token, before the next likeliest. */
  readonly leads: readonly number[];
}

/** Greedy tokens by `llavaPrefillGraph` in f64 alone: no cache, no decode step, none of the graphs that the session runs for text. */
function judge(model: OpenedModel, text: string, pictures: readonly Image[]): Judged {
  const config = configOf(model);
  const { vision: { image: tile, patch }, canvases } = config;
  const processor = readProcessor(readJsonFile(modelFiles(model.directory).preprocessorConfig ?? ''), 'preprocessor_config.json');
  const views: Float32Array[] = [];
  const images = pictures.map((picture) => {
    const first = views.length;
    const tiles = config.type === 'llava' ? [picture] : anyresTiles(picture, canvases, tile).tiles;
    views.push(...tiles.map((one) => processPicture(one, processor).pixels));
    return config.type === 'llava' ? viewSlots(config, first) : anyresSlots(anyresLayout(picture, { canvases, tile, side: tile / patch }), first);
  });
  const prompt = promptIds(model, config.imageToken, text, pictures.length);
  const sizes = { batch: 1, capacity: 320, promptLimit: 319, viewLimit: Math.max(1, views.length) };
  const params = (path: string, shape: readonly number[]) => model.source.read(path, shape);
  let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
  const look = llavaVisionGraph(model.source, config, sizes);
  views.forEach((pixels, view) => { states = evaluate(look, { inputs: new Map([['pixels', pixels]]), params, states, symbols: new Map([['view', view]]) }, { precision: 'f64' }).states; });
  const read = llavaPrefillGraph(model.source, config, sizes);
  const tokens: number[] = [];
  const leads: number[] = [];
  while (tokens.length < steps) {
    const { ids, slots, last, length } = layOutPrompts([{ ids: [...prompt, ...tokens], images }], config, sizes);
    const tables = turnTables(config.language.config, Array.from({ length }, (_, i) => i));
    const inputs = new Map<string, ArrayLike<number>>([['ids', ids], ['slots', slots], ['last', last], ...Object.entries(tables)]);
    const logits = Array.from(evaluate(read, { inputs, params, states, symbols: new Map([['s', length]]) }, { precision: 'f64' }).outputs.get('logits')?.data ?? []);
    const [best = NaN, second = NaN] = [...logits].sort((a, b) => b - a);
    leads.push(best - second);
    tokens.push(logits.indexOf(best));
  }
  return { tokens, leads };
}

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('a LLaVA directory', () => {
  const folder = mkdtempSync(join(tmpdir(), 'opabinia-llava-'));
  const opened: OpenedModel[] = [];
  let device: Device;
  let photo: Image;
  const tall: Image = { width: 40, height: 70, rgb: Uint8Array.from({ length: 40 * 70 * 3 }, (_, i) => (i * 37) % 251) };

  beforeAll(async () => {
    device = await openDevice();
    photo = await decodeImage(join(import.meta.dirname, '../../examples/photos/chelsea.png'));
  }, 60_000);
  afterAll(() => {
    for (const model of opened) model.close();
    expect(device.ledger.now).toBe(0);
    device.close();
    rmSync(folder, { recursive: true });
  });

  function made(choices: LlavaChoices): OpenedModel {
    const model = openModel(makeLlava(join(folder, String(opened.length)), choices).directory);
    opened.push(model);
    return model;
  }

  async function answers(model: OpenedModel, options: { readonly batch?: number; readonly images?: number }, questions: readonly (readonly Question[])[]): Promise<readonly (readonly (readonly number[])[])[]> {
    const session = await Session.open(model, device, { context: 320, ...options });
    try {
      const all = [];
      for (const asked of questions) all.push((await finished(session.answerAll(asked, { maxNewTokens: steps }))).map((answer) => answer.tokens));
      return all;
    } finally {
      session.dispose();
    }
  }

  const text = 'What is this?';

  test('LLaVA-1.5: a picture, two, none, and all of them as a batch', async () => {
    const model = made({});
    const pictures = [[photo], [tall, photo], []] as const;
    const judged = pictures.map((own) => judge(model, text, own));
    // Rounding in f32 moves a logit by about 1e-5: that a token leads by more is what makes tokens comparable.
    expect(Math.min(...judged.flatMap(({ leads }) => leads))).toBeGreaterThan(1e-3);
    const questions = pictures.map((images): Question => ({ text, images }));
    const expected = judged.map(({ tokens }) => tokens);
    expect(new Set(expected.map(String)).size).toBe(3);
    const alone = await answers(model, { images: 2 }, questions.map((question) => [question]));
    expect(alone.flat()).toEqual(expected);
    expect(await answers(model, { batch: 3, images: 3 }, [questions])).toEqual([expected]);
  }, 600_000);

  test('LLaVA-1.5 with the newer names of transformers', async () => {
    const model = made({ names: 'new' });
    const { tokens, leads } = judge(model, text, [photo]);
    expect(Math.min(...leads)).toBeGreaterThan(1e-3);
    expect((await answers(model, {}, [[{ text, images: [photo] }]]))[0]).toEqual([tokens]);
  }, 600_000);

  test('LLaVA-NeXT: pictures of two shapes in tiles', async () => {
    const model = made({ type: 'llava_next' });
    const judged = [[photo], [tall, photo]].map((own) => judge(model, text, own));
    expect(Math.min(...judged.flatMap(({ leads }) => leads))).toBeGreaterThan(1e-3);
    expect((await answers(model, { images: 2 }, [[{ text, images: [photo] }], [{ text, images: [tall, photo] }]])).flat()).toEqual(judged.map(({ tokens }) => tokens));
  }, 600_000);

  test('more pictures than the session was opened for, and an answer in f16', async () => {
    const model = made({});
    const half = openModel(model.directory, { dtype: 'f16' });
    opened.push(half);
    const session = await Session.open(half, device, { context: 128, images: 1 });
    try {
      await expect(finished(session.answerAll([{ text, images: [photo, tall] }]))).rejects.toThrow(/2 images are given[^]*at most 1/);
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
