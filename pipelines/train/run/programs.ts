// The plans of a step on a device: memory checked on paper, parameters and moments in states that both plans share.
import type { Graph } from '../../../dsl/index.ts';
import { compileTogether } from '../../../compiler/compile.ts';
import type { Plan, PlanTensor } from '../../../compiler/plan.ts';
import { compileAhead } from '../../../runtime/device/compile-ahead.ts';
import { deviceProfile } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { roomOf } from '../../../runtime/program/place.ts';
import { evaluateFormula } from '../../../runtime/program/formula.ts';
import { load, type Program } from '../../../runtime/program/program.ts';
import { SharedBuffers } from '../../../runtime/program/shared-buffers.ts';
import type { InitialStates } from '../../../runtime/program/upload.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { initialScale, type LossScaling } from '../step/loss-scale.ts';
import type { TrainGraphs } from '../step/train-graph.ts';
import type { SavedState } from './checkpoints.ts';

/** What states begin with: parameters and averages with the model's values, the loss scale with its own. */
export function firstStates(
  source: Source,
  learned: readonly string[],
  scaling: LossScaling | undefined,
): InitialStates {
  const known = new Set(learned);
  const pathOf = (name: string): string => name.replace(/^ema\./, '');
  return {
    has: (name) => known.has(pathOf(name)) || name === 'scale',
    read: (name, shape) =>
      name === 'scale' ? Float32Array.of(scaling?.initial ?? initialScale) : source.read(pathOf(name), shape),
    ...(source.part === undefined
      ? {}
      : {
          part: (name: string, shape: readonly number[], start: number, count: number) =>
            name === 'scale'
              ? Float32Array.of(scaling?.initial ?? initialScale)
              : (source.part?.(pathOf(name), shape, start, count) ?? new Float32Array(0)),
        }),
  };
}

export class StepPrograms {
  readonly step: Program;
  readonly accumulate: Program | undefined;
  readonly evaluate: Program | undefined;
  readonly #learned: ReadonlySet<string>;
  readonly #ahead: AbortController;

  private constructor(
    loaded: readonly [Program, Program | undefined, Program | undefined],
    learned: readonly string[],
    ahead: AbortController,
  ) {
    this.#ahead = ahead;
    [this.step, this.accumulate, this.evaluate] = loaded;
    this.#learned = new Set(learned);
  }

  /**
   * `evaluates`: also loads the plan of the loss alone; `check` sees what states there are before anything is loaded. Throws `OutOfMemoryError` with the three largest items before anything is
   * allocated, `OpabiniaError`, `DeviceError`.
   */
  static async open(
    graphs: TrainGraphs,
    device: Device,
    source: Source,
    states: InitialStates,
    {
      evaluates,
      check,
    }: {
      readonly evaluates: boolean;
      readonly check?: ((states: readonly Omit<SavedState, 'values'>[]) => void) | undefined;
    },
  ): Promise<StepPrograms> {
    const profile = deviceProfile(device);
    const evaluated = evaluates ? graphs.evaluate : undefined;
    const all = [graphs.step, graphs.accumulate, evaluated].filter((graph) => graph !== undefined);
    const plans = new Map(compileTogether(all, profile).map((plan, i) => [all[i], plan]));
    const step = plans.get(graphs.step);
    if (step === undefined) throw new TypeError('a step has a plan');
    const planOf = (graph: Graph | undefined): Plan | undefined => graph && plans.get(graph);
    const [accumulate, evaluate] = [planOf(graphs.accumulate), planOf(evaluated)];
    check?.(keptStates(step, new Set(graphs.learned)));
    checkMemory(
      [step, accumulate, evaluate].filter((plan) => plan !== undefined),
      graphs.learned,
      device,
    );
    const shared = new SharedBuffers();
    const loaded: Program[] = [];
    const put = async (plan: Plan | undefined, atOnce = 1): Promise<Program | undefined> => {
      if (plan === undefined) return undefined;
      const program = await load(plan, device, source, { shared, states, atOnce });
      loaded.push(program);
      return program;
    };
    const ahead = new AbortController();
    const inOrder = [evaluate, accumulate, step].filter((plan) => plan !== undefined);
    void compileAhead(device, inOrder, ahead.signal);
    try {
      const first = await put(step, 2);
      if (first === undefined) throw new TypeError('a step has a plan');
      return new StepPrograms([first, await put(accumulate), await put(evaluate)], graphs.learned, ahead);
    } catch (error) {
      ahead.abort();
      for (const program of loaded) program.dispose();
      throw error;
    }
  }

  /** All that must be kept for the run to go on. */
  saved(): readonly SavedState[] {
    return keptStates(this.step.plan, this.#learned).map((state) => ({
      ...state,
      values: async () => Float32Array.from((await this.step.readState(state.name)).data),
    }));
  }

  dispose(): void {
    this.#ahead.abort();
    this.accumulate?.dispose();
    this.evaluate?.dispose();
    this.step.dispose();
  }
}

/** Gradients that wait are none of it: a checkpoint lies between steps. */
function keptStates(plan: Plan, learned: ReadonlySet<string>): readonly Omit<SavedState, 'values'>[] {
  return plan.states
    .filter((state) => !state.name.startsWith('gradient.'))
    .map((state) => ({ name: state.name, shape: shapeOf(state), weight: learned.has(state.name) }));
}

function shapeOf(tensor: PlanTensor): readonly number[] {
  return tensor.axes.map((axis) => evaluateFormula(axis.size, new Map()));
}

const labels = {
  learned: 'parameters that learn',
  moments: 'optimizer and averages',
  gradients: 'gradients that wait',
  frozen: 'frozen weights',
  activations: 'activations and gradients',
  exchange: 'inputs and outputs',
} as const;

function checkMemory(plans: readonly Plan[], learned: readonly string[], device: Device): void {
  const known = new Set(learned);
  const sums = new Map<string, number>();
  const count = (label: string, bytes: number): void => void sums.set(label, (sums.get(label) ?? 0) + bytes);
  const states = new Set<string>();
  for (const plan of plans) {
    for (const state of plan.states) {
      const { name } = state;
      if (states.has(name)) continue;
      states.add(name);
      count(
        known.has(name) ? labels.learned : name.startsWith('gradient.') ? labels.gradients : labels.moments,
        roomOf(state, plan),
      );
    }
    for (const buffer of plan.buffers) {
      if (buffer.transient === true) continue;
      switch (buffer.role) {
        case 'state':
          // Of several states, perhaps: counted one by one.
          continue;
        case 'parameter':
        case 'loaded':
        case 'constant':
          if (plan === plans[0]) count(labels.frozen, buffer.bytes);
          continue;
        case 'arena':
          count(labels.activations, buffer.bytes);
          continue;
        case 'input':
        case 'output':
        case 'symbols':
          count(labels.exchange, buffer.bytes);
          continue;
        default:
          buffer.role satisfies never;
      }
    }
  }
  device.memory.check(
    [...sums].map(([label, bytes]) => ({ label, bytes })),
    'take a smaller microBatch or length, gradientCheckpointing: true, freeze more, or train with lora',
  );
}
