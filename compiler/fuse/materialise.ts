// Which values are stored although no anchor makes them: outputs, values with many operands, values that would be computed too often.
import { elementsOf } from '../../dsl/axis/axes.ts';
import { sizeBound } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from './group.ts';
import type { Choices } from '../profile.ts';
import type { Work } from './fusion.ts';
import { computedAgain } from '../match/computed-again.ts';
import { isUnpacked } from '../rewrite/fixed.ts';

/** What computing one element in place takes: a kernel loads a value once and computes a node once, however often they are used. */
interface Cost {
  /** What is loaded, a stored value seen through the views on the way, and how many elements it has. */
  readonly loads: ReadonlyMap<string, number>;
  /** What is computed. */
  readonly work: ReadonlySet<Node>;
}

/**
 * Values that no anchor stores but that must be stored, or are cheaper to store than to compute again. Operands first, a value with too
 * many loads of its own (over `mostLoads`) is stored; then, readers first, one that would be computed too often: where the end of a chain is stored,
 * its beginning need not be.
 */
export function materialised(
  nodes: readonly Node[],
  work: Work,
  stored: ReadonlySet<Node>,
  parts: ReadonlySet<Node>,
  { loadsInPlace: mostLoads, leastStoredWork, workBeforeProduct }: Choices,
): readonly Node[] {
  const result = new Set<Node>();
  const cost = new Map<Node, Cost>();
  const again = computedAgain(nodes);
  // Quantized weights are computed where they are read: stored, they would be what they are quantized not to be.
  const isOpen = (n: Node): boolean =>
    n.op.kind !== 'view' && n.op.kind !== 'source' && !work.owner.has(n) && !work.inPlace.has(n) && !isUnpacked(n);
  for (const n of nodes) {
    if (stored.has(n) || parts.has(n)) {
      cost.set(n, loadOf(n));
      if (work.outputs.has(n) && n.op.kind === 'source') result.add(n);
      continue;
    }
    const own = inPlaceCost(n, cost);
    const isKept = work.kept.has(n) && !work.owner.has(n);
    const isWide = isOpen(n) && own.loads.size > mostLoads && uses(n, work, result).length > 0;
    if (isKept || isWide) {
      result.add(n);
      if (isWide && !isKept)
        uses(n, work, result).forEach((use) =>
          work.cuts.push({ from: n, to: use.reader, reason: 'too many loads for one element' }),
        );
    }
    cost.set(n, result.has(n) ? loadOf(n) : own);
  }
  for (const n of [...nodes].reverse()) {
    if (!isOpen(n) || stored.has(n) || parts.has(n) || result.has(n)) continue;
    const reads = uses(n, work, result);
    const own = cost.get(n) ?? loadOf(n);
    const reason = reasonToStore(own, again.has(n) ? reads.filter(isRepeated) : reads);
    if (reason === undefined || isLittle(n, own, reads, leastStoredWork)) continue;
    if (isBesideProduct(n, own, reads, workBeforeProduct)) continue;
    result.add(n);
    reads.forEach((use) => work.cuts.push({ from: n, to: use.reader, reason }));
  }
  return nodes.filter((n) => result.has(n));
}

function loadOf(n: Node): Cost {
  return { loads: new Map([[String(n.id), elementsOf(n.type.axes)]]), work: new Set() };
}

function inPlaceCost(n: Node, cost: ReadonlyMap<Node, Cost>): Cost {
  const inputs = n.inputs.map((x) => cost.get(x) ?? loadOf(x));
  const loads = new Map(inputs.flatMap((c) => [...c.loads]));
  const work = new Set(inputs.flatMap((c) => [...c.work]));
  // Another view reads other elements of the same value, and computes what is between for them anew.
  if (n.op.kind === 'view')
    return { loads: new Map([...loads].map(([load, size]) => [`${n.id}.${load}`, size])), work };
  return { loads: n.op.kind === 'gather' ? loads.set(`${n.id}`, elementsOf(n.type.axes)) : loads, work: work.add(n) };
}

function flopsOf({ work }: Cost): number {
  return [...work].reduce((sum, n) => sum + (n.op.kind === 'map' ? n.op.flops : 1), 0);
}

interface Use {
  readonly reader: Node;
  readonly owner: Group | undefined;
  /** How often the reading kernel computes each element anew. */
  readonly times: number;
}

/** The kernels that read a value, through views and other values that are computed in place; each once, by its most frequent reader. */
function uses(n: Node, work: Work, stored: ReadonlySet<Node>): readonly Use[] {
  const found = new Map<Group | Node, Use>();
  const add = (kernel: Group | Node, use: Use): void => {
    if ((found.get(kernel)?.times ?? 0) < use.times) found.set(kernel, use);
  };
  const seen = new Set<Node>();
  const visit = (x: Node): void => {
    for (const reader of work.readers.get(x) ?? []) {
      if (seen.has(reader)) continue;
      seen.add(reader);
      const owner = work.owner.get(reader);
      if (owner === undefined && reader.op.kind !== 'join') {
        if (work.kept.has(reader) || stored.has(reader)) add(reader, { reader, owner, times: 1 });
        else visit(reader);
        continue;
      }
      add(owner ?? reader, { reader, owner, times: owner === undefined ? 1 : repeats(owner, reader) });
    }
  };
  visit(n);
  return [...found.values()];
}

/**
 * What is computed again is so in every kernel that reads it, as often as it walks its rows: its operands are loaded in its place. Only a
 * product, or what else compares each with many, would do it too often.
 */
function isRepeated({ owner, times }: Use): boolean {
  return times > 1 && owner !== undefined && owner.template !== 'rows';
}

/** Columns or rows of a contraction's tile, and tiles of rows that walk the same keys: before kernels are scheduled, a guess. */
const tileGuess = 64;
const rowTilesGuess = 4;

/** A contraction reads an operand once per tile of the other side, attention the keys once per tile of rows; reductions read theirs once per pass. */
function repeats(owner: Group, reader: Node): number {
  if (owner.template === 'rows') return passesOf(owner);
  // Positions are compared with every row, elements with one another.
  if (owner.template === 'scatter' || owner.template === 'sort') return 4;
  if (owner.template === 'contract' && reader === owner.contract)
    return Math.max(1, largestSide(owner.contract) / tileGuess);
  if (owner.template === 'attention' && owner.attention.operands.includes(reader)) return rowTilesGuess;
  return 1;
}

/** Walks over the same rows: one for each reduction, and one that writes whole rows. */
function passesOf({ reductions, roots }: Extract<Group, { template: 'rows' }>): number {
  const width = reductions[0]?.inputs[0]?.type.axes.length;
  return reductions.length + (roots.some((root) => root.type.axes.length === width) ? 1 : 0);
}

function largestSide(contract: Node): number {
  return Math.max(...contract.type.axes.map((a) => sizeBound(a.size)), 1);
}

/** Whether reductions alone read it, and computing all of it anew in each of their walks is less than a launch. */
function isLittle(node: Node, cost: Cost, reads: readonly Use[], leastWork: number): boolean {
  if (!reads.every(({ owner }) => owner?.template === 'rows')) return false;
  const times = reads.reduce((sum, use) => sum + use.times, 0) - 1;
  return times * weightOf(cost) * elementsOf(node.type.axes) < leastWork;
}

/** What is this many times smaller stays in the caches. */
const muchSmaller = 16;

/**
 * Whether products alone read it, and what they would do in front of each is a few operations on one stored value and on what is much smaller,
 * as a norm's scale and shift: a tile multiplies each element with all of its columns, so that this is little beside it.
 */
function isBesideProduct(node: Node, cost: Cost, reads: readonly Use[], most: number): boolean {
  const size = elementsOf(node.type.axes);
  const large = [...cost.loads.values()].filter((own) => muchSmaller * own > size);
  return (
    large.length <= 1 &&
    flopsOf(cost) <= most &&
    reads.every(({ reader, owner }) => owner?.template === 'contract' && reader === owner.contract)
  );
}

/** Operations for one element, a load being two. */
function weightOf(cost: Cost): number {
  return flopsOf(cost) + 2 * (cost.loads.size - 1);
}

function reasonToStore(cost: Cost, reads: readonly Use[]): string | undefined {
  // Arithmetic on indices alone is cheaper than a load.
  const [loads, flops] = [cost.loads.size, flopsOf(cost)];
  if (loads === 0 && flops <= 16) return undefined;
  const weight = weightOf(cost);
  const times = reads.reduce((sum, use) => sum + use.times, 0);
  if (weight <= 2 || times <= 1) return undefined;
  return weight * (times - 1) > 8 ? `would be computed ×${Math.round(times)}` : undefined;
}
