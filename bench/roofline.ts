// What the device itself can do, in the same run as the race: a copy, and multiply-adds that never leave their registers.
import type { Device } from '../runtime/device/device.ts';
import { spreadOf } from './statistics.ts';

export interface Roofline {
  readonly flopsPerSecond: number;
  /** Read and written. */
  readonly bytesPerSecond: number;
}

const copy = (threads: number): string => `
@group(0) @binding(0) var<storage, read> given: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> written: array<vec4<f32>>;
@compute @workgroup_size(${threads}) fn main(@builtin(global_invocation_id) id: vec3<u32>) { written[id.x] = given[id.x]; }
`;

/** Eight chains a thread: as many as the registers of a software driver's lanes hold. x ← x·b + c with b < 1 stays bounded. */
const chains = ['a', 'd', 'e', 'f', 'g', 'h', 'i', 'j'] as const;
const unrolled = 16;

const multiplyAdd = `
@group(0) @binding(0) var<storage, read> given: array<f32>;
@group(0) @binding(1) var<storage, read_write> written: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let b = given[0];
  let c = given[1];
  let turns = u32(given[2]);
${chains.map((name, i) => `  var ${name} = f32(id.x) * ${(i + 1) / 8};`).join('\n')}
  for (var k = 0u; k < turns; k++) {
${Array.from({ length: unrolled }, () => `    ${chains.map((name) => `${name} = fma(${name}, b, c);`).join(' ')}`).join('\n')}
  }
  written[id.x] = ${chains.join(' + ')};
}
`;

/** Medians of several runs after a first one, in which the driver compiles. */
export async function measureRoofline(device: Device, quick: boolean): Promise<Roofline> {
  const software = device.facts.software;
  // A card copies 64 MiB in the time that a launch takes, and keeps half of it in its cache: it gets 256 MiB, by workgroups that are large.
  const copyThreads = software ? 64 : 256;
  const most = Math.floor(device.facts.limits.maxStorageBufferBindingSize / 4 / 1024) * 1024;
  const elements = quick ? 2 ** 18 : Math.min(software ? 2 ** 24 : 65535 * copyThreads * 4, most);
  const threads = quick || software ? 2 ** 12 : 2 ** 20;
  const turns = quick ? 16 : software ? 2 ** 11 : 2 ** 10;
  const buffers = await device.allocate([
    { label: 'roofline: from', bytes: elements * 4, use: 'storage' },
    { label: 'roofline: into', bytes: elements * 4, use: 'storage' },
  ]);
  try {
    const [from, into] = buffers;
    if (from === undefined || into === undefined) throw new Error('no buffers');
    device.write(from, 0, Float32Array.of(0.999, 0.001, turns));
    const kernels = await device.compile(
      [
        { name: 'copy', wgsl: copy(copyThreads) },
        { name: 'multiply_add', wgsl: multiplyAdd },
      ].map((one) => ({ ...one, access: ['read', 'read_write'] as const, features: [] })),
    );
    const groups = await device.bind(
      kernels.map((kernel) => ({
        kernel,
        ranges: [from, into].map((buffer) => ({ buffer, offset: 0, bytes: buffer.bytes })),
      })),
    );
    const [copied, multiplied] = groups;
    if (copied === undefined || multiplied === undefined) throw new Error('no bindings');
    const seconds = async (group: typeof copied, workgroups: number): Promise<number> => {
      // A grid has at most 65535 workgroups along an axis, and these kernels use one.
      const steps = [{ group, grid: [Math.min(65535, workgroups), 1, 1] as const }];
      const times: number[] = [];
      for (let i = 0; i < (quick ? 3 : 8); i++) {
        const started = performance.now();
        // The device's own clock, where it is a card: to be told of the end takes as long as the copy.
        const [own] = software ? [undefined] : await device.time(steps, 120_000);
        if (software) await device.run(steps, [], 120_000);
        if (i > 0) times.push(own ?? performance.now() - started);
      }
      return spreadOf(times).median / 1000;
    };
    const copyGroups = Math.min(65535, Math.floor(elements / 4 / copyThreads));
    const bytes = copyGroups * copyThreads * 16 * 2;
    return {
      bytesPerSecond: bytes / (await seconds(copied, copyGroups)),
      flopsPerSecond: (2 * chains.length * unrolled * turns * threads) / (await seconds(multiplied, threads / 64)),
    };
  } finally {
    device.free(buffers);
  }
}
