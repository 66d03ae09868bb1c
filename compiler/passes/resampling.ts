// A linear map of channels after a resizing of the grid: both are linear, along different axes, so the map goes first where the grid is
// then smaller. (ConvNeXt's auxiliary projector of Cambrian-1 reads stages of 32 and 64 a side at 96: 108.7 GFLOP for 41.)
import { elementsOf, namesOf, sameAxes } from '../../dsl/axis/axes.ts';
import { addSizes, axisOf, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { rearrange, broadcast } from '../../dsl/ops/view.ts';
import { asLinearMap } from '../match/linear-map.ts';
import { isFixed } from '../rewrite/fixed.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { sameType, type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';

/** What is linear in one node and leaves one axis of it as it is: resizing seen from its result. */
interface Sampled {
  readonly base: Node;
  /** The channels of `base`. */
  readonly channels: string;
  /** Operations for one channel, besides what makes `base`. */
  readonly work: number;
  /** The same of another node, which has `axis` in the place of the channels of `base` and is like it otherwise. */
  again(y: Node, axis: Axis): Node;
}

/** Fewer operations by this factor: what is in one kernel may be in two then. */
const leastGain = 1.25;

/** Steps below a product that are looked through; a resizing has a dozen. What is deeper is where the walk ends. */
const deepest = 64;

/** One walk below a product. Both taps of an interpolation read the same: what is known of a node is worked out, and made again, once. */
interface Walk {
  readonly r: Rewriter;
  readonly known: Map<string, Sampled>;
}

/** How `node` comes from fewer rows along all axes but `channels`. `node` itself where nothing is known, or nothing is gained. */
function sampledFrom(node: Node, channels: string, walk: Walk, depth = 0): Sampled {
  const key = `${node.id} ${channels}`;
  const known = walk.known.get(key);
  if (known !== undefined) return known;
  const found = (depth < deepest ? below(node, channels, walk, depth + 1) : undefined) ?? itself(node, channels);
  const made = new Map<Node, Node>();
  const sampled: Sampled = {
    ...found,
    again(y, axis) {
      const result = made.get(y) ?? found.again(y, axis);
      made.set(y, result);
      return result;
    },
  };
  walk.known.set(key, sampled);
  return sampled;
}

const itself = (node: Node, channels: string): Sampled => ({ base: node, channels, work: 0, again: (y) => y });

function below(node: Node, channels: string, walk: Walk, depth: number): Sampled | undefined {
  const { r } = walk;
  const [first, second] = node.inputs;
  if (first === undefined) return undefined;
  const rows = (x: Node): number => elementsOf(x.type.axes.filter((axis) => axis.name !== channels));
  const one = (x: Node, name: string, work: number, make: (y: Node, axis: Axis) => Node): Sampled | undefined => {
    if (elementsOf(x.type.axes.filter((axis) => axis.name !== name)) > rows(node)) return undefined;
    const inner = sampledFrom(x, name, walk, depth);
    return { ...inner, work: inner.work + work, again: (y, axis) => make(inner.again(y, axis), axis) };
  };
  const { op } = node;
  if (op.kind === 'map' && op.converts && isFloat(first.type.dtype) && isFloat(node.type.dtype))
    return one(first, channels, 0, (y) => r.make(op, [y], node.attrs));
  if (op === rearrange) {
    const { split, merge, sizes } = rearrange.read(node.attrs);
    const part = merge.find(({ name }) => name === channels)?.parts;
    const at = split.findIndex((parts) => part !== undefined && parts.length === 1 && parts[0] === part[0]);
    const name = first.type.axes[at]?.name;
    if (part?.length !== 1 || name === undefined) return undefined;
    return one(first, name, 0, (y, axis) =>
      r.make(op, [y], {
        split,
        merge: merge.map((merged) => ({
          name: merged.name === channels ? axis.name : merged.name,
          parts: merged.parts,
        })),
        sizes: { ...sizes, [part[0] ?? '']: axis.size },
      }),
    );
  }
  if (second === undefined) return undefined;
  if (op.kind === 'gather' && alongAxis(node) !== channels && axisOf(second.type.axes, channels) === undefined)
    return one(first, channels, 0, (y) => r.make(op, [y, second], node.attrs));
  if (op.kind === 'contract') {
    const [x, weights] = axisOf(first.type.axes, channels) === undefined ? [second, first] : [first, second];
    const linear = asLinearMap(node);
    if (linear?.x !== x || axisOf(weights.type.axes, channels) !== undefined) return undefined;
    const work = 2 * rows(node) * elementsOf(linear.roles.sum);
    const named = (axis: Axis) => namesOf(node.type.axes).map((name) => (name === channels ? axis.name : name));
    return one(x, channels, work, (y, axis) =>
      x === first ? r.contract(y, weights, named(axis)) : r.contract(weights, y, named(axis)),
    );
  }
  if (op.name === 'mul') {
    const factor = [first, second].find((x) => isFixed(x) && isAlong(x, channels));
    const x = factor === first ? second : first;
    if (factor === undefined || !sameAxes(x.type.axes, node.type.axes)) return undefined;
    const own = factor.op === broadcast ? (factor.inputs[0] ?? factor) : factor;
    return one(x, channels, rows(node), (y) => r.map('mul', y, own));
  }
  if (op.name === 'add') {
    if (![first, second].every((x) => sameAxes(x.type.axes, node.type.axes))) return undefined;
    const [a, b] = [sampledFrom(first, channels, walk, depth), sampledFrom(second, channels, walk, depth)];
    if (a.base !== b.base || a.channels !== b.channels || (a.base === first && b.base === second)) return undefined;
    return {
      ...a,
      work: a.work + b.work + rows(node),
      again: (y, axis) => r.map('add', a.again(y, axis), b.again(y, axis)),
    };
  }
  return undefined;
}

/** The same along an axis: it has none of that name, or has been repeated along it. */
function isAlong(x: Node, name: string): boolean {
  const own = x.op === broadcast ? (x.inputs[0] ?? x) : x;
  return axisOf(own.type.axes, name) === undefined;
}

/** More pieces than this would trade one long product for many short ones. */
const mostPieces = 4;

/** What is joined along the channels, piece by piece as it was sampled. */
function piecesOf({ base, channels }: Sampled, walk: Walk): readonly Sampled[] {
  const joined = base.op.kind === 'join' && alongAxis(base) === channels && base.inputs.length <= mostPieces;
  return (joined ? base.inputs : [base]).map((piece) =>
    isReadElsewhere(piece, walk.r) ? itself(piece, channels) : sampledFrom(piece, channels, walk),
  );
}

/** What is read elsewhere is computed anyway. */
const isReadElsewhere = (node: Node, r: Rewriter): boolean => r.leaves(node) || r.readers(node).length > 1;

function mapFirst(node: Node, r: Rewriter): Node | undefined {
  const product = asLinearMap(node);
  if (product === undefined) return undefined;
  const { x, weights, roles } = product;
  const [sum, ...moreSums] = roles.sum;
  const [column, ...moreColumns] = roles.columns;
  if (sum === undefined || column === undefined) return undefined;
  if (moreSums.length > 0 || moreColumns.length > 0 || roles.batch.length > 0) return undefined;
  if (isReadElsewhere(x, r)) return undefined;
  const walk: Walk = { r, known: new Map() };
  const whole = sampledFrom(x, sum.name, walk);
  const pieces = piecesOf(whole, walk);
  if (pieces.some(({ base }) => base.type.dtype !== x.type.dtype || isFixed(base))) return undefined;
  const width = elementsOf([column]);
  const depthOf = ({ base, channels }: Sampled): number =>
    elementsOf(base.type.axes.filter(({ name }) => name === channels));
  const rowsOf = ({ base, channels }: Sampled): number =>
    elementsOf(base.type.axes.filter(({ name }) => name !== channels));
  const work = [whole, ...pieces].map((one) => [one.work * depthOf(one), one.work * width] as const);
  const now = 2 * elementsOf(roles.rows) * elementsOf([sum]) * width + work.reduce((total, [own]) => total + own, 0);
  const then =
    pieces.reduce((total, piece) => total + 2 * rowsOf(piece) * depthOf(piece) * width, 0) +
    work.reduce((total, [, other]) => total + other, 0);
  // Of nothing there is nothing to gain, and what is made anew would be looked at again without end.
  if (now === 0 || now < leastGain * then) return undefined;
  // A name that nothing below has.
  const taken = new Set(
    [x, weights, whole.base, ...pieces.map(({ base }) => base)].flatMap(({ type }) => namesOf(type.axes)),
  );
  let fresh = `${column.name}_out`;
  while (taken.has(fresh)) fresh = `${fresh}_out`;
  const axis = { name: fresh, size: column.size };
  let offset: Size = 0;
  const terms = pieces.map((piece) => {
    const { base, channels, again } = piece;
    const size = axisOf(base.type.axes, channels)?.size ?? 0;
    const own = r.slice(weights, sum.name, offset, size);
    offset = addSizes(offset, size);
    const names = namesOf(own.type.axes);
    const moved = r.relabel(
      own,
      names,
      names.map((name) => (name === sum.name ? channels : name === column.name ? fresh : name)),
    );
    return again(
      r.contract(
        base,
        moved,
        namesOf(base.type.axes).map((name) => (name === channels ? fresh : name)),
      ),
      axis,
    );
  });
  const large = whole.again(
    terms.reduce((total, term) => r.map('add', total, term)),
    axis,
  );
  const names = namesOf(node.type.axes);
  const result = r.relabel(
    large,
    names.map((name) => (name === column.name ? fresh : name)),
    names,
  );
  return sameType(result.type, node.type) ? result : undefined;
}

export const resamplingRules: readonly Rule[] = [
  {
    name: 'product before resampling',
    why: 'both are linear, the one along channels and the other along rows; a smaller grid has fewer rows to map',
    heads: ['contract'],
    apply: mapFirst,
  },
];

/** After products of joins are split: each stage of an encoder may have a grid of its own. */
export const resampling: RulePass = {
  name: 'resampling',
  why: 'channels are mapped on the smaller grid',
  rules: resamplingRules,
};
