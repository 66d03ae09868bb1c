// A second interpreter for the tests, written from the definitions of the ops and not from their records: one element at a time, slow and plain.
import { evaluateSize, type Size } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import type { GeneratedFeeds } from './generate.ts';

type Index = { readonly [axis: string]: number };
type Element = (at: Index) => number;

const wrap = (x: number, dtype: DType): number => {
  if (dtype !== 'i32' && dtype !== 'u32') return x;
  const word = Number(BigInt.asUintN(32, BigInt(Math.trunc(x))));
  return dtype === 'u32' || word < 2 ** 31 ? word : word - 2 ** 32;
};

const product = (x: number, y: number, dtype: DType): number =>
  dtype === 'i32' || dtype === 'u32' ? Number(BigInt.asIntN(53, BigInt.asUintN(32, BigInt(x) * BigInt(y)))) : x * y;

/** erf by Simpson's rule on its integral. */
function erfBySimpson(x: number): number {
  const steps = 4000;
  const h = x / steps;
  let total = 0;
  for (let i = 0; i <= steps; i++)
    total += (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp(-((i * h) ** 2));
  return ((2 / Math.sqrt(Math.PI)) * total * h) / 3;
}

/** The scalar functions, as their documentation says. */
export const scalar: { readonly [name: string]: (x: readonly number[], dtype: DType) => number } = {
  neg: ([x = 0]) => 0 - x,
  abs: ([x = 0]) => (x < 0 ? -x : x),
  exp: ([x = 0]) => Math.E ** x,
  log: ([x = 0]) => Math.log10(x) * Math.LN10,
  sqrt: ([x = 0]) => x ** 0.5,
  rsqrt: ([x = 0]) => x ** -0.5,
  tanh: ([x = 0]) => 1 - 2 / (Math.exp(2 * x) + 1),
  erf: ([x = 0]) => erfBySimpson(x),
  sigmoid: ([x = 0]) => Math.exp(x) / (1 + Math.exp(x)),
  sin: ([x = 0]) => Math.cos(x - Math.PI / 2),
  cos: ([x = 0]) => Math.sin(x + Math.PI / 2),
  floor: ([x = 0]) => x - (((x % 1) + 1) % 1),
  isNaN: ([x = 0]) => (Number.isNaN(x) ? 1 : 0),
  again: ([x = 0]) => x,
  not: ([x = 0]) => (x ? 0 : 1),
  add: ([x = 0, y = 0]) => x + y,
  sub: ([x = 0, y = 0]) => x - y,
  mul: ([x = 0, y = 0], dtype) => product(x, y, dtype),
  div: ([x = 0, y = 0], dtype) =>
    dtype === 'i32' || dtype === 'u32' ? (y === 0 ? x : Number(BigInt(x) / BigInt(y))) : x / y,
  mod: ([x = 0, y = 0], dtype) => ((dtype === 'i32' || dtype === 'u32') && y === 0 ? 0 : x - y * Math.trunc(x / y)),
  min: ([x = 0, y = 0]) => (x < y ? x : y),
  max: ([x = 0, y = 0]) => (x > y ? x : y),
  pow: ([x = 0, y = 0]) => Math.exp(y * Math.log(x)),
  lt: ([x = 0, y = 0]) => (x < y ? 1 : 0),
  le: ([x = 0, y = 0]) => (x > y ? 0 : 1),
  gt: ([x = 0, y = 0]) => (x > y ? 1 : 0),
  ge: ([x = 0, y = 0]) => (x < y ? 0 : 1),
  eq: ([x = 0, y = 0]) => (x - y === 0 ? 1 : 0),
  ne: ([x = 0, y = 0]) => (x - y === 0 ? 0 : 1),
  and: ([x = 0, y = 0]) => x * y,
  or: ([x = 0, y = 0]) => x + y - x * y,
  where: ([test = 0, yes = 0, no = 0]) => (test ? yes : no),
  xor: ([x = 0, y = 0]) => (Number.isInteger(x) && Number.isInteger(y) ? Number(BigInt(x) ^ BigInt(y)) : NaN),
  shiftRight: ([x = 0, y = 0]) =>
    Number.isInteger(x) && Number.isInteger(y) ? Number(BigInt(x) >> BigInt(((y % 32) + 32) % 32)) : NaN,
  cast: ([x = 0], dtype) =>
    dtype === 'bool'
      ? x
        ? 1
        : 0
      : dtype === 'u32' && x < 0
        ? 0
        : dtype === 'i32' || dtype === 'u32'
          ? x - (x % 1)
          : x,
};

/** The elements of a node, each computed when asked for and remembered. */
export function naive(node: Node, feeds: GeneratedFeeds, memory = new Map<Node, Element>()): Element {
  const known = memory.get(node);
  if (known !== undefined) return known;
  const plain = element(
    node,
    node.inputs.map((input) => naive(input, feeds, memory)),
    feeds,
  );
  const cache = new Map<string, number>();
  const remembered: Element = (at) => {
    const key = node.type.axes.map((axis) => at[axis.name]).join();
    const found = cache.get(key) ?? plain(at);
    cache.set(key, found);
    return found;
  };
  memory.set(node, remembered);
  return remembered;
}

function element(node: Node, x: readonly Element[], feeds: GeneratedFeeds): Element {
  const { op, attrs, type } = node;
  const size = (value: unknown) => evaluateSize(value as Size, feeds.symbols);
  const [a = () => NaN, b = () => NaN] = x;
  const sizesOf = (of: Node | undefined) => new Map((of?.type.axes ?? []).map((axis) => [axis.name, size(axis.size)]));
  const mine = sizesOf(node);
  const [first, second] = node.inputs.map(sizesOf);
  const axis = String(attrs['axis']);
  const moved = (at: Index, position: number) => ({ ...at, [axis]: position });
  const flat =
    (numbers: ArrayLike<number>): Element =>
    (at) =>
      numbers[[...mine].reduce((sum, [name, length]) => sum * length + (at[name] ?? 0), 0)] ?? NaN;
  if (op.kind === 'map')
    return (at) =>
      wrap(
        scalar[op.name]?.(
          x.map((f) => f(at)),
          type.dtype,
        ) ?? NaN,
        type.dtype,
      );
  switch (op.name) {
    case 'input':
      return flat(feeds.inputs.get(String(attrs['name'])) ?? []);
    case 'param':
    case 'packed':
      return flat(feeds.params(String(attrs['name'])));
    case 'state':
      return flat(feeds.states.get(String(attrs['name'])) ?? []);
    case 'const':
      return flat(attrs['values'] as Float64Array);
    case 'iota':
      return (at) => at[type.axes[0]?.name ?? ''] ?? NaN;
    case 'extent':
      return () => size(attrs['size']);
    case 'sum':
      return (at) =>
        wrap(
          over(attrs['axes'] as string[], first, at).reduce((sum, place) => sum + a(place), 0),
          type.dtype,
        );
    case 'reduceMax':
      return (at) => Math.max(...over(attrs['axes'] as string[], first, at).map(a));
    case 'reduceMin':
      return (at) => Math.min(...over(attrs['axes'] as string[], first, at).map(a));
    case 'broadcast':
      return a;
    case 'flip':
      return (at) => a(moved(at, (mine.get(axis) ?? 0) - 1 - (at[axis] ?? 0)));
    case 'slice':
      return (at) => a(moved(at, size(attrs['start']) + Number(attrs['step']) * (at[axis] ?? 0)));
    case 'pad':
      return (at) => {
        const p = (at[axis] ?? 0) - size(attrs['before']);
        return p < 0 || p >= (first?.get(axis) ?? 0) ? Number(attrs['value']) : a(moved(at, p));
      };
    case 'window': {
      const [outer, inner] = attrs['into'] as [string, string];
      return (at) =>
        a(moved(at, (at[outer] ?? 0) * Number(attrs['stride']) + (at[inner] ?? 0) * Number(attrs['dilation'])));
    }
    case 'rearrange': {
      const { split, merge, sizes } = attrs as unknown as {
        split: string[][];
        merge: { name: string; parts: string[] }[];
        sizes: { [part: string]: Size };
      };
      return (at) => {
        const part: { [name: string]: number } = {};
        for (const { name, parts } of merge) {
          let rest = at[name] ?? 0;
          for (const p of parts.toReversed()) {
            part[p] = rest % size(sizes[p]);
            rest = Math.floor(rest / size(sizes[p]));
          }
        }
        return a(
          Object.fromEntries(
            (node.inputs[0]?.type.axes ?? []).map((ax, i) => [
              ax.name,
              (split[i] ?? []).reduce((sum, p) => sum * size(sizes[p]) + (part[p] ?? 0), 0),
            ]),
          ),
        );
      };
    }
    case 'concat':
      return (at) => {
        let p = at[axis] ?? 0;
        for (const [i, part] of node.inputs.entries()) {
          const length = sizesOf(part).get(axis) ?? 0;
          if (p < length) return x[i]?.(moved(at, p)) ?? NaN;
          p -= length;
        }
        return NaN;
      };
    case 'gather':
      return (at) => a(moved(at, Math.min((first?.get(axis) ?? 0) - 1, Math.max(0, b(at)))));
    case 'scatter': {
      const length = mine.get(axis) ?? 0;
      const names = [...(second?.keys() ?? [])].filter((name) => !mine.has(name));
      return (at) =>
        over(names, second, at).reduce((sum, place) => {
          const row = Math.min(length - 1, Math.max(0, b(place)));
          return row === at[axis] ? sum + a(place) : sum;
        }, 0);
    }
    case 'sort':
      // The element that as many others come before as the rank says.
      return (at) => {
        const all = Array.from({ length: first?.get(axis) ?? 0 }, (_, i) => i);
        // Once each: below them the whole graph is computed again for every element.
        const row = all.map((i) => a(moved(at, i)));
        const value = (i: number): number => row[i] ?? NaN;
        const size = (x: number): number => (Number.isNaN(x) ? Infinity : x);
        const isNaN = Number.isNaN;
        const isLess = (i: number, j: number): boolean => {
          const [x, y] = node.attrs['descending'] === true ? [value(j), value(i)] : [value(i), value(j)];
          if (size(x) !== size(y)) return size(x) < size(y);
          return isNaN(x) === isNaN(y) ? i < j : isNaN(y);
        };
        return all.find((i) => all.filter((j) => isLess(j, i)).length === at[axis]) ?? NaN;
      };
    case 'contract': {
      const summed = [...(first ?? new Map<string, number>())]
        .filter(([name]) => second?.has(name) === true && !mine.has(name))
        .map(([name]) => name);
      return (at) => over(summed, first, at).reduce((sum, place) => sum + a(place) * b(place), 0);
    }
    default:
      throw new Error(`the second interpreter does not know ${op.name}`);
  }
}

/** `at` with every combination of positions along the named axes. */
function over(axes: readonly string[], sizes: ReadonlyMap<string, number> | undefined, at: Index): Index[] {
  return axes.reduce<Index[]>(
    (places, name) =>
      places.flatMap((place) => Array.from({ length: sizes?.get(name) ?? 0 }, (_, i) => ({ ...place, [name]: i }))),
    [at],
  );
}

/** All elements, row-major. */
export function naiveValues(node: Node, feeds: GeneratedFeeds): Float64Array {
  const at = naive(node, feeds);
  return Float64Array.from(
    over(
      node.type.axes.map((axis) => axis.name),
      new Map(node.type.axes.map((axis) => [axis.name, evaluateSize(axis.size, feeds.symbols)])),
      {},
    ).map(at),
  );
}
