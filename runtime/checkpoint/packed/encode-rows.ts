import { OpabiniaError } from '../../../dsl/error.ts';
import { encodeBlocks, type StorageFormat } from '../../../dsl/storage/format.ts';

/**
 * Blocks of whole rows of the tensor `path`. Throws `OpabiniaError` for weights that are not finite, and for ones so large that the scale of a
 * block is not.
 */
export function encodeRows(format: StorageFormat, values: Float32Array, path: string): Uint8Array<ArrayBuffer> {
  if (!values.every(Number.isFinite))
    throw new OpabiniaError('has weights that are not finite, which cannot be quantized', {
      op: 'quantize',
      path,
      advice: 'keep it by --keep, or repair the checkpoint',
    });
  const blocks = encodeBlocks(format, values);
  const view = new DataView(blocks.buffer);
  const { planes } = format;
  const groups = format.block / planes.group;
  for (let at = 0; at < blocks.byteLength; at += format.bytes)
    for (let g = 0; g < groups; g++)
      if (!Number.isFinite(planes.scale(view, at, g)) || !Number.isFinite(planes.offset?.of(view, at, g) ?? 0))
        throw new OpabiniaError(
          `has weights as large as ${largest(values).toPrecision(3)}, whose scale is infinite in ${format.name}`,
          { op: 'quantize', path, advice: 'keep it by --keep, or leave the weights as they are' },
        );
  return blocks;
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
