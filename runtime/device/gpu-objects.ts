// What the device contract's buffers, kernels, groups and steps are over WebGPU.
import type { BufferRequest, DeviceBuffer, DeviceGroup, DeviceKernel, KernelRequest, Step } from './device.ts';
import { ValidationError } from './failure.ts';

export class GpuBuffer implements DeviceBuffer {
  readonly label: string;
  readonly bytes: number;
  readonly use: BufferRequest['use'];
  readonly gpu: GPUBuffer;
  freed = false;
  constructor(request: BufferRequest, gpu: GPUBuffer) {
    this.label = request.label;
    this.bytes = request.bytes;
    this.use = request.use;
    this.gpu = gpu;
  }
}

export class GpuKernel implements DeviceKernel {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  constructor(name: string, pipeline: GPUComputePipeline, layout: GPUBindGroupLayout) {
    this.name = name;
    this.pipeline = pipeline;
    this.layout = layout;
  }
}

export class GpuGroup implements DeviceGroup {
  readonly kernel: GpuKernel;
  readonly group: GPUBindGroup;
  constructor(kernel: GpuKernel, group: GPUBindGroup) {
    this.kernel = kernel;
    this.group = group;
  }
}

/** The implementation's own object behind a contract's: a foreign one is a caller's mistake. */
export function own<T extends object>(kind: new (...parts: never[]) => T, value: object): T {
  if (value instanceof kind) return value;
  throw new ValidationError('this object was made by another device');
}

const computeStage = 4;

interface Layout {
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** Explicit layouts, each made once: those deduced from a shader leave out a binding that it happens not to use. */
export class Layouts {
  readonly #gpu: GPUDevice;
  readonly #made = new Map<string, Layout>();

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu;
  }

  of(access: KernelRequest['access']): Layout {
    const key = access.join();
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const entries = access.map((mode, binding): GPUBindGroupLayoutEntry => ({
      binding,
      visibility: computeStage,
      buffer: { type: mode === 'read' ? 'read-only-storage' : 'storage' },
    }));
    const group = this.#gpu.createBindGroupLayout({ entries });
    const layout = { group, pipeline: this.#gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
    this.#made.set(key, layout);
    return layout;
  }
}

/** One dispatch, and the pipeline that is then set. */
export function encodeStep(
  pass: GPUComputePassEncoder,
  step: Step,
  current: GPUComputePipeline | undefined,
): GPUComputePipeline | undefined {
  const [x, y, z] = step.grid;
  if (x === 0 || y === 0 || z === 0) return current;
  const { kernel, group } = own(GpuGroup, step.group);
  if (kernel.pipeline !== current) pass.setPipeline(kernel.pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(x, y, z);
  return kernel.pipeline;
}
