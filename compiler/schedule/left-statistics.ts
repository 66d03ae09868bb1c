// What segments of the rows of a result are reduced to, left by the kernel that makes it: values as they are stored stand in workgroup memory,
// a strip of rows at a time, and some lanes of a subgroup reduce a segment together. Segments are cut and summed alike by every tile.
import { axisOf } from '../../dsl/axis/axis.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { code, splat, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, constantIndex, divide, remainder, scale, sizeIndex, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { halved, typeOf } from '../kernel/element-format.ts';
import type { Block } from '../kernel/kernel.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { indexOf, type Product } from './contract.ts';
import { elementAt, indexVariable, reduceComponents, reduceLanes, type Frame } from './frame.ts';
import { reduceLevels } from './levels.ts';

export interface StripOptions {
  readonly product: Product;
  readonly batch: IndexMap;
  /** Rows of a strip, and columns of a tile: a multiple of a segment's. */
  readonly rows: number;
  readonly columns: number;
  readonly columnTile: Index;
  readonly subgroups: number;
  readonly lanes: number;
}

export interface Strip {
  /** Puts the value of one element, or of four, where it belongs in the strip. `unit`: of the tile's columns. */
  keep(block: Block, row: Index, unit: Index, index: IndexMap): void;
  /** Reduces and writes the segments of a strip that all have written; `rowOf`: the row of the result that a row of the strip is. */
  reduce(body: Block, rowOf: (row: Index) => Index): void;
}

type ProductGroup = Extract<Group, { template: 'contract' }>;

/** Bytes of workgroup memory that a strip of so many elements takes; none where a kernel leaves nothing. */
export function stripBytes({ leaves }: Pick<ProductGroup, 'leaves'>, elements: number): number {
  return leaves === undefined ? 0 : elements * dtypeBytes(leaves.of.type.dtype);
}

export function stripOf(frame: Frame, group: ProductGroup, options: StripOptions): Strip | undefined {
  const { leaves } = group;
  if (leaves === undefined) return undefined;
  const { product, batch, rows, columns, columnTile, subgroups, lanes } = options;
  const { lowering, context } = frame;
  const { width } = product;
  const isHalf = leaves.of.type.dtype === 'f16';
  const type = typeOf('f32', width);
  const perRow = columns / width;
  const name = frame.share('values_of_rows', isHalf ? (width === 4 ? 'vec4<f16>' : 'f16') : type, rows * perRow);
  const reductions = [...leaves.nodes].filter((node) => node.op.kind === 'reduce').sort((a, b) => a.id - b.id);
  const inputOf = reductions[0]?.inputs[0];
  const segment = Number(axisOf(inputOf?.type.axes ?? [], leaves.within)?.size);
  const parts = sizeIndex(axisOf(inputOf?.type.axes ?? [], leaves.axis)?.size ?? 1);
  // As many lanes as have a vector each, and the same number in every tile.
  let together = 1;
  while (together * 2 <= lanes && segment % (together * 2 * width) === 0) together *= 2;
  const across = columns / segment;
  const atOnce = (subgroups * lanes) / together;
  const passes = Math.ceil((rows * across) / atOnce);
  const lane = indexVariable('lane', constantIndex(lanes));
  const subgroup = indexVariable('subgroup', constantIndex(subgroups));

  return {
    keep: (block, row, unit, index) => {
      const value = splat(lowering.value(block, leaves.of, index, width), type);
      block.assign(`${name}[${indexText(add(scale(row, perRow), unit))}]`, isHalf ? halved(value) : value);
    },
    reduce: (body, rowOf) => {
      const inSegment = body.named('lane_in_segment', remainder(lane, constantIndex(together)));
      body.loop('pass', constantIndex(passes), (inside, pass) => {
        const own = add(
          scale(add(scale(pass, subgroups), subgroup), lanes / together),
          divide(lane, constantIndex(together)),
        );
        const item = inside.index('segment', indexText(own), constantIndex(passes * atOnce));
        const row = inside.named('row_in_strip', divide(item, constantIndex(across)));
        const segmentInTile = inside.named('segment_in_tile', remainder(item, constantIndex(across)));
        const rowAt = inside.index(product.names.row, indexText(rowOf(row)), product.m);
        const part = inside.index('part', indexText(add(scale(columnTile, across), segmentInTile)), parts);
        const ofRow = new Map(indexOf(product, batch, rowAt, undefined, undefined, inside)).set(leaves.axis, part);
        for (const level of reduceLevels(reductions, leaves.nodes)) {
          for (const reduction of level) {
            const op = reduction.op as ReduceOp;
            const [operand] = reduction.inputs;
            if (operand === undefined) continue;
            let sum: Code | undefined;
            for (let turn = 0; turn < segment / (together * width); turn++) {
              const unit = add(constantIndex(turn * together), inSegment);
              const place = add(scale(row, perRow), scale(segmentInTile, segment / width), unit);
              lowering.held.set(leaves.of, () => code(`${type}(${name}[${indexText(place)}])`, type));
              const index = new Map(ofRow).set(leaves.within, elementAt(unit, width));
              const value = splat(lowering.value(inside, operand, index, width), type);
              sum = sum === undefined ? value : inside.let('running', op.wgsl(sum, value));
            }
            if (sum === undefined) continue;
            const whole = reduceLanes(inside, op, reduceComponents(inside, op, sum), together);
            lowering.held.set(reduction, () => whole);
          }
        }
        const last = constantIndex(rows * across);
        const tests = [
          `${indexText(inSegment)} == 0u`,
          ...(passes * atOnce > rows * across ? [`${indexText(item)} < ${indexText(last)}`] : []),
          `${indexText(rowAt)} < ${indexText(product.m)}`,
          `${indexText(part)} < ${indexText(parts)}`,
        ];
        inside.when(tests.join(' && '), (store) => {
          for (const result of leaves.results)
            lowering.store(store, context.target(result), ofRow, lowering.value(store, result, ofRow, 1), 1);
        });
      });
      for (const node of [leaves.of, ...reductions]) lowering.held.delete(node);
    },
  };
}
