import { affine } from '../../../dsl/storage/affine.ts';
import {
  affineBlocks,
  codeIn,
  expectShape,
  groupOf,
  refusePacked,
  scaleDType,
  scalesOf,
  wholeBits,
  words,
  type PackedLayout,
} from './packed-tensor.ts';

/**
 * compressed-tensors, `pack-quantized`: `weight_packed` i32 [N, K·bits/32] of codes moved up by half their range, `weight_scale` [N, K/g],
 * `weight_zero_point` packed along N where it is not symmetric, `weight_shape` [N, K]; w = (q − z)·s.
 */
export const compressedTensors: PackedLayout = (module, packing) => {
  const weight = module.find('weight_packed');
  if (weight === undefined) return undefined;
  if (weight.dtype !== 'I32') throw refusePacked(module, `has 'weight_packed' as ${weight.dtype}, not as I32`);
  const bits = wholeBits(module, packing.bits);
  const [rows = 0, wide = 0] = weight.shape;
  const each = 32 / bits;
  const stated = module.find('weight_shape') === undefined ? undefined : statedShape(module.bytes('weight_shape'));
  const columns = stated?.[1] ?? wide * each;
  if (Math.ceil(columns / each) !== wide || (stated !== undefined && stated[0] !== rows))
    throw refusePacked(module, `is ${rows}×${wide} words, and weight_shape says ${stated?.join('×') ?? 'nothing'}`);
  const group = groupOf(module, packing.group, columns);
  const groups = columns / group;
  const scale = scaleDType(module, 'weight_scale');
  expectShape(module, 'weight_scale', [rows, groups]);
  const hasZeros = module.find('weight_zero_point') !== undefined;
  if (hasZeros) expectShape(module, 'weight_zero_point', [Math.ceil(rows / each), groups]);
  const form = { bits, group, scale, offset: 'zero' } as const;
  const middle = 2 ** (bits - 1);
  return {
    shape: [rows, columns],
    format: affine(form),
    blocks() {
      const packed = words(module.bytes('weight_packed'));
      const scales = scalesOf(module, 'weight_scale');
      const zeros = hasZeros ? words(module.bytes('weight_zero_point')) : undefined;
      return affineBlocks(form, rows, columns, {
        code: (row, column) => codeIn(packed.subarray(row * wide, (row + 1) * wide), bits, column),
        scale: (row, g) => scales(row * groups + g),
        // Both are stored moved up by `middle`: of a zero point that is there, what is left of the two is one of them.
        offset: (row, g) =>
          zeros === undefined
            ? middle
            : ((zeros[Math.floor(row / each) * groups + g] ?? 0) >>> (bits * (row % each))) & (2 ** bits - 1),
      });
    },
  };
};

function statedShape(bytes: Uint8Array): readonly number[] {
  return Array.from(
    new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
    Number,
  );
}
