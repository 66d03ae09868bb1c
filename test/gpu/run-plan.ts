// Runs a plan on the GPU and holds every element of every output and state, after every run, against the exact values and their bounds.
import type { Plan } from '../../compiler/plan.ts';
import { dtypeBytes, toArray, toBytes } from '../../dsl/graph/elements.ts';
import type { DeviceBuffer } from '../../runtime/device/device.ts';
import { place } from '../../runtime/program/place.ts';
import { Program } from '../../runtime/program/program.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import type { Bounded } from '../../pipelines/testing/bounded.ts';
import { isWithin, type BoundedFeeds, type BoundedResult } from '../../pipelines/testing/forward-error.ts';
import type { WatchedDevice } from './watched-device.ts';

export interface Trial {
  readonly feeds: Feeds;
  readonly runs: number;
  /** What run 1, 2 … may give; each run reads the states that the one before wrote. */
  want(run: number): BoundedResult;
  /** Milliseconds. */
  readonly deadline: number;
  /** Ends what is said of a wrong element. */
  readonly where?: string;
}

/** Elements compared, and how many of them had no bound or one as large as the largest value. */
export interface Counts {
  readonly compared: number;
  readonly vacuous: number;
}

/** Throws at the first element that no correct compiler may give, and where a kernel writes where it must not. */
export async function runPlan(
  device: WatchedDevice,
  plan: Plan,
  { feeds, runs, want, deadline, where = '' }: Trial,
): Promise<Counts> {
  const placed = await place(
    plan,
    device,
    {
      read: (path, shape) => {
        const values = feeds.params(path, [...shape]);
        // Words of codes are not floats.
        return values instanceof Uint32Array ? values : Float32Array.from(values);
      },
    },
    { deadline },
  );
  const program = new Program(plan, device, placed);
  const counts = { compared: 0, vacuous: 0 };
  try {
    const bufferOf = (index: number): DeviceBuffer => must(placed.buffers.get(index));
    for (const state of plan.states) {
      const elements = state.axes.reduce((count, axis) => count * (typeof axis.size === 'number' ? axis.size : NaN), 1);
      device.write(
        bufferOf(state.buffer),
        state.offset,
        toBytes(feeds.states?.get(state.name) ?? new Float64Array(elements), state.dtype),
      );
    }
    const symbols = Object.fromEntries(
      [...(feeds.symbols ?? [])].filter(([name]) => plan.symbols.some((symbol) => symbol.name === name)),
    );
    const inputs = Object.fromEntries(
      plan.inputs.map(({ name, dtype }) => [name, toArray(must(feeds.inputs.get(name)), dtype)]),
    );
    for (let run = 1; run <= runs; run++) {
      const { outputs, states } = want(run);
      const got = await program.run(inputs, { symbols });
      for (const [name, values] of outputs)
        expectWithin(`output '${name}' of run ${run}${where}`, must(got[name]).data, values, counts);
      for (const { name } of plan.states)
        expectWithin(
          `state '${name}' after run ${run}${where}`,
          (await program.readState(name)).data,
          must(states.get(name)),
          counts,
        );
      const ends = new Map<DeviceBuffer, number | undefined>(
        [...placed.buffers.values()].map((buffer) => [buffer, undefined]),
      );
      for (const output of plan.outputs)
        ends.set(bufferOf(output.buffer), must(got[output.name]).data.length * dtypeBytes(output.dtype));
      await device.expectUntouched(ends);
    }
  } finally {
    program.dispose();
  }
  return counts;
}

/** These feeds, with the states as a run left them. */
export function afterRun(feeds: Feeds, { states }: BoundedResult): BoundedFeeds {
  return {
    ...feeds,
    states: new Map([...states].map(([name, state]) => [name, state.data])),
    stateErrors: new Map([...states].map(([name, state]) => [name, state.error])),
  };
}

/** Throws at the first element that no correct implementation may give. Counts elements whose bound says nothing. */
export function expectWithin(
  what: string,
  got: ArrayLike<number>,
  want: Bounded,
  counts: { compared: number; vacuous: number },
): void {
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
  throw new Error(
    `${what}: element ${first} of ${got.length} is ${value}, exactly ${exact}, ${Math.abs(value - exact)} apart where ${error} is allowed; ${wrong} elements are wrong`,
  );
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('what was asked for is not there');
  return value;
}
