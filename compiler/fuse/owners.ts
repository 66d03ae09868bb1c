// Which kernel computes a node, and how far back one must look for what a node waits for.
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from './group.ts';

interface Span {
  readonly from: number;
  readonly to: number;
}

/** Groups by the nodes that they own. */
export class Owners extends Map<Node, Group> {
  readonly #spans = new Map<Group, Span>();
  /** What was found since a group came last. */
  readonly #known = new Map<number, number>();

  override set(node: Node, group: Group): this {
    if (!this.#spans.has(group)) {
      const ids = [...group.nodes].map(({ id }) => id);
      this.#spans.set(group, { from: Math.min(...ids), to: Math.max(...ids) });
      this.#known.clear();
    }
    return super.set(node, group);
  }

  /**
   * The id before which no node waits for one from `oldest` on. Operands are older than their readers, but a kernel waits for all that it
   * computes: a node as old as the oldest of a kernel that computes a younger one, too, may wait for that.
   */
  earliest(oldest: number): number {
    const known = this.#known.get(oldest);
    if (known !== undefined) return known;
    let earliest = oldest;
    for (let before = Infinity; earliest < before;) {
      before = earliest;
      for (const { from, to } of this.#spans.values()) if (from < earliest && to >= before) earliest = from;
    }
    this.#known.set(oldest, earliest);
    return earliest;
  }
}
