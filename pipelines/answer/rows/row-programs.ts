// The loaded programs of a session that answers by rows, and what is done with them: read a prompt, bring it into a row, decode all rows.
import { OpabiniaError } from '../../../dsl/error.ts';
import { samplingSettings } from '../../../models/decoders/sampling.ts';
import type { Inputs } from '../../../runtime/program/program.ts';
import type { Engine, Prepared, Runnable } from '../../run/engine.ts';
import type { View } from '../family.ts';
import { knownSymbols, type Prompts } from '../generate.ts';
import { locateOverflow, type NotFiniteError } from '../not-finite.ts';
import type { OpenedModel } from '../open-model.ts';
import { Seeing } from '../seeing.ts';
import type { Draw } from '../session-plans.ts';
import type { RowSessionOptions } from './asking.ts';
import type { RowPlans, RowSessionSizes } from './row-plans.ts';

/** A prompt with the pictures that it reads. */
export interface Reading {
  readonly views: readonly View[];
  readonly prompts: Prompts;
  readonly draw: Draw;
}

/** Tokens of some rows, and the scores that they were drawn from, where they were asked for. */
export interface Drawn {
  readonly tokens: Int32Array;
  /** Of a row. */
  readonly scores: (row: number) => ArrayLike<number> | undefined;
}

/** Not to be called before the last call is over. */
export class RowPrograms {
  readonly #model: OpenedModel;
  readonly #engine: Engine;
  readonly #sizes: RowSessionSizes;
  readonly #seeing: Seeing;
  readonly #prefill: ReadonlyMap<Draw, Runnable>;
  readonly #decode: ReadonlyMap<Draw, Runnable>;
  readonly #entry: Runnable;
  readonly #endAhead: () => void;

  private constructor(
    place: { readonly model: OpenedModel; readonly engine: Engine },
    sizes: RowSessionSizes,
    programs: {
      readonly seeing: Seeing;
      readonly prefill: ReadonlyMap<Draw, Runnable>;
      readonly decode: ReadonlyMap<Draw, Runnable>;
      readonly entry: Runnable;
      readonly endAhead: () => void;
    },
  ) {
    this.#model = place.model;
    this.#engine = place.engine;
    this.#sizes = sizes;
    this.#seeing = programs.seeing;
    this.#prefill = programs.prefill;
    this.#decode = programs.decode;
    this.#entry = programs.entry;
    this.#endAhead = programs.endAhead;
  }

  /** Nothing stays loaded when it throws. */
  static async load(
    model: OpenedModel,
    engine: Engine,
    sizes: RowSessionSizes,
    plans: RowPlans,
    options: RowSessionOptions,
  ): Promise<RowPrograms> {
    const loaded: Runnable[] = [];
    const put = async (prepared: Prepared): Promise<Runnable> => {
      options.note?.(`loading ${prepared.name}: ${prepared.contents}`);
      const program = await prepared.load(options.progress);
      loaded.push(program);
      return program;
    };
    const putAll = async (each: ReadonlyMap<Draw, Prepared>): Promise<ReadonlyMap<Draw, Runnable>> => {
      const programs = new Map<Draw, Runnable>();
      for (const [draw, prepared] of each) programs.set(draw, await put(prepared));
      return programs;
    };
    const { vision: look, entry: enter } = plans;
    const endAhead = engine.compileAhead([
      ...plans.decode.values(),
      enter,
      ...(look === undefined ? [] : [look]),
      ...plans.prefill.values(),
    ]);
    try {
      const vision = plans.vision === undefined ? undefined : await put(plans.vision);
      const prefill = await putAll(plans.prefill);
      const decode = await putAll(plans.decode);
      const entry = await put(plans.entry);
      const seeing = new Seeing(engine, sizes, vision, options.note);
      return new RowPrograms({ model, engine }, sizes, { seeing, prefill, decode, entry, endAhead });
    } catch (error) {
      endAhead();
      for (const program of loaded) program.dispose();
      throw error;
    }
  }

  /** The first token of an answer; the prompt stays where `enter` takes it from. */
  async read({ views, prompts, draw }: Reading, scored: boolean): Promise<Drawn> {
    await this.#seeing.see(views, undefined);
    return drawnBy(programFor(this.#prefill, draw), prompts.inputs, prompts.symbols, scored);
  }

  /** The prompt that was read last moves into this row. */
  async enter(row: number, { prompts, draw }: Reading): Promise<void> {
    await this.#entry.run(this.#drawn(prompts, draw), { symbols: knownSymbols(this.#entry, { row }) });
  }

  /** One more token of each row; of those that nobody answers in, whatever. `keys`: of the longest row that counts. */
  async step(draw: Draw, keys: number, scored: boolean): Promise<Drawn> {
    return drawnBy(programFor(this.#decode, draw), {}, { keys }, scored);
  }

  /** Where the values of a prompt stop being numbers. */
  async locate({ views, prompts, draw }: Reading, step: number): Promise<NotFiniteError> {
    await this.#seeing.see(views, undefined);
    return locateOverflow({ model: this.#model, engine: this.#engine }, { ...this.#sizes, draw }, prompts, step);
  }

  /** What a row draws with: a greedy one among others takes its likeliest token. */
  #drawn({ inputs }: Prompts, draw: Draw): Inputs {
    if (!this.#sizes.draws.includes('random')) return {};
    const { settings, seed, seen } = inputs;
    if (draw === 'random' && settings !== undefined && seed !== undefined && seen !== undefined)
      return { settings, seed, seen };
    return {
      settings: samplingSettings({}),
      seed: Uint32Array.of(0),
      seen: new Uint8Array(this.#model.language.config.vocabulary),
    };
  }

  dispose(): void {
    this.#endAhead();
    this.#seeing.dispose();
    for (const program of [...this.#prefill.values(), ...this.#decode.values(), this.#entry]) program.dispose();
  }
}

function programFor(programs: ReadonlyMap<Draw, Runnable>, draw: Draw): Runnable {
  const program = programs.get(draw);
  if (program === undefined) throw new TypeError(`nothing was compiled that draws ${draw}`);
  return program;
}

async function drawnBy(
  program: Runnable,
  inputs: Inputs,
  symbols: Readonly<Record<string, number>>,
  scored: boolean,
): Promise<Drawn> {
  const outputs = scored ? ['token', 'logits'] : ['token'];
  const { token, logits } = await program.run(inputs, { symbols: knownSymbols(program, symbols), outputs });
  if (!(token?.data instanceof Int32Array))
    throw new OpabiniaError("the program has no output 'token' of i32", { op: 'answer' });
  const tokens = token.data;
  if (logits === undefined) return { tokens, scores: () => undefined };
  const { data } = logits;
  const vocabulary = data.length / tokens.length;
  return { tokens, scores: (row) => data.subarray(row * vocabulary, (row + 1) * vocabulary) };
}
