// One dispatch of a plan as a plan of its own, over buffers of zeros: what it takes does not depend on what it reads.
import type { Plan } from '../../compiler/plan.ts';

/** Throws `TypeError` for a dispatch that the plan does not have. */
export function trialPlan(plan: Plan, index: number): Plan {
  const dispatch = plan.dispatches[index];
  const kernel = dispatch === undefined ? undefined : plan.kernels[dispatch.kernel];
  if (dispatch === undefined || kernel === undefined) throw new TypeError(`the plan has no dispatch ${index}`);
  const used = [...new Set(dispatch.bindings.map(({ buffer }) => buffer))];
  const buffers = used.flatMap((buffer): Plan['buffers'] => {
    const known = plan.buffers[buffer];
    if (known === undefined) return [];
    const { name, bytes, role } = known;
    return [{ name, bytes, role: role === 'symbols' ? 'symbols' : 'arena' }];
  });
  return {
    version: 1,
    symbols: plan.symbols,
    buffers,
    kernels: [kernel],
    inputs: [],
    outputs: [],
    parameters: [],
    states: [],
    load: [],
    dispatches: [
      {
        ...dispatch,
        kernel: 0,
        bindings: dispatch.bindings.map((binding) => ({ ...binding, buffer: used.indexOf(binding.buffer) })),
      },
    ],
    memory: {
      parameters: 0,
      loaded: 0,
      states: 0,
      inputsAndOutputs: 0,
      activations: buffers.reduce((sum, { bytes }) => sum + bytes, 0),
      liveBound: 0,
    },
  };
}
