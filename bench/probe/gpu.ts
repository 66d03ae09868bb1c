// A device as probes need it: WGSL as it is written in, milliseconds of the GPU itself out.
import type { DeviceFacts } from '../../runtime/device/device.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { GpuDevice } from '../../runtime/device/gpu-device.ts';
import { wait } from '../../runtime/device/wait.ts';
import { spreadOf } from '../statistics.ts';

// WebGPU's usage bits, by number: the global objects that name them exist in browsers only.
const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, storage: 0x80, queryResolve: 0x200 } as const;
const mapModeRead = 1;

/** WebGPU allows 4096 queries in a set; a pass takes two. */
const passesPerSet = 2048;

/** Workgroups along x and y. */
export type Grid = readonly [number, number?];

export interface Work {
  readonly pipeline: GPUComputePipeline;
  /** Launches take them in turn, so that what one leaves in a cache is not what the next one reads. */
  readonly groups: readonly GPUBindGroup[];
  readonly grid: Grid;
}

/** What a buffer is filled with: pairs of f16 or f32 between -0.5 and 0.5, or any bits. */
export type Filling = 'halves' | 'floats' | 'bits';

const wordOf: Readonly<Record<Filling, string>> = {
  halves: 'pack2x16float(vec2<f32>(fraction(2u * i), fraction(2u * i + 1u)))',
  floats: 'bitcast<u32>(fraction(i))',
  bits: 'bits(i)',
};

// Random, since equal numbers cost a card less power than others and let its clock rise. Packed by hand, so that no feature is needed.
const fillWgsl = (filling: Filling, seed: number): string => `
@group(0) @binding(0) var<storage, read_write> words: array<vec4<u32>>;
fn bits(x: u32) -> u32 {
  var v = (x + ${seed}u * 2654435769u) * 747796405u + 2891336453u;
  v = ((v >> ((v >> 28u) + 4u)) ^ v) * 277803737u;
  return (v >> 22u) ^ v;
}
fn fraction(x: u32) -> f32 { return f32(bits(x) & 0xffffu) / 65536.0 - 0.5; }
fn word(i: u32) -> u32 { return ${wordOf[filling]}; }
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = id.x; i < arrayLength(&words); i += groups.x * 64u) {
    words[i] = vec4<u32>(word(4u * i), word(4u * i + 1u), word(4u * i + 2u), word(4u * i + 3u));
  }
}`;

export class Gpu {
  readonly facts: DeviceFacts;
  /** Of a subgroup; 0 where a driver picks one of several sizes, or has no subgroups. */
  readonly lanes: number;
  readonly #device: GpuDevice;
  readonly #buffers = new Set<GPUBuffer>();
  readonly #fillers = new Map<string, GPUComputePipeline>();
  /** Calls that return nothing report here what went wrong, memory that ran out above all. */
  #failure: string | undefined;

  constructor(device: GpuDevice) {
    this.#device = device;
    this.facts = device.facts;
    const { subgroups } = device.facts;
    this.lanes = subgroups !== undefined && subgroups.least === subgroups.most ? subgroups.least : 0;
    device.gpu.addEventListener('uncapturederror', (event) => {
      this.#failure ??= event.error.message;
    });
  }

  /** For those who encode for themselves. */
  get raw(): GPUDevice {
    return this.#device.gpu;
  }

  get isLost(): boolean {
    return this.#device.state !== 'ready';
  }

  has(feature: string): boolean {
    return this.facts.features.includes(feature);
  }

  /** The largest multiple of `unit` bytes, up to those wanted, that one binding holds. */
  fitting(wanted: number, unit: number): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.facts.limits;
    return Math.floor(Math.min(wanted, maxStorageBufferBindingSize, maxBufferSize) / unit) * unit;
  }

  buffer(bytes: number): GPUBuffer {
    return this.#buffer(bytes, usage.storage | usage.copySource | usage.copyTarget);
  }

  /** A buffer to copy results into and read them from. */
  readback(bytes: number): GPUBuffer {
    return this.#buffer(bytes, usage.mapRead | usage.copyTarget);
  }

  /** @param bytes a multiple of 16. @param seed the same one gives the same numbers. */
  async filled(bytes: number, filling: Filling, seed = 0): Promise<GPUBuffer> {
    const made = this.buffer(bytes);
    const key = `${filling} ${seed}`;
    const filler = this.#fillers.get(key) ?? (await this.pipeline(fillWgsl(filling, seed)));
    this.#fillers.set(key, filler);
    const groups = Math.min(this.facts.limits.maxComputeWorkgroupsPerDimension, Math.ceil(bytes / 16 / 64));
    this.run({ pipeline: filler, groups: [this.group(filler, [made])], grid: [groups] });
    return made;
  }

  /** Ends every buffer that was made. */
  free(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.clear();
  }

  async pipeline(code: string): Promise<GPUComputePipeline> {
    const module = this.raw.createShaderModule({ code });
    return wait(this.raw.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } }));
  }

  group(pipeline: GPUComputePipeline, buffers: readonly GPUBuffer[]): GPUBindGroup {
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    return this.raw.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  }

  clear(buffer: GPUBuffer): void {
    const encoder = this.raw.createCommandEncoder();
    encoder.clearBuffer(buffer);
    this.raw.queue.submit([encoder.finish()]);
  }

  /** Launches once. */
  run(work: Work): void {
    const encoder = this.raw.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encodeLaunches(pass, work, 0, 1);
    pass.end();
    this.raw.queue.submit([encoder.finish()]);
  }

  /** Milliseconds of a launch, the median over passes of several launches each. */
  async time(work: Work, passes: number, launches = 1): Promise<number> {
    if (passes > passesPerSet) throw new RangeError(`${passes} passes are more than one set of timestamps holds`);
    const queries = this.raw.createQuerySet({ type: 'timestamp', count: 2 * passes });
    const resolved = this.#buffer(16 * passes, usage.queryResolve | usage.copySource);
    try {
      const encoder = this.raw.createCommandEncoder();
      for (let i = 0; i < passes; i++) {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encodeLaunches(pass, work, i * launches, launches);
        pass.end();
      }
      encoder.resolveQuerySet(queries, 0, 2 * passes, resolved, 0);
      this.raw.queue.submit([encoder.finish()]);
      const stamps = new BigUint64Array(await this.read(resolved, 0, 16 * passes));
      const milliseconds = Array.from(
        { length: passes },
        (_, i) => Number((stamps[2 * i + 1] ?? 0n) - (stamps[2 * i] ?? 0n)) / 1e6 / launches,
      );
      // A driver may reset its clock; what it then says of a pass is nothing.
      const sound = milliseconds.filter((one) => one > 0);
      if (sound.length === 0) throw new Error('the timestamps of no pass rise');
      return spreadOf(sound).median;
    } finally {
      queries.destroy();
      this.#end(resolved);
    }
  }

  async read(from: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    const through = this.readback(bytes);
    try {
      const encoder = this.raw.createCommandEncoder();
      encoder.copyBufferToBuffer(from, offset, through, 0, bytes);
      this.raw.queue.submit([encoder.finish()]);
      await wait(through.mapAsync(mapModeRead));
      if (this.#failure !== undefined) throw new Error(this.#failure);
      return through.getMappedRange().slice(0);
    } catch (error) {
      throw this.#failure === undefined ? error : new Error(this.#failure, { cause: error });
    } finally {
      this.#failure = undefined;
      this.#end(through);
    }
  }

  close(): void {
    this.free();
    this.#device.close();
  }

  #buffer(size: number, bits: number): GPUBuffer {
    const made = this.raw.createBuffer({ size, usage: bits });
    this.#buffers.add(made);
    return made;
  }

  #end(buffer: GPUBuffer): void {
    buffer.destroy();
    this.#buffers.delete(buffer);
  }
}

function encodeLaunches(pass: GPUComputePassEncoder, { pipeline, groups, grid }: Work, first: number, count: number) {
  pass.setPipeline(pipeline);
  for (let i = first; i < first + count; i++) {
    pass.setBindGroup(0, groups[i % groups.length]);
    pass.dispatchWorkgroups(grid[0], grid[1]);
  }
}

/** Without checks of calls and indices: what they cost is not the device's. */
export async function openGpu(): Promise<Gpu> {
  const device = await openDevice({ validation: false, tuning: 'off' });
  if (!(device instanceof GpuDevice)) throw new TypeError('Dawn devices are GpuDevices');
  return new Gpu(device);
}
