// Compiles one case, runs it on the GPU and holds every element against the exact value; the compiler, or its plan, may be a mutant.
import { compile } from '../../compiler/compile.ts';
import { passes as standard } from '../../compiler/passes/index.ts';
import type { Pass } from '../../compiler/pass.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Graph } from '../../dsl/graph.ts';
import type { DType } from '../../dsl/op.ts';
import type { DeviceBuffer } from '../../runtime/device.ts';
import { place } from '../../runtime/place.ts';
import { Program } from '../../runtime/program.ts';
import type { Feeds } from '../../runtime/reference.ts';
import { bytesOf, toBytes, type Numbers } from '../../runtime/values.ts';
import { evaluateWithError, isWithin, type Bounded, type BoundedFeeds, type BoundedResult } from '../forward-error.ts';
import type { Gpu } from '../gpu/compare.ts';
import { asFeeds, type FuzzCase } from './case.ts';

/** A mistake planted into the compiler: in the records it reads, in its passes, or in the plan it makes. */
export interface Mutation {
  /** Changes what the compiler reads; returns how that is undone. */
  readonly install?: () => () => void;
  /** Another pass, after all others. */
  readonly pass?: Pass;
  /** Undefined where it does not apply. */
  readonly plan?: (plan: Plan) => Plan | undefined;
}

export type Outcome =
  | { readonly kind: 'ok'; readonly compared: number; readonly vacuous: number; readonly templates: readonly string[] }
  /** A typed error that says which limit of the device does not suffice. */
  | { readonly kind: 'refused'; readonly what: string }
  /** The mutation has changed nothing. */
  | { readonly kind: 'same' }
  /** compile: the compiler threw. wrong: a number or a byte that should not be. crash, hang: of the process. */
  | { readonly kind: 'compile' | 'wrong' | 'crash' | 'hang'; readonly what: string };

export interface Compiled {
  readonly plan: Plan;
  readonly optimised: Graph;
  readonly templates: readonly string[];
}

export function profileOf(gpu: Pick<Gpu, 'profiles'>, { profile, limits }: Pick<FuzzCase, 'profile' | 'limits'>): DeviceProfile {
  return { ...gpu.profiles[profile], ...limits };
}

/** Throws what the compiler throws. */
export function compileCase(given: FuzzCase, profile: DeviceProfile, mutation: Mutation = {}): Compiled | undefined {
  let optimised = given.graph;
  const templates: string[] = [];
  const chosen = given.passes?.map((name) => standard.find((pass) => pass.name === name)).filter((pass) => pass !== undefined) ?? standard;
  const undo = mutation.install?.();
  try {
    const plan = compile(given.graph, profile, {
      passes: mutation.pass === undefined ? chosen : [...chosen, mutation.pass], packing: given.packing, verify: true,
      report: (stage) => {
        if (stage.name === 'pass' && stage.report.pass !== mutation.pass) optimised = stage.report.graph;
        if (stage.name === 'schedule') templates.push(...stage.assembly.steps.map((step) => step.template));
      },
    });
    const changed = mutation.plan === undefined ? plan : mutation.plan(plan);
    return changed === undefined ? undefined : { plan: changed, optimised, templates };
  } finally {
    undo?.();
  }
}

/** A limit named by a typed error is an answer; any other error of the compiler is a finding. */
export function asOutcome(error: unknown): Outcome {
  const what = error instanceof Error ? error.message : String(error);
  const limit = error instanceof OpabiniaError && /the device(?: '[^']*')? allows|over the device's limit|do not fit|the device '[^']*' has no/.test(what);
  return limit ? { kind: 'refused', what } : { kind: 'compile', what: error instanceof OpabiniaError ? what : error instanceof Error ? error.stack ?? what : what };
}

/** What a correct device may answer, run after run; the exact values are computed once, whatever is compiled. */
export class Expected {
  readonly #given: FuzzCase;
  readonly #own: BoundedResult[] = [];

  constructor(given: FuzzCase) {
    this.#given = given;
  }

  get runs(): number {
    return this.#given.graph.updates.length > 0 ? 2 : 1;
  }

  /** Run 1, 2…; the rewritten graph may have a larger bound, up to a factor: no rewrite may cost more digits than that. */
  of(run: number, optimised: Graph): BoundedResult {
    const feeds = this.#feeds(run);
    const own = this.#own[run] ?? evaluateWithError(this.#given.graph, feeds);
    this.#own[run] = own;
    const other = evaluateWithError(optimised, feeds);
    const merge = (a: ReadonlyMap<string, Bounded>, b: ReadonlyMap<string, Bounded>) => new Map([...a].map(([name, value]): [string, Bounded] => {
      const error = b.get(name)?.error;
      return [name, { ...value, error: value.error.map((e, i) => Math.max(e, Math.min(error?.[i] ?? 0, mostGrowth * e + 2 ** -60))) }];
    }));
    return { outputs: merge(own.outputs, other.outputs), states: merge(own.states, other.states) };
  }

  #feeds(run: number): BoundedFeeds {
    const feeds: Feeds = asFeeds(this.#given.feeds);
    const before = run <= 1 ? undefined : this.#own[run - 1];
    if (before === undefined) return feeds;
    return { ...feeds, states: new Map([...before.states].map(([name, state]) => [name, state.data])), stateErrors: new Map([...before.states].map(([name, state]) => [name, state.error])) };
  }
}

const mostGrowth = 64;

/** Throws where the GPU's answer is wrong, or a byte behind a buffer has changed. */
export async function runPlan(gpu: Gpu, given: FuzzCase, { plan, optimised, templates }: Compiled, expected: Expected): Promise<Outcome> {
  const feeds = asFeeds(given.feeds);
  const placed = await place(plan, gpu.device, { read: (path, shape) => Float32Array.from(feeds.params(path, [...shape])) }, { deadline: 60_000 });
  const program = new Program(plan, gpu.device, placed);
  const counts = { compared: 0, vacuous: 0 };
  try {
    const bufferOf = (index: number): DeviceBuffer => must(placed.buffers.get(index));
    for (const state of plan.states) {
      const elements = state.axes.reduce((count, axis) => count * (typeof axis.size === 'number' ? axis.size : NaN), 1);
      gpu.device.write(bufferOf(state.buffer), 0, toBytes(Array.from(feeds.states?.get(state.name) ?? new Float64Array(elements)), state.dtype));
    }
    const symbols = Object.fromEntries([...given.feeds.symbols].filter(([name]) => plan.symbols.some((symbol) => symbol.name === name)));
    const inputs = Object.fromEntries(plan.inputs.map(({ name, dtype }) => [name, asInput(must(feeds.inputs.get(name)), dtype)]));
    for (let run = 1; run <= expected.runs; run++) {
      const got = await program.run(inputs, { symbols });
      const want = expected.of(run, optimised);
      for (const [name, values] of want.outputs) expectWithin(`output '${name}' of run ${run}`, must(got[name]).data, values, counts);
      for (const { name } of plan.states) expectWithin(`state '${name}' after run ${run}`, (await program.readState(name)).data, must(want.states.get(name)), counts);
      const ends = new Map<DeviceBuffer, number | undefined>([...placed.buffers.values()].map((buffer) => [buffer, undefined]));
      for (const output of plan.outputs) ends.set(bufferOf(output.buffer), must(got[output.name]).data.length * bytesOf[output.dtype]);
      await gpu.device.expectUntouched(ends);
    }
  } finally {
    program.dispose();
  }
  return { kind: 'ok', templates, ...counts };
}

/** Numbers, NaN among them, as an array that the runtime takes for this dtype. */
function asInput(values: ArrayLike<number>, dtype: DType): Numbers {
  switch (dtype) {
    case 'f32': case 'bf16': return Float32Array.from(values);
    case 'f16': return Float16Array.from(values);
    case 'i32': return Int32Array.from(values);
    case 'u32': return Uint32Array.from(values);
    case 'bool': return Uint32Array.from(values, (x) => Number(x !== 0));
    default: return dtype satisfies never;
  }
}

/** Throws at the first element that no correct implementation may give. Counts elements whose bound says nothing. */
export function expectWithin(what: string, got: ArrayLike<number>, want: Bounded, counts: { compared: number; vacuous: number }): void {
  if (got.length !== want.data.length) throw new Error(`${what} has ${got.length} elements, not ${want.data.length}`);
  const size = want.data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  let wrong = 0;
  let first = -1;
  for (let i = 0; i < got.length; i++) {
    const error = want.error[i] ?? NaN;
    if (error > 0 && error >= size) counts.vacuous++;
    if (isWithin(Number(got[i]), want.data[i] ?? NaN, error)) continue;
    if (first < 0) first = i;
    wrong++;
  }
  counts.compared += got.length;
  if (first < 0) return;
  const [value, exact, error] = [Number(got[first]), want.data[first] ?? NaN, want.error[first] ?? NaN];
  throw new Error(`${what}: element ${first} of ${got.length} is ${value}, exactly ${exact}, ${Math.abs(value - exact)} apart where ${error} is allowed; ${wrong} elements are wrong`);
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('what was asked for is not there');
  return value;
}
