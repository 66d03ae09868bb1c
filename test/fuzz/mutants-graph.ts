// Bad passes: rewrites of the graph that do not hold.
import { printSize } from '../../dsl/axis/axis.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, order } from '../../dsl/graph/walk.ts';
import { isFloat, type Attrs, type Op } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { opByName } from '../../dsl/ops/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import type { Mutant } from './mutants.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

type Make = (op: Op, inputs: readonly Node[], attrs?: Attrs) => Node;
/** The replacement of a node whose operands were replaced already; undefined: it stays. */
type Rewrite = (node: Node, make: Make) => Node | undefined;

function pass(name: string, what: string, rewrite: Rewrite): Mutant {
  const run = (graph: Graph, builder: Builder): Graph => {
    const made = new Map<Node, Node>();
    const of = (node: Node): Node => made.get(node) ?? node;
    let origin = order(graph)[0]?.origin ?? { path: '', place: undefined };
    const make: Make = (op, operands, attrs = {}) => builder.make(op, operands, attrs, origin);
    for (const node of order(graph)) {
      const inputs = node.inputs.map(of);
      ({ origin } = node);
      const rebuilt = inputs.every((input, i) => input === node.inputs[i]) ? node : make(node.op, inputs, node.attrs);
      made.set(node, rewrite(rebuilt, make) ?? rebuilt);
    }
    return mapGraph(graph, of);
  };
  return { name, what, pass: { name: `mutant: ${name}`, why: what, run } };
}

function record(name: string): Op {
  const op = opByName(name);
  if (op === undefined) throw new TypeError(`no op is called ${name}`);
  return op;
}

const sameAxes = (a: Node, b: Node): boolean =>
  a.type.axes.map((axis) => axis.name).join() === b.type.axes.map((axis) => axis.name).join();
const exchanged =
  (name: string): Rewrite =>
  (node, make) =>
    node.op.name === name ? make(node.op, [...node.inputs].reverse(), node.attrs) : undefined;
const renamed =
  (from: string, to: string): Rewrite =>
  (node, make) =>
    node.op.name === from ? make(mapOp(to), node.inputs, node.attrs) : undefined;

/** One of two constants of a type, or of two views of one operand, stands for both. */
function mergedTwins(): Mutant {
  const constants = new WeakMap<Make, Map<string, Node>>();
  const views = new WeakMap<Node, Map<string, Node>>();
  const twins = <K extends object>(map: WeakMap<K, Map<string, Node>>, key: K): Map<string, Node> => {
    const known = map.get(key) ?? new Map<string, Node>();
    map.set(key, known);
    return known;
  };
  return pass('twins merged', 'nodes that differ in an attribute alone are taken for equal', (node, make) => {
    const [x] = node.inputs;
    const known =
      node.op.name === 'const'
        ? twins(constants, make)
        : node.op.kind === 'view' && x !== undefined
          ? twins(views, x)
          : undefined;
    const key = `${node.op.name} ${node.type.dtype} ${node.type.axes.map((axis) => `${axis.name}:${printSize(axis.size)}`).join()}`;
    const twin = known?.get(key);
    if (twin === undefined) known?.set(key, node);
    return twin;
  });
}

export const graphMutants: readonly Mutant[] = [
  pass('operands of sub', 'y − x instead of x − y', exchanged('sub')),
  pass('operands of div', 'y / x instead of x / y', exchanged('div')),
  pass('lost bias', 'what is added to a product is lost', (node) =>
    node.op.name === 'add' ? node.inputs.find((x) => x.op.kind === 'contract' && sameAxes(x, node)) : undefined,
  ),
  pass('lost epilogue', 'a function of a product is lost in fusion', (node) => {
    const [x] = node.inputs;
    return x?.op.kind === 'contract' &&
      node.op.kind === 'map' &&
      node.op.arity === 1 &&
      x.type.dtype === node.type.dtype
      ? x
      : undefined;
  }),
  pass('dropped mask', 'where the mask is false, the value stays', (node) =>
    node.op.name === 'where' && node.inputs[1] !== undefined && sameAxes(node.inputs[1], node)
      ? node.inputs[1]
      : undefined,
  ),
  pass('constants in f16', 'constants are rounded to f16', (node, make) => {
    const { values } = node.attrs;
    return node.op.name === 'const' && node.type.dtype === 'f32' && values instanceof Float64Array
      ? make(node.op, [], { ...node.attrs, values: values.map((x) => Math.f16round(x)) })
      : undefined;
  }),
  pass('softmax without its maximum', 'exp(x) instead of exp(x − max x)', (node, make) => {
    const [shifted] = node.inputs;
    const [x, top] = shifted?.inputs ?? [];
    return node.op.name === 'exp' && shifted?.op.name === 'sub' && top?.op.name === 'reduceMax' && x !== undefined
      ? make(node.op, [x])
      : undefined;
  }),
  pass('wrong broadcast axis', 'an operand with one axis is spread along another', (node, make) => {
    if (node.op.kind !== 'map' || node.inputs.length < 2) return undefined;
    const at = node.inputs.findIndex(
      (x) =>
        x.type.axes.length === 1 &&
        node.type.axes.some(
          (axis) =>
            axis.name !== x.type.axes[0]?.name &&
            typeof axis.size === 'number' &&
            typeof x.type.axes[0]?.size === 'number' &&
            axis.size >= 1 &&
            axis.size <= x.type.axes[0].size,
        ),
    );
    const [x, from] = [node.inputs[at], node.inputs[at]?.type.axes[0]];
    const to = node.type.axes.find(
      (axis) =>
        from !== undefined &&
        axis.name !== from.name &&
        typeof axis.size === 'number' &&
        typeof from.size === 'number' &&
        axis.size >= 1 &&
        axis.size <= from.size,
    );
    if (x === undefined || from === undefined || to === undefined) return undefined;
    const part = make(record('slice'), [x], { axis: from.name, start: 0, size: to.size, step: 1 });
    const moved = make(record('rearrange'), [part], {
      split: [['p']],
      merge: [{ name: to.name, parts: ['p'] }],
      sizes: { p: to.size },
    });
    const wide = node.inputs.map((y, i) => (i === at ? moved : y));
    // Its axes may have come from this operand alone.
    if (
      !node.type.axes.every((axis) =>
        wide.some((y) => y.type.axes.length === node.type.axes.length && y.type.axes.some((a) => a.name === axis.name)),
      )
    )
      return undefined;
    return make(node.op, wide, node.attrs);
  }),
  pass('lt for le', 'x < y instead of x ≤ y', renamed('le', 'lt')),
  pass('or for and', 'x or y instead of x and y', renamed('and', 'or')),
  pass('merged axes exchanged', 'two merged axes change places', (node, make) => {
    const merge = node.attrs['merge'] as
      | readonly { readonly name: string; readonly parts: readonly string[] }[]
      | undefined;
    if (node.op.name !== 'rearrange' || merge === undefined || !merge.some(({ parts }) => parts.length > 1))
      return undefined;
    return make(node.op, node.inputs, {
      ...node.attrs,
      merge: merge.map(({ name, parts }) => ({ name, parts: [...parts].reverse() })),
    });
  }),
  mergedTwins(),
  pass('gather from the end', 'positions count from the end', (node, make) => {
    const [x, positions] = node.inputs;
    return node.op.kind === 'gather' && x !== undefined && positions !== undefined
      ? make(node.op, [make(record('flip'), [x], { axis: alongAxis(node) }), positions], node.attrs)
      : undefined;
  }),
  pass('iota from 1', 'indices count from 1', (node, make) =>
    node.op.name === 'iota'
      ? make(mapOp('add'), [
          node,
          make(record('const'), [], { ...typeAttrs([], node.type.dtype), values: Float64Array.of(1) }),
        ])
      : undefined,
  ),
  pass('sum for mean', 'the division by the count is lost', (node) =>
    node.op.name === 'mul' &&
    isFloat(node.type.dtype) &&
    node.inputs.some((x) => x.op.name === 'const' && x.type.axes.length === 0)
      ? node.inputs.find((x) => x.op.name === 'sum' && sameAxes(x, node))
      : undefined,
  ),
];
