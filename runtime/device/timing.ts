// Milliseconds of each dispatch on the GPU: one pass per step between two timestamps.
import type { Device, DeviceBuffer, Step } from './device.ts';

/** WebGPU allows 4096 queries in a set; a step takes two. */
const stepsPerSet = 2048;

/** @param encode encodes one step into a pass; @param gpuBuffer the GPUBuffer behind a buffer of this device. */
export async function timeSteps(
  device: Device,
  gpu: GPUDevice,
  steps: readonly Step[],
  deadline: number,
  encode: (pass: GPUComputePassEncoder, step: Step) => void,
  gpuBuffer: (buffer: DeviceBuffer) => GPUBuffer,
): Promise<readonly number[]> {
  const milliseconds: number[] = [];
  for (let first = 0; first < steps.length; first += stepsPerSet) {
    const some = steps.slice(first, first + stepsPerSet);
    const bytes = some.length * 16;
    const buffers = await device.allocate([
      { label: 'timestamps', bytes, use: 'timestamps' },
      { label: 'timestamps read', bytes, use: 'readback' },
    ]);
    const [resolved, through] = buffers;
    const queries = gpu.createQuerySet({ type: 'timestamp', count: some.length * 2 });
    try {
      if (resolved === undefined || through === undefined) continue;
      const encoder = gpu.createCommandEncoder();
      some.forEach((step, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encode(pass, step);
        pass.end();
      });
      encoder.resolveQuerySet(queries, 0, some.length * 2, gpuBuffer(resolved), 0);
      gpu.queue.submit([encoder.finish()]);
      const [stamps] = await device.run([], [{ from: resolved, offset: 0, bytes, through }], deadline);
      const nanoseconds = new BigUint64Array(stamps ?? new ArrayBuffer(bytes));
      // Drivers may reset their clock between two passes, never within one; a negative difference is such a reset.
      for (let i = 0; i < some.length; i++)
        milliseconds.push(Math.max(0, Number((nanoseconds[2 * i + 1] ?? 0n) - (nanoseconds[2 * i] ?? 0n)) / 1e6));
    } finally {
      queries.destroy();
      device.free(buffers);
    }
  }
  return milliseconds;
}
