// Which tiles are the fastest for the kernels of some graphs on a device: candidates by the cost model, the best few measured.
import { compile, type Stage } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { tunableOf } from '../../compiler/schedule/index.ts';
import type { Tunable } from '../../compiler/schedule/tiles.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import { trialPlan } from './trial-plan.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface TunedGraph {
  readonly name: string;
  readonly graph: () => Graph;
}

export interface TuneOptions {
  /** Distinct kernels to tune at most, those that take longest by estimate first; 12 by default. */
  readonly kernels?: number | undefined;
  /** Tiles to measure beside the usual one; 4 by default. */
  readonly tries?: number | undefined;
  /** Runs of each, of which the median counts; 9 by default. */
  readonly runs?: number | undefined;
  readonly note?: ((what: string) => void) | undefined;
}

export interface MeasuredTile {
  readonly tile: string;
  readonly milliseconds: number;
}

export interface TunedKernel {
  /** What it computes: the key of `DeviceProfile.tiles`. */
  readonly key: string;
  /** One of the places in the model where it is. */
  readonly path: string;
  /** Dispatches of all graphs that are this kernel. */
  readonly times: number;
  readonly usual: MeasuredTile;
  /** The usual one, unless another was clearly faster. */
  readonly chosen: MeasuredTile;
  readonly measured: readonly MeasuredTile[];
}

/** What another tile must save of the usual one's time: less is noise. */
const clearly = 0.03;

/** A kernel that stands in a plan, once for each key. */
interface Found {
  readonly tunable: Tunable;
  readonly graph: number;
  readonly index: number;
  readonly path: string;
  times: number;
  seconds: number;
}

/**
 * Measures and keeps nothing. Each kernel is run alone over buffers of zeros, at the bounds of its symbols. Throws `OpabiniaError`, `DeviceError`.
 * @example const kernels = await tune([{ name: 'connector', graph: () => graph }], await openDevice({ tuning: 'off' }))
 */
export async function tune(
  graphs: readonly TunedGraph[],
  device: Device,
  { kernels = 12, tries = 4, runs = 9, note }: TuneOptions = {},
): Promise<readonly TunedKernel[]> {
  const profile: DeviceProfile = { ...deviceProfile(device), tiles: {} };
  const found = new Map<string, Found>();
  const traced = graphs.map(({ name, graph }) => {
    note?.(`compiling ${name} for ${profile.name}`);
    return graph();
  });
  const plain = traced.map((graph, i) => compileWith(graph, profile, (found_) => collect(found, found_, i, profile)));
  const heaviest = [...found.values()]
    .filter(({ tunable }) => tunable.others.length > 0)
    .toSorted((a, b) => b.seconds - a.seconds)
    .slice(0, kernels);
  const measured = new Map(heaviest.map(({ tunable }): [string, MeasuredTile[]] => [tunable.key, []]));
  // The first plans have the usual tiles, the next ones the best by the cost model in all kernels at once, and so on.
  for (let rank = 0; rank <= tries; rank++) {
    const tried = heaviest.flatMap((one) => {
      const tile = rank === 0 ? one.tunable.usual : one.tunable.others[rank - 1];
      return tile === undefined ? [] : [{ one, tile }];
    });
    if (tried.length === 0) continue;
    if (rank > 0) note?.(`tile ${rank} of ${tries} by the cost model, in ${plural(tried.length, 'kernel')}`);
    const tiles = Object.fromEntries(tried.map(({ one, tile }) => [one.tunable.key, tile]));
    const plans = rank === 0 ? plain : traced.map((graph) => compileWith(graph, { ...profile, tiles }));
    for (const { one, tile } of tried) {
      const plan = plans[one.graph];
      if (plan === undefined) throw new TypeError('every graph has a plan');
      const milliseconds = await timeOf(plan, one.index, device, runs);
      measured.get(one.tunable.key)?.push({ tile, milliseconds });
    }
  }
  return heaviest.map(({ tunable: { key }, path, times }) => {
    const all = measured.get(key) ?? [];
    const [usual] = all;
    if (usual === undefined) throw new TypeError('the usual tile is measured first');
    const fastest = all.reduce((a, b) => (b.milliseconds < a.milliseconds ? b : a));
    const chosen = fastest.milliseconds < (1 - clearly) * usual.milliseconds ? fastest : usual;
    return { key, path, times, usual, chosen, measured: all };
  });
}

/** A dispatch for each step, in one order: whatever tile a step has. */
function compileWith(
  graph: Graph,
  profile: DeviceProfile,
  seen: (stage: Extract<Stage, { name: 'schedule' }>) => void = () => undefined,
): Plan {
  return compile(graph, profile, {
    shareDispatches: false,
    report: (stage) => {
      if (stage.name === 'schedule' && stage.which === 'main') seen(stage);
    },
  });
}

function collect(
  found: Map<string, Found>,
  { assembly: { steps } }: Extract<Stage, { name: 'schedule' }>,
  graph: number,
  profile: DeviceProfile,
): void {
  for (const [index, { group, template, path, flops }] of steps.entries()) {
    const tunable = tunableOf(group, template, profile);
    if (tunable === undefined) continue;
    const known = found.get(tunable.key) ?? { tunable, graph, index, path, times: 0, seconds: 0 };
    known.times++;
    known.seconds += flops / profile.flopsPerSecond;
    found.set(tunable.key, known);
  }
}

/** Milliseconds that a run may take: a driver compiles at the first, on a busy machine for minutes. */
const deadline = 600_000;

/** Median milliseconds of a dispatch by itself. */
async function timeOf(plan: Plan, index: number, device: Device, runs: number): Promise<number> {
  const symbols = Object.fromEntries(plan.symbols.map(({ name, bound }) => [name, bound]));
  const program = await load(trialPlan(plan, index), device, { read: () => new Float32Array() }, { deadline });
  try {
    // The driver compiles at the first.
    await program.run({}, { symbols });
    const times: number[] = [];
    for (let run = 0; run < runs; run++)
      times.push((await program.profile({}, { symbols })).reduce((sum, { milliseconds }) => sum + milliseconds, 0));
    return times.toSorted((a, b) => a - b)[Math.floor(runs / 2)] ?? NaN;
  } finally {
    program.dispose();
  }
}
