// One element along an axis of a state that is written at a place each row has for itself: `where(t == position, x, state)` into the
// state, as keys and values of rows that are not equally far.
import { axisOf, sizesEqual } from '../../dsl/axis/axis.ts';
import { roleOf, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';

export interface RowWrite {
  readonly update: Update;
  /** The new value of the state. */
  readonly whole: Node;
  /** What is written: the state's axes but `axis`. */
  readonly part: Node;
  readonly axis: string;
  /** Where it belongs along `axis`; outside of the axis nothing is written. */
  readonly position: Node;
}

/**
 * The updates of a graph that change one element along an axis and can be made where the state lies: after the update the state is the
 * new value, so that whatever reads the new value reads it there. Sound because nothing reads the old value but the update itself.
 */
export function findRowWrites(graph: Graph, readers: ReadonlyMap<Node, readonly Node[]>): readonly RowWrite[] {
  const outputs = new Set(graph.outputs.values());
  return graph.updates.flatMap((update): readonly RowWrite[] => {
    const { state, value, at } = update;
    const isAlone = graph.updates.every(
      (other) => other === update || (other.state !== state && other.value !== value),
    );
    const isRead = outputs.has(state) || outputs.has(value) || (readers.get(state) ?? []).some((x) => x !== value);
    const found = matchRowWrite(value, state);
    if (found === undefined || !isAlone || isRead || [...at.values()].some((start) => start !== 0)) return [];
    const isPart = !outputs.has(found.part) && (readers.get(found.part) ?? []).every((x) => x === value);
    // The position is read where the part is written: it must be there already.
    const isThere = roleOf(found.position) === 'state' || roleOf(found.position) === 'input';
    return isPart && isThere ? [{ update, whole: value, ...found }] : [];
  });
}

function matchRowWrite(node: Node, state: Node): Pick<RowWrite, 'part' | 'axis' | 'position'> | undefined {
  const [test, part, old] = node.inputs;
  if (node.op.name !== 'where' || old !== state || part === undefined || test?.op.name !== 'eq') return undefined;
  const sides = test.inputs.map(unrepeated);
  const index = sides.find((x) => roleOf(x) === 'index');
  const position = sides.find((x) => x !== index);
  const [axis] = index?.type.axes ?? [];
  if (position === undefined || axis === undefined) return undefined;
  const rest = state.type.axes.filter(({ name }) => name !== axis.name);
  const isSame =
    axisOf(position.type.axes, axis.name) === undefined &&
    sizesEqual(axisOf(state.type.axes, axis.name)?.size ?? -1, axis.size) &&
    position.type.axes.every(({ name }) => axisOf(rest, name) !== undefined) &&
    part.type.axes.length === rest.length &&
    rest.every(({ name, size }) => sizesEqual(axisOf(part.type.axes, name)?.size ?? -1, size)) &&
    node.type.axes.every(({ name }, i) => name === state.type.axes[i]?.name) &&
    node.type.axes.length === state.type.axes.length &&
    roleOf(part) === undefined;
  return isSame ? { part, axis: axis.name, position } : undefined;
}

/** What is the same along the axes that a broadcast adds. */
function unrepeated(node: Node): Node {
  const [x] = node.inputs;
  return node.op.name === 'broadcast' && x !== undefined ? x : node;
}
