// Gradients of random graphs: the gradient graph as a case for the GPU, and its values against central differences.
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { BackwardMath } from '../../dsl/gradient/backward-math.ts';
import { Builder, nowhere, roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { must, order } from '../../dsl/graph/walk.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { asFeeds, type CaseFeeds, type FuzzCase } from './case.ts';

/** Outputs `loss`, the sum of all elements of all float outputs, and `d NAME` for each float leaf; undefined where no float is given out. */
export function withGradients(given: FuzzCase): FuzzCase | undefined {
  const graph = lossOf(given.graph);
  if (graph === undefined) return undefined;
  const leaves = floatLeaves(graph, given.graph);
  if (leaves.length === 0) return undefined;
  const made = gradientGraph(graph, 'loss', leaves);
  const nodes = order(made);
  // Leaves that the loss does not read are not inputs of the gradient graph.
  const named = new Set(nodes.map((node) => node.attrs['name']));
  const left = (values: ReadonlyMap<string, Float64Array>) => new Map([...values].filter(([name]) => named.has(name)));
  const { inputs, params, states, symbols } = given.feeds;
  return {
    ...given,
    graph: made,
    feeds: { inputs: left(inputs), params: left(params), states: left(states), symbols },
  };
}

function lossOf(graph: Graph): Graph | undefined {
  const builder = new Builder();
  const copies = new Map<Node, Node>();
  for (const node of order(graph))
    copies.set(
      node,
      builder.make(
        node.op,
        node.inputs.map((input) => must(copies, input)),
        node.attrs,
        node.origin,
      ),
    );
  const math = new BackwardMath(builder, nowhere);
  const sums = [...graph.outputs.values()]
    .map((node) => must(copies, node))
    .filter((node) => isFloat(node.type.dtype))
    .map((node) =>
      math.sum(
        math.cast(node, 'f32'),
        node.type.axes.map((axis) => axis.name),
      ),
    );
  const [first, ...rest] = sums;
  if (first === undefined) return undefined;
  return { outputs: new Map([['loss', rest.reduce((sum, part) => math.op('add', sum, part), first)]]), updates: [] };
}

/** Names that an input, a parameter or a state alone has: a random graph may give one name to two of them. */
function floatLeaves(graph: Graph, drawn: Graph): readonly string[] {
  const roles = new Set(['input', 'param', 'state']);
  const leavesOf = (of: Graph) => order(of).filter((node) => roles.has(roleOf(node) ?? ''));
  const times = new Map<string, number>();
  for (const node of leavesOf(drawn)) times.set(nameOf(node), (times.get(nameOf(node)) ?? 0) + 1);
  return leavesOf(graph)
    .filter((node) => isFloat(node.type.dtype) && times.get(nameOf(node)) === 1)
    .map(nameOf);
}

const nameOf = (node: Node): string => String(node.attrs['name']);

/** What differences say of the gradients of a case. */
export interface Judged {
  /** Elements whose gradient was compared; those at kinks and jumps are not. */
  readonly compared: number;
  readonly wrong: string | undefined;
}

/**
 * Some elements of every gradient against (f(x + h) − f(x − h)) / 2h in double precision. At a kink the two one-sided quotients differ, and
 * go on differing for half the step: there, nothing is said.
 */
export function judgeGradients(given: FuzzCase, elements = 3): Judged {
  const { graph, feeds } = given;
  const loss = graph.outputs.get('loss');
  if (loss === undefined) return { compared: 0, wrong: undefined };
  const forward: Graph = { outputs: new Map([['loss', loss]]), updates: [] };
  const at = (moved: CaseFeeds, of = forward): number => valuesOf(of, moved).get('loss')?.[0] ?? NaN;
  const values = valuesOf(graph, feeds);
  const here = at(feeds);
  let compared = 0;
  for (const [name, gradient] of values) {
    if (!name.startsWith('d ')) continue;
    const leaf = name.slice(2);
    const kind = (['inputs', 'params', 'states'] as const).find((which) => feeds[which].has(leaf));
    if (kind === undefined) continue;
    const x = feeds[kind].get(leaf) ?? new Float64Array();
    for (let n = 0; n < Math.min(elements, x.length); n++) {
      const element = Math.floor((n * x.length) / Math.min(elements, x.length));
      const moved = (by: number): number => {
        const other = x.slice();
        other[element] = (other[element] ?? 0) + by;
        return at({ ...feeds, [kind]: new Map([...feeds[kind], [leaf, other]]) });
      };
      const h = 1e-4 * Math.max(1, Math.abs(x[element] ?? 0));
      const [coarse, fine] = [h, h / 2].map((step) => {
        const [up, down] = [moved(step), moved(-step)];
        return { slope: (up - down) / (2 * step), bend: Math.abs(up - 2 * here + down) / step };
      });
      const got = gradient[element] ?? NaN;
      if (coarse === undefined || fine === undefined || ![coarse.slope, fine.slope, got].every(Number.isFinite))
        continue;
      const noise = (1e-10 * Math.max(1, Math.abs(here))) / h;
      if (fine.bend > 0.6 * coarse.bend + noise) continue;
      if (Math.abs(fine.slope - coarse.slope) > 1e-3 * Math.abs(fine.slope) + noise) continue;
      compared++;
      if (Math.abs(got - fine.slope) > 0.01 * Math.max(Math.abs(got), Math.abs(fine.slope)) + 20 * noise)
        return { compared, wrong: `${name}[${element}] is ${got}, differences say ${fine.slope}` };
    }
  }
  return { compared, wrong: undefined };
}

function valuesOf(graph: Graph, feeds: CaseFeeds): ReadonlyMap<string, ArrayLike<number>> {
  const { outputs } = evaluate(graph, asFeeds(feeds), { precision: 'f64' });
  return new Map([...outputs].map(([name, value]) => [name, value.data]));
}
