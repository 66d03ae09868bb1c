// What gives true or false, and what is made of it.
import { Refusal, type MapOp } from '../../graph/op.ts';
import { code, like, wgsl, wgslTest, type Code } from '../../wgsl.ts';
import { within } from './accuracy.ts';
import { floats, logic } from './dtype-rules.ts';
import { binary, compare, map, unary } from './row.ts';
import { isNaNBits } from './wgsl-functions.ts';

export const comparisons: readonly MapOp[] = [
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
    rounding: 0,
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
  unary({
    name: 'not',
    rounding: 0,
    doc: 'logical not',
    sample: [0, 1],
    rule: logic,
    f: (x) => Number(x === 0),
    w: (x) => wgsl`(!${x})`,
    accuracy: within(0),
  }),
  binary({
    name: 'and',
    rounding: 0,
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
    rounding: 0,
    doc: 'logical or',
    commutes: true,
    rule: logic,
    sample: [0, 1],
    f: (x, y) => Number(x !== 0 || y !== 0),
    w: (x, y) => wgsl`(${x} | ${y})`,
    accuracy: within(0),
  }),
];
