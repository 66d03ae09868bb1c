// Connectors side by side on the same encoders and the same language model, before anything runs: as many threads as there are cores.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { OpabiniaError } from '../../dsl/error.ts';
import { compareOne, type Compared, type CompareOptions } from './compare-one.ts';
import type { Listed } from './registry.ts';
import type { Answer, Wanted } from './worker.ts';

export interface Row extends Compared {
  readonly listed: Listed;
}

/** A connector that could not be compared, and why. */
export interface Refused {
  readonly listed: Listed;
  readonly reason: OpabiniaError;
}

export interface Comparison {
  readonly options: CompareOptions;
  readonly rows: readonly Row[];
  readonly refused: readonly Refused[];
}

/** Fewer are compared here: starting a thread takes as long. */
const fewest = 6;
const mostThreads = 8;
/** Megabytes for what is short-lived, several times the default: graphs and kernels die young, and collecting them took a tenth of the time. */
const youngGeneration = 192;

/** Compares what is listed. What does not fit the encoders, or has no variant near the budget, is told apart and does not stop the others. */
export async function compareConnectors(listed: readonly Listed[], options: CompareOptions): Promise<Comparison> {
  const threads = Math.min(availableParallelism(), mostThreads, Math.ceil(listed.length / fewest));
  const answers = threads > 1 ? await onThreads(listed, options, threads) : listed.map((one) => here(one, options));
  const rows: Row[] = [];
  const refused: Refused[] = [];
  for (const [i, answer] of answers.entries()) {
    const one = listed[i];
    if (one === undefined || answer === undefined) throw new TypeError('a connector was not compared');
    if ('fault' in answer) throw new Error(answer.fault);
    if ('row' in answer) rows.push({ ...answer.row, listed: one });
    else refused.push({ listed: one, reason: new OpabiniaError(answer.refused) });
  }
  return { options, rows, refused };
}

function here({ connector }: Listed, options: CompareOptions): Answer {
  try {
    return { row: compareOne(connector, options) };
  } catch (error) {
    if (error instanceof OpabiniaError) return { refused: error.message };
    throw error;
  }
}

async function onThreads(
  listed: readonly Listed[],
  options: CompareOptions,
  threads: number,
): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  // Beside this file, with the ending that this file has: TypeScript in the sources, JavaScript in the built package.
  const script = new URL(`./worker${/\.[jt]s$/.exec(import.meta.url)?.[0] ?? '.ts'}`, import.meta.url);
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(script, {
        workerData: options,
        resourceLimits: { maxYoungGenerationSizeMb: youngGeneration },
      });
      let at = -1;
      const ask = (): void => {
        const one = listed[(at = next++)];
        if (one === undefined) {
          void worker.terminate().then(() => {
            resolve();
          });
          return;
        }
        worker.postMessage({ url: one.url, name: one.connector.name } satisfies Wanted);
      };
      worker.on('message', (answer: Answer) => {
        answers[at] = answer;
        ask();
      });
      worker.on('error', reject);
      ask();
    });
  await Promise.all(Array.from({ length: threads }, work));
  return answers;
}
