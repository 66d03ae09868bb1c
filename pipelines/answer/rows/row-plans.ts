// What a session that answers by rows runs: pictures and prompts one question at a time, decoding all rows together.
import { OpabiniaError, type Graph } from '../../../dsl/index.ts';
import { rowDecodeGraph, rowEntryGraph } from '../../../models/decoders/row-graphs.ts';
import type { MemoryPlan } from '../../../runtime/program/memory-check.ts';
import type { Engine, Prepared } from '../../run/engine.ts';
import type { OpenedModel } from '../open-model.ts';
import { sessionSizes, visionName, type Draw, type SessionSizes } from '../session-plans.ts';
import type { RowSessionOptions } from './asking.ts';

/** Sizes of the graphs of one question, and how many rows are decoded together. */
export interface RowSessionSizes extends SessionSizes {
  readonly rows: number;
  readonly draws: readonly Draw[];
}

const defaultRows = 8;
const mostRows = 1024;

/** Throws `OpabiniaError` for numbers of rows that are none. */
export function rowSessionSizes(
  model: Pick<OpenedModel, 'language'>,
  { rows = defaultRows, context, images, draws = 'any' }: RowSessionOptions,
): RowSessionSizes {
  if (!Number.isInteger(rows) || rows < 1 || rows > mostRows)
    throw new OpabiniaError(`${rows} rows`, { op: 'session', advice: `a whole number from 1 to ${mostRows}` });
  return {
    ...sessionSizes(model, { batch: 1, context, images }),
    rows,
    draws: draws === 'greedy' ? ['greedy'] : ['greedy', 'random'],
  };
}

export interface RowPlans {
  readonly vision: Prepared | undefined;
  readonly prefill: ReadonlyMap<Draw, Prepared>;
  readonly decode: ReadonlyMap<Draw, Prepared>;
  readonly entry: Prepared;
  readonly memory: MemoryPlan;
}

/** Throws what tracing and compiling throw, and `OutOfMemoryError`. */
export function rowPlans(
  { family, source }: Pick<OpenedModel, 'family' | 'source'>,
  engine: Engine,
  sizes: RowSessionSizes,
  note?: (what: string) => void,
): RowPlans {
  const all: Prepared[] = [];
  const make = (name: string, graph: () => Graph, steady = false): Prepared => {
    const prepared = engine.prepare(name, graph, { steady, note });
    all.push(prepared);
    return prepared;
  };
  const { vision: look, language, decodeParts } = family;
  const { rows, capacity, draws } = sizes;
  const vision = look === undefined ? undefined : make(visionName, () => look({ ...sizes, draw: 'greedy' }));
  const prefill = new Map(
    draws.map((draw) => [draw, make(`prefill (${draw})`, () => family.prefill({ ...sizes, draw }))]),
  );
  // An answer has the same bits with any number of rows, and whatever the others draw.
  const decode = new Map(
    draws.map((draw) => [
      draw,
      make(`decode (${draw})`, () => rowDecodeGraph(source, language, { rows, capacity, draw }, decodeParts), true),
    ]),
  );
  const last = draws.at(-1) ?? 'greedy';
  const entry = make('entry', () => rowEntryGraph(source, language, { rows, capacity, draw: last }, decodeParts));
  const memory = engine.check(all, { dtype: source.dtype, context: capacity, batch: rows });
  return { vision, prefill, decode, entry, memory };
}
