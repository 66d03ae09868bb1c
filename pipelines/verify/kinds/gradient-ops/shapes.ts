// Products, patterns, ranges, joins and rows read or written by number.
import {
  concat,
  einsum,
  flip,
  gather,
  gradients,
  linear,
  pad,
  slice,
  stack,
  topK,
  type DType,
  type Tensor,
} from '../../../../dsl/index.ts';
import {
  axisAt,
  called,
  given,
  namesOf,
  reducedOver,
  repeated,
  sizeAt,
  sizesOf,
  turned,
  type Case,
  type OpOf,
  type T,
} from './case.ts';

const spaced = (letters: string): string => letters.trim().split('').join(' ');

/** What `read`, which is linear, gives back to the tensor it reads: the sum of `values` over the places that were read. */
function written(c: Case, like: T, values: T, read: (x: T) => T): T {
  const zeros = c.t.constant<string>(0, namesOf(like).join(' '), sizesOf(like.axes)) as T;
  const seen = read(zeros).mul(values);
  return gradients(
    reducedOver(
      seen,
      seen.axes.map((_, i) => i),
      'sum',
    ),
    [zeros],
  )[0];
}

/** `x` at positions along one axis: the axes of `index` in its place. */
function rows<D extends DType>(x: T<D>, index: T<'i32'>, axis: string): T<D> {
  const names = index.axes.map((_, i) => `i${i}`);
  const found = gather<string, D, string, string>(x, called(index, names.join(' ')), axis) as Tensor as T<D>;
  const order = namesOf(x).flatMap((name) => (name === axis ? names : [name]));
  return turned(found, `${namesOf(found).join(' ')} -> ${order.join(' ')}`);
}

/** out[…, i, …] = x[…, index[…, i, …], …] along one axis: the others are shared. */
function elements(x: T, index: T<'i32'>, axis: string): T {
  const ranged = index.axes.reduce<T>(
    (y, other) => (other.name === axis ? y : (slice(y, other.name, { size: other.size }) as T)),
    x,
  );
  const at = called(
    index,
    namesOf(index)
      .map((name) => (name === axis ? 'place' : name))
      .join(' '),
  );
  const found = gather<string, 'f32', string, string>(ranged, at, axis) as Tensor as T;
  return turned(
    found,
    `${namesOf(found).join(' ')} -> ${namesOf(x)
      .map((name) => (name === axis ? `${name}=(place)` : name))
      .join(' ')}`,
  );
}

/** Edges repeated outwards along one axis. */
function replicate(c: Case, x: T, axis: number, before: number, after: number): T {
  const size = sizeAt(x, axis);
  const index = Array.from({ length: before + size + after }, (_, i) => Math.max(0, Math.min(size - 1, i - before)));
  const name = axisAt(x, axis);
  const read = rows(x, c.t.constant(index, 'i', { i: index.length }, 'i32'), name);
  return called(read, namesOf(x).join(' '));
}

export const shapes: Readonly<Record<string, OpOf>> = {
  einsum: ({ x, attrs }) => {
    const [sides = '', out = ''] = attrs.text('equation').replaceAll(' ', '').split('->');
    const [left = '', right = ''] = sides.split(',').map(spaced);
    return einsum(x('a', left), x('b', right), `${left}, ${right} -> ${spaced(out)}`.trim() as never);
  },
  linear: (c) => {
    const bias = c.has('bias');
    const params = given({ weight: c.x('weight'), ...(bias ? { bias: c.x('bias') } : {}) });
    return linear(params, c.x('x'), 'o', { bias }) as Tensor;
  },
  embedding: (c) => rows(c.x('weight'), c.whole('ids'), axisAt(c.x('weight'), c.attrs.number('axis', 0))),
  index_select: (c) => rows(c.x('x'), c.whole('ids'), axisAt(c.x('x'), c.attrs.number('axis'))),
  gather: (c) => elements(c.x('x'), c.whole('ids'), axisAt(c.x('x'), c.attrs.number('axis'))),
  index_add: (c) => {
    const [x, src] = [c.x('x'), c.x('src')];
    const axis = axisAt(x, c.attrs.number('axis'));
    return x.add(written(c, x, src, (y) => called(rows(y, c.whole('ids'), axis), namesOf(src).join(' '))));
  },
  scatter_add: (c) => {
    const [x, src] = [c.x('x'), c.x('src')];
    return x.add(written(c, x, src, (y) => elements(y, c.whole('ids'), axisAt(x, c.attrs.number('axis')))));
  },
  slice_update: (c) => {
    const [x, src] = [c.x('x'), c.x('src')];
    const at = c.attrs.number('axis');
    const [axis, start, size] = [axisAt(x, at), c.attrs.number('start'), sizeAt(src, at)];
    const parts = [
      ...(start > 0 ? [slice(x, axis, { size: start })] : []),
      src,
      ...(start + size < sizeAt(x, at) ? [slice(x, axis, { start: start + size })] : []),
    ];
    return concat<string, 'f32', string>(parts, axis);
  },
  topk: ({ x, attrs }) => topK(x('x'), axisAt(x('x'), attrs.number('axis')), attrs.number('k')).values as Tensor,
  concat: (c) => {
    const listed = c.attrs.raw('operands');
    const names = Array.isArray(listed) ? listed.map(String) : c.names;
    const parts = names.map((name) => c.x(name));
    return concat<string, 'f32', string>(parts, axisAt(parts[0] as T, c.attrs.number('axis')));
  },
  stack: (c) => {
    const parts = c.names.map((name) => c.x(name));
    const y = stack<string, 'f32', string>(parts, 'new') as Tensor as T;
    const old = namesOf(y).filter((name) => name !== 'new');
    const at = c.attrs.number('axis');
    const order = old.toSpliced(at < 0 ? old.length + 1 + at : at, 0, 'new');
    return turned(y, `${namesOf(y).join(' ')} -> ${order.join(' ')}`);
  },
  slice: ({ x, attrs }) => {
    const [axis, start, step] = [
      axisAt(x('x'), attrs.number('axis')),
      attrs.number('start', 0),
      attrs.number('step', 1),
    ];
    const stop = attrs.number('stop', Number(x('x').axes.at(attrs.number('axis'))?.size ?? 0));
    return slice(x('x'), axis, { start, size: Math.ceil((stop - start) / step), step });
  },
  pad: (c) => {
    const replicated = c.attrs.text('mode', 'constant') === 'replicate';
    return (
      [
        [-1, 'pad_last_axis'],
        [-2, 'pad_previous_axis'],
      ] as const
    ).reduce<T>((y, [axis, key]) => {
      const [before = 0, after = 0] = c.attrs.has(key) ? c.attrs.numbers(key) : [];
      return replicated
        ? replicate(c, y, y.axes.length + axis, before, after)
        : pad(y, axisAt(y, axis), { before, after, value: c.attrs.number('value', 0) });
    }, c.x('x'));
  },
  flip: ({ x, attrs }) => attrs.numbers('axes').reduce<T>((y, axis) => flip(y, axisAt(y, axis)), x('x')),
  permute: ({ x, attrs }) =>
    turned(
      x('x'),
      `${namesOf(x('x')).join(' ')} -> ${attrs
        .numbers('axes')
        .map((axis) => axisAt(x('x'), axis))
        .join(' ')}`,
    ),
  expand: (c) => {
    const x = c.x('x');
    const shape = c.attrs.numbers('shape');
    const first = shape.length - x.axes.length;
    const kept = x.axes.filter((axis, i) => axis.size === shape[first + i]);
    const bare = turned(
      x,
      `${x.axes.map((axis) => (kept.includes(axis) ? axis.name : '()')).join(' ')} -> ${kept.map((axis) => axis.name).join(' ')}`,
    );
    const names = shape.map((_, i) =>
      i >= first && kept.includes(x.axes[i - first] as never) ? axisAt(x, i - first) : `n${i}`,
    );
    const fresh = Object.fromEntries(names.flatMap((name, i) => (name.startsWith('n') ? [[name, shape[i] ?? 1]] : [])));
    return repeated(bare, `${kept.map((axis) => axis.name).join(' ')} -> ${names.join(' ')}`, fresh);
  },
  repeat: ({ x, attrs }) => {
    const times = attrs.numbers('repeats');
    const names = namesOf(x('x'));
    return repeated(
      x('x'),
      `${names.join(' ')} -> ${names.map((name, i) => `m${i}=(r${i} ${name})`).join(' ')}`,
      Object.fromEntries(times.map((n, i) => [`r${i}`, n])),
    );
  },
  rearrange: (c) => {
    const [left = '', right = ''] = c.attrs.text('pattern').split('->');
    let merged = 0;
    const named = right.replaceAll('(', () => `merged${merged++}=(`);
    const parts = left.match(/\w+/g) ?? [];
    const sizes = Object.fromEntries(
      parts.filter((part) => c.attrs.has(part)).map((part) => [part, c.attrs.number(part)]),
    );
    const items = left.match(/\([^)]*\)|\w+/g) ?? [];
    const x = called(c.x('x'), items.map((item, i) => (item.startsWith('(') ? `whole${i}` : item)).join(' '));
    return turned(x, `${left.trim()} -> ${named.trim()}`, sizes);
  },
};
