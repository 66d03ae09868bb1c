// What an optimizer is: a pure function on tensors, traced into the plan of a step.
import type { Tensor } from '../../../dsl/index.ts';

export type Value = Tensor<string, 'f32'>;
export type Scalar = Tensor<'', 'f32'>;

/** One parameter at one step. All have the parameter's axes. */
export interface Learning {
  readonly value: Value;
  /** After unscaling and clipping. */
  readonly gradient: Value;
  /** By the optimizer's own names; zeros before the first step. */
  readonly slots: ReadonlyMap<string, Value>;
}

/** What all parameters of a group share in one step. */
export interface StepTerms {
  readonly rate: Scalar;
  /** Weight decay. */
  readonly decay: number;
  /** True at the first step that is applied. */
  readonly first: Tensor<'', 'bool'>;
  /** 1 − beta^t, where t counts the applied steps from 1. */
  readonly correction: (beta: number) => Scalar;
}

export interface Learned {
  readonly value: Value;
  readonly slots: ReadonlyMap<string, Value>;
}

export interface Optimizer {
  readonly name: string;
  /** What is kept for each parameter from step to step, under PyTorch's names. */
  readonly slots: readonly string[];
  /** Ranks of the parameters that it can train; any when absent. */
  readonly rank?: number | undefined;
  /** Hyperparameters, for the config of a run. */
  readonly settings: Readonly<Record<string, number | boolean>>;
  readonly update: (learning: Learning, terms: StepTerms) => Learned;
}

/** The slot of this name. */
export function slotOf(learning: Learning, name: string): Value {
  const slot = learning.slots.get(name);
  if (slot === undefined) throw new TypeError(`the optimizer has no slot '${name}'`);
  return slot;
}
