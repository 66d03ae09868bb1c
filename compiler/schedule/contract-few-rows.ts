// Contraction of a few rows (a decode step) on GPUs: bound by reading the weights once. Neighbouring threads read neighbouring columns, the
// sum is split over the rest of the workgroup and reduced in workgroup memory.
import { axisOf } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { code, literal, splat } from '../../dsl/wgsl.ts';
import { rowReductions, type Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/element-format.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { isUnpacked } from '../rewrite/fixed.ts';
import { indexOf, inRange, productsOf, rangesText, storeProducts, type Product } from './contract.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';
import { addTerms, unitOf, type Terms, type Weight } from './few-rows-terms.ts';
import { reduceRows } from './row-statistics.ts';
import { lanesOf } from './workgroup-reduction.ts';

const threads = 256;

/** Vectors (or elements) of columns side by side, at most: a line of the panels that weights lie in. */
const mostAcross = 16;
/** Bytes that neighbouring threads read side by side at least: what memory gives at once. */
const leastBytes = 64;

/** Rows that a workgroup computes together. */
const rowsTogether = 4;

/**
 * Columns side by side, as many as leave enough workgroups: all of them wait for memory, and what is on its way is what keeps it busy. Of two
 * halves of one product there are half as many, and as many workgroups as of the whole.
 */
function acrossOf({ b, n, width, ofHalves }: Product, profile: DeviceProfile): number {
  const bytes = width * (isUnpacked(b) || b.type.dtype === 'f32' ? 4 : 2);
  const least = Math.min(mostAcross, Math.ceil(leastBytes / bytes)) / (ofHalves === undefined ? 1 : 2);
  const { rowWorkgroups } = choicesOf(profile);
  let across = mostAcross;
  while (across > least && n.most / width / across < rowWorkgroups) across /= 2;
  return across;
}

interface Section {
  readonly node: Node;
  readonly start: number;
  readonly size: number;
}

/**
 * Quantized weights one after the other, where a product reads several along its only axis of columns, and vectors are of one of them; counted as
 * its own columns are. Of two products, only halves of one have them in common.
 */
function endToEnd([product, ...others]: readonly [Product, ...Product[]]): readonly Section[] | undefined {
  const { b, columns, width, ofHalves } = product;
  if (others.length > 0 && ofHalves === undefined) return undefined;
  const [column, ...more] = columns;
  if (b.op.kind !== 'join' || !isUnpacked(b) || column === undefined || more.length > 0) return undefined;
  if (alongAxis(b) !== column.name) return undefined;
  let start = 0;
  const sections = b.inputs.map((node): Section => {
    const size = axisOf(node.type.axes, column.name)?.size;
    const own = { node, start, size: typeof size === 'number' ? size / (1 + others.length) : NaN };
    start += own.size;
    return own;
  });
  const together = ofHalves?.length ?? width;
  return sections.every(({ size }) => size > 0 && size % together === 0) ? sections : undefined;
}

export function scheduleContractFewRows(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const products = productsOf(group);
  const [product] = products;
  const { a, m, n, names, width } = product;
  const rows = Math.min(rowsTogether, m.most);
  const across = acrossOf(product, context.profile);
  const parts = threads / across;
  const frame = new Frame(context, group);
  const { lowering, body } = frame;
  const type = typeOf('f32', width);
  const units = divide(n, constantIndex(width));
  const rowTiles = ceilDivide(m, rows);
  const columnTiles = ceilDivide(units, across);
  const batches = count(product.batch);
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const thread = indexVariable('thread', constantIndex(threads));
  const part = body.named('part', divide(thread, constantIndex(across)));
  const inTile = body.named('column_in_tile', remainder(thread, constantIndex(across)));
  const ownColumns = add(scale(indexVariable('group.x', columnTiles), across), inTile);
  const columnOf = (u: Index): Index => elementAt(u, width);
  const firstRow = scale(indexVariable('group.y', rowTiles), rows);
  const rowOf = (i: number): Index => clamp(add(firstRow, constantIndex(i)), m);
  const partial = frame.share('partial', type, rows * threads);
  const at = (i: number, beyond = 0) => `${partial}[${indexText(add(constantIndex(i * threads + beyond), thread))}]`;
  const reduces = rowReductions(group).length > 0;
  const lanes = reduces ? lanesOf(context.profile, threads) : undefined;
  const ofRow = reduceRows(frame, group, {
    product,
    batch,
    rows: Array.from({ length: rows }, (_, i) => rowOf(i)),
    threads,
    lanes,
    memory: { name: partial, type },
  });
  const sums = products.map(() => Array.from({ length: rows }, () => body.var('sum', splat(literal(0, 'f32'), type))));

  const terms: Terms = {
    lowering,
    product,
    rows,
    factor: (block, row, term, factorWidth) => {
      ofRow(row);
      return lowering.value(block, a, indexOf(product, batch, rowOf(row), undefined, term), factorWidth);
    },
    part,
    parts,
    unit: unitOf(products),
    width,
  };
  const weightOf = (own: Product, node: Node): Weight => ({
    node,
    at: (column, term) => indexOf(own, batch, constantIndex(0), column, term),
  });
  const ends = endToEnd(products);
  if (ends === undefined) {
    const weights = products.map((own) => weightOf(own, own.b));
    addTerms(terms, body, weights, inRange(columnOf(ownColumns), n, width), sums);
  }
  // Weights that lie end to end: which ones these columns are of is asked once, not at every term.
  for (const { node, start, size } of ends ?? []) {
    const [first, most] = [start / width, size / width];
    const [from, text] = [`${indexText(ownColumns)} >= ${first}u`, `${indexText(ownColumns)} < ${first + most}u`];
    body.when(first === 0 ? text : `${from} && ${text}`, (inside) => {
      const column = inside.index(names.column, `${indexText(ownColumns)} - ${first}u`, constantIndex(most));
      const weights = products.map((own) => weightOf(own, node));
      addTerms(terms, inside, weights, elementAt(column, width), sums);
    });
  }

  const totals = sums.map((acc, p) => {
    acc.forEach((c, i) => body.assign(at(i), c));
    body.barrier();
    for (let half = parts / 2; half >= 1; half /= 2) {
      body.when(`${indexText(part)} < ${half}u`, (inside) =>
        acc.forEach((_, i) => inside.assign(at(i), code(`${at(i)} + ${at(i, half * across)}`, type))),
      );
      body.barrier();
    }
    if (p === sums.length - 1) return acc.map((_, i) => code(at(i), type));
    const kept = acc.map((_, i) => body.let('total', code(at(i), type)));
    body.barrier();
    return kept;
  });
  body.when(`${indexText(part)} == 0u && ${indexText(ownColumns)} < ${indexText(units)}`, (inside) => {
    const own = inside.index(names.column, indexText(ownColumns), units);
    for (let i = 0; i < rows; i++) {
      const row = inside.index(names.row, indexText(add(firstRow, constantIndex(i))), m);
      inside.when(rows === 1 ? 'true' : `${indexText(row)} < ${indexText(m)}`, (store) => {
        const values = totals.map((total) => store.let('total', total[i] ?? literal(0, 'f32')));
        storeProducts(frame, store, group, { batch, row, unit: own }, values);
      });
    }
  });
  return frame.finish(`contraction of ${rows} rows${rangesText(group)}`, threads, [columnTiles, rowTiles, batches], {
    subgroups: lanes !== undefined,
  });
}
