// The loaded programs of a session that answers by rows, and what is done with them: read a prompt, bring it into a row, decode all rows.
import type { Plan } from '../../../compiler/plan.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { samplingSettings } from '../../../models/decoders/sampling.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { load, type Inputs, type Program } from '../../../runtime/program/program.ts';
import { SharedBuffers } from '../../../runtime/program/shared-buffers.ts';
import type { View } from '../family.ts';
import { knownSymbols, type Prompts } from '../generate.ts';
import { locateOverflow, type NotFiniteError } from '../not-finite.ts';
import type { OpenedModel } from '../open-model.ts';
import { Seeing } from '../seeing.ts';
import { visionName, type Draw } from '../session-plans.ts';
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
  readonly #device: Device;
  readonly #sizes: RowSessionSizes;
  readonly #shared: SharedBuffers;
  readonly #seeing: Seeing;
  readonly #prefill: ReadonlyMap<Draw, Program>;
  readonly #decode: ReadonlyMap<Draw, Program>;
  readonly #entry: Program;

  private constructor(
    place: { readonly model: OpenedModel; readonly device: Device; readonly shared: SharedBuffers },
    sizes: RowSessionSizes,
    programs: {
      readonly seeing: Seeing;
      readonly prefill: ReadonlyMap<Draw, Program>;
      readonly decode: ReadonlyMap<Draw, Program>;
      readonly entry: Program;
    },
  ) {
    this.#model = place.model;
    this.#device = place.device;
    this.#shared = place.shared;
    this.#sizes = sizes;
    this.#seeing = programs.seeing;
    this.#prefill = programs.prefill;
    this.#decode = programs.decode;
    this.#entry = programs.entry;
  }

  /** Nothing stays loaded when it throws. */
  static async load(
    model: OpenedModel,
    device: Device,
    sizes: RowSessionSizes,
    plans: RowPlans,
    options: RowSessionOptions,
  ): Promise<RowPrograms> {
    const shared = new SharedBuffers();
    const loaded: Program[] = [];
    const put = async (name: string, plan: Plan): Promise<Program> => {
      options.note?.(`loading ${name}: ${plan.kernels.length} kernels`);
      const program = await load(plan, device, model.source, { shared, progress: options.progress });
      loaded.push(program);
      return program;
    };
    const putAll = async (name: string, each: ReadonlyMap<Draw, Plan>): Promise<ReadonlyMap<Draw, Program>> => {
      const programs = new Map<Draw, Program>();
      for (const [draw, plan] of each) programs.set(draw, await put(`${name} (${draw})`, plan));
      return programs;
    };
    try {
      const vision = plans.vision === undefined ? undefined : await put(visionName, plans.vision);
      const prefill = await putAll('prefill', plans.prefill);
      const decode = await putAll('decode', plans.decode);
      const entry = await put('entry', plans.entry);
      const place = { model, device, shared };
      const seeing = new Seeing(place, sizes, vision, options.note);
      return new RowPrograms(place, sizes, { seeing, prefill, decode, entry });
    } catch (error) {
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
    const place = { model: this.#model, device: this.#device, shared: this.#shared };
    return locateOverflow(place, { ...this.#sizes, draw }, prompts, step);
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
    this.#seeing.dispose();
    for (const program of [...this.#prefill.values(), ...this.#decode.values(), this.#entry]) program.dispose();
  }
}

function programFor(programs: ReadonlyMap<Draw, Program>, draw: Draw): Program {
  const program = programs.get(draw);
  if (program === undefined) throw new TypeError(`nothing was compiled that draws ${draw}`);
  return program;
}

async function drawnBy(
  program: Program,
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
