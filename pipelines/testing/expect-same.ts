// One graph on the device and on the interpreter, held together element by element.
import { OpabiniaError } from '../../dsl/error.ts';
import { toArray } from '../../dsl/graph/elements.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { requireGraph } from '../../dsl/graph/required.ts';
import { sortedSymbols } from '../../dsl/graph/symbols.ts';
import { randomParams, trace, type ParamSource, type Trace } from '../../dsl/index.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { checkInputs } from '../../runtime/program/inputs.ts';
import type { Inputs } from '../../runtime/program/program.ts';
import { load } from '../run/load.ts';
import type { KnownAxis } from '../../runtime/reference/values.ts';
import { inputTensors } from '../run/interpreter.ts';
import type { Bounded } from './bounded.ts';
import { evaluateWithError, isWithin } from './forward-error.ts';
import { randomInputs } from './random-inputs.ts';
import { roundingNoise } from './rounding-noise.ts';
import { plural } from '../../dsl/text/plural.ts';

/** A graph, or what makes one: a function as `trace` takes it. */
export type Subject = Graph | ((t: Trace) => ReturnType<Parameters<typeof trace>[1]>);

export interface SameOptions {
  /** What the graph was traced with; by default random parameters of seed 1. */
  readonly params?: ParamSource | undefined;
  /** By default the best device of this machine, which is closed again. */
  readonly device?: Device | undefined;
  readonly symbols?: Readonly<Record<string, number>> | undefined;
  /** Of the inputs that are not given. */
  readonly seed?: number | undefined;
}

export interface Sameness {
  /** Elements that were compared, of all outputs. */
  readonly elements: number;
  /** Elements of which nothing can be said: they may overflow, or hang on a comparison of numbers that are rounded. */
  readonly unbounded: number;
  /** The largest error found, as a share of what is allowed there: at most 1. */
  readonly worst: number;
}

/**
 * Runs a graph on the device and on the reference interpreter, and throws `OpabiniaError` at the first element that is further apart than
 * the dtypes and the lengths of the sums in this graph allow: at worst, and sixteen times what moving every rounded value at random does
 * to the output, or if no element can be compared at all. Inputs that are not given are drawn.
 *
 * @example await expectSame((t) => ({ y: gelu(t.input('x', 'b c', { b: 2, c: 3 })) }));
 */
export async function expectSame(subject: Subject, inputs: Inputs = {}, options: SameOptions = {}): Promise<Sameness> {
  const params = options.params ?? randomParams(1);
  const graph = typeof subject === 'function' ? trace(params, subject) : subject;
  requireGraph('expectSame', graph);
  const all = randomInputs(graph, inputs, options.seed);
  const exact = exactly(graph, params, all, options.symbols);
  const device = options.device ?? (await openDevice());
  try {
    const program = await load(graph, device, params);
    try {
      const got = await program.run(all, options.symbols === undefined ? {} : { symbols: options.symbols });
      return compareAll(exact, (name) => got[name]?.data ?? [], 1);
    } finally {
      program.dispose();
    }
  } finally {
    if (options.device === undefined) device.close();
  }
}

/** Exact outputs of a graph, each with how far a correct device may be from them. */
export function exactly(
  graph: Graph,
  params: ParamSource,
  inputs: Inputs,
  symbols: Readonly<Record<string, number>> | undefined,
): ReadonlyMap<string, Bounded> {
  const checked = checkInputs(inputTensors(graph), sortedSymbols(graph, 'run'), inputs, symbols);
  const feeds = {
    // The device gets inputs in their dtype, and so does the judge.
    inputs: new Map(checked.given.map(({ tensor, data }) => [tensor.name, toArray(data, tensor.dtype)])),
    params: (path: string, shape: number[]) => params.read(path, shape),
    symbols: checked.symbols,
  };
  const { outputs } = evaluateWithError(graph, feeds);
  const noise = roundingNoise(graph, feeds);
  return new Map(
    [...outputs].map(([name, values]): [string, Bounded] => {
      const most = noise?.get(name);
      return [name, most === undefined ? values : { ...values, error: values.error.map((e) => Math.min(e, most)) }];
    }),
  );
}

/** Whose numbers are compared, for the error. */
export interface Compared {
  readonly op: string;
  /** Where a number is that does not fit, and what the other is. */
  readonly where: string;
  readonly other: string;
  readonly advice: string;
}

export const onDevice: Compared = {
  op: 'expectSame',
  where: 'on the device',
  other: 'is exact',
  advice: 'if the model is right, this is a fault of the compiler: please report the graph (print(graph))',
};

/** Throws `OpabiniaError` at the first element outside of `factor` times its bound. */
export function compareAll(
  exact: ReadonlyMap<string, Bounded>,
  got: (name: string) => ArrayLike<number>,
  factor: number,
  compared: Compared = onDevice,
): Sameness {
  const { op } = compared;
  let [elements, unbounded, worst] = [0, 0, 0];
  for (const [name, { axes, data, error }] of exact) {
    const values = got(name);
    if (values.length !== data.length)
      throw new OpabiniaError(
        `output '${name}' has ${plural(values.length, 'element')}, and ${data.length} are expected`,
        { op },
      );
    const outside: number[] = [];
    for (let i = 0; i < data.length; i++) {
      const [value, wanted, bound] = [values[i] ?? NaN, data[i] ?? NaN, factor * (error[i] ?? 0)];
      if (!isWithin(value, wanted, bound)) outside.push(i);
      if (bound === Infinity) unbounded++;
      else elements++;
      if (bound > 0 && Number.isFinite(bound) && Number.isFinite(wanted))
        worst = Math.max(worst, Math.abs(value - wanted) / bound);
    }
    const [first] = outside;
    if (first === undefined) continue;
    const [value, wanted, bound] = [values[first] ?? NaN, data[first] ?? NaN, factor * (error[first] ?? 0)];
    const place = data.length === 1 ? '' : ` (${placeOf(axes, first)})`;
    const all = data.length === 1 ? '' : `; so it is with ${outside.length} of ${data.length} elements`;
    throw new OpabiniaError(
      `element ${first} of output '${name}'${place} is ${value} ${compared.where}, and ${wanted} ${compared.other}: ${Math.abs(value - wanted)} apart, where ${bound} is allowed${all}`,
      { op, advice: compared.advice },
    );
  }
  if (elements === 0 && unbounded > 0)
    throw new OpabiniaError(
      `no element of ${unbounded} can be compared: each may overflow, or hangs on a choice among rounded numbers`,
      {
        op,
        advice: 'give outputs that come before the choice too, or inputs that lie further apart',
      },
    );
  return { elements, unbounded, worst };
}

/** The position of an element along each axis. */
function placeOf(axes: readonly KnownAxis[], element: number): string {
  let rest = element;
  return axes
    .toReversed()
    .map(({ name, size }) => {
      const at = rest % size;
      rest = Math.floor(rest / size);
      return `${name} ${at}`;
    })
    .toReversed()
    .join(', ');
}
