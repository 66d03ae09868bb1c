// Tiles in workgroup memory, in half precision, as matrix units read them: which way their lines run, how they get there, and fragments of them.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { code, literal, splat, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, isMultiple, remainder, scale, type Index } from '../index/index-math.ts';
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
  /** Makes what is known of a row of the tile what the lowering reads; of rows of which nothing is known there is none. */
  readonly show?: (row: Index) => void;
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
    side.show?.(constantIndex(0));
    for (const [node, held] of frame.lowering.held) trial.held.set(node, held);
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
export function stage(frame: Frame, block: Block, side: Side, staged: Staged, step: Step): void {
  const units = constantIndex(unitsOf(staged));
  block.loop(
    'staged',
    units,
    (inside, at) => {
      const { line, unit } = placeOf(inside, staged, at);
      inside.assign(targetOf(staged, step.copy, line, unit), valueAt(frame, inside, side, staged, step, line, unit));
    },
    { from: indexVariable('thread', constantIndex(step.threads)), step: step.threads },
  );
}

/**
 * The same in two halves: loads into registers now, and what writes them to workgroup memory later. Memory is waited for where they are
 * written, so that what stands between hides it.
 */
export function fetch(frame: Frame, block: Block, side: Side, staged: Staged, step: Step): (into: Block) => void {
  const units = unitsOf(staged);
  const thread = indexVariable('thread', constantIndex(step.threads));
  const held = Array.from({ length: turnsOf(staged, step.threads) }, (_, turn) => {
    const own = add(thread, constantIndex(turn * step.threads));
    const isWhole = (turn + 1) * step.threads <= units;
    const { line, unit } = placeOf(block, staged, isWhole ? own : clamp(own, constantIndex(units)));
    const valueIn = (into: Block): Code => valueAt(frame, into, side, staged, step, line, unit);
    if (side.show !== undefined) load(frame, block, side, staged, step, line, unit);
    const value = side.show === undefined ? block.let('fetched', valueIn(block)) : undefined;
    return {
      valueIn: (into: Block): Code => value ?? valueIn(into),
      target: targetOf(staged, step.copy, line, unit),
      test: isWhole ? 'true' : `${indexText(own)} < ${units}u`,
    };
  });
  return (into) =>
    held.forEach(({ valueIn, target, test }) => into.when(test, (inside) => inside.assign(target, valueIn(inside))));
}

/** Loads of each thread for a tile. */
export function turnsOf(staged: Staged, threads: number): number {
  return Math.ceil(unitsOf(staged) / threads);
}

function unitsOf({ lines, perLine }: Staged): number {
  return lines * perLine;
}

interface PlaceInTile {
  readonly line: Index;
  readonly unit: Index;
}

function placeOf(block: Block, { perLine }: Staged, at: Index): PlaceInTile {
  return {
    line: block.named('line', divide(at, constantIndex(perLine))),
    unit: block.named('place_in_line', remainder(at, constantIndex(perLine))),
  };
}

function targetOf(staged: Staged, copy: Index, line: Index, unit: Index): string {
  return `${staged.name}[${indexText(add(scale(copy, staged.length), scale(line, staged.stride), unit))}]`;
}

/** Where an element of a tile, or four of them, are in the operand, or the last of it beyond its end. */
function indexAt(side: Side, { width, byPlace }: Staged, { sum, start }: Step, line: Index, unit: Index): IndexMap {
  const inLine = elementAt(unit, width);
  return byPlace
    ? side.at(inRange(add(side.first, inLine), side.size, width), clamp(add(start, line), sum.size))
    : side.at(clamp(add(side.first, line), side.size), inRange(add(start, inLine), sum.size, width));
}

/** What the value will be computed from comes into registers. */
function load(frame: Frame, block: Block, side: Side, staged: Staged, step: Step, line: Index, unit: Index): void {
  frame.lowering.load(block, side.node, indexAt(side, staged, step, line, unit), staged.width);
}

function valueAt(frame: Frame, block: Block, side: Side, staged: Staged, step: Step, line: Index, unit: Index): Code {
  const { width, byPlace } = staged;
  const { sum, start } = step;
  const type = typeOf('f32', width);
  const index = indexAt(side, staged, step, line, unit);
  side.show?.(byPlace ? elementAt(unit, width) : line);
  // Half precision at once: what is stored so is copied, and drivers see that.
  const value = halved(splat(frame.lowering.value(block, side.node, index, width), type));
  // Steps that fill the sum stage nothing beyond its end that is ever multiplied.
  if (isMultiple(sum.size, sum.staged)) return value;
  // Beyond the end of the sum both factors must be 0: the clamped load may hold an infinity.
  const first = add(start, byPlace ? line : scale(unit, width));
  const zero = halved(splat(literal(0, 'f32'), type));
  return code(`select(${zero.text}, ${value.text}, ${indexText(first)} < ${indexText(sum.size)})`, type, value.needs);
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
