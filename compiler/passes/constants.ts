// Numbers known at trace time: computed now, and neutral elements dropped.
import { fixedElements, sameAxes } from '../../dsl/axis/axes.ts';
import { axisOf } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { isFloat, isInteger, type DType, type IndexMath, type MapOp, type TensorType } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { constant, typeAttrs, valuesOf } from '../../dsl/ops/source.ts';
import { sameType, type Rewriter } from '../rewrite/rewriter.ts';
import { any, as, lit, number, op, rule, scalarValue, type Rule } from '../rewrite/rules.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/** Constants larger than this stay expressions: they would only make the plan bigger. */
const largestConstant = 65536;

interface Known {
  readonly type: TensorType;
  readonly values: Float64Array;
}

function known(node: Node): Known | undefined {
  const values = valuesOf(node);
  return values === undefined ? undefined : { type: node.type, values };
}

function makeConstant(r: Rewriter, type: TensorType, values: Float64Array): Node {
  return r.make(constant, [], { ...typeAttrs(type.axes, type.dtype), values });
}

/** The number of elements, or undefined where it is not known or too large to compute now. */
function smallCount(type: TensorType): number | undefined {
  const count = fixedElements(type.axes);
  return count <= largestConstant ? count : undefined;
}

/** Calls `visit` with the index of each element in row-major order. */
function forEachIndex(
  type: TensorType,
  count: number,
  visit: (index: ReadonlyMap<string, number>, at: number) => void,
): void {
  const sizes = type.axes.map((axis) => Number(axis.size));
  const at = sizes.map(() => 0);
  const index = new Map(type.axes.map((axis) => [axis.name, 0]));
  for (let i = 0; i < count; i++) {
    visit(index, i);
    for (let k = sizes.length - 1; k >= 0; k--) {
      const next = (at[k] ?? 0) + 1;
      const wraps = next === sizes[k];
      at[k] = wraps ? 0 : next;
      index.set(type.axes[k]?.name ?? '', at[k] ?? 0);
      if (!wraps) break;
    }
  }
}

function offset(type: TensorType, index: ReadonlyMap<string, number>): number {
  return type.axes.reduce((sum, axis) => sum * Number(axis.size) + (index.get(axis.name) ?? 0), 0);
}

const numberMath: IndexMath<number, boolean> = {
  of: Number,
  add: (a, b) => a + b,
  multiply: (a, by) => a * Number(by),
  divide: (a, by) => Math.floor(a / Number(by)),
  remainder: (a, by) => a % Number(by),
  within: (a, least, end) => a >= Number(least) && a < Number(end),
};

/** A map of constants, computed in double precision as the interpreter does; it is rounded once, where it is stored. */
function reduceMap(node: Node, r: Rewriter): Node | undefined {
  const count = smallCount(node.type);
  const operands = node.inputs.map(known);
  if (node.op.kind !== 'map' || count === undefined || !operands.every((operand) => operand !== undefined))
    return undefined;
  const map: MapOp = node.op;
  const values = new Float64Array(count);
  forEachIndex(node.type, count, (index, at) => {
    values[at] = map.eval(
      operands.map((operand) => operand.values[offset(operand.type, index)] ?? NaN),
      node.type.dtype,
      node.attrs,
    );
  });
  // NaN has no literal; infinities have none in 16 bits.
  return values.every((value) => Number.isFinite(value) || (Math.abs(value) === Infinity && node.type.dtype === 'f32'))
    ? makeConstant(r, node.type, values)
    : undefined;
}

function reduceOfView(node: Node, r: Rewriter): Node | undefined {
  const [x] = node.inputs;
  const count = smallCount(node.type);
  const operand = x === undefined ? undefined : known(x);
  if (node.op.kind !== 'view' || node.op.name === 'broadcast' || count === undefined || operand === undefined)
    return undefined;
  const view = node.op;
  if (Object.values(node.attrs).some((attr) => typeof attr === 'object' && 'terms' in attr)) return undefined;
  const values = new Float64Array(count);
  forEachIndex(node.type, count, (index, at) => {
    const source = view.source(numberMath, index, node.attrs, operand.type);
    values[at] = source.guards.every((inside) => inside)
      ? (operand.values[offset(operand.type, source.index)] ?? NaN)
      : source.otherwise;
  });
  return makeConstant(r, node.type, values);
}

function reduceOfJoin(node: Node, r: Rewriter): Node | undefined {
  const count = smallCount(node.type);
  const operands = node.inputs.map(known);
  if (count === undefined || !operands.every((operand) => operand !== undefined)) return undefined;
  const name = alongAxis(node);
  const values = new Float64Array(count);
  forEachIndex(node.type, count, (index, at) => {
    let rest = index.get(name) ?? 0;
    for (const operand of operands) {
      const size = Number(axisOf(operand.type.axes, name)?.size ?? 0);
      if (rest < size) {
        values[at] = operand.values[offset(operand.type, new Map(index).set(name, rest))] ?? NaN;
        return;
      }
      rest -= size;
    }
  });
  return makeConstant(r, node.type, values);
}

/** Casting to `wide` and on loses nothing of a value of type `from`. */
function widens(from: DType, wide: DType): boolean {
  if (from === wide || from === 'bool') return true;
  return wide === 'f32' && (from === 'f16' || from === 'bf16');
}

const dtypeOf = (node: Node | undefined): DType | undefined => node?.type.dtype;
const isNumber = (node: Node): boolean => isFloat(node.type.dtype) || isInteger(node.type.dtype);

const neutral = (name: string, why: string, from: Parameters<typeof rule<{ x: Node }>>[0]['from']): Rule =>
  rule({ name, why, from, to: ({ x }, r, node) => r.standIn(x, node.type) });

/** Constants folded, neutral elements and casts without effect dropped. */
export const constantRules: readonly Rule[] = [
  { name: 'map of constants', why: 'every operand is known', heads: ['map'], apply: reduceMap },
  {
    name: 'view of a constant',
    why: 'the elements are known, and no more of them are needed',
    heads: ['view'],
    apply: reduceOfView,
  },
  { name: 'concat of constants', why: 'the elements are known', heads: ['concat'], apply: reduceOfJoin },
  {
    name: 'uniform constant',
    why: 'the same number everywhere is one number, broadcast',
    heads: ['const'],
    apply(node, r) {
      const { values, type } = known(node) ?? {};
      const first = values?.[0];
      if (values === undefined || type === undefined || first === undefined || type.axes.length === 0) return undefined;
      return values.every((value) => Object.is(value, first))
        ? r.broadcast(r.scalar(first, type.dtype), type.axes)
        : undefined;
    },
  },
  neutral('x*1', '1 is neutral', op('mul', any('x'), lit(1))),
  neutral('x+0', '0 is neutral, up to the sign of zero', op('add', any('x'), lit(0))),
  neutral('x-0', '0 is neutral', op('sub', any('x'), lit(0))),
  neutral('x/1', '1 is neutral', op('div', any('x'), lit(1))),
  neutral('x^1', '1 is neutral', op('pow', any('x'), lit(1))),
  neutral('--x', 'exact in floats and in two’s complement', op('neg', op('neg', any('x')))),
  neutral('not not x', 'there are two truth values', op('not', op('not', any('x')))),
  neutral('max(x, x)', 'idempotent', op('max', any('x'), any('x'))),
  neutral('min(x, x)', 'idempotent', op('min', any('x'), any('x'))),
  neutral('where(m, x, x)', 'both branches are the same', op('where', any('m'), any('x'), any('x'))),
  neutral('where(true, x, y)', 'the mask is known', op('where', lit(1), any('x'), any('y'))),
  neutral('where(false, y, x)', 'the mask is known', op('where', lit(0), any('y'), any('x'))),
  rule({
    name: 'x+(-y)',
    why: 'the definition of subtraction',
    from: op('add', any('x'), op('neg', any('y'))),
    to: ({ x, y }, r, node) => r.makeTyped(node.type, mapOp('sub'), [x, y]),
  }),
  rule({
    name: '(x·c)·d',
    why: 'multiplication is associative up to rounding; c·d is known',
    from: op('mul', op('mul', any('x'), number('c')), number('d')),
    when: ({ x }) => scalarValue(x) === undefined && isFloat(x.type.dtype),
    to: ({ x, c, d }, r, node) => regroup(node, r, x, (scalarValue(c) ?? 1) * (scalarValue(d) ?? 1)),
  }),
  rule({
    name: '(x+c)+d',
    why: 'addition is associative up to rounding; c+d is known',
    from: op('add', op('add', any('x'), number('c')), number('d')),
    when: ({ x }) => scalarValue(x) === undefined && isFloat(x.type.dtype),
    to: ({ x, c, d }, r, node) => regroup(node, r, x, (scalarValue(c) ?? 0) + (scalarValue(d) ?? 0)),
  }),
  rule({
    name: 'cast to the same',
    why: 'nothing changes',
    from: op('cast', any('x')),
    when: ({ x }, node) => sameType(x.type, node.type),
    to: ({ x }) => x,
  }),
  rule({
    name: 'cast of a widening cast',
    why: 'the inner cast loses nothing, so the outer one sees the same value',
    from: op('cast', as('inner', op('cast', any('x')))),
    when: ({ x, inner }, node) => widens(x.type.dtype, inner.type.dtype) && dtypeOf(node) !== 'bool',
    to: ({ x }, r, node) => r.make(node.op, [x], { to: node.type.dtype }),
  }),
];

/** `x op value` where the node had two constants; the axes stay as they were. */
function regroup(node: Node, r: Rewriter, x: Node, value: number): Node | undefined {
  // Beyond this range the two steps in f32 could give what one step does not.
  const size = Math.abs(value);
  if (!isNumber(x) || !(size === 0 || (size > 1e-30 && size < 1e30))) return undefined;
  const next = r.make(node.op, [x, r.scalar(value, x.type.dtype)]);
  return sameAxes(next.type.axes, node.type.axes) ? next : r.standIn(next, node.type);
}
