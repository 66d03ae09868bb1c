// Central differences in f64 on the reference interpreter: the judge of gradient rules.
import { evaluateSize } from '../../../dsl/axis/axis.ts';
import { gradientGraph } from '../../../dsl/gradient/gradient-graph.ts';
import { roleOf, type Graph } from '../../../dsl/graph/graph.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { isFloat } from '../../../dsl/graph/op.ts';
import { evaluate } from '../../../runtime/reference/reference.ts';
import { nameOf } from '../../../dsl/ops/source.ts';

export type Values = ReadonlyMap<string, Float64Array>;
/** Sizes of a run. */
export type Symbols = ReadonlyMap<string, number>;

/** The leaves of a graph that numbers are given for, with their element counts. */
export function leavesOf(
  graph: Graph,
  symbols: Symbols = new Map(),
): ReadonlyMap<string, { readonly count: number; readonly float: boolean }> {
  return new Map(
    order(graph)
      .filter((node) => ['input', 'param', 'state'].includes(roleOf(node) ?? ''))
      .map((node) => [
        nameOf(node),
        {
          count: node.type.axes.reduce((product, axis) => product * evaluateSize(axis.size, symbols), 1),
          float: isFloat(node.type.dtype),
        },
      ]),
  );
}

export function valuesOf(
  graph: Graph,
  values: Values,
  symbols: Symbols = new Map(),
): ReadonlyMap<string, Float64Array> {
  const given = (name: string): Float64Array => values.get(name) ?? new Float64Array();
  const feeds = { inputs: values, params: given, states: values, symbols };
  return new Map(
    [...evaluate(graph, feeds, { precision: 'f64' }).outputs].map(([name, value]) => [
      name,
      Float64Array.from(value.data),
    ]),
  );
}

export interface Compared {
  readonly name: string;
  readonly element: number;
  readonly gradient: number;
  readonly difference: number;
  /** How far the two may be apart: the truncation and rounding of the differences themselves, judged from two step sizes. */
  readonly allowed: number;
}

/**
 * Every element of the gradient of the output `loss` beside (f(x + h) − f(x − h)) / 2h. Richardson's step from h and h/2 gives an error of
 * order h⁴, and the two quotients say how far they can be trusted.
 */
export function compareWithDifferences(
  graph: Graph,
  loss: string,
  wrt: readonly string[],
  values: Values,
  { step = 1e-4, symbols }: { readonly step?: number; readonly symbols?: Symbols | undefined } = {},
): readonly Compared[] {
  const backward = valuesOf(gradientGraph(graph, loss, wrt), values, symbols);
  const at = (name: string, element: number, by: number): number => {
    const moved = Float64Array.from(values.get(name) ?? []);
    moved[element] = (moved[element] ?? 0) + by;
    return valuesOf(graph, new Map([...values, [name, moved]]), symbols).get(loss)?.[0] ?? NaN;
  };
  return wrt.flatMap((name) =>
    Array.from(values.get(name) ?? [], (x, element) => {
      const h = step * Math.max(1, Math.abs(x));
      const [coarse, fine] = [h, h / 2].map((by) => (at(name, element, by) - at(name, element, -by)) / (2 * by));
      const difference = (4 * (fine ?? NaN) - (coarse ?? NaN)) / 3;
      const scale = Math.max(1, Math.abs(at(name, element, 0)));
      const allowed =
        Math.abs((fine ?? NaN) - (coarse ?? NaN)) + (64 * scale * 2 ** -52) / h + 1e-9 * Math.abs(difference);
      return { name, element, gradient: backward.get(`d ${name}`)?.[element] ?? 0, difference, allowed };
    }),
  );
}
