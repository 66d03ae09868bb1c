// Puts a plan on a device: buffers, of which some may be there already, kernels, values, the work of load time.
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Plan, PlanDispatch, PlanTensor } from '../../compiler/plan.ts';
import type { BufferRequest, Device, DeviceBuffer, DeviceGroup, DeviceKernel } from '../device/device.ts';
import { checkPlan, shrinkAdvice } from './check-plan.ts';
import { elementCount, evaluateFormula, type Symbols } from './formula.ts';
import { loadStages, stagePeak } from './load-stages.ts';
import { SharedBuffers } from './shared-buffers.ts';
import {
  uploadConstants,
  uploadParameters,
  uploadStates,
  type InitialStates,
  type ParameterValues,
  type Progress,
} from './upload.ts';

export interface LoadOptions {
  /** Told after each parameter. */
  readonly progress?: Progress | undefined;
  /** Milliseconds a run may take before the device counts as hung. Default: 20 times the plan's estimate, at least 10 s. */
  readonly deadline?: number | undefined;
  /** Weights and states shared with other programs that were loaded with the same object. */
  readonly shared?: SharedBuffers | undefined;
  /** Runs that may be on the device at once, each with readback buffers of its own: the queue is not empty while results are read. Default 1. */
  readonly atOnce?: number | undefined;
  /** What states hold at first; those that it does not know begin as zeros. States that are shared already keep what they hold. */
  readonly states?: InitialStates | undefined;
}

/** A dispatch with its buffers bound. */
export interface Prepared {
  readonly dispatch: PlanDispatch;
  readonly group: DeviceGroup;
}

/** A plan on a device. */
export interface Placed {
  /** As in the plan; those that only load time needs are gone. */
  readonly buffers: ReadonlyMap<number, DeviceBuffer>;
  /** One readback buffer for each output, for each of the runs that may be on the device at once. */
  readonly staging: readonly DeviceBuffer[];
  readonly steps: readonly Prepared[];
  readonly deadline: number;
  /** Gives back what no other program uses. */
  readonly release: () => void;
}

/** When any of it fails nothing stays allocated. Throws `OverLimitError`, `OutOfMemoryError`, `ValidationError`, `OpabiniaError`. */
export async function place(
  plan: Plan,
  device: Device,
  source: ParameterValues,
  options: LoadOptions,
): Promise<Placed> {
  // Not before there is a plan: whoever only traces has no use for what reads its fields.
  const { checkFields } = await import('./plan-fields.ts');
  checkFields(plan);
  checkPlan(plan, device.facts);
  const { shared = new SharedBuffers() } = options;
  return shared.exclusive(device, source, () => placeNow(plan, device, source, shared, options));
}

async function placeNow(
  plan: Plan,
  device: Device,
  source: ParameterValues,
  shared: SharedBuffers,
  options: LoadOptions,
): Promise<Placed> {
  shared.checkStates(plan);
  const keys = shared.keys(plan);
  const buffers = new Map<number, DeviceBuffer>();
  const held = new Set<string>();
  const own = new Set<DeviceBuffer>();
  const allocate = async (requests: readonly BufferRequest[]): Promise<readonly DeviceBuffer[]> => {
    const made = await device.allocate(requests, shrinkAdvice(plan));
    for (const buffer of made) own.add(buffer);
    return made;
  };
  const request = (index: number): BufferRequest => ({
    label: plan.buffers[index]?.name ?? '',
    bytes: Math.max(4, plan.buffers[index]?.bytes ?? 4),
    use: 'storage',
  });
  const at = (index: number): DeviceBuffer => {
    const buffer = buffers.get(index);
    if (buffer === undefined) throw new OpabiniaError(`the plan has no buffer ${index}`, { op: 'load' });
    return buffer;
  };
  try {
    keys.forEach((key, i) => {
      // Two buffers of one plan may have one content: a program counts as one user.
      const known = key === undefined || held.has(key) ? undefined : shared.hold(key);
      if (known === undefined || key === undefined) return;
      held.add(key);
      buffers.set(i, known);
    });
    const fresh = plan.buffers.flatMap((buffer, i) => (buffer.transient === true || buffers.has(i) ? [] : [i]));
    const stages = loadStages(plan, new Set(fresh.filter((i) => plan.buffers[i]?.role === 'loaded')));
    const readback = Array.from({ length: options.atOnce ?? 1 }, () =>
      plan.outputs.map((output): BufferRequest => ({
        label: `readback of ${output.name}`,
        bytes: roomOf(output, plan),
        use: 'readback',
      })),
    ).flat();
    const requests = [...fresh.map(request), ...readback];
    // What load time needs besides is refused now, not half-way.
    device.memory.check(
      [...requests, { label: 'parameters while they are rewritten', bytes: stagePeak(plan, stages) }],
      shrinkAdvice(plan),
    );
    const made = await allocate(requests);
    fresh.forEach((index, i) => {
      const buffer = made[i];
      if (buffer !== undefined) buffers.set(index, buffer);
    });
    const deadline = options.deadline ?? deadlineOf(plan, device);
    const kernels = await device.compile(plan.kernels);
    await uploadConstants(plan, device, new Map(fresh.map((i) => [i, at(i)])));

    const byBuffer = new Map(plan.parameters.map((parameter) => [parameter.buffer, parameter]));
    const parametersIn = (indices: readonly number[]): readonly PlanTensor[] =>
      indices.flatMap((i) => byBuffer.get(i) ?? []);
    const total = parametersIn(fresh).length + stages.reduce((sum, stage) => sum + parametersIn(stage.opens).length, 0);
    let count = 0;
    const done = (path: string): void => options.progress?.(++count, total, path);
    await uploadParameters(parametersIn(fresh), device, at, source, done);
    if (options.states !== undefined) {
      const own = plan.states.filter((state) => fresh.includes(state.buffer));
      await uploadStates(own, device, at, options.states);
    }
    for (const stage of stages) {
      const opened = await allocate(stage.opens.map(request));
      stage.opens.forEach((index, i) => {
        const buffer = opened[i];
        if (buffer !== undefined) buffers.set(index, buffer);
      });
      await uploadParameters(parametersIn(stage.opens), device, at, source, done);
      const steps = await prepare(stage.dispatches, kernels, at, device);
      await device.run(
        steps.map(({ dispatch: { grid }, group }) => ({
          group,
          grid: [constantSize(grid[0]), constantSize(grid[1]), constantSize(grid[2])] as const,
        })),
        [],
        deadline,
      );
      const closed = stage.closes.map(at);
      device.free(closed);
      for (const buffer of closed) own.delete(buffer);
      for (const index of stage.closes) buffers.delete(index);
    }
    const steps = await prepare(plan.dispatches, kernels, at, device);
    for (const i of fresh) {
      const key = keys[i];
      const buffer = buffers.get(i);
      if (key === undefined || buffer === undefined || held.has(key)) continue;
      shared.put(key, buffer);
      held.add(key);
      own.delete(buffer);
    }
    const release = (): void => {
      device.free([...own]);
      for (const key of held) shared.release(key);
    };
    return { buffers, staging: made.slice(fresh.length), steps, deadline, release };
  } catch (error) {
    device.free([...own]);
    for (const key of held) shared.release(key);
    throw error;
  }
}

function constantSize(size: PlanDispatch['grid'][number]): number {
  return evaluateFormula(size, new Map());
}

/** Bytes of a tensor at the bound of every symbol, whole words, at least one. */
export function roomOf(tensor: PlanTensor, plan: Plan): number {
  const bound: Symbols = new Map(plan.symbols.map((symbol) => [symbol.name, symbol.bound]));
  return Math.max(4, Math.ceil((elementCount(tensor.axes, bound) * dtypeBytes(tensor.dtype)) / 4) * 4);
}

async function prepare(
  dispatches: readonly PlanDispatch[],
  kernels: readonly DeviceKernel[],
  bufferOf: (index: number) => DeviceBuffer,
  device: Device,
): Promise<readonly Prepared[]> {
  const requests = dispatches.map((dispatch) => {
    const kernel = kernels[dispatch.kernel];
    if (kernel === undefined)
      throw new OpabiniaError(`the plan has no kernel ${dispatch.kernel}`, { op: 'load', path: dispatch.path });
    return {
      kernel,
      ranges: dispatch.bindings.map(({ buffer, offset, bytes }) => ({ buffer: bufferOf(buffer), offset, bytes })),
    };
  });
  const groups = await device.bind(requests);
  return groups.map((group, i) => {
    const dispatch = dispatches[i];
    if (dispatch === undefined)
      throw new OpabiniaError('the device bound more groups than it was asked for', { op: 'load' });
    return { dispatch, group };
  });
}

/**
 * Twenty times what the plan should take on a slow device of its class. A software driver compiles each kernel at its first
 * dispatch, for seconds, so kernels count too.
 */
function deadlineOf(plan: Plan, device: Device): number {
  const [flopsPerSecond, bytesPerSecond, compileSeconds] = device.facts.software ? [1e9, 1e9, 10] : [1e11, 1e10, 0.5];
  const work = [...plan.load, ...plan.dispatches].reduce(
    (seconds, { flops, bytes }) => seconds + flops / flopsPerSecond + bytes / bytesPerSecond,
    0,
  );
  return 1000 * Math.min(3600, Math.max(10, 20 * work) + compileSeconds * plan.kernels.length);
}
