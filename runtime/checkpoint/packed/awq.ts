import { affine } from '../../../dsl/storage/affine.ts';
import {
  affineBlocks,
  expectShape,
  expectWords,
  groupOf,
  refusePacked,
  scaleDType,
  scalesOf,
  wordMatrix,
  words,
  type PackedLayout,
} from './packed-tensor.ts';

/** Which nibble of a word holds column j of eight. */
const nibbleOf = [0, 4, 1, 5, 2, 6, 3, 7] as const;

/** AWQ, version gemm: `qweight` i32 [K, N/8] packed along N, `qzeros` i32 [K/g, N/8] in the same order, `scales` [K/g, N]; w = (q − z)·s. */
export const awq: PackedLayout = (module, packing) => {
  if (module.find('qweight') === undefined) return undefined;
  if (packing.bits !== 4) throw refusePacked(module, `has ${packing.bits} bits an element`, 'AWQ has 4');
  const [columns, wide] = wordMatrix(module, 'qweight');
  const rows = wide * 8;
  const group = groupOf(module, packing.group, rows, columns);
  const groups = columns / group;
  const scale = scaleDType(module, 'scales');
  expectShape(module, 'scales', [groups, rows]);
  expectWords(module, 'qzeros', [groups, wide]);
  const form = { bits: 4, group, scale, offset: 'zero' } as const;
  return {
    shape: [rows, columns],
    format: affine(form),
    blocks() {
      const [packed, zeros] = [words(module.bytes('qweight')), words(module.bytes('qzeros'))];
      const scales = scalesOf(module, 'scales');
      const at = (all: Uint32Array, line: number, row: number): number =>
        ((all[line * wide + (row >> 3)] ?? 0) >>> (4 * (nibbleOf[row & 7] ?? 0))) & 15;
      return affineBlocks(form, rows, columns, {
        code: (row, column) => at(packed, column, row),
        scale: (row, g) => scales(g * rows + row),
        offset: (row, g) => at(zeros, g, row),
      });
    },
  };
};
