// How the weights of a model are stored, and how they are wanted.
import type { ModelConfig } from '../../../models/configs/read.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import type { ModelFiles } from '../../../runtime/checkpoint/hub.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { storedSource } from '../../../runtime/checkpoint/packed/plane-source.ts';
import { quantizedSource } from '../../../runtime/checkpoint/packed/quantized-source.ts';
import { packedCheckpoint } from '../../../runtime/checkpoint/packed/packed-checkpoint.ts';
import { packedConfig } from '../../../runtime/checkpoint/packed/packed-config.ts';
import type { OpenModelOptions } from '../opened-model.ts';

/** Throws `OpabiniaError` where weights that are quantized already would be quantized. */
export function refuseTwice(config: ModelConfig, path: string, { weights }: OpenModelOptions): void {
  const packed = packedConfig(config.json, path);
  if (typeof weights === 'object' && packed !== undefined)
    throw new OpabiniaError(`${path} is quantized already, by ${packed.method}`, {
      op: 'openModel',
      advice: 'leave out --weights, or take the checkpoint that it was made from',
    });
}

/** The weights of a directory, packed modules as one weight each. Throws `OpabiniaError` for those that do not fit together. */
export function unpackedModules(checkpoint: Checkpoint, config: ModelConfig | undefined, path: string): Checkpoint {
  const packed = config === undefined ? undefined : packedConfig(config.json, path);
  return packed === undefined ? checkpoint : packedCheckpoint(checkpoint, packed);
}

/** Whether the file of the weights does not hold them as they are read. */
export function isPacked(files: ModelFiles, config: ModelConfig): boolean {
  return files.stated !== undefined || packedConfig(config.json, files.config ?? '') !== undefined;
}

/** Matrices as the options want them: as they are stored, quantized, or floats. */
export function storedAs(plain: Source, weights: OpenModelOptions['weights']): Source {
  if (weights === 'floats') return plain;
  return weights === undefined ? storedSource(plain) : quantizedSource(plain, weights);
}
