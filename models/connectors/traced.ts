// What a connector is without weights: its layout, and the names and shapes of its parameters, from one trace.
import { randomParams, roleOf, trace, type Float, type Graph } from '../../dsl/index.ts';
import type { Shapes } from '../configs/param-shapes.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { Connect, MapShape } from './connector.ts';
import type { Layout } from './visual-tokens.ts';
import { lossesOf } from '../sequence/added-losses.ts';
import { nameOf } from '../../dsl/ops/source.ts';

export interface ConnectorFacts {
  readonly layout: Layout;
  /** Paths below its own place, and sizes. */
  readonly shapes: Shapes;
  /** What it computes: its tokens, and the losses that it adds. */
  readonly graph: Graph;
}

/**
 * Layout and parameters of a connector that reads maps alone, for one picture. Throws what building it throws.
 * @example const { layout, shapes } = factsOf(connect(mine, { side: 12 }), [[24, 24, 1024]], 4096)
 */
export function factsOf(used: Connect, maps: readonly MapShape[], width: number): ConnectorFacts {
  let layout: Layout = [];
  const graph = trace(randomParams(0), (t) => {
    const inputs = maps.map(([h, w, c], k) => t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b: 1, h, w, c }));
    const made = used.build(t.params, inputs, { width });
    ({ layout } = made);
    return { tokens: made.tokens, ...lossesOf(made) };
  });
  return { layout, shapes: paramShapes(graph), graph };
}

/**
 * Names and sizes of all that a graph reads of a checkpoint.
 * @example const shapes = paramShapes(factsOf(connect(mine, { side: 12 }), [[24, 24, 1024]], 4096).graph)
 */
export function paramShapes(graph: Graph): Shapes {
  const parameters = order(graph).filter((node) => roleOf(node) === 'param');
  return new Map(
    parameters.map((node) => [nameOf(node), node.type.axes.map(({ size }) => (typeof size === 'number' ? size : 0))]),
  );
}
