// The scalar functions, one row each: reference semantics, lowering, gradient, accuracy. A row is all that a new one needs.
import { isFloat, isInteger, Refusal, type Attrs, type DType, type MapOp } from '../graph/op.ts';
import {
  call,
  code,
  like,
  literal,
  scalarType,
  splat,
  wgsl,
  wgslTest,
  type Code,
  type HelperRecipe,
  type WgslScalar,
  type WgslType,
} from '../wgsl.ts';
import { isDType } from './source.ts';

// ---- accuracy, from the table of WGSL §15.7.4 --------------------------------------------------------------------

/** One unit in the last place of an f32 of the size of y; subnormals may be flushed. */
export function ulp(y: number): number {
  const size = Math.abs(y);
  return size < 2 ** -126 ? 2 ** -126 : 2 ** (Math.floor(Math.log2(size)) - 23);
}

const within =
  (ulps: number, absolute = 0) =>
  (y: number): number =>
    ulps * ulp(y) + absolute;

// ---- dtype rules ------------------------------------------------------------------------------------------------

type Rule = (operands: readonly DType[], attrs: Attrs) => DType | Refusal;

const agree = (operands: readonly DType[]): DType | Refusal => {
  const [first = 'f32'] = operands;
  const other = operands.find((dtype) => dtype !== first);
  return other === undefined ? first : new Refusal(`dtypes differ: ${operands.join(' and ')}`, 'cast one of them');
};
const floats: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || isFloat(dtype)
    ? dtype
    : new Refusal(`takes floats, not ${dtype}`, "cast(x, 'f32')");
};
const numbers: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || dtype !== 'bool'
    ? dtype
    : new Refusal('takes numbers, not bool', "cast(x, 'f32'), or use and, or, not");
};
const integers: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || isInteger(dtype)
    ? dtype
    : new Refusal(`takes whole numbers, not ${dtype}`, "cast(x, 'u32')");
};
const comparison: Rule = (operands) => {
  const dtype = numbers(operands, {});
  return dtype instanceof Refusal ? dtype : 'bool';
};
const logic: Rule = (operands) => {
  const other = operands.find((dtype) => dtype !== 'bool');
  return other === undefined ? 'bool' : new Refusal(`takes bool, not ${other}`, 'compare first, e.g. x.gt(0)');
};

// ---- helpers in WGSL ---------------------------------------------------------------------------------------------

// WGSL lets a compiler assume that NaN does not occur, so `x != x` may fold to false: NaN is told by its bits.
const isNaNBits = (x: string, type: WgslType): string =>
  `((bitcast<${like(type, 'u32')}>(${x}) & ${like(type, 'u32')}(0x7fffffffu)) > ${like(type, 'u32')}(0x7f800000u))`;

const propagating = (name: 'max' | 'min'): HelperRecipe => ({
  name: `${name}_nan`,
  write: (fn, type) =>
    scalarType(type) === 'f32'
      ? `fn ${fn}(a: ${type}, b: ${type}) -> ${type} { return select(select(${name}(a, b), b, ${isNaNBits('b', type)}), a, ${isNaNBits('a', type)}); }`
      : `fn ${fn}(a: ${type}, b: ${type}) -> ${type} { return ${name}(a, b); }`,
});
/** max that lets NaN win. */
export const largest = propagating('max');
/** min that lets NaN win. */
export const smallest = propagating('min');

// Rational approximation on [-4, 4] (the one Eigen and XLA use); outside, |erf| rounds to 1.
const erfRecipe: HelperRecipe = {
  name: 'erf',
  write: (fn, type) => {
    const horner = (coefficients: readonly number[]) =>
      coefficients.map((c) => `${type}(${literal(c, 'f32').text})`).reduce((sum, c) => `fma(${sum}, s, ${c})`);
    return `fn ${fn}(v: ${type}) -> ${type} {
  let x = clamp(v, ${type}(-4.0), ${type}(4.0));
  let s = x * x;
  let p = x * ${horner([-2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4, -2.954600006155e-3, -1.60960333262415e-2])};
  return select(p / ${horner([-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2])}, v, ${isNaNBits('v', type)});
}`;
  },
};

// Sine by reduction to [-π/4, π/4] with π/2 in three parts (Cody and Waite), then a minimax polynomial: built-in sin is only good to 2^-11.
const trig = (name: 'sine' | 'cosine'): HelperRecipe => ({
  name,
  write: (fn, type) => {
    const u = like(type, 'u32');
    const i = like(type, 'i32');
    return `fn ${fn}(x: ${type}) -> ${type} {
  let n = round(x * 0.636619772f);
  let r = fma(n, ${type}(-7.54978942e-8f), fma(n, ${type}(-4.83751297e-4f), fma(n, ${type}(-1.5703125f), x)));
  let s = r * r;
  let odd = fma(r * s, fma(s, fma(s, ${type}(-1.95152959e-4f), ${type}(8.33216087e-3f)), ${type}(-1.66666546e-1f)), r);
  let even = fma(s * s, fma(s, fma(s, ${type}(2.44331571e-5f), ${type}(-1.38873162e-3f)), ${type}(4.16666456e-2f)), fma(s, ${type}(-0.5f), ${type}(1.0f)));
  let quarter = (bitcast<${u}>(${i}(n)) + ${u}(${name === 'sine' ? '0u' : '1u'})) & ${u}(3u);
  let value = select(odd, even, (quarter & ${u}(1u)) == ${u}(1u));
  return select(value, -value, quarter >= ${u}(2u));
}`;
  },
});
const sine = trig('sine');
const cosine = trig('cosine');

// exp overflows for large |x| and a compiler may assume it does not: tanh by the odd rational for small x, by exp of a clamped x otherwise.
const tanhRecipe: HelperRecipe = {
  name: 'tanh',
  write: (fn, type) => `fn ${fn}(x: ${type}) -> ${type} {
  let a = min(abs(x), ${type}(10.0f));
  let e = exp(-2.0f * a);
  let s = x * x;
  let small = x * fma(s, fma(s, fma(s, fma(s, ${type}(-5.70498872745e-3f), ${type}(2.06390887954e-2f)), ${type}(-5.37397155531e-2f)), ${type}(1.33314422036e-1f)), ${type}(-3.33332819422e-1f)) * s + x;
  let big = (1.0f - e) / (1.0f + e);
  let value = select(select(big, -big, x < ${type}(0.0f)), small, abs(x) < ${type}(0.625f));
  return select(value, x, ${isNaNBits('x', type)});
}`,
};

// pow(x, y) is undefined for x < 0 in WGSL; whole exponents keep their sign as in PyTorch. Drivers give 0 for 0 to a negative or NaN power.
const power: HelperRecipe = {
  name: 'power',
  write: (fn, type) => `fn ${fn}(x: ${type}, y: ${type}) -> ${type} {
  let whole = y == floor(y);
  let odd = whole & (floor(y * 0.5f) * 2.0f != y);
  let infinite = bitcast<${type}>(bitcast<${like(type, 'u32')}>(x) | ${like(type, 'u32')}(0x7f800000u));
  let size = select(select(pow(abs(x), y), abs(infinite), (x == ${type}(0.0f)) & (y < ${type}(0.0f))), ${type}(1.0f), y == ${type}(0.0f));
  let negative = x < ${type}(0.0f);
  let nan = bitcast<${type}>(bitcast<${like(type, 'u32')}>(x) | ${like(type, 'u32')}(0x7fc00000u));
  return select(select(size, select(size, -size, odd), negative), nan, (negative & !whole) | ${isNaNBits('y', type)});
}`,
};

// ---- rows -------------------------------------------------------------------------------------------------------

/** WGSL gives exp 3 + 2|x| ULP; Mesa's llvmpipe takes up to 0.37 more, just below 0 (of 4 million numbers in [-0.1, 0] 1,576 are over, the worst at -0.044). */
const expError = (y: number, x: readonly number[]): number => (4 + 2 * Math.abs(x[0] ?? 0)) * ulp(y);

const integer = (value: number, dtype: DType): number =>
  dtype === 'i32' ? value | 0 : dtype === 'u32' ? value >>> 0 : value;

interface Row extends Omit<MapOp, 'kind' | 'converts' | 'commutes' | 'eval' | 'wgsl' | 'accuracy'> {
  readonly converts?: boolean;
  readonly commutes?: boolean;
  readonly eval: MapOp['eval'];
  readonly wgsl: MapOp['wgsl'];
  readonly accuracy?: MapOp['accuracy'];
}

const map = (row: Row): MapOp => ({ kind: 'map', converts: false, commutes: false, accuracy: within(1), ...row });

type Unary = Pick<MapOp, 'name' | 'doc' | 'sample'> & {
  readonly f: (x: number) => number;
  readonly w: (x: Code) => Code;
  readonly grad?: NonNullable<MapOp['grad']>;
  readonly accuracy?: MapOp['accuracy'];
  readonly flops?: number;
  readonly rule?: Rule;
};
const unary = ({ f, w, flops = 1, rule = floats, ...row }: Unary): MapOp =>
  map({
    ...row,
    arity: 1,
    flops,
    dtype: rule,
    eval: ([x = NaN], dtype) => integer(f(x), dtype),
    wgsl: ([x]) => w(x as Code),
  });

type Binary = Pick<MapOp, 'name' | 'doc'> &
  Pick<Row, 'commutes'> & {
    readonly f: (x: number, y: number, dtype: DType) => number;
    readonly w: (x: Code, y: Code) => Code;
    readonly grad?: NonNullable<MapOp['grad']>;
    readonly accuracy?: MapOp['accuracy'];
    readonly rule?: Rule;
    readonly sample?: readonly [number, number];
    readonly flops?: number;
  };
const binary = ({ f, w, rule = numbers, sample = [-4, 4], flops = 1, ...row }: Binary): MapOp =>
  map({
    ...row,
    arity: 2,
    flops,
    sample,
    dtype: rule,
    eval: ([x = NaN, y = NaN], dtype) => integer(f(x, y, dtype), dtype),
    wgsl: ([x, y]) => w(x as Code, y as Code),
  });

const compare = (
  name: string,
  doc: string,
  f: (x: number, y: number) => boolean,
  w: (x: Code, y: Code) => Code,
  commutes = false,
): MapOp => binary({ name, doc, commutes, rule: comparison, f: (x, y) => Number(f(x, y)), w });

export const maps: readonly MapOp[] = [
  unary({
    name: 'neg',
    doc: '-x',
    sample: [-4, 4],
    rule: numbers,
    f: (x) => -x,
    w: (x) => (scalarType(x.type) === 'u32' ? wgsl`(~${x} + ${splat(literal(1, 'u32'), x.type)})` : wgsl`(-${x})`),
    accuracy: within(0),
    grad: (m, dy) => [m.op('neg', dy)],
  }),
  unary({
    name: 'abs',
    doc: '|x|',
    sample: [-4, 4],
    rule: numbers,
    f: Math.abs,
    w: (x) => wgsl`abs(${x})`,
    accuracy: within(0),
    grad: (m, dy, _y, [x]) => [m.op('where', m.op('lt', x, 0), m.op('neg', dy), dy)],
  }),
  unary({
    name: 'exp',
    doc: 'e to the power x',
    sample: [-8, 8],
    f: Math.exp,
    w: (x) => wgsl`exp(${x})`,
    accuracy: expError,
    grad: (m, dy, y) => [m.op('mul', dy, y)],
  }),
  unary({
    name: 'log',
    doc: 'natural logarithm',
    sample: [0.05, 8],
    f: Math.log,
    w: (x) => wgsl`log(${x})`,
    accuracy: within(3, 2 ** -21),
    grad: (m, dy, _y, [x]) => [m.op('div', dy, x)],
  }),
  unary({
    name: 'sqrt',
    doc: 'square root',
    sample: [0, 8],
    f: Math.sqrt,
    w: (x) => wgsl`sqrt(${x})`,
    accuracy: within(5),
    grad: (m, dy, y) => [m.op('div', m.op('mul', dy, 0.5), y)],
  }),
  unary({
    name: 'rsqrt',
    doc: '1/√x',
    sample: [0.05, 8],
    f: (x) => 1 / Math.sqrt(x),
    w: (x) => wgsl`inverseSqrt(${x})`,
    accuracy: within(2),
    grad: (m, dy, y) => [m.op('mul', m.op('mul', dy, -0.5), m.op('mul', y, m.op('mul', y, y)))],
  }),
  unary({
    name: 'tanh',
    doc: 'hyperbolic tangent',
    sample: [-12, 12],
    flops: 12,
    f: Math.tanh,
    w: (x) => call(tanhRecipe, x),
    accuracy: (y) => 16 * ulp(y),
    grad: (m, dy, y) => [m.op('mul', dy, m.op('sub', 1, m.op('mul', y, y)))],
  }),
  unary({
    name: 'erf',
    doc: 'error function',
    sample: [-5, 5],
    flops: 16,
    f: erf,
    w: (x) => call(erfRecipe, x),
    accuracy: (y) => 12 * ulp(y),
    grad: (m, dy, _y, [x]) => [
      m.op('mul', dy, m.op('mul', m.op('exp', m.op('neg', m.op('mul', x, x))), 2 / Math.sqrt(Math.PI))),
    ],
  }),
  unary({
    name: 'sigmoid',
    doc: '1/(1+e^-x)',
    sample: [-12, 12],
    flops: 4,
    f: (x) => 1 / (1 + Math.exp(-x)),
    w: (x) => wgsl`(1.0f / (1.0f + exp(-${call(largest, x, splat(literal(-87, 'f32'), x.type))})))`,
    accuracy: (y, [x = 0]) => (6 + 2 * Math.abs(x)) * ulp(y),
    grad: (m, dy, y) => [m.op('mul', dy, m.op('mul', y, m.op('sub', 1, y)))],
  }),
  unary({
    name: 'sin',
    doc: 'sine',
    sample: [-100, 100],
    flops: 14,
    f: Math.sin,
    w: (x) => call(sine, x),
    accuracy: (_y, [x = 0]) => 2 ** -22 + Math.abs(x) * 2 ** -30,
    grad: (m, dy, _y, [x]) => [m.op('mul', dy, m.op('cos', x))],
  }),
  unary({
    name: 'cos',
    doc: 'cosine',
    sample: [-100, 100],
    flops: 14,
    f: Math.cos,
    w: (x) => call(cosine, x),
    accuracy: (_y, [x = 0]) => 2 ** -22 + Math.abs(x) * 2 ** -30,
    grad: (m, dy, _y, [x]) => [m.op('neg', m.op('mul', dy, m.op('sin', x)))],
  }),
  unary({
    name: 'floor',
    doc: 'largest whole number not above x',
    sample: [-4, 4],
    f: Math.floor,
    w: (x) => wgsl`floor(${x})`,
    accuracy: within(0),
    grad: () => [undefined],
  }),
  unary({
    name: 'not',
    doc: 'logical not',
    sample: [0, 1],
    rule: logic,
    f: (x) => Number(x === 0),
    w: (x) => wgsl`(!${x})`,
    accuracy: within(0),
  }),
  binary({
    name: 'add',
    doc: 'x + y',
    commutes: true,
    f: (x, y) => x + y,
    w: (x, y) => wgsl`(${x} + ${y})`,
    grad: (_m, dy) => [dy, dy],
  }),
  binary({
    name: 'sub',
    doc: 'x - y',
    f: (x, y) => x - y,
    w: (x, y) => wgsl`(${x} - ${y})`,
    grad: (m, dy) => [dy, m.op('neg', dy)],
  }),
  binary({
    name: 'mul',
    doc: 'x · y',
    commutes: true,
    f: (x, y, dtype) => (isInteger(dtype) ? Math.imul(x, y) : x * y),
    w: (x, y) => wgsl`(${x} * ${y})`,
    grad: (m, dy, _y, [a, b]) => [m.op('mul', dy, b), m.op('mul', dy, a)],
  }),
  binary({
    name: 'div',
    doc: 'x / y; whole numbers are cut off',
    f: (x, y, dtype) => (isInteger(dtype) ? (y === 0 ? x : Math.trunc(x / y)) : x / y),
    w: (x, y) => wgsl`(${x} / ${y})`,
    accuracy: within(2.5),
    grad: (m, dy, y, [, b]) => [m.op('div', dy, b), m.op('neg', m.op('div', m.op('mul', dy, y), b))],
  }),
  binary({
    name: 'mod',
    doc: 'remainder with the sign of x',
    f: (x, y, dtype) => (isInteger(dtype) && y === 0 ? 0 : x % y),
    w: (x, y) => wgsl`(${x} % ${y})`,
    sample: [0.5, 8],
    accuracy: (_y, [a = 0, b = 1]) =>
      4 * ulp(a) + (Math.abs(a % b) < 4 * ulp(a) || Math.abs(b) - Math.abs(a % b) < 4 * ulp(a) ? Math.abs(b) : 0),
    grad: (m, dy, _y, [a, b]) => [dy, m.op('neg', m.op('mul', dy, m.op('floor', m.op('div', a, b))))],
  }),
  binary({
    name: 'min',
    doc: 'the smaller; NaN wins',
    commutes: true,
    f: (x, y) => Math.min(x, y),
    w: (x, y) => call(smallest, x, y),
    accuracy: within(0),
    grad: (m, dy, _y, [a, b]) => [m.op('where', m.op('le', a, b), dy, 0), m.op('where', m.op('le', a, b), 0, dy)],
  }),
  binary({
    name: 'max',
    doc: 'the larger; NaN wins',
    commutes: true,
    f: (x, y) => Math.max(x, y),
    w: (x, y) => call(largest, x, y),
    accuracy: within(0),
    grad: (m, dy, _y, [a, b]) => [m.op('where', m.op('ge', a, b), dy, 0), m.op('where', m.op('ge', a, b), 0, dy)],
  }),
  binary({
    name: 'pow',
    doc: 'x to the power y',
    rule: floats,
    sample: [0.25, 3],
    flops: 8,
    f: (x, y) => x ** y,
    w: (x, y) => call(power, x, y),
    accuracy: (y, [a = 1, b = 1]) =>
      (8 + 4 * Math.abs(b) * (1 + Math.abs(Math.log2(Math.abs(a) + 1e-30)))) * ulp(y) +
      Math.abs(b) * Math.abs(y) * 2 ** -20,
    grad: (m, dy, y, [a, b]) => [
      m.op('mul', dy, m.op('mul', b, m.op('pow', a, m.op('sub', b, 1)))),
      m.op('mul', dy, m.op('mul', y, m.op('log', a))),
    ],
  }),
  compare(
    'lt',
    'x < y',
    (x, y) => x < y,
    (x, y) => wgslTest`(${x} < ${y})`,
  ),
  compare(
    'le',
    'x ≤ y',
    (x, y) => x <= y,
    (x, y) => wgslTest`(${x} <= ${y})`,
  ),
  compare(
    'gt',
    'x > y',
    (x, y) => x > y,
    (x, y) => wgslTest`(${x} > ${y})`,
  ),
  compare(
    'ge',
    'x ≥ y',
    (x, y) => x >= y,
    (x, y) => wgslTest`(${x} >= ${y})`,
  ),
  compare(
    'eq',
    'x = y',
    (x, y) => x === y,
    (x, y) => wgslTest`(${x} == ${y})`,
    true,
  ),
  // WGSL's != is false where an operand is NaN.
  compare(
    'ne',
    'x ≠ y',
    (x, y) => x !== y,
    (x, y) => wgslTest`(!(${x} == ${y}))`,
    true,
  ),
  map({
    name: 'isNaN',
    doc: 'true where x is not a number',
    arity: 1,
    flops: 1,
    sample: [-4, 4],
    accuracy: within(0),
    dtype: (operands) => {
      const dtype = floats(operands, {});
      return dtype instanceof Refusal ? dtype : 'bool';
    },
    eval: ([x = NaN]) => Number(Number.isNaN(x)),
    wgsl: ([x]) => {
      const value = x as Code;
      return code(isNaNBits(value.text, value.type), like(value.type, 'bool'), value.needs);
    },
  }),
  binary({
    name: 'and',
    doc: 'logical and',
    commutes: true,
    rule: logic,
    sample: [0, 1],
    f: (x, y) => Number(x !== 0 && y !== 0),
    w: (x, y) => wgsl`(${x} & ${y})`,
    accuracy: within(0),
  }),
  binary({
    name: 'or',
    doc: 'logical or',
    commutes: true,
    rule: logic,
    sample: [0, 1],
    f: (x, y) => Number(x !== 0 || y !== 0),
    w: (x, y) => wgsl`(${x} | ${y})`,
    accuracy: within(0),
  }),
  binary({
    name: 'xor',
    doc: 'bits in which x and y differ',
    commutes: true,
    rule: integers,
    sample: [0, 100],
    f: (x, y) => x ^ y,
    w: (x, y) => wgsl`(${x} ^ ${y})`,
    accuracy: within(0),
  }),
  binary({
    name: 'shiftRight',
    doc: 'bits of x moved down by y (modulo 32) places; the sign of i32 is kept',
    rule: integers,
    sample: [0, 31],
    f: (x, y, dtype) => (dtype === 'u32' ? x >>> y : x >> y),
    w: (x, y) =>
      code(`(${x.text} >> (${like(x.type, 'u32')}(${y.text}) & ${splat(literal(31, 'u32'), x.type).text}))`, x.type, [
        ...x.needs,
        ...y.needs,
      ]),
    accuracy: within(0),
  }),
  map({
    name: 'where',
    doc: 'the second operand where the first is true, else the third',
    arity: 3,
    flops: 1,
    sample: [-4, 4],
    accuracy: within(0),
    dtype: ([test, ...values]) =>
      test === 'bool'
        ? agree(values)
        : new Refusal(`the mask must be bool, not ${test ?? 'missing'}`, 'compare first, e.g. x.gt(0)'),
    eval: ([test, yes = NaN, no = NaN]) => (test !== 0 ? yes : no),
    wgsl: ([test, yes, no]) => {
      const value = wgsl`select(${no as Code}, ${yes as Code}, ${test as Code})`;
      return value;
    },
    grad: (m, dy, _y, [test]) => [undefined, m.op('where', test, dy, 0), m.op('where', test, 0, dy)],
  }),
  map({
    name: 'cast',
    doc: 'another dtype (attr to); floats are cut off towards zero',
    arity: 1,
    converts: true,
    flops: 0,
    sample: [-4, 4],
    accuracy: within(0),
    dtype: (_operands, attrs) =>
      isDType(attrs['to']) ? attrs['to'] : new Refusal(`no dtype '${String(attrs['to'])}'`),
    eval: ([x = NaN], dtype) => castNumber(x, dtype),
    wgsl: ([x], result) => castCode(x as Code, result),
  }),
];

function castNumber(x: number, dtype: DType): number {
  if (dtype === 'bool') return Number(x !== 0);
  if (dtype === 'i32') return Math.max(-2147483648, Math.min(2147483647, Math.trunc(x)));
  if (dtype === 'u32') return Math.max(0, Math.min(4294967295, Math.trunc(x)));
  return x;
}

function castCode(x: Code, result: WgslType): Code {
  const to = scalarType(result);
  const from = scalarType(x.type);
  if (to === from) return x;
  const wide = like(x.type, to);
  // WGSL's != is false for NaN, which is true as a bool.
  if (to === 'bool') return code(`(!(${x.text} == ${splat(literal(0, from), x.type).text}))`, wide, x.needs);
  // Whole numbers are brought into range, as in the reference; a WGSL conversion would keep the bits.
  if (from === 'i32' && to === 'u32')
    return code(`${wide}(max(${x.text}, ${splat(literal(0, 'i32'), x.type).text}))`, wide, x.needs);
  if (from === 'u32' && to === 'i32')
    return code(`${wide}(min(${x.text}, ${splat(literal(2147483647, 'u32'), x.type).text}))`, wide, x.needs);
  return code(`${wide}(${x.text})`, wide, x.needs);
}

const byName = new Map(maps.map((op) => [op.name, op]));

/** The record of a scalar function by name. */
export function mapOp(name: string): MapOp {
  const op = byName.get(name);
  if (op === undefined) throw new TypeError(`no scalar function is called '${name}'`);
  return op;
}

/** The WGSL element type that values of a dtype have inside a kernel: 16-bit floats are storage, arithmetic is f32. */
export function computeType(dtype: DType): WgslScalar {
  return dtype === 'i32' || dtype === 'u32' || dtype === 'bool' ? dtype : 'f32';
}

/** erf in double precision: its Taylor series for small |x|, the continued fraction of erfc otherwise. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (a < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  if (a > 6) return Math.sign(x);
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}
