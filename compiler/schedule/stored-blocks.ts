// Weights that lie in memory so that a matrix unit can take a block of them from there: neighbouring columns side by side, the terms of the sum
// a fixed number of elements apart. They need no copy in workgroup memory, and no registers on their way to it.
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { add, alwaysHolds, constantIndex, indexMath, isMultiple, scale, type Index } from '../index/index-math.ts';
import { coefficient } from '../index/index-variables.ts';
import { indexText } from '../index/index-text.ts';
import type { Block } from '../kernel/kernel.ts';
import { flatten, type IndexMap } from '../kernel/storage.ts';
import type { DeviceProfile, MatrixUnit } from '../profile.ts';
import { indexOf, type Product } from './contract.ts';
import { indexVariable, type Frame } from './frame.ts';

/** The alignment, in elements of half precision, that drivers may count on where blocks and their lines begin. */
const aligned = 8;

export interface StoredBlocks {
  /** What is stored: a parameter, or a weight that was packed while it was loaded. */
  readonly source: Node;
  /** Elements from one term of the sum to the next, within a block. */
  readonly stride: number;
}

/** A block of columns and terms, each counted in blocks. */
interface BlockPlace {
  readonly batch: IndexMap;
  readonly columns: Index;
  readonly terms: Index;
}

/** Blocks of columns that have a result, the last of them perhaps not full. */
export function columnBlocks({ n }: Product, unit: MatrixUnit): number {
  return Math.ceil(n.most / unit.n);
}

/** Undefined where the columns of a product do not lie so, or not whole in one binding. */
export function storedBlocks(product: Product, unit: MatrixUnit, profile: DeviceProfile): StoredBlocks | undefined {
  const { b, k, n, batch } = product;
  if ([k, n].some(({ terms }) => terms.length > 0) || k.most % unit.k !== 0) return undefined;
  const place: BlockPlace = {
    batch: new Map(batch.map(({ name, size }) => [name, indexVariable(`of_${name}`, constantIndex(Number(size)))])),
    columns: indexVariable('block_of_columns', constantIndex(columnBlocks(product, unit))),
    terms: indexVariable('block_of_terms', constantIndex(k.most / unit.k)),
  };
  if (batch.some(({ size }) => typeof size !== 'number')) return undefined;
  const [column, term] = inBlock(unit);
  const found = throughViews(b, indexIn(product, unit, place, column, term));
  if (found === undefined) return undefined;
  const { source, index } = found;
  const elements = source.type.axes.reduce((count, { size }) => count * Number(size), 1);
  const flat = flatten(source.type.axes, index);
  const first = flatten(source.type.axes, throughViews(b, indexIn(product, unit, place))?.index ?? index);
  const stride = coefficient(flat, 'term_in_block');
  const isBlock = coefficient(flat, 'column_in_block') === 1 && stride !== undefined && stride >= unit.n;
  const fits = flat.most < elements && elements * dtypeBytes(source.type.dtype) <= profile.maxBindingBytes;
  if (!isBlock || !fits || stride % aligned !== 0 || !isMultiple(first, aligned)) return undefined;
  return { source, stride };
}

/** A block of columns out of memory, by its name; the last one again for those beyond it, whose results nobody keeps. */
export function storedFragment(
  frame: Frame,
  block: Block,
  product: Product,
  { source, stride }: StoredBlocks,
  unit: MatrixUnit,
  place: BlockPlace,
): string {
  const name = block.names.fresh('of_columns');
  const [column, term] = inBlock(unit);
  const first = throughViews(product.b, indexIn(product, unit, place));
  const every = throughViews(product.b, indexIn(product, unit, place, column, term));
  if (first === undefined || every === undefined) throw new TypeError('blocks of a weight that is computed');
  const { slot, at } = frame.lowering.block(source, first.index, every.index);
  block.matrix({ kind: 'fragment', name, of: 'columns', unit, from: slot, at: indexText(at), stride, turned: false });
  return name;
}

function inBlock(unit: MatrixUnit): readonly [column: Index, term: Index] {
  return [
    indexVariable('column_in_block', constantIndex(unit.n)),
    indexVariable('term_in_block', constantIndex(unit.k)),
  ];
}

const start = constantIndex(0);

function indexIn(
  product: Product,
  unit: MatrixUnit,
  { batch, columns, terms }: BlockPlace,
  column = start,
  term = start,
): IndexMap {
  return indexOf(product, batch, start, add(scale(columns, unit.n), column), add(scale(terms, unit.k), term));
}

/** The stored weights behind views, and where an element lies there; undefined where anything is computed on the way. */
function throughViews(node: Node, index: IndexMap): { readonly source: Node; readonly index: IndexMap } | undefined {
  const { op } = node;
  const isStored = op.kind === 'source' && (op.role === 'param' || op.role === 'loaded');
  if (isStored) return node.type.dtype === 'f16' ? { source: node, index } : undefined;
  const [x] = node.inputs;
  if (op.kind !== 'view' || x === undefined) return undefined;
  const own = new Map(node.type.axes.map(({ name }) => [name, index.get(name) ?? start]));
  const below = op.source(indexMath, own, node.attrs, x.type);
  return below.guards.every(alwaysHolds) ? throughViews(x, below.index) : undefined;
}
