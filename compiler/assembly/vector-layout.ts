// The vectors of a layer in one buffer, one behind the other: scales and shifts of its norms, biases, scales of what it adds to the residual
// stream. Each by itself takes one of the bindings of a kernel, of which many devices have ten: with one for all, kernels that make their own
// norm still have room for quantized weights side by side. Stored once, at load.
import { bytesOf } from '../cost.ts';
import { namesOf } from '../../dsl/axis/axes.ts';
import { roleOf, type Builder, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, roots } from '../../dsl/graph/walk.ts';
import { nameOf, typeAttrs } from '../../dsl/ops/source.ts';
import { layerOf } from '../match/layer.ts';
import { isFixed, isUnpacked, planesUnder } from '../rewrite/fixed.ts';
import { loaded, type SplitGraph } from '../rewrite/load-time.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { Rewriter } from '../rewrite/rewriter.ts';

/** Longer ones are not what a layer has beside its matrices. */
const mostBytes = 2 ** 20;
/** Vectors are read four elements at once, so each begins at such a place. */
const together = 4;

/** The layer that a vector of its parameters belongs to; undefined for every other node. */
function layerOfVector(node: Node): string | undefined {
  const [axis, ...more] = node.type.axes;
  if (axis === undefined || more.length > 0 || typeof axis.size !== 'number' || axis.size % together !== 0)
    return undefined;
  if (!isFixed(node) || bytesOf(node.type) > mostBytes) return undefined;
  const layer = layerOf(roleOf(node) === 'param' ? nameOf(node) : node.origin.path);
  return layer === '' ? undefined : layer;
}

/** What a product binds besides its weights that makes the norm of its rows: these, the scale and the shift, a bias, and the result. */
const besideWeights = 5;

/** Layers with a product of quantized weights side by side whose kernel would bind too many buffers. */
function crowdedLayers({ main }: SplitGraph, mostBindings: number): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { op, inputs, origin } of order(main)) {
    if (op.kind !== 'contract') continue;
    const weights = inputs.find((input) => input.op.kind === 'join' && isUnpacked(input));
    if (weights !== undefined && planesUnder(weights).length + besideWeights > mostBindings)
      found.add(layerOf(origin.path));
  }
  return found;
}

interface Place {
  readonly whole: Node;
  readonly start: number;
}

/** The same two graphs, where kernels of layers that would bind too much read ranges of one tensor. */
export function layVectors(split: SplitGraph, builder: Builder, mostBindings: number): SplitGraph {
  const crowded = crowdedLayers(split, mostBindings);
  if (crowded.size === 0) return split;
  const outputs = new Map(split.load.outputs);
  const kept = new Set(roots(split.main));
  const layers = new Map<string, Node[]>();
  for (const node of order(split.main)) {
    const role = roleOf(node);
    const layer = (role === 'param' || role === 'loaded') && !kept.has(node) ? layerOfVector(node) : undefined;
    if (layer === undefined || !crowded.has(layer)) continue;
    const key = `${layer} ${node.type.dtype}`;
    layers.set(key, [...(layers.get(key) ?? []), node]);
  }
  const places = new Map<Node, Place>();
  for (const vectors of layers.values()) {
    const [first] = vectors;
    if (first === undefined || vectors.length < 2) continue;
    const r = new Rewriter(builder, first.origin);
    const whole = r.concat(
      vectors.map((vector) => r.relabel(fromParameters(vector), namesOf(vector.type.axes), [along])),
      along,
    );
    const leaf = store(whole, layerOfVector(first) ?? '');
    let start = 0;
    for (const vector of vectors) {
      places.set(vector, { whole: leaf, start });
      start += Number(vector.type.axes[0]?.size);
    }
  }
  if (places.size === 0) return split;
  const made = new Map<Node, Node>();
  for (const node of order(split.main)) {
    const place = places.get(node);
    made.set(
      node,
      place === undefined ? rebuilt(node, (input) => must(made, input), builder) : range(node, place, builder),
    );
  }
  const main = mapGraph(split.main, (node) => must(made, node));
  const read = new Set(order(main).flatMap((node) => (roleOf(node) === 'loaded' ? [nameOf(node)] : [])));
  return { load: { outputs: new Map([...outputs].filter(([name]) => read.has(name))), updates: [] }, main };

  /** A leaf of the main graph in terms of parameters. */
  function fromParameters(leaf: Node): Node {
    return roleOf(leaf) === 'loaded' ? must(split.load.outputs, nameOf(leaf)) : leaf;
  }

  function store(value: Node, layer: string): Node {
    let name = `${layer}.vectors`;
    for (let n = 2; outputs.has(name); n++) name = `${layer}.vectors.${n}`;
    outputs.set(name, value);
    return builder.make(loaded, [], { name, ...typeAttrs(value.type.axes, value.type.dtype) }, value.origin);
  }
}

const along = 'vector';

function range(vector: Node, { whole, start }: Place, builder: Builder): Node {
  const r = new Rewriter(builder, vector.origin);
  return r.relabel(r.slice(whole, along, start, vector.type.axes[0]?.size ?? 0), [along], namesOf(vector.type.axes));
}
