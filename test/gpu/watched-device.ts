// A device that catches what a correct result may hide: memory starts as rubbish, and rubbish lies behind every buffer and every binding.
import type {
  BindingRange,
  BufferRequest,
  Device,
  DeviceBuffer,
  DeviceGroup,
  DeviceKernel,
  KernelRequest,
  Read,
  Step,
} from '../../runtime/device/device.ts';

/** A NaN as f32 and as two f16, a large whole number, true: read by mistake, it shows. */
const rubbish = 0x7fff7fff;
/** Bytes of rubbish behind each buffer. */
const guard = 256;
const patience = 120_000;

export class WatchedDevice implements Device {
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
  }

  get facts() {
    return this.#device.facts;
  }
  get memory() {
    return this.#device.memory;
  }
  get created() {
    return this.#device.created;
  }
  get state() {
    return this.#device.state;
  }

  async allocate(requests: readonly BufferRequest[], advice?: string): Promise<readonly DeviceBuffer[]> {
    const wider = requests.map((request) =>
      request.use === 'storage' ? { ...request, bytes: request.bytes + guard } : request,
    );
    const made = await this.#device.allocate(wider, advice);
    for (const buffer of made)
      if (buffer.use === 'storage') this.#device.write(buffer, 0, new Uint32Array(buffer.bytes / 4).fill(rubbish));
    return made;
  }

  free(buffers: readonly DeviceBuffer[]): void {
    this.#device.free(buffers);
  }
  write(buffer: DeviceBuffer, offset: number, view: ArrayBufferView): void {
    this.#device.write(buffer, offset, view);
  }
  compile(requests: readonly KernelRequest[]): Promise<readonly DeviceKernel[]> {
    return this.#device.compile(requests);
  }
  diagnose(request: KernelRequest): Promise<readonly string[]> {
    return this.#device.diagnose(request);
  }

  /** Bindings reach on to the next one in the same buffer, or over the guard: an index out of range is not brought back into it. */
  bind(
    requests: readonly { readonly kernel: DeviceKernel; readonly ranges: readonly BindingRange[] }[],
  ): Promise<readonly DeviceGroup[]> {
    return this.#device.bind(
      requests.map(({ kernel, ranges }) => ({
        kernel,
        ranges: ranges.map((range) => {
          const next = ranges
            .filter((other) => other.buffer === range.buffer && other.offset > range.offset)
            .map((other) => other.offset);
          return { ...range, bytes: Math.min(range.buffer.bytes, ...next) - range.offset };
        }),
      })),
    );
  }

  clear(buffers: readonly DeviceBuffer[]): void {
    this.#device.clear(buffers);
  }
  run(steps: readonly Step[], reads: readonly Read[], deadline: number): Promise<readonly ArrayBuffer[]> {
    return this.#device.run(steps, reads, deadline);
  }
  time(steps: readonly Step[], deadline: number): Promise<readonly number[]> {
    return this.#device.time(steps, deadline);
  }
  flush(deadline: number): Promise<void> {
    return this.#device.flush(deadline);
  }
  close(): void {
    this.#device.close();
  }

  /** Throws where anything was written from the given byte of a buffer on (undefined: behind its end). */
  async expectUntouched(buffers: ReadonlyMap<DeviceBuffer, number | undefined>): Promise<void> {
    const watched = [...buffers].map(([buffer, from]) => ({
      buffer,
      end: from ?? buffer.bytes - guard,
      start: Math.min(buffer.bytes - guard, Math.ceil((from ?? Infinity) / 4) * 4),
    }));
    const staging = await this.#device.allocate(
      watched.map(({ buffer, start }) => ({ label: 'watch', bytes: buffer.bytes - start, use: 'readback' })),
    );
    try {
      const reads = watched.flatMap(({ buffer, start }, i): readonly Read[] => {
        const through = staging[i];
        return through === undefined ? [] : [{ from: buffer, offset: start, bytes: through.bytes, through }];
      });
      const found = await this.#device.run([], reads, patience);
      for (const [i, { buffer, start, end }] of watched.entries()) {
        const at = new Uint32Array(found[i] ?? new ArrayBuffer(0)).findIndex((word) => word !== rubbish);
        if (at >= 0)
          throw new Error(`a kernel wrote at byte ${start + 4 * at} of '${buffer.label}', which ends at ${end}`);
      }
    } finally {
      this.#device.free(staging);
    }
  }
}
