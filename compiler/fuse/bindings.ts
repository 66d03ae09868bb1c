// How many buffers a kernel binds, counted before it is written: what fusion makes must fit the device.
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import { symbolsOf } from '../../dsl/graph/symbols.ts';
import { bytesOf } from '../cost.ts';
import { bytesInBinding } from '../kernel/kernel.ts';
import type { DeviceProfile } from '../profile.ts';
import { isUnpacked, planesUnder } from '../rewrite/fixed.ts';
import { isStoredSource } from './group.ts';

export interface BindingBudget {
  /** Bindings of one kernel, without the sizes of a run. */
  readonly most: number;
  /** Outputs and updates: stored in any case, views among them too. */
  readonly kept: ReadonlySet<Node>;
  /** Bindings of a stored value: one, or its pieces where it is over the limit for one. */
  of(node: Node): number;
  /** Whether one binding holds so many elements. */
  holds(elements: number, dtype: DType): boolean;
}

export function bindingBudget(graph: Graph, kept: ReadonlySet<Node>, profile: DeviceProfile): BindingBudget {
  const sizes = symbolsOf(graph, 'compile').length > 0 ? 1 : 0;
  return {
    most: profile.maxBindings - sizes,
    kept,
    holds: (elements, dtype) => elements * dtypeBytes(dtype) <= bytesInBinding(profile.maxBindingBytes),
    of: (node) => Math.max(1, Math.ceil(bytesOf(node.type) / bytesInBinding(profile.maxBindingBytes))),
  };
}

/** Single numbers and positions: nothing is bound for them. */
export function isUnbound(node: Node): boolean {
  return node.op.kind === 'source' && !isStoredSource(node);
}

/** What a view shows, through all views on it that are not stored themselves. */
export function underViews(node: Node, budget: BindingBudget): Node {
  const [x] = node.inputs;
  return node.op.kind === 'view' && x !== undefined && !budget.kept.has(node) ? underViews(x, budget) : node;
}

/** The operands that a set of nodes takes from elsewhere, each seen through its views; of a quantized weight, which nothing stores, what it is made of. */
export function operandsOf(members: ReadonlySet<Node>, budget: BindingBudget): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of members)
    for (const input of node.inputs) {
      if (members.has(input)) continue;
      const operand = underViews(input, budget);
      for (const own of isUnpacked(operand) ? planesUnder(operand) : [operand]) if (!isUnbound(own)) found.add(own);
    }
  return found;
}

/** The bindings of a kernel that computes `members` and stores `roots`, if every operand were stored: it cannot do with fewer. */
export function leastBindings(members: ReadonlySet<Node>, roots: readonly Node[], budget: BindingBudget): number {
  return [...operandsOf(members, budget), ...roots].reduce((sum, node) => sum + budget.of(node), 0);
}

/** The most members from the front, `fewest` at least, that fit together. */
export function longestWithin(
  members: readonly Node[],
  fewest: number,
  fits: (members: ReadonlySet<Node>) => boolean,
): readonly Node[] {
  for (let length = members.length; length > fewest; length--) {
    const some = members.slice(0, length);
    if (fits(new Set(some))) return some;
  }
  return members.slice(0, fewest);
}
