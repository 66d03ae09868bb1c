// Sizes of one run: evaluates a plan's formulas and finds the value of each symbol from the sizes that the user's inputs have.
import type { Size } from '../../dsl/axis/axis.ts';
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import type { Formula, PlanAxis, PlanSymbol, PlanTensor } from '../../compiler/plan.ts';

export type Symbols = ReadonlyMap<string, number>;

export function evaluateFormula(formula: Formula, symbols: Symbols): number {
  if (typeof formula === 'number') return formula;
  if ('symbol' in formula) {
    const value = symbols.get(formula.symbol);
    if (value === undefined)
      throw new OpabiniaError(`no value was given for the symbol '${formula.symbol}'`, { op: 'run' });
    return value;
  }
  if ('sum' in formula) return formula.sum.reduce((total: number, part) => total + evaluateFormula(part, symbols), 0);
  if ('product' in formula)
    return formula.product.reduce((total: number, part) => total * evaluateFormula(part, symbols), 1);
  return Math.ceil(evaluateFormula(formula.ceil, symbols) / formula.by);
}

/** A size of the graph as a formula of a plan. */
export function sizeFormula(size: Size): Formula {
  if (typeof size === 'number') return size;
  return {
    sum: [
      size.constant,
      ...size.terms.map(({ symbols, times }) => ({
        product: [times, ...symbols.map((symbol) => ({ symbol: symbol.name }))],
      })),
    ],
  };
}

export function formulaSymbols(formula: Formula): ReadonlySet<string> {
  if (typeof formula === 'number') return new Set();
  if ('symbol' in formula) return new Set([formula.symbol]);
  if ('sum' in formula) return new Set(formula.sum.flatMap((part) => [...formulaSymbols(part)]));
  if ('product' in formula) return new Set(formula.product.flatMap((part) => [...formulaSymbols(part)]));
  return formulaSymbols(formula.ceil);
}

export function elementCount(axes: readonly PlanAxis[], symbols: Symbols): number {
  return axes.reduce((total, axis) => total * evaluateFormula(axis.size, symbols), 1);
}

/** `[b:1 n:5 d:8]`; a symbol without a value prints as its name. */
export function printPlanAxes(axes: readonly PlanAxis[], symbols: Symbols): string {
  return `[${axes.map((axis) => `${axis.name}:${printFormula(axis.size, symbols)}`).join(' ')}]`;
}

function printFormula(formula: Formula, symbols: Symbols): string {
  if (typeof formula === 'number') return String(formula);
  if ('symbol' in formula) return String(symbols.get(formula.symbol) ?? formula.symbol);
  if ([...formulaSymbols(formula)].every((name) => symbols.has(name))) return String(evaluateFormula(formula, symbols));
  // What adds nothing, or multiplies by one, a person would not have written.
  if ('sum' in formula) return printParts(formula.sum, 0, '+', symbols);
  if ('product' in formula) return printParts(formula.product, 1, '·', symbols);
  return `⌈${printFormula(formula.ceil, symbols)}/${formula.by}⌉`;
}

function printParts(parts: readonly Formula[], unit: number, sign: string, symbols: Symbols): string {
  const kept = parts.filter((part) => part !== unit);
  return kept.length === 0 ? String(unit) : kept.map((part) => printFormula(part, symbols)).join(sign);
}

/** What the user said of an input's sizes: by axis, or only how many elements there are. */
export interface GivenSizes {
  readonly tensor: Pick<PlanTensor, 'name' | 'axes'>;
  readonly sizes: Readonly<Record<string, number>> | undefined;
  readonly elements: number;
}

/**
 * The value of every symbol of the plan: those given, then those that the sizes of inputs determine.
 * A symbol that stays open, is given twice with different values, is not an integer, or lies outside its bounds is refused by name.
 */
export function resolveSymbols(
  symbols: readonly PlanSymbol[],
  given: Readonly<Record<string, number>>,
  inputs: readonly GivenSizes[],
): Symbols {
  const names = symbols.map((symbol) => symbol.name);
  const values = new Map<string, number>();
  for (const [name, value] of Object.entries(given)) {
    const symbol = symbols.find((known) => known.name === name);
    if (symbol === undefined)
      throw new OpabiniaError(`there is no symbol '${name}'`, {
        op: 'run',
        advice:
          names.length === 0
            ? 'leave symbols out: this program has none'
            : `one of ${nearestNames(name, names).join(', ')}`,
      });
    values.set(name, within(symbol, value, 'given'));
  }
  // A size such as h*w gives one of its symbols once another input has given the other.
  for (let known = -1; known < values.size;) {
    known = values.size;
    for (const input of inputs) for (const axis of input.tensor.axes) fromAxis(axis, input, symbols, values);
    if (known === values.size) for (const input of inputs) fromElements(input, symbols, values);
  }
  const open = symbols.filter((symbol) => !values.has(symbol.name));
  if (open.length > 0) {
    throw new OpabiniaError(
      `the value of ${open.map((symbol) => `'${symbol.name}' (${symbol.least} to ${symbol.bound})`).join(', ')} is not known`,
      {
        op: 'run',
        advice: `pass { symbols: { ${open.map((symbol) => `${symbol.name}: …`).join(', ')} } }, or an input as { data, sizes }`,
      },
    );
  }
  return values;
}

function within(symbol: PlanSymbol, value: number, from: string): number {
  if (!Number.isInteger(value))
    throw new OpabiniaError(`the symbol '${symbol.name}' is ${value} (${from}), and a size is an integer`, {
      op: 'run',
    });
  if (value > symbol.bound) {
    throw new OpabiniaError(`the symbol '${symbol.name}' is ${value} (${from}), over its bound ${symbol.bound}`, {
      op: 'run',
      advice: `give at most ${symbol.bound}, or trace with t.symbol('${symbol.name}', { upTo: ${value} })`,
    });
  }
  if (value < symbol.least)
    throw new OpabiniaError(
      `the symbol '${symbol.name}' is ${value} (${from}), under its least value ${symbol.least}`,
      { op: 'run', advice: `give at least ${symbol.least}` },
    );
  return value;
}

function fromAxis(
  axis: PlanAxis,
  input: GivenSizes,
  symbols: readonly PlanSymbol[],
  values: Map<string, number>,
): void {
  const size = input.sizes?.[axis.name];
  if (size === undefined) return;
  const from = `from axis '${axis.name}' of input '${input.tensor.name}'`;
  const open = [...formulaSymbols(axis.size)].filter((name) => !values.has(name));
  const symbol = symbols.find((known) => known.name === open[0]);
  if (open.length === 1 && symbol !== undefined)
    values.set(
      symbol.name,
      within(
        symbol,
        solve((v) => evaluateFormula(axis.size, new Map(values).set(symbol.name, v)), size, symbol, from),
        from,
      ),
    );
  if (open.length > 1) return;
  const expected = evaluateFormula(axis.size, values);
  if (expected !== size) {
    throw new OpabiniaError(
      `input '${input.tensor.name}' is given with ${axis.name}:${size}, and ${axis.name} is ${expected} here`,
      { op: 'run', advice: `the input is ${printPlanAxes(input.tensor.axes, values)}` },
    );
  }
}

function fromElements(input: GivenSizes, symbols: readonly PlanSymbol[], values: Map<string, number>): void {
  const open = new Set(
    input.tensor.axes.flatMap((axis) => [...formulaSymbols(axis.size)]).filter((name) => !values.has(name)),
  );
  const [name] = open;
  const symbol = symbols.find((known) => known.name === name);
  if (open.size !== 1 || symbol === undefined) return;
  const from = `from the ${input.elements} elements of input '${input.tensor.name}' ${printPlanAxes(input.tensor.axes, values)}`;
  values.set(
    symbol.name,
    within(
      symbol,
      solve((v) => elementCount(input.tensor.axes, new Map(values).set(symbol.name, v)), input.elements, symbol, from),
      from,
    ),
  );
}

/** The value of a symbol at which a size, linear in it or growing with it, is the one wanted. */
function solve(f: (value: number) => number, wanted: number, symbol: PlanSymbol, from: string): number {
  const base = f(0);
  const slope = f(1) - base;
  const linear = (wanted - base) / slope;
  const value = slope !== 0 && f(linear) === wanted ? linear : grown(f, wanted, symbol);
  if (!Number.isInteger(value) || f(value) !== wanted) {
    throw new OpabiniaError(`no integer value of the symbol '${symbol.name}' gives the size ${wanted} (${from})`, {
      op: 'run',
      advice: `check the sizes, or pass { symbols: { ${symbol.name}: … } }`,
    });
  }
  return value;
}

/** The least value from which on a growing size is at least the one wanted: a symbol may be multiplied by itself. */
function grown(f: (value: number) => number, wanted: number, { least, bound }: PlanSymbol): number {
  let [low, high] = [least, bound];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (f(middle) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
