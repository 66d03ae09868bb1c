// A checkpoint whose packed modules are read like any other weight: `a.qweight`, `a.scales`, … are `a.weight`.
import { OpabiniaError } from '../../../dsl/error.ts';
import { decodeBlocks } from '../../../dsl/storage/format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import type { StoredTensor } from '../safetensors.ts';
import type { PackedConfig } from './packed-config.ts';
import type { ModuleTensors, PackedTensor } from './packed-tensor.ts';

/** Below a module, the names that packed weights are made of. */
const partNames = [
  'weight',
  'scales',
  'biases',
  'qbiases',
  'weight_packed',
  'weight_scale',
  'weight_zero_point',
  'weight_shape',
  'weight_g_idx',
  'qweight',
  'qzeros',
  'g_idx',
] as const;

/**
 * `checkpoint` with one weight in the place of each packed module's tensors. Shapes are checked here, all of them; codes are read when
 * a weight is. Throws `OpabiniaError` for packed tensors that do not fit together.
 */
export function packedCheckpoint(checkpoint: Checkpoint, config: PackedConfig): Checkpoint {
  const packed = new Map<string, PackedTensor>();
  const stored = new Map(checkpoint.stored);
  for (const path of modulesOf(checkpoint.stored.keys())) {
    const packing = config.packing(path);
    const found = config.layout(moduleAt(checkpoint, path), packing);
    if (found === undefined) continue;
    const parts = partNames.map((part) => `${path}.${part}`);
    const bytes = parts.reduce((sum, part) => sum + (checkpoint.stored.get(part)?.bytes ?? 0), 0);
    for (const part of parts) stored.delete(part);
    const name = `${path}.weight`;
    packed.set(name, found);
    const [rows, columns] = found.shape;
    stored.set(name, {
      name,
      dtype: 'F32',
      shape: found.shape,
      start: 0,
      bytes: rows * columns * 4,
      packed: { as: `${config.method} ${packing.bits}-bit`, bytes },
    });
  }
  if (packed.size === 0) return checkpoint;
  let last: { readonly name: string; readonly values: Float32Array } | undefined;
  const valuesOf = (name: string, tensor: PackedTensor): Float32Array => {
    // A tensor is asked for in parts, one after the other.
    if (last?.name !== name) last = { name, values: unpack(tensor) };
    return last.values;
  };
  let lastBlocks: { readonly name: string; readonly bytes: Uint8Array } | undefined;
  const blocksOf = (name: string, tensor: PackedTensor): Uint8Array => {
    if (lastBlocks?.name !== name) lastBlocks = { name, bytes: tensor.blocks() };
    return lastBlocks.bytes;
  };
  const check = (name: string, tensor: PackedTensor, shape: readonly number[]): void => {
    if (tensor.shape.join() !== shape.join())
      throw new OpabiniaError(`'${name}' is ${tensor.shape.join('×')}, and ${shape.join('×')} was asked for`, {
        op: 'checkpoint',
        path: name,
        advice: 'the checkpoint and the config may belong to different models',
      });
  };
  return {
    ...checkpoint,
    stored,
    places: new Map([...stored.keys()].map((name) => [name, checkpoint.places.get(name) ?? checkpoint.files[0] ?? ''])),
    names: () => stored.keys(),
    shape: (name) => stored.get(name)?.shape,
    storedAs: (name) => (packed.has(name) ? undefined : checkpoint.storedAs?.(name)),
    blocks(name) {
      const tensor = packed.get(name);
      if (tensor === undefined) return undefined;
      const { format, order, shape } = tensor;
      const wide = (shape[1] / format.block) * format.bytes;
      return {
        format,
        order,
        read: (first, count) => blocksOf(name, tensor).subarray(first * wide, (first + count) * wide),
      };
    },
    read(name, shape) {
      const tensor = packed.get(name);
      if (tensor === undefined) return checkpoint.read(name, shape);
      check(name, tensor, shape);
      return valuesOf(name, tensor).slice();
    },
    part(name, shape, start, count) {
      const tensor = packed.get(name);
      if (tensor === undefined) return checkpoint.part(name, shape, start, count);
      check(name, tensor, shape);
      return valuesOf(name, tensor).slice(start, start + count);
    },
    storedPart: (name, shape, dtype, start, count) =>
      packed.has(name) ? undefined : checkpoint.storedPart(name, shape, dtype, start, count),
    tensor(name) {
      const tensor = packed.get(name);
      return tensor === undefined ? checkpoint.tensor(name) : valuesOf(name, tensor).slice();
    },
    readInto(name, target, offset = 0) {
      const tensor = packed.get(name);
      if (tensor === undefined) return checkpoint.readInto(name, target, offset);
      const { buffer, byteOffset } = valuesOf(name, tensor);
      target.set(new Uint8Array(buffer, byteOffset + offset, target.byteLength));
    },
  };
}

function modulesOf(names: Iterable<string>): ReadonlySet<string> {
  const modules = new Set<string>();
  for (const name of names) {
    const dot = name.lastIndexOf('.');
    if (dot > 0 && (partNames as readonly string[]).includes(name.slice(dot + 1))) modules.add(name.slice(0, dot));
  }
  return modules;
}

function moduleAt(checkpoint: Checkpoint, path: string): ModuleTensors {
  const find = (name: string): StoredTensor | undefined => checkpoint.stored.get(`${path}.${name}`);
  const file = partNames.flatMap((part) => checkpoint.places.get(`${path}.${part}`) ?? [])[0];
  return {
    path,
    file: file ?? checkpoint.files[0] ?? '',
    find,
    bytes(name) {
      const bytes = new Uint8Array(find(name)?.bytes ?? 0);
      checkpoint.readInto(`${path}.${name}`, bytes);
      return bytes;
    },
  };
}

/** Row-major numbers, each column where it belongs. */
function unpack({ format, order, shape: [, columns], blocks }: PackedTensor): Float32Array {
  const values = decodeBlocks(format, blocks());
  if (order === undefined) return values;
  const sorted = new Float32Array(values.length);
  for (let row = 0; row < values.length; row += columns)
    for (let place = 0; place < columns; place++) sorted[row + (order[place] ?? 0)] = values[row + place] ?? 0;
  return sorted;
}
