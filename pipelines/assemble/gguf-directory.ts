// A language model in GGUF as a directory of Hugging Face, number for number: blocks become MLX's codes, scales and biases, which hold the
// same values, so that whatever reads directories takes it, still packed.
import { join } from 'node:path';
import type { StorageFormat } from '../../dsl/storage/format.ts';
import type { Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { streamSafetensors, type TensorToStream } from '../../runtime/checkpoint/safetensors-stream.ts';
import { writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { ggufTokenizer } from '../../runtime/gguf/gguf-tokenizer.ts';
import { openGgufLanguage, type OpenedGguf } from '../../runtime/gguf/open-language.ts';
import type { BlockRows } from '../../runtime/checkpoint/packed/block-rows.ts';

/** Into an empty directory. Throws `OpabiniaError`, and the reason of the signal. */
export async function writeGgufDirectory(path: string, directory: string, signal?: AbortSignal): Promise<void> {
  const opened = await openGgufLanguage(path);
  try {
    const { json, config, chatTemplate } = ggufTokenizer(opened.file);
    const packings: Record<string, unknown> = {};
    const tensors = [...opened.checkpoint.stored.keys()].flatMap((name) => {
      const blocks = name.endsWith('.weight') ? opened.checkpoint.blocks?.(name) : undefined;
      if (blocks === undefined) return [plain(opened, name)];
      const packing = packingOf(blocks.format);
      packings[name.slice(0, -'.weight'.length)] = { group_size: packing.group, bits: packing.bits };
      return packed(opened.checkpoint, name, blocks);
    });
    await streamSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'mlx' }, { signal });
    const quantization = { group_size: 32, bits: 8, mode: 'affine', ...packings };
    const whole =
      Object.keys(packings).length === 0
        ? opened.config
        : { ...opened.config, quantization, quantization_config: quantization };
    const write = (name: string, value: unknown): void =>
      writeFileAtomic(join(directory, name), `${JSON.stringify(value)}\n`);
    write('config.json', whole);
    write('tokenizer.json', json);
    write('tokenizer_config.json', chatTemplate === undefined ? config : { ...config, chat_template: chatTemplate });
  } finally {
    opened.checkpoint.close();
  }
}

interface Packing {
  readonly bits: 4 | 8;
  readonly group: number;
}

/** MLX has codes of 4 and of 8 bits. */
function packingOf({ planes: { bits, high, group } }: StorageFormat): Packing {
  return { bits: bits + (high ?? 0) <= 4 ? 4 : 8, group };
}

/** Elements at once. */
const pieceElements = 2 ** 20;

function* ranges(count: number, atOnce: number): Iterable<readonly [first: number, count: number]> {
  for (let first = 0; first < count; first += atOnce) yield [first, Math.min(atOnce, count - first)];
}

/** Values as f32, or as they are stored where they lie in order. Gemma's norms stand in directories less 1. */
function plain({ checkpoint, wholeNorms }: OpenedGguf, name: string): TensorToStream {
  const stored = checkpoint.stored.get(name);
  const shape = stored?.shape ?? [];
  const count = shape.reduce((all, size) => all * size, 1);
  const less = wholeNorms && /norm\.weight$/.test(name) ? 1 : 0;
  const dtype = checkpoint.storedAs?.(name);
  const isKept =
    less === 0 &&
    (dtype === 'f16' || dtype === 'bf16') &&
    checkpoint.storedPart(name, shape, dtype, 0, 0) !== undefined;
  return {
    name,
    shape,
    dtype: isKept ? (dtype === 'f16' ? 'F16' : 'BF16') : 'F32',
    *pieces() {
      for (const [first, length] of ranges(count, pieceElements)) {
        if (isKept) {
          const bytes = checkpoint.storedPart(name, shape, dtype, first, length);
          if (bytes !== undefined) yield bytes;
          continue;
        }
        const values = checkpoint.part(name, shape, first, length);
        yield bytesOf(less === 0 ? values : values.map((value) => value - less));
      }
    },
  };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** The three tensors of one matrix: w = code·scale + bias, which is exact but for the one rounding that the block has too. */
function packed(checkpoint: Checkpoint, name: string, { format, read }: BlockRows): readonly TensorToStream[] {
  const [rows = 0, columns = 0] = checkpoint.stored.get(name)?.shape ?? [];
  const { planes, block, bytes: size } = format;
  const { bits, group } = packingOf(format);
  const perRow = columns / block;
  const atOnce = Math.max(1, Math.floor(pieceElements / columns));
  /** What `make` gives of every block of some rows, one after the other. */
  function* walk(make: (blocks: DataView, at: number) => Float32Array | Uint32Array): Iterable<Uint8Array> {
    for (const [first, count] of ranges(rows, atOnce)) {
      const bytes = read(first, count);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const pieces = Array.from({ length: count * perRow }, (_, b) => bytesOf(make(view, b * size)));
      yield Buffer.concat(pieces);
    }
  }
  const each = 32 / bits;
  const groups = block / group;
  const perGroup = (of: (view: DataView, at: number, g: number) => number) => () =>
    walk((view, at) => Float32Array.from({ length: groups }, (_, g) => of(view, at, g)));
  const module = name.slice(0, -'.weight'.length);
  return [
    {
      name,
      dtype: 'U32',
      shape: [rows, columns / each],
      pieces: () =>
        walk((view, at) =>
          Uint32Array.from({ length: block / each }, (_, w) => {
            let word = 0;
            for (let i = 0; i < each; i++) word |= planes.code(view, at, w * each + i) << (bits * i);
            return word >>> 0;
          }),
        ),
    },
    {
      name: `${module}.scales`,
      dtype: 'F32',
      shape: [rows, columns / group],
      pieces: perGroup((view, at, g) => planes.scale(view, at, g)),
    },
    {
      name: `${module}.biases`,
      dtype: 'F32',
      shape: [rows, columns / group],
      pieces: perGroup(
        (view, at, g) =>
          planes.offset?.of(view, at, g) ?? (planes.zero === 0 ? 0 : -planes.zero * planes.scale(view, at, g)),
      ),
    },
  ];
}
