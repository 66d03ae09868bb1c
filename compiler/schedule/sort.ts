// Positions in order along an axis. Values become words whose order is that of the values, and ties go to the lower position: no two
// elements are equal, and every sorting network gives the same stable result.
import { axisOf, sizeBound, type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { sort } from '../../dsl/ops/sort.ts';
import { code, type Code, type Helper } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import {
  atomIndex,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  sizeIndex,
  type Index,
} from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { loopVariable, type Block, type Kernel } from '../kernel/kernel.ts';
import { axisStem, unknownZero } from '../kernel/names.ts';
import type { IndexMap } from '../kernel/storage.ts';
import type { DeviceProfile } from '../profile.ts';
import { count, flatStem, Frame, indexVariable, lineGrid, namedAxes, threadItems, type Context } from './frame.ts';

type SortGroup = Extract<Group, { template: 'sort' }>;

export interface Parts {
  readonly x: Node;
  readonly along: Axis;
  readonly rows: readonly Axis[];
  readonly ranks: Index;
  readonly isFalling: boolean;
}

export function partsOf({ inputs, attrs, type }: Node): Parts {
  const [x] = inputs;
  const { axis: name, descending } = sort.read(attrs);
  const along = x && axisOf(x.type.axes, name);
  const ranks = axisOf(type.axes, name);
  if (x === undefined || along === undefined || ranks === undefined) throw new TypeError('a sort without an operand');
  return {
    x,
    along,
    rows: x.type.axes.filter((axis) => axis.name !== name),
    ranks: sizeIndex(ranks.size),
    isFalling: descending,
  };
}

/** NaN is the largest, −0 is 0. */
const floatKey: Helper = {
  name: 'sort_key',
  type: 'u32',
  write: () => `fn sort_key(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0xffffffffu; }
  if (magnitude == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}`,
};

/** The word that stands for a value: the order of words is the one asked for. */
export function keyOf(value: Code, isFalling: boolean): Code {
  const rising =
    value.type === 'u32'
      ? value
      : value.type === 'i32'
        ? code(`(bitcast<u32>(${value.text}) ^ 0x80000000u)`, 'u32', value.needs)
        : code(`sort_key(${value.text})`, 'u32', [...value.needs, floatKey]);
  return isFalling ? code(`(~${rising.text})`, 'u32', rising.needs) : rising;
}

const bytesOfElement = 8;
/** An axis this short is counted: a workgroup would be mostly idle. */
const shortAxis = 32;

/** Elements that a workgroup sorts at a time, a power of two. */
export function capacityOf({ maxWorkgroupBytes }: DeviceProfile): number {
  return Math.min(4096, 2 ** Math.floor(Math.log2(maxWorkgroupBytes / bytesOfElement)));
}

/** True for rows that neither fit nor leave room for the ranks asked for: they are sorted in runs, which are merged. */
export function isMerged(sort: Node, profile: DeviceProfile): boolean {
  const { along, ranks } = partsOf(sort);
  return sizeBound(along.size) > capacityOf(profile) && ranks.most > capacityOf(profile) / 2;
}

export function fitsWorkgroup(sort: Node, profile: DeviceProfile): boolean {
  const { along, ranks } = partsOf(sort);
  const [length, capacity] = [sizeBound(along.size), capacityOf(profile)];
  return length > shortAxis && (length <= capacity || ranks.most <= capacity / 2);
}

/**
 * One workgroup per row, a bitonic network in workgroup memory (Batcher 1968). A row that does not fit is taken in pieces: the lower half of the
 * memory keeps the first so far, the upper half takes the next piece.
 * With `runs`, one workgroup for each run of a row, as many elements as fit, and every element has a place in its run.
 */
export function scheduleSort(group: SortGroup, context: Context, runs = 1): Kernel {
  const { x, along, rows, ranks, isFalling } = partsOf(group.sort);
  const { profile } = context;
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const [most, capacity] = [Math.max(2, sizeBound(along.size)), capacityOf(profile)];
  const isWhole = most <= capacity || runs > 1;
  const size = isWhole ? 2 ** Math.ceil(Math.log2(Math.min(most, capacity))) : capacity;
  const threads = Math.min(size / 2, 256, profile.maxWorkgroupThreads);
  const [keys, places] = [frame.share('keys', 'u32', size), frame.share('places', 'u32', size)];
  const length = sizeIndex(along.size);
  const rowCount = multiply(count(rows), constantIndex(runs));
  const line = lineGrid(rowCount, profile.maxGrid);
  const row = frame.body.index(flatStem(rows), line.item, rowCount);
  const forLanes = (block: Block, end: number, write: (body: Block, i: string) => void): void =>
    block.loop('slot', constantIndex(end), (inside, i) => write(inside, indexText(i)), {
      from: indexVariable('thread', constantIndex(threads)),
      step: threads,
      endText: `${end}u + ${unknownZero}`,
    });
  frame.body.when(line.exact ? 'true' : `${indexText(row)} < ${indexText(rowCount)}`, (body) => {
    const own = namedAxes(body, divide(row, constantIndex(runs)), rows);
    const start =
      runs === 1
        ? undefined
        : body.let('start', code(indexText(scale(remainder(row, constantIndex(runs)), size)), 'u32'));
    // `to`: where in the memory a piece of the row goes, from the element `start` on.
    const take = (block: Block, to: number, width: number, start: string): void =>
      forLanes(block, width, (inside, i) => {
        const element = inside.let(axisStem(along.name), code(`${start} + ${i}`, 'u32'));
        const key = inside.var('key', code('0xffffffffu', 'u32'));
        inside.when(`${element.text} < ${indexText(length)}`, (found) => {
          const at: IndexMap = new Map(own).set(along.name, atomIndex(loopVariable(element.text, length)));
          found.assign(key.text, keyOf(lowering.value(found, x, at, 1), isFalling));
        });
        const slot = to === 0 ? i : `${i} + ${to}u`;
        inside.assign(`${keys}[${slot}]`, key);
        // What is behind the end has a place behind the end.
        inside.assign(`${places}[${slot}]`, element);
      });
    if (isWhole) {
      take(body, 0, size, start?.text ?? '0u');
      body.barrier();
      network(body);
    } else {
      forLanes(body, size / 2, (inside, i) => {
        inside.assign(`${keys}[${i}]`, code('0xffffffffu', 'u32'));
        inside.assign(`${places}[${i}]`, code('0xffffffffu', 'u32'));
      });
      body.loop(
        `${axisStem(along.name)}_start`,
        length,
        (inside, piece) => {
          take(inside, size / 2, size / 2, indexText(piece));
          inside.barrier();
          network(inside);
        },
        { step: size / 2 },
      );
    }
    const store = (inside: Block, rank: Index, slot: string): void =>
      lowering.store(
        inside,
        context.target(group.sort),
        new Map(own).set(along.name, rank),
        code(`i32(${places}[${slot}])`, 'i32'),
        1,
      );
    if (start === undefined)
      body.loop('rank', ranks, (inside, rank) => store(inside, rank, indexText(rank)), {
        from: indexVariable('thread', constantIndex(threads)),
        step: threads,
      });
    else
      forLanes(body, size, (inside, i) => {
        const rank = inside.let('rank', code(`${start.text} + ${i}`, 'u32'));
        inside.when(`${rank.text} < ${indexText(length)}`, (found) =>
          store(found, atomIndex(loopVariable(rank.text, length)), i),
        );
      });
  });
  return frame.finish(runs === 1 ? 'sort in workgroup memory' : 'sort of runs', threads, line.grid);

  /** Sorts the memory: every lane sees the result. */
  function network(block: Block): void {
    const steps = Math.log2(size);
    const text = (body: Block, stem: string, value: string): string => body.let(stem, code(value, 'u32')).text;
    block.loop(
      'phase',
      constantIndex(steps + 1),
      (outer, phase) => {
        outer.loop(
          'step',
          constantIndex(steps),
          (inner, step) => {
            const shift = text(inner, 'shift', `${indexText(phase)} - 1u - ${indexText(step)}`);
            forLanes(inner, size / 2, (pair, i) => {
              const low = text(
                pair,
                'low',
                `((${i} >> ${shift}) << (${shift} + 1u)) | (${i} & ((1u << ${shift}) - 1u))`,
              );
              const high = text(pair, 'high', `${low} | (1u << ${shift})`);
              const [a, b] = [text(pair, 'low_key', `${keys}[${low}]`), text(pair, 'high_key', `${keys}[${high}]`)];
              const [p, q] = [
                text(pair, 'low_place', `${places}[${low}]`),
                text(pair, 'high_place', `${places}[${high}]`),
              ];
              const isLess = `(${b} < ${a} || (${b} == ${a} && ${q} < ${p}))`;
              pair.when(`${isLess} == (((${low} >> ${indexText(phase)}) & 1u) == 0u)`, (swap) => {
                swap.assign(`${keys}[${low}]`, code(b, 'u32'));
                swap.assign(`${keys}[${high}]`, code(a, 'u32'));
                swap.assign(`${places}[${low}]`, code(q, 'u32'));
                swap.assign(`${places}[${high}]`, code(p, 'u32'));
              });
            });
            inner.barrier();
          },
          { endText: indexText(phase) },
        );
      },
      { from: constantIndex(1), endText: `${steps + 1}u + ${unknownZero}` },
    );
  }
}

/** One thread per element: it counts those that come before it, which is its rank. */
export function scheduleCountingSort(group: SortGroup, context: Context): Kernel {
  const { x, along, ranks, isFalling } = partsOf(group.sort);
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const { axes } = x.type;
  const { grid, item, test } = threadItems(frame.body, flatStem(axes), count(axes), 64, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const own = namedAxes(body, item, axes);
    const mine = own.get(along.name) ?? constantIndex(0);
    const key = body.let('key', keyOf(lowering.value(body, x, own, 1), isFalling));
    const rank = body.var('rank', code('0u', 'u32'));
    body.loop(`other_${axisStem(along.name)}`, sizeIndex(along.size), (inside, other) => {
      const theirs = inside.let(
        'theirs',
        keyOf(lowering.value(inside, x, new Map(own).set(along.name, other), 1), isFalling),
      );
      const isBefore = `${theirs.text} < ${key.text} || (${theirs.text} == ${key.text} && ${indexText(other)} < ${indexText(mine)})`;
      inside.assign(rank.text, code(`${rank.text} + select(0u, 1u, ${isBefore})`, 'u32'));
    });
    body.when(`${rank.text} < ${indexText(ranks)}`, (inside) => {
      const at = inside.let('place', code(`${rank.text} + 0u`, 'u32'));
      lowering.store(
        inside,
        context.target(group.sort),
        new Map(own).set(along.name, atomIndex(loopVariable(at.text, ranks))),
        code(`i32(${indexText(mine)})`, 'i32'),
        1,
      );
    });
  });
  return frame.finish('sort by counting', 64, grid);
}
