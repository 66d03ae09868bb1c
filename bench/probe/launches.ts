// What a launch costs beside its work: on the GPU, one after another; for the CPU, to encode, to wait, to read four bytes.
import { spreadOf } from '../statistics.ts';
import type { Gpu, Work } from './gpu.ts';
import { range, type Row, type Section } from './section.ts';

// By number: the global object that names it exists in browsers only.
const mapModeRead = 1;

const threads = 64;
const mostGroups = 1024;
const buffersInRing = 16;
const launchesInPass = 256;
/** A number of workgroups that is about a card's number of cores. */
const someGroups = 132;

const addOne = `
@group(0) @binding(0) var<storage, read> given: array<f32>;
@group(0) @binding(1) var<storage, read_write> written: array<f32>;
@compute @workgroup_size(${threads}) fn main(@builtin(global_invocation_id) id: vec3<u32>) { written[id.x] = given[id.x] + 1.0; }`;

export const launches: Section = {
  name: 'launches',
  about: 'launches of next to no work: on the GPU, and from the CPU',
  async *measure(gpu, quick) {
    const pipeline = await gpu.pipeline(addOne);
    const ring = await Promise.all(range(buffersInRing).map(() => gpu.filled(4 * threads * mostGroups, 'floats')));
    const bound = (from: number, into: number): GPUBindGroup =>
      gpu.group(
        pipeline,
        [from, into].flatMap((i) => ring[i % ring.length] ?? []),
      );
    const chained = range(buffersInRing).map((i) => bound(i, i + 1));
    const apart = range(buffersInRing / 2).map((i) => bound(2 * i, 2 * i + 1));
    for (const groups of [1, someGroups, mostGroups])
      for (const [what, bindings] of [
        ['each needs the last', chained],
        ['none needs the last', apart],
      ] as const) {
        const ms = await gpu.time({ pipeline, groups: bindings, grid: [groups] }, 5, launchesInPass);
        yield { what, groups, 'GPU us each': 1000 * ms };
      }
    const work = { pipeline, groups: chained, grid: [someGroups] } as const;
    for (const count of [1, 50, 200]) yield await submitted(gpu, work, count, quick ? 4 : 20);
    const [some] = ring;
    if (some !== undefined) yield await mapped(gpu, some, quick ? 4 : 30);
  },
};

// Both await the bare promises: to sleep between two looks, as the rest of the probe does, would be measured too.

/** One pass of launches, from the first call to its end. */
async function submitted(gpu: Gpu, { pipeline, groups, grid }: Work, count: number, rounds: number): Promise<Row> {
  const [encoding, whole]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const encoder = gpu.raw.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    for (let i = 0; i < count; i++) {
      pass.setBindGroup(0, groups[i % groups.length]);
      pass.dispatchWorkgroups(grid[0], grid[1]);
    }
    pass.end();
    gpu.raw.queue.submit([encoder.finish()]);
    encoding.push(performance.now() - began);
    await gpu.raw.queue.onSubmittedWorkDone();
    whole.push(performance.now() - began);
  }
  return {
    what: 'submitted in one pass',
    groups: grid[0],
    launches: count,
    'encode ms': warmMedian(encoding),
    'wall ms': warmMedian(whole),
  };
}

/** Four bytes copied and read. */
async function mapped(gpu: Gpu, from: GPUBuffer, rounds: number): Promise<Row> {
  const into = gpu.readback(4);
  const whole: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const encoder = gpu.raw.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, into, 0, 4);
    gpu.raw.queue.submit([encoder.finish()]);
    await into.mapAsync(mapModeRead);
    into.unmap();
    whole.push(performance.now() - began);
  }
  return { what: '4 bytes read', 'wall ms': warmMedian(whole) };
}

/** The first quarter is warming up. */
function warmMedian(times: readonly number[]): number {
  return spreadOf(times.slice(Math.floor(times.length / 4))).median;
}
