// A tiny tower of the golden files as a directory of its own: its weights, its config, and how its pictures are made.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

/** The path of the directory. `name` is that of a file of golden/models. */
export function goldenTower(directory: string, name: string): string {
  const file = new GoldenFile(join(import.meta.dirname, '../golden/models', `${name}.safetensors`));
  try {
    mkdirSync(directory);
    const tensors = [...file.checkpoint.stored.values()].filter((tensor) => !/^(?:input|output)\./.test(tensor.name));
    writeSafetensors(
      join(directory, 'model.safetensors'),
      tensors.map(({ name: tensor, shape, dtype }) => ({ name: tensor, shape, dtype, values: file.numbers(tensor) })),
      { format: 'pt' },
    );
    const config = JSON.parse(file.checkpoint.metadata.get('config') ?? '{}') as Readonly<Record<string, unknown>>;
    // open_clip's own config names no kind; its directories are told by the name of the architecture.
    const named = config['model_type'] ?? config['architecture'];
    writeFileSync(
      join(directory, 'config.json'),
      JSON.stringify(named === undefined ? { ...config, architecture: 'open_clip_vit' } : config),
    );
    const side = file.size('input.pixel_values', 2);
    writeFileSync(
      join(directory, 'preprocessor_config.json'),
      JSON.stringify({
        size: { height: side, width: side },
        do_center_crop: false,
        image_mean: [0.5, 0.5, 0.5],
        image_std: [0.25, 0.25, 0.25],
      }),
    );
    return directory;
  } finally {
    file.checkpoint.close();
  }
}
