// A golden file with another config: what a mistake in it, or a field that nothing reads, makes of the outputs.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

export type Config = Record<string, unknown>;

/** The file at `path` with another config, as a file of its own in `scratch`. */
export function changedGolden(path: string, scratch: string, change: (config: Config) => Config): string {
  const source = openCheckpoint(path);
  try {
    const changed = join(scratch, `${randomUUID()}.safetensors`);
    const tensors = [...source.stored.values()].map(({ name: tensor, dtype, shape }) => ({
      name: tensor,
      dtype,
      shape,
      values: Array.from(source.tensor(tensor), Number),
    }));
    const config = change(JSON.parse(source.metadata.get('config') ?? '{}') as Config);
    writeSafetensors(changed, tensors, { ...Object.fromEntries(source.metadata), config: JSON.stringify(config) });
    return changed;
  } finally {
    source.close();
  }
}
