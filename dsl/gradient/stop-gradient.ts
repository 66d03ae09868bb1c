// A value that counts as a constant when gradients are taken. The node lives while a model is traced: the finished graph has no trace of it.
import type { Builder, Graph, Node } from '../graph/graph.ts';
import type { DType, MapOp } from '../graph/op.ts';
import { mapGraph, order } from '../graph/walk.ts';
import { apply, type Tensor } from '../tensor.ts';

const stop: MapOp = {
  kind: 'map',
  name: 'stopGradient',
  doc: 'x; no gradient goes through',
  arity: 1,
  converts: false,
  commutes: false,
  rounding: 0,
  jumps: false,
  apart: false,
  flops: 0,
  sample: [-4, 4],
  dtype: ([dtype = 'f32']) => dtype,
  eval: ([x = NaN]) => x,
  wgsl: ([x]) => {
    if (x === undefined) throw new TypeError('stopGradient has one operand');
    return x;
  },
  grad: () => [undefined],
  accuracy: () => 0,
};

/**
 * `x`, through which no gradient goes: it counts as a constant, and so does everything that only it needs.
 * @example x.sub(stopGradient(x))
 */
export function stopGradient<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return apply('stopGradient', stop, [x]);
}

/** The graph without the marks of `stopGradient`. */
export function withoutStops(graph: Graph, builder: Builder): Graph {
  const nodes = order(graph);
  if (!nodes.some((node) => node.op === stop)) return graph;
  const made = new Map<Node, Node>();
  const clean = (node: Node): Node => made.get(node) ?? node;
  for (const node of nodes) {
    const inputs = node.inputs.map(clean);
    const [first] = inputs;
    if (node.op === stop && first !== undefined) made.set(node, first);
    else if (inputs.some((input, i) => input !== node.inputs[i])) made.set(node, builder.remake(node, inputs));
  }
  return mapGraph(graph, clean);
}
