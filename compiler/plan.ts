// A Plan is what the runtime runs: WGSL text, buffers and dispatches as plain JSON. No functions, no GPU objects.
import type { DType } from '../dsl/graph/op.ts';

/** A number computed from the symbols of a run: sizes of buffers, workgroup counts. */
export type Formula =
  | number
  | { readonly symbol: string }
  | { readonly sum: readonly Formula[] }
  | { readonly product: readonly Formula[] }
  | { readonly ceil: Formula; readonly by: number };

export interface PlanSymbol {
  readonly name: string;
  readonly least: number;
  readonly bound: number;
}

export interface PlanAxis {
  readonly name: string;
  readonly size: Formula;
}

/** A tensor as the user or the checkpoint has it: dense, row-major, in its own buffer. */
export interface PlanTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly axes: readonly PlanAxis[];
  /** Index into `Plan.buffers`. */
  readonly buffer: number;
  readonly offset: number;
}

export interface PlanBuffer {
  readonly name: string;
  /** For the largest sizes the symbols allow; a multiple of 4. */
  readonly bytes: number;
  /**
   * input, output: exchanged with the user. parameter: uploaded from the checkpoint, dropped after `load` when `transient`.
   * constant: `contents` as base64. loaded: computed once by `load`. state: lives between runs, starts as zeros.
   * arena: activations of one run. symbols: one u32 per symbol, in the order of `Plan.symbols`.
   */
  readonly role: 'input' | 'output' | 'parameter' | 'constant' | 'loaded' | 'state' | 'arena' | 'symbols';
  readonly transient?: boolean;
  readonly contents?: string;
  /**
   * Of a state buffer that holds several states: where each begins. Plans that share states lie alike. Of a loaded buffer: the graph that computes it, as text. Plans compiled apart that are loaded from one checkpoint can share
   * buffers of equal text.
   */
  readonly origin?: string;
}

export interface PlanKernel {
  readonly name: string;
  readonly wgsl: string;
  /** One per `@binding`, in order. */
  readonly access: readonly ('read' | 'read_write')[];
  readonly features: readonly ('shader-f16' | 'subgroups' | 'chromium-experimental-subgroup-matrix')[];
}

export interface PlanBinding {
  readonly buffer: number;
  readonly offset: number;
  readonly bytes: number;
}

/** One of several kernels in a dispatch: whose work it is, and how much. */
export interface DispatchShare {
  readonly path: string;
  readonly flops: number;
}

export interface PlanDispatch {
  /** Index into `Plan.kernels`. */
  readonly kernel: number;
  readonly bindings: readonly PlanBinding[];
  readonly grid: readonly [Formula, Formula, Formula];
  /** Model path, for profiles. */
  readonly path: string;
  /** What it computes, e.g. `contract+add+gelu`. */
  readonly label: string;
  /** Floating-point operations and bytes moved, at the bound of every symbol. */
  readonly flops: number;
  readonly bytes: number;
  /** Of each of its kernels, where there are several. */
  readonly shares?: readonly DispatchShare[];
}

/** What the runtime needs and nothing else: plain JSON, the same for the same graph and device profile. */
export interface Plan {
  readonly version: 1;
  readonly symbols: readonly PlanSymbol[];
  readonly buffers: readonly PlanBuffer[];
  readonly kernels: readonly PlanKernel[];
  readonly inputs: readonly PlanTensor[];
  readonly outputs: readonly PlanTensor[];
  readonly parameters: readonly PlanTensor[];
  readonly states: readonly PlanTensor[];
  /** Run once, after the parameters are uploaded. */
  readonly load: readonly PlanDispatch[];
  /** Run every time, in order. */
  readonly dispatches: readonly PlanDispatch[];
  /** Figures of the memory plan, in bytes. */
  readonly memory: PlanMemory;
}

export interface PlanMemory {
  readonly parameters: number;
  readonly loaded: number;
  readonly states: number;
  readonly inputsAndOutputs: number;
  /** Sum of the arenas. */
  readonly activations: number;
  /** Largest sum of simultaneously live activations: no plan can need less. */
  readonly liveBound: number;
}
