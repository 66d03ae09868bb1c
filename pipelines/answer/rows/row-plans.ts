// What a session that answers by rows runs: pictures and prompts one question at a time, decoding all rows together.
import { compile } from '../../../compiler/compile.ts';
import type { Plan } from '../../../compiler/plan.ts';
import { steadySums, type DeviceProfile } from '../../../compiler/profile.ts';
import { OpabiniaError, type Graph } from '../../../dsl/index.ts';
import { rowDecodeGraph, rowEntryGraph } from '../../../models/decoders/row-graphs.ts';
import { memoryPlan, type MemoryPlan, type NamedPlan } from '../../../runtime/program/memory-check.ts';
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
  readonly vision: Plan | undefined;
  readonly prefill: ReadonlyMap<Draw, Plan>;
  readonly decode: ReadonlyMap<Draw, Plan>;
  readonly entry: Plan;
  readonly memory: MemoryPlan;
}

/** Throws what tracing and compiling throw. */
export function rowPlans(
  { family, source }: Pick<OpenedModel, 'family' | 'source'>,
  profile: DeviceProfile,
  sizes: RowSessionSizes,
  note?: (what: string) => void,
): RowPlans {
  const named: NamedPlan[] = [];
  const make = (name: string, graph: () => Graph, own = profile): Plan => {
    note?.(`compiling ${name} for ${profile.name}`);
    const plan = compile(graph(), own);
    named.push({ name, plan });
    return plan;
  };
  const { vision: look, language, decodeParts } = family;
  const { rows, capacity, draws } = sizes;
  const vision = look === undefined ? undefined : make(visionName, () => look({ ...sizes, draw: 'greedy' }));
  const prefill = new Map(
    draws.map((draw) => [draw, make(`prefill (${draw})`, () => family.prefill({ ...sizes, draw }))]),
  );
  // An answer has the same bits with any number of rows, and whatever the others draw.
  const steady = steadySums(profile);
  const decode = new Map(
    draws.map((draw) => [
      draw,
      make(`decode (${draw})`, () => rowDecodeGraph(source, language, { rows, capacity, draw }, decodeParts), steady),
    ]),
  );
  const last = draws.at(-1) ?? 'greedy';
  const entry = make('entry', () => rowEntryGraph(source, language, { rows, capacity, draw: last }, decodeParts));
  return { vision, prefill, decode, entry, memory: memoryPlan(named) };
}
