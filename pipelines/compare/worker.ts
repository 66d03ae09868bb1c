// Compares one connector after the other on a thread of its own: each asked for by a message, each answered by one.
import { parentPort, workerData } from 'node:worker_threads';
import { OpabiniaError } from '../../dsl/error.ts';
import { isConnector } from '../../models/connectors/connector.ts';
import { compareOne, type CompareOptions, type Compared } from './compare-one.ts';

/** Which connector of which module. */
export interface Wanted {
  readonly url: string;
  readonly name: string;
}

/** A refusal crosses threads as its text. */
export type Answer = { readonly row: Compared } | { readonly refused: string } | { readonly fault: string };

parentPort?.on('message', (wanted: Wanted) => {
  void answer(wanted).then((given) => parentPort?.postMessage(given));
});

async function answer({ url, name }: Wanted): Promise<Answer> {
  try {
    const exports = (await import(url)) as Readonly<Record<string, unknown>>;
    const found = Object.values(exports).find((value) => isConnector(value) && value.name === name);
    if (!isConnector(found)) return { fault: `${url} exports no connector '${name}'` };
    return { row: compareOne(found, workerData as CompareOptions) };
  } catch (error) {
    if (error instanceof OpabiniaError) return { refused: error.message };
    return { fault: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
