// Asks what the journal has no answer to. Twice as many questions are on their way as the session has rows: their pictures are decoded
// and their prompts laid out while others are answered.
import { createHash } from 'node:crypto';
import type { Image } from '../../../runtime/image/image.ts';
import type { Answering, RowAnswer } from '../../answer/rows/asking.ts';
import { ContextOverflowError } from '../../answer/generate.ts';
import { PictureError } from '../errors.ts';
import type { Journal, JournalKey, Kept } from '../journal.ts';
import type { Asked, Questions } from '../read/questions.ts';
import type { PictureDecoder } from './decoder.ts';
import { pictureDigest, readPicture, unread } from './same-pictures.ts';

/** Without the picture: text alone, or a gray picture of the same size. */
export type Blind = 'text' | 'gray';
export type How = 'sighted' | Blind;

export interface Task {
  readonly key: JournalKey;
  readonly asked: Asked;
  readonly how: How;
  readonly maxNewTokens: number;
}

export interface TaskOptions {
  readonly blind?: Blind | undefined;
  readonly maxNewTokens?: number | undefined;
  readonly system?: string | undefined;
}

/** All that is asked of a model, in order: each benchmark sighted, then blind. */
export function tasksOf(all: readonly Questions[], { blind, maxNewTokens, system }: TaskOptions): readonly Task[] {
  const hows: readonly How[] = blind === undefined ? ['sighted'] : ['sighted', blind];
  return all.flatMap(({ benchmark, asked }) =>
    hows.flatMap((how) =>
      asked.map((one): Task => {
        const limit = Math.min(maxNewTokens ?? Infinity, benchmark.maxNewTokens);
        const said = JSON.stringify([one.item.prompt, one.item.pictures.length, limit, system ?? '']);
        const digest = createHash('sha256').update(said).digest('hex').slice(0, 16);
        return {
          key: { benchmark: benchmark.name, how, question: one.key, digest },
          asked: one,
          how,
          maxNewTokens: limit,
        };
      }),
    ),
  );
}

/** How far it is; rate and time left are of this run alone. */
export interface AskProgress {
  readonly done: number;
  readonly total: number;
  readonly benchmark: string;
  readonly perSecond: number;
  readonly secondsLeft: number;
}

export interface AskAllOptions {
  readonly rows: number;
  readonly system?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((progress: AskProgress) => void) | undefined;
}

/**
 * Asks all tasks; each is in the journal when it is done. A picture that does not decode and a prompt that is too long are kept as what
 * could not be asked. Throws what else the session throws; what was answered until then is kept.
 */
export async function askQuestions(
  tasks: readonly Task[],
  answering: Answering,
  journal: Journal,
  decoder: PictureDecoder,
  { rows, system, signal, progress }: AskAllOptions,
): Promise<void> {
  const began = performance.now();
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  let [next, done] = [0, 0];
  const line = async (): Promise<void> => {
    for (let task = tasks[next++]; task !== undefined; task = tasks[next++]) {
      either.throwIfAborted();
      journal.keep(task.key, await answerTo(task, answering, decoder, system, either));
      done++;
      const perSecond = done / ((performance.now() - began) / 1000);
      progress?.({
        done,
        total: tasks.length,
        benchmark: task.key.benchmark,
        perSecond,
        secondsLeft: (tasks.length - done) / perSecond,
      });
    }
  };
  const lines = Array.from({ length: Math.min(2 * rows, tasks.length) }, () =>
    line().catch((error: unknown) => {
      stop.abort(error);
      throw error;
    }),
  );
  // The first fault ends the others, and they must have ended before the session is closed.
  await Promise.allSettled(lines);
  await Promise.all(lines);
}

async function answerTo(
  { asked: { item }, how, maxNewTokens }: Task,
  answering: Answering,
  decoder: PictureDecoder,
  system: string | undefined,
  signal: AbortSignal,
): Promise<Kept> {
  const read: Uint8Array[] = [];
  try {
    for (const picture of item.pictures) read.push(await readPicture(picture));
    const images: Image[] = [];
    for (const [i, { name }] of item.pictures.entries()) images.push(await seen(read[i], name, how, decoder));
    const question = { text: item.prompt, images: how === 'text' ? [] : images, system };
    const { text, tokens, reason } = await wholeAnswer(answering, question, maxNewTokens, signal);
    return {
      text,
      tokens: tokens.length,
      reason,
      picture: images.length === 0 ? '' : pictureDigest(read),
      failure: '',
    };
  } catch (error) {
    if (error instanceof PictureError || error instanceof ContextOverflowError)
      return {
        text: '',
        tokens: 0,
        reason: read.length < item.pictures.length ? unread : 'failed',
        picture: '',
        failure: error.what,
      };
    throw error;
  }
}

async function seen(
  bytes: Uint8Array = new Uint8Array(),
  name: string,
  how: How,
  decoder: PictureDecoder,
): Promise<Image> {
  // Blind without a picture, nothing has to be decoded.
  if (how === 'text') return { width: 1, height: 1, rgb: new Uint8Array(3) };
  const image = await decoder.decode(bytes, name);
  return how === 'gray' ? { ...image, rgb: new Uint8Array(image.rgb.length).fill(128) } : image;
}

async function wholeAnswer(
  answering: Answering,
  question: Parameters<Answering['ask']>[0],
  maxNewTokens: number,
  signal: AbortSignal,
): Promise<RowAnswer> {
  const pieces = answering.ask(question, { maxNewTokens, signal });
  for (;;) {
    const next = await pieces.next();
    if (next.done === true) return next.value;
  }
}
