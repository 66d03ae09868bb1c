// Compiles a graph, runs it on the GPU, and compares every element of every output and state with the exact value, within its own bound.
import type { CompileOptions, Stage } from '../../compiler/compile.ts';
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph.ts';
import type { DType } from '../../dsl/op.ts';
import { deviceProfile, openDevice } from '../../runtime/dawn.ts';
import type { DeviceBuffer } from '../../runtime/device.ts';
import { place } from '../../runtime/place.ts';
import { Program } from '../../runtime/program.ts';
import type { Feeds } from '../../runtime/reference.ts';
import { bytesOf, toBytes, type Numbers } from '../../runtime/values.ts';
import { evaluateWithError, isWithin, larger, type Bounded, type BoundedFeeds } from '../forward-error.ts';
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
  close(): void;
}

/** Throws `NoAdapterError`. */
export async function openGpu(): Promise<Gpu> {
  const device = await openDevice();
  const own = deviceProfile(device);
  const desktop: DeviceProfile = { ...own, name: 'desktop GPU', software: false, subgroupSize: undefined, flopsPerSecond: 10e12, bytesPerSecond: 400e9 };
  return { device: new WatchedDevice(device), profiles: [own, desktop], close: () => device.close() };
}

export interface JudgeOptions extends Pick<CompileOptions, 'passes' | 'packing'> {
  readonly profile: DeviceProfile;
  /** Default: two when the graph has states, so that the second reads what the first wrote. */
  readonly runs?: number;
  /** The graph that bounds are taken from, in place of one that has the same values. */
  readonly bound?: (graph: Graph) => Graph;
}

export interface Verdict {
  readonly plan: Plan;
  /** The templates of all kernels. */
  readonly templates: readonly string[];
  /** Elements compared, and how many of them had no bound or one as large as the largest value. */
  readonly compared: number;
  readonly vacuous: number;
}

/** Throws at the first element that no correct compiler may give, and where a kernel writes where it must not. */
export async function judge(gpu: Gpu, graph: Graph, feeds: Feeds, { profile, runs = graph.updates.length > 0 ? 2 : 1, bound = (same) => same, ...options }: JudgeOptions): Promise<Verdict> {
  const templates: string[] = [];
  let optimised = graph;
  const report = (stage: Stage): void => {
    if (stage.name === 'pass') optimised = stage.report.graph;
    if (stage.name === 'schedule') templates.push(...stage.assembly.steps.map((step) => step.template));
  };
  const plan = compile(graph, profile, { ...options, verify: true, report });
  const placed = await place(plan, gpu.device, { read: (path, shape) => Float32Array.from(feeds.params(path, [...shape])) }, { deadline });
  const program = new Program(plan, gpu.device, placed);
  const counts = { compared: 0, vacuous: 0 };
  const compare = (what: string, got: ArrayLike<number>, want: Bounded): void => expectWithin(`${what}, for the ${profile.name}`, got, want, counts);
  try {
    const bufferOf = (index: number): DeviceBuffer => must(placed.buffers.get(index));
    for (const state of plan.states) {
      const values = feeds.states?.get(state.name);
      const elements = state.axes.reduce((count, axis) => count * (typeof axis.size === 'number' ? axis.size : NaN), 1);
      gpu.device.write(bufferOf(state.buffer), 0, toBytes(Array.from(values ?? new Float64Array(elements)), state.dtype));
    }
    const symbols = Object.fromEntries([...feeds.symbols ?? []].filter(([name]) => plan.symbols.some((symbol) => symbol.name === name)));
    const inputs = Object.fromEntries(plan.inputs.map(({ name, dtype }) => [name, asInput(must(feeds.inputs.get(name)), dtype)]));
    let now: BoundedFeeds = feeds;
    for (let run = 1; run <= runs; run++) {
      const want = larger(evaluateWithError(bound(graph), now), evaluateWithError(bound(optimised), now));
      const got = await program.run(inputs, { symbols });
      const when = runs === 1 ? '' : ` of run ${run}`;
      for (const [name, values] of want.outputs) compare(`output '${name}'${when}`, must(got[name]).data, values);
      for (const { name } of plan.states) compare(`state '${name}'${when}`, (await program.readState(name)).data, must(want.states.get(name)));
      now = { ...feeds, states: new Map([...want.states].map(([name, state]) => [name, state.data])), stateErrors: new Map([...want.states].map(([name, state]) => [name, state.error])) };
      const ends = new Map<DeviceBuffer, number | undefined>([...placed.buffers.values()].map((buffer) => [buffer, undefined]));
      for (const output of plan.outputs) ends.set(bufferOf(output.buffer), must(got[output.name]).data.length * bytesOf[output.dtype]);
      await gpu.device.expectUntouched(ends);
    }
  } finally {
    program.dispose();
  }
  return { plan, templates, ...counts };
}

/** Any numbers, NaN among them, as an array that the runtime takes for this dtype. */
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

function expectWithin(what: string, got: ArrayLike<number>, want: Bounded, counts: { compared: number; vacuous: number }): void {
  if (got.length !== want.data.length) throw new Error(`${what} has ${got.length} elements, not ${want.data.length}`);
  const size = want.data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  for (let i = 0; i < got.length; i++) {
    const [value, exact, error] = [Number(got[i]), want.data[i] ?? NaN, want.error[i] ?? NaN];
    counts.compared++;
    if (error > 0 && error >= size) counts.vacuous++;
    if (!isWithin(value, exact, error)) {
      const wrong = Array.from(got).filter((x, j) => !isWithin(Number(x), want.data[j] ?? NaN, want.error[j] ?? NaN)).length;
      throw new Error(`${what}: element ${i} of ${got.length} is ${value}, exactly ${exact}, ${Math.abs(value - exact)} apart where ${error} is allowed; ${wrong} elements are wrong`);
    }
  }
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('what was asked for is not there');
  return value;
}
