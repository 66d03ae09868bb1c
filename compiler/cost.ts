// Arithmetic and memory traffic of nodes, from their op records, at the largest sizes that the symbols allow.
import { elementsOf } from '../dsl/axis/axes.ts';
import { dtypeBytes } from '../dsl/graph/elements.ts';
import type { Graph, Node } from '../dsl/graph/graph.ts';
import { order, nodeFields } from '../dsl/graph/walk.ts';
import type { TensorType } from '../dsl/graph/op.ts';
import { roles } from '../dsl/ops/contract.ts';
import { requireFields } from '../dsl/graph/required.ts';

export interface Cost {
  /** Floating-point operations; a multiply-add counts two. */
  readonly flops: number;
  /** Bytes read and written if the node were a kernel of its own. */
  readonly bytes: number;
}

export function bytesOf(type: TensorType): number {
  return elementsOf(type.axes) * dtypeBytes(type.dtype);
}

/**
 * Contraction 2·M·N·K, reduction one per element read, map its record's flops per element; views, joins and gathers only move.
 * @example order(graph).reduce((sum, node) => sum + flopsOf(node), 0)
 */
export function flopsOf(node: Node): number {
  requireFields('flopsOf', node, nodeFields, 'flopsOf(x.node)', 'the node');
  const [a, b] = node.inputs;
  switch (node.op.kind) {
    case 'map':
      return node.op.flops * elementsOf(node.type.axes);
    case 'reduce':
      return a === undefined ? 0 : elementsOf(a.type.axes);
    case 'scatter':
      return a === undefined ? 0 : elementsOf(a.type.axes);
    case 'contract':
      return a === undefined || b === undefined
        ? 0
        : 2 * elementsOf(node.type.axes) * elementsOf(roles(a.type, b.type, node.type).sum);
    case 'source':
    case 'view':
    case 'join':
    case 'gather':
    case 'sort':
      return 0;
    default:
      return node.op satisfies never;
  }
}

/** A view and a source move nothing by themselves; a gather reads only the rows it takes. */
export function trafficOf(node: Node): number {
  const out = bytesOf(node.type);
  switch (node.op.kind) {
    case 'source':
    case 'view':
      return 0;
    case 'gather':
      return 2 * out + bytesOf(node.inputs[1]?.type ?? node.type);
    default:
      return node.inputs.reduce((sum, input) => sum + bytesOf(readFrom(input).type), out);
  }
}

/** What is really read through a view: one that repeats reads its operand. */
function readFrom(node: Node): Node {
  return node.op.kind === 'view' && node.op.shows === 'repeated' && node.inputs[0] !== undefined
    ? readFrom(node.inputs[0])
    : node;
}

export function costOf(node: Node): Cost {
  return { flops: flopsOf(node), bytes: trafficOf(node) };
}

/** The sum over all nodes of the graph, each as a kernel of its own: an upper bound that fusion improves on. */
export function graphCost(graph: Graph): Cost {
  return order(graph).reduce<Cost>(
    (sum, node) => ({ flops: sum.flops + flopsOf(node), bytes: sum.bytes + trafficOf(node) }),
    { flops: 0, bytes: 0 },
  );
}
