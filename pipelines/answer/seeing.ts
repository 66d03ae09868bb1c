// Pictures on the device: the one graph of a family, or one for each size of picture, whose results prefill reads from states.
import { compile } from '../../compiler/compile.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import type { SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import type { View } from './family.ts';
import { knownSymbols, untilAborted } from './generate.ts';
import type { OpenedModel } from './open-model.ts';
import type { SessionSizes } from './session-plans.ts';

/** Sizes of pictures whose programs are kept. */
const keptSizes = 16;

export class Seeing {
  readonly #model: OpenedModel;
  readonly #device: Device;
  readonly #sizes: SessionSizes;
  readonly #shared: SharedBuffers;
  readonly #vision: Program | undefined;
  readonly #note: ((what: string) => void) | undefined;
  /** By size, the last used one last. */
  readonly #views = new Map<string, Program>();

  /** `vision`: the family's own program, where it has one; it is disposed of with the rest. */
  constructor(
    { model, device, shared }: { readonly model: OpenedModel; readonly device: Device; readonly shared: SharedBuffers },
    sizes: SessionSizes,
    vision: Program | undefined,
    note?: (what: string) => void,
  ) {
    this.#model = model;
    this.#device = device;
    this.#shared = shared;
    this.#sizes = sizes;
    this.#vision = vision;
    this.#note = note;
  }

  /** Throws what the device throws, and the signal's reason. */
  async see(views: readonly View[], signal: AbortSignal | undefined): Promise<void> {
    for (const { inputs, symbols, graph } of views) {
      const program = graph === undefined ? this.#vision : await this.#seeing(graph);
      if (program === undefined) continue;
      signal?.throwIfAborted();
      await untilAborted(program.run(inputs(), { symbols: knownSymbols(program, symbols) }), signal);
    }
  }

  /** The program of pictures of one size, made when the first of them comes. */
  async #seeing({ key, make }: NonNullable<View['graph']>): Promise<Program> {
    const known = this.#views.get(key);
    if (known !== undefined) {
      this.#views.delete(key);
      this.#views.set(key, known);
      return known;
    }
    const [oldest] = this.#views;
    if (this.#views.size >= keptSizes && oldest !== undefined) {
      this.#views.delete(oldest[0]);
      oldest[1].dispose();
    }
    this.#note?.(`compiling pictures of ${key}`);
    const plan = compile(make({ ...this.#sizes, draw: 'greedy' }), deviceProfile(this.#device));
    const program = await load(plan, this.#device, this.#model.source, { shared: this.#shared });
    this.#views.set(key, program);
    return program;
  }

  dispose(): void {
    this.#vision?.dispose();
    for (const program of this.#views.values()) program.dispose();
    this.#views.clear();
  }
}
