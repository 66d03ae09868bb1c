// Tiles in workgroup memory, in half precision, as matrix units read them: which way their lines run, how they get there, and fragments of them.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { code, literal, splat } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { Block } from '../kernel/kernel.ts';
import { halved, typeOf, type Width } from '../kernel/element-format.ts';
import { Lowering } from '../kernel/lower.ts';
import { Names } from '../kernel/names.ts';
import type { IndexMap } from '../kernel/storage.ts';
import type { MatrixUnit } from '../profile.ts';
import { inRange } from './contract.ts';
import { elementAt, indexVariable, isQuartered, type Frame } from './frame.ts';

/** Elements between lines beyond their own: 16 bytes, so that lines do not begin in one bank of the memory. */
export const padding = 8;

/** One operand of a product: its rows or its columns, beside what is summed. */
export interface Side {
  readonly node: Node;
  /** The axes of its rows or columns, how many there are, and how many of them are staged from `first` on. */
  readonly axes: readonly Axis[];
  readonly size: Index;
  readonly tile: number;
  readonly first: Index;
  readonly at: (other: Index, place: Index) => IndexMap;
}

/** What a product sums over, and how much of it is staged at once. */
export interface Sum {
  readonly axes: readonly Axis[];
  readonly size: Index;
  readonly staged: number;
}

export interface Staged {
  readonly name: string;
  /** Numbers in one element of the array. */
  readonly width: Width;
  /** A line is one place in the sum with all rows (or columns), not one row with all places. */
  readonly byPlace: boolean;
  readonly lines: number;
  /** Array elements of a line, from line to line, and of one copy. */
  readonly perLine: number;
  readonly stride: number;
  readonly length: number;
}

/** Elements that a tile takes, whichever way its lines run. */
export function stagedElements(tile: number, depth: number): number {
  return Math.max(tile * (depth + padding), depth * (tile + padding));
}

/** Lines run the way that the operand is read by vectors: along the sum, or along its rows or columns. */
export function layOut(frame: Frame, group: Group, stem: string, side: Side, sum: Sum, copies = 1): Staged {
  const { context } = frame;
  const unitsOf = (size: Index): Index => elementAt(indexVariable('unit', divide(size, constantIndex(4))), 4);
  const one = (size: Index): Index => indexVariable('line', size);
  const scalarLoads = (at: IndexMap): number => {
    const { maxBindingBytes } = context.profile;
    const trial = new Lowering(context.place, group.nodes, {
      maxBindingBytes,
      oneBindingEach: context.oneBindingEach === true,
    });
    trial.value(new Block(new Names()), side.node, at, 4);
    const scalars = trial.accesses.filter(({ width }) => width === 1).length;
    return scalars === trial.accesses.length ? Infinity : scalars;
  };
  const alongSum = isQuartered(sum.axes.at(-1)) ? scalarLoads(side.at(one(side.size), unitsOf(sum.size))) : Infinity;
  const alongSide = isQuartered(side.axes.at(-1)) ? scalarLoads(side.at(unitsOf(side.size), one(sum.size))) : Infinity;
  const width: Width = Math.min(alongSum, alongSide) === Infinity ? 1 : 4;
  const last = side.node.type.axes.at(-1)?.name;
  const byPlace = width === 4 ? alongSide < alongSum : !sum.axes.some(({ name }) => name === last);
  const [lines, along] = byPlace ? [sum.staged, side.tile] : [side.tile, sum.staged];
  const stride = (along + padding) / width;
  const length = lines * stride;
  const name = frame.share(stem, width === 4 ? 'vec4<f16>' : 'f16', copies * length);
  return { name, width, byPlace, lines, perLine: along / width, stride, length };
}

interface Step {
  readonly sum: Sum;
  /** The first place of the sum that is staged, and the copy that is written. */
  readonly start: Index;
  readonly copy: Index;
  readonly threads: number;
}

/** A tile of an operand into workgroup memory, by all threads. Rows and columns beyond the end hold those of the last; places beyond it hold 0. */
export function stage(
  frame: Frame,
  block: Block,
  side: Side,
  staged: Staged,
  { sum, start, copy, threads }: Step,
): void {
  const { width, byPlace, perLine } = staged;
  const type = typeOf('f32', width);
  block.loop(
    'staged',
    constantIndex(staged.lines * perLine),
    (inside, at) => {
      const line = inside.named('line', divide(at, constantIndex(perLine)));
      const unit = inside.named('place_in_line', remainder(at, constantIndex(perLine)));
      const inLine = elementAt(unit, width);
      const [other, place] = byPlace
        ? [inRange(add(side.first, inLine), side.size, width), clamp(add(start, line), sum.size)]
        : [clamp(add(side.first, line), side.size), inRange(add(start, inLine), sum.size, width)];
      const value = splat(frame.lowering.value(inside, side.node, side.at(other, place), width), type);
      // Beyond the end of the sum both factors must be 0: the clamped load may hold an infinity.
      const zero = splat(literal(0, 'f32'), type);
      const first = add(start, byPlace ? line : scale(unit, width));
      const text = `select(${zero.text}, ${value.text}, ${indexText(first)} < ${indexText(sum.size)})`;
      const target = add(scale(copy, staged.length), scale(line, staged.stride), unit);
      inside.assign(`${staged.name}[${indexText(target)}]`, halved(code(text, type, value.needs)));
    },
    { from: indexVariable('thread', constantIndex(threads)), step: threads },
  );
}

interface Place {
  readonly unit: MatrixUnit;
  readonly copy: Index;
  /** The first row or column, and the first place of the sum, within the tile. */
  readonly other: Index;
  readonly place: Index;
}

/** A block of a staged tile for the matrix units, by its name. */
export function fragmentOf(
  block: Block,
  of: 'rows' | 'columns',
  staged: Staged,
  { unit, copy, other, place }: Place,
): string {
  const name = block.names.fresh(`of_${of}`);
  const [line, inLine] = staged.byPlace ? [place, other] : [other, place];
  const at = add(scale(copy, staged.length), scale(line, staged.stride), divide(inLine, constantIndex(staged.width)));
  block.matrix({
    kind: 'fragment',
    name,
    of,
    unit,
    from: staged.name,
    at: indexText(at),
    stride: staged.stride,
    turned: staged.byPlace === (of === 'rows'),
  });
  return name;
}
