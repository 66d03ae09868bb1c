// A browser's `navigator.gpu` for libraries that expect one, in a process of their own: the object that runtime/dawn.ts made, with
// the settings that our own side races with.
import { availableParallelism } from 'node:os';
import { adapterFacts } from '../../runtime/device/dawn.ts';
import { wait } from '../../runtime/device/wait.ts';

/** The constants of the standard (WebGPU §5, §6, §9), which browsers have as globals. */
const constants = {
  GPUBufferUsage: {
    MAP_READ: 1,
    MAP_WRITE: 2,
    COPY_SRC: 4,
    COPY_DST: 8,
    INDEX: 16,
    VERTEX: 32,
    UNIFORM: 64,
    STORAGE: 128,
    INDIRECT: 256,
    QUERY_RESOLVE: 512,
  },
  GPUMapMode: { READ: 1, WRITE: 2 },
  GPUShaderStage: { VERTEX: 1, FRAGMENT: 2, COMPUTE: 4 },
  GPUTextureUsage: { COPY_SRC: 1, COPY_DST: 2, TEXTURE_BINDING: 4, STORAGE_BINDING: 8, RENDER_ATTACHMENT: 16 },
};

/** tfjs asks whether a value is a GPUBuffer: the class, from a buffer. */
async function bufferClass(gpu: GPU): Promise<unknown> {
  const adapter = await wait(gpu.requestAdapter());
  if (adapter === null) throw new Error('there is no adapter');
  const device = await wait(adapter.requestDevice());
  const made: unknown = device.createBuffer({ size: 4, usage: constants.GPUBufferUsage.STORAGE }).constructor;
  device.destroy();
  return made;
}

/** Throws `Error` without an adapter. */
export async function provideNavigator(): Promise<void> {
  const facts = await adapterFacts({ validation: false });
  const gpu = [...(globalThis.opabiniaDawn?.values() ?? [])][0] as GPU | undefined;
  if (facts === undefined || gpu === undefined) throw new Error('there is no adapter');
  Object.assign(globalThis, constants, { GPUBuffer: await bufferClass(gpu) });
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu, userAgent: 'Node', hardwareConcurrency: availableParallelism() },
    configurable: true,
    writable: true,
  });
}
