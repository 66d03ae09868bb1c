// Pictures on the device: the one graph of a family, or one for each size of picture, whose results prefill reads from states.
import type { Graph } from '../../dsl/index.ts';
import type { Engine, Runnable } from '../run/engine.ts';
import type { View } from './family.ts';
import { knownSymbols, untilAborted } from './generate.ts';
import type { SessionSizes } from './session-plans.ts';

/** Sizes of pictures whose programs are kept. */
const keptSizes = 16;

export class Seeing {
  readonly #engine: Engine;
  readonly #sizes: SessionSizes;
  readonly #vision: Runnable | undefined;
  readonly #note: ((what: string) => void) | undefined;
  /** By size, the last used one last. */
  readonly #views = new Map<string, Runnable>();

  /** `vision`: the family's own program, where it has one; it is disposed of with the rest. */
  constructor(engine: Engine, sizes: SessionSizes, vision: Runnable | undefined, note?: (what: string) => void) {
    this.#engine = engine;
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
  async #seeing({ key, make }: NonNullable<View['graph']>): Promise<Runnable> {
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
    const graph = (): Graph => make({ ...this.#sizes, draw: 'greedy' });
    const program = await this.#engine.prepare(`pictures of ${key}`, graph, { note: this.#note }).load();
    this.#views.set(key, program);
    return program;
  }

  dispose(): void {
    this.#vision?.dispose();
    for (const program of this.#views.values()) program.dispose();
    this.#views.clear();
  }
}
