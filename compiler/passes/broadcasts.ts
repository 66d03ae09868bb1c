// Broadcasts pulled up: f(broadcast x) = broadcast(f x), so that what is the same along an axis is computed once.
import { fixedElements, namesOf } from '../../dsl/axis/axes.ts';
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { broadcast, rearrange } from '../../dsl/ops/view.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { attributesOf, attrsOf, formOf, separable, without } from './rearrangement.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/** True when the node has the axis only because a broadcast gave it. */
function isNew(node: Node, axis: string): boolean {
  return (
    node.op === broadcast &&
    axisOf(node.type.axes, axis) !== undefined &&
    axisOf(node.inputs[0]?.type.axes ?? [], axis) === undefined
  );
}

/** The operand without some of the axes that its broadcast gave it. */
function strip(node: Node, axes: ReadonlySet<string>, r: Rewriter): Node {
  const [x] = node.inputs;
  if (node.op !== broadcast || x === undefined) return node;
  return r.broadcast(
    x,
    node.type.axes.filter((axis) => !(axes.has(axis.name) && isNew(node, axis.name))),
  );
}

/** The candidates along which every operand that has the axis is a broadcast; none if no operand has any of them. */
function sharedNewAxes(node: Node, candidates: readonly Axis[]): ReadonlySet<string> {
  const names = candidates.filter(({ name }) => {
    const having = node.inputs.filter((input) => axisOf(input.type.axes, name) !== undefined);
    return having.length > 0 && having.every((input) => isNew(input, name));
  });
  return new Set(namesOf(names));
}

const outside = (axes: readonly Axis[], names: ReadonlySet<string>): readonly Axis[] =>
  axes.filter((axis) => !names.has(axis.name));

/** A map computed without the axes that none of its operands needs. */
function pullThroughMap(node: Node, r: Rewriter): Node | undefined {
  const pulled = sharedNewAxes(node, node.type.axes);
  if (pulled.size === 0) return undefined;
  const axes = outside(node.type.axes, pulled);
  const inputs = node.inputs.map((input) => strip(input, pulled, r));
  const type = { axes, dtype: node.type.dtype };
  const direct = r.makeTyped(type, node.op, inputs, node.attrs);
  if (direct !== undefined) return r.broadcast(direct, node.type.axes);
  // No operand has all the axes that are left (b from one, c from another): the one with most is widened.
  const widest = inputs.reduce(
    (best, input, i) => (input.type.axes.length > (inputs[best]?.type.axes.length ?? -1) ? i : best),
    0,
  );
  const widened = r.makeTyped(
    type,
    node.op,
    inputs.map((input, i) => (i === widest ? r.broadcast(input, axes) : input)),
    node.attrs,
  );
  return widened === undefined ? undefined : r.broadcast(widened, node.type.axes);
}

/** Maps align by name: a broadcast operand beside one that has every axis needs no broadcast. */
function dropFromMap(node: Node, r: Rewriter): Node | undefined {
  let inputs: readonly Node[] = node.inputs;
  for (const [i, input] of node.inputs.entries()) {
    const [x] = input.inputs;
    if (input.op !== broadcast || x === undefined) continue;
    const without = inputs.map((other, k) => (k === i ? x : other));
    if (r.makeTyped(node.type, node.op, without, node.attrs) !== undefined) inputs = without;
  }
  return inputs === node.inputs ? undefined : r.makeTyped(node.type, node.op, inputs, node.attrs);
}

function pullThroughContract(node: Node, r: Rewriter): Node | undefined {
  const pulled = sharedNewAxes(node, node.type.axes);
  const [a, b] = node.inputs;
  if (pulled.size === 0 || a === undefined || b === undefined) return undefined;
  const axes = outside(node.type.axes, pulled);
  return r.broadcast(r.contract(strip(a, pulled, r), strip(b, pulled, r), namesOf(axes)), node.type.axes);
}

function pullThroughReduce(node: Node, r: Rewriter): Node | undefined {
  const pulled = sharedNewAxes(node, node.type.axes);
  const [x] = node.inputs;
  if (pulled.size === 0 || x === undefined) return undefined;
  return r.broadcast(r.make(node.op, [strip(x, pulled, r)], node.attrs), node.type.axes);
}

/** A reduction of equal elements: a selection gives the element, a sum gives it times the size. */
function reduceOfBroadcast(node: Node, r: Rewriter): Node | undefined {
  const [x] = node.inputs;
  if (x === undefined || node.op.kind !== 'reduce') return undefined;
  const along = reducedAxes(node);
  const selects = node.op.rounding === 0;
  const same = along.filter(
    (name) =>
      isNew(x, name) && (selects || (isFloat(x.type.dtype) && typeof axisOf(x.type.axes, name)?.size === 'number')),
  );
  if (same.length === 0) return undefined;
  const narrow = strip(x, new Set(same), r);
  const rest = along.filter((name) => !same.includes(name));
  const reduced = rest.length === 0 ? narrow : r.make(node.op, [narrow], { axes: rest });
  if (selects) return reduced;
  const count = fixedElements(x.type.axes.filter((axis) => same.includes(axis.name)));
  return r.map('mul', reduced, r.scalar(count, x.type.dtype));
}

function pullThroughView(node: Node, r: Rewriter): Node | undefined {
  const [x] = node.inputs;
  if (x === undefined || x.op !== broadcast || node.op.kind !== 'view' || node.op === broadcast) return undefined;
  if (node.op === rearrange) return pullThroughRearrange(node, x, r);
  const along = alongAxis(node);
  if (isNew(x, along) && (node.op.name === 'slice' || node.op.name === 'flip'))
    return r.broadcast(strip(x, new Set([along]), r), node.type.axes);
  const pulled = sharedNewAxes(
    node,
    node.type.axes.filter((axis) => axis.name !== along),
  );
  if (pulled.size === 0) return undefined;
  return r.broadcast(r.make(node.op, [strip(x, pulled, r)], node.attrs), node.type.axes);
}

function pullThroughRearrange(node: Node, x: Node, r: Rewriter): Node | undefined {
  const form = formOf(attrsOf(node));
  const fresh = new Set(namesOf(x.type.axes).filter((name) => isNew(x, name)));
  const { inputs, outputs } = separable(form, x.type.axes, fresh);
  if (inputs.size === 0) return undefined;
  const narrow = strip(x, inputs, r);
  const rest = without(form, x.type.axes, inputs, outputs);
  return r.broadcast(r.make(rearrange, [narrow], attributesOf(rest, narrow.type.axes)), node.type.axes);
}

function pullThroughJoin(node: Node, r: Rewriter): Node | undefined {
  const along = alongAxis(node);
  const pulled = sharedNewAxes(
    node,
    node.type.axes.filter((axis) => axis.name !== along),
  );
  if (pulled.size === 0) return undefined;
  const axes = outside(node.type.axes, pulled);
  // Operands may have had other orders below their broadcasts; a join wants one.
  const parts = node.inputs.map((input) => {
    const narrow = strip(input, pulled, r);
    return r.broadcast(
      narrow,
      axes.map((axis) => axisOf(narrow.type.axes, axis.name) ?? axis),
    );
  });
  return r.broadcast(r.concat(parts, along), node.type.axes);
}

function pullThroughGather(node: Node, r: Rewriter): Node | undefined {
  const along = alongAxis(node);
  const pulled = sharedNewAxes(
    node,
    node.type.axes.filter((axis) => axis.name !== along),
  );
  if (pulled.size === 0) return undefined;
  return r.broadcast(
    r.make(
      node.op,
      node.inputs.map((input) => strip(input, pulled, r)),
      node.attrs,
    ),
    node.type.axes,
  );
}

export const broadcastRules: readonly Rule[] = [
  {
    name: 'map of broadcasts',
    why: 'the value is the same along an axis that no operand really has',
    heads: ['map'],
    apply: pullThroughMap,
  },
  {
    name: 'broadcast beside a full operand',
    why: 'maps align their operands by name',
    heads: ['map'],
    apply: dropFromMap,
  },
  {
    name: 'contraction of a broadcast',
    why: 'the kept axis is in no operand, so every slice of the product is the same',
    heads: ['contract'],
    apply: pullThroughContract,
  },
  {
    name: 'reduction of a broadcast',
    why: 'the kept axis is only copied',
    heads: ['reduce'],
    apply: pullThroughReduce,
  },
  {
    name: 'reduction along a broadcast',
    why: 'the sum of n equal numbers is n times the number, their largest is the number',
    heads: ['reduce'],
    apply: reduceOfBroadcast,
  },
  {
    name: 'view of a broadcast',
    why: 'the view touches other axes, or takes a part of equal elements',
    heads: ['view'],
    apply: pullThroughView,
  },
  {
    name: 'concat of broadcasts',
    why: 'every operand is the same along the axis',
    heads: ['join'],
    apply: pullThroughJoin,
  },
  {
    name: 'gather of broadcasts',
    why: 'neither rows nor positions change along the axis',
    heads: ['gather'],
    apply: pullThroughGather,
  },
];
