// The programs of a session, compiled for a device that need not be there: how long a context they are made for, and what they take.
import { compile } from '../../compiler/compile.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/index.ts';
import { OutOfMemoryError } from '../../runtime/device/failure.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import { memoryPlan, type MemoryLimit, type MemoryPlan, type NamedPlan } from '../../runtime/program/memory-check.ts';
import type { AnswerSizes, View } from './family.ts';
import type { OpenedModel } from './open-model.ts';
import { plural } from '../../dsl/text/plural.ts';

export type Draw = AnswerSizes['draw'];
export const visionName = 'towers and connector';

const defaultContext = 2048;

/** The context to open a session with for one prompt and its answer: the usual one, or more where pictures in tiles alone outgrow it. */
export function contextFor(prompt: number, answer = 512): number {
  return Math.max(defaultContext, prompt + answer);
}

/** Tokens of prompt and answer together, and of a prompt, when a session is opened with this context. */
export function contextOf(
  model: Pick<OpenedModel, 'language'>,
  context = defaultContext,
): { readonly capacity: number; readonly promptLimit: number } {
  const capacity = Math.min(context, model.language.config.maxPositions);
  return { capacity, promptLimit: capacity - 1 };
}

/** What is said where a context was asked for that the model has no positions for; undefined where it has. */
export function shorterContext(
  { language }: Pick<OpenedModel, 'language'>,
  asked: number | undefined,
): string | undefined {
  const { maxPositions } = language.config;
  if (asked === undefined || asked <= maxPositions) return undefined;
  return `a context of ${plural(asked, 'token')} is asked for, and the model has ${plural(maxPositions, 'position')}: it is ${maxPositions}`;
}

export type SessionSizes = Omit<AnswerSizes, 'draw' | 'locate'>;

/** Sizes of the graphs; the defaults are those of `SessionOptions`. */
export function sessionSizes(
  model: Pick<OpenedModel, 'language'>,
  options: {
    readonly batch?: number | undefined;
    readonly context?: number | undefined;
    readonly images?: number | undefined;
  },
): SessionSizes {
  return {
    batch: options.batch ?? 1,
    ...contextOf(model, options.context),
    imageLimit: Math.max(1, options.images ?? 1),
  };
}

export interface SessionPlans {
  /** All of them, in the order in which they are loaded. */
  readonly programs: readonly NamedPlan[];
  readonly memory: MemoryPlan;
}

/** A program's graph, traced when it is asked for. */
export interface NamedGraph {
  readonly name: string;
  readonly graph: () => Graph;
}

export interface SessionGraphs {
  readonly vision: NamedGraph | undefined;
  readonly prefill: NamedGraph;
  readonly decode: NamedGraph;
}

export function sessionGraphs({ family }: Pick<OpenedModel, 'family'>, sizes: SessionSizes, draw: Draw): SessionGraphs {
  const { vision: look } = family;
  return {
    vision: look === undefined ? undefined : { name: visionName, graph: () => look({ ...sizes, draw }) },
    prefill: { name: 'prefill', graph: () => family.prefill({ ...sizes, draw }) },
    decode: { name: 'decode', graph: () => family.decode({ ...sizes, draw }) },
  };
}

/** Throws what tracing and compiling throw. */
export function sessionPlans(
  model: Pick<OpenedModel, 'family'>,
  profile: DeviceProfile,
  sizes: SessionSizes,
  options: {
    readonly draw: Draw;
    /** Views that bring their own graphs, which are then counted too. */
    readonly views?: readonly View[] | undefined;
    readonly note?: ((what: string) => void) | undefined;
  },
): SessionPlans {
  const { draw, views = [], note } = options;
  const make = ({ name, graph }: NamedGraph): NamedPlan => {
    note?.(`compiling ${name} for ${profile.name}`);
    return { name, plan: compile(graph(), profile) };
  };
  const graphs = sessionGraphs(model, sizes, draw);
  const vision = graphs.vision === undefined ? [] : [make(graphs.vision)];
  const answering = [make(graphs.prefill), make(graphs.decode)];
  const own = new Map(views.flatMap(({ graph }) => (graph === undefined ? [] : [[graph.key, graph.make] as const])));
  const seen = [...own].map(([key, graph]) =>
    make({ name: `pictures of ${key}`, graph: () => graph({ ...sizes, draw }) }),
  );
  const programs = [...vision, ...seen, ...answering];
  return { programs, memory: memoryPlan(programs) };
}

/** Keys and values of the whole context against the device's memory, before graphs of that length are made. Throws `OutOfMemoryError`. */
export function checkCache(
  { language: { config }, source }: OpenedModel,
  { device, budget }: MemoryLimit,
  { batch, capacity }: { readonly batch: number; readonly capacity: number },
): void {
  const perToken = 2 * config.layers * config.keyValueHeads * config.headSize * (source.dtype === 'f16' ? 2 : 4);
  const needed = batch * capacity * perToken;
  if (needed <= budget) return;
  throw new OutOfMemoryError(
    `the cache of ${plural(capacity, 'token')} alone takes ${printBytes(needed)}, and ${device} has ${printBytes(budget)} free`,
    {
      op: 'session',
      advice: `open it with a context of at most ${plural(Math.floor(budget / (batch * perToken)), 'token')}`,
    },
  );
}
