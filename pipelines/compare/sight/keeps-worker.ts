// What connectors keep, on a thread of its own: it takes as long as their costs.
import { parentPort, workerData } from 'node:worker_threads';
import { isConnector } from '../../../models/connectors/connector.ts';
import { keepsOf, sightOf } from './sight.ts';

interface Wanted {
  readonly url: string;
  readonly name: string;
}

for (const { url, name } of workerData as readonly Wanted[]) {
  const exports = (await import(url)) as Readonly<Record<string, unknown>>;
  const found = Object.values(exports).find((value) => isConnector(value) && value.name === name);
  const sight = isConnector(found) ? sightOf(found) : undefined;
  parentPort?.postMessage({ name, keeps: sight === undefined ? undefined : keepsOf(sight) });
}
