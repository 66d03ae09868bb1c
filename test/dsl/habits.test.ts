// What PyTorch's habits make of a call that nobody has type-checked.
import { expect, test } from 'vitest';
import {
  OpabiniaError,
  attention,
  conv2d,
  crossEntropy,
  einsum,
  gridSample,
  linear,
  maxPool2d,
  pad,
  randomParams,
  reduce,
  repeat,
  resize,
  slice,
  softmax,
  sort,
  trace,
  type Trace,
} from '../../dsl/index.ts';

function failure(build: (t: Trace) => unknown): OpabiniaError {
  try {
    trace(randomParams(1), (t) => {
      build(t);
      return { y: t.input('unused', 'z', { z: 1 }) };
    });
  } catch (error) {
    if (error instanceof OpabiniaError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const x = (t: Trace) => t.input('x', 'b n d', { b: 2, n: 6, d: 8 });

/** What PyTorch's habits make of a call where nobody has type-checked it: it was passed over, or ended in an error of JavaScript. */
const habits: Readonly<Record<string, readonly [string, (call: Untyped, t: Trace) => unknown, RegExp]>> = {
  'an axis by number': [
    'softmax',
    (call, t) => call(softmax, x(t), -1),
    /softmax: the axis is -1[^]*name: 'b', 'n', 'd'/,
  ],
  'a width for a name': [
    'linear',
    (call, t) => call(linear, t.params, x(t), 32),
    /linear: [^]* is 32[^]*\{ size: 32 \}/,
  ],
  'a third operand': [
    'einsum',
    (call, t) => {
      const one = x(t);
      return call(einsum, one, one, one, 'b n d, b n d, b n d -> b');
    },
    /einsum: [^]*two tensors at a time/,
  ],
  'sizes for a pattern': ['repeat', (call, t) => call(repeat, x(t), 2), /repeat: the pattern is 2[^]*'b n d -> …'/],
  'an end': [
    'slice',
    (call, t) => call(slice, x(t), 'n', { start: 1, end: 3 }),
    /no option 'end'[^]*start, size, step/,
  ],
  'numbers for a range': ['slice', (call, t) => call(slice, x(t), 'n', 1, 3), /1 is given for the options/],
  'a number of zeros': ['pad', (call, t) => call(pad, x(t), 'n', 1), /1 is given for the options[^]*before, after/],
  'another reduction': [
    'reduce',
    (call, t) => call(reduce, x(t), 'b n d -> b', 'prod'),
    /'prod'[^]*'sum', 'mean', 'max'/,
  ],
  'no reduction': ['reduce', (call, t) => call(reduce, x(t), 'b n d -> b'), /the reduction is not given/],
  'descending, by position': ['sort', (call, t) => call(sort, x(t), 'n', true), /true is given for the options/],
  'a bias of scores': [
    'attention',
    (call, t) => {
      const q = x(t);
      return call(attention, q, q, q, { key: 'n', along: 'd', bias: q });
    },
    /no option 'bias'[^]*mask/,
  ],
  'a loss for each row': [
    'crossEntropy',
    (call, t) =>
      call(crossEntropy, x(t), t.input('label', 'b n', { b: 2, n: 6 }, 'i32'), { axis: 'd', reduction: 'none' }),
    /the reduction is 'none'[^]*'mean', 'sum'/,
  ],
  'another interpolation': [
    'resize',
    (call, t) => call(resize, image(t), { height: 2, width: 2, mode: 'nearest' }),
    /the mode is 'nearest'[^]*'bilinear', 'bicubic'/,
  ],
  'another padding': [
    'gridSample',
    (call, t) => call(gridSample, image(t), t.input('at', 'b q xy', { b: 1, q: 2, xy: 2 }), { padding: 'reflection' }),
    /the padding is 'reflection'[^]*'zeros', 'border'/,
  ],
  'another border': [
    'conv2d',
    (call, t) => call(conv2d, t.params, image(t), { out: 'c', kernel: 3, paddingMode: 'reflect' }),
    /no option 'paddingMode'/,
  ],
  'padding by a word': [
    'conv2d',
    (call, t) => call(conv2d, t.params, image(t), { out: 'c', kernel: 3, padding: 'same' }),
    /padding is 'same'[^]*\(kernel − 1\) \/ 2/,
  ],
  'a kernel by position': [
    'maxPool2d',
    (call, t) => call(maxPool2d, image(t), 2),
    /2 is given for the options[^]*kernel/,
  ],
};
type Untyped = (f: unknown, ...given: readonly unknown[]) => unknown;
const image = (t: Trace) => t.input('image', 'b h w c', { b: 1, h: 4, w: 4, c: 2 });

test.each(Object.entries(habits))("a habit of PyTorch's: %s", (_name, [op, build, says]) => {
  const error = failure((t) => build((f, ...given) => (f as (...given: readonly unknown[]) => unknown)(...given), t));
  expect(error.op).toBe(op);
  expect(error.message).toMatch(says);
  expect(error.place).toContain('habits.test.ts');
});
