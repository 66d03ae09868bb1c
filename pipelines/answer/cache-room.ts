// Whether keys and values fit, before graphs of that length are made.
import { OutOfMemoryError } from '../../runtime/device/failure.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { OpenedModel } from './open-model.ts';

/** Keys and values of the whole context against the device's memory, before graphs of that length are made. Throws `OutOfMemoryError`. */
export function checkCache(
  { language: { config }, source }: OpenedModel,
  device: Device,
  { batch, capacity }: { readonly batch: number; readonly capacity: number },
): void {
  const perToken = 2 * config.layers * config.keyValueHeads * config.headSize * (source.dtype === 'f16' ? 2 : 4);
  const [needed, room] = [batch * capacity * perToken, device.memory.budget - device.memory.now];
  if (needed <= room) return;
  throw new OutOfMemoryError(
    `the cache of ${capacity} tokens alone takes ${printBytes(needed)}, and ${device.facts.name} has ${printBytes(room)} free`,
    { op: 'session', advice: `open it with a context of at most ${Math.floor(room / (batch * perToken))} tokens` },
  );
}
