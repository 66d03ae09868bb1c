// Every bad input that a model can hold: the error names the op, the axes with their sizes, the model path, this file and line, and what to do.
import { describe, expect, test } from 'vitest';
import {
  arange,
  argmax,
  attention,
  avgPool2d,
  concat,
  conv2d,
  einsum,
  fixedParams,
  gather,
  groupNorm,
  layerNorm,
  linear,
  linearCrossEntropy,
  oneHot,
  OpabiniaError,
  pad,
  randomParams,
  rearrange,
  reduce,
  repeat,
  resize,
  sampleBilinear,
  scatterAdd,
  slice,
  softmax,
  stack,
  topK,
  trace,
  window,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { run } from './run.ts';

/** What an error must say, besides a place in this file. */
interface Expected {
  readonly op: string;
  readonly says: readonly (string | RegExp)[];
  readonly path?: string;
  readonly tries?: RegExp;
}

const ones = (...shape: readonly number[]) => ({
  shape,
  values: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1),
});

const checkpoint = fixedParams({
  'blocks.0.fc1.weight': ones(16, 8),
  'blocks.0.fc1.bias': ones(16),
  'blocks.0.fc2.weight': ones(8, 16),
  'blocks.0.fc2.bias': ones(8),
  'blocks.0.norm.weight': ones(8),
  'blocks.0.norm.bias': ones(8),
});

/** The error that `build` ends in, and the line of this file that it was called from. */
function failure(build: (t: Trace) => unknown, source = checkpoint): OpabiniaError {
  try {
    trace(
      source,
      (t) => {
        build(t);
        return { y: t.input('unused', 'z', { z: 1 }) };
      },
      { unread: 'ignore' },
    );
  } catch (error) {
    if (error instanceof OpabiniaError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const x = (t: Trace) => t.input('x', 'b n d', { b: 2, n: 6, d: 8 });
/** A tensor whose axes tsc does not know, as from JavaScript: what the types would refuse must be refused at run time too. */
const loose = (tensor: Tensor): Tensor<string, 'f32'> => tensor as Tensor<string, 'f32'>;

/** A pattern that tsc does not read. */
const untyped = (pattern: string): string => pattern;

const cases: Readonly<Record<string, readonly [(t: Trace) => unknown, Expected]>> = {
  'unknown axis': [
    (t) => softmax(loose(x(t)), 'm'),
    { op: 'softmax', says: ["no axis 'm'", '[b:2 n:6 d:8]'], tries: /'b'.*'d'.*'n'|'n'/ },
  ],
  'unknown axis of a method': [(t) => loose(x(t)).at('q', 0), { op: 'at', says: ["no axis 'q'", '[b:2 n:6 d:8]'] }],
  'duplicate axis': [
    (t) => t.input<string>('y', 'b n n', { b: 1, n: 2 }),
    { op: 'input', says: ["axis 'n' stands twice"], tries: /own name/ },
  ],
  'duplicate axis in a pattern': [
    (t) => repeat(loose(x(t)), untyped('b n d -> b n d d')),
    { op: 'repeat', says: ["axis 'd' stands twice", '\n  b n d -> b n d d\n                 ^'] },
  ],
  'duplicate axis by stack': [
    (t) => stack([loose(x(t))], 'n'),
    { op: 'stack', says: ["axis 'n' already", '[b:2 n:6 d:8]'], tries: /concat/ },
  ],
  'size mismatch': [
    (t) => x(t).add(t.input('y', 'd', { d: 7 })),
    { op: 'add', says: ["'d' is 8", '7', '[b:2 n:6 d:8]', '[d:7]'] },
  ],
  'size mismatch in einsum': [
    (t) => einsum(x(t), t.params.at('blocks', 0, 'fc2').get('weight', 'o d'), 'b n d, o d -> b n o'),
    {
      op: "einsum 'b n d, o d -> b n o'",
      says: ["'d' is 8 in the first operand and 16 in the second", 'x [b:2 n:6 d:8]', 'blocks.0.fc2.weight [o:8 d:16]'],
      path: 'blocks.0.fc2',
      tries: /different models/,
    },
  ],
  'size mismatch of concat': [
    (t) => concat([x(t), t.input('y', 'b n d', { b: 2, n: 5, d: 8 })], 'd'),
    { op: 'concat', says: ['[b:2 n:6 d:8]', '[b:2 n:5 d:8]', "more than axis 'd'"] },
  ],
  'concat of other axes': [
    (t) => concat([loose(x(t)), loose(t.input('y', 'b k d', { b: 2, k: 6, d: 8 }))], 'd'),
    { op: 'concat', says: ['[b:2 n:6 d:8]', '[b:2 k:6 d:8]'], tries: /same axes in the same order/ },
  ],
  'stack of other axes': [
    (t) => stack([loose(x(t)), loose(t.input('y', 'b n', { b: 2, n: 6 }))], 'k'),
    { op: 'stack', says: ['[b:2 n:6 d:8', '[b:2 n:6', "axis 'd'"], tries: /same axes in the same order/ },
  ],
  'linear onto an axis that exists': [
    (t) => linear(t.params.at('blocks', 0, 'fc1'), loose(x(t)), 'n'),
    { op: 'linear', says: ["another axis 'n' already", '[b:2 n:6 d:8]'], tries: /another name/ },
  ],
  'topK onto an axis that exists': [
    (t) => topK(loose(x(t)), 'n', 2, 'd'),
    { op: 'topK', says: ["axis 'd' already", '[b:2 n:6 d:8]'], tries: /another name/ },
  ],
  'stack along two names': [
    (t) => stack([loose(x(t))], untyped('k m')),
    { op: 'stack', says: ["'k m' is not the name of an axis", '[b:2 n:6 d:8]'], tries: /one word/ },
  ],
  'positions along two axes': [
    (t) => arange(x(t), untyped('a b'), 3),
    { op: 'arange', says: ["'a b' is 2 axes, and one is made"], tries: /one name, such as 'a'/ },
  ],
  'an index along two axes': [
    (t) => t.iota(untyped('a b'), 3),
    { op: 'iota', says: ["'a b' is 2 axes, and one is made"], tries: /one name, such as 'a'/ },
  ],
  'a length that is none': [(t) => arange(x(t), 'a', 1.5), { op: 'arange', says: ["'a' is 1.5"] }],
  'columns with an axis that the rows have not': [
    (t) => {
      const columns: Tensor<string, 'f32'> = t.input('columns', 'k', { k: 2 });
      return sampleBilinear(picture(t), loose(t.input('rows', 'q', { q: 3 })), columns);
    },
    { op: 'sampleBilinear', says: ["the columns have the axis 'k'", '[q:3]', '[k:2]'], tries: /both alike/ },
  ],
  'a key axis that is none': [
    (t) => attention(loose(x(t)), others(t), others(t), { key: 'm', along: 'd' }),
    { op: 'attention', says: ["no axis 'm'", '[b:2 t:5 d:8]'], tries: /'t'/ },
  ],
  'features that are none': [
    (t) => attention(loose(x(t)), others(t), others(t), { key: 't', along: 'c' }),
    { op: 'attention', says: ["no axis 'c'", '[b:2 n:6 d:8]'], tries: /'d'/ },
  ],
  'an order of queries along no axis': [
    (t) => attention(loose(x(t)), others(t), others(t), { key: 't', along: 'd', causal: 'q' }),
    { op: 'attention', says: ["no axis 'q'", '[b:2 n:6 d:8]'], tries: /'n'/ },
  ],
  'resize of what has no height': [
    (t) => resize(loose(x(t)), { height: 2, width: 2, mode: 'bilinear' }),
    { op: 'resize', says: ["no axis 'h'", '[b:2 n:6 d:8]'] },
  ],
  'two inputs that differ': [
    (t) => einsum(x(t), t.input('w', 'o d', { o: 3, d: 4 }), 'b n d, o d -> b n o'),
    {
      op: "einsum 'b n d, o d -> b n o'",
      says: ["'d' is 8 in the first operand and 4 in the second"],
      tries: /^one name is one size: rename 'd'/,
    },
  ],
  'positions of another batch': [
    (t) => gather(x(t), t.constant(0, 'b k', { b: 3, k: 2 }, 'i32'), 'n'),
    { op: 'gather', says: ["axis 'b' is 2 in the tensor and 3 in the positions"], tries: /batch axis/ },
  ],
  'a misspelt size of an input': [
    (t) => t.input<string>('y', 'a b', { a: 1, b: 2, bb: 2 }),
    { op: 'input', says: ["a size is given for 'bb'", "'a b'"] },
  ],
  'a misspelt size of a parameter': [
    (t) => t.params.at('blocks', 0, 'norm').get<string>('weight', 'c', { cc: 8 }),
    { op: 'get', says: ["a size is given for 'cc'", "'c'"], path: 'blocks.0.norm.weight' },
  ],
  "einops' dots": [
    (t) => reduce(loose(x(t)), untyped('... d -> d'), 'sum'),
    {
      op: 'reduce',
      says: ["'...' stands for axes", '[b:2 n:6 d:8]', '\n  ... d -> d\n  ^^^'],
      tries: /write them out.*'b n d'/,
    },
  ],
  "einops' dots in einsum": [
    (t) => einsum(loose(x(t)), loose(x2(t)), untyped('... n d, n -> ... d')),
    { op: 'einsum', says: ["'...' stands for axes", '\n  ... n d, n -> ... d\n  ^^^'], tries: /write them out/ },
  ],
  "einops' axis of size 1": [
    (t) => repeat(loose(x(t)), untyped('b n d -> b 1 n d')),
    { op: 'repeat', says: ["'1'", '\n  b n d -> b 1 n d\n             ^'], tries: /'one=\(\)'/ },
  ],
  'a stray axis': [
    (t) => loose(x(t)).add(loose(t.input('bias', 'k', { k: 3 }))),
    { op: 'add', says: ["axis 'k'", '[k:3]', '[b:2 n:6 d:8]'], tries: /repeat/ },
  ],
  'wrong pattern': [
    (t) => rearrange(loose(x(t)), untyped('b (h w d -> b h w d')),
    { op: 'rearrange', says: ['not closed', '\n  b (h w d -> b h w d\n    ^'], tries: /\)/ },
  ],
  'wrong pattern in a module': [
    (t) => rearrange(linear(t.params.at('blocks', 0, 'fc1'), x(t), 'f'), 'b n (h k) -> b h n k', { h: 3 }),
    { op: 'rearrange', says: ["'f' of size 16 does not divide by h:3", '[b:2 n:6 f:16]'], path: 'blocks.0.fc1' },
  ],
  'wrong grammar in a module': [
    (t) => rearrange(loose(linear(t.params.at('blocks', 0, 'fc1'), x(t), 'f')), untyped('b n (h k')),
    { op: 'rearrange', says: ['not closed'], path: 'blocks.0.fc1' },
  ],
  'pattern without an arrow': [
    (t) => rearrange(loose(x(t)), untyped('b n d')),
    { op: 'rearrange', says: ['arrow', '\n  b n d\n       ^'], tries: /b n d -> / },
  ],
  'pattern with a digit': [
    (t) => rearrange(loose(x(t)), untyped('b 1 d -> b d')),
    { op: 'rearrange', says: ["'1'", '\n  b 1 d -> b d\n    ^'], tries: /\(\)/ },
  ],
  'pattern in another order': [
    (t) => rearrange(loose(x(t)), untyped('b d n -> b n d')),
    { op: 'rearrange', says: ["'d' where the tensor [b:2 n:6 d:8] has 'n'", '\n  b d n -> b n d\n    ^'] },
  ],
  'pattern that drops': [
    (t) => rearrange(loose(x(t)), untyped('b n d -> b d')),
    { op: 'rearrange', says: ["axis 'n' is dropped"], tries: /reduce/ },
  ],
  'pattern that invents': [
    (t) => rearrange(loose(x(t)), untyped('b n d -> b n d e')),
    { op: 'rearrange', says: ["axis 'e' is new"], tries: /repeat/ },
  ],
  'pattern that renames': [
    (t) => rearrange(loose(x(t)), untyped('b n d -> b m d')),
    {
      op: 'rearrange',
      says: ["axis 'm' is new and 'n' is dropped", '\n  b n d -> b m d\n             ^'],
      tries: /^write 'm=\(n\)' to rename it, or 'n' in its place$/,
    },
  ],
  'pattern that renames two': [
    (t) => rearrange(loose(x(t)), untyped('b n d -> b m e')),
    {
      op: 'rearrange',
      says: ["axis 'm' is new, and others are dropped"],
      tries: /^write 'new=\(old\)' to rename one$/,
    },
  ],
  'a merged axis without a name': [
    (t) => rearrange(loose(x(t)), untyped('b n d -> b (n d)')),
    { op: 'rearrange', says: ['needs a name', '\n  b n d -> b (n d)\n             ^^^^^'], tries: /name=\(n d\)/ },
  ],
  'wrong rank': [
    (t) => rearrange(loose(x(t)), untyped('b d -> d b')),
    { op: 'rearrange', says: [/has/, '[b:2 n:6 d:8]'] },
  ],
  'wrong rank, too many': [
    (t) => reduce(loose(x(t)), untyped('b n d e -> b'), 'sum'),
    { op: 'reduce', says: ['the pattern has 4 axes', '[b:2 n:6 d:8] has 3', '\n  b n d e -> b\n        ^'] },
  ],
  'a division that does not come out': [
    (t) => rearrange(x(t), 'b (h w) d -> b h w d', { h: 4 }),
    {
      op: 'rearrange',
      says: ["axis 'n' of size 6 does not divide by h:4", '\n  b (h w) d -> b h w d\n    ^^^^^'],
      tries: /come out: the nearest sizes that do are 4 and 8$/,
    },
  ],
  'parts that make another size': [
    (t) => rearrange(x(t), 'b (h w) d -> b h w d', { h: 4, w: 2 }),
    { op: 'rearrange', says: ["axis 'n' has size 6", 'h:4 w:2 make 8'] },
  ],
  'two unknown sizes': [
    (t) => rearrange(x(t), untyped('b (h w) d -> b h w d')),
    { op: 'rearrange', says: ["'h' and 'w' are unknown"], tries: /all but one/ },
  ],
  'a size of no axis': [
    (t) => rearrange(x(t), untyped('b (h w) d -> b h w d'), { hh: 2 }),
    { op: 'rearrange', says: ["'hh'"], tries: /'h'/ },
  ],
  'a new axis without a size': [
    (t) => repeat(x(t), untyped('b n d -> b q n d')),
    { op: 'repeat', says: ["'q' has no size"], tries: /q: 2/ },
  ],
  'groups that do not come out': [
    (t) => groupNorm(t.params, x(t), { groups: 3, axis: 'd' }),
    { op: 'groupNorm', says: ['8 channels', '3 groups', '[b:2 n:6 d:8]'] },
  ],
  'dtype mismatch': [
    (t) => loose(x(t)).add(loose(t.iota('n', 6))),
    { op: 'add', says: ['f32', 'i32', '[b:2 n:6 d:8]', '[n:6]'], tries: /cast/ },
  ],
  'dtype mismatch of a parameter': [
    (t) => linear(t.params.at('blocks', 0, 'fc1'), x(t).cast('f16'), 'f'),
    {
      op: 'linear',
      says: ['f16', 'f32', 'blocks.0.fc1.weight [o:16 i:8]'],
      path: 'blocks.0.fc1',
      tries: /cast\('f32'\)/,
    },
  ],
  'arithmetic on bool': [(t) => loose(x(t).gt(0)).add(1), { op: 'add', says: ['bool'], tries: /cast|and/ }],
  'a misspelt parameter': [
    (t) => linear(t.params.at('blocks', 0, 'fc_1'), x(t), 'f'),
    {
      op: 'get',
      says: ["no tensor 'blocks.0.fc_1.weight'"],
      path: 'blocks.0.fc_1.weight',
      tries: /did you mean 'blocks\.0\.fc1\.weight'/,
    },
  ],
  'a parameter of another shape': [
    (t) => linear(t.params.at('blocks', 0, 'fc2'), x(t), 'f'),
    {
      op: 'get',
      says: ['shape [8 16] in the checkpoint', '[o:8 i:8]'],
      path: 'blocks.0.fc2.weight',
      tries: /different models/,
    },
  ],
  'a parameter of another size than asked': [
    (t) => linear(t.params.at('blocks', 0, 'fc1'), x(t), 'f', { size: 32 }),
    { op: 'get', says: ['shape [16 8] in the checkpoint', '[o:32 i:8]'], path: 'blocks.0.fc1.weight' },
  ],
  'a parameter of another rank': [
    (t) => t.params.at('blocks', 0, 'norm').get('weight', 'o i'),
    { op: 'get', says: ['shape [8] in the checkpoint', '1 axes', "'o i' is 2"], path: 'blocks.0.norm.weight' },
  ],
  'NaN in a constant': [
    (t) => t.constant([1, NaN, 3], 'n', { n: 3 }),
    { op: 'constant', says: ['NaN at position 1'], tries: /0\/0/ },
  ],
  'NaN in arithmetic': [(t) => x(t).mul(Number.NaN), { op: 'mul', says: ['NaN', '[b:2 n:6 d:8]'], tries: /0\/0/ }],
  'NaN in padding': [(t) => pad(x(t), 'n', { before: 1, value: Number.NaN }), { op: 'pad', says: ['NaN'] }],
  'a fraction for whole numbers': [(t) => t.iota('n', 6).add(0.5), { op: 'add', says: ['0.5', 'i32'], tries: /cast/ }],
  'a constant of another length': [
    (t) => t.constant([1, 2, 3], 'n m', { n: 2, m: 2 }),
    { op: 'constant', says: ['[n:2 m:2] has 4 elements', '3 numbers'] },
  ],
  'a missing size': [
    (t) => t.input<string>('y', 'a b', { a: 1 }),
    { op: 'input', says: ["axis 'b' of 'a b' has no size"], tries: /b: 2/ },
  ],
  'a size that is none': [(t) => t.input('y', 'a', { a: 1.5 }), { op: 'input', says: ["'a' is 1.5"] }],
  'a position outside': [
    (t) => x(t).at('n', 6),
    { op: 'at', says: ["axis 'n' has no position 6", 'its size is 6'], tries: /0 to 5/ },
  ],
  'a range outside': [
    (t) => slice(x(t), 'n', { start: 4, size: 3 }),
    { op: 'slice', says: ['4..7', "axis 'n' of size 6", '[b:2 n:6 d:8]'] },
  ],
  'a window too wide': [
    (t) => window(x(t), 'n', { into: ['n', 'k'], size: 4, dilation: 2 }),
    { op: 'window', says: ['7', "axis 'n' of size 6"], tries: /pad/ },
  ],
  'a kernel too large': [
    (t) => conv2d(t.params, t.input('i', 'b h w c', { b: 1, h: 4, w: 4, c: 8 }), { out: 'o', kernel: 5 }),
    { op: 'conv2d', says: ['a window of 5 does not fit', "axis 'h' of size 4", '[b:1 h:4 w:4 c:8]'], tries: /padding/ },
  ],
  'a range of half an element': [
    (t) => slice(x(t), 'n', { size: 5 / 2 }),
    { op: 'slice', says: ["'size' is 2.5", '[b:2 n:6 d:8]'], tries: /whole number/ },
  ],
  'a start between two elements': [
    (t) => slice(x(t), 'n', { start: 0.5, size: 2 }),
    { op: 'slice', says: ["'start' is 0.5", '[b:2 n:6 d:8]'], tries: /whole number/ },
  ],
  'padding of half an element': [
    (t) => pad(x(t), 'n', { before: 0.5, after: 0.5 }),
    { op: 'pad', says: ["'before' is 0.5", '[b:2 n:6 d:8]'], tries: /whole number/ },
  ],
  'padding that is not a number': [
    (t) => pad(x(t), 'n', { after: Number.NaN }),
    { op: 'pad', says: ["'after' is NaN", '[b:2 n:6 d:8]'] },
  ],
  'half a class': [(t) => oneHot(t.iota('n', 6), 'v', 2.5), { op: 'oneHot', says: ["axis 'v' is 2.5"] }],
  'less than no class': [(t) => oneHot(t.iota('n', 6), 'v', -1), { op: 'oneHot', says: ["axis 'v' is -1"] }],
  'a pool without steps': [
    (t) => avgPool2d(picture(t), { kernel: 2, stride: 0, padding: 1, countPadding: false }),
    { op: 'avgPool2d', says: ['stride is 0', '[b:1 h:4 w:5 c:3]'], tries: /from 1 on/ },
  ],
  'a pool of half a row': [
    (t) => avgPool2d(picture(t), { kernel: 2.5, padding: 1, countPadding: false }),
    { op: 'avgPool2d', says: ['kernel is 2.5'] },
  ],
  'a pool larger than its picture': [
    (t) => avgPool2d(picture(t), { kernel: 9, padding: 1, countPadding: false }),
    { op: 'avgPool2d', says: ['a window of 9 does not fit', "axis 'h' of size 4"] },
  ],
  'a pool of padding alone': [
    (t) => avgPool2d(picture(t), { kernel: 2, padding: 2, countPadding: false }),
    { op: 'avgPool2d', says: ['padding 2', 'kernel of 2'], tries: /less padding/ },
  ],
  'statistics over a batch that is none': [
    (t) => groupNorm(t.params, x(t), { groups: 2, axis: 'd', batch: [untyped('q')] }),
    { op: 'groupNorm', says: ["no axis 'q'", '[b:2 n:6 d:8]'] },
  ],
  'an order of queries along their features': [
    (t) => attention(x(t), others(t), others(t), { key: 't', along: 'd', causal: 'd' }),
    { op: 'attention', says: ["along 'd'", '[b:2 n:6 d:8]', '[b:2 t:5 d:8]'], tries: /causal: 'q'/ },
  ],
  'sums at less than no place': [
    (t) => scatterAdd(x(t), t.constant(0, 'b n', { b: 2, n: 6 }, 'i32'), 'b v d', { v: -1 }),
    { op: 'scatterAdd', says: ["the size of axis 'v' is -1", '[b:2 n:6 d:8]'] },
  ],
  'a part of no bytes': [
    (t) => {
      const labels = t.constant(0, 'b n', { b: 2, n: 6 }, 'i32');
      return linearCrossEntropy(x(t), t.input('head', 'v d', { v: 7, d: 8 }), labels, { partBytes: Number.NaN });
    },
    { op: 'linearCrossEntropy', says: ['partBytes is NaN', '[v:7 d:8]'], tries: /above 0/ },
  ],
  'scores capped at nothing': [
    (t) => attention(x(t), others(t), others(t), { key: 't', along: 'd', cap: 0 }),
    { op: 'attention', says: ['cannot be capped at 0', '[b:2 n:6 d:8]'], tries: /above 0/ },
  ],
  'the value of half a size': [(t) => t.extent(1.5), { op: 'constant', says: ['1.5', 'i32'] }],
  'a state written between two elements': [
    (t) => t.update(t.state('cache', 't d', { t: 4, d: 2 }), t.input('k', 't d', { t: 3, d: 2 }), { t: 0.5 }),
    { op: 'update', says: ['3 elements from 0.5', "axis 't' of size 4"] },
  ],
  'too many largest': [(t) => topK(x(t), 'n', 7), { op: 'topK', says: ["axis 'n' of size 6", '7'] }],
  'a symbolic size as a number': [
    (t) => t.input('y', 'n', { n: t.symbol('n', { upTo: 9 }) }).size('n'),
    { op: 'size', says: ["'n' has the symbolic size n", '[n:n]'], tries: /sizeOf/ },
  ],
  'two limits of one symbol': [
    (t) => [t.symbol('n', { upTo: 9 }), t.symbol('n', { upTo: 8 })],
    { op: 'symbol', says: ["'n'", '9', '8'] },
  ],
  'two inputs of one name': [(t) => [x(t), t.input('x', 'a', { a: 1 })], { op: 'input', says: ["the name 'x'"] }],
  'a mask that is not a mask': [
    (t) => x(t).where(x2(t) as unknown as Tensor<'n', 'bool'>, 0),
    { op: 'where', says: ['bool', 'f32'], tries: /gt\(0\)/ },
  ],
  'a mask over strange axes': [
    (t) =>
      attention(x(t), t.input('k', 'b t d', { b: 2, t: 5, d: 8 }), t.input('v', 'b t d', { b: 2, t: 5, d: 8 }), {
        key: 't',
        along: 'd',
        mask: loose(t.constant(1, 's', { s: 5 }, 'bool')) as Tensor,
      }),
    { op: 'attention', says: ["mask has the axis 's'", '[b:2 n:6 t:5]'] },
  ],
  'an undefined operand': [
    (t) => x(t).add(undefined as unknown as number),
    { op: 'add', says: ['undefined', '[b:2 n:6 d:8]'] },
  ],
  'a softmax over nothing': [
    (t) => softmax(t.input('e', 'n', { n: 0 }), 'n'),
    { op: 'softmax', says: ["'n' may be empty"] },
  ],
  'keys that share the queries': [
    (t) => attention(loose(x(t)), keys(t), keys(t), { key: 'n', along: 'd' }),
    {
      op: 'attention',
      says: ["key axis 'n' too", '[b:2 n:6 d:8]'],
      tries: /rearrange\(key, 'b n d -> b t=\(n\) d'\).*\{ key: 't' \}/,
    },
  ],
  'keys with an axis of their own': [
    (t) =>
      attention(x(t), t.input('k', 'h t d', { h: 3, t: 5, d: 8 }), t.input('v', 'h t d', { h: 3, t: 5, d: 8 }), {
        key: 't',
        along: 'd',
      }),
    { op: 'attention', says: ["axis 'h'", '[h:3 t:5 d:8]'], tries: /repeat/ },
  ],
  'positions that are floats': [
    (t) => gather(x(t), t.input('i', 'k', { k: 2 }) as unknown as Tensor<'k', 'i32'>, 'n'),
    { op: 'gather', says: ['f32', 'i32'], tries: /cast/ },
  ],
  'the largest of nothing': [
    (t) => argmax(t.input('e', 'n', { n: 0 }), 'n'),
    { op: 'argmax', says: ["'n' may be empty", '[n:0]'] },
  ],
  'a state written outside': [
    (t) => t.update(t.state('cache', 't d', { t: 4, d: 2 }), t.input('k', 't d', { t: 3, d: 2 }), { t: 2 }),
    { op: 'update', says: ['3 elements from 2', "axis 't' of size 4"] },
  ],
  'an update of no state': [(t) => t.update(x(t), keys(t)), { op: 'update', says: ['not a state'], tries: /t\.state/ }],
  'an empty list': [() => concat<'n', 'f32', 'n'>([], 'n'), { op: 'concat', says: ['at least one tensor'] }],
  'a norm without its parameters': [
    (t) => layerNorm(t.params.at('blocks', 1, 'norm'), x(t)),
    {
      op: 'get',
      says: ["no tensor 'blocks.1.norm.weight'"],
      path: 'blocks.1.norm.weight',
      tries: /blocks\.0\.norm\.weight/,
    },
  ],
};

const picture = (t: Trace) => t.input('picture', 'b h w c', { b: 1, h: 4, w: 5, c: 3 });
const x2 = (t: Trace) => t.input('m', 'n', { n: 6 });
const others = (t: Trace) => loose(t.constant(1, 'b t d', { b: 2, t: 5, d: 8 }));
const keys = (t: Trace) => t.constant(1, 'b n d', { b: 2, n: 6, d: 8 });

describe('a refusal says what, where and what to do', () => {
  test.each(Object.entries(cases))('%s', (_name, [build, expected]) => {
    const error = failure(build);
    expect(error.op).toBe(expected.op);
    expect(error.message.startsWith(`${expected.op}: `)).toBe(true);
    for (const part of expected.says)
      expect(error.message).toMatch(
        typeof part === 'string' ? new RegExp(part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : part,
      );
    if (expected.path !== undefined) expect(error.path).toBe(expected.path);
    if (expected.tries !== undefined) expect(error.advice).toMatch(expected.tries);
    expect(error.place).toMatch(/^test\/dsl\/errors\.test\.ts:\d+$/);
  });
});

test('the place is the line that called', () => {
  const line = Number(/errors\.test\.ts:(\d+):/.exec(new Error().stack ?? '')?.[1]) + 1;
  const error = failure((t) => softmax(loose(x(t)), 'm'));
  expect(error.place).toBe(`test/dsl/errors.test.ts:${line}`);
});

test('an unread tensor of the checkpoint is an error, unless its prefix is listed', () => {
  const build = (t: Trace) => ({ y: linear(t.params.at('blocks', 0, 'fc1'), x(t), 'f') });
  expect(() => trace(checkpoint, build)).toThrow(
    /4 tensors of the checkpoint were not read\n {2}blocks\.0\.fc2\.weight\n[^]*try .*unread/,
  );
  expect(() => trace(checkpoint, build, { unread: ['blocks.0.fc2'] })).toThrow(/2 tensors[^]*blocks\.0\.norm\.bias/);
  expect(() => trace(checkpoint, build, { unread: ['blocks.0.fc', 'blocks.0.norm'] })).toThrow(/fc2/);
  expect(trace(checkpoint, build, { unread: ['blocks.0.fc2', 'blocks.0.norm'] }).outputs.size).toBe(1);
  expect(trace(checkpoint, build, { unread: 'ignore' }).outputs.size).toBe(1);
});

test('a tensor cannot be used after its trace', () => {
  let kept: Tensor<'b n d', 'f32'> | undefined;
  trace(randomParams(1), (t) => {
    kept = x(t);
    return { y: kept };
  });
  expect(() => kept?.add(1)).toThrow(
    /the trace of these tensors has ended[^]*errors\.test\.ts:\d+[^]*inside the function given to trace/,
  );
});

test('nor after a trace that failed', () => {
  let kept: Tensor<'b n d', 'f32'> | undefined;
  expect(() =>
    trace(randomParams(1), (t) => {
      kept = x(t);
      throw new Error("the user's own");
    }),
  ).toThrow("the user's own");
  expect(() => kept?.neg()).toThrow(OpabiniaError);
});

test('tensors of two traces do not mix', () => {
  expect(() =>
    trace(randomParams(1), (outer) => {
      const a = x(outer);
      trace(randomParams(1), (inner) => ({ y: a.add(inner.input('y', 'd', { d: 8 })) }));
      return { a };
    }),
  ).toThrow(/add: the tensors belong to two traces[^]*x \[b:2 n:6 d:8\][^]*y \[d:8\]/);
  expect(() =>
    trace(randomParams(1), (outer) => {
      const a = x(outer);
      trace(randomParams(1), () => ({ a }));
      return { a };
    }),
  ).toThrow(/the output 'a' belongs to another trace/);
});

test('a trace returns tensors, at once', () => {
  const wrong = (build: unknown) => () => trace(randomParams(1), build as (t: Trace) => Record<string, Tensor>);
  expect(wrong(async () => ({}))).toThrow(/promise/);
  expect(wrong(() => undefined)).toThrow(/no outputs/);
  expect(wrong(() => ({}))).toThrow(/no outputs/);
  expect(wrong(() => ({ y: 3 }))).toThrow(/'y' is not a tensor/);
});

test('without a checkpoint, sizes must be given', () => {
  expect(() => run((t) => linear(t.params.at('fc'), x(t), 'f'))).toThrow(
    /linear: the number of outputs is not known[^]*fc\.weight[^]*\{ size: 64 \}/,
  );
});
