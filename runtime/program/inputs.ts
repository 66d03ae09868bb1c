// What a run is given, checked against what the program or the graph takes, before anything is written or computed.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import type { PlanSymbol, PlanTensor } from '../../compiler/plan.ts';
import { elementCount, printPlanAxes, resolveSymbols, type Symbols } from './formula.ts';
import { checkCount, isNumbers, refusal, type Numbers } from './numbers.ts';

/** Row-major values; with `sizes` by axis where symbols are to be read off them. */
export type Input = Numbers | { readonly data: Numbers; readonly sizes: Readonly<Record<string, number>> };
export type Inputs = Readonly<Record<string, Input>>;

/** An input that a run takes. */
export type InputTensor = Pick<PlanTensor, 'name' | 'dtype' | 'axes'>;

export interface GivenInput<T extends InputTensor> {
  readonly tensor: T;
  readonly data: Numbers;
}

/**
 * Every input with its values, and the value of every symbol. Throws `OpabiniaError` for an input that is missing, unknown, of another
 * dtype or of another number of elements.
 */
export function checkInputs<T extends InputTensor>(
  tensors: readonly T[],
  symbols: readonly PlanSymbol[],
  inputs: Inputs,
  known: Readonly<Record<string, number>> = {},
): { readonly symbols: Symbols; readonly given: readonly GivenInput<T>[] } {
  // From JavaScript anything gets here.
  if (typeof inputs !== 'object' || (inputs as unknown) === null)
    throw new OpabiniaError(`a run takes its inputs by name, and got ${inputs === null ? 'null' : typeof inputs}`, {
      op: 'run',
      advice: tensors.length === 0 ? 'give {}' : `give { ${tensors.map((tensor) => `${tensor.name}: …`).join(', ')} }`,
    });
  const given = tensors.map((tensor) => ({ tensor, ...valuesOf(tensor, inputs) }));
  for (const name of Object.keys(inputs)) named(name, tensors, 'input');
  const resolved = resolveSymbols(
    symbols,
    known,
    given.map(({ tensor, data, sizes }) => ({ tensor, sizes, elements: data.length })),
  );
  for (const { tensor, data } of given)
    checkCount(
      `input '${tensor.name}'`,
      printPlanAxes(tensor.axes, resolved),
      elementCount(tensor.axes, resolved),
      data.length,
    );
  return { symbols: resolved, given };
}

function valuesOf(
  tensor: InputTensor,
  inputs: Inputs,
): { readonly data: Numbers; readonly sizes: Readonly<Record<string, number>> | undefined } {
  const label = `input '${tensor.name}' ${printPlanAxes(tensor.axes, new Map())}`;
  const input = Object.hasOwn(inputs, tensor.name) ? inputs[tensor.name] : undefined;
  // From JavaScript a null gets here too.
  if (input === undefined || (input as unknown) === null) {
    const near = nearestNames(tensor.name, Object.keys(inputs));
    throw new OpabiniaError(`${label} ${tensor.dtype} is not given`, {
      op: 'run',
      advice: near.length === 0 ? undefined : `given are ${near.map((name) => `'${name}'`).join(', ')}`,
    });
  }
  if (typeof input !== 'object')
    throw new OpabiniaError(`${label} is a ${typeof input}`, { op: 'run', advice: 'give an array of its values' });
  const { data, sizes } = isNumbers(input) ? { data: input, sizes: undefined } : input;
  const why = refusal(data, tensor.dtype);
  if (why !== undefined) throw new OpabiniaError(`${label} ${why}`, { op: 'run' });
  const unknown = Object.keys(sizes ?? {}).find((name) => !tensor.axes.some((axis) => axis.name === name));
  if (unknown !== undefined) throw new OpabiniaError(`${label} has no axis '${unknown}'`, { op: 'run' });
  return { data, sizes };
}

/** The tensors of these names, each once, or all. Throws `OpabiniaError` for what is no list of names, and for a name that no tensor has. */
export function chosen<T extends { readonly name: string }>(
  names: readonly string[] | undefined,
  tensors: readonly T[],
  what: string,
): readonly T[] {
  if (names === undefined) return tensors;
  if (!Array.isArray(names))
    throw new OpabiniaError(`${what}s are chosen by a list of names, and got ${typeof names}`, {
      op: 'run',
      advice: `give { ${what}s: ['${tensors[0]?.name ?? ''}'] }`,
    });
  return [...new Set(names)].map((name) => named(name, tensors, what));
}

/** The tensor of this name. Throws `OpabiniaError` with the nearest names. */
export function named<T extends { readonly name: string }>(name: string, tensors: readonly T[], what: string): T {
  const found = tensors.find((tensor) => tensor.name === name);
  if (found !== undefined) return found;
  const near = nearestNames(
    name,
    tensors.map((tensor) => tensor.name),
  ).map((other) => `'${other}'`);
  throw new OpabiniaError(`there is no ${what} '${name}'`, {
    op: 'run',
    advice: near.length === 0 ? `this program has no ${what}s` : near.join(', '),
  });
}
