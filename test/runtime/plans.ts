// Small plans written by hand: the runtime is judged without the compiler.
import type { Formula, Plan, PlanBuffer, PlanDispatch, PlanKernel, PlanTensor } from '../../compiler/plan.ts';

export function plan(parts: Partial<Plan>): Plan {
  return {
    version: 1,
    symbols: [],
    buffers: [],
    kernels: [],
    inputs: [],
    outputs: [],
    parameters: [],
    states: [],
    load: [],
    dispatches: [],
    memory: { parameters: 0, loaded: 0, states: 0, inputsAndOutputs: 0, activations: 0, liveBound: 0 },
    ...parts,
  };
}

export function buffer(
  name: string,
  bytes: number,
  role: PlanBuffer['role'],
  more: Partial<PlanBuffer> = {},
): PlanBuffer {
  return { name, bytes, role, ...more };
}

export function tensor(
  name: string,
  bufferIndex: number,
  sizes: Readonly<Record<string, Formula>>,
  dtype: PlanTensor['dtype'] = 'f32',
): PlanTensor {
  return {
    name,
    dtype,
    buffer: bufferIndex,
    offset: 0,
    axes: Object.entries(sizes).map(([axis, size]) => ({ name: axis, size })),
  };
}

export function kernel(
  name: string,
  access: PlanKernel['access'],
  wgsl: string,
  features: PlanKernel['features'] = [],
): PlanKernel {
  return { name, access, wgsl, features };
}

export function dispatch(
  kernelIndex: number,
  bindings: readonly (readonly [buffer: number, bytes: number])[],
  grid: PlanDispatch['grid'],
  path = 'block',
): PlanDispatch {
  return {
    kernel: kernelIndex,
    bindings: bindings.map(([index, bytes]) => ({ buffer: index, offset: 0, bytes })),
    grid,
    path,
    label: `kernel ${kernelIndex}`,
    flops: 100,
    bytes: 400,
  };
}

/** y = x · w, element by element, for n ≤ 64 elements; w is twice the parameter `scale`, computed at load. */
export function scalePlan(): Plan {
  const bytes = 64 * 4;
  const double = kernel(
    'double',
    ['read', 'read_write'],
    `
    @group(0) @binding(0) var<storage, read> p: array<f32>;
    @group(0) @binding(1) var<storage, read_write> w: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { w[i] = 2.0 * p[i]; }`,
  );
  const multiply = kernel(
    'multiply',
    ['read', 'read', 'read', 'read_write'],
    `
    @group(0) @binding(0) var<storage, read> symbols: array<u32>;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read> w: array<f32>;
    @group(0) @binding(3) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < symbols[0]) { y[id.x] = x[id.x] * w[id.x]; }
    }`,
  );
  return plan({
    symbols: [{ name: 'n', least: 1, bound: 64 }],
    buffers: [
      buffer('symbols', 4, 'symbols'),
      buffer('x', bytes, 'input'),
      buffer('scale', bytes, 'parameter', { transient: true }),
      buffer('w', bytes, 'loaded'),
      buffer('y', bytes, 'output'),
    ],
    kernels: [double, multiply],
    inputs: [tensor('x', 1, { n: { symbol: 'n' } })],
    outputs: [tensor('y', 4, { n: { symbol: 'n' } })],
    parameters: [tensor('scale', 2, { n: 64 })],
    load: [
      dispatch(
        0,
        [
          [2, bytes],
          [3, bytes],
        ],
        [1, 1, 1],
        'scale',
      ),
    ],
    dispatches: [
      dispatch(
        1,
        [
          [0, 4],
          [1, bytes],
          [3, bytes],
          [4, bytes],
        ],
        [{ ceil: { symbol: 'n' }, by: 8 }, 1, 1],
        'block.scale',
      ),
    ],
  });
}

/** A counter: state += x, and the total as an output. */
export function totalPlan(): Plan {
  const add = kernel(
    'add',
    ['read', 'read_write', 'read_write'],
    `
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> total: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { total[i] += x[i]; y[i] = total[i]; }`,
  );
  return plan({
    buffers: [buffer('x', 16, 'input'), buffer('total', 16, 'state'), buffer('y', 16, 'output')],
    kernels: [add],
    inputs: [tensor('x', 0, { n: 4 })],
    outputs: [tensor('y', 2, { n: 4 })],
    states: [tensor('total', 1, { n: 4 })],
    dispatches: [
      dispatch(
        0,
        [
          [0, 16],
          [1, 16],
          [2, 16],
        ],
        [1, 1, 1],
        'counter',
      ),
    ],
  });
}

/** Parameters from a table. */
export function values(table: Readonly<Record<string, readonly number[]>>): { read(path: string): Float32Array } {
  return { read: (path) => Float32Array.from(table[path] ?? []) };
}
