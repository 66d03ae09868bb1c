// Values of a block that the backward pass computes again instead of keeping.
import type { Builder, Node } from '../graph/graph.ts';
import { orderFrom } from '../graph/walk.ts';
import { mapOp } from '../ops/map/index.ts';
import type { Tensor } from '../tensor.ts';

interface Block {
  readonly inputs: readonly Node[];
}

// Facts about nodes of traces in progress; they go with the nodes.
const blocks = new WeakMap<Node, Block>();

/**
 * `f(...xs)`, of which the backward pass keeps `xs` alone: what the gradients need of the values in between is computed a second time.
 * Memory of one block in exchange for its forward arithmetic (Chen et al. 2016, "Training deep nets with sublinear memory cost").
 */
export function recompute<const X extends readonly Tensor[], Y extends Tensor>(f: (...xs: X) => Y, ...xs: X): Y {
  const y = f(...xs);
  const inputs = xs.map((x) => x.node);
  if (!inputs.includes(y.node)) blocks.set(y.node, { inputs });
  return y;
}

/** Copies of the nodes of blocks that are to be computed again. */
export class Replays {
  readonly #copies = new Map<Node, Node>();

  constructor(builder: Builder, nodes: readonly Node[]) {
    // From the loss backwards: a block within a block is copied with it, from the outer block's inputs.
    for (const node of nodes.toReversed()) {
      const block = blocks.get(node);
      if (block !== undefined && !this.#copies.has(node)) this.#copy(builder, node, block);
    }
  }

  /** The node whose operands the backward pass reads in the place of those of `node`. */
  of(node: Node): Node {
    return this.#copies.get(node) ?? node;
  }

  #copy(builder: Builder, result: Node, { inputs }: Block): void {
    const starts = new Set(inputs);
    const inside = new Map<Node, Node>();
    for (const x of inputs) inside.set(x, builder.make(mapOp('again'), [x], {}, x.origin));
    for (const node of orderFrom([result])) {
      if (starts.has(node)) continue;
      const operands = node.inputs.map((input) => inside.get(input) ?? input);
      if (operands.every((operand, i) => operand === node.inputs[i])) continue;
      const copy = builder.make(node.op, operands, node.attrs, node.origin);
      inside.set(node, copy);
      if (!this.#copies.has(node)) this.#copies.set(node, copy);
    }
  }
}
