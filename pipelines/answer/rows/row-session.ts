// A model on a device that answers any number of questions at once: whoever asks gets a row of the cache when one is free, its prompt is
// read between two decode steps of the others, and its row goes to the next when it is done or left (continuous batching: Orca, Yu et al.
// 2022). An answer has the same bits whatever is answered beside it.
import { OpabiniaError } from '../../../dsl/error.ts';
import { noToken } from '../../../models/decoders/generation-graphs.ts';
import { isGreedy } from '../../../models/decoders/sampling.ts';
import { DeviceError, OutOfMemoryError } from '../../../runtime/device/failure.ts';
import type { MemoryPlan } from '../../../runtime/program/memory-check.ts';
import { AnswerText } from '../../../runtime/text/answer-text.ts';
import type { Decoder } from '../../../runtime/text/tokenizer.ts';
import { engineOn, type Place } from '../../run/engine.ts';
import type { Question } from '../family.ts';
import { roomFor, untilAborted, type Prompts } from '../generate.ts';
import { asRecommended, type OpenedModel, requireOpened } from '../opened-model.ts';
import { checkOptions, toPrompts } from '../prompts.ts';
import { checkCache, type Draw } from '../session-plans.ts';
import { Asked, togetherDecoder } from './asked.ts';
import type { Answering, AskOptions, RowAnswer, RowSessionOptions } from './asking.ts';
import { rowPlans, rowSessionSizes, type RowSessionSizes } from './row-plans.ts';
import { RowPrograms, type Reading } from './row-programs.ts';
import { requireOptions } from '../../../dsl/graph/required.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Prompts that are read between two decode steps: those whose answers run wait for them. */
const readAtOnce = 4;

/** A model on a device that answers many questions at once, each in a row of the cache, whenever it comes; what `serve` has. */
export class RowSession implements Answering {
  readonly model: OpenedModel;
  readonly place: Place;
  readonly memory: MemoryPlan;
  readonly #sizes: RowSessionSizes;
  readonly #programs: RowPrograms;
  readonly #decoder: Decoder;
  readonly #waiting: Asked[] = [];
  readonly #rows: (Asked | undefined)[];
  /** Questions that are being laid out. */
  #arriving = 0;
  #running: Promise<void> | undefined;
  #closed: OpabiniaError | undefined;

  private constructor(
    model: OpenedModel,
    place: Place,
    memory: MemoryPlan,
    sizes: RowSessionSizes,
    programs: RowPrograms,
  ) {
    this.model = model;
    this.place = place;
    this.memory = memory;
    this.#sizes = sizes;
    this.#programs = programs;
    this.#decoder = togetherDecoder(model.tokenizer);
    this.#rows = Array.from({ length: sizes.rows }, () => undefined);
  }

  /** Compiles for the place, checks memory on paper, loads. Throws `OpabiniaError`, `DeviceError`; nothing stays loaded then. */
  static async open(model: OpenedModel, place: Place, options: RowSessionOptions = {}): Promise<RowSession> {
    requireOpened('RowSession.open', model, place);
    requireOptions('RowSession.open', options, 'RowSession.open(model, device, { rows: 8 })');
    const sizes = rowSessionSizes(model, options);
    const engine = engineOn(place, model.source);
    // One more, in which prompts are read.
    checkCache(model, engine.limit, { batch: sizes.rows + 1, capacity: sizes.capacity });
    const plans = rowPlans(model, engine, sizes, options.note);
    options.compiled?.();
    const programs = await RowPrograms.load(model, engine, sizes, plans, options);
    return new RowSession(model, place, plans.memory, sizes, programs);
  }

  /** Questions that are answered now, and the most that can be. */
  get rows(): { readonly busy: number; readonly all: number } {
    return { busy: this.#rows.filter((asked) => asked?.over === false).length, all: this.#sizes.rows };
  }

  /** Questions that no row was free for yet. */
  get waiting(): number {
    return this.#arriving + this.#waiting.filter((asked) => !asked.over).length;
  }

  /** Tokens of a prompt and its answer. */
  get context(): number {
    return this.#sizes.capacity;
  }

  async *ask(question: Question, options: AskOptions = {}): AsyncGenerator<string, RowAnswer, undefined> {
    const { signal } = options;
    signal?.throwIfAborted();
    this.#arriving++;
    const asked = await untilAborted(this.#lay(question, options), signal).finally(() => this.#arriving--);
    try {
      this.#waiting.push(asked);
      options.accepted?.();
      this.#run();
      for (;;) {
        const piece = await untilAborted(asked.next(), signal);
        if (piece === undefined) return asked.answer;
        yield piece;
      }
    } finally {
      asked.left = true;
    }
  }

  /** No more questions; those that were asked are refused. Every byte goes back to the device. */
  async close(): Promise<void> {
    if (this.#closed !== undefined) return this.#running;
    this.#closed = new OpabiniaError('the session is closed', { op: 'answer' });
    this.#failAll(this.#closed);
    await this.#running;
    this.#programs.dispose();
  }

  async #lay(question: Question, asked: AskOptions): Promise<Asked> {
    if (this.#closed !== undefined) throw this.#closed;
    const options = asRecommended(this.model, asked);
    checkOptions(options);
    const { imageLimit, draws } = this.#sizes;
    const draw: Draw = isGreedy(options) ? 'greedy' : 'random';
    if (!draws.includes(draw))
      throw new OpabiniaError('a question is asked with a temperature or a repetition penalty', {
        op: 'answer',
        advice: 'open the session with draws: any',
      });
    const laid = await this.model.family.layOut([question], options);
    if (laid.pictures > imageLimit)
      throw new OpabiniaError(`${plural(laid.pictures, 'image is', 'images are')} given`, {
        op: 'answer',
        advice: `at most ${imageLimit}, as the session was opened`,
      });
    const most = Math.min(options.maxNewTokens ?? Infinity, roomFor(laid.width, this.#sizes));
    const text = new AnswerText(this.#decoder, { endTokens: this.model.endTokens, stop: options.stop });
    const waiting = new Asked({
      laid,
      prompts: toPrompts(this.model, laid, 1, draw, options),
      draw,
      most,
      text,
      scores: options.scores,
    });
    if (most < 1) await waiting.stop('length');
    return waiting;
  }

  /** Answers until nobody waits. */
  #run(): void {
    this.#running ??= this.#turns()
      .catch((error: unknown) => this.#failAll(error))
      .finally(() => {
        this.#running = undefined;
        if (this.waiting > this.#arriving) this.#run();
      });
  }

  async #turns(): Promise<void> {
    for (;;) {
      if (this.#closed !== undefined) return this.#failAll(this.#closed);
      await this.#fill();
      const turning = this.#rows.flatMap((asked, row) => (asked?.over === false ? [{ asked, row }] : []));
      if (turning.length > 0) await this.#step(turning);
      else if (this.#waiting.length === 0) return;
    }
  }

  /** Free rows go to those who wait. */
  async #fill(): Promise<void> {
    let read = 0;
    const most = this.rows.busy === 0 ? Infinity : readAtOnce;
    for (const [row, before] of this.#rows.entries()) {
      if (before?.over === false) continue;
      this.#rows[row] = undefined;
      for (let asked = this.#waiting.shift(); asked !== undefined; asked = this.#waiting.shift()) {
        if (asked.over) continue;
        read++;
        await this.#enter(asked, row, asked.prompts);
        if (!asked.over) {
          this.#rows[row] = asked;
          break;
        }
        if (read >= most) break;
      }
      if (read >= most || this.#waiting.length === 0) return;
    }
  }

  /** Reads a prompt, gives the token that follows, and brings it into the row where more are to come. What fails is that question alone. */
  async #enter(asked: Asked, row: number, prompts: Prompts): Promise<void> {
    const reading: Reading = { views: asked.laid.views, prompts, draw: asked.draw };
    try {
      const { tokens, scores } = await this.#programs.read(reading, asked.scored);
      await this.#take(asked, tokens[0] ?? noToken, scores(0));
      if (!asked.over) await this.#programs.enter(row, reading);
    } catch (error) {
      asked.fail(error);
      // Without the device nobody is answered; that there is no room for a picture's graph is between it and who asked.
      if (error instanceof DeviceError && !(error instanceof OutOfMemoryError)) throw error;
    }
  }

  async #step(turning: readonly { readonly asked: Asked; readonly row: number }[]): Promise<void> {
    for (const { asked, row } of turning) {
      const again = asked.again();
      if (again !== undefined) await this.#enter(asked, row, again);
    }
    const going = turning.filter(({ asked }) => !asked.over);
    if (going.length === 0) return;
    const draw: Draw = going.some(({ asked }) => asked.draw === 'random') ? 'random' : 'greedy';
    const keys = Math.max(...going.map(({ asked }) => asked.keys));
    const scored = going.some(({ asked }) => asked.scored);
    const { tokens, scores } = await this.#programs.step(draw, keys, scored);
    await Promise.all(going.map(async ({ asked, row }) => this.#taking(asked, tokens[row] ?? noToken, scores(row))));
    const lost = going.filter(({ asked, row }) => !asked.over && tokens[row] === noToken);
    for (const { asked } of lost) await this.#take(asked, noToken);
  }

  /** A token that is one. */
  async #taking(asked: Asked, token: number, scores?: ArrayLike<number>): Promise<void> {
    if (token === noToken) return;
    try {
      await asked.take(token, scores);
    } catch (error) {
      asked.fail(error);
    }
  }

  async #take(asked: Asked, token: number, scores?: ArrayLike<number>): Promise<void> {
    if (token !== noToken) return this.#taking(asked, token, scores);
    const reading: Reading = { views: asked.laid.views, prompts: asked.prompts, draw: asked.draw };
    asked.fail(await this.#programs.locate(reading, asked.steps));
  }

  #failAll(error: unknown): void {
    for (const asked of [...this.#waiting.splice(0), ...this.#rows]) if (asked?.over === false) asked.fail(error);
    this.#rows.fill(undefined);
  }
}
