// What memory gives: copied, and read alone, by how much a thread takes and how many threads a workgroup has.
import type { Gpu } from './gpu.ts';
import { each, type Section } from './section.ts';

const mebibyte = 2 ** 20;
const passes = 7;

interface Sweep {
  readonly bytes: number;
  /** vec4<u32> that a thread loads before it does anything with them. */
  readonly loads: number;
  readonly threads: number;
}

/** Workgroups in two dimensions, since one holds too few of them, and the vec4<u32> that they touch in all. */
function spread(
  gpu: Gpu,
  { bytes, loads, threads }: Sweep,
): { readonly grid: [number, number]; readonly count: number } {
  const groups = Math.floor(bytes / 16 / loads / threads);
  const across = Math.min(groups, gpu.facts.limits.maxComputeWorkgroupsPerDimension);
  const down = Math.floor(groups / across);
  return { grid: [across, down], count: across * down * threads * loads };
}

/** Neighbours load neighbours; a thread's next load is a whole workgroup further. */
function loadsWgsl(
  { loads, threads }: Sweep,
  [across]: readonly [number, number],
  written: string,
  rest: string,
): string {
  return `
@group(0) @binding(0) var<storage, read> given: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> written: array<${written}>;
@compute @workgroup_size(${threads}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let base = (group.y * ${across}u + group.x) * ${threads * loads}u + thread;
  ${each(loads, (i) => `let v${i} = given[base + ${i * threads}u];`)}
  ${rest}
}`;
}

export const copy: Section = {
  name: 'copy',
  about: 'memory copied, read and written counted',
  async *measure(gpu, quick) {
    for (const mib of quick ? [4] : [64, 512, 1024]) {
      const bytes = gpu.fitting(mib * mebibyte, 4096);
      const buffers = [await gpu.filled(bytes, 'bits'), gpu.buffer(bytes)];
      for (const loads of [1, 4])
        for (const threads of [64, 256]) {
          const sweep = { bytes, loads, threads };
          const { grid, count } = spread(gpu, sweep);
          const stores = each(loads, (i) => `written[base + ${i * threads}u] = v${i};`);
          const pipeline = await gpu.pipeline(loadsWgsl(sweep, grid, 'vec4<u32>', stores));
          const ms = await gpu.time({ pipeline, groups: [gpu.group(pipeline, buffers)], grid }, passes);
          yield { MiB: bytes / mebibyte, loads, threads, ms, 'GB/s': (2 * 16 * count) / ms / 1e6 };
        }
      gpu.free();
    }
  },
};

export const read: Section = {
  name: 'read',
  about: 'memory read, nothing written',
  async *measure(gpu, quick) {
    const bytes = gpu.fitting((quick ? 4 : 1024) * mebibyte, 4096);
    const most = gpu.facts.limits.maxComputeWorkgroupsPerDimension;
    const buffers = [await gpu.filled(bytes, 'bits'), gpu.buffer(4 * (most + 1))];
    for (const loads of [1, 2, 4, 8, 16])
      for (const threads of [64, 128, 256]) {
        const sweep = { bytes, loads, threads };
        const { grid, count } = spread(gpu, sweep);
        // A store that depends on all of them keeps the loads, and next to never happens.
        const use = `let all = ${each(loads, (i) => `v${i}`, ' ^ ')};
  if ((all.x ^ all.y ^ all.z ^ all.w) == 0x12345u) { written[group.x] = all.x; }`;
        const pipeline = await gpu.pipeline(loadsWgsl(sweep, grid, 'u32', use));
        const ms = await gpu.time({ pipeline, groups: [gpu.group(pipeline, buffers)], grid }, passes);
        yield { MiB: bytes / mebibyte, loads, threads, ms, 'GB/s': (16 * count) / ms / 1e6 };
      }
  },
};
