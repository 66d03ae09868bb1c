// Siblings: products that share their activations become one product with the weights side by side, and slices of it. Quantized weights stay
// where they are, for nothing stores what they stand for: the kernel finds the planes of a column as it loads them.
import { namesOf } from '../../dsl/axis/axes.ts';
import { addSizes, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Builder, Graph, Node, Origin } from '../../dsl/graph/graph.ts';
import { mapGraph, mapsAfter, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import { isFixed, isUnpacked, planesUnder } from '../rewrite/fixed.ts';
import { sortedSymbols } from '../../dsl/graph/symbols.ts';
import { layerOf } from '../match/layer.ts';
import { choicesOf } from '../profile.ts';
import type { GraphPass } from '../rewrite/pass.ts';
import { asLinearMap, asUnpackedMap, withBias, type Biased, type LinearMap } from '../match/linear-map.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { Rewriter } from '../rewrite/rewriter.ts';
import { scalarValue } from '../rewrite/rules.ts';

/** Its end is what is replaced. */
interface Sibling extends Biased {
  readonly product: LinearMap;
  readonly column: Axis;
}

type Readers = ReadonlyMap<Node, readonly Node[]>;

function asSibling(node: Node, readers: Readers, leaves: ReadonlySet<Node>): Sibling | undefined {
  const product = asLinearMap(node) ?? asUnpackedMap(node);
  const [column, ...more] = product?.roles.columns ?? [];
  if (
    product === undefined ||
    column === undefined ||
    more.length > 0 ||
    product.roles.batch.length > 0 ||
    leaves.has(node)
  )
    return undefined;
  return { product, column, ...withBias(node, column.name, readers, leaves) };
}

/** A factor or a cast costs the next reader nothing. */
function isLight(map: Node): boolean {
  return (
    map.op.name === 'cast' ||
    ((map.op.name === 'mul' || map.op.name === 'add') && map.inputs.some((input) => scalarValue(input) !== undefined))
  );
}

/**
 * A product followed by a map of its own (the GELU of an MLP beside an attention) keeps its epilogue, which a slice would cut
 * off. Products that views, joins and contractions read, or whose maps meet (gate and up), lose nothing.
 */
function mergeable(siblings: readonly Sibling[], readers: Readers): readonly Sibling[] {
  const after = siblings.map((sibling) => mapsAfter(sibling.end, readers));
  return siblings.filter((_, i) => {
    const own = [...(after[i] ?? [])];
    return own.every(isLight) || after.some((other, k) => k !== i && own.some((map) => other.has(map)));
  });
}

export const siblings: GraphPass = {
  name: 'siblings',
  why: 'one large product uses the device better than several that read the same activations',
  run(graph, builder, fire, profile) {
    const nodes = order(graph);
    const readers = readersOf(nodes);
    const groups = new Map<Node, readonly Sibling[]>();
    const sizes = sortedSymbols(graph, 'compile').length > 0 ? 1 : 0;
    const mostPlanes = choicesOf(profile).joinsQuantized
      ? (profile?.maxBindings ?? Infinity) - sizes - otherBindings
      : 0;
    for (const all of groupsOf(graph, nodes, readers))
      for (const group of withinPlanes(all, mostPlanes)) for (const sibling of group) groups.set(sibling.end, group);
    if (groups.size === 0) return graph;
    const made = new Map<Node, Node>();
    // Weights first: a group is built where its first member stands, and needs the weights of all.
    const isWeight = (node: Node): boolean => isFixed(node) || isUnpacked(node);
    for (const node of [...nodes.filter(isWeight), ...nodes.filter((node) => !isWeight(node))]) {
      const group = groups.get(node);
      const [first] = group ?? [];
      if (group !== undefined && first !== undefined && !made.has(node)) {
        fire('products of one tensor');
        for (const [sibling, next] of merge(group, made, builder)) made.set(sibling.end, next);
      }
      if (!made.has(node))
        made.set(
          node,
          rebuilt(node, (input) => must(made, input), builder),
        );
    }
    return mapGraph(graph, (node) => must(made, node));
  },
};

function groupsOf(graph: Graph, nodes: readonly Node[], readers: Readers): readonly (readonly Sibling[])[] {
  const leaves = new Set(roots(graph));
  const candidates = new Map<string, Sibling[]>();
  for (const node of nodes) {
    const sibling = asSibling(node, readers, leaves);
    if (sibling === undefined || leaves.has(sibling.end)) continue;
    const { product } = sibling;
    const key = `${product.x.id} ${product.weights.type.dtype} ${isUnpacked(product.weights)} ${namesOf(product.roles.sum).toSorted().join()} ${layerOf(node.origin.path)}`;
    candidates.set(key, [...(candidates.get(key) ?? []), sibling]);
  }
  return [...candidates.values()].map((group) => mergeable(group, readers)).filter((group) => group.length > 1);
}

/** Of the kernel of a product: the rows, vectors, and the result. Where a norm's do not fit besides, it has a kernel of its own. */
const otherBindings = 3;

/** Quantized weights side by side take bindings for the planes of each: in order, as many as a kernel can bind. Others are joined at load. */
function withinPlanes(group: readonly Sibling[], most: number): readonly (readonly Sibling[])[] {
  const parts: Sibling[][] = [];
  let planes = 0;
  for (const sibling of group) {
    const { weights } = sibling.product;
    const own = isUnpacked(weights) ? planesUnder(weights).length : 0;
    const last = parts.at(-1);
    if (last === undefined || (own > 0 && planes + own > most)) {
      parts.push([sibling]);
      planes = own;
    } else {
      last.push(sibling);
      planes += own;
    }
  }
  return parts.filter((part) => part.length > 1);
}

/** The path that all origins share. */
function sharedOrigin(group: readonly Sibling[]): Origin {
  const [first, ...rest] = group.map((sibling) => sibling.product.node.origin);
  const names = first?.path.split('.') ?? [];
  const shared = names.findIndex((name, i) => rest.some((origin) => origin.path.split('.')[i] !== name));
  // The place is read from a stack, which takes time: only when asked.
  return {
    path: (shared < 0 ? names : names.slice(0, shared)).join('.'),
    get place() {
      return first?.place;
    },
  };
}

/** One product for the group, and for each sibling its slice of it. */
function merge(group: readonly Sibling[], made: ReadonlyMap<Node, Node>, builder: Builder): ReadonlyMap<Sibling, Node> {
  const [first] = group;
  const slices = new Map<Sibling, Node>();
  if (first === undefined) return slices;
  const r = new Rewriter(builder, sharedOrigin(group));
  const column = first.column.name;
  const layout = namesOf(first.product.weights.type.axes);
  const weights = group.map((sibling) => {
    const from = layout.map((name) => (name === column ? sibling.column.name : name));
    return r.relabel(must(made, sibling.product.weights), from, layout);
  });
  const axes = namesOf(first.product.node.type.axes);
  let all = r.contract(must(made, first.product.x), r.concat(weights, column), axes);
  if (group.some((sibling) => sibling.bias !== undefined)) {
    const biases = group.map((sibling) =>
      sibling.bias === undefined
        ? r.broadcast(r.scalar(0, all.type.dtype), [{ name: column, size: sibling.column.size }])
        : r.relabel(must(made, sibling.bias), [sibling.column.name], [column]),
    );
    all = r.map('add', all, r.concat(biases, column));
  }
  let offset: Size = 0;
  for (const sibling of group) {
    const own = new Rewriter(builder, sibling.product.node.origin);
    const taken = own.slice(all, column, offset, sibling.column.size);
    const wanted = namesOf(sibling.end.type.axes);
    slices.set(
      sibling,
      own.relabel(
        taken,
        wanted.map((name) => (name === sibling.column.name ? column : name)),
        wanted,
      ),
    );
    offset = addSizes(offset, sibling.column.size);
  }
  return slices;
}
