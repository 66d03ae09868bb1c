// Valid random graphs with feeds, for property tests: a list of numbers is read as a list of steps, so that shrinking drops steps and picks simpler ones.
import fc from 'fast-check';
import {
  evaluateSize,
  multiplySizes,
  sizeBound,
  sizeLeast,
  symbolSize,
  type Axis,
  type Size,
  type SizeSymbol,
} from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { withoutStops } from '../../dsl/gradient/stop-gradient.ts';
import { Builder, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { isFloat, type Attrs, type DType, type Op } from '../../dsl/graph/op.ts';
import { opByName } from '../../dsl/ops/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import { print } from '../../dsl/text/print.ts';
import { evaluateNodes, type Values } from '../../runtime/reference/reference.ts';
import { numbersAt } from './parameter-numbers.ts';
import { steps as allSteps, type Step } from './generate-steps.ts';

export interface GraphOptions {
  /** Dtypes of leaves; the default is all that kernels store: f32 f16 i32 u32 bool. */
  readonly dtypes?: readonly DType[];
  /** Symbolic sizes in about a third of the graphs (default true). */
  readonly symbols?: boolean;
  /** States and updates (default true). */
  readonly updates?: boolean;
  readonly maxNodes?: number;
  /** The most elements of any tensor, at the bounds of the symbols. */
  readonly maxElements?: number;
  /** Sizes of axes; the default has no multiples of four. */
  readonly sizes?: readonly number[];
  /** What graphs are made of; the default is everything. */
  readonly steps?: readonly Step[];
  /** Tensors without elements (default false). */
  readonly empty?: boolean;
  /** Names of inputs, parameters, outputs and paths: plain words, or quotes, newlines, keywords, emoji. */
  readonly names?: 'plain' | 'hostile';
}

export interface GeneratedFeeds {
  readonly inputs: ReadonlyMap<string, Float64Array>;
  readonly params: (path: string) => Float64Array | Uint32Array;
  readonly states: ReadonlyMap<string, Float64Array>;
  readonly symbols: ReadonlyMap<string, number>;
}

export interface Generated {
  readonly graph: Graph;
  /** Values that each dtype holds exactly, for one run with these symbols. */
  readonly feeds: GeneratedFeeds;
}

/**
 * Graphs of 3 to `maxNodes` nodes over all ops. Outputs are finite and moderate; functions with jumps (floor, comparisons, casts to
 * whole numbers) are only applied to values that no rounding has touched, so that a correct compiler agrees with the interpreter.
 */
export function graphArbitrary(options: GraphOptions = {}): fc.Arbitrary<Generated> {
  const number = fc.noBias(fc.nat({ max: 1_000_003 }));
  const step = fc.array(number, { minLength: 16, maxLength: 16, size: 'max' });
  return fc
    .record({ setting: step, steps: fc.array(step, { minLength: 1, maxLength: 12, size: 'max' }) })
    .map((recipe) => {
      const made = new Making(new Draw(recipe.setting), options);
      for (const numbers of recipe.steps) made.step(new Draw(numbers));
      return made.finish();
    });
}

/** Numbers read one after another; every choice tends to its first alternative when the numbers shrink to 0. */
export class Draw {
  readonly #numbers: readonly number[];
  #at = 0;
  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }
  below(count: number): number {
    const value = this.#numbers[this.#at++ % Math.max(1, this.#numbers.length)] ?? 0;
    return count <= 1
      ? 0
      : Math.floor(value / (1 + Math.floor((this.#at - 1) / Math.max(1, this.#numbers.length)))) % count;
  }
  of<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new Error('nothing to choose from');
    return choice;
  }
  chance(oneIn: number): boolean {
    return this.below(oneIn) === oneIn - 1;
  }
}

/** A tensor so far, with its values in this run and whether every correct implementation gives exactly these. */
export interface Made {
  readonly node: Node;
  readonly values: Values;
  readonly exact: boolean;
}

/** 1, primes, powers of two ± 1: none is a multiple of a tile. */
const sizes = [3, 2, 1, 5, 7, 9, 13, 15, 17, 31, 33, 63, 65, 127, 129, 257] as const;
const plainNames = ['x', 'y', 'layers.0.weight', 'layers.1.bias', 'tokens', 'mm_projector'] as const;
const hostileNames = [
  'a "quoted" name',
  'two\nlines\r\ttab',
  'naïve 😀 ',
  '',
  'return',
  '%0',
  '; x # y',
  'a\\',
  '0.weight',
  '\ud800',
  '__proto__',
  'NaN',
] as const;
/** Float results beyond this are dropped: rounding errors of f16 must stay small beside the values. */
const limits: Record<DType, number> = { f32: 1e4, f16: 500, bf16: 500, i32: Infinity, u32: Infinity, bool: 1 };
export class Making {
  readonly builder = new Builder();
  readonly options: GraphOptions;
  readonly made: Made[] = [];
  readonly pool: readonly Axis[];
  readonly symbols = new Map<string, number>();
  readonly #inputs = new Map<string, Float64Array>();
  readonly #params = new Map<string, Float64Array>();
  readonly #states = new Map<string, Float64Array>();
  readonly #updates: Update[] = [];
  /** In [0, 1). */
  readonly random: () => number;
  readonly #setting: Draw;
  #count = 0;
  #names = 0;

  constructor(setting: Draw, options: GraphOptions) {
    this.options = options;
    this.#setting = setting;
    this.random = randomNumbers(setting.below(1e6));
    const symbolic =
      options.symbols !== false && setting.chance(3) ? [this.#symbol('n', setting), this.#symbol('m', setting)] : [];
    this.pool = ['a', 'b', 'c', 'd', 'e'].map((name, i): Axis => ({
      name,
      size: symbolic[i] ?? setting.of(options.sizes ?? sizes),
    }));
  }

  #symbol(name: string, draw: Draw): Size {
    const symbol: SizeSymbol = { name, least: draw.below(2) + 1, bound: draw.of([7, 9, 33]) };
    this.symbols.set(name, symbol.least + draw.below(symbol.bound - symbol.least + 1));
    const plain = symbolSize(symbol);
    return draw.of<Size>([plain, { ...plain, constant: 1 }, multiplySizes(2, plain)]);
  }

  get maxElements(): number {
    return this.options.maxElements ?? 4096;
  }

  /** One step; undone when it makes too many nodes or numbers that are not finite. */
  step(draw: Draw): void {
    const before = { made: this.made.length, count: this.#count, updates: this.#updates.length };
    const steps = this.options.steps ?? allSteps;
    const first = draw.below(steps.length);
    for (const step of [0, 7, 13].map((further) => steps[(first + further) % steps.length])) {
      if (step?.(this, draw) !== undefined && this.#count <= (this.options.maxNodes ?? 12)) return;
      this.made.length = before.made;
      this.#count = before.count;
      this.#updates.length = before.updates;
    }
  }

  finish(): Generated {
    if (this.made.length === 0) this.fresh(this.#setting, 'f32', this.axes(this.#setting));
    while (this.#count < 3) {
      const last = this.made.at(-1);
      if (last === undefined || this.make(last.node.type.dtype === 'bool' ? 'not' : 'neg', [last]) === undefined) break;
    }
    const used = new Set(this.made.flatMap((value) => value.node.inputs));
    for (const update of this.#updates) used.add(update.value).add(update.state);
    const ends = this.made.filter(
      (value) => !used.has(value.node) || (value.node.op.kind !== 'source' && this.#setting.chance(8)),
    );
    const outputs = new Map<string, Node>();
    for (const [i, value] of ends.entries())
      outputs.set(
        this.options.names === 'hostile'
          ? `${hostileNames[i % hostileNames.length] ?? ''}${i < hostileNames.length ? '' : i}`
          : `y${i}`,
        value.node,
      );
    const graph = withoutStops({ outputs, updates: this.#updates }, this.builder);
    // What an undone step has read stays out of the feeds.
    const kept = new Set(
      order(graph).flatMap((node) =>
        typeof node.attrs['name'] === 'string' ? [`${node.op.name} ${node.attrs['name']}`] : [],
      ),
    );
    const only = (kind: string, given: ReadonlyMap<string, Float64Array>) =>
      new Map([...given].filter(([name]) => kept.has(`${kind} ${name}`)));
    const params = new Map([...only('param', this.#params), ...only('packed', this.#params)]);
    const generated: Generated = {
      graph,
      feeds: {
        inputs: only('input', this.#inputs),
        params: (path) => numbersAt(params, path),
        states: only('state', this.#states),
        symbols: this.symbols,
      },
    };
    Object.defineProperty(generated, fc.toStringMethod, {
      value: () => `\n${print(graph)}with ${JSON.stringify(Object.fromEntries(this.symbols))}`,
      enumerable: false,
    });
    return generated;
  }

  // ---- what steps are made of ----

  /** Adds a node; undefined when the shape rule refuses it, it is too large, or its values are not moderate. */
  make(name: string, operands: readonly Made[], attrs: Attrs = {}): Made | undefined {
    const op = record(name);
    let node: Node;
    try {
      node = this.builder.make(
        op,
        operands.map((operand) => operand.node),
        attrs,
        { path: this.#path(operands), place: undefined },
      );
    } catch (error) {
      if (error instanceof OpabiniaError) return undefined;
      throw error;
    }
    return this.#add(node, operands);
  }

  #add(node: Node, operands: readonly Made[]): Made | undefined {
    const known = this.made.find((value) => value.node === node);
    if (known !== undefined) return known;
    const axes = node.type.axes;
    if (
      axes.reduce((product, axis) => product * sizeBound(axis.size), 1) > this.maxElements ||
      axes.some((axis) => sizeLeast(axis.size) < (this.options.empty === true ? 0 : 1))
    )
      return undefined;
    const feeds = {
      inputs: this.#inputs,
      params: (path: string) => numbersAt(this.#params, path),
      states: this.#states,
      symbols: this.symbols,
    };
    const values = this.#evaluate(node, feeds);
    if (values === undefined || values.data.some((x) => !(Math.abs(x) <= limits[node.type.dtype]))) return undefined;
    const moves =
      node.op.kind === 'source' ||
      node.op.kind === 'view' ||
      node.op.kind === 'join' ||
      node.op.kind === 'gather' ||
      ((node.op.kind === 'map' || node.op.kind === 'reduce') && node.op.rounding === 0);
    const small =
      node.op.kind === 'map' &&
      node.op.converts &&
      operands.every((operand) => !isFloat(operand.node.type.dtype)) &&
      values.data.every((x) => Math.abs(x) <= 256);
    const exact = !isFloat(node.type.dtype) || ((moves || small) && operands.every((operand) => operand.exact));
    const value: Made = { node, values, exact };
    this.made.push(value);
    this.#count++;
    return value;
  }

  /** Undefined where the interpreter refuses: nothing can be gathered from an axis that is empty in this run. */
  #evaluate(node: Node, feeds: Parameters<typeof evaluateNodes>[1]): Values | undefined {
    try {
      return evaluateNodes([node], feeds, { precision: 'f64' }).get(node);
    } catch (error) {
      if (error instanceof OpabiniaError) return undefined;
      throw error;
    }
  }

  #path(operands: readonly Made[]): string {
    const named = operands.find((operand) => operand.node.op.name === 'param')?.node.attrs['name'];
    return typeof named === 'string'
      ? named
      : (operands.map((operand) => operand.node.origin.path).find((path) => path !== '') ?? '');
  }

  /** A new leaf; a constant only where its values can be listed. */
  fresh(draw: Draw, dtype: DType, axes: readonly Axis[]): Made | undefined {
    const count = axes.reduce((product, axis) => product * evaluateSize(axis.size, this.symbols), 1);
    if (axes.reduce((product, axis) => product * sizeBound(axis.size), 1) > this.maxElements) return undefined;
    const fixed = axes.every((axis) => typeof axis.size === 'number');
    const kind = draw.of(['input', ...(fixed ? ['param', 'packed'] : []), ...(fixed && count <= 64 ? ['const'] : [])]);
    const numbers = this.numbers(count, dtype);
    if (kind === 'const') return this.make('const', [], { ...typeAttrs(axes, dtype), values: numbers });
    return this.leaf(kind, draw, dtype, axes, numbers);
  }

  leaf(kind: string, draw: Draw, dtype: DType, axes: readonly Axis[], numbers: Float64Array): Made | undefined {
    const given = kind === 'input' ? this.#inputs : kind === 'param' || kind === 'packed' ? this.#params : this.#states;
    const base = draw.of<string>(this.options.names === 'hostile' ? hostileNames : plainNames);
    const name = given.has(base) ? `${base}${given.size}` : base;
    if (given.has(name)) return undefined;
    given.set(name, numbers);
    return this.make(kind, [], { name, ...(kind === 'packed' ? { of: base } : {}), ...typeAttrs(axes, dtype) });
  }

  update(update: Update): void {
    this.#updates.push(update);
  }

  /** A node that functions of the DSL made with this builder; undefined as for `make`. */
  adopt(node: Node): Made | undefined {
    const made = this.#add(node, []);
    if (made === undefined) return undefined;
    const inexact = { ...made, exact: !isFloat(node.type.dtype) && made.exact };
    this.made[this.made.indexOf(made)] = inexact;
    return inexact;
  }

  /** The numbers of a parameter. */
  give(path: string, numbers: Float64Array): void {
    this.#params.set(path, numbers);
  }

  /** A number that no other name has. */
  unique(): number {
    return ++this.#names;
  }

  /** Elements in this run, or at the bounds. */
  elements(axes: readonly Axis[], atBounds = false): number {
    const size = (axis: Axis): number => (atBounds ? sizeBound(axis.size) : evaluateSize(axis.size, this.symbols));
    return axes.reduce((product, axis) => product * size(axis), 1);
  }

  readonly isUpdated = (state: Node): boolean => this.#updates.some((update) => update.state === state);

  numbers(count: number, dtype: DType): Float64Array {
    return Float64Array.from({ length: count }, () => {
      const x = this.random();
      if (dtype === 'bool') return Number(x < 0.5);
      if (dtype === 'u32') return Math.floor(x * 10);
      if (dtype === 'i32') return Math.floor(x * 19) - 9;
      // 16-bit floats hold multiples of 1/64 below 2 exactly.
      return dtype === 'f32' ? Math.fround(x * 4 - 2) : Math.round(x * 256 - 128) / 64;
    });
  }

  dtype(draw: Draw): DType {
    return draw.of(this.options.dtypes ?? ['f32', 'f16', 'i32', 'u32', 'bool']);
  }

  floatDType(draw: Draw): DType {
    const floats = (this.options.dtypes ?? ['f32', 'f16']).filter(isFloat);
    return floats.length === 0 ? 'f32' : draw.of(floats);
  }

  /** Up to `most` axes of the pool that fit the element limit together; now and then none. */
  axes(draw: Draw, most = 4): readonly Axis[] {
    const wanted = draw.of([2, 3, 1, 4, 3, 2, 0]);
    const axes: Axis[] = [];
    let room = this.maxElements;
    for (let tries = 0; axes.length < Math.min(wanted, most) && tries < 6; tries++) {
      const axis = draw.of(this.pool);
      if (axes.includes(axis) || sizeBound(axis.size) > room) continue;
      room = Math.floor(room / sizeBound(axis.size));
      axes.push(axis);
    }
    return axes;
  }

  /** A tensor so far that fits, the latest first; a new one when none does. */
  pick(draw: Draw, fits: (value: Made) => boolean, otherwise: () => Made | undefined): Made | undefined {
    const fitting = this.made.filter(fits).toReversed();
    const choice = draw.below(fitting.length + (draw.chance(4) ? 1 : 0));
    return fitting[choice] ?? otherwise();
  }
}

export function record(name: string): Op {
  const op = opByName(name);
  if (op === undefined) throw new Error(`no op is called ${name}`);
  return op;
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word = (word + Math.imul(word ^ (word >>> 7), word | 61)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296;
  };
}
