// A software driver compiles a kernel when it is first dispatched, one after the other on the thread of the device's queue, and the first run
// waits for all of them. A second device has a thread of its own: it dispatches the same kernels over memory of its own, those first that come
// last, and the first device finds them in the driver's cache on disk.
import { availableParallelism } from 'node:os';
import type { Plan, PlanKernel } from '../../compiler/plan.ts';
import { openAhead } from './dawn.ts';
import type { BindingRange, Device } from './device.ts';

/** Bytes of each binding: nothing is computed that anybody wants. */
const room = 256;

/** Kernels that are known already, one after the other, until nothing is left to be expected. */
const patience = 4;
/** Milliseconds in which a driver compiles no kernel that it does not know. */
const known = 12;

/**
 * Compiles the kernels of plans on another device, if `device` was opened with that wish and its driver compiles at the first dispatch: of the
 * order in which the first run meets them, the last first. Ends when it is through, when the driver turns out to know them, or when
 * `signal` says that nobody waits any more. Never throws: what was not compiled here is compiled where it is needed.
 */
export async function compileAhead(device: Device, plans: readonly Plan[], signal: AbortSignal): Promise<void> {
  const isCached = process.env['MESA_SHADER_CACHE_DISABLE'] !== 'true';
  if (!device.facts.software || !isCached || availableParallelism() < 2) return;
  const other = await openAhead(device);
  if (other === undefined) return;
  try {
    const most = other.facts.limits.maxStorageBuffersPerShaderStage;
    const buffers = await other.allocate(
      Array.from({ length: most }, (_, i) => ({ label: `binding ${i}`, bytes: room, use: 'storage' as const })),
    );
    const ranges = buffers.map((buffer): BindingRange => ({ buffer, offset: 0, bytes: room }));
    let inARow = 0;
    for (const request of inOrderOfUse(plans).toReversed()) {
      if (signal.aborted || inARow === patience) break;
      const began = performance.now();
      const [kernel] = await other.compile([request]);
      if (kernel === undefined) continue;
      const [group] = await other.bind([{ kernel, ranges: ranges.slice(0, request.access.length) }]);
      if (group !== undefined) await other.run([{ group, grid: [1, 1, 1] }], [], Infinity);
      inARow = performance.now() - began < known ? inARow + 1 : 0;
    }
  } catch {
    // A device that is lost here is another one's.
  } finally {
    other.close();
  }
}

/** Every kernel once: those of load time, then those of the runs. */
function inOrderOfUse(plans: readonly Plan[]): readonly PlanKernel[] {
  const used = [...plans.map(({ load }) => load), ...plans.map(({ dispatches }) => dispatches)];
  const texts = new Map<string, PlanKernel>();
  used.forEach((dispatches, i) => {
    const { kernels } = plans[i % plans.length] ?? { kernels: [] };
    for (const { kernel } of dispatches) {
      const own = kernels[kernel];
      if (own !== undefined && !texts.has(own.wgsl)) texts.set(own.wgsl, own);
    }
  });
  return [...texts.values()];
}
