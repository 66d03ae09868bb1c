// What a connector costs, from its traced graph alone: no weights, no GPU.
import { compile } from '../../../compiler/compile.ts';
import { elementsOf } from '../../../dsl/axis/axes.ts';
import type { Plan, PlanDispatch } from '../../../compiler/plan.ts';
import type { DeviceProfile } from '../../../compiler/profile.ts';
import { printAttrs, roleOf, type Graph, type Node } from '../../../dsl/graph/graph.ts';
import { isFloat } from '../../../dsl/graph/op.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { withoutPlaces } from '../../../dsl/origin.ts';
import { nameOf } from '../../../dsl/ops/source.ts';
import { printAxes, randomParams, trace, type Float } from '../../../dsl/index.ts';
import type { AnyConnector, MapShape } from '../../../models/connectors/connector.ts';
import { tokenCount, type Layout } from '../../../models/connectors/visual-tokens.ts';
import { prefillFlops, type ReadingModel } from '../language-models.ts';
import {
  apart,
  injectionsOf,
  madeContext,
  weighed,
  type Carried,
  type Inside,
  type Surroundings,
} from './surroundings.ts';
import { trainingCost } from './training-cost.ts';
import { trainingStep } from './training-step.ts';
import { sum } from '../../statistics/sum.ts';

export interface Setting extends Surroundings {
  readonly maps: readonly MapShape[];
  readonly model: ReadingModel;
  readonly profile: DeviceProfile;
  readonly dtype: Float;
}

/** Of one picture. FLOP are those of the kernels after all passes; a multiply-add counts two. */
export interface Cost {
  readonly layout: Layout;
  /** Positions of the maps that are really read. */
  readonly tokensIn: number;
  readonly tokensOut: number;
  readonly parameters: number;
  /** Of these, what a run of training changes: all of a connector's. */
  readonly trained: number;
  readonly forward: number;
  readonly backward: number;
  /** Read and written by the kernels of a forward run. */
  readonly bytes: number;
  /** Largest sum of activations that live at the same time, by the plans; in training of a step with AdamW, its gradients among them. */
  readonly peakInference: number;
  readonly peakTraining: number;
  readonly kernels: number;
  readonly dispatches: number;
  /** FLOP of the visual tokens in the language model's layers. */
  readonly prefill: number;
  /** Seconds on the device at its best, dispatch by dispatch: arithmetic or memory, whichever takes longer. */
  readonly roofline: number;
  /** Layers of the language model after which it acts. */
  readonly injected: readonly number[];
}

export interface Traced {
  /** Pictures to tokens, and to what is read inside the language model. */
  readonly graph: Graph;
  /** The sum of all it gives, each element weighed by an input: what is trained. */
  readonly loss: Graph;
  readonly layout: Layout;
  readonly inside: Inside;
  /** A step of its training; undefined where nothing learns. */
  readonly step: () => Graph | undefined;
}

/** As `traced`, and quicker: the graphs are for counting, and do not know the lines of code that they come from. */
export function counted(...given: Parameters<typeof traced>): Traced {
  return withoutPlaces(() => traced(...given));
}

/** The connector's graphs. */
export function traced(connector: AnyConnector, config: unknown, setting: Setting): Traced {
  let layout: Layout = [];
  const carried = new Map<string, Carried>();
  const both = trace(
    randomParams(0, { dtype: setting.dtype }),
    (t) => {
      const maps = setting.maps.map(([h, w, c], k) =>
        t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b: 1, h, w, c }, setting.dtype),
      );
      const made = connector.build(t.params, maps, config, madeContext(t, setting));
      ({ layout } = made);
      const others = connector.inject === undefined ? [] : Object.entries(made.carries ?? {});
      for (const [name, { axes, dtype }] of others) carried.set(name, { axes, dtype });
      // What was given is there already.
      const computed = others.filter(([, value]) => roleOf(value.node) === undefined);
      const floats = computed.map(([, value]) => value).filter((value) => isFloat(value.dtype));
      const loss = weighed(t, [made.tokens, ...floats], setting.dtype);
      return { tokens: made.tokens, ...Object.fromEntries(computed), loss };
    },
    { unread: 'ignore' },
  );
  return {
    ...apart(both),
    layout,
    inside: injectionsOf(connector, config, carried, tokenCount(layout), setting),
    step: () => trainingStep(connector, config, setting),
  };
}

/** Graphs that differ in the names of their parameters alone, and how often each stands there. */
interface Distinct {
  readonly graph: Graph;
  readonly count: number;
}

function distinct(graphs: readonly Graph[]): readonly Distinct[] {
  const found = new Map<string, Distinct>();
  for (const graph of graphs) {
    const key = formOf(graph);
    found.set(key, { graph: found.get(key)?.graph ?? graph, count: (found.get(key)?.count ?? 0) + 1 });
  }
  return [...found.values()];
}

/** Text of a graph without the names and numbers in it: what its cost depends on. */
function formOf(graph: Graph): string {
  const nodes = order(graph);
  const number = new Map(nodes.map((node, i) => [node, i]));
  return nodes
    .map(({ op, inputs, type, attrs }) => {
      const rest = Object.entries(attrs).filter(([key, value]) => key !== 'name' && !(value instanceof Float64Array));
      return `${op.name} ${inputs.map((input) => number.get(input)).join()} ${printAxes(type.axes)} ${type.dtype} ${printAttrs(Object.fromEntries(rest))}`;
    })
    .join('\n');
}

/** What the graphs cost that `setting` was traced into. */
export function costOf({ graph, loss, layout, inside, step }: Traced, setting: Setting): Cost {
  const parts = [{ graph, count: 1 }, ...distinct(inside.layers.map((layer) => layer.graph))].map((part) => ({
    ...part,
    plan: compile(part.graph, setting.profile),
  }));
  const over = (figure: (plan: Plan) => number) => sum(parts.map(({ plan, count }) => count * figure(plan)));
  const trained = [{ graph: loss, count: 1 }, ...distinct(inside.layers.map((layer) => layer.loss))].map((part) => ({
    ...part,
    ...trainingCost(part.graph, differentiable(part.graph)),
  }));
  const own = (of: Graph) => order(of).filter((node) => roleOf(node) === 'param');
  const parameters = new Map(
    [graph, ...inside.layers.map((layer) => layer.graph)].flatMap(own).map((node) => [nameOf(node), node]),
  );
  const frozen = trained.flatMap((part) => own(part.graph).filter((node) => !part.reached.has(nameOf(node))));
  const elements = (of: readonly Node[]) => sum(of.map((node) => elementsOf(node.type.axes)));
  const peakInference = Math.max(...parts.map(({ plan }) => plan.memory.liveBound));
  const training = withoutPlaces(step);
  return {
    layout,
    tokensIn: positionsRead(order(graph)),
    tokensOut: tokenCount(layout),
    parameters: elements([...parameters.values()]),
    trained: elements([...parameters.values()]) - elements(frozen),
    forward: over(flopsOf),
    backward: sum(trained.map(({ backward, count }) => count * backward)),
    bytes: over((plan) => sum(plan.dispatches.map((dispatch) => dispatch.bytes))),
    peakInference,
    peakTraining: training === undefined ? peakInference : compile(training, setting.profile).memory.liveBound,
    kernels: sum(parts.map(({ plan }) => plan.kernels.length)),
    dispatches: over((plan) => plan.dispatches.length),
    prefill: prefillFlops(setting.model, inside.positions),
    roofline: over((plan) => sum(plan.dispatches.map((dispatch) => seconds(dispatch, setting.profile)))),
    injected: inside.layers.map(({ layer }) => layer),
  };
}

function seconds({ flops, bytes }: PlanDispatch, { flopsPerSecond, bytesPerSecond }: DeviceProfile): number {
  return Math.max(flops / flopsPerSecond, bytes / bytesPerSecond);
}

/** Names that training differentiates by: parameters, and what a layer hands back to the picture's graph and to the layer before. */
function differentiable(graph: Graph): readonly string[] {
  const names = order(graph)
    .filter((node) => isFloat(node.type.dtype) && (roleOf(node) === 'param' || roleOf(node) === 'input'))
    .filter((node) => roleOf(node) === 'param' || /^(carried_|hidden$)/.test(nameOf(node)))
    .map(nameOf);
  return [...new Set(names)];
}

/** Cells of the maps that the graph reads; a map of which it reads several layers counts once. */
function positionsRead(nodes: readonly Node[]): number {
  const read = new Map<string, number>();
  for (const node of nodes) {
    const which = roleOf(node) === 'input' ? /^map_\d+/.exec(nameOf(node))?.[0] : undefined;
    if (which !== undefined)
      read.set(which, elementsOf(node.type.axes.filter(({ name }) => name === 'h' || name === 'w')));
  }
  return sum([...read.values()]);
}

function flopsOf(plan: Plan): number {
  return sum(plan.dispatches.map((dispatch) => dispatch.flops));
}
