// One op on random operands, made from its record: kind, accepted dtypes, domain. Numbers are read as choices, so that cases shrink.
import fc from 'fast-check';
import { symbolSize, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { Builder, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import {
  isFloat,
  isInteger,
  Refusal,
  type Attrs,
  type DType,
  type MapOp,
  type Op,
  type ViewOp,
} from '../../dsl/graph/op.ts';
import { opByName } from '../../dsl/ops/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import { print } from '../../dsl/text/print.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import { Draw, randomNumbers } from '../support/generate.ts';

export interface Case {
  readonly graph: Graph;
  readonly feeds: Feeds;
  /** The dtype of the first operand, or of the source. */
  readonly dtype: DType;
}

/** `ordinary`: numbers of the op's domain. `special`: NaN, infinities, -0, subnormal, largest and smallest numbers among them. */
export type Numbers = 'ordinary' | 'special';

const dtypes: readonly DType[] = ['f32', 'f16', 'i32', 'u32', 'bool'];
/** 1, primes, powers of two ± 1, a few multiples of the vector width 4; none is a multiple of a tile. */
const sizes = [3, 1, 5, 4, 7, 2, 13, 31, 33, 20, 63, 65, 12, 127, 129, 132, 257, 0] as const;
const mostElements = 3000;
export const specials: Readonly<Record<'f32' | 'f16' | 'i32' | 'u32', readonly number[]>> = {
  f32: [
    NaN,
    Infinity,
    -Infinity,
    0,
    -0,
    2 ** -149,
    -(2 ** -130),
    2 ** -126,
    3.4028234663852886e38,
    -3.4028234663852886e38,
    1,
    -1,
    0.5,
    -2.5,
  ],
  f16: [NaN, Infinity, -Infinity, 0, -0, 2 ** -24, -(2 ** -24), 2 ** -14, 65504, -65504, 1, -1, 0.5, -2.5],
  i32: [0, 1, -1, 2, -2147483648, 2147483647, -2147483647, 65537],
  u32: [0, 1, 2, 4294967295, 2147483648, 2147483647, 65537],
};
/** Numbers that these ops promise nothing of. */
const leftOut: ReadonlyMap<string, readonly number[]> = new Map([
  // The argument is reduced by π/2 in three parts, which lasts to some 100,000.
  ['sin', [3.4028234663852886e38, -3.4028234663852886e38]],
  ['cos', [3.4028234663852886e38, -3.4028234663852886e38]],
  // No whole number is the right one, or drivers differ in which is the largest.
  ['cast', [NaN, Infinity, -Infinity, 3.4028234663852886e38, -3.4028234663852886e38]],
  // A sum that overflows on the way may be anything, and would hide what the other special numbers do.
  ['sum', [3.4028234663852886e38, -3.4028234663852886e38]],
  ['contract', [3.4028234663852886e38, -3.4028234663852886e38]],
]);

/** So many turns take an op through every dtype that it knows. */
export const dtypeTurns = dtypes.length;

/** Cases of one op; all of them valid, or the generator is wrong. `turn` chooses the dtype, which is drawn without it. */
export function caseArbitrary(op: Op, numbers: Numbers, turn?: number): fc.Arbitrary<Case> {
  const choices = fc.array(fc.noBias(fc.nat({ max: 1_000_003 })), { minLength: 40, maxLength: 40, size: 'max' });
  return choices.map((list) => {
    const made = new CaseMaker(new Draw(list), op, numbers, turn).make();
    Object.defineProperty(made, fc.toStringMethod, { value: () => `\n${print(made.graph)}`, enumerable: false });
    return made;
  });
}

class CaseMaker {
  readonly #draw: Draw;
  readonly #op: Op;
  readonly #numbers: Numbers;
  readonly #random: () => number;
  readonly #builder = new Builder();
  readonly #inputs = new Map<string, Float64Array>();
  readonly #params = new Map<string, Float64Array>();
  readonly #states = new Map<string, Float64Array>();

  readonly #turn: number | undefined;

  constructor(draw: Draw, op: Op, numbers: Numbers, turn: number | undefined) {
    this.#draw = draw;
    this.#op = op;
    this.#numbers = numbers;
    this.#turn = turn;
    this.#random = randomNumbers(draw.below(1e6));
  }

  make(): Case {
    const op = this.#op;
    switch (op.kind) {
      case 'source':
        return this.#source(op.name);
      case 'map':
        return this.#map(op);
      case 'reduce':
        return this.#reduction();
      case 'view':
        return this.#view(op);
      case 'join':
        return this.#join();
      case 'gather':
        return this.#gather();
      case 'scatter':
        return this.#scatter();
      case 'sort':
        return this.#sort();
      case 'contract':
        return this.#contract();
      default:
        return op satisfies never;
    }
  }

  #inTurn<T>(choices: readonly T[]): T {
    const chosen = this.#turn === undefined ? undefined : choices[this.#turn % choices.length];
    return chosen ?? this.#draw.of(choices);
  }

  // ---- by kind ----

  #source(name: string): Case {
    const dtype = this.#inTurn(dtypes);
    if (name === 'extent') {
      const symbol = { name: 'n', least: 1, bound: 40 };
      const size: Size = this.#draw.of<Size>([
        symbolSize(symbol),
        { constant: 3, terms: [{ symbols: [symbol], times: 2 }] },
      ]);
      const extent = this.#node('extent', [], { size, ...typeAttrs([], 'i32') });
      return this.#case(
        this.#of('mul', extent, this.#input('i32', [{ name: 'n', size: symbolSize(symbol) }], 23)),
        'i32',
        new Map([['n', 23]]),
      );
    }
    if (name === 'iota') {
      const whole = this.#draw.of<DType>(['i32', 'u32', 'f32']);
      return this.#case(this.#node('iota', [], typeAttrs([{ name: 'a', size: this.#draw.of(sizes) }], whole)), whole);
    }
    const axes = this.#axes(3);
    const count = elements(axes);
    if (name === 'input') return this.#case(this.#input(dtype, axes), dtype);
    const values = this.#values(dtype, count);
    if (name === 'const')
      return this.#case(
        this.#node('const', [], { ...typeAttrs(axes, dtype), values: values.map((x) => (Number.isFinite(x) ? x : 1)) }),
        dtype,
      );
    if (name === 'param' || name === 'packed') {
      this.#params.set(
        'w',
        dtype === 'i32' || dtype === 'u32' ? values.map(Math.fround).map((x) => Math.min(x, 2 ** 30)) : values,
      );
      return this.#case(
        this.#node(name, [], { name: 'w', ...(name === 'packed' ? { of: 'w' } : {}), ...typeAttrs(axes, dtype) }),
        dtype,
      );
    }
    this.#states.set('s', values);
    const state = this.#node('state', [], { name: 's', ...typeAttrs(axes, dtype) });
    return this.#case(state, dtype, new Map(), [{ state, value: this.#input(dtype, axes), at: new Map() }]);
  }

  #map(op: MapOp): Case {
    const first = op.name === 'where' ? ['bool' as const] : dtypes;
    const attrs: Attrs = op.name === 'cast' ? { to: this.#draw.of(dtypes) } : {};
    const rest = (dtype: DType): readonly DType[] => Array.from({ length: op.arity - 1 }, () => dtype);
    const accepted = first
      .flatMap((x) => dtypes.map((y) => [x, ...rest(y)]))
      .filter(
        (list, i, all) =>
          !(op.dtype(list, attrs) instanceof Refusal) && all.findIndex((other) => other.join() === list.join()) === i,
      );
    const types = this.#inTurn(accepted);
    const axes = this.#axes(4);
    const wide = this.#draw.below(op.arity);
    const domain = op.sample;
    const operands = types.map((dtype, i) =>
      this.#input(
        dtype,
        i === wide ? axes : this.#some(axes),
        undefined,
        op.name === 'cast' ? this.#castDomain(dtype, attrs) : domain,
      ),
    );
    return this.#case(this.#node(op.name, operands, attrs), types.at(-1) ?? 'f32');
  }

  /** What can be cast to the target without leaving its range, where that is undefined or wraps. */
  #castDomain(from: DType, attrs: Attrs): readonly [number, number] {
    return attrs['to'] === 'u32' && isFloat(from) ? [0, 300] : [-300, 300];
  }

  #reduction(): Case {
    const dtype = this.#inTurn(dtypes.filter((x) => x !== 'bool'));
    const axes = this.#axes(4, 1);
    const all = axes.map((axis) => axis.name);
    const some = all.filter(() => this.#draw.chance(2));
    const reduced = some.length === 0 ? [this.#draw.of(all)] : some;
    const legal =
      this.#op.name === 'sum'
        ? axes
        : axes.map((axis) => (reduced.includes(axis.name) && axis.size === 0 ? { name: axis.name, size: 1 } : axis));
    return this.#case(this.#node(this.#op.name, [this.#input(dtype, legal)], { axes: reduced }), dtype);
  }

  #view(op: ViewOp): Case {
    const dtype = this.#inTurn(dtypes);
    const axes = this.#axes(op.name === 'window' ? 2 : 3, 1).map((a) =>
      op.name === 'window' && a.size === 0 ? { name: a.name, size: 1 } : a,
    );
    const axis = this.#draw.of(axes);
    const size = Number(axis.size);
    return this.#case(
      this.#node(op.name, [this.#input(dtype, axes)], this.#viewAttrs(op.name, axes, axis.name, size, dtype)),
      dtype,
    );
  }

  #viewAttrs(name: string, axes: readonly Axis[], axis: string, size: number, dtype: DType): Attrs {
    const draw = this.#draw;
    switch (name) {
      case 'flip':
        return { axis };
      case 'pad':
        return {
          axis,
          before: draw.below(4),
          after: draw.below(6),
          value: isFloat(dtype) ? draw.of([0, -3, 0.5, 1]) : draw.below(2),
        };
      case 'slice': {
        const step = draw.of([1, 2, 3]);
        const start = draw.below(size + 1);
        const most = size === start ? 0 : Math.floor((size - start - 1) / step) + 1;
        return { axis, start, size: most - draw.below(most + 1), step };
      }
      case 'window': {
        const dilation = size > 6 ? draw.of([1, 2, 3]) : 1;
        const width = size === 0 ? 0 : Math.min(draw.of([1, 2, 3]), size);
        return { axis, into: ['p', 'w'], size: Math.max(1, width), stride: draw.of([1, 2, 3]), dilation };
      }
      case 'broadcast': {
        const extra: readonly Axis[] = [
          { name: 'x', size: draw.of([3, 1, 4, 5]) },
          ...(draw.chance(2) ? [{ name: 'z', size: draw.of([2, 4, 1]) }] : []),
        ];
        const merged = [...axes];
        for (const more of extra) merged.splice(draw.below(merged.length + 1), 0, more);
        return { axes: typeAttrs(merged, dtype)['axes'] ?? [] };
      }
      case 'rearrange': {
        const split = axes.map((a): string[] =>
          factorOf(Number(a.size)) > 1 ? [`${a.name}o`, `${a.name}i`] : [a.name],
        );
        const parts = Object.fromEntries(
          axes.flatMap((a) => {
            const f = factorOf(Number(a.size));
            return f > 1
              ? [
                  [`${a.name}o`, Number(a.size) / f],
                  [`${a.name}i`, f],
                ]
              : [[a.name, Number(a.size)]];
          }),
        );
        const names = shuffled(split.flat(), draw);
        const merge: { name: string; parts: string[] }[] = [];
        for (const part of names) {
          const last = merge.at(-1);
          if (last !== undefined && draw.chance(3)) last.parts.push(part);
          else merge.push({ name: draw.chance(3) ? `${part}r` : part, parts: [part] });
        }
        return { split, merge, sizes: parts };
      }
      default:
        throw new Error(`no case is known for the view '${name}': add it here`);
    }
  }

  #join(): Case {
    const dtype = this.#inTurn(dtypes);
    const axes = this.#axes(3, 1);
    const along = this.#draw.of(axes);
    const parts = Array.from({ length: 1 + this.#draw.below(4) }, (_, i) =>
      this.#input(
        dtype,
        axes.map((axis) =>
          axis === along && i > 0 ? { name: axis.name, size: this.#draw.of([1, 4, 3, 7, 8]) } : axis,
        ),
      ),
    );
    return this.#case(this.#node(this.#op.name, parts, { axis: along.name }), dtype);
  }

  #gather(): Case {
    const dtype = this.#inTurn(dtypes);
    const axes = this.#axes(3, 1).map((axis) => (axis.size === 0 ? { name: axis.name, size: 1 } : axis));
    const along = this.#draw.of(axes);
    const shared = axes.filter((axis) => axis !== along && this.#draw.chance(2));
    const index = [...shared, ...(this.#draw.chance(2) ? [{ name: 'q', size: this.#draw.of([3, 4, 1, 9]) }] : [])];
    const positions = this.#draw.of<DType>(['i32', 'u32']);
    // Out of range on both sides: positions are clamped.
    const domain =
      positions === 'i32' ? ([-2, Number(along.size) + 2] as const) : ([0, Number(along.size) + 2] as const);
    return this.#case(
      this.#node(
        this.#op.name,
        [this.#input(dtype, axes), this.#input(positions, shuffled(index, this.#draw), undefined, domain)],
        { axis: along.name },
      ),
      dtype,
    );
  }

  #scatter(): Case {
    const dtype = this.#inTurn<DType>(['f32', 'f16', 'i32', 'u32']);
    const summed = { name: 't', size: this.#draw.of([1, 3, 64, 150]) };
    const kept = this.#draw.chance(2) ? [{ name: 'b', size: this.#draw.of([1, 3, 4]) }] : [];
    const rest = this.#draw.chance(3) ? [] : [{ name: 'd', size: this.#draw.of([1, 5, 8, 33, 64, 130, 300]) }];
    const size = this.#draw.of([1, 3, 4, 17]);
    const positions = this.#draw.of<DType>(['i32', 'u32']);
    const domain = positions === 'i32' ? ([-2, size + 2] as const) : ([0, size + 2] as const);
    const index = shuffled([...kept, summed], this.#draw);
    const out = shuffled([...kept.map((axis) => axis.name), 'r', ...rest.map((axis) => axis.name)], this.#draw);
    return this.#case(
      this.#node(
        this.#op.name,
        [
          this.#input(dtype, shuffled([...index, ...rest], this.#draw)),
          this.#input(positions, index, undefined, domain),
        ],
        { axis: 'r', size, axes: out },
      ),
      dtype,
    );
  }

  #sort(): Case {
    const dtype = this.#inTurn<DType>(['f32', 'f16', 'i32', 'u32']);
    const length = this.#draw.of([1, 2, 7, 32, 33, 64, 100, 300]);
    const axes = shuffled(
      [{ name: 's', size: length }, ...(this.#draw.chance(2) ? [{ name: 'b', size: this.#draw.of([1, 3, 4]) }] : [])],
      this.#draw,
    );
    const size = this.#draw.chance(2) ? length : 1 + this.#draw.below(length);
    // Few different values: ties everywhere.
    const domain = this.#draw.chance(2) ? ([0, 4] as const) : undefined;
    return this.#case(
      this.#node(this.#op.name, [this.#input(dtype, axes, undefined, domain)], {
        axis: 's',
        size,
        descending: this.#draw.chance(2),
      }),
      'i32',
    );
  }

  #contract(): Case {
    const dtype = this.#inTurn<DType>(['f32', 'f16']);
    const some = (names: readonly string[], most: number): readonly Axis[] =>
      names
        .slice(0, this.#draw.below(most + 1))
        .map((name) => ({ name, size: this.#draw.of(sizes.filter((size) => size <= 33)) }));
    const [batch, rows, columns, sum] = [
      some(['b', 'h'], 1),
      some(['m', 'i'], 2),
      some(['n', 'j'], 1),
      some(['k', 'l'], 2),
    ];
    const left = shuffled([...batch, ...rows, ...sum], this.#draw);
    const right = shuffled([...batch, ...columns, ...sum], this.#draw);
    const out = this.#draw.chance(2)
      ? [...batch, ...rows, ...columns]
      : shuffled([...batch, ...rows, ...columns], this.#draw);
    if (Math.max(elements(left), elements(right), elements(out)) > 40_000)
      return new CaseMaker(new Draw([this.#draw.below(1e6)]), this.#op, this.#numbers, this.#turn).make();
    return this.#case(
      this.#node(this.#op.name, [this.#input(dtype, left), this.#input(dtype, right)], {
        axes: out.map((axis) => axis.name),
      }),
      dtype,
    );
  }

  // ---- what cases are made of ----

  #case(
    output: Node,
    dtype: DType,
    symbols: ReadonlyMap<string, number> = new Map(),
    updates: readonly Update[] = [],
  ): Case {
    return {
      graph: { outputs: new Map([['y', output]]), updates },
      dtype,
      feeds: {
        inputs: this.#inputs,
        params: (path) => this.#params.get(path) ?? new Float64Array(0),
        states: this.#states,
        symbols,
      },
    };
  }

  #node(name: string, inputs: readonly Node[], attrs: Attrs): Node {
    const op = opByName(name);
    if (op === undefined) throw new Error(`no op is called ${name}`);
    return this.#builder.make(op, inputs, attrs);
  }

  #of(name: string, ...inputs: readonly Node[]): Node {
    return this.#node(name, inputs, {});
  }

  #input(
    dtype: DType,
    axes: readonly Axis[],
    count = elements(axes),
    domain: readonly [number, number] = [-4, 4],
  ): Node {
    const name = `x${this.#inputs.size}`;
    this.#inputs.set(name, this.#values(dtype, count, domain));
    return this.#node('input', [], { name, ...typeAttrs(axes, dtype) });
  }

  #values(dtype: DType, count: number, [low, high]: readonly [number, number] = [-4, 4]): Float64Array {
    return Float64Array.from({ length: count }, () => {
      const x = this.#random();
      if (dtype === 'bool') return Number(x < 0.5);
      const list = (dtype === 'bf16' ? specials.f16 : specials[dtype]).filter(
        (value) => leftOut.get(this.#op.name)?.some((other) => Object.is(other, value)) !== true,
      );
      if (this.#numbers === 'special' && this.#random() < 0.6) return list[Math.floor(x * list.length)] ?? 0;
      if (isInteger(dtype))
        return Math.floor(
          (dtype === 'u32' ? Math.max(0, low) : low) + x * (high - Math.max(low, dtype === 'u32' ? 0 : low) + 1),
        );
      const value = low + x * (high - low);
      return dtype === 'f16' ? Math.f16round(value) : Math.fround(value);
    });
  }

  #axes(most: number, least = 0): readonly Axis[] {
    const count = Math.max(least, this.#draw.of([2, 1, 3, 0, 4].filter((n) => n <= most)));
    let room = mostElements;
    return ['a', 'b', 'c', 'd'].slice(0, count).map((name) => {
      const size = this.#draw.of(sizes.filter((n) => n <= room));
      room = Math.max(1, Math.floor(room / Math.max(1, size)));
      return { name, size };
    });
  }

  /** Some of the axes, in any order: what is missing broadcasts. */
  #some(axes: readonly Axis[]): readonly Axis[] {
    if (this.#draw.chance(2)) return axes;
    const some = axes.filter(() => this.#draw.chance(2));
    return shuffled(some, this.#draw);
  }
}

function elements(axes: readonly Axis[]): number {
  return axes.reduce((product, axis) => product * Number(axis.size), 1);
}

function factorOf(size: number): number {
  return [4, 3, 2, 5, 13].find((f) => size > f && size % f === 0) ?? 1;
}

function shuffled<T>(list: readonly T[], draw: Draw): readonly T[] {
  const result = [...list];
  if (draw.chance(2)) return result;
  for (let i = result.length - 1; i > 0; i--) {
    const j = draw.below(i + 1);
    const [x, y] = [result[i], result[j]];
    if (x !== undefined && y !== undefined) [result[i], result[j]] = [y, x];
  }
  return result;
}
