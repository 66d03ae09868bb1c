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
  wordMatrix,
  words,
  type PackedLayout,
} from './packed-tensor.ts';

/**
 * MLX: `weight` u32 [N, K·bits/32], `scales` and `biases` [N, K/g]; w = q·s + b. Source: mlx/backend/cpu/quantized.cpp. transformers' Metal
 * quantizer has `qbiases` in the place of `biases`.
 */
export const mlx: PackedLayout = (module, packing) => {
  const weight = module.find('weight');
  if (weight?.dtype !== 'U32' || module.find('scales') === undefined) return undefined;
  const bits = wholeBits(module, packing.bits);
  const [rows, wide] = wordMatrix(module, 'weight', 'U32');
  const columns = (wide * 32) / bits;
  const group = groupOf(module, packing.group, rows, columns);
  const scale = scaleDType(module, 'scales');
  const bias = module.find('qbiases') === undefined ? 'biases' : 'qbiases';
  const groups = columns / group;
  expectShape(module, 'scales', [rows, groups]);
  expectShape(module, bias, [rows, groups]);
  if (scaleDType(module, bias) !== scale) throw refusePacked(module, 'has scales and biases of two dtypes');
  const form = { bits, group, scale, offset: 'bias' } as const;
  return {
    shape: [rows, columns],
    format: affine(form),
    blocks() {
      const packed = words(module.bytes('weight'));
      const [scales, biases] = [scalesOf(module, 'scales'), scalesOf(module, bias)];
      return affineBlocks(form, rows, columns, {
        code: (row, column) => codeIn(packed, bits, row * columns + column),
        scale: (row, g) => scales(row * groups + g),
        offset: (row, g) => biases(row * groups + g),
      });
    },
  };
};
