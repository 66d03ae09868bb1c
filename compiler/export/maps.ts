// One row per scalar function: how it is said with ONNX operators on the element types that tensors have in the exported graph.
import { isFloat, type Attrs, type DType } from '../../dsl/graph/op.ts';
import { Element, type Writer } from './writer.ts';

/**
 * The element type a dtype has inside the exported graph. ONNX Runtime has few kernels for u32, so that it is held in int64 below 2³²;
 * bf16 is held in f32, rounded after each op.
 */
export const elementOf = {
  f32: Element.FLOAT,
  f16: Element.FLOAT16,
  bf16: Element.FLOAT,
  i32: Element.INT32,
  u32: Element.INT64,
  bool: Element.BOOL,
} as const satisfies Record<DType, Element>;

export interface MapCall {
  readonly writer: Writer;
  readonly x: readonly string[];
  /** Dtypes of the operands. */
  readonly from: readonly DType[];
  readonly to: DType;
  readonly attrs: Attrs;
  /** The value of an operand that is a constant scalar. */
  readonly known: (operand: number) => number | undefined;
}

type Row = (call: MapCall) => string;

const plain =
  (op: string): Row =>
  ({ writer, x }) =>
    writer.emit(op, x);

/** Arithmetic that may leave 0 … 2³²−1: brought back where the result is u32. */
const wrapping =
  (op: string): Row =>
  (call) =>
    wrap(call.writer, call.writer.emit(op, call.x), call.to);

export function wrap(writer: Writer, x: string, dtype: DType): string {
  return dtype === 'u32' ? writer.emit('BitwiseAnd', [x, writer.int(0xffffffff)]) : x;
}

export function castTo(writer: Writer, x: string, to: Element): string {
  return writer.emit('Cast', [x], { to: BigInt(to) });
}

/** The value a bf16 would hold, in f32. */
export function roundBf16(writer: Writer, x: string): string {
  return castTo(writer, castTo(writer, x, Element.BFLOAT16), Element.FLOAT);
}

const number = ({ writer, to }: MapCall, value: number, dtype: DType = to): string =>
  writer.constant(elementOf[dtype], [], [value]);

/** Division of whole numbers: by 0 it is an error in ONNX Runtime; −2³¹ / −1 has a result in int64 only. */
const whole =
  (op: 'Div' | 'Mod'): Row =>
  (call) => {
    const {
      writer,
      x: [a = '', b = ''],
      to,
    } = call;
    const attrs = op === 'Mod' ? { fmod: 1n } : {};
    const divisor = call.known(1);
    if (divisor !== undefined && divisor !== 0 && divisor !== -1) return writer.emit(op, [a, b], attrs);
    const wide = (v: string): string => (to === 'i32' ? castTo(writer, v, Element.INT64) : v);
    const [dividend, by] = [wide(a), wide(b)];
    const isZero = writer.emit('Equal', [by, writer.int(0)]);
    const quotient = writer.emit(op, [dividend, writer.emit('Where', [isZero, writer.int(1), by])], attrs);
    // x / 1 is x and x mod 1 is 0: what the reference gives for a divisor of 0.
    return to === 'i32' ? castTo(writer, quotient, Element.INT32) : quotient;
  };

/** The first where the comparison holds, else the second: Min, Max and Clip of int64 compare low halves as i32 (microsoft/onnxruntime#25280). */
export function choose(writer: Writer, comparison: 'Less' | 'Greater', [a = '', b = '']: readonly string[]): string {
  return writer.emit('Where', [writer.emit(comparison, [a, b]), a, b]);
}

const rows: Readonly<Record<string, Row>> = {
  neg: ({ writer, x, to }) => wrap(writer, writer.emit('Neg', x), to),
  abs: plain('Abs'),
  exp: plain('Exp'),
  log: plain('Log'),
  sqrt: plain('Sqrt'),
  tanh: plain('Tanh'),
  erf: plain('Erf'),
  sigmoid: plain('Sigmoid'),
  sin: plain('Sin'),
  cos: plain('Cos'),
  floor: plain('Floor'),
  not: plain('Not'),
  isNaN: plain('IsNaN'),
  rsqrt: ({ writer, x }) => writer.emit('Reciprocal', [writer.emit('Sqrt', x)]),
  add: wrapping('Add'),
  sub: wrapping('Sub'),
  mul: wrapping('Mul'),
  div: (call) => (isFloat(call.to) ? call.writer.emit('Div', call.x) : whole('Div')(call)),
  mod: (call) => (isFloat(call.to) ? call.writer.emit('Mod', call.x, { fmod: 1n }) : whole('Mod')(call)),
  min: (call) => (call.to === 'u32' ? choose(call.writer, 'Less', call.x) : call.writer.emit('Min', call.x)),
  max: (call) => (call.to === 'u32' ? choose(call.writer, 'Greater', call.x) : call.writer.emit('Max', call.x)),
  pow: plain('Pow'),
  lt: plain('Less'),
  le: plain('LessOrEqual'),
  gt: plain('Greater'),
  ge: plain('GreaterOrEqual'),
  eq: plain('Equal'),
  ne: ({ writer, x }) => writer.emit('Not', [writer.emit('Equal', x)]),
  and: plain('And'),
  or: plain('Or'),
  xor: plain('BitwiseXor'),
  shiftRight,
  where: ({ writer, x: [test = '', yes = '', no = ''], to }) => {
    if (to !== 'bool') return writer.emit('Where', [test, yes, no]);
    return writer.emit('Or', [writer.emit('And', [test, yes]), writer.emit('And', [writer.emit('Not', [test]), no])]);
  },
  cast,
  again: ({ x: [x = ''] }) => x,
};

/** BitShift takes unsigned numbers only; a negative i32 is complemented on the way. */
function shiftRight(call: MapCall): string {
  const {
    writer,
    x: [a = '', b = ''],
    to,
  } = call;
  const by = castTo(
    writer,
    writer.emit('BitwiseAnd', [to === 'i32' ? castTo(writer, b, Element.INT64) : b, writer.int(31)]),
    Element.UINT32,
  );
  const shift = (v: string): string =>
    castTo(
      writer,
      writer.emit('BitShift', [castTo(writer, v, Element.UINT32), by], { direction: 'RIGHT' }),
      elementOf[to],
    );
  if (to === 'u32') return shift(a);
  const complement = (v: string): string => writer.emit('Sub', [number(call, -1), v]);
  const negative = writer.emit('Less', [a, number(call, 0)]);
  const shifted = shift(writer.emit('Where', [negative, complement(a), a]));
  return writer.emit('Where', [negative, complement(shifted), shifted]);
}

/** Floats are cut off towards zero and kept in range; whole numbers are kept in range. */
function cast(call: MapCall): string {
  const {
    writer,
    x: [x = ''],
    from: [from = 'f32'],
    to,
  } = call;
  if (to === from) return x;
  if (to === 'bf16') return roundBf16(writer, elementOf[from] === Element.FLOAT ? x : castTo(writer, x, Element.FLOAT));
  if (elementOf[to] === elementOf[from]) return x;
  if (isFloat(to) || to === 'bool') return castTo(writer, x, elementOf[to]);
  if (from === 'bool') return castTo(writer, x, elementOf[to]);
  const [least, most] = to === 'i32' ? [-2147483648, 2147483647] : [0, 4294967295];
  const above = (v: string): string => choose(writer, 'Greater', [v, writer.int(least)]);
  const below = (v: string): string => choose(writer, 'Less', [v, writer.int(most)]);
  if (from === 'i32') return above(castTo(writer, x, Element.INT64));
  if (from === 'u32') return castTo(writer, below(x), Element.INT32);
  const float = from === 'f16' ? castTo(writer, x, Element.FLOAT) : x;
  // Far outside of int64 a conversion has no defined result; the bound itself rounds up, and is cut again as a whole number.
  const near = writer.emit('Clip', [
    float,
    writer.constant(Element.FLOAT, [], [least]),
    writer.constant(Element.FLOAT, [], [most]),
  ]);
  const cut = below(castTo(writer, near, Element.INT64));
  return to === 'i32' ? castTo(writer, cut, Element.INT32) : cut;
}

/** Undefined for a function that has no row. */
export function mapRow(name: string): Row | undefined {
  return Object.hasOwn(rows, name) ? rows[name] : undefined;
}

/** Functions whose result needs no rounding to bf16: they give one of their operands, or no float at all. */
export const exactMaps: ReadonlySet<string> = new Set([
  'neg',
  'abs',
  'floor',
  'min',
  'max',
  'where',
  'cast',
  'again',
  'not',
  'isNaN',
  'lt',
  'le',
  'gt',
  'ge',
  'eq',
  'ne',
  'and',
  'or',
  'xor',
  'shiftRight',
]);
