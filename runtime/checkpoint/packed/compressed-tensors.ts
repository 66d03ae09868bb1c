import { affine } from '../../../dsl/storage/affine.ts';
import {
  affineBlocks,
  codeIn,
  expectDType,
  expectShape,
  expectWords,
  groupOf,
  refusePacked,
  scaleDType,
  scalesOf,
  sortedColumns,
  wholeBits,
  wordMatrix,
  words,
  type ModuleTensors,
  type PackedLayout,
} from './packed-tensor.ts';

/** −1 as a word. */
const unset = 0xffff_ffff;

/**
 * compressed-tensors, `pack-quantized`: `weight_packed` i32 [N, K·bits/32] of codes moved up by half their range, `weight_scale` [N, K/g],
 * `weight_zero_point` packed along N where it is not symmetric, `weight_shape` [N, K], with actorder 'group' `weight_g_idx` i32 [K] the
 * group of each column; w = (q − z)·s.
 */
export const compressedTensors: PackedLayout = (module, packing) => {
  if (module.find('weight_packed') === undefined) return undefined;
  const bits = wholeBits(module, packing.bits);
  const [rows, wide] = wordMatrix(module, 'weight_packed');
  const each = 32 / bits;
  const stated = statedShape(module);
  const columns = stated?.[1] ?? wide * each;
  if (Math.ceil(columns / each) !== wide || (stated !== undefined && stated[0] !== rows))
    throw refusePacked(module, `is ${rows}×${wide} words, and weight_shape says ${stated?.join('×') ?? 'nothing'}`);
  const group = groupOf(module, packing.group, rows, columns);
  const groups = columns / group;
  const scale = scaleDType(module, 'weight_scale');
  expectShape(module, 'weight_scale', [rows, groups]);
  const hasZeros = packing.symmetric === false || module.find('weight_zero_point') !== undefined;
  if (hasZeros) expectWords(module, 'weight_zero_point', [Math.ceil(rows / each), groups]);
  const order = orderOf(module, columns, group);
  const form = { bits, group, scale, offset: 'zero' } as const;
  const middle = 2 ** (bits - 1);
  return {
    shape: [rows, columns],
    format: affine(form),
    order,
    blocks() {
      const packed = words(module.bytes('weight_packed'));
      const scales = scalesOf(module, 'weight_scale');
      const zeros = hasZeros ? words(module.bytes('weight_zero_point')) : undefined;
      return affineBlocks(form, rows, columns, {
        code: (row, place) => codeIn(packed.subarray(row * wide, (row + 1) * wide), bits, order?.[place] ?? place),
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

/** `weight_shape`, where there is one. Throws `OpabiniaError` for what is not two whole numbers. */
function statedShape(module: ModuleTensors): readonly number[] | undefined {
  const stored = module.find('weight_shape');
  if (stored === undefined) return undefined;
  expectDType(module, 'weight_shape', 'I64', 'I32');
  expectShape(module, 'weight_shape', [2]);
  const bytes = module.bytes('weight_shape');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return stored.dtype === 'I64'
    ? [Number(view.getBigInt64(0, true)), Number(view.getBigInt64(8, true))]
    : [view.getInt32(0, true), view.getInt32(4, true)];
}

/** By `weight_g_idx`, which is −1 throughout where columns were never sorted. */
function orderOf(module: ModuleTensors, columns: number, group: number): Int32Array | undefined {
  const name = 'weight_g_idx';
  if (module.find(name) === undefined) return undefined;
  expectWords(module, name, [columns]);
  return words(module.bytes(name)).includes(unset) ? undefined : sortedColumns(module, name, columns, group);
}
