// A step that trains a connector: a weighed sum behind it, AdamW, the norm of the gradients clipped.
import { gradientGraph } from '../../../dsl/gradient/gradient-graph.ts';
import { roleOf, type Graph } from '../../../dsl/graph/graph.ts';
import { isFloat } from '../../../dsl/graph/op.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { nameOf } from '../../../dsl/ops/source.ts';
import {
  concat,
  randomParams,
  rearrange,
  trace,
  type Float,
  type Params,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import { tokenCount } from '../../../models/connectors/visual-tokens.ts';
import { adamW } from '../../train/optimizers/adamw.ts';
import { trainGraphs } from '../../train/step/train-graph.ts';
import { layersInside, madeContext, weighed, type Surroundings } from './surroundings.ts';

/**
 * Of all parameters that have a gradient; undefined where none has. What the connector does inside the language model stands one behind the
 * other, without the model's own layers between.
 */
export function trainingStep(connector: AnyConnector, config: unknown, around: Surroundings): Graph | undefined {
  const source = randomParams(0, { dtype: around.dtype });
  const loss = (t: Trace, p: Params): Tensor<'', 'f32'> =>
    weighed(t, given(t, p, connector, config, around), around.dtype).cast('f32');
  const forward = trace(source, (t) => ({ loss: loss(t, t.params) }), { unread: 'ignore' });
  const read = order(forward).filter((node) => roleOf(node) === 'param' && isFloat(node.type.dtype));
  const reached = gradientGraph(forward, 'loss', [...new Set(read.map(nameOf))]).outputs;
  const members = read.map(nameOf).filter((name) => reached.has(`d ${name}`));
  if (members.length === 0) return undefined;
  const groups = [{ paths: ['*'], members, lr: 1e-3 }];
  const scaling = around.dtype === 'f16' ? {} : undefined;
  return trainGraphs(source, { groups, optimizer: adamW(), clip: 1, scaling }, loss).step;
}

/** All that is handed on: tokens and what else is computed for others, and of what acts inside the language model the last hidden states. */
function given(t: Trace, p: Params, connector: AnyConnector, config: unknown, around: Surroundings): readonly Tensor[] {
  const { dtype, model, question, maps } = around;
  const seen = maps.map(([h, w, c], k) => t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b: 1, h, w, c }, dtype));
  const { tokens, layout, carries = {} } = connector.build(p, seen, config, madeContext(t, around));
  if (connector.inject === undefined) return [tokens];
  const text = t.input<'b s e', Float>('text', 'b s e', { b: 1, s: question, e: model.width }, dtype);
  const start = tokenCount(layout) === 0 ? text : concat([rearrange(tokens, 'b n e -> b s=(n) e'), text], 's');
  const computed = Object.values(carries).filter((x) => roleOf(x.node) === undefined && isFloat(x.dtype));
  return [layersInside(t, p, connector.inject, config, start, carries, around), ...computed];
}
