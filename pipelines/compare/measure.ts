// What a connector costs, from its traced graph alone: no weights, no GPU.
import { compile } from '../../compiler/compile.ts';
import { elementsOf } from '../../compiler/cost.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { einsum, randomParams, rearrange, trace, type Float } from '../../dsl/index.ts';
import type { AnyConnector, MapShape } from '../../models/connectors/connector.ts';
import { tokenCount, type Layout } from '../../models/connectors/visual-tokens.ts';
import { prefillFlops, type ReadingModel } from './language-models.ts';
import { injectionsOf, madeContext, type Surroundings } from './surroundings.ts';
import { nameOf } from '../../dsl/ops/source.ts';

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
  /** Largest sum of activations that live at the same time. */
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
  readonly graph: Graph;
  readonly layout: Layout;
  readonly injected: readonly number[];
  /** Positions left in each layer of the language model. */
  readonly positions: readonly number[];
}

/** The connector's graph: tokens, and the hidden states of every layer that it changes. `loss`: the sum of all that, each element weighed by an input. */
export function traced(connector: AnyConnector, config: unknown, setting: Setting, loss = false): Traced {
  let [layout, injected, positions]: [Layout, readonly number[], readonly number[]] = [[], [], []];
  const graph = trace(
    randomParams(0, { dtype: setting.dtype }),
    (t) => {
      const maps = setting.maps.map(([h, w, c], k) =>
        t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b: 1, h, w, c }, setting.dtype),
      );
      const made = connector.build(t.params, maps, config, madeContext(t, setting));
      ({ layout } = made);
      const inside = injectionsOf(t, connector, config, made, setting);
      ({ injected, positions } = inside);
      if (!loss) return { tokens: made.tokens, ...inside.outputs };
      const parts = [rearrange(made.tokens, 'b n e -> b s=(n) e'), ...Object.values(inside.outputs)];
      const weighed = parts.map((part, i) => {
        const sizes = { b: part.sizeOf('b'), s: part.sizeOf('s'), e: part.sizeOf('e') };
        const weight = t.input<'b s e', Float>(`weight_${i}`, 'b s e', sizes, setting.dtype);
        return einsum(part, weight, 'b s e, b s e -> ');
      });
      return { loss: weighed.reduce((total, part) => total.add(part)) };
    },
    { unread: 'ignore' },
  );
  return { graph, layout, injected, positions };
}

export function costOf(connector: AnyConnector, config: unknown, setting: Setting): Cost {
  const { graph, layout, injected, positions } = traced(connector, config, setting);
  const nodes = order(graph);
  const plan = compile(graph, setting.profile);
  const training = trainingPlan(connector, config, setting);
  const forward = flopsOf(plan);
  const parameters = nodes.filter((node) => roleOf(node) === 'param');
  const elements = (of: readonly Node[]) => sum(of.map((node) => elementsOf(node.type.axes)));
  return {
    layout,
    tokensIn: positionsRead(nodes),
    tokensOut: tokenCount(layout),
    parameters: elements(parameters),
    trained: elements(
      parameters.filter((node) => training?.plan.outputs.some(({ name }) => name === `d ${nameOf(node)}`)),
    ),
    forward,
    backward: training === undefined ? 0 : Math.max(0, flopsOf(training.plan) - forward),
    bytes: sum(plan.dispatches.map((dispatch) => dispatch.bytes)),
    peakInference: plan.memory.liveBound,
    peakTraining: training?.plan.memory.liveBound ?? plan.memory.liveBound,
    kernels: plan.kernels.length,
    dispatches: plan.dispatches.length,
    prefill: prefillFlops(setting.model, positions),
    roofline: sum(
      plan.dispatches.map(({ flops, bytes }) =>
        Math.max(flops / setting.profile.flopsPerSecond, bytes / setting.profile.bytesPerSecond),
      ),
    ),
    injected,
  };
}

/** Forward and backward in one plan: the gradient of every parameter that the tokens depend on. Undefined without parameters. */
function trainingPlan(connector: AnyConnector, config: unknown, setting: Setting): { readonly plan: Plan } | undefined {
  const { graph } = traced(connector, config, setting, true);
  const parameters = order(graph).filter((node) => roleOf(node) === 'param');
  if (parameters.length === 0) return undefined;
  const whole = gradientGraph(graph, 'loss', [...new Set(parameters.map(nameOf))]);
  // An estimate of arithmetic and memory: how many buffers one kernel may bind does not enter it.
  return { plan: compile(whole, { ...setting.profile, maxBindings: 64 }) };
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

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
