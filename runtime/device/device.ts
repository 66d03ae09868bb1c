// The contract of a device: a few methods over untyped buffers. Programs know only this; who implements it is dawn.ts's affair.
import type { MatrixUnit } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { isObject, said } from '../../dsl/graph/required.ts';
import type { MemoryBudget } from './memory-budget.ts';

/** What is known of an adapter and its driver; plain values, printable as JSON. */
export interface DeviceFacts {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  /** Driver and version, as the adapter describes itself. */
  readonly driver: string;
  /** Runs on the CPU. */
  readonly software: boolean;
  readonly subgroups: { readonly least: number; readonly most: number } | undefined;
  readonly features: readonly string[];
  readonly limits: DeviceLimits;
  /** What subgroups multiply as one instruction. */
  readonly matrices: readonly MatrixUnit[];
}

/** WebGPU's own names, so that they can be looked up. Bytes, counts. */
export interface DeviceLimits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
  readonly maxStorageBuffersPerShaderStage: number;
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupSizeX: number;
  readonly maxComputeWorkgroupSizeY: number;
  readonly maxComputeWorkgroupSizeZ: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly minStorageBufferOffsetAlignment: number;
}

export interface BufferRequest {
  readonly label: string;
  /** A multiple of 4, at least 4. */
  readonly bytes: number;
  /** storage: kernels read and write it; readback: results are copied there to be read; timestamps: resolved queries. */
  readonly use: 'storage' | 'readback' | 'timestamps';
}

export interface DeviceBuffer extends BufferRequest {
  /** Nothing of the buffer can be used afterwards. */
  readonly freed: boolean;
}

export interface KernelRequest {
  readonly name: string;
  readonly wgsl: string;
  /** One per `@binding`, in order, all in `@group(0)`. */
  readonly access: readonly ('read' | 'read_write')[];
  readonly features: readonly string[];
}

/** A compiled kernel. */
export interface DeviceKernel {
  readonly name: string;
}

export interface BindingRange {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** The buffers of one dispatch, bound once and used in every run. */
export interface DeviceGroup {
  readonly kernel: DeviceKernel;
}

export interface Step {
  readonly group: DeviceGroup;
  readonly grid: readonly [number, number, number];
}

/** Bytes to copy into a readback buffer and from there to the caller. */
export interface Read {
  readonly from: DeviceBuffer;
  readonly offset: number;
  /** What the caller gets; a multiple of 4. */
  readonly bytes: number;
  readonly through: DeviceBuffer;
}

/** How many objects were ever created: a test asserts that a steady-state run creates none. */
export interface Created {
  readonly buffers: number;
  readonly groups: number;
  readonly kernels: number;
}

/** Every method throws `DeviceLostError` once the device is lost and `HungError` once it has hung. */
export interface Device {
  readonly facts: DeviceFacts;
  readonly memory: MemoryBudget;
  readonly created: Created;
  /** Tiles that were measured to be the fastest here, by what a kernel computes. */
  readonly tiles?: Readonly<Record<string, string>> | undefined;
  readonly state: 'ready' | 'lost' | 'hung';

  /** All of the buffers, zeroed, or none. Throws `OverLimitError`, `OutOfMemoryError`. */
  allocate(requests: readonly BufferRequest[], advice?: string): Promise<readonly DeviceBuffer[]>;
  /** Gives the bytes back to the driver and the memory; a second time does nothing. */
  free(buffers: readonly DeviceBuffer[]): void;
  /** Bytes to the buffer at `offset` (a multiple of 4); any view is taken as its bytes, padded with zeros to a multiple of 4. */
  write(buffer: DeviceBuffer, offset: number, view: ArrayBufferView): void;
  /** Compiles in parallel. Throws `ValidationError` with the WGSL line, `OverLimitError`. */
  compile(requests: readonly KernelRequest[]): Promise<readonly DeviceKernel[]>;
  /** Warnings and errors that the WGSL compiler has to say of a kernel, e.g. `3:14 error: …`; empty when it has none. */
  diagnose(request: KernelRequest): Promise<readonly string[]>;
  bind(
    requests: readonly { readonly kernel: DeviceKernel; readonly ranges: readonly BindingRange[] }[],
  ): Promise<readonly DeviceGroup[]>;
  /** Zeros in whole buffers, before any later step. */
  clear(buffers: readonly DeviceBuffer[]): void;
  /**
   * Runs the steps in order in one pass, then the reads; settles when the results are here.
   * @param deadline milliseconds after which the device counts as hung (`HungError`).
   */
  run(steps: readonly Step[], reads: readonly Read[], deadline: number): Promise<readonly ArrayBuffer[]>;
  /** Milliseconds of each step: by timestamps where the device has them, by wall time otherwise. */
  time(steps: readonly Step[], deadline: number): Promise<readonly number[]>;
  /** Waits until everything written so far has reached the device, so that host memory held for it is released. */
  flush(deadline: number): Promise<void>;
  /** Ends the device; pending work is refused with `DeviceLostError`. Safe to call twice. */
  close(): void;
}

/** Throws `OpabiniaError` unless this is a device. `call`: how it is to be called. */
export function requireDevice(op: string, value: unknown, call: string): void {
  if (isObject(value) && isObject(value['facts']) && isObject(value['facts']['limits'])) return;
  throw new OpabiniaError(`the device is ${said(value)}`, {
    op,
    advice: value instanceof Promise ? `await it: ${call}` : `give one that openDevice opened: ${call}`,
  });
}
