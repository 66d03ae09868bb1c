// Where rounding decides between results that are not neighbours: a comparison, a rank, a position. A choice is open only where the numbers
// that it hangs on lie so near to one another that rounding may turn it.
import type { Node } from '../../dsl/graph/graph.ts';
import { isFloat, type MapOp } from '../../dsl/graph/op.ts';
import { must } from '../../dsl/graph/walk.ts';
import { evaluateMap } from '../../runtime/reference/element.ts';
import type { Values } from '../../runtime/reference/values.ts';
import type { Bounded } from './bounded.ts';
import { errorOfRanks } from './near-ranks.ts';
import { errorOfTies, isTie } from './near-ties.ts';

/** A node that decides, and which of its operands are rounded. */
export interface Choice {
  readonly node: Node;
  readonly rounded: ReadonlySet<Node>;
}

/** The nodes whose numbers are rounded, or made of such. */
export function roundedAmong(nodes: readonly Node[]): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of nodes) {
    const { op } = node;
    const own = (op.kind === 'map' || op.kind === 'reduce') && op.rounding !== 0;
    const below = node.inputs.some((x) => found.has(x));
    if (isFloat(node.type.dtype) && (own || below || op.kind === 'contract' || op.kind === 'scatter')) found.add(node);
  }
  return found;
}

/** The choices among rounded numbers, operands first. */
export function choicesOf(nodes: readonly Node[], rounded: ReadonlySet<Node>): readonly Choice[] {
  return nodes.flatMap((node): readonly Choice[] => {
    const { op } = node;
    const own = new Set(node.inputs.filter((x) => isFloat(x.type.dtype) && rounded.has(x)));
    const decides = op.kind === 'sort' || (op.kind === 'map' && op.jumps) || !isFloat(node.type.dtype);
    return own.size > 0 && decides ? [{ node, rounded: own }] : [];
  });
}

/** 1 where an element is not rounded: what lies outside of a range is its end, and sums of whole numbers are whole. Undefined where none is. */
export function exactIn(
  node: Node,
  rounded: ReadonlySet<Node>,
  values: ReadonlyMap<Node, Values>,
): Float64Array | undefined {
  const { op, type, inputs } = node;
  const y = must(values, node);
  if (!rounded.has(node)) return y.data.map(() => 1);
  if (op.kind !== 'map') return undefined;
  // A whole number that is cut off is the same for all that it is cut from; where it is not, its choice is open.
  if (op.jumps && op.rounding === 0) return y.data.map(() => 1);
  const operands = inputs.map((x): Values => must(values, x));
  const exact = inputs.map((x, k): Values => {
    const of = operands[k] ?? y;
    return { ...of, dtype: 'f32', data: exactIn(x, rounded, values) ?? of.data.map(() => 0) };
  });
  const count = inputs.length;
  const isExact = (all: readonly number[]): number => {
    const value = all[2 * count] ?? NaN;
    const isOne = (k: number): boolean => inputs[k]?.type.dtype === type.dtype && all[k] === value;
    if (op.rounding === 0 && !op.converts) return Number(inputs.some((_, k) => all[count + k] === 1 && isOne(k)));
    return Number(inputs.every((_, k) => all[count + k] === 1) && op.accuracy(value, all.slice(0, count)) === 0);
  };
  return evaluateMap({ ...op, eval: isExact }, [...operands, ...exact, y], node.attrs, y.axes, type.dtype);
}

/** Where a choice may turn out otherwise: 1 at such an element, and what it is then; without `other`, true for false. */
export interface Open {
  readonly isOpen: Float64Array;
  readonly other?: Float64Array | undefined;
}

/**
 * The choices that may turn out otherwise; undefined where one of them is of more than two, as ranks are. `of` gives exact values, and the
 * most that rounding moves them.
 */
export function openChoices(
  choices: readonly Choice[],
  of: (node: Node) => Bounded,
): ReadonlyMap<Node, Open> | undefined {
  const open = new Map<Node, Open>();
  for (const { node } of choices) {
    const own = openIn(node, of);
    if (own === undefined) return undefined;
    if (own.isOpen.includes(1)) open.set(node, own);
  }
  return open;
}

function openIn(node: Node, of: (node: Node) => Bounded): Open | undefined {
  const { op, attrs } = node;
  const [first] = node.inputs;
  const y = of(node);
  if (op.kind === 'sort' && first !== undefined)
    return sure(y, !errorOfRanks(of(first), y, op.read(attrs)).includes(Infinity));
  if (op.kind !== 'map') return undefined;
  // Which of several is the largest is more than one answer turned.
  const ties = isTie(node) ? errorOfTies(node, y, of, ([x]) => x) : undefined;
  if (ties !== undefined)
    return sure(
      y,
      ties.every((error) => error === 0),
    );
  const other = turned(op, node, y, node.inputs.map(of));
  const isOpen = other.map((value, i) => Number(!Object.is(value, y.data[i])));
  if (node.type.dtype === 'bool') return { isOpen };
  // A position has one neighbour that is near.
  return op.arity === 1 ? { isOpen, other } : sure(y, !isOpen.includes(1));
}

const sure = (y: Values, is: boolean): Open | undefined => (is ? { isOpen: y.data.map(() => 0) } : undefined);

/** What the result is elsewhere in the box of the operands, where it is another there. */
function turned(op: MapOp, node: Node, y: Values, operands: readonly Bounded[]): Float64Array {
  const { dtype } = node.type;
  const count = operands.length;
  const [x, corner] = [operands.map(() => 0), operands.map(() => 0)];
  const other = (all: readonly number[]): number => {
    for (let k = 0; k < count; k++) x[k] = all[k] ?? NaN;
    const radius = (k: number): number => all[count + k] ?? 0;
    const value = op.eval(x, dtype, node.attrs);
    // What is equal somewhere in the box need not be so in a corner.
    const reach = radius(0) + radius(1);
    const isEquality = op.name === 'eq' || op.name === 'ne';
    if (isEquality && reach > 0 && Math.abs((x[0] ?? NaN) - (x[1] ?? NaN)) <= reach) return 1 - value;
    for (let way = 0; way < 3 ** count; way++) {
      for (let k = 0, rest = way; k < count; k++, rest = Math.floor(rest / 3))
        corner[k] = (x[k] ?? NaN) + ((rest % 3) - 1) * radius(k);
      const moved = op.eval(corner, dtype, node.attrs);
      if (!Object.is(moved, value)) return moved;
    }
    return value;
  };
  const errors = operands.map(({ axes, error }): Values => ({ axes, dtype: 'f32', data: error }));
  return evaluateMap({ ...op, eval: other }, [...operands, ...errors], node.attrs, y.axes, dtype);
}
