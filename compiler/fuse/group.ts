// The value of this stage: groups, each of which is one kernel, the edges that were cut and why, and what is written where it belongs.
import type { Node, Update } from '../../dsl/graph/graph.ts';
import type { Attention } from '../match/attention/attention.ts';
import type { RegionAttention } from '../match/attention/region-attention.ts';
import type { ColumnRanges } from '../match/column-ranges.ts';
import type { RowWrite } from '../match/row-write.ts';
import { valuesOf } from '../../dsl/ops/source.ts';

/** Which attention of regions is one kernel on a device, and whether that makes the norm of its tokens. */
export interface Regions {
  readonly fits: (region: RegionAttention) => boolean;
  readonly norms: boolean;
}

export type Group =
  | {
      readonly template: 'attention';
      readonly attention: Attention;
      /** The kernel stores the largest logit and the sum of each row: the gradient reads them. They are among the roots. */
      readonly storesStatistics: boolean;
      readonly chain: readonly Node[];
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | {
      readonly template: 'region';
      readonly region: RegionAttention;
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | {
      readonly template: 'contract';
      readonly contract: Node;
      /** The operand that is computed where it is summed, element by element, and never stored. */
      readonly streams?: 0 | 1;
      /** Products of the same rows, over the same axes, that the kernel makes beside: the maps behind read them all. */
      readonly beside?: readonly Node[];
      /** The reductions before the sum are of what other kernels have left of each row. */
      readonly merges?: true;
      /** What the kernel leaves of the rows of its result besides: reductions of segments of them, which are among the roots. */
      readonly leaves?: LeftParts;
      /** Its columns are stored range by range, each where it belongs, through maps of its own; `chain` has those of all ranges. */
      readonly ranges?: ColumnRanges;
      readonly chain: readonly Node[];
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | {
      readonly template: 'rows';
      readonly reductions: readonly Node[];
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | {
      readonly template: 'scatter';
      readonly scatter: Node;
      readonly chain: readonly Node[];
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | {
      readonly template: 'sort';
      readonly sort: Node;
      readonly nodes: ReadonlySet<Node>;
      readonly roots: readonly Node[];
    }
  | { readonly template: 'map'; readonly nodes: ReadonlySet<Node>; readonly roots: readonly Node[] };

/** What the rows of a value are reduced to, segment by segment. */
export interface RowParts {
  /** The axes that count segments, and what is within one. */
  readonly axis: string;
  readonly within: string;
  readonly nodes: ReadonlySet<Node>;
  /** Those of the nodes that are read elsewhere. */
  readonly results: readonly Node[];
}

export interface LeftParts extends RowParts {
  readonly of: Node;
}

/** The reason of a cut that only the device's bindings make. */
export const tooManyBindings = 'too many buffers for one kernel';

/** An edge between two kernels, and why it could not stay inside one. */
export interface Cut {
  readonly from: Node;
  readonly to: Node;
  readonly reason: string;
}

/** A concatenation whose parts are written where they belong by the kernels that make them. */
export interface PlacedJoin {
  readonly join: Node;
  readonly parts: ReadonlySet<Node>;
  /** The operands of the join in order, or joins of neighbouring operands where all together have too many buffers for one kernel. */
  readonly sections: readonly Node[];
  /**
   * Values that are parts but for one-to-one views which keep their elements in order, and the element of the join where each begins:
   * ranges of the join that are bound by themselves.
   */
  readonly ranges: ReadonlyMap<Node, number>;
  /** The join is the first part of a state, which its second operand is written into. */
  readonly cache?: Update;
}

/** States end to end in one buffer. */
export interface StatePack {
  readonly whole: Node;
  readonly parts: readonly { readonly state: Node; readonly start: number }[];
}

export interface Grouping {
  readonly groups: readonly Group[];
  readonly joins: readonly PlacedJoin[];
  /** States that lie end to end, by the one that stands for all of them. */
  readonly packs: readonly StatePack[];
  /** Updates whose value is computed straight into the state. */
  readonly direct: readonly Update[];
  /** Groups that write over the states that they read. */
  readonly inPlace: readonly InPlaceUpdates[];
  /** What is written into a state at a place of each row. */
  readonly rowWrites: readonly RowWrite[];
  readonly cuts: readonly Cut[];
  /** Nodes whose values are in memory: group roots, joins and sources. */
  readonly stored: ReadonlySet<Node>;
}

/** Reductions that the kernel of a product makes of its rows before it sums, operands first. */
export function rowReductions({ nodes, leaves }: Extract<Group, { template: 'contract' }>): readonly Node[] {
  const isOfRows = (node: Node): boolean => node.op.kind === 'reduce' && leaves?.nodes.has(node) !== true;
  return [...nodes].filter(isOfRows).sort((a, b) => a.id - b.id);
}

/**
 * What the kernel of a product may have to do besides: reduce rows, merge what is left of them, make several products of them, leave
 * statistics, store ranges of columns apart.
 */
export type Besides = 'rows' | 'merges' | 'beside' | 'leaves' | 'ranges';

export function besidesOf(group: Group): readonly Besides[] {
  if (group.template !== 'contract') return [];
  return [
    ...(rowReductions(group).length === 0 ? [] : group.merges === true ? (['merges'] as const) : (['rows'] as const)),
    ...(group.beside === undefined ? [] : (['beside'] as const)),
    ...(group.leaves === undefined ? [] : (['leaves'] as const)),
    ...(group.ranges === undefined ? [] : (['ranges'] as const)),
  ];
}

/** Sources that occupy memory; single numbers and indices are computed where they are read. */
export function isStoredSource(n: Node): boolean {
  if (n.op.kind !== 'source') return false;
  switch (n.op.role) {
    case 'input':
    case 'param':
    case 'state':
    case 'loaded':
      return true;
    case 'constant':
      return valuesOf(n)?.length !== 1;
    case 'index':
    case 'extent':
      return false;
    default:
      return n.op.role satisfies never;
  }
}

/** A kernel of maps whose every result goes into a state, over the elements that it has read. */
export interface InPlaceUpdates {
  readonly group: Group;
  readonly updates: readonly Update[];
  /** The graph's own, where these are of packs that their states are ranges of. */
  readonly covers?: readonly Update[];
}

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
