// Masks, as the bound of errors should see them. WGSL lets exp(x) be (3 + 2|x|) units in the last place wrong, which for the −3·10³⁸ of a
// masked key is a weight of 7: a bound that any result keeps. Drivers give 0 for what is that far below. So the bound is taken from a graph
// with the same values, whose exponents stop at −1000, where e^x is 0 in double precision too, and whose masks are numbers of f32.
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { constant, typeAttrs } from '../../dsl/ops/source.ts';

/** The graph again, with exponents of at least −1000 and constants at or below −10³⁸ rounded to f32. Throws for graphs with states. */
export function withNearExponents(graph: Graph): Graph {
  if (graph.updates.length > 0) throw new TypeError('a graph with updates');
  const builder = new Builder();
  const made = new Map<Node, Node>();
  const of = (node: Node): Node => made.get(node) ?? fail(node);
  for (const node of order(graph)) {
    const { values } = node.attrs;
    const attrs =
      values instanceof Float64Array
        ? { ...node.attrs, values: values.map((x) => (x <= -1e38 ? Math.fround(x) : x)) }
        : node.attrs;
    made.set(
      node,
      builder.make(
        node.op,
        node.inputs.map((x) => (node.op.name === 'exp' ? floored(of(x)) : of(x))),
        attrs,
        node.origin,
      ),
    );
  }
  return { outputs: new Map([...graph.outputs].map(([name, node]) => [name, of(node)])), updates: [] };

  function floored(x: Node): Node {
    return builder.make(mapOp('max'), [
      x,
      builder.make(constant, [], { ...typeAttrs([], x.type.dtype), values: Float64Array.of(-1000) }),
    ]);
  }
}

function fail(node: Node): never {
  throw new TypeError(`${node.op.name} stands before its operand`);
}
