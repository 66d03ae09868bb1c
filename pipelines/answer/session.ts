// A model on a device, ready to answer: its graphs compiled and loaded over shared weights and states, then question after question.
import { OpabiniaError } from '../../dsl/index.ts';
import { noToken } from '../../models/decoders/generation-graphs.ts';
import { isGreedy, type SamplingOptions } from '../../models/decoders/sampling.ts';
import { AnswerText, type EndReason } from '../../runtime/text/answer-text.ts';
import { generateTokens, roomFor, type GenerationPrograms } from './generate.ts';
import type { MemoryPlan } from '../../runtime/program/memory-check.ts';
import type { Progress } from '../../runtime/program/upload.ts';
import { engineOn, type Engine, type Place, type Prepared, type Runnable } from '../run/engine.ts';
import type { PromptOptions, Question } from './family.ts';
import { locateOverflow } from './not-finite.ts';
import { asRecommended, type OpenedModel, requireOpened } from './opened-model.ts';
import { checkOptions, toPrompts } from './prompts.ts';
import { Seeing } from './seeing.ts';
import {
  checkCache,
  sessionGraphs,
  sessionSizes,
  type Draw,
  type NamedGraph,
  type SessionSizes,
} from './session-plans.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface SessionOptions {
  /** Questions answered at once; 1 by default. */
  readonly batch?: number | undefined;
  /** Tokens of prompt and answer together; by default 2048, or what the model knows if that is less. */
  readonly context?: number | undefined;
  /** Pictures in all questions together; 1 by default. */
  readonly images?: number | undefined;
  /** Told of each parameter that is loaded, and of each stage before. */
  readonly progress?: Progress | undefined;
  readonly note?: ((what: string) => void) | undefined;
  /** Told when compiling, which holds the thread, is over. */
  readonly compiled?: (() => void) | undefined;
}

export interface AnswerOptions extends PromptOptions {
  readonly maxNewTokens?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  /** Told after each step of the token loop, the first of which is prefill. */
  readonly onToken?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly reason: EndReason;
}

/** A piece of one answer: whole words. */
export interface AnswerPiece {
  readonly row: number;
  readonly text: string;
}

/** A model on a device that answers one batch of questions after the other; what `run` has. */
export class Session {
  readonly model: OpenedModel;
  readonly place: Place;
  readonly memory: MemoryPlan;
  readonly #engine: Engine;
  readonly #sizes: SessionSizes;
  readonly #vision: Prepared | undefined;
  readonly #options: SessionOptions;
  readonly #seeing: Seeing;
  readonly #pairs = new Map<Draw, GenerationPrograms>();
  readonly #endAhead: () => void;
  #busy = false;

  private constructor(
    model: OpenedModel,
    place: Place,
    engine: Engine,
    options: SessionOptions,
    prepared: PreparedSession,
    programs: {
      readonly vision: Runnable | undefined;
      readonly draw: Draw;
      readonly pair: GenerationPrograms;
      readonly endAhead: () => void;
    },
  ) {
    this.model = model;
    this.place = place;
    this.memory = prepared.memory;
    this.#engine = engine;
    this.#options = options;
    this.#sizes = prepared.sizes;
    this.#vision = prepared.vision;
    this.#endAhead = programs.endAhead;
    this.#seeing = new Seeing(engine, prepared.sizes, programs.vision, options.note);
    this.#pairs.set(programs.draw, programs.pair);
  }

  /**
   * Compiles for the place, checks memory on paper, loads. `sampling` says which way of drawing is loaded at once; the other is
   * when it is first asked for. Throws `OpabiniaError`, `DeviceError`; nothing stays loaded then.
   */
  static async open(
    model: OpenedModel,
    place: Place,
    options: SessionOptions = {},
    sampling: SamplingOptions = {},
  ): Promise<Session> {
    requireOpened('Session.open', model, place);
    const draw: Draw = isGreedy(asRecommended(model, sampling)) ? 'greedy' : 'random';
    const engine = engineOn(place, model.source);
    const prepared = prepare(model, engine, options, draw);
    options.compiled?.();
    const { vision: look, prefill: read, decode: write } = prepared;
    // The first token needs no decode step.
    const inOrder = [write, ...(look === undefined ? [] : [look]), read];
    const endAhead = engine.compileAhead(inOrder);
    const loaded: Runnable[] = [];
    const put = async (each: Prepared): Promise<Runnable> => {
      options.note?.(`loading ${each.name}: ${each.contents}`);
      const program = await each.load(options.progress);
      loaded.push(program);
      return program;
    };
    try {
      const vision = prepared.vision === undefined ? undefined : await put(prepared.vision);
      const [prefill, decode] = [await put(prepared.prefill), await put(prepared.decode)];
      const pair = { prefill, decode, ahead: engine.ahead, ...prepared.sizes };
      return new Session(model, place, engine, options, prepared, { vision, draw, pair, endAhead });
    } catch (error) {
      endAhead();
      for (const program of loaded) program.dispose();
      throw error;
    }
  }

  /** One question; yields whole words, returns the answer. */
  async *answer(question: Question, options: AnswerOptions = {}): AsyncGenerator<string, Answer, undefined> {
    const all = this.answerAll([question], options);
    try {
      for (;;) {
        const next = await all.next();
        if (next.done === true) {
          const [only] = next.value;
          if (only === undefined) throw new TypeError('one question has one answer');
          return only;
        }
        yield next.value.text;
      }
    } finally {
      // Also where the reader leaves its loop: the session is free for the next question.
      await all.return([]);
    }
  }

  /**
   * Several questions at once, each with its own pictures; yields pieces as they come, returns the answers in order. Throws
   * `OpabiniaError` for what cannot be asked, `ContextOverflowError` before anything runs, the signal's reason.
   */
  async *answerAll(
    questions: readonly Question[],
    asked: AnswerOptions = {},
  ): AsyncGenerator<AnswerPiece, readonly Answer[], undefined> {
    const { batch, imageLimit } = this.#sizes;
    const refuse = (what: string, advice: string): OpabiniaError => new OpabiniaError(what, { op: 'answer', advice });
    if (questions.length < 1 || questions.length > batch)
      throw refuse(`${questions.length} questions are asked at once`, `from 1 to ${batch}, the batch of this session`);
    const options = asRecommended(this.model, asked);
    checkOptions(options);
    const laid = await this.model.family.layOut(questions, options);
    if (laid.pictures > imageLimit)
      throw refuse(
        `${plural(laid.pictures, 'image is', 'images are')} given`,
        `at most ${imageLimit}, as the session was opened`,
      );
    roomFor(laid.width, this.#sizes);
    if (this.#busy) throw refuse('another question is being answered', 'await its answer: a session has one cache');
    this.#busy = true;
    try {
      const draw: Draw = isGreedy(options) ? 'greedy' : 'random';
      const pair = await this.#pair(draw);
      await this.#seeing.see(laid.views, options.signal);
      const prompts = toPrompts(this.model, laid, batch, draw, options);
      const answers = questions.map(
        () => new AnswerText(this.model.tokenizer, { endTokens: this.model.endTokens, stop: options.stop }),
      );
      for await (const tokens of generateTokens(pair, prompts, {
        signal: options.signal,
        maxNewTokens: options.maxNewTokens,
      })) {
        options.onToken?.();
        const lost = answers.findIndex((answer, row) => answer.ended === undefined && tokens[row] === noToken);
        if (lost >= 0)
          throw await locateOverflow(
            { model: this.model, engine: this.#engine },
            { ...this.#sizes, draw },
            prompts,
            answers[lost]?.tokens.length ?? 0,
          );
        for (const [row, answer] of answers.entries()) {
          const text = await answer.push(tokens[row] ?? 0);
          if (text !== '') yield { row, text };
        }
        if (answers.every((answer) => answer.ended !== undefined)) break;
      }
      for (const [row, answer] of answers.entries()) {
        const text = await answer.end('length');
        if (text !== '') yield { row, text };
      }
      return answers.map((answer) => ({ text: answer.text, tokens: answer.tokens, reason: answer.ended ?? 'length' }));
    } finally {
      this.#busy = false;
    }
  }

  async #pair(draw: Draw): Promise<GenerationPrograms> {
    const known = this.#pairs.get(draw);
    if (known !== undefined) return known;
    const { prefill, decode } = prepare(this.model, this.#engine, this.#options, draw, this.#vision);
    const first = await prefill.load();
    try {
      const pair = { prefill: first, decode: await decode.load(), ahead: this.#engine.ahead, ...this.#sizes };
      this.#pairs.set(draw, pair);
      return pair;
    } catch (error) {
      first.dispose();
      throw error;
    }
  }

  /** Every byte back to the device. */
  dispose(): void {
    this.#endAhead();
    this.#seeing.dispose();
    for (const { prefill, decode } of this.#pairs.values()) {
      prefill.dispose();
      decode.dispose();
    }
    this.#pairs.clear();
  }
}

interface PreparedSession {
  readonly vision: Prepared | undefined;
  readonly prefill: Prepared;
  readonly decode: Prepared;
  readonly sizes: SessionSizes;
  readonly memory: MemoryPlan;
}

/** All programs, and their memory against what there is. `known`: the towers', when it is there already. Throws `OutOfMemoryError`. */
function prepare(
  model: OpenedModel,
  engine: Engine,
  options: SessionOptions,
  draw: Draw,
  known?: Prepared,
): PreparedSession {
  const sizes = sessionSizes(model, options);
  checkCache(model, engine.limit, sizes);
  const graphs = sessionGraphs(model, sizes, draw);
  const make = ({ name, graph }: NamedGraph, atOnce = 1): Prepared =>
    engine.prepare(name, graph, { note: options.note, atOnce });
  const vision = known ?? (graphs.vision === undefined ? undefined : make(graphs.vision));
  const [prefill, decode] = [make(graphs.prefill), make(graphs.decode, engine.ahead)];
  const memory = engine.check([...(vision === undefined ? [] : [vision]), prefill, decode], {
    dtype: model.source.dtype,
    context: sizes.capacity,
    batch: sizes.batch,
  });
  return { vision, prefill, decode, sizes, memory };
}
