// Weights that were packed side by side with others: q, k and v, gate and up. A gradient reads each by itself, and finds it there.
import { axisOf } from '../../dsl/axis/axis.ts';
import { namesOf } from '../../dsl/axis/axes.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Builder, Node } from '../../dsl/graph/graph.ts';
import { renaming } from '../match/renaming.ts';
import { Rewriter } from '../rewrite/rewriter.ts';

/** A node without the renamings on top of it; for each of its axes, the axis of what is below. */
interface Bare {
  readonly node: Node;
  readonly below: ReadonlyMap<string, string>;
}

interface Part {
  /** Of all that are joined, as they are read. */
  readonly view: Node;
  readonly along: string;
  readonly start: number;
  readonly size: number;
  /** The axis of the join in which an axis of the bare weights stands. */
  readonly axisOf: ReadonlyMap<string, string>;
}

export class JoinedWeights {
  readonly #builder: Builder;
  readonly #parts = new Map<Node, Part>();

  constructor(builder: Builder) {
    this.#builder = builder;
  }

  /** `weights` in terms of parameters, and how they are read where they are packed. */
  add(weights: Node, view: Node): void {
    const outer = bare(weights);
    if (outer.node.op.kind !== 'join') return;
    const above = new Map([...outer.below].map(([name, below]) => [below, name]));
    const along = alongAxis(outer.node);
    let start = 0;
    for (const input of outer.node.inputs) {
      const size = axisOf(input.type.axes, along)?.size;
      if (typeof size !== 'number') return;
      const inner = bare(input);
      const names = new Map([...inner.below].map(([name, below]) => [below, above.get(name) ?? name]));
      this.#parts.set(inner.node, { view, along: above.get(along) ?? along, start, size, axisOf: names });
      start += size;
    }
  }

  /** The weights `own`, `weights` in terms of parameters, as a range of others; undefined where they are packed with none. */
  of(own: Node, weights: Node): Node | undefined {
    const { node, below } = bare(weights);
    const part = this.#parts.get(node);
    if (part === undefined) return undefined;
    const r = new Rewriter(this.#builder, own.origin);
    const names = namesOf(own.type.axes);
    const from = names.map((name) => part.axisOf.get(below.get(name) ?? name) ?? name);
    const range = r.slice(part.view, part.along, part.start, part.size);
    return range.type.dtype === own.type.dtype ? r.relabel(range, from, names) : undefined;
  }
}

function bare(node: Node): Bare {
  const [x] = node.inputs;
  const names = renaming(node);
  if (x === undefined || names === undefined)
    return { node, below: new Map(node.type.axes.map(({ name }) => [name, name])) };
  const inner = bare(x);
  const back = new Map([...names].map(([before, after]) => [after, before]));
  return {
    node: inner.node,
    below: new Map(
      node.type.axes.map(({ name }) => {
        const before = back.get(name) ?? name;
        return [name, inner.below.get(before) ?? before];
      }),
    ),
  };
}
