// Contraction by matrix units: a workgroup stages tiles of both operands in half precision, two steps of the sum at a time, and each of its
// subgroups multiplies fragments of them into sums that stay in registers. While one step is multiplied the next is fetched: one barrier a step.
import { code, literal, splat } from '../../dsl/wgsl.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { stored } from '../kernel/element-format.ts';
import { Block, ceilDivide, sharedBytes, type Kernel } from '../kernel/kernel.ts';
import { Lowering, typeOf, type Width } from '../kernel/lower.ts';
import { Names } from '../kernel/names.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { choicesOf, type DeviceProfile, type MatrixUnit } from '../profile.ts';
import { indexOf, inRange, productOf, storeResult, type Product } from './contract.ts';
import { count, elementAt, Frame, indexVariable, isQuartered, namedAxes, type Context } from './frame.ts';

/** Elements between lines of staged tiles beyond their own: 16 bytes, so that the lines do not begin in one bank. */
const padding = 8;
const steps = 2;

interface Tile {
  /** Subgroups of a workgroup, and fragments of each, along rows and columns. */
  readonly subgroups: readonly [down: number, across: number];
  readonly blocks: readonly [rows: number, columns: number];
  /** Summed elements staged at once. */
  readonly depth: number;
}

/** From the largest, which reads each operand least often, to the one that fills most workgroups. */
const tiles: readonly Pick<Tile, 'subgroups' | 'blocks'>[] = [
  { subgroups: [2, 2], blocks: [4, 4] },
  { subgroups: [2, 2], blocks: [2, 4] },
  { subgroups: [2, 2], blocks: [2, 2] },
  { subgroups: [2, 2], blocks: [1, 2] },
  { subgroups: [1, 4], blocks: [1, 1] },
];

/** The unit for half precision summed in single precision; undefined where there is none, or no number of lanes to count on. */
export function matrixUnitOf(contract: Node, profile: DeviceProfile): MatrixUnit | undefined {
  if (!profile.f16 || profile.subgroupSize === undefined) return undefined;
  if (contract.inputs.some((x) => x.type.dtype !== 'f16')) return undefined;
  const work = ({ m, n, k }: MatrixUnit): number => m * n * k;
  return (profile.matrices ?? [])
    .filter(({ from, to, m, n, k }) => from === 'f16' && to === 'f32' && [m, n, k].every((size) => size % 8 === 0))
    .toSorted((a, b) => work(b) - work(a))[0];
}

/** Rows or columns that a workgroup computes. */
function tileSides({ subgroups, blocks }: Pick<Tile, 'subgroups' | 'blocks'>, { m, n }: MatrixUnit) {
  return [subgroups[0] * blocks[0] * m, subgroups[1] * blocks[1] * n] as const;
}

function chooseTile(product: Product, unit: MatrixUnit, profile: DeviceProfile): Tile {
  const { matrixBlocks, matrixWorkgroups } = choicesOf(profile);
  const depths = [32, 16].filter((depth) => depth % unit.k === 0);
  const fitting = tiles
    .filter(({ blocks }) => blocks.every((n) => n <= matrixBlocks))
    .flatMap(
      (tile) =>
        depths.map((depth) => ({ ...tile, depth })).find((one) => bytesOf(one, unit) <= profile.maxWorkgroupBytes) ??
        [],
    );
  const [m, n] = [product.m.most, product.n.most];
  const isBusy = (tile: Tile): boolean => {
    const [rows, columns] = tileSides(tile, unit);
    const [down, across] = [Math.ceil(m / rows), Math.ceil(n / columns)];
    const wasted = (down * rows * across * columns) / (m * n);
    return wasted <= 1.5 && down * across * count(product.batch).most >= matrixWorkgroups;
  };
  const tile = fitting.find(isBusy) ?? fitting.at(-1);
  if (tile === undefined)
    throw new OpabiniaError('no tile of matrix units fits the workgroup memory', { op: 'contract' });
  return tile;
}

/** Of workgroup memory, whichever way the operands are staged. */
function bytesOf({ subgroups, blocks, depth }: Tile, unit: MatrixUnit): number {
  const staged = tileSides({ subgroups, blocks }, unit).reduce(
    (sum, side) => sum + Math.max(side * (depth + padding), depth * (side + padding)),
    0,
  );
  const spread = subgroups[0] * subgroups[1] * unit.m * blocks[1] * unit.n;
  return sharedBytes([
    { name: '', type: 'f16', length: steps * staged },
    { name: '', type: 'f32', length: spread },
  ]);
}

/** One operand of the product. */
interface Side {
  readonly node: Node;
  /** Rows or columns, how many there are, and how many of them are staged from `first` on. */
  readonly axes: readonly Axis[];
  readonly size: Index;
  readonly tile: number;
  readonly first: Index;
  readonly at: (other: Index, place: Index) => IndexMap;
}

/** How it lies in workgroup memory. */
interface Staged {
  readonly name: string;
  /** Elements of the array's own elements. */
  readonly width: Width;
  /** A line is one place in the sum with all rows (or columns), not one row with all places. */
  readonly byPlace: boolean;
  readonly lines: number;
  /** Array elements of a line, from line to line, and of one step. */
  readonly perLine: number;
  readonly stride: number;
  readonly length: number;
}

/** Lines run the way that the operand is read by vectors: along the sum, or along its rows or columns. */
function layOut(frame: Frame, group: Group, stem: string, side: Side, { k, sum }: Product, depth: number): Staged {
  const { context } = frame;
  const unitsOf = (size: Index): Index => elementAt(indexVariable('unit', divide(size, constantIndex(4))), 4);
  const one = (size: Index): Index => indexVariable('line', size);
  const scalarLoads = (at: IndexMap): number => {
    const { maxBindingBytes } = context.profile;
    const trial = new Lowering(context.place, group.nodes, maxBindingBytes, context.oneBindingEach === true);
    trial.value(new Block(new Names()), side.node, at, 4);
    return trial.accesses.every(({ width }) => width === 1)
      ? Infinity
      : trial.accesses.filter(({ width }) => width === 1).length;
  };
  const alongSum = isQuartered(sum.at(-1)) ? scalarLoads(side.at(one(side.size), unitsOf(k))) : Infinity;
  const alongSide = isQuartered(side.axes.at(-1)) ? scalarLoads(side.at(unitsOf(side.size), one(k))) : Infinity;
  const width: Width = Math.min(alongSum, alongSide) === Infinity ? 1 : 4;
  const last = side.node.type.axes.at(-1)?.name;
  const byPlace = width === 4 ? alongSide < alongSum : !sum.some(({ name }) => name === last);
  const [lines, along] = byPlace ? [depth, side.tile] : [side.tile, depth];
  const stride = (along + padding) / width;
  const length = lines * stride;
  const name = frame.share(stem, width === 4 ? 'vec4<f16>' : 'f16', steps * length);
  return { name, width, byPlace, lines, perLine: along / width, stride, length };
}

/** One step of an operand into its half of the workgroup memory. */
function stage(
  frame: Frame,
  block: Block,
  side: Side,
  staged: Staged,
  {
    start,
    half,
    k,
    threads,
  }: { readonly start: Index; readonly half: Index; readonly k: Index; readonly threads: number },
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
        ? [inRange(add(side.first, inLine), side.size, width), clamp(add(start, line), k)]
        : [clamp(add(side.first, line), side.size), inRange(add(start, inLine), k, width)];
      const value = splat(frame.lowering.value(inside, side.node, side.at(other, place), width), type);
      // Beyond the end of the sum both factors must be 0: the clamped load may hold an infinity.
      const zero = splat(literal(0, 'f32'), type);
      const first = add(start, byPlace ? line : scale(unit, width));
      const kept = code(
        `select(${zero.text}, ${value.text}, ${indexText(first)} < ${indexText(k)})`,
        type,
        value.needs,
      );
      const target = add(scale(half, staged.length), scale(line, staged.stride), unit);
      inside.assign(`${staged.name}[${indexText(target)}]`, stored(kept, 'f16'));
    },
    { from: indexVariable('thread', constantIndex(threads)), step: threads },
  );
}

export function scheduleContractMatrix(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const { profile } = context;
  const product = productOf(group.contract);
  const unit = matrixUnitOf(group.contract, profile);
  const lanes = profile.subgroupSize;
  if (unit === undefined || lanes === undefined)
    throw new OpabiniaError('the device has no matrix units for this product', { op: 'contract' });
  const { a, b, m, n, k, names, width } = product;
  const tile = chooseTile(product, unit, profile);
  const { subgroups, blocks, depth } = tile;
  const [tileRows, tileColumns] = tileSides(tile, unit);
  const threads = subgroups[0] * subgroups[1] * lanes;
  const frame = new Frame(context, group);
  const { body } = frame;
  const rowTiles = ceilDivide(m, tileRows);
  const columnTiles = ceilDivide(n, tileColumns);
  const batches = count(product.batch);
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const subgroup = indexVariable('subgroup', constantIndex(subgroups[0] * subgroups[1]));
  const down = body.named('subgroup_row', divide(subgroup, constantIndex(subgroups[1])));
  const across = body.named('subgroup_column', remainder(subgroup, constantIndex(subgroups[1])));
  const firstRow = scale(indexVariable('group.x', rowTiles), tileRows);
  const rows: Side = {
    node: a,
    axes: product.rows,
    size: m,
    tile: tileRows,
    first: firstRow,
    at: (row, place) => indexOf(product, batch, row, undefined, place),
  };
  const columns: Side = {
    node: b,
    axes: product.columns,
    size: n,
    tile: tileColumns,
    first: scale(indexVariable('group.y', columnTiles), tileColumns),
    at: (column, place) => indexOf(product, batch, constantIndex(0), column, place),
  };
  const stagedRows = layOut(frame, group, 'staged_rows', rows, product, depth);
  const stagedColumns = layOut(frame, group, 'staged_columns', columns, product, depth);
  const sums = Array.from({ length: blocks[0] }, () =>
    Array.from({ length: blocks[1] }, () => {
      const name = body.names.fresh('sums');
      body.matrix({ kind: 'sums', name, unit });
      return name;
    }),
  );

  const stepsOfSum = ceilDivide(k, depth);
  body.loop(`${names.sum}_step`, add(stepsOfSum, constantIndex(1)), (outer, step) => {
    outer.when(`${indexText(step)} < ${indexText(stepsOfSum)}`, (fetch) => {
      const now = { start: scale(step, depth), half: remainder(step, constantIndex(steps)), k, threads };
      stage(frame, fetch, rows, stagedRows, now);
      stage(frame, fetch, columns, stagedColumns, now);
    });
    outer.when(`${indexText(step)} > 0u`, (multiply) => {
      const half = remainder(add(step, constantIndex(1)), constantIndex(steps));
      multiply.loop(`${names.sum}_in_step`, constantIndex(depth / unit.k), (inside, part) => {
        const load = (of: 'rows' | 'columns', staged: Staged, block: Index): string => {
          const name = inside.names.fresh(`of_${of}`);
          const [line, inLine] = staged.byPlace ? [scale(part, unit.k), block] : [block, scale(part, unit.k)];
          const at = add(
            scale(half, staged.length),
            scale(line, staged.stride),
            divide(inLine, constantIndex(staged.width)),
          );
          inside.matrix({
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
        };
        const ofRows = sums.map((_, i) =>
          load('rows', stagedRows, add(scale(down, blocks[0] * unit.m), constantIndex(i * unit.m))),
        );
        const ofColumns = Array.from({ length: blocks[1] }, (_, j) =>
          load('columns', stagedColumns, add(scale(across, blocks[1] * unit.n), constantIndex(j * unit.n))),
        );
        sums.forEach((row, i) =>
          row.forEach((into, j) =>
            inside.matrix({ kind: 'multiply', into, rows: ofRows[i] ?? '', columns: ofColumns[j] ?? '' }),
          ),
        );
      });
    });
    outer.barrier();
  });

  // Fragments cannot be taken apart in registers: each row of them goes through workgroup memory, a slice for every subgroup.
  const type = typeOf('f32', width);
  const unitsAcross = (blocks[1] * unit.n) / width;
  const slice = unit.m * unitsAcross;
  const spread = frame.share('sums_of_subgroup', type, subgroups[0] * subgroups[1] * slice);
  const own = scale(subgroup, slice);
  const units = divide(n, constantIndex(width));
  sums.forEach((row, i) => {
    row.forEach((name, j) =>
      body.matrix({
        kind: 'spread',
        into: spread,
        at: indexText(add(own, constantIndex((j * unit.n) / width))),
        stride: unitsAcross,
        sums: name,
      }),
    );
    body.barrier();
    body.loop(
      'kept',
      constantIndex(slice),
      (each, at) => {
        const rowInBlock = each.named('row_in_block', divide(at, constantIndex(unitsAcross)));
        const unitInBlock = each.named('column_in_block', remainder(at, constantIndex(unitsAcross)));
        const rowAt = add(firstRow, scale(down, blocks[0] * unit.m), constantIndex(i * unit.m), rowInBlock);
        const columnAt = add(
          scale(indexVariable('group.y', columnTiles), tileColumns / width),
          scale(across, unitsAcross),
          unitInBlock,
        );
        const rowOfResult = each.index(names.row, indexText(rowAt), m);
        const columnOfResult = each.index(names.column, indexText(columnAt), units);
        each.when(
          `${indexText(rowOfResult)} < ${indexText(m)} && ${indexText(columnOfResult)} < ${indexText(units)}`,
          (store) => {
            const value = store.let('total', code(`${spread}[${indexText(add(own, at))}]`, type));
            const index = indexOf(product, batch, rowOfResult, elementAt(columnOfResult, width), undefined, store);
            storeResult(frame, store, group, product, index, value);
          },
        );
      },
      { from: indexVariable('lane', constantIndex(lanes)), step: lanes },
    );
    if (i < sums.length - 1) body.barrier();
  });
  return frame.finish(
    `contraction ${tileRows}×${tileColumns} by matrix units ${unit.m}×${unit.n}×${unit.k}`,
    threads,
    [rowTiles, columnTiles, batches],
    { subgroups: true, matrices: true },
  );
}
