// The work of load time in stages, so that raw parameters do not all stand beside what becomes of them: each stage uploads what its
// dispatches read, runs them, and lets go of what no later one reads.
import type { Plan, PlanDispatch } from '../../compiler/plan.ts';

export interface LoadStage {
  readonly dispatches: readonly PlanDispatch[];
  /** Transient buffers, by index, that this stage is the first to use, and those that it is the last to use. */
  readonly opens: readonly number[];
  readonly closes: readonly number[];
}

/** Raw bytes that a stage may bring: more than this only where one dispatch reads more. */
export const stageBytes = 256 * 2 ** 20;

/** The dispatches that must run so that the `wanted` buffers (indices of loaded ones) are filled, in stages. */
export function loadStages(plan: Plan, wanted: ReadonlySet<number>, limit = stageBytes): readonly LoadStage[] {
  const dispatches = neededDispatches(plan, wanted);
  const isTransient = (buffer: number): boolean => plan.buffers[buffer]?.transient === true;
  const last = new Map<number, number>();
  dispatches.forEach((dispatch, at) =>
    dispatch.bindings.forEach(({ buffer }) => {
      if (isTransient(buffer)) last.set(buffer, at);
    }),
  );
  const stages: { dispatches: PlanDispatch[]; opens: number[]; closes: number[] }[] = [];
  const open = new Set<number>();
  let bytes = 0;
  dispatches.forEach((dispatch, at) => {
    const fresh = [...new Set(dispatch.bindings.map(({ buffer }) => buffer))].filter(
      (buffer) => isTransient(buffer) && !open.has(buffer),
    );
    const more = fresh.reduce((sum, buffer) => sum + (plan.buffers[buffer]?.bytes ?? 0), 0);
    if (stages.length === 0 || (bytes > 0 && bytes + more > limit)) {
      stages.push({ dispatches: [], opens: [], closes: [] });
      bytes = 0;
    }
    const stage = stages.at(-1);
    if (stage === undefined) return;
    stage.dispatches.push(dispatch);
    stage.opens.push(...fresh);
    fresh.forEach((buffer) => open.add(buffer));
    bytes += more;
    for (const { buffer } of dispatch.bindings)
      if (last.get(buffer) === at && !stage.closes.includes(buffer)) stage.closes.push(buffer);
  });
  return stages;
}

/** Most bytes of transient buffers that exist at once. */
export function stagePeak(plan: Plan, stages: readonly LoadStage[]): number {
  const bytesOf = (buffers: readonly number[]): number =>
    buffers.reduce((sum, buffer) => sum + (plan.buffers[buffer]?.bytes ?? 0), 0);
  let now = 0;
  let peak = 0;
  for (const { opens, closes } of stages) {
    now += bytesOf(opens);
    peak = Math.max(peak, now);
    now -= bytesOf(closes);
  }
  return peak;
}

/** Backwards: a dispatch is needed when it writes what is wanted or what a needed one touches. */
function neededDispatches(plan: Plan, wanted: ReadonlySet<number>): readonly PlanDispatch[] {
  const wants = new Set(wanted);
  const needed: PlanDispatch[] = [];
  for (const dispatch of [...plan.load].reverse()) {
    const access = plan.kernels[dispatch.kernel]?.access ?? [];
    if (!dispatch.bindings.some(({ buffer }, i) => access[i] === 'read_write' && wants.has(buffer))) continue;
    needed.push(dispatch);
    for (const { buffer } of dispatch.bindings) wants.add(buffer);
  }
  return needed.reverse();
}
