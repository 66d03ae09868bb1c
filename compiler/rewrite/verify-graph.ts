// What must hold of a graph after every pass: each type is what its op infers, operands come first, nothing asked for is lost.
import { printAxes } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { describe, inferType, printAttrs, roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { Refusal } from '../../dsl/graph/op.ts';
import { sameType } from './rewriter.ts';
import { nameOf } from '../../dsl/ops/source.ts';

/** Throws `OpabiniaError` naming the stage and the node when `graph` is broken, or differs in interface from `before`. */
export function verifyGraph(graph: Graph, stage: string, before?: Graph): void {
  const seen = new Map<string, Node>();
  const ids = new Map<number, Node>();
  for (const node of order(graph)) {
    const type = inferType(
      node.op,
      node.inputs.map((input) => input.type),
      node.attrs,
    );
    if (type instanceof Refusal) throw broken(stage, node, `its op refuses it: ${type.what}`);
    if (!sameType(type, node.type)) throw broken(stage, node, `its op infers ${printAxes(type.axes)} ${type.dtype}`);
    const late = node.inputs.find((input) => input.id >= node.id);
    if (late !== undefined) throw broken(stage, node, `its operand ${describe(late)} was made after it`);
    const twin = ids.get(node.id);
    if (twin !== undefined) throw broken(stage, node, `another builder's ${describe(twin)} has the same number`);
    ids.set(node.id, node);
    const key = `${node.op.name}(${node.inputs.map((input) => input.id).join(',')})${printAttrs(node.attrs)}`;
    if (seen.has(key)) throw broken(stage, node, 'an equal node exists already');
    seen.set(key, node);
  }
  for (const update of graph.updates) {
    if (roleOf(update.state) !== 'state') throw broken(stage, update.state, 'an update writes to what is not a state');
  }
  if (before !== undefined) sameInterface(graph, stage, before);
}

function sameInterface(graph: Graph, stage: string, before: Graph): void {
  for (const [name, old] of before.outputs) {
    const node = graph.outputs.get(name);
    if (node === undefined) throw new OpabiniaError(`the output '${name}' is lost`, { op: stage });
    if (!sameType(node.type, old.type))
      throw broken(stage, node, `the output '${name}' was ${printAxes(old.type.axes)} ${old.type.dtype}`);
  }
  if (graph.outputs.size !== before.outputs.size) throw new OpabiniaError('an output has appeared', { op: stage });
  if (graph.updates.length !== before.updates.length) throw new OpabiniaError('an update is lost', { op: stage });
  for (const [i, old] of before.updates.entries()) {
    const update = graph.updates[i];
    if (
      update === undefined ||
      nameOf(update.state) !== nameOf(old.state) ||
      !sameType(update.value.type, old.value.type)
    ) {
      throw broken(stage, old.value, 'the update of a state has changed');
    }
  }
}

function broken(stage: string, node: Node, what: string): OpabiniaError {
  return new OpabiniaError(`${describe(node)}: ${what}`, {
    op: stage,
    path: node.origin.path,
    place: node.origin.place,
    advice: 'this is a mistake in the compiler: run explain to see the rules that fired',
  });
}
