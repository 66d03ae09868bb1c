// Contractions at the edges of each template's tiles, with views, gathers and joins on the operands, and maps, views and several roots after.
import fc from 'fast-check';
import { symbolSize, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { contract } from '../../dsl/ops/contract.ts';
import { nameOf, param, typeAttrs } from '../../dsl/ops/source.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import { print } from '../../dsl/text/print.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import { feedsFor } from '../compiler/judge.ts';
import { Sketch } from '../compiler/rule-cases.ts';

export interface TemplateCase {
  readonly graph: Graph;
  readonly feeds: Feeds;
}

const prologues = [
  'plain',
  'transposed',
  'padded',
  'sliced',
  'flipped',
  'strided',
  'gathered',
  'mapped',
  'windows',
  'joined',
  'broadcast',
] as const;
const weights = [
  'parameter',
  'parameter, other layout',
  'input',
  'input, other layout',
  'flipped',
  'padded',
  'gathered',
] as const;
const epilogues = ['none', 'bias', 'gelu', 'residual', 'row scale', 'permuted', 'heads', 'roots'] as const;
const batches = ['none', 'both', 'two', 'rows only'] as const;

interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

interface Choice extends Shape {
  readonly prologue: (typeof prologues)[number];
  readonly weight: (typeof weights)[number];
  readonly epilogue: (typeof epilogues)[number];
  readonly batch: (typeof batches)[number];
  readonly symbolic: 'none' | 'm' | 'k';
  readonly dtype: 'f32' | 'f16';
}

/** Cases of these sizes; everything else is drawn. */
export function contractArbitrary(
  m: readonly number[],
  n: readonly number[],
  k: readonly number[],
): fc.Arbitrary<TemplateCase> {
  const one = <T>(list: readonly T[]) => fc.constantFrom(...list);
  return fc
    .noBias(
      fc.record({
        m: one(m),
        n: one(n),
        k: one(k),
        prologue: one(prologues),
        weight: one(weights),
        epilogue: one(epilogues),
        batch: one(batches),
        symbolic: one(['none', 'none', 'm', 'k'] as const),
        dtype: one(['f32', 'f32', 'f16'] as const),
      }),
    )
    .map((choice) => {
      const made = contractCase(choice);
      Object.defineProperty(made, fc.toStringMethod, {
        value: () => `${JSON.stringify(choice)}\n${print(made.graph)}`,
        enumerable: false,
      });
      return made;
    });
}

export function contractCase(choice: Choice): TemplateCase {
  const s = new Sketch(() => 0);
  const { dtype } = choice;
  const symbols = new Map<string, number>();
  const size = (name: 'm' | 'k'): Size => {
    if (choice.symbolic !== name) return choice[name];
    symbols.set(name, choice[name]);
    return symbolSize({ name, least: 1, bound: choice[name] + 3 });
  };
  const [m, k]: readonly Axis[] = [
    { name: 'm', size: size('m') },
    { name: 'k', size: size('k') },
  ];
  if (m === undefined || k === undefined) throw new TypeError('no axes');
  const n: Axis = { name: 'n', size: choice.n };
  const both: readonly Axis[] =
    choice.batch === 'both'
      ? [{ name: 'b', size: 3 }]
      : choice.batch === 'two'
        ? [
            { name: 'b', size: 2 },
            { name: 'h', size: 3 },
          ]
        : [];
  const rows: readonly Axis[] = choice.batch === 'rows only' ? [{ name: 'i', size: 2 }] : [];
  const a = operand(s, choice.prologue, [...rows, ...both, m, k], dtype);
  const b = weightOf(s, choice.weight, both, n, k, dtype);
  const out = [...rows, ...both, m, n].map((axis) => axis.name);
  const y = s.make(contract, [a, b], { axes: out });
  const outputs = after(s, choice.epilogue, y, n, m, dtype);
  const graph: Graph = { outputs: new Map(outputs.map((node, i) => [`y${i}`, node])), updates: [] };
  return { graph, feeds: storedFeeds(graph, symbols) };
}

/** A tensor of these axes, read through what a kernel must undo. The last axis is the one that most views are about. */
function operand(s: Sketch, prologue: Choice['prologue'], axes: readonly Axis[], dtype: DType): Node {
  const last = axes.at(-1);
  if (last === undefined) throw new TypeError('no axes');
  const length = last.size;
  const rest = axes.slice(0, -1);
  // Views that need a number take the plain operand where the size is a symbol.
  if (
    prologue === 'plain' ||
    (typeof length !== 'number' && ['padded', 'strided', 'windows', 'joined', 'sliced'].includes(prologue)) ||
    (typeof length === 'number' && length < 4)
  )
    return s.sized(axes, dtype);
  const wide = (size: Size): Node => s.sized([...rest, { name: last.name, size }], dtype);
  const names = axes.map((axis) => axis.name);
  switch (prologue) {
    case 'transposed':
      return permuted(s, s.sized(axes.toReversed(), dtype), axes);
    case 'padded':
      return s.pad(wide(Number(length) - 3), last.name, 1, 2, 0.5);
    case 'sliced':
      return s.slice(wide(Number(length) + 3), last.name, 2, length);
    case 'strided':
      return s.slice(wide(2 * Number(length) + 1), last.name, 1, length, 2);
    case 'flipped':
      return s.flip(s.sized(axes, dtype), last.name);
    case 'mapped':
      return s.map('mul', s.map('exp', s.sized(axes, dtype)), s.sized(axes.slice(-1), dtype));
    case 'broadcast':
      return s.map('add', s.sized(axes.slice(-2), dtype), s.sized(axes, dtype));
    case 'gathered': {
      const [row] = axes.slice(-2);
      if (row === undefined) return s.sized(axes, dtype);
      return permuted(
        s,
        s.gather(s.sized([...rest.slice(0, -1), { name: 'v', size: 5 }, last], dtype), s.sized([row], 'i32'), 'v'),
        axes,
      );
    }
    case 'joined': {
      const first = Math.floor(Number(length) / 2);
      return s.concat([wide(first), wide(Number(length) - first)], last.name);
    }
    case 'windows': {
      if (Number(length) % 3 !== 0) return s.sized(axes, dtype);
      const windows = s.window(
        s.sized([...rest, { name: 'w', size: Number(length) / 3 + 2 }], dtype),
        'w',
        ['w', 'inside'],
        3,
      );
      const parts = [...names.slice(0, -1), 'w', 'inside'];
      const sizes = Object.fromEntries([
        ...rest.map((axis) => [axis.name, axis.size] as const),
        ['w', Number(length) / 3] as const,
        ['inside', 3] as const,
      ]);
      return s.make(rearrange, [windows], {
        split: parts.map((part) => [part]),
        merge: [
          ...names.slice(0, -1).map((name) => ({ name, parts: [name] })),
          { name: last.name, parts: ['w', 'inside'] },
        ],
        sizes,
      });
    }
    default:
      return prologue satisfies never;
  }
}

function weightOf(s: Sketch, weight: Choice['weight'], batch: readonly Axis[], n: Axis, k: Axis, dtype: DType): Node {
  // Parameters have no symbols.
  const kind = typeof k.size === 'number' ? weight : 'input';
  const [rows, columns] = [
    [...batch, n, k],
    [...batch, k, n],
  ];
  switch (kind) {
    case 'parameter':
      return asParam(s, rows, dtype);
    case 'parameter, other layout':
      return asParam(s, columns, dtype);
    case 'input':
      return s.sized(rows, dtype);
    case 'input, other layout':
      return s.sized(columns, dtype);
    case 'flipped':
      return s.flip(s.sized(columns, dtype), 'n');
    case 'padded':
      return s.pad(
        s.sized([...batch, k, { name: 'n', size: Math.max(0, Number(n.size) - 2) }], dtype),
        'n',
        Math.min(1, Number(n.size)),
        Number(n.size) > 1 ? 1 : 0,
        0.25,
      );
    case 'gathered':
      return s.gather(s.sized([...batch, { name: 'v', size: 4 }, k], dtype), s.sized([n], 'i32'), 'v');
    default:
      return kind satisfies never;
  }
}

function asParam(s: Sketch, axes: readonly Axis[], dtype: DType): Node {
  return s.make(param, [], { ...typeAttrs(axes, dtype), name: `w ${axes.map((axis) => axis.name).join(' ')}` });
}

function after(s: Sketch, epilogue: Choice['epilogue'], y: Node, n: Axis, m: Axis, dtype: DType): readonly Node[] {
  const { axes } = y.type;
  const gelu = (x: Node): Node => s.map('mul', x, s.map('sigmoid', s.map('mul', x, s.scalar(1.702, dtype))));
  switch (epilogue) {
    case 'none':
      return [y];
    case 'bias':
      return [s.map('add', y, asParam(s, [n], dtype))];
    case 'gelu':
      return [gelu(s.map('add', y, s.sized([n], dtype)))];
    case 'residual':
      return [s.map('add', s.sized(axes, dtype), s.map('add', y, asParam(s, [n], dtype)))];
    case 'row scale':
      return [s.map('mul', y, s.sized([m], dtype))];
    case 'permuted':
      return [s.map('add', permuted(s, y, axes.toReversed()), s.sized(axes.toReversed(), dtype))];
    case 'heads': {
      const parts = [4, 3, 2].find((p) => Number(n.size) % p === 0) ?? 1;
      const sizes = Object.fromEntries([
        ...axes.slice(0, -1).map((axis) => [axis.name, axis.size] as const),
        ['heads', parts] as const,
        ['d', Number(n.size) / parts] as const,
      ]);
      const split = [...axes.slice(0, -1).map((axis) => [axis.name]), ['heads', 'd']];
      return [
        s.make(rearrange, [y], {
          split,
          merge: ['heads', ...axes.slice(0, -1).map((axis) => axis.name), 'd'].map((name) => ({ name, parts: [name] })),
          sizes,
        }),
      ];
    }
    case 'roots':
      return [y, s.map('neg', y), gelu(y)];
    default:
      return epilogue satisfies never;
  }
}

function permuted(s: Sketch, x: Node, axes: readonly Axis[]): Node {
  const sizes = Object.fromEntries(axes.map((axis) => [axis.name, axis.size]));
  return s.make(rearrange, [x], {
    split: x.type.axes.map((axis) => [axis.name]),
    merge: axes.map(({ name }) => ({ name, parts: [name] })),
    sizes,
  });
}

/** `storedFeeds` for a step of training, whose parameters are states: they begin with numbers too. */
export function trainingFeeds(graph: Graph): Feeds {
  const feeds = storedFeeds(graph);
  const states = order(graph).filter((node) => node.op.name === 'state' && node.type.axes.length > 0);
  const shape = (node: Node) => node.type.axes.map(({ size }) => Number(size));
  return {
    ...feeds,
    states: new Map(states.map((node) => [nameOf(node), Array.from(feeds.params(nameOf(node), shape(node)))])),
  };
}

/** Random feeds that the dtypes hold as they are. */
export function storedFeeds(graph: Graph, symbols: ReadonlyMap<string, number> = new Map(), scale = 1): Feeds {
  const plain = feedsFor(graph, 5, symbols);
  const nodes = new Map<string, DType>();
  for (const node of order(graph))
    if (typeof node.attrs['name'] === 'string') nodes.set(node.attrs['name'], node.type.dtype);
  const stored = (name: string, numbers: ArrayLike<number>): Float64Array =>
    Float64Array.from(numbers, (x) =>
      nodes.get(name) === 'f16' ? Math.f16round(x * scale) : nodes.get(name) === 'f32' ? Math.fround(x * scale) : x,
    );
  return {
    symbols,
    inputs: new Map([...plain.inputs].map(([name, numbers]) => [name, stored(name, numbers)])),
    params: (path, shape) => stored(path, plain.params(path, shape)),
  };
}
