// Layers that a step computes again for the backward pass: the same gradients, from what enters each layer.
import { expect, test } from 'vitest';
import { gradients, order, randomParams, roleOf, trace, type Float, type Graph, type Tensor } from '../../dsl/index.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { llama } from '../../models/decoders/llama.ts';
import { cambrianLoss, type CambrianTraining } from '../../models/multimodal/cambrian-training.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { feedsFor } from '../compiler/judge.ts';

const language = llama({
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 40,
});
const setting: CambrianTraining = {
  connector: { groups: [2], side: 2, depth: 1, heads: 2, width: 16 },
  towers: [
    { side: 2, channels: 8 },
    { side: 4, channels: 8 },
  ],
  language,
  schedule: { start: 0, stride: 1, count: 2 },
  batch: 1,
  length: 12,
  pictures: 1,
};
/** What the model itself does not know. */
const shapes: Readonly<Record<string, readonly number[]>> = {
  'model.image_newline': [16],
  'model.embed_tokens.weight': [40, 16],
};
const learned = ['model.layers.0.mlp.up_proj.weight', 'model.mm_projector.0.weight', 'model.vision_query'];

function backward(recomputes: boolean): Graph {
  const plain = randomParams(4);
  const source = { ...plain, shape: (path: string) => shapes[path] ?? plain.shape(path) };
  return trace(
    source,
    (t) => {
      const loss = cambrianLoss(t, t.params, { ...setting, recomputes });
      const read = new Map(
        order(trace(source, (u) => ({ loss: cambrianLoss(u, u.params, setting) }), ignoring)).flatMap((node) =>
          roleOf(node) === 'param' ? [[nameOf(node), node] as const] : [],
        ),
      );
      const wrt = learned.map(
        (path) =>
          t.params.get(path, (read.get(path)?.type.axes ?? []).map(({ name }) => name).join(' ')) as Tensor<
            string,
            Float
          >,
      );
      return Object.fromEntries(gradients(loss, wrt).map((gradient, i) => [learned[i] ?? '', gradient]));
    },
    ignoring,
  );
}
const ignoring = { unread: 'ignore' } as const;

test('gradients are the same to the bit, and each layer but the head is there twice', () => {
  const [kept, again] = [false, true].map(backward);
  if (kept === undefined || again === undefined) throw new TypeError('two graphs');
  const [want, got] = [kept, again].map((graph) => evaluate(graph, feedsFor(graph), { precision: 'f32' }).outputs);
  for (const path of learned) {
    const values = Array.from(want?.get(path)?.data ?? []);
    expect(
      values.some((x) => x !== 0 && Number.isFinite(x)),
      path,
    ).toBe(true);
    expect(Array.from(got?.get(path)?.data ?? []), path).toEqual(values);
  }
  const sigmoids = (graph: Graph) => order(graph).filter((node) => node.op.name === 'sigmoid').length;
  expect(sigmoids(kept)).toBe(3);
  expect(sigmoids(again)).toBe(6);
});
