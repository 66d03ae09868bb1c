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

/** The choices among rounded numbers, operands first. */
export function choicesOf(nodes: readonly Node[]): readonly Choice[] {
  const isRounded = new Map<Node, boolean>();
  return nodes.flatMap((node): readonly Choice[] => {
    const { op } = node;
    const own = (op.kind === 'map' || op.kind === 'reduce') && op.rounding !== 0;
    const below = node.inputs.some((x) => must(isRounded, x));
    isRounded.set(node, isFloat(node.type.dtype) && (own || below || op.kind === 'contract' || op.kind === 'scatter'));
    const rounded = new Set(node.inputs.filter((x) => isFloat(x.type.dtype) && must(isRounded, x)));
    const decides = op.kind === 'sort' || (op.kind === 'map' && op.jumps) || !isFloat(node.type.dtype);
    return rounded.size > 0 && decides ? [{ node, rounded }] : [];
  });
}

/**
 * The choices that may turn out otherwise, each with 1 at such an element; undefined where one of them is not just between true and false. `of`
 * gives exact values, and the most that rounding moves them.
 */
export function openChoices(
  choices: readonly Choice[],
  of: (node: Node) => Bounded,
): ReadonlyMap<Node, Float64Array> | undefined {
  const open = new Map<Node, Float64Array>();
  for (const { node } of choices) {
    const isOpen = openIn(node, of);
    if (!isOpen.includes(1)) continue;
    // Which of several is the largest is more than one answer turned.
    if (node.type.dtype !== 'bool' || isTie(node)) return undefined;
    open.set(node, isOpen);
  }
  return open;
}

function openIn(node: Node, of: (node: Node) => Bounded): Float64Array {
  const { op, attrs } = node;
  const [first] = node.inputs;
  const y = of(node);
  if (op.kind === 'sort' && first !== undefined) return errorOfRanks(of(first), y, op.read(attrs)).map(oneIfAny);
  if (op.kind !== 'map') return y.data.map(() => 1);
  const ties = op.name === 'eq' ? errorOfTies(node, y, of, ([x]) => x) : undefined;
  return ties?.map(oneIfAny) ?? turned(op, node, y, node.inputs.map(of));
}

const oneIfAny = (x: number): number => (x === 0 ? 0 : 1);

/** 1 where the result is another somewhere in the box of the operands. */
function turned(op: MapOp, node: Node, y: Values, operands: readonly Bounded[]): Float64Array {
  const { dtype } = node.type;
  const count = operands.length;
  const [x, corner] = [operands.map(() => 0), operands.map(() => 0)];
  const isOpen = (all: readonly number[]): number => {
    for (let k = 0; k < count; k++) x[k] = all[k] ?? NaN;
    const radius = (k: number): number => all[count + k] ?? 0;
    const value = op.eval(x, dtype, node.attrs);
    // What is equal somewhere in the box need not be so in a corner.
    const reach = radius(0) + radius(1);
    if ((op.name === 'eq' || op.name === 'ne') && reach > 0 && Math.abs((x[0] ?? NaN) - (x[1] ?? NaN)) <= reach)
      return 1;
    for (let way = 0; way < 3 ** count; way++) {
      for (let k = 0, rest = way; k < count; k++, rest = Math.floor(rest / 3))
        corner[k] = (x[k] ?? NaN) + ((rest % 3) - 1) * radius(k);
      if (!Object.is(op.eval(corner, dtype, node.attrs), value)) return 1;
    }
    return 0;
  };
  const errors = operands.map(({ axes, error }): Values => ({ axes, dtype: 'f32', data: error }));
  return evaluateMap({ ...op, eval: isOpen }, [...operands, ...errors], node.attrs, y.axes, dtype);
}
