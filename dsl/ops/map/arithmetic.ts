// Sums, products and remainders; bits of whole numbers.
import { isInteger, type MapOp } from '../../graph/op.ts';
import { call, code, like, literal, scalarType, splat, wgsl } from '../../wgsl.ts';
import { correctlyRounded, ulp, within } from './accuracy.ts';
import { integers, numbers } from './dtype-rules.ts';
import { binary, unary } from './row.ts';
import { remainder } from './wgsl-functions.ts';

export const arithmetic: readonly MapOp[] = [
  unary({
    name: 'neg',
    rounding: 0,
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
    rounding: 0,
    doc: '|x|',
    sample: [-4, 4],
    rule: numbers,
    f: Math.abs,
    w: (x) => wgsl`abs(${x})`,
    accuracy: within(0),
    // 0 at 0.
    grad: (m, dy, _y, [x]) => [
      m.op('where', m.op('lt', x, 0), m.op('neg', dy), m.op('where', m.op('gt', x, 0), dy, 0)),
    ],
  }),
  unary({
    name: 'floor',
    rounding: 0,
    jumps: true,
    doc: 'largest whole number not above x',
    sample: [-4, 4],
    f: Math.floor,
    w: (x) => wgsl`floor(${x})`,
    accuracy: within(0),
    grad: () => [undefined],
  }),
  binary({
    name: 'add',
    doc: 'x + y',
    commutes: true,
    f: (x, y) => x + y,
    w: (x, y) => wgsl`(${x} + ${y})`,
    accuracy: correctlyRounded,
    grad: (_m, dy) => [dy, dy],
  }),
  binary({
    name: 'sub',
    doc: 'x - y',
    f: (x, y) => x - y,
    w: (x, y) => wgsl`(${x} - ${y})`,
    accuracy: correctlyRounded,
    grad: (m, dy) => [dy, m.op('neg', dy)],
  }),
  binary({
    name: 'mul',
    doc: 'x · y',
    commutes: true,
    f: (x, y, dtype) => (isInteger(dtype) ? Math.imul(x, y) : x * y),
    w: (x, y) => wgsl`(${x} * ${y})`,
    accuracy: correctlyRounded,
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
    jumps: true,
    doc: 'remainder with the sign of x',
    f: (x, y, dtype) => (isInteger(dtype) && y === 0 ? 0 : x % y),
    w: (x, y) => (scalarType(x.type) === 'f32' ? call(remainder, x, y) : wgsl`(${x} % ${y})`),
    sample: [0.5, 8],
    accuracy: (_y, [a = 0, b = 1]) =>
      4 * ulp(a) + (Math.abs(a % b) < 4 * ulp(a) || Math.abs(b) - Math.abs(a % b) < 4 * ulp(a) ? Math.abs(b) : 0),
    // The quotient cut off towards zero is (x - remainder) / y.
    grad: (m, dy, y, [a, b]) => [dy, m.op('mul', dy, m.op('div', m.op('sub', y, a), b))],
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
];
