// Compiles one case, runs it on the GPU and holds every element against the exact value; the compiler, or its plan, may be a mutant.
import { compile } from '../../compiler/compile.ts';
import { passes as standard } from '../../compiler/passes/index.ts';
import { recomputation, recomputationOf } from '../../compiler/passes/recomputation.ts';
import type { Pass } from '../../compiler/rewrite/pass.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import type { Bounded } from '../../pipelines/testing/bounded.ts';
import { evaluateWithError, type BoundedFeeds, type BoundedResult } from '../../pipelines/testing/forward-error.ts';
import type { Gpu } from '../gpu/compare.ts';
import { afterRun, runPlan } from '../gpu/run-plan.ts';
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

export function profileOf(
  gpu: Pick<Gpu, 'profiles'>,
  { profile, limits }: Pick<FuzzCase, 'profile' | 'limits'>,
): DeviceProfile {
  const [device, desktop] = gpu.profiles;
  const lanes = { ...desktop, subgroupSize: device.subgroupSize, matrices: device.matrices };
  const own = [device, desktop, lanes][profile] ?? device;
  // A software driver computes nothing again; here the pass is tried on its templates too, and products make norms of however few columns.
  const { maxBindings = Infinity, maxWorkgroupBytes = Infinity } = limits;
  return {
    ...own,
    ...limits,
    maxBindings: Math.min(own.maxBindings, maxBindings),
    maxWorkgroupBytes: Math.min(own.maxWorkgroupBytes, maxWorkgroupBytes),
    choices: { ...own.choices, recomputes: true, reducedRowsColumns: 1, ...limits.choices },
  };
}

/** The standard passes, and values are computed again in graphs that train nothing too. */
const everywhere = standard.map((pass) => (pass === recomputation ? recomputationOf(() => true) : pass));

/** Throws what the compiler throws. */
export function compileCase(given: FuzzCase, profile: DeviceProfile, mutation: Mutation = {}): Compiled | undefined {
  let optimised = given.graph;
  const templates: string[] = [];
  const chosen =
    given.passes?.map((name) => everywhere.find((pass) => pass.name === name)).filter((pass) => pass !== undefined) ??
    everywhere;
  const undo = mutation.install?.();
  try {
    const plan = compile(given.graph, profile, {
      passes: mutation.pass === undefined ? chosen : [...chosen, mutation.pass],
      packing: given.packing,
      verify: true,
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
  const limit =
    error instanceof OpabiniaError &&
    /the device(?: '[^']*')? allows|over the device's limit|do not fit|the device '[^']*' has no/.test(what);
  return limit
    ? { kind: 'refused', what }
    : {
        kind: 'compile',
        what: error instanceof OpabiniaError ? what : error instanceof Error ? (error.stack ?? what) : what,
      };
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
    const merge = (a: ReadonlyMap<string, Bounded>, b: ReadonlyMap<string, Bounded>) =>
      new Map(
        [...a].map(([name, value]): [string, Bounded] => {
          const error = b.get(name)?.error;
          return [
            name,
            {
              ...value,
              error: value.error.map((e, i) => Math.max(e, Math.min(error?.[i] ?? 0, mostGrowth * e + 2 ** -60))),
            },
          ];
        }),
      );
    return { outputs: merge(own.outputs, other.outputs), states: merge(own.states, other.states) };
  }

  #feeds(run: number): BoundedFeeds {
    const feeds: Feeds = asFeeds(this.#given.feeds);
    const before = run <= 1 ? undefined : this.#own[run - 1];
    return before === undefined ? feeds : afterRun(feeds, before);
  }
}

const mostGrowth = 64;

/** Throws where the GPU's answer is wrong, or a byte behind a buffer has changed. */
export async function runCase(
  gpu: Gpu,
  given: FuzzCase,
  { plan, optimised, templates }: Compiled,
  expected: Expected,
): Promise<Outcome> {
  const counts = await runPlan(gpu.device, plan, {
    feeds: asFeeds(given.feeds),
    runs: expected.runs,
    want: (run) => expected.of(run, optimised),
    // A gradient has dozens of kernels, each of which a software driver compiles at its first dispatch, on a machine that does other things too.
    deadline: 60_000 + 10_000 * plan.kernels.length,
  });
  return { kind: 'ok', templates, ...counts };
}
