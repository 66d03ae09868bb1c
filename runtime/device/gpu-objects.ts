// What the device contract's buffers, kernels and groups are over WebGPU.
import type { BufferRequest, DeviceBuffer, DeviceGroup, DeviceKernel } from './device.ts';
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
