// Opens Dawn's devices in Node. The only file that imports the package `webgpu`.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import type { DeviceProfile, MatrixUnit } from '../../compiler/profile.ts';
import { requireDevice, type Device, type DeviceFacts, type DeviceLimits } from './device.ts';
import { NoAdapterError, OverLimitError } from './failure.ts';
import { GpuDevice } from './gpu-device.ts';
import { freeMemory } from './memory-budget.ts';
import { quietly, whenAlone } from './quiet.ts';
import { wait } from './wait.ts';
import { requireOptions } from '../../dsl/graph/required.ts';

export interface OpenOptions {
  /** `null` compiles every shader and runs nothing: checks without a GPU. */
  readonly backend?: 'null' | 'vulkan' | 'metal' | 'd3d12' | undefined;
  /** Bytes that may be allocated at once. Default: what the machine has free for a software device, no bound for a GPU, whose memory WebGPU does not tell. */
  readonly budget?: number | undefined;
  /** Smaller limits than the device's, to try what happens on a lesser one. */
  readonly limits?: Partial<DeviceLimits> | undefined;
  /** Features not to ask for. */
  readonly without?: readonly string[] | undefined;
  /** Checks of calls and of indices; off is faster on GPUs, and a wrong plan may then read any byte of the process. Default true. */
  readonly validation?: boolean | undefined;
  readonly power?: 'high-performance' | 'low-power' | undefined;
  /**
   * For a process that works on this device alone and waits for its first run: where a software driver compiles kernels at their first
   * dispatch, half of them are compiled on another device of the process. Default false.
   */
  readonly compileAhead?: boolean | undefined;
  /** `off`: no tiles that `tune` has measured; a path: those of that file. By default `OPABINIA_TUNING`, or what is kept for this device. */
  readonly tuning?: string | undefined;
}

/** Dawn's name; WGSL's are where kernels are written. */
const matrixFeature = 'chromium-experimental-subgroup-matrix';

const wantedFeatures = ['shader-f16', 'subgroups', 'subgroup-size-control', 'timestamp-query', matrixFeature] as const;

declare global {
  /** Every object that `create()` returned. Once one is collected, the process crashes or hangs: they are never let go. */
  var opabiniaDawn: Map<string, unknown> | undefined;
}

const optionsOf = new WeakMap<Device, OpenOptions>();

async function instance(options: OpenOptions): Promise<GPU> {
  const enabled = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'use_vulkan_memory_model'];
  const disabled = ['timestamp_quantization'];
  if (options.validation === false) {
    enabled.push('skip_validation', 'disable_robustness', 'disable_workgroup_init');
    disabled.push('enable_spirv_validation');
  }
  const flags = [`enable-dawn-features=${enabled.join()}`, `disable-dawn-features=${disabled.join()}`];
  if (options.backend !== undefined) flags.unshift(`backend=${options.backend}`);
  const key = flags.join(' ');
  globalThis.opabiniaDawn ??= new Map();
  const known = globalThis.opabiniaDawn.get(key);
  // The declarations of the package name no type of WebGPU, whose own need those of a browser.
  if (known !== undefined) return known as GPU;
  let create: (flags: string[]) => GPU;
  try {
    ({ create } = await import('webgpu'));
  } catch (error) {
    throw new NoAdapterError(`the package webgpu has no build that loads on ${process.platform}-${process.arch}`, {
      cause: error,
      advice: 'use a glibc Linux (x64, arm64), macOS or Windows; the reference interpreter runs everywhere',
    });
  }
  const gpu = create(flags);
  globalThis.opabiniaDawn.set(key, gpu);
  return gpu;
}

const backends: readonly string[] = ['null', 'vulkan', 'metal', 'd3d12'];
/** The one system that has a backend, by Node's name and its own; the others are not bound to one. */
const systems: ReadonlyMap<string | undefined, readonly [platform: string, name: string]> = new Map([
  ['metal', ['darwin', 'macOS']],
  ['d3d12', ['win32', 'Windows']],
]);

/** From JavaScript anything gets here, and NaN as a budget would be none. */
function checkOptions(options: OpenOptions): void {
  requireOptions('openDevice', options, "openDevice({ backend: 'vulkan' })");
  const { backend, budget, limits = {} } = options;
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'openDevice', advice });
  if (backend !== undefined && !backends.includes(backend))
    throw refuse(`there is no backend '${String(backend)}'`, `one of ${backends.join(', ')}, or leave it out`);
  const [platform, system] = systems.get(backend) ?? [process.platform, ''];
  if (process.platform !== platform)
    throw new NoAdapterError(`the backend '${backend}' is there on ${system} only, and this is ${process.platform}`, {
      op: 'openDevice',
      advice: "leave `backend` out: Dawn takes what the system has, as 'vulkan' on Linux",
    });
  if (budget !== undefined && !(budget >= 0))
    throw refuse(`the budget is ${String(budget)}`, 'give bytes, 0 or more, or leave it out');
  for (const [name, limit] of Object.entries(limits)) {
    if (!limitNames.some((known) => known === name))
      throw refuse(`there is no limit '${name}'`, `the nearest are ${nearestNames(name, limitNames).join(', ')}`);
    if (!Number.isInteger(limit) || limit < 1)
      throw refuse(`the limit ${name} is ${String(limit)}`, 'give a whole number, 1 or more');
  }
}

async function findAdapter(options: OpenOptions): Promise<GPUAdapter | undefined> {
  checkOptions(options);
  const gpu = await instance(options);
  await whenAlone();
  const adapter = await wait(
    quietly(() => gpu.requestAdapter({ powerPreference: options.power ?? 'high-performance' })),
  );
  return adapter ?? undefined;
}

/**
 * What the best adapter offers, or undefined when there is none. Throws `NoAdapterError` for a `backend` that the system has not. A broken driver can crash here: ask in a child process.
 * @example const facts = await adapterFacts()
 */
export async function adapterFacts(options: OpenOptions = {}): Promise<DeviceFacts | undefined> {
  const adapter = await findAdapter(options);
  return adapter === undefined ? undefined : factsOf(adapter, [...adapter.features], options);
}

/**
 * The best device of this machine with every limit it has and every feature we know a use for.
 * Throws `OpabiniaError` for an option that is none; `NoAdapterError` where there is no device, or none of the `backend` asked for; `OverLimitError`;
 * `TuningError` for a tuning file of another device.
 * @example const device = await openDevice()
 */
export async function openDevice(options: OpenOptions = {}): Promise<Device> {
  const adapter = await findAdapter(options);
  if (adapter === undefined) {
    const { backend } = options;
    throw new NoAdapterError(
      backend === undefined
        ? 'Dawn finds no GPU and no software Vulkan driver on this machine'
        : `Dawn finds no adapter of the backend '${backend}' on this machine`,
      {
        advice: `${backend === undefined ? '' : 'leave `backend` out, or '}\`npm run setup\`, which installs a driver or prints the command that does; \`npm run doctor\` says what is missing`,
      },
    );
  }
  const features = wantedFeatures.filter(
    (feature) => adapter.features.has(feature) && !(options.without ?? []).includes(feature),
  );
  const facts = factsOf(adapter, features, options);
  const limits = limitsOf(adapter.limits);
  // Only here: what reads the file is not needed to trace or compile.
  const { tilesFor } = await import('./tuning.ts');
  const tiles = tilesFor(facts, options.tuning);
  let gpu: GPUDevice;
  try {
    // The types know the standard's features only; subgroup matrices are Dawn's own.
    gpu = await wait(
      adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits: { ...limits } }),
    );
  } catch (error) {
    throw new OverLimitError(`the adapter '${facts.name}' refuses a device with its own limits`, {
      cause: error,
      advice: 'update its driver',
    });
  }
  const budget = options.budget ?? (facts.software ? freeMemory() : Number.POSITIVE_INFINITY);
  const device = new GpuDevice(gpu, facts, budget, tiles);
  optionsOf.set(device, options);
  return device;
}

/** Another device of the same adapter to compile ahead on; undefined for one that was opened without that wish. */
export async function openAhead(device: Device): Promise<Device | undefined> {
  const options = optionsOf.get(device);
  return options?.compileAhead === true ? openDevice(options).catch(() => undefined) : undefined;
}

function factsOf(adapter: GPUAdapter, features: readonly string[], options: OpenOptions): DeviceFacts {
  const about = adapter.info;
  const software =
    about.isFallbackAdapter ||
    about.architecture === 'software' ||
    /llvmpipe|swiftshader|microsoft basic render/i.test(`${about.device} ${about.description}`);
  const { subgroupMinSize: least = 0, subgroupMaxSize: most = 0 } = about;
  return {
    name: adapterName(about),
    vendor: about.vendor,
    architecture: about.architecture,
    driver: about.description,
    software,
    subgroups: features.includes('subgroups') && least > 0 && most > 0 ? { least, most } : undefined,
    features,
    limits: { ...limitsOf(adapter.limits), ...options.limits },
    matrices: features.includes(matrixFeature) ? matricesOf(about) : [],
  };
}

function adapterName(about: GPUAdapterInfo): string {
  if (about.device.startsWith('llvmpipe')) return 'lavapipe';
  return about.device || about.description || about.vendor || 'null';
}

const limitNames = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'minStorageBufferOffsetAlignment',
] as const satisfies readonly (keyof DeviceLimits)[];

function limitsOf(all: GPUSupportedLimits): DeviceLimits {
  return Object.fromEntries(limitNames.map((name) => [name, all[name]])) as Record<(typeof limitNames)[number], number>;
}

interface MatrixConfig {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly componentType: string;
  readonly resultComponentType: string;
}

function matricesOf(about: object): readonly MatrixUnit[] {
  // Dawn's extension of the adapter's facts; absent from the standard's types.
  const configs: unknown = 'subgroupMatrixConfigs' in about ? about.subgroupMatrixConfigs : undefined;
  if (!Array.isArray(configs)) return [];
  return configs.map(({ M: m, N: n, K: k, componentType: from, resultComponentType: to }: MatrixConfig) => ({
    m,
    n,
    k,
    from,
    to,
  }));
}

/**
 * The facts a compiler needs of this device. Throws `OpabiniaError` for what is none.
 * @example const profile = deviceProfile(await openDevice())
 */
export function deviceProfile(device: Device): DeviceProfile {
  requireDevice('deviceProfile', device, 'deviceProfile(await openDevice())');
  const { facts, tiles } = device;
  const { limits, subgroups } = facts;
  return {
    name: facts.name,
    software: facts.software,
    subgroupSize: subgroups !== undefined && subgroups.least === subgroups.most ? subgroups.least : undefined,
    f16: facts.features.includes('shader-f16'),
    matrices: facts.matrices,
    maxBindings: limits.maxStorageBuffersPerShaderStage,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupThreads: limits.maxComputeInvocationsPerWorkgroup,
    maxGrid: limits.maxComputeWorkgroupsPerDimension,
    offsetAlignment: limits.minStorageBufferOffsetAlignment,
    // WebGPU tells neither speed; the class of the device does, well enough to rank alternatives.
    flopsPerSecond: facts.software ? 90e9 : 10e12,
    bytesPerSecond: facts.software ? 17e9 : 400e9,
    ...(tiles === undefined ? {} : { tiles }),
  };
}
