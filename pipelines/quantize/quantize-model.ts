// A model directory with its matrices quantized in MLX's layout, streamed: no tensor is in memory as a whole.
import { constants, copyFileSync, cpSync, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { affine } from '../../dsl/storage/affine.ts';
import { storedBytesOf, type StorageFormat } from '../../dsl/storage/format.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel } from '../../runtime/checkpoint/hub.ts';
import { encodeRows } from '../../runtime/checkpoint/packed/encode-rows.ts';
import { packedConfig } from '../../runtime/checkpoint/packed/packed-config.ts';
import { checkGlobs, quantizedPaths, type QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { storedBytes, type StoredDType, type StoredTensor } from '../../runtime/checkpoint/safetensors.ts';
import { storedPieces, streamSafetensors, type TensorToStream } from '../../runtime/checkpoint/safetensors-stream.ts';
import { isBesideWeights } from '../model-files.ts';
import { breathe } from '../../runtime/files/breathe.ts';
import { newFolder } from '../../runtime/files/new-folder.ts';
import { writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { checkFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface QuantizeCommand extends QuantizeOptions {
  readonly out: string;
  /** Elements that share a scale. */
  readonly group: number;
  /** Stops it between two pieces of a tensor; nothing of it stays. */
  readonly signal?: AbortSignal | undefined;
}

export interface Quantized {
  readonly matrices: number;
  readonly tensors: number;
  readonly bytes: number;
  /** Towers in directories of their own, copied as they are. */
  readonly towers: number;
}

/**
 * Writes the directory `out`, whole or not at all. Throws `OpabiniaError` for a directory that is there already, a checkpoint that is
 * quantized already, a group that 8 does not divide, a glob that nothing is named like, and where nothing would be quantized; the reason of
 * the signal once it is aborted.
 */
export async function quantizeModel(model: string, command: QuantizeCommand): Promise<Quantized> {
  if (/\.gguf$/i.test(model))
    throw new OpabiniaError(`${model} is a GGUF file, and a model directory is quantized`, {
      op: 'quantize',
      advice: 'take the checkpoint that it was made from; what the file has as floats, --weights of run quantizes',
    });
  checkFolder(command.out, 'quantize');
  const directory = resolveModel(model);
  const files = modelFiles(directory);
  const configPath = needFile(files.config, 'config.json', files);
  const config = { ...(readJsonFile(configPath) as Readonly<Record<string, unknown>>) };
  const already = packedConfig(config, configPath);
  if (already !== undefined)
    throw new OpabiniaError(`${configPath} is quantized already, by ${already.method}`, {
      op: 'quantize',
      advice: 'take the checkpoint that it was made from',
    });
  if (existsSync(command.out) && readdirSync(command.out).length > 0)
    throw new OpabiniaError(`${command.out} is there already`, { op: 'quantize', advice: 'give a new folder' });
  checkGroup(command);
  const checkpoint = openCheckpoint(needFile(files.weights, 'model.safetensors', files));
  try {
    const isWanted = quantizedPaths(command);
    const packs = (name: string, shape: readonly number[]): boolean =>
      name.endsWith('.weight') && (shape[1] ?? 0) % command.group === 0 && isWanted(name, shape);
    const tensors = [...checkpoint.stored.values()].flatMap((tensor) =>
      packs(tensor.name, tensor.shape)
        ? packed(checkpoint, tensor, formatOf(command, tensor.dtype))
        : [storedPieces(checkpoint, tensor.name)],
    );
    checkGlobs(command, [...checkpoint.stored.keys()]);
    const all = [...checkpoint.stored.values()];
    const matrices = all.filter(({ name, shape }) => packs(name, shape)).length;
    if (matrices === 0)
      throw new OpabiniaError(`no tensor of the ${all.length} of ${directory} would be quantized`, {
        op: 'quantize',
        advice: `matrices of 4096 elements or more are, in rows that groups of ${command.group} divide: give another --group, or other globs`,
      });
    const towers = towersOf(directory, command.out);
    const quantization = { group_size: command.group, bits: command.format === 'q4' ? 4 : 8, mode: 'affine' };
    await newFolder(command.out, 'quantize', async (beside) => {
      const path = join(beside, 'model.safetensors');
      await streamSafetensors(path, tensors, { format: 'mlx' }, { signal: command.signal });
      for (const file of readdirSync(directory))
        if (isBesideWeights(file)) copyFileSync(join(directory, file), join(beside, file));
      for (const tower of towers) {
        await breathe(command.signal);
        // Where the file system can, the copy shares its blocks with the original until one of them changes.
        const copying = { recursive: true, dereference: true, mode: constants.COPYFILE_FICLONE };
        cpSync(join(directory, 'towers', tower), join(beside, 'towers', tower), copying);
      }
      writeFileAtomic(
        join(beside, 'config.json'),
        JSON.stringify({ ...config, quantization, quantization_config: quantization }, null, 2),
      );
      await breathe(command.signal);
    });
    return {
      matrices,
      tensors: all.length,
      towers: towers.length,
      bytes: all.reduce(
        (sum, { name, shape, bytes, dtype }) =>
          sum + (packs(name, shape) ? (storedBytesOf(formatOf(command, dtype), shape) ?? 0) : bytes),
        0,
      ),
    };
  } finally {
    checkpoint.close();
  }
}

/** Directories of towers below the model's own, which are not among its weights. Throws `OpabiniaError` where the copy would lie in what is copied. */
function towersOf(directory: string, out: string): readonly string[] {
  const folder = join(directory, 'towers');
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  if (`${resolve(out)}${sep}`.startsWith(`${realpathSync(folder)}${sep}`))
    throw new OpabiniaError(`${out} lies in ${folder}, which is copied into it`, {
      op: 'quantize',
      advice: 'give a directory beside the model',
    });
  return readdirSync(folder).filter((name) => statSync(join(folder, name)).isDirectory());
}

/** Scales and biases have the dtype of the weights, as MLX's have: one that holds the weights holds them. */
function formatOf({ format, group }: QuantizeCommand, dtype: StoredDType): StorageFormat {
  const scale = dtype === 'F16' ? 'f16' : dtype === 'BF16' ? 'bf16' : 'f32';
  return affine({ bits: format === 'q4' ? 4 : 8, group, scale, offset: 'bias' });
}

function checkGroup({ group }: QuantizeCommand): void {
  if (Number.isInteger(group) && group > 0 && group % 8 === 0) return;
  throw new OpabiniaError(`a group of ${plural(group, 'element')} is not a multiple of 8`, {
    op: 'quantize',
    advice: '32, 64 and 128 are usual',
  });
}

const pieceBytes = 2 ** 23;

/** The three tensors of one matrix. Each walks it anew: what it costs is time, not memory. */
function packed(
  checkpoint: Checkpoint,
  { name, shape, dtype }: StoredTensor,
  format: StorageFormat,
): readonly TensorToStream[] {
  const [rows = 0, columns = 0] = shape;
  const module = name.slice(0, -'.weight'.length);
  const stored = dtype === 'F16' || dtype === 'BF16' ? dtype : 'F32';
  const width = storedBytes[stored];
  const head = 2 * width;
  const atOnce = Math.max(1, Math.floor(pieceBytes / (4 * columns)));
  /** Bytes `from … to − 1` of every block. */
  function* cut(from: number, to: number): Iterable<Uint8Array> {
    for (let row = 0; row < rows; row += atOnce) {
      const count = Math.min(atOnce, rows - row);
      const blocks = encodeRows(format, checkpoint.part(name, shape, row * columns, count * columns), name);
      const each = to - from;
      const piece = new Uint8Array((blocks.byteLength / format.bytes) * each);
      for (let b = 0; b * format.bytes < blocks.byteLength; b++)
        piece.set(blocks.subarray(b * format.bytes + from, b * format.bytes + to), b * each);
      yield piece;
    }
  }
  const groups = columns / format.block;
  return [
    {
      name,
      dtype: 'U32',
      shape: [rows, (groups * (format.bytes - head)) / 4],
      pieces: () => cut(head, format.bytes),
    },
    { name: `${module}.scales`, dtype: stored, shape: [rows, groups], pieces: () => cut(0, width) },
    { name: `${module}.biases`, dtype: stored, shape: [rows, groups], pieces: () => cut(width, head) },
  ];
}
