// Samples one after the other, from any sample on: what a data set is for the loop. A user's generator is one, too.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { LlavaFile, LlavaSample } from './llava-file.ts';
import { sampleOrder } from './sample-order.ts';

/** Endless, or as long as the user's generator. */
export type SampleStream = AsyncIterable<LlavaSample>;

export interface StreamOptions {
  readonly seed: number;
  /** Samples that were taken already. */
  readonly skip: number;
  /** Groups by length in batches of this many. */
  readonly groupedBy?: number | undefined;
}

/** The samples of a file, epoch after epoch, each shuffled anew. */
export async function* fileSamples(
  file: LlavaFile,
  { seed, skip, groupedBy }: StreamOptions,
): AsyncGenerator<LlavaSample> {
  if (file.count === 0)
    throw new OpabiniaError(`${file.path} has no samples`, { op: 'data', advice: 'give a file with at least one' });
  const lengths =
    groupedBy === undefined ? undefined : Array.from({ length: file.count }, (_, i) => file.sample(i).length);
  for (let epoch = Math.floor(skip / file.count); ; epoch++) {
    const order = sampleOrder({
      count: file.count,
      seed,
      epoch,
      grouped: groupedBy === undefined || lengths === undefined ? undefined : { batch: groupedBy, lengths },
    });
    const from = Math.max(0, skip - epoch * file.count);
    for (const index of order.slice(from)) yield file.sample(index);
  }
}

/** A user's samples without the first ones. */
export async function* skipped(samples: AsyncIterable<LlavaSample>, skip: number): AsyncGenerator<LlavaSample> {
  let at = 0;
  for await (const sample of samples) if (at++ >= skip) yield sample;
}
