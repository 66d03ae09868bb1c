// A model directory changed on disk: what tests of strangers' directories do to a good one.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors, type TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';

/** One JSON file with its fields changed. */
export function editJson(directory: string, name: string, change: (json: Record<string, unknown>) => void): void {
  const json = readJsonFile(join(directory, name)) as Record<string, unknown>;
  change(json);
  writeFileSync(join(directory, name), JSON.stringify(json));
}

/** All f32 tensors of one file. */
export function readTensors(path: string): TensorToStore[] {
  const file = openSafetensors(path);
  const tensors = [...file.tensors.values()].map((tensor): TensorToStore => {
    const bytes = new Uint8Array(tensor.bytes);
    file.readInto(tensor.name, bytes);
    return { name: tensor.name, dtype: 'F32', shape: tensor.shape, values: new Float32Array(bytes.buffer) };
  });
  file.close();
  return tensors;
}

/** One safetensors file with its tensors changed. */
export function editTensors(path: string, change: (tensors: TensorToStore[]) => TensorToStore[]): void {
  writeSafetensors(path, change(readTensors(path)));
}

/** The weights of a directory in one file, with tensors changed. */
export function rewriteWeights(directory: string, change: (tensors: TensorToStore[]) => TensorToStore[]): void {
  const shards = readdirSync(directory).filter((name) => name.endsWith('.safetensors'));
  const tensors = shards.flatMap((shard) => readTensors(join(directory, shard)));
  for (const name of [...shards, 'model.safetensors.index.json']) rmSync(join(directory, name), { force: true });
  writeSafetensors(join(directory, 'model.safetensors'), change(tensors));
}
