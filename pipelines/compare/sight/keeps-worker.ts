// What connectors keep, on a thread of its own: it takes as long as their costs.
import { parentPort, workerData } from 'node:worker_threads';
import { OpabiniaError } from '../../../dsl/error.ts';
import { isConnector, type AnyConnector } from '../../../models/connectors/connector.ts';
import { keepsOf, sightOf, type Keeps } from './sight.ts';

interface Wanted {
  readonly url: string;
  readonly name: string;
}

for (const { url, name } of workerData as readonly Wanted[]) {
  const exports = (await import(url)) as Readonly<Record<string, unknown>>;
  const found = Object.values(exports).find((value) => isConnector(value) && value.name === name);
  parentPort?.postMessage({ name, keeps: isConnector(found) ? kept(found) : undefined });
}

function kept(connector: AnyConnector): Keeps | undefined {
  try {
    const sight = sightOf(connector);
    return sight === undefined ? undefined : keepsOf(sight);
  } catch (error) {
    // What is wrong with it is told where it is compared.
    if (error instanceof OpabiniaError) return undefined;
    throw error;
  }
}
