// Values of a block that the backward pass computes again instead of keeping.
import type { Builder, Node } from '../graph/graph.ts';
import { orderFrom } from '../graph/walk.ts';
import { mapOp } from '../ops/map/index.ts';
import type { Tensor } from '../tensor.ts';
import { OpabiniaError } from '../error.ts';
import { requireTensor } from '../tensor.ts';
import { said } from '../graph/required.ts';

interface Block {
  readonly inputs: readonly Node[];
}

// Facts about nodes of traces in progress; they go with the nodes.
const blocks = new WeakMap<Node, Block>();

/**
 * `f(...xs)`, of which the backward pass keeps `xs` alone: what the gradients need of the values in between is computed a second time.
 * Memory of one block in exchange for its forward arithmetic (Chen et al. 2016, "Training deep nets with sublinear memory cost").
 * @example recompute((h) => gelu(linear(p.at('fc'), h, 'f', { size: 32 })), x)
 */
export function recompute<const X extends readonly Tensor[], Y extends Tensor>(f: (...xs: X) => Y, ...xs: X): Y {
  if (typeof f !== 'function')
    throw new OpabiniaError(`the function is ${said(f)}`, { op: 'recompute', advice: 'recompute((h) => gelu(h), x)' });
  for (const x of xs) requireTensor('recompute', x);
  const y = f(...xs);
  requireTensor('recompute', y);
  const inputs = xs.map((x) => x.node);
  if (!inputs.includes(y.node)) blocks.set(y.node, { inputs });
  return y;
}

/**
 * Copies of the nodes of blocks that are to be computed again. Each block is copied when the walk from the loss first comes to it: in the
 * order of the graph, and so of its kernels, its values are computed again right before they are needed.
 */
export class Replays {
  readonly #builder: Builder;
  readonly #blockOf = new Map<Node, Node>();
  readonly #copies = new Map<Node, Node>();

  /** `nodes`: those that the loss depends on, operands first. */
  constructor(builder: Builder, nodes: readonly Node[]) {
    this.#builder = builder;
    // From the loss backwards: a block within a block is copied with it, from the outer block's inputs.
    for (const result of nodes.toReversed()) {
      const block = blocks.get(result);
      if (block === undefined || this.#blockOf.has(result)) continue;
      for (const node of insideOf(result, block)) if (!this.#blockOf.has(node)) this.#blockOf.set(node, result);
    }
  }

  /** The node whose operands the backward pass reads in the place of those of `node`. */
  of(node: Node): Node {
    const result = this.#blockOf.get(node);
    const block = result === undefined ? undefined : blocks.get(result);
    if (result !== undefined && block !== undefined && !this.#copies.has(node)) this.#copy(result, block);
    return this.#copies.get(node) ?? node;
  }

  #copy(result: Node, block: Block): void {
    const inside = new Map<Node, Node>(
      block.inputs.map((x) => [x, this.#builder.make(mapOp('again'), [x], {}, x.origin)]),
    );
    for (const node of insideOf(result, block)) {
      const copy = this.#builder.make(
        node.op,
        node.inputs.map((input) => inside.get(input) ?? input),
        node.attrs,
        node.origin,
      );
      inside.set(node, copy);
      if (this.#blockOf.get(node) === result) this.#copies.set(node, copy);
    }
  }
}

/** What a block computes from its inputs, operands first. One of them may be computed from another: that is not inside. */
function insideOf(result: Node, { inputs }: Block): readonly Node[] {
  const [inside, behind] = [new Set<Node>(), new Set<Node>()];
  const depends = new Set<Node>(inputs);
  const open = [result];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (behind.has(node) || depends.has(node)) continue;
    behind.add(node);
    open.push(...node.inputs);
  }
  for (const node of orderFrom([result])) {
    if (!behind.has(node) || !node.inputs.some((input) => depends.has(input))) continue;
    depends.add(node);
    inside.add(node);
  }
  return [...inside];
}
