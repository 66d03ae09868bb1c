// Which values are stored although no anchor makes them: outputs, values with many operands, values that would be computed too often.
import { sizeBound } from '../dsl/axis.ts';
import type { Node } from '../dsl/graph.ts';
import type { Group } from './group.ts';
import type { Work } from './grow.ts';

/** Cost of computing one element in place, in loads and operations. */
interface Cost {
  readonly loads: number;
  readonly flops: number;
}

/**
 * Values that no anchor stores but that must be stored, or are cheaper to store than to compute again. Operands first, a value with too
 * many operands of its own is stored; then, readers first, one that would be computed too often: where the end of a chain is stored,
 * its beginning need not be.
 */
export function materialised(nodes: readonly Node[], work: Work, stored: ReadonlySet<Node>, parts: ReadonlySet<Node>): readonly Node[] {
  const result = new Set<Node>();
  const cost = new Map<Node, Cost>();
  const isOpen = (n: Node): boolean => n.op.kind !== 'view' && n.op.kind !== 'source' && !work.owner.has(n);
  for (const n of nodes) {
    if (stored.has(n) || parts.has(n)) {
      cost.set(n, { loads: 1, flops: 0 });
      if (work.outputs.has(n) && n.op.kind === 'source') result.add(n);
      continue;
    }
    const own = inPlaceCost(n, cost);
    const isKept = work.kept.has(n) && !work.owner.has(n);
    const isWide = isOpen(n) && own.loads > mostOperands && uses(n, work, result).length > 0;
    if (isKept || isWide) {
      result.add(n);
      if (isWide && !isKept) uses(n, work, result).forEach((use) => work.cuts.push({ from: n, to: use.reader, reason: 'too many operands for one kernel' }));
    }
    cost.set(n, result.has(n) ? { loads: 1, flops: 0 } : own);
  }
  for (const n of [...nodes].reverse()) {
    if (!isOpen(n) || stored.has(n) || parts.has(n) || result.has(n)) continue;
    const reads = uses(n, work, result);
    const reason = reasonToStore(cost.get(n) ?? { loads: 1, flops: 0 }, reads);
    if (reason === undefined) continue;
    result.add(n);
    reads.forEach((use) => work.cuts.push({ from: n, to: use.reader, reason }));
  }
  return nodes.filter((n) => result.has(n));
}

/** Loads of one element beyond which a value is stored: kernels have few bindings. */
const mostOperands = 6;

function inPlaceCost(n: Node, cost: ReadonlyMap<Node, Cost>): Cost {
  const inputs = n.inputs.map((x) => cost.get(x) ?? { loads: 1, flops: 0 });
  const loads = inputs.reduce((s, c) => s + c.loads, n.op.kind === 'gather' ? 1 : 0);
  const flops = inputs.reduce((s, c) => s + c.flops, n.op.kind === 'map' ? n.op.flops : 1);
  return { loads, flops };
}

interface Use {
  readonly reader: Node;
  /** How often the reading kernel computes each element anew. */
  readonly times: number;
}

/** The kernels that read a value, through views and other values that are computed in place. */
function uses(n: Node, work: Work, stored: ReadonlySet<Node>): readonly Use[] {
  const found: Use[] = [];
  const seen = new Set<Node>();
  const visit = (x: Node): void => {
    for (const reader of work.readers.get(x) ?? []) {
      if (seen.has(reader)) continue;
      seen.add(reader);
      const owner = work.owner.get(reader);
      if (owner === undefined && reader.op.kind !== 'join') { if (work.kept.has(reader) || stored.has(reader)) found.push({ reader, times: 1 }); else visit(reader); continue; }
      if (owner === undefined) { found.push({ reader, times: 1 }); continue; }
      found.push({ reader, times: repeats(owner, reader) });
    }
  };
  visit(n);
  return found;
}

const tileGuess = 64;

/** A contraction reads an operand once per tile of the other side; folds read theirs once per pass. */
function repeats(owner: Group, reader: Node): number {
  if (owner.template === 'rows') return owner.folds.length + 1;
  if (owner.template === 'contract' && reader === owner.contract) return Math.max(1, largestSide(owner.contract) / tileGuess);
  if (owner.template === 'attention' && owner.attention.operands.includes(reader)) return 4;
  if (owner.template === 'attention' && owner.attention.nodes.has(reader)) return 1;
  return 1;
}

function largestSide(contract: Node): number {
  return Math.max(...contract.type.axes.map((a) => sizeBound(a.size)), 1);
}

function reasonToStore(cost: Cost, reads: readonly Use[]): string | undefined {
  // Arithmetic on indices alone is cheaper than a load.
  if (cost.loads === 0 && cost.flops <= 16) return undefined;
  const weight = cost.flops + 2 * (cost.loads - 1);
  const times = reads.reduce((sum, use) => sum + use.times, 0);
  if (weight <= 2 || times <= 1) return undefined;
  return weight * (times - 1) > 8 ? `would be computed ×${Math.round(times)}` : undefined;
}
