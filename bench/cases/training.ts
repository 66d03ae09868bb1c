// Steps of training: forward, loss, backward, Σ g² of each parameter, AdamW. Peers have the same models in their own words.
import {
  attention,
  gather,
  gelu,
  layerNorm,
  linear,
  linearCrossEntropy,
  order,
  rearrange,
  reduce,
  roleOf,
  trace,
  type Params,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { renamed } from '../../dsl/tensor.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { decoderLayers, openTurn } from '../../models/decoders/decoder.ts';
import { phi3, phi3Configs } from '../../models/decoders/phi3.ts';
import { turnTables } from '../../models/decoders/turn-graph.ts';
import { regionsOf } from '../../models/sequence/regions.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { benchParams, uniform, type BenchCase, type Learned, type PlainStep, type Scale, type Work } from '../case.ts';

type Loss = (t: Trace, p: Params) => Tensor<'', 'f32'>;

const source = benchParams();

/**
 * So small that the values of every step of a race are those of the first, to the digits that are compared: AdamW moves each parameter by
 * a whole rate, all of a row perhaps the same way, so that at 1e-7 the second step of three SVA layers was 4.5e-4 off.
 */
export const learningRate = 1e-14;

/** The step of a loss that reads parameters alone and the inputs given; `squares`, Σ g² by parameter, is its output. */
function stepOf(loss: Loss, inputs: Work['inputs'], step: PlainStep): Work {
  const learned = parametersOf(loss);
  const members = learned.map(({ path }) => path);
  const groups = [{ paths: ['*'], members, lr: learningRate, weightDecay: 0 }];
  const { step: graph, evaluate: forward, learned: read } = trainGraphs(source, { groups, optimizer: adamW() }, loss);
  const squares = graph.outputs.get('squares');
  if (squares === undefined) throw new TypeError('a step has its squares');
  const known = new Map(learned.map((one) => [one.path, one]));
  return {
    graph: { outputs: new Map([['squares', squares]]), updates: graph.updates },
    source,
    inputs: { ...inputs, targets: Float32Array.of(1), rates: Float32Array.of(learningRate) },
    learned: read.flatMap((path) => known.get(path) ?? []),
    step,
    forward,
  };
}

function parametersOf(loss: Loss): readonly Learned[] {
  const graph = trace(source, (t) => ({ loss: loss(t, t.params) }));
  return order(graph)
    .filter((node) => roleOf(node) === 'param')
    .map((node) => ({ path: nameOf(node), shape: node.type.axes.map((axis) => Number(axis.size)) }));
}

/** Half the mean square of y − target. */
function meanSquare(t: Trace, y: Tensor<string, 'f32'>): Tensor<'', 'f32'> {
  const names = y.axes.map((axis) => axis.name);
  const sizes = Object.fromEntries(y.axes.map((axis) => [axis.name, axis.size]));
  const off = y.sub(t.input<string>('target', names.join(' '), sizes));
  const count = y.axes.reduce((product, axis) => product * Number(axis.size), 1);
  return (reduce(off.mul(off), `${names.join(' ')} ->` as never, 'sum') as Tensor<'', 'f32'>).mul(0.5 / count);
}

/** Cambrian's aggregator at width 256: three layers over maps of 24 × 24 and 96 × 96. */
function sva(scale: Scale): Work {
  const [side, sides, c, heads, depth] = scale === 'full' ? [24, [24, 96], 256, 8, 3] : [3, [3, 6], 16, 2, 2];
  const loss: Loss = (t, p) => {
    let query = t.input('query', 'b q c', { b: 1, q: side * side, c });
    const context = t.input('context', 'b c', { b: 1, c });
    const regions = sides.map((h, k) => regionsOf(t.input(`map_${k}`, 'b h w c', { b: 1, h, w: h, c }), side));
    for (let i = 0; i < depth; i++)
      query = visionCrossAttentionLayer(p.at('layers', i), query, { context, regions }, { heads }) as typeof query;
    return meanSquare(t, query);
  };
  const maps = Object.fromEntries(sides.map((h, k) => [`map_${k}`, uniform(h * h * c, 10 + k, 1.7)]));
  return stepOf(
    loss,
    {
      query: uniform(side * side * c, 1, 1.7),
      context: uniform(c, 2, 1.7),
      target: uniform(side * side * c, 3, 1.7),
      ...maps,
    },
    { op: 'svaStep', side, sides, width: c, heads, depth },
  );
}

/** A layer of a language model of Phi-3's family, 1024 wide. */
function decoder(scale: Scale): Work {
  const [tokens, width, hidden, heads] = scale === 'full' ? [512, 1024, 2816, 16] : [12, 32, 64, 2];
  const model = phi3({
    ...phi3Configs['Phi-3-mini-4k-instruct'],
    hidden_size: width,
    intermediate_size: hidden,
    num_attention_heads: heads,
    num_key_value_heads: heads,
  });
  const { config } = model;
  const loss: Loss = (t, p) => {
    const turn = openTurn(t, config, { batch: 1, length: tokens });
    const x = t.input('x', 'b s e', { b: 1, s: tokens, e: width });
    return meanSquare(t, decoderLayers(p, model, turn).layer(x, 0) as Tensor<string, 'f32'>);
  };
  const tables = turnTables(
    config,
    Array.from({ length: tokens }, (_, i) => i),
  );
  return stepOf(
    loss,
    { x: uniform(tokens * width, 1, 1.7), target: uniform(tokens * width, 3, 1.7), ...tables },
    { op: 'decoderStep', tokens, width, hidden, heads, eps: config.eps },
  );
}

/** GPT-2 small: 12 layers of 768, tied embeddings, 50,257 words. */
function gpt(scale: Scale): Work {
  const [tokens, layers, e, h, v] = scale === 'full' ? [64, 12, 768, 12, 50_257] : [6, 2, 16, 2, 50];
  const loss: Loss = (t, p) => {
    const words = p.get('wte.weight', 'v e', { v, e }) as Tensor<'v e', 'f32'>;
    const places = p.get('wpe.weight', 's e', { s: tokens, e }) as Tensor<'s e', 'f32'>;
    let x: Tensor<'s e', 'f32'> = gather(words, t.input('ids', 's', { s: tokens }, 'i32'), 'v').add(places);
    for (let i = 0; i < layers; i++) {
      const block = p.at('h', i);
      const wide = linear(block.at('attn', 'c_attn'), layerNorm(block.at('ln_1'), x), 'o', { size: 3 * e });
      const parts = rearrange(wide, 's (k h d) -> k h s d', { k: 3, h });
      const keyed = (k: number): Tensor<'h t d', 'f32'> => renamed('gpt', parts.at('k', k), new Map([['s', 't']]));
      const read = attention(parts.at('k', 0), keyed(1), keyed(2), { key: 't', along: 'd', causal: 's' });
      const joined = rearrange(read, 'h s d -> s o=(h d)');
      x = x.add(linear(block.at('attn', 'c_proj'), joined, 'e', { size: e }));
      const inner = linear(block.at('mlp', 'c_fc'), layerNorm(block.at('ln_2'), x), 'f', { size: 4 * e });
      x = x.add(linear(block.at('mlp', 'c_proj'), gelu(inner, 'tanh'), 'e', { size: e }));
    }
    const labels = t.input('labels', 's', { s: tokens }, 'i32');
    return linearCrossEntropy(layerNorm(p.at('ln_f'), x), words, labels, { reduction: 'sum' }).mul(1 / tokens);
  };
  const ids = (seed: number): Int32Array =>
    Int32Array.from(uniform(tokens, seed), (value) => Math.min(v - 1, Math.floor(((value + 1) / 2) * v)));
  return stepOf(loss, { ids: ids(5), labels: ids(6) }, { op: 'gptStep', tokens, layers, width: e, heads: h, words: v });
}

const what = 'forward, backward, Σ g² of each parameter and AdamW';

export const trainingCases: readonly BenchCase[] = [
  {
    name: 'train-sva',
    about: `a step of three SVA layers, width 256, 8 heads, maps of 24 × 24 and 96 × 96: ${what}`,
    build: sva,
  },
  {
    name: 'train-decoder',
    about: `a step of one decoder layer of 512 tokens, width 1024, 16 heads, MLP 2816: ${what}`,
    build: decoder,
  },
  {
    name: 'train-gpt2',
    about: `a step of GPT-2 small on 64 tokens: 12 layers of 768, 50,257 words: ${what}`,
    build: gpt,
  },
];
