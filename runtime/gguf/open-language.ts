// A language model in GGUF, one file or the parts of one: its config, its weights under the names of a Hugging Face checkpoint.
import { oneLine } from '../../dsl/text/one-line.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { ggufCheckpoint, readValues, type PlacedTensor } from './gguf-checkpoint.ts';
import { GgufError, type GgufFile } from './gguf-file.ts';
import { ggufLanguage, type GgufLanguage } from './gguf-language.ts';
import { openGgufParts } from './gguf-parts.ts';

export interface OpenedGguf extends GgufLanguage {
  readonly file: GgufFile;
  readonly placed: readonly PlacedTensor[];
  readonly checkpoint: Checkpoint;
}

/**
 * Throws `OpabiniaError` for a file that is damaged, or of an architecture or type that is not known; nothing stays open then.
 * @example const { config, checkpoint } = await openGgufLanguage('model.gguf')
 */
export async function openGgufLanguage(
  path: string,
  options: { readonly dtype?: 'f32' | 'f16' | undefined } = {},
): Promise<OpenedGguf> {
  const file = await openGgufParts(path);
  try {
    const language = ggufLanguage(file, (tensor) =>
      readValues(
        file,
        tensor,
        0,
        tensor.shape.reduce((product, size) => product * size, 1),
      ),
    );
    const placed = [...file.tensors.values()].flatMap((tensor): readonly PlacedTensor[] => {
      const name = language.nameOf(tensor.name);
      if (name === undefined) return [];
      const heads = language.pairedHeads(tensor.name);
      if (heads !== undefined && ((tensor.shape[0] ?? 0) % heads !== 0 || ((tensor.shape[0] ?? 0) / heads) % 2 !== 0))
        throw new GgufError(
          path,
          `has '${oneLine(tensor.name)}' of ${tensor.shape[0]} rows, which are not pairs of ${heads} heads`,
        );
      return [{ file, name, shape: tensor.shape, tensor, pairedHeads: heads }];
    });
    const checkpoint = ggufCheckpoint(placed, { path, dtype: options.dtype ?? 'f32', close: () => file.close() });
    return { ...language, file, placed, checkpoint };
  } catch (error) {
    file.close();
    throw error;
  }
}
