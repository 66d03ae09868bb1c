// Keys or values as attention reads them: along the key axis a concatenation of parts, each perhaps a product with fixed weights.
import { axesWithin } from '../../dsl/axis/axes.ts';
import { axisOf, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import type { RearrangeAttrs } from '../../dsl/ops/view-pattern.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { asLinearMap, type LinearMap } from '../match/linear-map.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';

export interface Parts {
  readonly parts: readonly Part[];
  /** The key axis by the name that it has in the parts. */
  readonly along: string;
  /** A part, or parts joined, as attention reads them: heads split off. */
  shown(part: Node): Node;
}

export interface Part {
  readonly node: Node;
  /** Tokens along the key axis. */
  readonly size: number;
  readonly projection: Projection | undefined;
}

/** x·W, or x·W + b. Axes have the names that attention sees; those summed have names that nothing else has. */
export interface Projection {
  /** The product in the part, without its bias. */
  readonly product: Node;
  readonly x: Node;
  readonly weights: Node;
  /** As it stands in the part. */
  readonly bias: Node | undefined;
  readonly rows: readonly Axis[];
  readonly columns: readonly Axis[];
  readonly sum: readonly Axis[];
  /** Something along the product's columns, as attention sees them. */
  shownColumns(x: Node): Node;
}

/** An elementary axis of a rearrange that stands alone in its result. */
interface Piece {
  readonly part: string;
  readonly name: string;
  readonly size: Size;
}

/** How one rearrange shows an axis of its operand; undefined where it merges some of it with others. */
type Shown = (axis: Axis) => readonly Piece[] | undefined;

/** A product as x times weights, where the tokens lie along this axis. */
export type AsProduct = (node: Node, along: string) => Pick<LinearMap, 'x' | 'weights' | 'roles'> | undefined;

/**
 * `taken`: names that summed axes must not have; those of heads that are split off are added. Undefined where the number of tokens of a part is a symbol's.
 * Weights are what is fixed, unless `asProduct` says otherwise.
 */
export function projections(
  node: Node,
  keyAxis: string,
  taken: Set<string>,
  r: Rewriter,
  asProduct: AsProduct = asLinearMap,
): Parts | undefined {
  const [under] = node.inputs;
  const view =
    node.op === rearrange && under !== undefined ? { x: under, attrs: rearrange.read(node.attrs) } : undefined;
  const inner = view === undefined ? node : view.x;
  const shown: Shown =
    view === undefined
      ? (axis) => [{ part: axis.name, name: axis.name, size: axis.size }]
      : (axis) => shownBy(view.attrs, view.x, axis);
  for (const part of view?.attrs.split.flat() ?? []) taken.add(part);
  const key = inner.type.axes.find((axis) => {
    const [only, ...more] = shown(axis) ?? [];
    return only?.name === keyAxis && more.length === 0;
  });
  if (key === undefined) {
    const size = tokens(node, keyAxis);
    return size === undefined
      ? undefined
      : { parts: [{ node, size, projection: undefined }], along: keyAxis, shown: (x) => x };
  }
  const keyPart = shown(key)?.[0]?.part ?? keyAxis;
  const nodes = inner.op.kind === 'join' && inner.op.read(inner.attrs).axis === key.name ? inner.inputs : [inner];
  const again = (x: Node): Node => {
    if (view === undefined) return x;
    const own = x.type.axes.find((axis) => axis.name === key.name);
    return r.make(rearrange, [x], {
      ...node.attrs,
      sizes: { ...view.attrs.sizes, ...(own === undefined ? {} : { [keyPart]: own.size }) },
    });
  };
  const parts: Part[] = [];
  for (const part of nodes) {
    const size = tokens(part, key.name);
    if (size === undefined) return undefined;
    parts.push({ node: part, size, projection: projectionOf(part, key.name, shown, taken, r, asProduct) });
  }
  return { parts, along: key.name, shown: again };
}

function tokens(node: Node, name: string): number | undefined {
  const size = axisOf(node.type.axes, name)?.size;
  return typeof size === 'number' ? size : undefined;
}

function shownBy({ split, merge, sizes }: RearrangeAttrs, x: Node, axis: Axis): readonly Piece[] | undefined {
  const parts = split[x.type.axes.findIndex((own) => own.name === axis.name)] ?? [];
  const names = parts.flatMap((part) => {
    const alone = merge.find((merged) => merged.parts.length === 1 && merged.parts[0] === part);
    const size = sizes[part];
    return alone === undefined || size === undefined ? [] : [{ part, name: alone.name, size }];
  });
  return names.length === parts.length ? names : undefined;
}

function projectionOf(
  part: Node,
  along: string,
  shown: Shown,
  taken: Set<string>,
  r: Rewriter,
  asProduct: AsProduct,
): Projection | undefined {
  const [a, b] = part.inputs;
  const bias = part.op.name !== 'add' ? undefined : b !== undefined && isFixed(b) ? b : a;
  const node = bias === undefined ? part : part.inputs.find((input) => input !== bias);
  const product = node === undefined ? undefined : asProduct(node, along);
  // Read by something else too, the product is worked out all the same.
  if (node === undefined || product === undefined || [node, part].some((n) => r.leaves(n) || r.readers(n).length > 1))
    return undefined;
  const {
    roles: { batch, rows, columns, sum },
    x,
    weights,
  } = product;
  if (batch.length > 0 || (bias !== undefined && (!isFixed(bias) || !axesWithin(bias.type.axes, columns))))
    return undefined;
  const summed = fresh(sum, taken);
  const pieces = new Map<string, readonly Piece[]>();
  for (const axis of [...rows, ...columns]) {
    const own = shown(axis);
    if (own === undefined || (rows.includes(axis) && own.length !== 1)) return undefined;
    // How the whole is shown gives a row its name only: along the key axis a part is shorter.
    pieces.set(axis.name, rows.includes(axis) ? own.map((piece) => ({ ...piece, size: axis.size })) : own);
  }
  for (const [axis, piece] of summed) pieces.set(axis.name, [piece]);
  const named = (axes: readonly Axis[]): readonly Axis[] =>
    axes.flatMap((axis) => (pieces.get(axis.name) ?? []).map(({ name, size }) => ({ name, size })));
  const split = (y: Node): Node => splitInto(y, (axis) => pieces.get(axis.name) ?? [], r);
  return {
    product: node,
    x: split(x),
    weights: split(weights),
    bias,
    shownColumns: split,
    rows: named(rows),
    columns: named(columns),
    sum: named(sum),
  };
}

/** Summed axes with names that nothing else has that they meet; other parts have them too, so that what is equal is one node. */
function fresh(sum: readonly Axis[], others: ReadonlySet<string>): ReadonlyMap<Axis, Piece> {
  const taken = new Set(others);
  return new Map(
    sum.map((axis) => {
      let name = axis.name;
      while (taken.has(name)) name = `${name}_in`;
      taken.add(name);
      return [axis, { part: name, name, size: axis.size }];
    }),
  );
}

/** Each axis as its pieces, in place; the node itself where nothing changes. */
function splitInto(y: Node, piecesOf: (axis: Axis) => readonly Piece[], r: Rewriter): Node {
  const pieces = y.type.axes.map(piecesOf);
  if (pieces.every((list, i) => list.length === 1 && list[0]?.name === y.type.axes[i]?.name)) return y;
  const all = pieces.flat();
  return r.make(rearrange, [y], {
    split: pieces.map((list) => list.map(({ part }) => part)),
    merge: all.map(({ part, name }) => ({ name, parts: [part] })),
    sizes: Object.fromEntries(all.map(({ part, size }) => [part, size])),
  });
}
