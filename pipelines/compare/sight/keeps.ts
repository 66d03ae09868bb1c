// What each connector keeps of the picture's order, found beside the costs, on another thread.
import { Worker } from 'node:worker_threads';
import type { Listed } from '../registry.ts';
import type { Keeps } from './sight.ts';

/** By name; a connector that fits no small map has none. */
export async function keepsOfAll(listed: readonly Listed[]): Promise<ReadonlyMap<string, Keeps | undefined>> {
  const found = new Map<string, Keeps | undefined>();
  // Beside this file, with the ending that this file has: TypeScript in the sources, JavaScript in the built package.
  const script = new URL(`./keeps-worker${/\.[jt]s$/.exec(import.meta.url)?.[0] ?? '.ts'}`, import.meta.url);
  const worker = new Worker(script, {
    workerData: listed.map(({ connector, url }) => ({ url, name: connector.name })),
  });
  await new Promise<void>((resolve, reject) => {
    worker.on('message', ({ name, keeps }: { readonly name: string; readonly keeps: Keeps | undefined }) => {
      found.set(name, keeps);
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      resolve();
    });
  });
  return found;
}
