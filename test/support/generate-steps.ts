// The steps a random graph is made of: each adds a node, or a subgraph of a known shape, to what was made so far.
import {
  evaluateSize,
  sizeBound,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  type Axis,
  type Size,
} from '../../dsl/axis/axis.ts';
import { isFloat, isInteger, type Attr, type DType, type MapOp } from '../../dsl/graph/op.ts';
import { maps } from '../../dsl/ops/map/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import type { Draw, Made, Making } from './generate.ts';

export type Step = (m: Making, draw: Draw) => Made | undefined;

export const dtypeOf = (x: Made): DType => x.node.type.dtype;
export const axesOf = (x: Made): readonly Axis[] => x.node.type.axes;
const names = (axes: readonly Axis[]): string[] => axes.map((axis) => axis.name);
const any = (m: Making, draw: Draw): Made | undefined =>
  m.pick(
    draw,
    () => true,
    () => m.fresh(draw, m.dtype(draw), m.axes(draw)),
  );
export const aFloat = (m: Making, draw: Draw, least = 0): Made | undefined =>
  m.pick(
    draw,
    (x) => isFloat(dtypeOf(x)) && axesOf(x).length >= least,
    () => m.fresh(draw, m.floatDType(draw), atLeastOne(m, draw, least)),
  );
const withAxis = (m: Making, draw: Draw): Made | undefined =>
  m.pick(
    draw,
    (x) => axesOf(x).length > 0,
    () => m.fresh(draw, m.dtype(draw), atLeastOne(m, draw, 1)),
  );

function atLeastOne(m: Making, draw: Draw, least: number): readonly Axis[] {
  const axes = m.axes(draw);
  return axes.length >= least ? axes : [...axes, ...m.pool.filter((axis) => !axes.includes(axis))].slice(0, least);
}

export function scalar(m: Making, value: number, dtype: DType): Made | undefined {
  return m.make('const', [], { ...typeAttrs([], dtype), values: Float64Array.of(value) });
}

/** `make` on operands that may be missing. */
export function op(
  m: Making,
  name: string,
  operands: readonly (Made | undefined)[],
  attrs: { readonly [key: string]: Attr } = {},
): Made | undefined {
  const there = operands.filter((operand) => operand !== undefined);
  return there.length === operands.length ? m.make(name, there, attrs) : undefined;
}

// ---- maps -------------------------------------------------------------------------------------------------------

/** An operand whose axes are a subset of x's, in any order: one made so far, or a new one. */
function partner(
  m: Making,
  draw: Draw,
  x: Made,
  dtype: DType,
  fits: (y: Made) => boolean = () => true,
): Made | undefined {
  const within = (y: Made) =>
    axesOf(y).every((axis) => axesOf(x).some((other) => other.name === axis.name && sizesEqual(other.size, axis.size)));
  return m.pick(
    draw,
    (y) => dtypeOf(y) === dtype && within(y) && fits(y),
    () => {
      const some = draw.chance(2) ? axesOf(x) : axesOf(x).filter(() => draw.chance(2));
      return m.fresh(draw, dtype, draw.chance(3) ? some.toReversed() : some);
    },
  );
}

/** x moved into [low, high]: as it is where it lies there, else |x| or a clamp. */
function into(m: Making, x: Made, low: number, high: number): Made | undefined {
  const inside = (y: Made) => y.values.data.every((v) => v >= low && v <= high);
  if (inside(x)) return x;
  let y: Made | undefined = x;
  if (low >= 0) y = op(m, 'add', [op(m, 'abs', [y]), scalar(m, Math.max(low, 0.25), dtypeOf(x))]);
  if (y === undefined || inside(y)) return y;
  y = op(m, 'min', [y, scalar(m, high, dtypeOf(x))]);
  return y === undefined || inside(y) ? y : op(m, 'max', [y, scalar(m, low, dtypeOf(x))]);
}

/** What a map makes of operands of one dtype; a refusal where it takes none of it. */
const made = (map: MapOp, dtype: DType) =>
  map.dtype(
    Array.from({ length: map.arity }, () => dtype),
    {},
  );
const unaries = maps.filter((map) => map.arity === 1 && !map.converts && typeof made(map, 'f32') === 'string');
const binaries = maps.filter((map) => map.arity === 2);
const floatBinaries = binaries.filter((map) => made(map, 'f32') === 'f32');
const bitwiseMaps = binaries.filter((map) => made(map, 'i32') === 'i32' && made(map, 'f32') !== 'f32');
const comparisons = binaries.filter((map) => made(map, 'f32') === 'bool');
const takesIntegers = (map: MapOp): boolean => typeof made(map, 'i32') === 'string';

export const unary: Step = (m, draw) => {
  const map = draw.of(unaries);
  const exact = map.jumps;
  const x = m.pick(
    draw,
    (y) => (isFloat(dtypeOf(y)) || (takesIntegers(map) && isInteger(dtypeOf(y)))) && (!exact || y.exact),
    () => m.fresh(draw, m.floatDType(draw), m.axes(draw)),
  );
  if (x === undefined || isInteger(dtypeOf(x))) return op(m, map.name, [x]);
  return op(m, map.name, [into(m, x, map.sample[0], map.sample[1])]);
};

export const binary: Step = (m, draw) => {
  const map = draw.of(floatBinaries);
  const x = m.pick(
    draw,
    (y) => (isFloat(dtypeOf(y)) && (map.name !== 'mod' || y.exact)) || (takesIntegers(map) && isInteger(dtypeOf(y))),
    () => m.fresh(draw, m.floatDType(draw), m.axes(draw)),
  );
  if (x === undefined) return undefined;
  const dtype = dtypeOf(x);
  if (isFloat(dtype) && map.name === 'pow')
    return op(m, 'pow', [into(m, x, 0.25, 3), scalar(m, draw.of([2, 0.5, 1, 3]), dtype)]);
  // By a power of two: the quotient is exact, so that the remainder cannot jump.
  if (isFloat(dtype) && map.name === 'mod') return op(m, 'mod', [x, scalar(m, draw.of([1, 0.5, 2]), dtype)]);
  const y = partner(m, draw, x, dtype);
  if (y === undefined) return undefined;
  if (isFloat(dtype) && map.name === 'div') {
    const apart = y.values.data.every((v) => Math.abs(v) >= 0.25)
      ? y
      : op(m, 'add', [op(m, 'abs', [y]), scalar(m, 0.5, dtype)]);
    return op(m, 'div', [x, apart]);
  }
  return op(m, map.name, draw.chance(3) ? [y, x] : [x, y]);
};

const bitwise: Step = (m, draw) => {
  const x = m.pick(
    draw,
    (y) => isInteger(dtypeOf(y)),
    () => m.fresh(draw, 'i32', m.axes(draw)),
  );
  return x === undefined ? undefined : op(m, draw.of(bitwiseMaps).name, [x, partner(m, draw, x, dtypeOf(x))]);
};

const compare: Step = (m, draw) => {
  const map = draw.of(comparisons);
  const x = m.pick(
    draw,
    (y) => y.exact && dtypeOf(y) !== 'bool',
    () => m.fresh(draw, m.floatDType(draw), m.axes(draw)),
  );
  return x === undefined ? undefined : op(m, map.name, [x, partner(m, draw, x, dtypeOf(x), (y) => y.exact)]);
};

const logic: Step = (m, draw) => {
  const x = m.pick(
    draw,
    (y) => dtypeOf(y) === 'bool',
    () => m.fresh(draw, 'bool', m.axes(draw)),
  );
  const name = draw.of(['and', 'or', 'not']);
  return x === undefined || name === 'not' ? op(m, 'not', [x]) : op(m, name, [x, partner(m, draw, x, 'bool')]);
};

const where: Step = (m, draw) => {
  const x = any(m, draw);
  if (x === undefined) return undefined;
  const [mask, other] = [partner(m, draw, x, 'bool'), partner(m, draw, x, dtypeOf(x))];
  return op(m, 'where', draw.chance(2) ? [mask, x, other] : [mask, other, x]);
};

const cast: Step = (m, draw) => {
  const to = m.dtype(draw);
  const least = to === 'u32' ? 0 : -Infinity;
  const most = isFloat(to) ? 256 : to === 'i32' ? 2147483647 : Infinity;
  // Whole numbers beyond the target's range are cut off by some and wrapped by others.
  const inRange = (x: Made) => isFloat(dtypeOf(x)) || x.values.data.every((v) => v >= least && v <= most);
  const x = m.pick(
    draw,
    (y) => dtypeOf(y) !== to && (isFloat(to) || y.exact) && inRange(y),
    () => m.fresh(draw, m.floatDType(draw), m.axes(draw)),
  );
  return op(m, 'cast', [x], { to });
};

// ---- reductions, views, joins, gathers ----------------------------------------------------------------------------------

export const reduction: Step = (m, draw) => {
  const name = draw.of(['sum', 'reduceMax', 'reduceMin']);
  const x = m.pick(
    draw,
    (y) => dtypeOf(y) !== 'bool' && axesOf(y).length > 0,
    () => m.fresh(draw, m.floatDType(draw), atLeastOne(m, draw, 1)),
  );
  if (x === undefined) return undefined;
  const some = names(axesOf(x)).filter(() => draw.chance(2));
  return op(m, name, [x], { axes: some.length > 0 ? some : [draw.of(names(axesOf(x)))] });
};

function freshName(taken: readonly string[], wanted: string): string {
  return taken.includes(wanted) ? freshName(taken, `${wanted}x`) : wanted;
}

export const rearrange: Step = (m, draw) => {
  const x = any(m, draw);
  if (x === undefined) return undefined;
  const sizes: Record<string, Size> = {};
  const split: string[][] = [];
  for (const axis of axesOf(x)) {
    const factor = typeof axis.size === 'number' ? [3, 2, 5, 7].find((f) => Number(axis.size) % f === 0) : undefined;
    if (factor !== undefined && draw.chance(3)) {
      const [outer, inner] = [`${axis.name}o`, `${axis.name}i`];
      sizes[outer] = Number(axis.size) / factor;
      sizes[inner] = factor;
      split.push([outer, inner]);
    } else if (axis.size === 1 && draw.chance(2)) split.push([]);
    else {
      sizes[axis.name] = axis.size;
      split.push([axis.name]);
    }
  }
  const parts = split.flat();
  for (let i = parts.length - 1; i > 0; i--) {
    const j = draw.chance(2) ? draw.below(i + 1) : i;
    [parts[i], parts[j]] = [parts[j] ?? '', parts[i] ?? ''];
  }
  const merge: { name: string; parts: string[] }[] = [];
  for (const part of parts) {
    const last = merge.at(-1);
    const symbolic =
      typeof sizes[part] !== 'number' || last?.parts.some((other) => typeof sizes[other] !== 'number') === true;
    if (last !== undefined && !symbolic && draw.chance(4)) last.parts.push(part);
    else
      merge.push({
        name: freshName(
          merge.map((made) => made.name),
          draw.chance(5) ? `${part}r` : part,
        ),
        parts: [part],
      });
  }
  if (draw.chance(6))
    merge.push({
      name: freshName(
        merge.map((made) => made.name),
        'one',
      ),
      parts: [],
    });
  return op(m, 'rearrange', [x], { split, merge, sizes });
};

const broadcast: Step = (m, draw) => {
  const x = any(m, draw);
  const more = m.pool.filter((axis) => x !== undefined && !names(axesOf(x)).includes(axis.name));
  if (x === undefined || more.length === 0) return undefined;
  const extra = draw.of(more);
  const at = draw.below(axesOf(x).length + 1);
  return op(m, 'broadcast', [x], {
    axes: typeAttrs([...axesOf(x).slice(0, at), extra, ...axesOf(x).slice(at)], 'f32')['axes'] ?? [],
  });
};

export const slice: Step = (m, draw) => {
  const x = withAxis(m, draw);
  if (x === undefined) return undefined;
  const axis = draw.of(axesOf(x));
  const least = sizeLeast(axis.size);
  if (least < 1) return undefined;
  const start = draw.below(least);
  if (typeof axis.size !== 'number' && draw.chance(2))
    return op(m, 'slice', [x], { axis: axis.name, start, size: subtractSizes(axis.size, start), step: 1 });
  const step = draw.of([1, 2, 3]);
  const most = Math.floor((least - start - 1) / step) + 1;
  return op(m, 'slice', [x], { axis: axis.name, start, size: most - draw.below(most), step });
};

const pad: Step = (m, draw) => {
  const x = withAxis(m, draw);
  if (x === undefined) return undefined;
  const axis = draw.of(axesOf(x));
  const value = dtypeOf(x) === 'bool' || dtypeOf(x) === 'u32' ? draw.below(2) : draw.of([0, 1, -2]);
  return op(m, 'pad', [x], { axis: axis.name, before: draw.below(4), after: draw.of([1, 0, 2, 5]), value });
};

const flip: Step = (m, draw) => {
  const x = withAxis(m, draw);
  return x === undefined ? undefined : op(m, 'flip', [x], { axis: draw.of(axesOf(x)).name });
};

const window: Step = (m, draw) => {
  const x = withAxis(m, draw);
  if (x === undefined) return undefined;
  const axis = draw.of(axesOf(x));
  const dilation = draw.of([1, 2]);
  const widest = Math.floor((sizeLeast(axis.size) - 1) / dilation) + 1;
  const size = Math.max(1, Math.min(widest, draw.of([3, 2, 1, 5, 7])));
  const stride = typeof axis.size === 'number' ? draw.of([1, 2, 3]) : 1;
  return op(m, 'window', [x], {
    axis: axis.name,
    into: [axis.name, freshName(names(axesOf(x)), `${axis.name}w`)],
    size,
    stride,
    dilation,
  });
};

export const concat: Step = (m, draw) => {
  const x = withAxis(m, draw);
  if (x === undefined) return undefined;
  const axis = draw.of(axesOf(x));
  const alike = (y: Made) =>
    dtypeOf(y) === dtypeOf(x) &&
    axesOf(y).length === axesOf(x).length &&
    axesOf(y).every(
      (a, i) => a.name === axesOf(x)[i]?.name && (a.name === axis.name || sizesEqual(a.size, axesOf(x)[i]?.size ?? -1)),
    );
  const more = (): Made | undefined =>
    m.pick(draw, alike, () =>
      m.fresh(
        draw,
        dtypeOf(x),
        axesOf(x).map((a) => (a.name === axis.name ? { name: a.name, size: draw.of([1, 2, 5]) } : a)),
      ),
    );
  const parts = draw.chance(3) ? [more(), x, more()] : [x, more()];
  return op(m, 'concat', parts, { axis: axis.name });
};

const gather: Step = (m, draw) => {
  const x = withAxis(m, draw);
  if (x === undefined) return undefined;
  const axis = draw.of(axesOf(x));
  const fits = (y: Made) =>
    isInteger(dtypeOf(y)) &&
    axesOf(y).every(
      (a) => a.name !== axis.name && axesOf(x).every((b) => b.name !== a.name || sizesEqual(a.size, b.size)),
    );
  const index = m.pick(draw, fits, () =>
    m.fresh(
      draw,
      draw.of(['i32', 'u32']),
      m.axes(draw, 2).filter((a) => a.name !== axis.name),
    ),
  );
  return index === undefined || !fits(index) ? undefined : op(m, 'gather', [x, index], { axis: axis.name });
};

const scatter: Step = (m, draw) => {
  const x = m.pick(
    draw,
    (y) => axesOf(y).length > 0 && dtypeOf(y) !== 'bool',
    () => m.fresh(draw, m.floatDType(draw), atLeastOne(m, draw, 1)),
  );
  if (x === undefined || dtypeOf(x) === 'bool') return undefined;
  const own = axesOf(x).filter(() => draw.chance(2));
  const index = m.fresh(draw, draw.of(['i32', 'u32']), own.length === 0 ? axesOf(x).slice(0, 1) : own);
  if (index === undefined) return undefined;
  const kept = axesOf(index).filter(() => draw.chance(3));
  const rest = axesOf(x).filter((a) => !names(axesOf(index)).includes(a.name));
  const axis = freshName(names(axesOf(x)), 'r');
  const out = names([...kept, { name: axis, size: 1 }, ...rest]);
  return op(m, 'scatter', [x, index], {
    axis,
    size: draw.of([1, 3, 4, 9]),
    axes: draw.chance(2) ? out : out.toReversed(),
  });
};

const sort: Step = (m, draw) => {
  const x = m.pick(
    draw,
    (y) => axesOf(y).length > 0 && dtypeOf(y) !== 'bool' && y.exact,
    () => m.fresh(draw, m.floatDType(draw), atLeastOne(m, draw, 1)),
  );
  if (x === undefined || !x.exact || dtypeOf(x) === 'bool') return undefined;
  const axis = draw.of(axesOf(x));
  const least = sizeLeast(axis.size);
  const size = typeof axis.size !== 'number' && draw.chance(2) ? axis.size : 1 + draw.below(Math.max(1, least));
  return least < 1 ? undefined : op(m, 'sort', [x], { axis: axis.name, size, descending: draw.chance(2) });
};

// ---- contractions and known shapes ----------------------------------------------------------------------------------

export const contract: Step = (m, draw) => {
  const x = aFloat(m, draw);
  if (x === undefined) return undefined;
  const agrees = (y: Made) =>
    dtypeOf(y) === dtypeOf(x) &&
    axesOf(y).every((a) => axesOf(x).every((b) => a.name !== b.name || sizesEqual(a.size, b.size)));
  const y = m.pick(draw, agrees, () => {
    const shared = axesOf(x).filter(() => draw.chance(2));
    const own = m.pool.filter((axis) => !names(axesOf(x)).includes(axis.name)).slice(0, draw.below(3));
    return m.fresh(draw, dtypeOf(x), draw.chance(2) ? [...shared, ...own] : [...own, ...shared]);
  });
  if (y === undefined || !agrees(y)) return undefined;
  const both = axesOf(x).filter((a) => names(axesOf(y)).includes(a.name));
  const batch = both.filter(() => draw.chance(2)).slice(0, 2);
  const rows = axesOf(x).filter((a) => !both.includes(a));
  const columns = axesOf(y).filter((a) => !names(axesOf(x)).includes(a.name));
  const out = draw.of([
    [...batch, ...rows, ...columns],
    [...rows, ...batch, ...columns],
    [...columns, ...batch, ...rows],
  ]);
  return op(m, 'contract', [x, y], { axes: names(out) });
};

export function softmaxOf(m: Making, x: Made | undefined, axis: string): Made | undefined {
  const shifted = op(m, 'sub', [x, op(m, 'reduceMax', [x], { axes: [axis] })]);
  const powers = op(m, 'exp', [shifted]);
  return op(m, 'div', [powers, op(m, 'sum', [powers], { axes: [axis] })]);
}

const softmax: Step = (m, draw) => {
  const x = aFloat(m, draw, 1);
  return x === undefined ? undefined : softmaxOf(m, x, draw.of(axesOf(x)).name);
};

export const layerNorm: Step = (m, draw) => {
  const x = m.pick(
    draw,
    (y) => isFloat(dtypeOf(y)) && axesOf(y).some((a) => typeof a.size === 'number'),
    () => m.fresh(draw, m.floatDType(draw), [...m.pool.filter((a) => typeof a.size === 'number')].slice(0, 2)),
  );
  const axis = x === undefined ? undefined : axesOf(x).findLast((a) => typeof a.size === 'number');
  if (x === undefined || axis === undefined) return undefined;
  const mean = (y: Made | undefined) =>
    op(m, 'mul', [op(m, 'sum', [y], { axes: [axis.name] }), scalar(m, 1 / sizeBound(axis.size), dtypeOf(x))]);
  const centred = op(m, 'sub', [x, mean(x)]);
  const spread = op(m, 'rsqrt', [op(m, 'add', [mean(op(m, 'mul', [centred, centred])), scalar(m, 0.125, dtypeOf(x))])]);
  return op(m, 'mul', [centred, spread]);
};

const attention: Step = (m, draw) => {
  const dtype = m.floatDType(draw);
  const fixed = m.pool.filter((axis) => typeof axis.size === 'number' && axis.size > 1 && axis.size <= 33);
  const [d, h] = fixed;
  // Few queries and many keys, mostly: then passes may take the weights of keys and values to the other side.
  const others = m.pool.filter((axis) => axis !== d && axis !== h && sizeBound(axis.size) <= 33);
  const [q, t] = draw.chance(4)
    ? others
    : others
        .toSorted((a, b) => sizeBound(a.size) - sizeBound(b.size))
        .filter((_, i, all) => i === 0 || i === all.length - 1);
  if (d === undefined || h === undefined || q === undefined || t === undefined) return undefined;
  const batch = draw.chance(2) ? [h] : [];
  // Keys without the batch axis: grouped queries.
  const shared = draw.chance(3) ? [] : batch;
  const query = m.leaf('input', draw, dtype, [...batch, q, d], m.numbers(bound([...batch, q, d], m), dtype));
  const c = m.pool.find(
    (axis) => ![d, q, t, ...batch].includes(axis) && typeof axis.size === 'number' && axis.size <= 33,
  );
  const tokens =
    c === undefined || !draw.chance(2)
      ? undefined
      : m.leaf('input', draw, dtype, [...shared, t, c], m.numbers(bound([...shared, t, c], m), dtype));
  const read = (): Made | undefined => {
    if (tokens === undefined || c === undefined)
      return m.leaf('input', draw, dtype, [...shared, t, d], m.numbers(bound([...shared, t, d], m), dtype));
    const product = op(
      m,
      'contract',
      [tokens, m.leaf('param', draw, dtype, [d, c], m.numbers(bound([d, c], m), dtype))],
      { axes: names([...shared, t, d]) },
    );
    return draw.chance(2)
      ? product
      : op(m, 'add', [product, m.leaf('param', draw, dtype, [d], m.numbers(bound([d], m), dtype))]);
  };
  const [key, value] = [read(), read()];
  const scores = op(m, 'contract', [query, key], { axes: names([...batch, q, t]) });
  return op(m, 'contract', [softmaxOf(m, scores, t.name), value], { axes: names([...batch, q, d]) });
};

/** The elements in this run. */
function bound(axes: readonly Axis[], m: Making): number {
  return axes.reduce((product, axis) => product * evaluateSize(axis.size, m.symbols), 1);
}

// ---- leaves and effects ---------------------------------------------------------------------------------------------

const leaf: Step = (m, draw) => m.fresh(draw, m.dtype(draw), m.axes(draw));
const iota: Step = (m, draw) => m.make('iota', [], typeAttrs([draw.of(m.pool)], draw.of(['i32', 'u32'])));
const extent: Step = (m, draw) => {
  const symbolic = m.pool.find((axis) => typeof axis.size !== 'number');
  return symbolic === undefined
    ? iota(m, draw)
    : m.make('extent', [], { size: symbolic.size, ...typeAttrs([], 'i32') });
};

/** A state with room for a value made so far, that value written into it, and sometimes a reader of the state as it was. */
export const update: Step = (m, draw) => {
  const value = m.options.updates === false ? undefined : any(m, draw);
  if (value === undefined || value.node.op.name === 'state') return undefined;
  const growing = axesOf(value).find(() => draw.chance(2));
  const spare = draw.below(4);
  const axes = axesOf(value).map((axis) =>
    axis === growing || typeof axis.size !== 'number' ? { name: axis.name, size: sizeBound(axis.size) + spare } : axis,
  );
  const state = m.leaf(
    'state',
    draw,
    dtypeOf(value),
    axes,
    m.numbers(
      axes.reduce((product, axis) => product * sizeBound(axis.size), 1),
      dtypeOf(value),
    ),
  );
  if (state === undefined || m.isUpdated(state.node)) return undefined;
  m.update({
    state: state.node,
    value: value.node,
    at: growing === undefined || spare === 0 ? new Map() : new Map([[growing.name, draw.below(spare + 1)]]),
  });
  return draw.chance(2) && dtypeOf(state) !== 'bool' ? op(m, 'neg', [state]) : value;
};

export const steps: readonly Step[] = [
  unary,
  binary,
  reduction,
  rearrange,
  contract,
  broadcast,
  slice,
  pad,
  flip,
  window,
  concat,
  gather,
  scatter,
  sort,
  where,
  compare,
  logic,
  bitwise,
  cast,
  softmax,
  layerNorm,
  attention,
  leaf,
  iota,
  extent,
  update,
  unary,
  binary,
  contract,
  reduction,
  binary,
  unary,
];

/** Mostly contractions and what surrounds them. */
export const productSteps: readonly Step[] = [
  contract,
  attention,
  contract,
  attention,
  binary,
  unary,
  contract,
  softmax,
  layerNorm,
  concat,
  reduction,
  leaf,
  rearrange,
  update,
  cast,
  where,
  binary,
];

/** Mostly what moves elements. */
export const movingSteps: readonly Step[] = [
  slice,
  pad,
  window,
  flip,
  concat,
  gather,
  scatter,
  sort,
  rearrange,
  broadcast,
  concat,
  slice,
  binary,
  update,
  reduction,
  leaf,
  unary,
  where,
];

/** Attention and what surrounds it. */
export const attentionSteps: readonly Step[] = [
  attention,
  attention,
  attention,
  binary,
  unary,
  leaf,
  attention,
  where,
  rearrange,
  contract,
];
