// Steps of layers in small, written with the functions that models are written with: quantized weights side by side, norms that several products
// read, masks, rotations, caches that grow and caches of which each row writes one place.
import { sizeBound, type Axis } from '../../dsl/axis/axis.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import {
  attention,
  concat,
  cos,
  einsum,
  flip,
  gather,
  gelu,
  rearrange,
  reduce,
  repeat,
  silu,
  sin,
  slice,
  standardize,
  Tensor,
  where,
  type DType,
  type Float,
  type Size,
} from '../../dsl/index.ts';
import { iota, typeAttrs } from '../../dsl/ops/source.ts';
import { nowhere } from '../../dsl/graph/graph.ts';
import { storageFormat } from '../../dsl/storage/index.ts';
import { planeShapes, unpacked } from '../../dsl/storage/unpack.ts';
import type { Draw, Made, Making } from './generate.ts';
import {
  axesOf,
  binary,
  contract,
  dtypeOf,
  reduction,
  slice as sliceStep,
  unary,
  type Step,
} from './generate-steps.ts';

type Floats = Tensor<string, Float>;

const formats = [
  'q8_0',
  'q4_0',
  'q4_1',
  'q5_0',
  'q5_1',
  'q6_K',
  'q4_K',
  'q2_K',
  'affine4_32_f16_bias',
  'affine8_64_f32_zero',
] as const;

const of = <D extends DType>(m: Making, made: Made): Tensor<string, D> => new Tensor<string, D>(m.builder, made.node);
const list = (axes: readonly Axis[]): string => axes.map((axis) => axis.name).join(' ');
/** A pattern that is made while the test runs: the editor is not to judge it. */
const pattern = (text: string): string => text;
const sizesOf = (axes: readonly Axis[]): Record<string, Size> =>
  Object.fromEntries(axes.map((axis) => [axis.name, axis.size]));

/** A leaf whose numbers the dtype holds. */
function leaf<D extends DType>(
  m: Making,
  draw: Draw,
  kind: 'input' | 'param' | 'state',
  axes: readonly Axis[],
  dtype: D,
): Tensor<string, D> | undefined {
  const made = m.leaf(kind, draw, dtype, axes, m.numbers(m.elements(axes, kind === 'state'), dtype));
  return made === undefined ? undefined : of<D>(m, made);
}

function positions(m: Making, axis: Axis): Tensor<string, 'i32'> {
  return new Tensor(m.builder, m.builder.make(iota, [], typeAttrs([axis], 'i32'), nowhere));
}

/** A matrix of codes whose bits are random and whose numbers are small. */
function quantized(m: Making, draw: Draw, axes: readonly [Axis, Axis], dtype: Float): Floats | undefined {
  const format = storageFormat(draw.of(formats));
  const shapes =
    format &&
    planeShapes(
      format,
      axes.map((axis) => Number(axis.size)),
    );
  if (format === undefined || shapes === undefined) return undefined;
  const { planes } = format;
  const path = `quantized${m.unique()}.weight`;
  const fill = (shape: readonly number[], number: () => number): Float64Array =>
    Float64Array.from({ length: shape.reduce((product, size) => product * size, 1) }, number);
  const word = (): number => Math.floor(m.random() * 2 ** 32);
  const bits = planes.bits + (planes.high ?? 0);
  m.give(`${path}#codes`, fill(shapes.codes, word));
  if (shapes.high !== undefined) m.give(`${path}#high`, fill(shapes.high, word));
  m.give(
    `${path}#scales`,
    fill(shapes.scales, () => (1 + Math.floor(m.random() * 8)) / 2 ** (bits + 3)),
  );
  m.give(
    `${path}#offsets`,
    fill(shapes.scales, () =>
      planes.offset?.kind === 'zero' ? Math.floor(m.random() * 2 ** bits) : -m.random() / 4,
    ).map(Math.f16round),
  );
  return unpacked(m.builder, path, { format, isSorted: false }, axes, dtype);
}

/** A matrix, quantized more often than not. */
function weight(m: Making, draw: Draw, axes: readonly [Axis, Axis], dtype: Float): Floats | undefined {
  return draw.chance(3) ? leaf(m, draw, 'param', axes, dtype) : quantized(m, draw, axes, dtype);
}

/** Rows of a fixed number of features, the last axis: of what there is, or new. */
function rows(m: Making, draw: Draw): Floats | undefined {
  const made = m.pick(
    draw,
    (x) =>
      isFloat(dtypeOf(x)) &&
      axesOf(x).length >= 2 &&
      typeof axesOf(x).at(-1)?.size === 'number' &&
      !axesOf(x).some(({ name }) => name === 'z'),
    () => {
      const inner = m.pool.findLast((axis) => typeof axis.size === 'number' && axis.size > 3);
      const [row] = m.pool.filter((axis) => axis !== inner);
      return inner === undefined || row === undefined ? undefined : m.fresh(draw, m.floatDType(draw), [row, inner]);
    },
  );
  return made === undefined ? undefined : of<Float>(m, made);
}

function normed(m: Making, draw: Draw, x: Floats): Floats | undefined {
  const inner = x.axes.at(-1);
  if (inner === undefined || draw.chance(4)) return x;
  const wide = x.cast('f32');
  const scaled = draw.chance(2)
    ? wide.mul(
        reduce(wide.mul(wide), pattern(`${list(x.axes)} -> ${list(x.axes.slice(0, -1))}`), 'mean')
          .add(0.125)
          .pow(-0.5),
      )
    : standardize(wide, { axes: [inner.name], eps: 0.125 });
  const scale = draw.chance(3) ? undefined : leaf(m, draw, 'param', [inner], x.dtype);
  const y = scaled.cast(x.dtype) as Floats;
  return scale === undefined ? y : y.mul(scale);
}

/** x times a matrix of `size` columns, which are the axis `z`, with a bias now and then. */
function projected(m: Making, draw: Draw, x: Floats, size: number): Floats | undefined {
  const inner = x.axes.at(-1);
  const z: Axis = { name: 'z', size };
  const w = inner === undefined ? undefined : weight(m, draw, [z, inner], x.dtype);
  if (inner === undefined || w === undefined) return undefined;
  const y = einsum(x, w, pattern(`${list(x.axes)}, z ${inner.name} -> ${list(x.axes.slice(0, -1))} z`)) as Floats;
  const bias = draw.chance(3) ? leaf(m, draw, 'param', [z], x.dtype) : undefined;
  return bias === undefined ? y : y.add(bias);
}

const widths = [8, 20, 64, 5, 12, 65, 1] as const;

/** Products of one norm, of different widths and storage, each read in a way of its own. */
const heads: Step = (m, draw) => {
  const x = rows(m, draw);
  const y = x && normed(m, draw, x);
  if (x === undefined || y === undefined) return undefined;
  let last = draw.chance(4) ? m.adopt(y.node) : undefined;
  const made = Array.from({ length: 2 + draw.below(3) }, () => projected(m, draw, y, draw.of(widths)));
  for (const z of made) {
    if (z === undefined) return undefined;
    const size = z.size('z');
    const read = [
      z,
      silu(z),
      z.mul(z).add(z),
      slice(z, 'z', { start: Math.floor(size / 2), size: Math.ceil(size / 2) }),
      rearrange(z, pattern(`${list(z.axes)} -> ${list(z.axes.toReversed())}`)) as Floats,
      reduce(z, pattern(`${list(z.axes)} -> ${list(z.axes.slice(0, -1))}`), 'max') as Floats,
    ];
    last = m.adopt(draw.of(read).node);
    if (last === undefined) return undefined;
  }
  const whole = made.filter((z) => z !== undefined);
  return draw.chance(2) ? m.adopt(concat(whole, 'z').node) : last;
};

/** gate and up, and down to the residual, which is read twice. */
const gated: Step = (m, draw) => {
  const x = rows(m, draw);
  const y = x && normed(m, draw, x);
  const size = draw.of(widths);
  const inner = x?.axes.at(-1);
  const isFused = draw.chance(3);
  const both = y && isFused ? projected(m, draw, y, 2 * size) : undefined;
  const gate = y && (both === undefined ? projected(m, draw, y, size) : slice(both, 'z', { size }));
  const up = y && (both === undefined ? projected(m, draw, y, size) : slice(both, 'z', { start: size, size }));
  if (x === undefined || inner === undefined || gate === undefined || up === undefined) return undefined;
  const w = weight(m, draw, [inner, { name: 'z', size }], x.dtype);
  if (w === undefined) return undefined;
  const h = (draw.chance(2) ? silu(gate) : gelu(gate)).mul(up);
  const down = einsum(h, w, pattern(`${list(h.axes)}, ${inner.name} z -> ${list(x.axes)}`)) as Floats;
  return m.adopt((draw.chance(4) ? x.add(down).add(down.mul(0.5)) : x.add(down)).node);
};

/** One matrix as a table of rows and as a head. */
const tied: Step = (m, draw) => {
  const x = rows(m, draw);
  const inner = x?.axes.at(-1);
  if (x === undefined || inner === undefined) return undefined;
  const table = weight(m, draw, [{ name: 'z', size: draw.of([8, 9, 32, 64]) }, inner], x.dtype);
  const ids = leaf(m, draw, 'input', x.axes.slice(0, 1), 'i32');
  if (table === undefined || ids === undefined) return undefined;
  const found = gather(table, ids, 'z') as Floats;
  const from = draw.chance(2) ? found : x;
  const scores = einsum(
    from,
    table,
    pattern(`${list(from.axes)}, z ${inner.name} -> ${list(from.axes.slice(0, -1))} z`),
  ) as Floats;
  if (draw.chance(2)) m.adopt(scores.node);
  // The other way: what a gradient multiplies by the same matrix.
  return m.adopt(einsum(scores, table, pattern(`${list(scores.axes)}, z ${inner.name} -> ${list(from.axes)}`)).node);
};

/** Rotation by halves of the last axis. */
function rotated(m: Making, x: Floats, along: string): Floats {
  const head = Number(x.axes.at(-1)?.size);
  const rest = list(x.axes.slice(0, -1));
  const row = x.axes.find((axis) => axis.name === along);
  if (row === undefined || head % 2 > 0) return x;
  const angle = repeat(positions(m, row).cast('f32'), pattern(`${along} -> ${along} f`), { f: head / 2 }).div(
    positions(m, { name: 'f', size: head / 2 })
      .cast('f32')
      .add(1),
  );
  const wide: Tensor = x.cast('f32');
  const split = rearrange(wide, pattern(`${rest} (half f) -> ${rest} half f`), { half: 2 }) as Tensor<string, 'f32'>;
  const turned = split.mul(cos(angle)).add(flip(split, 'half').mul(sin(angle)));
  return rearrange(turned, pattern(`${rest} half f -> ${rest} u=(half f)`)).cast(x.dtype) as Floats;
}

/** Attention of grouped heads with every kind of mask, all false among them. */
const masked: Step = (m, draw) => {
  const [n, t] = m.pool.filter((axis) => sizeBound(axis.size) <= 33);
  if (n === undefined || t === undefined) return undefined;
  const dtype = m.floatDType(draw) as Float;
  const [g, r, d]: readonly Axis[] = [
    { name: 'g', size: draw.of([1, 2]) },
    { name: 'r', size: draw.of([1, 3]) },
    { name: 'u', size: draw.of([8, 4, 16, 5]) },
  ];
  if (g === undefined || r === undefined || d === undefined) return undefined;
  const keys: Axis = { name: 't', size: t.size };
  const [query, key, value] = [
    leaf(m, draw, 'input', [g, r, n, d], dtype),
    leaf(m, draw, 'input', [g, keys, d], dtype),
    leaf(m, draw, 'input', [g, keys, d], dtype),
  ];
  if (query === undefined || key === undefined || value === undefined) return undefined;
  const isTurned = draw.chance(3);
  const [q, k] = isTurned ? [rotated(m, query, n.name), rotated(m, key, 't')] : [query, key];
  const at = repeat(positions(m, keys), pattern(`t -> ${n.name} t`), { [n.name]: n.size });
  const own = repeat(positions(m, n), pattern(`${n.name} -> ${n.name} t`), { t: t.size });
  const length = leaf(m, draw, 'input', [], 'i32');
  const given = leaf(m, draw, 'input', [draw.of([keys, n, g])], 'bool');
  const added = leaf(m, draw, 'input', [n, keys], 'f32');
  if (length === undefined || given === undefined || added === undefined) return undefined;
  const masks: readonly Tensor[] = [given, added, at.lt(0), at.lt(length), at.le(own).and(at.gt(own.sub(3)))];
  const mask = masks[draw.below(masks.length + 1)];
  const made = attention(q, k, value, {
    key: 't',
    along: 'u',
    ...(mask === undefined ? {} : { mask }),
    ...(draw.chance(3) ? { causal: n.name } : {}),
    ...(draw.chance(4) ? { cap: 5 } : {}),
  });
  return m.adopt((draw.chance(2) ? made : rearrange(made, pattern(`g r ${n.name} u -> ${n.name} z=(g r u)`))).node);
};

/** A cache that grows by what was made of some rows, now and then of what it held. */
const grown: Step = (m, draw) => {
  if (m.options.updates === false) return undefined;
  const x = rows(m, draw);
  const along = x?.axes[0];
  if (x === undefined || along === undefined) return undefined;
  const past: Size = m.pool.map((axis) => axis.size).find((size) => typeof size !== 'number') ?? draw.of([0, 3, 1]);
  const fresh = draw.chance(3) ? x.mul(0.5) : (normed(m, draw, x) ?? x);
  const axes = x.axes.map((axis) => ({
    name: axis.name,
    size: sizeBound(axis.size) + (axis === along ? sizeBound(past) : 0),
  }));
  // Only where an axis grows may it be symbolic: the state has its bound.
  if (x.axes.some((axis) => axis !== along && typeof axis.size !== 'number')) return undefined;
  const state = leaf(m, draw, 'state', axes, x.dtype);
  if (state === undefined) return undefined;
  const old = slice(state, along.name, { size: past });
  const part = draw.chance(4)
    ? fresh.add(reduce(old, pattern(`${list(axes)} -> ${list(axes.slice(1))}`), 'sum'))
    : fresh;
  const all = concat([old, part], along.name) as Floats;
  const made = [part, all, reduce(all, pattern(`${list(axes)} -> ${list(axes.slice(1))}`), 'sum') as Floats].map((y) =>
    m.adopt(y.node),
  );
  if (made.includes(undefined)) return undefined;
  m.update({ state: state.node, value: part.node, at: new Map([[along.name, past]]) });
  return made[2];
};

/** A cache of which each row writes the place that it is at, or none. */
const written: Step = (m, draw) => {
  const [a, b] = m.pool.filter((axis) => typeof axis.size === 'number' && axis.size > 0 && axis.size <= 33);
  if (m.options.updates === false || a === undefined || b === undefined) return undefined;
  const dtype = m.floatDType(draw) as Float;
  const axes = draw.chance(2) ? [a, b] : [b, a];
  const place = leaf(m, draw, draw.chance(2) ? 'state' : 'input', [b], 'i32');
  const fresh = leaf(m, draw, 'input', [b], dtype);
  const state = leaf(m, draw, 'state', axes, dtype);
  if (place === undefined || fresh === undefined || state === undefined) return undefined;
  const wide = (x: Tensor, own: Axis): Tensor =>
    repeat(x, pattern(`${own.name} -> ${list(axes)}`), sizesOf(axes.filter((axis) => axis !== own)));
  const hit = wide(positions(m, a), a).eq(draw.chance(2) ? wide(place, b) : place) as Tensor<string, 'bool'>;
  const all = where(hit, wide(fresh.mul(0.5), b), state);
  const made = m.adopt(reduce(all as Floats, pattern(`${list(axes)} -> ${draw.of([b, a]).name}`), 'sum').node);
  if (made === undefined || m.adopt(all.node) === undefined) return undefined;
  m.update({ state: state.node, value: all.node, at: new Map() });
  return made;
};

/** Layers, and what surrounds them. */
export const layerSteps: readonly Step[] = [
  heads,
  gated,
  masked,
  tied,
  grown,
  written,
  heads,
  gated,
  binary,
  unary,
  sliceStep,
  reduction,
  contract,
];
