import { affine } from '../../../dsl/storage/affine.ts';
import {
  affineBlocks,
  expectShape,
  expectWords,
  groupOf,
  scaleDType,
  scalesOf,
  sortedColumns,
  wholeBits,
  wordMatrix,
  words,
  type PackedLayout,
} from './packed-tensor.ts';

/**
 * GPTQ: `qweight` i32 [K·bits/32, N] packed along K, `qzeros` [G, N·bits/32] along N, `scales` [G, N], `g_idx` i32 [K] the group of each
 * column; w = (q − z)·s. With act-order the groups are not runs of columns: the blocks hold the columns sorted by group.
 */
export const gptq: PackedLayout = (module, packing) => {
  if (module.find('qweight') === undefined) return undefined;
  const bits = wholeBits(module, packing.bits);
  const each = 32 / bits;
  const [high, rows] = wordMatrix(module, 'qweight');
  const columns = high * each;
  const group = groupOf(module, packing.group, rows, columns);
  const groups = columns / group;
  const scale = scaleDType(module, 'scales');
  expectShape(module, 'scales', [groups, rows]);
  expectWords(module, 'qzeros', [groups, Math.ceil(rows / each)]);
  const order = module.find('g_idx') === undefined ? undefined : sortedColumns(module, 'g_idx', columns, group);
  const form = { bits, group, scale, offset: 'zero' } as const;
  const top = 2 ** bits - 1;
  return {
    shape: [rows, columns],
    format: affine(form),
    order,
    blocks() {
      const [packed, zeros] = [words(module.bytes('qweight')), words(module.bytes('qzeros'))];
      const scales = scalesOf(module, 'scales');
      const wide = Math.ceil(rows / each);
      return affineBlocks(form, rows, columns, {
        code: (row, place) => {
          const column = order?.[place] ?? place;
          return ((packed[Math.floor(column / each) * rows + row] ?? 0) >>> (bits * (column % each))) & top;
        },
        scale: (row, g) => scales(g * rows + row),
        // One more than is stored, and not masked: a stored 15 of 4 bits means 16.
        offset: (row, g) =>
          (((zeros[g * wide + Math.floor(row / each)] ?? 0) >>> (bits * (row % each))) & top) + packing.zeroOffset,
      });
    },
  };
};
