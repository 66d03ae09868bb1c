// Recognises attention whose keys are tokens as they come, because the weights of a projection went over to the queries: scores that are a product
// of query and tokens, a softmax over them and over what other tokens score, and weighted means of the same tokens. Few tokens to each region,
// each much wider than a head. (`passes/absorption.ts` makes it of the attention of a spatial vision aggregator.)
import { namesOf } from '../../../dsl/axis/axes.ts';
import { axisOf, type Axis } from '../../../dsl/axis/axis.ts';
import type { Node } from '../../../dsl/graph/graph.ts';
import { concat } from '../../../dsl/ops/join.ts';
import { roles, type Roles } from '../../../dsl/ops/contract.ts';
import { slice } from '../../../dsl/ops/view.ts';
import { flopsOf } from '../../cost.ts';
import { matchSoftmax, type Softmax } from '../composites.ts';
import { renaming } from '../renaming.ts';
import { findRowStatistics, type RowOperand } from '../row-statistics.ts';

/** Tokens of a region that are scored, and averaged by their weights. */
export interface RegionPart {
  /** query · tokens */
  readonly scores: Node;
  readonly query: Node;
  readonly tokens: Node;
  /** Σ weight · token */
  readonly mean: Node;
  /** The elements of a token. */
  readonly depth: Axis;
  readonly start: number;
  readonly size: number;
  /** The norm of the tokens, where the kernel makes it for itself: reductions along `depth`, and what tokens' axes are called in front of it. */
  readonly norm: { readonly reductions: readonly Node[]; readonly names: ReadonlyMap<string, string> } | undefined;
}

/** A stretch of the keys whose scores are one value. */
export interface KeyRange {
  readonly start: number;
  readonly size: number;
}

export interface RegionAttention {
  readonly softmax: Softmax;
  /** The softmax, with the casts behind it. */
  readonly weights: Node;
  /** Keys of all parts; `softmax.axis` is theirs. */
  readonly keys: number;
  /** Regions: axes that tokens have. */
  readonly batch: readonly Axis[];
  /** The other axes of the scores. */
  readonly heads: readonly Axis[];
  readonly parts: readonly RegionPart[];
  /** All keys, those of parts among them. */
  readonly ranges: readonly KeyRange[];
  /** Products of weights and the values of other keys, which the kernel makes beside. */
  readonly sums: readonly Node[];
  readonly nodes: ReadonlySet<Node>;
  readonly roots: readonly Node[];
}

export interface RegionQuery {
  readonly readersOf: (node: Node) => readonly Node[];
  /** Has a kernel already. */
  readonly isOwned: (node: Node) => boolean;
  /** Must be stored. */
  readonly isKept: (node: Node) => boolean;
  /** Whether a value waits for any of these nodes. */
  readonly waitsFor: (value: Node, nodes: ReadonlySet<Node>) => boolean;
  /** The kernel makes the norm of its tokens too, where nothing else reads it. */
  readonly norms: boolean;
}

/** A product of weights, or of a stretch of them, and values. */
interface Use extends KeyRange {
  readonly product: Node;
  readonly share: Node;
  readonly value: Node;
  readonly roles: Roles;
}

/**
 * The attention of which `mean` is the first weighted mean of tokens. Sound because the kernel computes every score of a row before it
 * weighs any, in the graph's own maps, and because what is nowhere stored is read by nothing else.
 */
export function findRegionAttention(mean: Node, query: RegionQuery): RegionAttention | undefined {
  for (const share of mean.inputs) {
    const weights = share.op === slice ? share.inputs[0] : share;
    const softmax = weights === undefined ? undefined : matchSoftmax(weights);
    if (weights === undefined || softmax === undefined || query.isOwned(weights)) continue;
    const found = match(weights, softmax, query);
    if (found?.parts[0]?.mean === mean) return found;
  }
  return undefined;
}

function match(weights: Node, softmax: Softmax, query: RegionQuery): RegionAttention | undefined {
  const { axis: key, logits } = softmax;
  const path = pathToScores(logits, key);
  const keys = axisOf(logits.type.axes, key)?.size;
  if (path === undefined || typeof keys !== 'number') return undefined;
  const sections = path.scores.op === concat ? path.scores.inputs : [path.scores];
  if (new Set(sections).size < sections.length) return undefined;
  const uses = query.readersOf(weights).flatMap((reader) => usesThrough(reader, { weights, key, keys }, query));
  const parts: RegionPart[] = [];
  const ranges: KeyRange[] = [];
  const others: Node[] = [];
  let start = 0;
  for (const section of sections) {
    const size = axisOf(section.type.axes, key)?.size;
    if (typeof size !== 'number') return undefined;
    if (size > 0) ranges.push({ start, size });
    const part = partOf(section, { start, size }, key, uses);
    if (part === undefined) others.push(section);
    else parts.push(part.part);
    start += size;
  }
  const [first] = parts;
  if (first === undefined) return undefined;
  const batch = regionAxes(first, key, logits);
  const heads = logits.type.axes.filter(({ name }) => name !== key && axisOf(batch, name) === undefined);
  if (heads.some(({ size }) => typeof size !== 'number')) return undefined;
  if (parts.some((part) => namesOf(regionAxes(part, key, logits)).join() !== namesOf(batch).join())) return undefined;
  const means = new Set(parts.map((part) => part.mean));
  const shares = uses.filter((use) => means.has(use.product)).map((use) => use.share);
  const nodes = new Set<Node>([
    ...path.nodes,
    ...softmax.nodes,
    ...parts.flatMap((part) => [part.scores, part.mean]),
    ...shares,
  ]);
  // What is small beside the parts is made beside them: the scores of other keys, and the sums of their values.
  const most = parts.reduce((sum, part) => sum + flopsOf(part.mean), 0);
  for (const section of others) {
    const isOwn = section.op.kind === 'contract' && flopsOf(section) <= most && !query.isOwned(section);
    const isRead = query.isKept(section) || query.readersOf(section).some((reader) => reader !== path.scores);
    if (isOwn && !isRead && path.scores !== section) nodes.add(section);
  }
  const sums = uses.filter(
    (use) =>
      !means.has(use.product) &&
      flopsOf(use.product) <= most &&
      !query.isOwned(use.product) &&
      batch.every(({ name }) => axisOf(use.roles.batch, name) !== undefined) &&
      use.roles.columns.every(({ size }) => typeof size === 'number') &&
      !query.waitsFor(use.value, nodes),
  );
  for (const { product, share } of sums) nodes.add(product).add(share);
  nodes.add(weights);
  const withNorms = query.norms ? parts.map((part) => normed(part, nodes, query)) : parts;
  const products = new Set([...means, ...sums.map((use) => use.product)]);
  const isInside = (node: Node): boolean => query.readersOf(node).every((reader) => nodes.has(reader));
  const roots = [...products, ...(isInside(weights) && !query.isKept(weights) ? [] : [weights])];
  const isClosed = [...nodes].every(
    (node) => !query.isOwned(node) && (roots.includes(node) || (!query.isKept(node) && isInside(node))),
  );
  return isClosed
    ? {
        softmax,
        weights,
        keys,
        batch,
        heads,
        parts: withNorms,
        ranges,
        sums: sums.map((use) => use.product),
        nodes,
        roots,
      }
    : undefined;
}

/** From logits through maps to one product along the key axis, or to a concatenation along it that has such a product. */
function pathToScores(
  logits: Node,
  key: string,
): { readonly scores: Node; readonly nodes: readonly Node[] } | undefined {
  const nodes: Node[] = [];
  for (let current = logits; ;) {
    nodes.push(current);
    if (current.op.kind === 'contract') return { scores: current, nodes: nodes.slice(0, -1) };
    if (current.op === concat && concat.read(current.attrs).axis === key) return { scores: current, nodes };
    const [next, ...more] =
      current.op.kind === 'map' && !current.op.jumps ? current.inputs.filter((input) => leadsToScores(input, key)) : [];
    if (next === undefined || more.length > 0) return undefined;
    current = next;
  }
}

function leadsToScores(node: Node, key: string): boolean {
  if (axisOf(node.type.axes, key) === undefined) return false;
  if (node.op.kind === 'contract') return true;
  if (node.op === concat) return node.inputs.some((input) => input.op.kind === 'contract');
  return node.op.kind === 'map' && node.inputs.some((input) => leadsToScores(input, key));
}

/** What reads the weights by itself, or a stretch of them. */
function usesThrough(
  reader: Node,
  { weights, key, keys }: { readonly weights: Node; readonly key: string; readonly keys: number },
  { readersOf }: RegionQuery,
): readonly Use[] {
  if (reader.op.kind === 'contract') return useOf(reader, weights, key, { start: 0, size: keys });
  if (reader.op !== slice) return [];
  const { axis, start, size, step } = slice.read(reader.attrs);
  if (axis !== key || typeof start !== 'number' || typeof size !== 'number' || step !== 1) return [];
  return readersOf(reader).flatMap((product) => useOf(product, reader, key, { start, size }));
}

function useOf(product: Node, share: Node, key: string, range: KeyRange): readonly Use[] {
  const [a, b] = product.inputs;
  const value = a === share ? b : a;
  if (product.op.kind !== 'contract' || value === undefined || value === share) return [];
  const found = roles(share.type, value.type, product.type);
  return namesOf(found.sum).join() === key ? [{ ...range, product, share, value, roles: found }] : [];
}

/** A stretch of scores that is a product of a query and of tokens which are averaged by their weights. */
function partOf(
  scores: Node,
  { start, size }: KeyRange,
  key: string,
  uses: readonly Use[],
): { readonly part: RegionPart } | undefined {
  const [a, b] = scores.inputs;
  if (scores.op.kind !== 'contract' || a === undefined || b === undefined || size === 0) return undefined;
  const [query, tokens] = axisOf(a.type.axes, key) === undefined ? [a, b] : [b, a];
  const found = roles(query.type, tokens.type, scores.type);
  const [depth, ...more] = found.sum;
  if (
    depth === undefined ||
    more.length > 0 ||
    typeof depth.size !== 'number' ||
    namesOf(found.columns).join() !== key ||
    axisOf(query.type.axes, key) !== undefined
  )
    return undefined;
  const use = uses.find(
    (one) =>
      one.value === tokens &&
      one.start === start &&
      one.size === size &&
      namesOf(one.roles.columns).join() === depth.name &&
      one.product.type.axes.length === scores.type.axes.length,
  );
  return use === undefined
    ? undefined
    : { part: { scores, query, tokens, mean: use.product, depth, start, size, norm: undefined } };
}

/** Axes of the scores that tokens have, in the order of the scores. */
function regionAxes({ tokens }: RegionPart, key: string, logits: Node): readonly Axis[] {
  return logits.type.axes.filter(({ name }) => name !== key && axisOf(tokens.type.axes, name) !== undefined);
}

/** The part with the norm of its tokens, whose nodes go to those of the attention. */
function normed(part: RegionPart, nodes: Set<Node>, query: RegionQuery): RegionPart {
  const { tokens, depth } = part;
  const operand: RowOperand = { rows: tokens, sum: [depth.name] };
  const [found] = findRowStatistics([part.scores, part.mean], {
    rowOperand: (node) => (node === part.scores || node === part.mean ? operand : undefined),
    readersOf: query.readersOf,
    isTaken: (node) => query.isOwned(node) || query.isKept(node),
  });
  if (found === undefined) return part;
  const renamed = found.has(tokens) ? renaming(tokens) : undefined;
  const names = new Map([...(renamed ?? [])].map(([from, to]) => [to, from]));
  const reductions = [...found].filter((node) => node.op.kind === 'reduce').sort((a, b) => a.id - b.id);
  const tokenAxes = tokens.type.axes.length;
  if (reductions.some((node) => node.inputs[0]?.type.axes.length !== tokenAxes)) return part;
  for (const node of found) nodes.add(node);
  return { ...part, norm: { reductions, names } };
}
