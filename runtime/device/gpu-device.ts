// The device contract over WebGPU's GPUDevice: Dawn's in Node, a browser's own elsewhere. Imports no package.
import type {
  BindingRange,
  BufferRequest,
  Created,
  Device,
  DeviceBuffer,
  DeviceFacts,
  DeviceGroup,
  DeviceKernel,
  KernelRequest,
  Read,
  Step,
} from './device.ts';
import { DeviceLostError, HungError, OverLimitError, typedFailure, ValidationError } from './failure.ts';
import { MemoryBudget, printBytes } from './memory-budget.ts';
import { timeSteps } from './timing.ts';
import { wait } from './wait.ts';
import { encodeStep, GpuBuffer, GpuGroup, GpuKernel, Layouts, own } from './gpu-objects.ts';

// WebGPU's usage bits, by number: the global objects that name them exist in browsers only.
const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, storage: 0x80, queryResolve: 0x200 } as const;
const mapModeRead = 1;

const usageOf = {
  storage: usage.storage | usage.copySource | usage.copyTarget,
  readback: usage.mapRead | usage.copyTarget,
  timestamps: usage.queryResolve | usage.copySource,
} as const;

export class GpuDevice implements Device {
  readonly facts: DeviceFacts;
  readonly memory: MemoryBudget;
  readonly tiles: Readonly<Record<string, string>> | undefined;
  /** The GPUDevice itself, for tests that take it away and for code that hands it to another library. */
  readonly gpu: GPUDevice;
  readonly #created = { buffers: 0, groups: 0, kernels: 0 };
  readonly #layouts: Layouts;
  readonly #waiters = new Set<(error: Error) => void>();
  /** Why nothing works any more: lost or hung. */
  #end: DeviceLostError | HungError | undefined;
  #uncaptured: unknown;

  constructor(gpu: GPUDevice, facts: DeviceFacts, budget: number, tiles?: Readonly<Record<string, string>>) {
    this.gpu = gpu;
    this.#layouts = new Layouts(gpu);
    this.tiles = tiles;
    this.facts = facts;
    this.memory = new MemoryBudget(budget);
    void gpu.lost.then((lost) => {
      const reason = lost.message.trim() || String(lost.reason);
      this.#finish(
        new DeviceLostError(`the device '${facts.name}' was lost: ${reason}`, {
          advice: 'open another device and load the program again',
        }),
      );
    });
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault();
      this.#uncaptured ??= event.error;
    });
  }

  get created(): Created {
    return { ...this.#created };
  }

  get state(): 'ready' | 'lost' | 'hung' {
    return this.#end === undefined ? 'ready' : this.#end.kind === 'hung' ? 'hung' : 'lost';
  }

  async allocate(requests: readonly BufferRequest[], advice?: string): Promise<readonly DeviceBuffer[]> {
    this.#alive();
    for (const { label, bytes } of requests) {
      if (!Number.isSafeInteger(bytes) || bytes < 4 || bytes % 4 !== 0)
        throw new ValidationError(`buffer '${label}' of ${bytes} bytes: a size is a positive multiple of 4`, {
          op: 'allocate',
        });
      const most = this.facts.limits.maxBufferSize;
      if (bytes > most)
        throw new OverLimitError(
          `buffer '${label}' takes ${printBytes(bytes)}, and a buffer of '${this.facts.name}' holds at most ${printBytes(most)}`,
          { op: 'allocate', advice },
        );
    }
    this.memory.check(requests, advice);
    const made: GpuBuffer[] = [];
    try {
      await this.#scoped('allocate', () => {
        for (const request of requests) {
          const buffer = new GpuBuffer(
            request,
            this.gpu.createBuffer({ label: request.label, size: request.bytes, usage: usageOf[request.use] }),
          );
          this.#created.buffers++;
          this.memory.add(buffer);
          made.push(buffer);
        }
      });
      return made;
    } catch (error) {
      this.free(made);
      throw error;
    }
  }

  free(buffers: readonly DeviceBuffer[]): void {
    for (const buffer of buffers) {
      const mine = own(GpuBuffer, buffer);
      if (mine.freed) continue;
      mine.freed = true;
      this.memory.remove(mine);
      mine.gpu.destroy();
    }
  }

  write(buffer: DeviceBuffer, offset: number, view: ArrayBufferView): void {
    this.#alive();
    const mine = this.#usable(buffer);
    if (view.byteLength === 0) return;
    const padded = Math.ceil(view.byteLength / 4) * 4;
    if (offset % 4 !== 0 || offset < 0 || offset + padded > mine.bytes) {
      throw new ValidationError(
        `${view.byteLength} bytes at offset ${offset} do not fit buffer '${mine.label}' of ${mine.bytes} bytes`,
        { op: 'write' },
      );
    }
    this.gpu.queue.writeBuffer(mine.gpu, offset, plainBytes(view, padded));
  }

  async compile(requests: readonly KernelRequest[]): Promise<readonly DeviceKernel[]> {
    this.#alive();
    // Settled, not raced: no compilation may still run when the caller frees what it needs.
    const results = await this.#until(Promise.allSettled(requests.map((request) => this.#compileOne(request))));
    return results.map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
  }

  async diagnose(request: KernelRequest): Promise<readonly string[]> {
    this.#alive();
    const refused = this.#overLimit(request);
    if (refused !== undefined) return [refused.message];
    const { module, failure } = this.#module(request);
    const compilation = await this.#until(module.getCompilationInfo());
    await this.#until(failure);
    const said = compilation.messages.map((m) => `${m.lineNum}:${m.linePos} ${m.type}: ${m.message}`);
    if (said.some((line) => line.includes(' error: '))) return said;
    try {
      await this.#compileOne(request);
    } catch (error) {
      this.#alive();
      said.push(error instanceof Error ? error.message : String(error));
    }
    return said;
  }

  async bind(
    requests: readonly { readonly kernel: DeviceKernel; readonly ranges: readonly BindingRange[] }[],
  ): Promise<readonly DeviceGroup[]> {
    this.#alive();
    const most = this.facts.limits.maxStorageBufferBindingSize;
    const groups: GpuGroup[] = [];
    for (const { kernel, ranges } of requests) {
      const wide = ranges.find((range) => range.bytes > most);
      if (wide !== undefined) {
        throw new OverLimitError(
          `kernel '${kernel.name}' binds ${printBytes(wide.bytes)} of '${wide.buffer.label}', and '${this.facts.name}' binds at most ${printBytes(most)} at once`,
          {
            op: 'bind',
            advice: 'compile the graph for the profile of this device, which splits larger tensors',
          },
        );
      }
    }
    await this.#scoped('bind', () => {
      for (const { kernel, ranges } of requests) {
        const mine = own(GpuKernel, kernel);
        const entries = ranges.map(({ buffer, offset, bytes }, binding) => ({
          binding,
          resource: { buffer: this.#usable(buffer).gpu, offset, size: bytes },
        }));
        groups.push(new GpuGroup(mine, this.gpu.createBindGroup({ label: mine.name, layout: mine.layout, entries })));
        this.#created.groups++;
      }
    });
    return groups;
  }

  clear(buffers: readonly DeviceBuffer[]): void {
    this.#alive();
    const encoder = this.gpu.createCommandEncoder();
    for (const buffer of buffers) encoder.clearBuffer(this.#usable(buffer).gpu);
    this.gpu.queue.submit([encoder.finish()]);
  }

  async run(steps: readonly Step[], reads: readonly Read[], deadline: number): Promise<readonly ArrayBuffer[]> {
    this.#alive();
    const finished = this.#scoped('run', () => {
      const encoder = this.gpu.createCommandEncoder();
      if (steps.length > 0) {
        const pass = encoder.beginComputePass();
        let pipeline: GPUComputePipeline | undefined;
        for (const step of steps) pipeline = encodeStep(pass, step, pipeline);
        pass.end();
      }
      for (const { from, offset, bytes, through } of reads) {
        encoder.copyBufferToBuffer(this.#usable(from).gpu, offset, this.#usable(through).gpu, 0, bytes);
      }
      this.gpu.queue.submit([encoder.finish()]);
    });
    const arrived =
      reads.length === 0
        ? this.gpu.queue.onSubmittedWorkDone()
        : Promise.all(reads.map(({ through, bytes }) => own(GpuBuffer, through).gpu.mapAsync(mapModeRead, 0, bytes)));
    try {
      await this.#until(Promise.all([finished, arrived]), deadline);
      return reads.map(({ through, bytes }) => own(GpuBuffer, through).gpu.getMappedRange(0, bytes).slice(0));
    } catch (error) {
      // A refused submit still maps; wait for it, so that the staging buffer can be unmapped and used again.
      if (this.#end === undefined) await Promise.resolve(arrived).catch(() => undefined);
      this.#uncaptured = undefined;
      throw typedFailure(error, 'the run failed', { op: 'run' });
    } finally {
      if (this.#end === undefined)
        for (const { through } of reads) if (!through.freed) own(GpuBuffer, through).gpu.unmap();
    }
  }

  async time(steps: readonly Step[], deadline: number): Promise<readonly number[]> {
    this.#alive();
    if (this.facts.features.includes('timestamp-query')) {
      return timeSteps(
        this,
        this.gpu,
        steps,
        deadline,
        (pass, step) => void encodeStep(pass, step, undefined),
        (buffer) => this.#usable(buffer).gpu,
      );
    }
    const milliseconds: number[] = [];
    for (const step of steps) {
      const started = performance.now();
      await this.run([step], [], deadline);
      milliseconds.push(performance.now() - started);
    }
    return milliseconds;
  }

  async flush(deadline: number): Promise<void> {
    await this.run([], [], deadline);
  }

  close(): void {
    if (this.#end?.kind === 'hung') return; // destroy() would wait for the endless kernel, and the process with it
    this.#finish(new DeviceLostError(`the device '${this.facts.name}' is closed`, { advice: 'open another device' }));
    this.gpu.destroy();
  }

  #finish(end: DeviceLostError | HungError): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    for (const refuse of this.#waiters) refuse(end);
    this.#waiters.clear();
  }

  #alive(): void {
    // After a loss WebGPU's calls silently succeed; only this tells.
    if (this.#end !== undefined) throw this.#end;
  }

  /** Waits asleep for the promise, and for the end of the device, and for the deadline: whichever is first. */
  async #until<T>(promise: Promise<T>, deadline?: number): Promise<T> {
    this.#alive();
    const ended = Promise.withResolvers<never>();
    this.#waiters.add(ended.reject);
    const timer =
      deadline === undefined || !Number.isFinite(deadline)
        ? undefined
        : setTimeout(() => {
            this.#finish(
              new HungError(`the device '${this.facts.name}' did not answer within ${(deadline / 1000).toFixed(1)} s`, {
                advice:
                  'end this process, which alone stops an endless kernel; run work that may hang in a child process; or raise the deadline given to openDevice',
              }),
            );
          }, deadline);
    try {
      return await wait(Promise.race([promise, ended.promise]));
    } catch (error) {
      // A rejected map often arrives before the notice of the loss that caused it.
      if (this.#end === undefined && error instanceof Error && error.name === 'AbortError')
        await new Promise((resolve) => setTimeout(resolve, 5));
      throw this.#end ?? error;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(ended.reject);
    }
  }

  /** Runs a synchronous piece of WebGPU calls and throws, typed, what it reported. */
  async #scoped(op: string, calls: () => void): Promise<void> {
    for (const filter of ['internal', 'out-of-memory', 'validation'] as const) this.gpu.pushErrorScope(filter);
    let thrown: unknown;
    try {
      calls();
    } catch (error) {
      thrown = error;
    }
    const errors = await this.#until(
      Promise.all([this.gpu.popErrorScope(), this.gpu.popErrorScope(), this.gpu.popErrorScope()]),
    );
    this.#alive();
    const first = thrown ?? errors.find((error) => error !== null) ?? this.#uncaptured;
    this.#uncaptured = undefined;
    if (first !== undefined) throw typedFailure(first, 'the device refused', { op });
  }

  #usable(buffer: DeviceBuffer): GpuBuffer {
    const mine = own(GpuBuffer, buffer);
    if (mine.freed) throw new ValidationError(`buffer '${mine.label}' was freed`);
    return mine;
  }

  #overLimit(request: KernelRequest): OverLimitError | undefined {
    const missing = request.features.find((feature) => !this.facts.features.includes(feature));
    if (missing !== undefined)
      return new OverLimitError(
        `kernel '${request.name}' needs the feature ${missing}, which '${this.facts.name}' does not offer`,
        { op: 'compile', advice: 'compile the graph for the profile of this device' },
      );
    const most = this.facts.limits.maxStorageBuffersPerShaderStage;
    if (request.access.length > most)
      return new OverLimitError(
        `kernel '${request.name}' binds ${request.access.length} buffers, and '${this.facts.name}' allows ${most}`,
        { op: 'compile' },
      );
    return undefined;
  }

  /** The module, and a promise of what its creation reported. */
  #module(request: KernelRequest): { readonly module: GPUShaderModule; readonly failure: Promise<GPUError | null> } {
    this.gpu.pushErrorScope('validation');
    const module = this.gpu.createShaderModule({ label: request.name, code: request.wgsl });
    return { module, failure: this.gpu.popErrorScope() };
  }

  async #compileOne(request: KernelRequest): Promise<GpuKernel> {
    const refused = this.#overLimit(request);
    if (refused !== undefined) throw refused;
    const { module, failure } = this.#module(request);
    const layout = this.#layouts.of(request.access);
    const piped = this.gpu.createComputePipelineAsync({
      label: request.name,
      layout: layout.pipeline,
      compute: { module },
    });
    this.#created.kernels++;
    const [scope, pipeline] = await Promise.allSettled([failure, piped]);
    if (pipeline.status === 'fulfilled') return new GpuKernel(request.name, pipeline.value, layout.group);
    this.#alive();
    const reported = scope.status === 'fulfilled' && scope.value !== null ? scope.value : pipeline.reason;
    throw typedFailure(reported, `kernel '${request.name}' does not compile`, { op: 'compile' });
  }
}

/**
 * The bytes of any view, as a Uint8Array over memory that is not shared. dawn.node dies of a Float16Array and refuses a DataView,
 * so neither may ever reach it.
 */
function plainBytes(view: ArrayBufferView, padded: number): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = view;
  if (padded === byteLength && buffer instanceof ArrayBuffer) return new Uint8Array(buffer, byteOffset, byteLength);
  const copy = new Uint8Array(padded);
  copy.set(new Uint8Array(buffer, byteOffset, byteLength));
  return copy;
}
