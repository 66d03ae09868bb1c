// Long work on one thread, between two of its pieces: signals get through, and whoever gave one may stop it.
import { setImmediate as turn } from 'node:timers/promises';

/** One turn of the event loop, where there is a signal to be heard. Throws its reason once it is aborted. */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return;
  await turn();
  signal.throwIfAborted();
}
