// Which nodes depend on parameters and constants only: their value is the same in every run.
import { isSymbolicSize } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Attr } from '../../dsl/graph/op.ts';
import { packedPath } from '../../dsl/ops/source.ts';
import { planeWords } from '../../dsl/storage/unpack.ts';

const known = new WeakMap<Node, boolean>();

/**
 * True when the value is known once the parameters are: every source below is fixed, and no size or position on the
 * way is symbolic (a slice of a table at a symbol's value changes from run to run).
 */
export function isFixed(node: Node): boolean {
  // An explicit stack: the first question may be asked at the end of a deep decoder.
  const stack: Node[] = [node];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    if (known.has(top)) {
      stack.pop();
      continue;
    }
    const unknown = top.inputs.find((input) => known.get(input) === undefined);
    const decided = top.inputs.some((input) => known.get(input) === false);
    if (unknown !== undefined && !decided) {
      stack.push(unknown);
    } else {
      known.set(top, !decided && isFixedHere(top));
      stack.pop();
    }
  }
  return known.get(node) === true;
}

function isFixedHere(node: Node): boolean {
  if (node.op.kind === 'source' && !node.op.fixed) return false;
  return node.type.axes.every((axis) => typeof axis.size === 'number') && Object.values(node.attrs).every(isNumeric);
}

function isNumeric(attr: Attr): boolean {
  if (typeof attr !== 'object' || attr instanceof Float64Array) return true;
  if (Array.isArray(attr)) return attr.every((item: Attr) => isNumeric(item));
  return !isSymbolicSize(attr) && Object.values(attr).every((item: Attr) => isNumeric(item));
}

const unpacked = new WeakMap<Node, string | null>();

/** True for a weight that is computed from its codes and scales, by maps, views and gathers, with positions and what is fixed, and for several end to end. */
export function isUnpacked(node: Node): boolean {
  return node.op.kind === 'join' ? node.inputs.every(isUnpacked) : weightOf(node) !== null;
}

/** The path of the one quantized parameter that a node is made of; null for everything else. */
function weightOf(node: Node): string | null {
  const found = unpacked.get(node);
  if (found !== undefined) return found;
  const { kind } = node.op;
  const result =
    kind === 'map' || kind === 'view' || kind === 'gather' ? sharedWeight(node.inputs) : (packedPath(node) ?? null);
  unpacked.set(node, result);
  return result;
}

function sharedWeight(inputs: readonly Node[]): string | null {
  const open = inputs.filter((input) => !isFixed(input)).map(weightOf);
  const [first = null] = open;
  return open.every((weight) => weight === first) ? first : null;
}

/** What lies in memory of a quantized weight: its planes, and what is fixed beside them. */
export function planesUnder(node: Node): readonly Node[] {
  const found = new Set<Node>();
  const seen = new Set<Node>();
  for (const stack = [node]; stack.length > 0;) {
    const top = stack.pop();
    if (top === undefined || seen.has(top)) continue;
    seen.add(top);
    if (top.op.kind === 'source' && (top.op.role === 'param' || top.op.role === 'loaded')) found.add(top);
    stack.push(...top.inputs);
  }
  return [...found];
}

/** Words of a column that the codes of a quantized weight stand in, the most of its planes; undefined for every other node. */
export function wordsUnder(node: Node): number | undefined {
  if (!isUnpacked(node)) return undefined;
  const seen = new Set<Node>();
  let most = 0;
  for (const stack = [node]; stack.length > 0;) {
    const top = stack.pop();
    if (top === undefined || seen.has(top)) continue;
    seen.add(top);
    most = Math.max(most, planeWords(top) ?? 0);
    stack.push(...top.inputs);
  }
  return most === 0 ? undefined : most;
}
