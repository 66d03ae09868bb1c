// Compiles a graph, runs it on the GPU, and compares every element of every output and state with the exact value, within its own bound.
import type { CompileOptions, Stage } from '../../compiler/compile.ts';
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { adapterFacts, deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import {
  evaluateWithError,
  larger,
  type BoundedFeeds,
  type BoundedResult,
} from '../../pipelines/testing/forward-error.ts';
import { afterRun, runPlan, type Counts } from './run-plan.ts';
import { WatchedDevice } from './watched-device.ts';

/** `OPABINIA_NO_GPU=1` leaves out what needs an adapter; without it, a missing adapter fails. */
export const withoutGpu = process.env['OPABINIA_NO_GPU'] === '1';

/** Milliseconds: a software driver compiles the largest kernels for half a minute, longer on a busy machine. */
const deadline = 400_000;

/** The seed of generated tests: the same in every run unless `OPABINIA_SEED` names another. */
export const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);

export interface Gpu {
  readonly device: WatchedDevice;
  /** The device as it is, and as a desktop GPU of the same limits, which gets other templates: no shuffles, workgroup memory. */
  readonly profiles: readonly [own: DeviceProfile, desktop: DeviceProfile];
  /** The device as if it were a software driver, whatever it is: shuffles, where `hasShuffles`. */
  readonly software: DeviceProfile;
  /** The second of `profiles`. */
  readonly desktop: DeviceProfile;
  close(): void;
}

const facts = withoutGpu ? undefined : await adapterFacts();

/** Whether templates that exchange values by shuffles run here: where every subgroup has the same number of lanes. */
export const hasShuffles = facts?.subgroups !== undefined && facts.subgroups.least === facts.subgroups.most;

/** As a profile, with kernels that are written to run fast however small they are: small cases then take the ways of large ones. */
export function unhurried(profile: DeviceProfile): DeviceProfile {
  return { ...profile, choices: { ...profile.choices, leastWork: 0 } };
}

/** Throws `NoAdapterError`. */
export async function openGpu(): Promise<Gpu> {
  const device = await openDevice();
  const own = deviceProfile(device);
  const desktop: DeviceProfile = {
    ...own,
    name: 'desktop GPU',
    software: false,
    subgroupSize: undefined,
    flopsPerSecond: 10e12,
    bytesPerSecond: 400e9,
  };
  const software: DeviceProfile = own.software ? own : { ...own, name: `${own.name} as software`, software: true };
  return {
    device: new WatchedDevice(device),
    profiles: [own, desktop],
    software,
    desktop,
    close: () => device.close(),
  };
}

export interface JudgeOptions extends Pick<CompileOptions, 'passes' | 'packing'> {
  readonly profile: DeviceProfile;
  /** Default: two when the graph has states, so that the second reads what the first wrote. */
  readonly runs?: number;
  /** The graph that bounds are taken from, in place of one that has the same values. */
  readonly bound?: (graph: Graph) => Graph;
}

export interface Verdict extends Counts {
  readonly plan: Plan;
  /** The templates of all kernels. */
  readonly templates: readonly string[];
}

/** Throws at the first element that no correct compiler may give, and where a kernel writes where it must not. */
export async function judge(
  gpu: Gpu,
  graph: Graph,
  feeds: Feeds,
  { profile, runs = graph.updates.length > 0 ? 2 : 1, bound = (same) => same, ...options }: JudgeOptions,
): Promise<Verdict> {
  const templates: string[] = [];
  let optimised = graph;
  const report = (stage: Stage): void => {
    if (stage.name === 'pass') optimised = stage.report.graph;
    if (stage.name === 'schedule') templates.push(...stage.assembly.steps.map((step) => step.template));
  };
  const plan = compile(graph, profile, { ...options, verify: true, report });
  let now: BoundedFeeds = feeds;
  const want = (): BoundedResult => {
    const result = larger(evaluateWithError(bound(graph), now), evaluateWithError(bound(optimised), now));
    now = afterRun(feeds, result);
    return result;
  };
  const counts = await runPlan(gpu.device, plan, { feeds, runs, want, deadline, where: `, for the ${profile.name}` });
  return { plan, templates, ...counts };
}
