// Work on parameters alone is taken out of the graph: it runs once, when the parameters are loaded.
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import type { SourceOp } from '../../dsl/graph/op.ts';
import { param, typeAttrs } from '../../dsl/ops/source.ts';
import { isFixed } from './fixed.ts';
import { rebuilt } from './rebuilt.ts';

/** A leaf of the main graph: an output of the load graph. Attr `name`: which; `axes` and `dtype`: its type. */
export const loaded: SourceOp = {
  kind: 'source',
  name: 'loaded',
  role: 'loaded',
  fixed: true,
  doc: 'a tensor computed when the parameters are loaded (attr name)',
  infer: (inputs, attrs) => param.infer(inputs, attrs),
};

export interface SplitGraph {
  /** Its outputs, by name, are the `loaded` leaves of `main`; it reads parameters and constants only. */
  readonly load: Graph;
  readonly main: Graph;
}

/** Arithmetic on indices alone, up to this many operations an element, is cheaper than reading its result. */
const cheapFlops = 8;
/** And so is as much of it on tensors that are together so many times smaller: they stay in the caches, where the result would not. */
const muchSmaller = 16;

/**
 * Splits off every maximal node that depends on parameters only and is real work. Views of a parameter stay where they are
 * read (they cost nothing there), and so does a little arithmetic on indices, such as a causal mask.
 * `builder` must be the one that made the graph.
 */
export function splitLoadTime(graph: Graph, builder: Builder): SplitGraph {
  const outputs = new Map<string, Node>();
  const leaves = new Map<Node, Node>();
  const cheap = new Map<Node, number>();
  const names = new Map<string, number>();
  const made = new Map<Node, Node>();

  const leaf = (node: Node): Node => {
    const known = leaves.get(node);
    if (known !== undefined) return known;
    const base = node.origin.path === '' ? node.op.name : `${node.origin.path}.${node.op.name}`;
    const count = (names.get(base) ?? 0) + 1;
    names.set(base, count);
    const name = count === 1 ? base : `${base}.${count}`;
    outputs.set(name, node);
    const made = builder.make(loaded, [], { name, ...typeAttrs(node.type.axes, node.type.dtype) }, node.origin);
    leaves.set(node, made);
    return made;
  };

  /** What the main graph reads in the place of a fixed node. */
  const place = (node: Node): Node => {
    if (node.op.kind === 'source' || (cheap.get(node) ?? Infinity) <= cheapFlops) return node;
    if (isSpread(node)) return rebuilt(node, place, builder);
    const [x] = node.inputs;
    // A 16-bit parameter is widened where it is read, and stays narrow in memory.
    if ((node.op.kind !== 'view' && !isWidening(node)) || x === undefined) return leaf(node);
    const below = place(x);
    return below === x ? node : builder.remake(node, [below]);
  };

  for (const node of order(graph)) {
    if (isFixed(node)) cheap.set(node, indexFlops(node, cheap));
    else
      made.set(
        node,
        rebuilt(node, (input) => (isFixed(input) ? place(input) : must(made, input)), builder),
      );
  }
  const main = mapGraph(graph, (node) => (isFixed(node) ? place(node) : must(made, node)));
  return { load: { outputs, updates: [] }, main };
}

/** A 16-bit float as f32. */
export function isWidening(node: Node): boolean {
  const dtype = node.inputs[0]?.type.dtype;
  return (
    node.op.kind === 'map' && node.op.converts && node.type.dtype === 'f32' && (dtype === 'f16' || dtype === 'bf16')
  );
}

/** A little arithmetic on tensors much smaller than its result: a table of rows beside an index of columns. */
function isSpread(node: Node): boolean {
  if (node.op.kind !== 'map') return false;
  const leaves = new Set<Node>();
  // Views are transparent; each reading of a node counts its operations again, as a kernel would.
  const flopsOf = (each: Node, left: number): number => {
    if (each.op.kind !== 'map' && each.op.kind !== 'view') {
      leaves.add(each);
      return 0;
    }
    const own = each.op.kind === 'map' ? each.op.flops : 0;
    if (own > left) return Infinity;
    return each.inputs.reduce((sum, input) => sum + flopsOf(input, left - sum), own);
  };
  if (flopsOf(node, cheapFlops) > cheapFlops) return false;
  const stored = [...leaves].reduce(
    (sum, leaf) => sum + (leaf.op.kind === 'source' && leaf.op.role === 'index' ? 0 : elementsOf(leaf.type.axes)),
    0,
  );
  return muchSmaller * stored <= elementsOf(node.type.axes);
}

/** Operations per element where a node depends on indices and single numbers only; otherwise infinite. */
function indexFlops(node: Node, known: ReadonlyMap<Node, number>): number {
  const below = node.inputs.reduce((sum, input) => sum + (known.get(input) ?? Infinity), 0);
  switch (node.op.kind) {
    case 'source':
      return node.op.role === 'index' || (node.op.role === 'constant' && node.type.axes.length === 0) ? 0 : Infinity;
    case 'view':
      return below;
    case 'map':
      return below + node.op.flops;
    default:
      return Infinity;
  }
}
