// What the gradient of an attention computes on its scores: maps over the scores themselves and over products of the same axes (the gradient
// of the result times the values). As many numbers as queries times keys, all of which end in sums over queries or keys: a kernel can compute
// each where it is summed, and none need be stored.
import { elementsOf, fixedElements } from '../../../dsl/axis/axes.ts';
import { reducedAxes, type Node } from '../../../dsl/graph/graph.ts';
import { roles } from '../../../dsl/ops/contract.ts';
import type { Choices } from '../../profile.ts';
import type { Attention } from './attention.ts';
import { leadsToContract } from './score-path.ts';

/** Elements that a thread sums for one row: columns of a result, or the depth of a product that is computed in place. */
export const mostInPlace = 256;

/**
 * The maps and products on the scores of an attention that others read too, without those that must be stored: what is wanted as it is
 * (`kept`), what a view, a concatenation or a gather reads, a factor of a product that is too wide for one thread. Undefined where such
 * a value is as large as all scores and these are more than the keys.
 */
export function scoreRegion(
  attention: Attention,
  readers: (n: Node) => readonly Node[],
  kept: (n: Node) => boolean,
): ReadonlySet<Node> | undefined {
  const { scores } = attention;
  const onScores = (n: Node): boolean =>
    n.type.axes.length === scores.type.axes.length &&
    n.type.axes.every((axis) => scores.type.axes.some((own) => own.name === axis.name));
  const region = new Set(
    [...attention.nodes].filter(
      (n) => (n.op.kind === 'map' || n.op.kind === 'contract') && n !== attention.product && onScores(n),
    ),
  );
  const open = [...region];
  const take = (n: Node): boolean => {
    if (region.has(n)) return true;
    if (n.op.kind === 'contract' && !isProduct(n)) return false;
    // What a comparison compares must be the same to the last bit wherever it is computed, and every kernel sums in an order of its own.
    if (n.op.kind === 'map' && n.op.jumps) return false;
    region.add(n);
    open.push(n);
    // What it is made of, up to the products that it meets the scores with.
    return n.op.kind === 'contract' || n.inputs.every((x) => !onScores(x) || !leadsToContract(x) || take(x));
  };
  const leaving = new Set<Node>();
  for (let n = open.pop(); n !== undefined; n = open.pop()) {
    if (kept(n)) leaving.add(n);
    for (const reader of readers(n)) {
      if (reader === attention.product || region.has(reader)) continue;
      const isSummed = reader.op.kind === 'reduce' ? sumsScores(reader, scores) : isNarrowProduct(reader, n);
      const isTaken = reader.op.kind === 'map' && onScores(reader) && take(reader);
      if (!isSummed && !isTaken) leaving.add(n);
    }
  }
  // Where every key belongs to one query, as in a region of its own, scores are few beside keys: some may be stored.
  const areFew = elementsOf(scores.type.axes) <= elementsOf(attention.key.type.axes);
  if (leaving.size > 0 && !areFew) return undefined;
  return new Set([...region].filter((n) => !leaving.has(n)));
}

function isProduct(n: Node): boolean {
  const [a, b] = n.inputs;
  if (n.op.kind !== 'contract' || a === undefined || b === undefined) return false;
  return fixedElements(roles(a.type, b.type, n.type).sum) <= mostInPlace;
}

/** A reduction may walk any of the axes of the scores. */
function sumsScores(reduction: Node, scores: Node): boolean {
  return reducedAxes(reduction).every((name) => scores.type.axes.some((axis) => axis.name === name));
}

/** The other factor has few columns of its own, and is not itself a value on the scores. */
function isNarrowProduct(reader: Node, n: Node): boolean {
  const [a, b] = reader.inputs;
  if (reader.op.kind !== 'contract' || a === undefined || b === undefined || a === b) return false;
  const { rows, columns, sum } = roles(a.type, b.type, reader.type);
  const own = a === n ? columns : rows;
  return own.length > 0 && sum.length > 0 && fixedElements(own) <= mostInPlace;
}

/** Scores that fit, unless every key belongs to one query: then they are few beside the keys, and nothing is summed over queries. */
export function storesScores({ scores, rows }: Attention, { storedScores }: Choices): boolean {
  return rows.length > 0 && 4 * elementsOf(scores.type.axes) <= storedScores;
}
