// Recognises attention by what it is made of: a contraction, maps over its scores, softmax along the keys, and a contraction with the values.
import { fixedElements } from '../../../dsl/axis/axes.ts';
import type { Axis } from '../../../dsl/axis/axis.ts';
import type { Node } from '../../../dsl/graph/graph.ts';
import { roles } from '../../../dsl/ops/contract.ts';
import { findMaskExtent, type MaskExtent } from './mask-extent.ts';
import { matchSoftmax } from '../composites.ts';
import { scorePath, type ScoreStep } from './score-path.ts';

export interface Attention {
  /** query · key: the first contraction, its operands ordered so that the first has the query axes. */
  readonly scores: Node;
  readonly query: Node;
  readonly key: Node;
  /** What the softmax is taken of: the scores, scaled and masked. */
  readonly logits: Node;
  /** What is done to the scores until they are the logits, the last first. */
  readonly steps: readonly ScoreStep[];
  /** Of each row the largest logit, and the sum of e^(logit − largest). */
  readonly largest: Node;
  readonly total: Node;
  readonly value: Node;
  /** The second contraction. */
  readonly product: Node;
  readonly batch: readonly Axis[];
  readonly rows: readonly Axis[];
  readonly keys: readonly Axis[];
  /** Summed by the first contraction. */
  readonly depth: readonly Axis[];
  /** Columns of the result: the axes of the values only. */
  readonly width: readonly Axis[];
  /** Which keys a row sees, where those behind need not be walked. */
  readonly maskExtent: MaskExtent | undefined;
  /** Everything computed inside the kernel. */
  readonly nodes: ReadonlySet<Node>;
  readonly operands: readonly Node[];
}

/** The axes of keys, depth and width: there is one of each. Throws `TypeError` where one is missing. */
export function innerAxes({ keys: [key], depth: [depth], width: [width] }: Attention): {
  readonly key: Axis;
  readonly depth: Axis;
  readonly width: Axis;
} {
  if (key === undefined || depth === undefined || width === undefined)
    throw new TypeError('attention without its axes');
  return { key, depth, width };
}

/**
 * The attention whose last contraction is `product`. Others may read what is inside (`isClosed` tells); `taken`: stored for another
 * reason, so that there is no attention.
 */
export function findAttention(product: Node, taken: (n: Node) => boolean): Attention | undefined {
  for (const side of [0, 1] as const) {
    const found = match(product, side, taken);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** True when nothing outside reads what is computed inside. */
export function isClosed({ nodes, product }: Attention, readers: (n: Node) => readonly Node[]): boolean {
  return [...nodes].every((n) => n === product || readers(n).every((r) => nodes.has(r)));
}

function match(product: Node, side: 0 | 1, taken: (n: Node) => boolean): Attention | undefined {
  const weights = product.inputs[side];
  const value = product.inputs[1 - side];
  if (weights === undefined || value === undefined) return undefined;
  const softmax = matchSoftmax(weights);
  if (softmax === undefined) return undefined;
  const { logits, axis } = softmax;
  const path = scorePath(logits, axis);
  if (path === undefined) return undefined;
  const { scores, steps } = path;
  const [a, b] = scores.inputs;
  if (a === undefined || b === undefined) return undefined;
  const keyed = a.type.axes.some((x) => x.name === axis);
  const [query, key] = keyed ? [b, a] : [a, b];
  if (query.type.axes.some((x) => x.name === axis)) return undefined;
  const first = roles(query.type, key.type, scores.type);
  const second = roles(weights.type, value.type, product.type);
  const keys = second.sum;
  const inner = new Set<Node>([scores, ...steps.map(({ node }) => node), ...softmax.nodes]);
  const isKeyAxis =
    keys.length === 1 && keys[0]?.name === axis && first.columns.length === 1 && first.columns[0]?.name === axis;
  // The query axes of the scores must be rows of the result too, batch axes stay batch axes unless the values lack them.
  const sameRows = [...first.batch, ...first.rows].every((x) => product.type.axes.some((y) => y.name === x.name));
  const depth = fixedElements(first.sum);
  const width = fixedElements(second.columns);
  if (!isKeyAxis || !sameRows || depth > 256 || width > 256 || first.sum.length !== 1 || second.columns.length !== 1)
    return undefined;
  if ([...inner].some(taken)) return undefined;
  // An axis that key or value carry is walked by the grid; one that only the query has is a row of the tile.
  const batch = [...first.batch, ...first.rows.filter((x) => second.batch.some((y) => y.name === x.name))];
  const rows = first.rows.filter((x) => !second.batch.some((y) => y.name === x.name));
  const [keyAxis] = keys;
  const maskExtent = keyAxis === undefined ? undefined : findMaskExtent(steps, keyAxis);
  return {
    scores,
    query,
    key,
    logits,
    steps,
    largest: softmax.largest,
    total: softmax.total,
    value,
    product,
    batch,
    rows,
    keys,
    depth: first.sum,
    width: second.columns,
    maskExtent,
    nodes: new Set([...inner, product]),
    operands: [query, key, value],
  };
}
