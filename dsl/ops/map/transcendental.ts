// Roots, powers, exponentials, and what is made of them.
import type { MapOp } from '../../graph/op.ts';
import { call, literal, splat, wgsl } from '../../wgsl.ts';
import { expError, ulp, within } from './accuracy.ts';
import { floats } from './dtype-rules.ts';
import { erf } from './erf.ts';
import { binary, unary } from './row.ts';
import { cosine, erfRecipe, largest, power, powerOf, sine, tanhRecipe } from './wgsl-functions.ts';

export const transcendental: readonly MapOp[] = [
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
  binary({
    name: 'pow',
    doc: 'x to the power y',
    rule: floats,
    sample: [0.25, 3],
    flops: 8,
    f: powerOf,
    w: (x, y) => call(power, x, y),
    accuracy: (y, [a = 1, b = 1]) =>
      (8 + 4 * Math.abs(b) * (1 + Math.abs(Math.log2(Math.abs(a) + 1e-30)))) * ulp(y) +
      Math.abs(b) * Math.abs(y) * 2 ** -20,
    // A power 0 is 1 wherever x is, and 0 to any power not negative is 0 or 1 wherever y is.
    grad: (m, dy, y, [a, b]) => [
      m.op('where', m.op('eq', b, 0), 0, m.op('mul', dy, m.op('mul', b, m.op('pow', a, m.op('sub', b, 1))))),
      m.op(
        'where',
        m.op('and', m.op('eq', a, 0), m.op('ge', b, 0)),
        0,
        m.op('mul', dy, m.op('mul', y, m.op('log', a))),
      ),
    ],
  }),
];
