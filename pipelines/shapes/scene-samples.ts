// Scenes as the samples of the trainer's loop: a number each, the picture is drawn when a batch is made.
import { OpabiniaError } from '../../dsl/error.ts';
import type { LlavaSample } from '../train/data/llava-file.ts';

const prefix = 'scene:';

/** Scene after scene from a seed on. */
export async function* sceneSamples(from: number): AsyncGenerator<LlavaSample> {
  for (let seed = from; ; seed++) yield { image: `${prefix}${seed}`, turns: [], length: 1 };
}

/** Seed of the scene that a sample stands for. */
export function sceneOf({ image }: LlavaSample): number {
  if (image?.startsWith(prefix) !== true)
    throw new OpabiniaError(`the sample's picture '${image ?? ''}' is not a scene`, { op: 'shapes' });
  return Number(image.slice(prefix.length));
}
