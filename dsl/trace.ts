// Running a model once on symbolic tensors: the graph of what it computed.
import {
  addSizes,
  axisOf,
  printAxes,
  printSize,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  symbolSize,
  type Axis,
  type Size,
  type SizeSymbol,
} from './axis/axis.ts';
import { nearestNames, OpabiniaError } from './error.ts';
import { withoutStops } from './gradient/stop-gradient.ts';
import { Builder, roleOf, type Graph, type Node, type Update } from './graph/graph.ts';
import { isInteger, type DType, type SourceOp } from './graph/op.ts';
import { said } from './graph/required.ts';
import { constant, extent, input, iota, state, typeAttrs } from './ops/source.ts';
import { here, withPlaces } from './origin.ts';
import { axisList, oneAxis, ParamReader, sizedAxes, type Params, type ParamSource } from './params.ts';
import type { Keys, Known, One, Sized } from './axis/argument-types.ts';
import type { Distinct } from './axis/pattern-types.ts';
import { refusal, Tensor, widened } from './tensor.ts';

/** What the function given to `trace` works with. Every method throws `OpabiniaError` for bad names, sizes or numbers. */
export interface Trace {
  readonly params: Params;
  /** A tensor given at each run. */
  input<
    S extends string,
    D extends DType = 'f32',
    Z extends Readonly<Record<string, Size>> = Readonly<Record<string, Size>>,
  >(
    name: string,
    axes: S & Distinct<S>,
    sizes: Z & Sized<S, Keys<Z>>,
    dtype?: D,
  ): Tensor<S, D>;
  /** A size that changes from run to run, from `atLeast` (1) to `upTo`. The same name is the same symbol. */
  symbol(name: string, limits: { readonly upTo: number; readonly atLeast?: number }): Size;
  /** A buffer that lives between runs, zero at first. */
  state<
    S extends string,
    D extends DType = 'f32',
    Z extends Readonly<Record<string, Size>> = Readonly<Record<string, Size>>,
  >(
    name: string,
    axes: S & Distinct<S>,
    sizes: Z & Sized<S, Keys<Z>>,
    dtype?: D,
  ): Tensor<S, D>;
  /** Writes `value` into a state at the end of the run, from `start` on along the named axes. */
  update<S extends string, Z extends Readonly<Record<string, Size>> = Readonly<Record<string, Size>>>(
    state: Tensor<S>,
    value: Tensor,
    start?: Z & Known<S, Keys<Z>>,
  ): void;
  /** Numbers known now: row-major, or one for all elements. */
  constant<
    S extends string,
    D extends DType = 'f32',
    Z extends Readonly<Record<string, Size>> = Readonly<Record<string, Size>>,
  >(
    values: number | ArrayLike<number>,
    axes: S & Distinct<S>,
    sizes: Z & Sized<S, Keys<Z>>,
    dtype?: D,
  ): Tensor<S, D>;
  /** The index along its only axis. */
  iota<A extends string>(axis: A & One<A>, size: Size): Tensor<A, 'i32'>;
  /** The value of a size in a run, without axes. */
  extent(size: Size): Tensor<'', 'i32'>;
}

export interface TraceOptions {
  /** What to do about tensors of the checkpoint that nobody read; a list names the prefixes that may stay unread. */
  readonly unread?: 'error' | 'ignore' | readonly string[];
}

/**
 * The graph of a model. `build` runs once, synchronously; its tensors cannot be used afterwards.
 * Throws `OpabiniaError` for whatever does not fit, and for tensors of the checkpoint that nobody read.
 * @example trace(randomParams(1), (t) => ({ y: gelu(t.input('x', 'b d', { b: 2, d: 8 })) }))
 */
export function trace(
  source: ParamSource,
  build: (t: Trace) => Readonly<Record<string, Tensor>>,
  options: TraceOptions = {},
): Graph {
  if (typeof build !== 'function')
    throw new OpabiniaError(`the function that is traced is ${said(build)}`, {
      op: 'trace',
      place: here().place,
      advice: 'give the parameters and a function of them: trace(randomParams(1), (t) => ({ y: … }))',
    });
  const builder = new Builder();
  const reader = new ParamReader(builder, source);
  const run = new Run(builder, reader);
  try {
    const outputs = withPlaces(() => build(run));
    const graph: Graph = { outputs: outputNodes(builder, outputs, run.updates), updates: run.updates };
    checkUnread(reader, options.unread ?? 'error');
    return withoutStops(graph, builder);
  } finally {
    builder.close('the trace of these tensors has ended');
  }
}

function outputNodes(builder: Builder, outputs: unknown, updates: readonly Update[]): ReadonlyMap<string, Node> {
  const refuse = (what: string, advice: string) =>
    new OpabiniaError(what, { op: 'trace', place: here().place, advice });
  if (outputs instanceof Promise)
    throw refuse('the function returned a promise', 'read files before tracing; the function itself is synchronous');
  if (typeof outputs !== 'object' || outputs === null)
    throw refuse('the function returned no outputs', 'return an object of tensors: { y }');
  const nodes = new Map<string, Node>();
  for (const [name, value] of Object.entries(outputs)) {
    if (!(value instanceof Tensor))
      throw refuse(`the output '${name}' is not a tensor`, 'return an object of tensors: { y }');
    if (value.builder !== builder)
      throw refusal(
        'trace',
        `the output '${name}' belongs to another trace`,
        [value],
        'build the whole model inside one trace',
      );
    nodes.set(name, value.node);
  }
  if (nodes.size === 0 && updates.length === 0)
    throw refuse('the function returned no outputs and updated no state', 'return an object of tensors: { y }');
  return nodes;
}

function checkUnread(reader: ParamReader, rule: 'error' | 'ignore' | readonly string[]): void {
  if (rule === 'ignore') return;
  const unread = reader.unread(rule === 'error' ? [] : rule);
  if (unread.length === 0) return;
  const shown = unread
    .slice(0, 8)
    .map((path) => `\n  ${path}`)
    .join('');
  const more = unread.length > 8 ? `\n  … and ${unread.length - 8} more` : '';
  throw new OpabiniaError(
    `${unread.length} tensor${unread.length === 1 ? '' : 's'} of the checkpoint ${unread.length === 1 ? 'was' : 'were'} not read${shown}${more}`,
    {
      op: 'trace',
      place: here().place,
      advice:
        "the model may lack a part; if not, list the prefixes: { unread: ['text_model'] }, or { unread: 'ignore' }",
    },
  );
}

class Run implements Trace {
  readonly params: Params;
  readonly updates: Update[] = [];
  readonly #builder: Builder;
  readonly #symbols = new Map<string, SizeSymbol>();
  readonly #names = new Set<string>();

  constructor(builder: Builder, reader: ParamReader) {
    this.#builder = builder;
    this.params = reader.params('');
  }

  input<S extends string, D extends DType = 'f32'>(
    name: string,
    axes: S,
    sizes: Readonly<Record<string, Size>>,
    dtype?: D,
  ): Tensor<S, D> {
    return this.#named('input', input, name, axes, sizes, dtype);
  }

  state<S extends string, D extends DType = 'f32'>(
    name: string,
    axes: S,
    sizes: Readonly<Record<string, Size>>,
    dtype?: D,
  ): Tensor<S, D> {
    return this.#named('state', state, name, axes, sizes, dtype);
  }

  symbol(name: string, limits: { readonly upTo: number; readonly atLeast?: number }): Size {
    const made: SizeSymbol = { name, least: limits.atLeast ?? 1, bound: limits.upTo };
    axisList('symbol', name);
    const refuse = (what: string, advice?: string) =>
      new OpabiniaError(what, { op: 'symbol', place: here().place, advice });
    if (![made.least, made.bound].every((n) => Number.isInteger(n) && n >= 0) || made.least > made.bound)
      throw refuse(`'${name}' goes from ${made.least} to ${made.bound}`, 'give whole numbers with 0 ≤ atLeast ≤ upTo');
    const known = this.#symbols.get(name);
    if (known !== undefined && (known.least !== made.least || known.bound !== made.bound))
      throw refuse(
        `'${name}' went from ${known.least} to ${known.bound}, and now from ${made.least} to ${made.bound}`,
        'give it one pair of limits, or another name',
      );
    if (known === undefined) this.#symbols.set(name, made);
    // A symbol of one value is a number.
    return made.least === made.bound ? made.bound : symbolSize(known ?? made);
  }

  update(target: Tensor, value: Tensor, start: Readonly<Record<string, Size>> = {}): void {
    const pair = [target, value];
    if (target.builder !== this.#builder || value.builder !== this.#builder)
      throw refusal('update', 'the tensors belong to another trace', pair);
    if (roleOf(target.node) !== 'state')
      throw refusal('update', 'the first tensor is not a state', pair, 'make it with t.state');
    if (target.dtype !== value.dtype)
      throw refusal('update', `dtypes differ: ${target.dtype} and ${value.dtype}`, pair, 'cast the value');
    const stray = Object.keys(start).find((name) => axisOf(target.axes, name) === undefined);
    if (stray !== undefined)
      throw refusal(
        'update',
        `the state ${printAxes(target.axes)} has no axis '${stray}'`,
        pair,
        `nearest is '${
          nearestNames(
            stray,
            target.axes.map((a) => a.name),
          )[0] ?? ''
        }'`,
      );
    if (target.axes.length !== value.axes.length || target.axes.some((axis, i) => axis.name !== value.axes[i]?.name))
      throw refusal(
        'update',
        `the axes ${printAxes(target.axes)} and ${printAxes(value.axes)} differ`,
        pair,
        'rearrange the value',
      );
    target.axes.forEach((axis, i) => this.#checkRange(axis, value.axes[i]?.size ?? 0, start[axis.name], pair));
    this.updates.push({ state: target.node, value: value.node, at: new Map(Object.entries(start)) });
  }

  constant<S extends string, D extends DType = 'f32'>(
    values: number | ArrayLike<number>,
    text: S,
    sizes: Readonly<Record<string, Size>>,
    dtype?: D,
  ): Tensor<S, D> {
    const type = dtype ?? 'f32';
    const axes = sizedAxes('constant', axisList('constant', text), sizes);
    if (typeof values === 'number') {
      checkValues([values], type);
      return widened('constant', this.#constant<string, D>([], type, Float64Array.of(values)), axes);
    }
    const count = axes.reduce<number>((product, axis) => {
      if (typeof axis.size !== 'number')
        throw new OpabiniaError(`axis '${axis.name}' has the symbolic size ${printSize(axis.size)}`, {
          op: 'constant',
          place: here().place,
          advice: 'numbers need axes of fixed sizes; one number may fill any',
        });
      return product * axis.size;
    }, 1);
    if (count !== values.length)
      throw new OpabiniaError(`${printAxes(axes)} has ${count} elements, and ${values.length} numbers are given`, {
        op: 'constant',
        place: here().place,
      });
    checkValues(values, type);
    return this.#constant<S, D>(axes, type, Float64Array.from(values));
  }

  iota<A extends string>(axis: A, size: Size): Tensor<A, 'i32'> {
    const own = oneAxis('iota', axis, size);
    return new Tensor<A, 'i32'>(this.#builder, this.#builder.make(iota, [], typeAttrs([own], 'i32'), here()));
  }

  extent(size: Size): Tensor<'', 'i32'> {
    if (typeof size === 'number') {
      checkValues([size], 'i32');
      return this.#constant<'', 'i32'>([], 'i32', Float64Array.of(size));
    }
    return new Tensor<'', 'i32'>(
      this.#builder,
      this.#builder.make(extent, [], { ...typeAttrs([], 'i32'), size }, here()),
    );
  }

  #constant<S extends string, D extends DType>(
    axes: readonly Axis[],
    dtype: DType,
    values: Float64Array,
  ): Tensor<S, D> {
    return new Tensor<S, D>(
      this.#builder,
      this.#builder.make(constant, [], { ...typeAttrs(axes, dtype), values }, here()),
    );
  }

  #named<S extends string, D extends DType>(
    op: string,
    record: SourceOp,
    name: string,
    text: string,
    sizes: Readonly<Record<string, Size>>,
    dtype: DType = 'f32',
  ): Tensor<S, D> {
    const key = `${op} ${name}`;
    if (this.#names.has(key))
      throw new OpabiniaError(`there are two of the name '${name}'`, {
        op,
        place: here().place,
        advice: 'keep the tensor in a variable, or give the second another name',
      });
    this.#names.add(key);
    const axes = sizedAxes(op, axisList(op, text), sizes);
    return new Tensor<S, D>(this.#builder, this.#builder.make(record, [], { ...typeAttrs(axes, dtype), name }, here()));
  }

  #checkRange(axis: Axis, size: Size, start: Size | undefined, pair: readonly Tensor[]): void {
    if (start === undefined && sizesEqual(axis.size, size)) return;
    const end = addSizes(start ?? 0, size);
    const isWhole = typeof start !== 'number' || Number.isInteger(start);
    if (isWhole && sizeLeast(start ?? 0) >= 0 && sizeLeast(subtractSizes(axis.size, end)) >= 0) return;
    throw refusal(
      'update',
      `${printSize(size)} elements from ${printSize(start ?? 0)} do not fit axis '${axis.name}' of size ${printSize(axis.size)}`,
      pair,
      'make the state larger, or bound the symbols',
    );
  }
}

function checkValues(values: ArrayLike<number>, dtype: DType): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? NaN;
    const at = values.length === 1 ? '' : ` at position ${i}`;
    const refuse = (what: string, advice?: string) =>
      new OpabiniaError(what, { op: 'constant', place: here().place, advice });
    if (Number.isNaN(value))
      throw refuse(
        `the constant is NaN${at}`,
        'look for 0/0, or an undefined that was computed with, in the code that made it',
      );
    if (isInteger(dtype) && !Number.isInteger(value))
      throw refuse(`${value}${at} is not a number of ${dtype}`, "give the dtype: 'f32'");
    if (dtype === 'bool' && value !== 0 && value !== 1) throw refuse(`${value}${at} is not a bool`, 'use 0 or 1');
  }
}
