// What a connector adds to the loss of a training, and what it must not be.
import { describe, expect, test } from 'vitest';
import { linear, randomParams, reduce, trace, type Params, type Tensor } from '../../dsl/index.ts';
import { connect, connector, onlyMap } from '../../models/connectors/connector.ts';
import { factsOf } from '../../models/connectors/traced.ts';
import { joinTokens, mapTokens, type VisualTokens } from '../../models/connectors/visual-tokens.ts';
import { llama } from '../../models/decoders/llama.ts';
import { assembledLoss } from '../../models/multimodal/assembled-training.ts';
import { connectorRoot, type AssembledModel } from '../../models/multimodal/assembled-model.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import type { FeatureMap } from '../../models/sequence/regions.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

const shape = [2, 2, 4] as const;
type Losses = (p: Params, map: FeatureMap) => NonNullable<VisualTokens['losses']>;
/** Every patch projected, with losses beside. */
const mine = (losses: Losses) =>
  connect(
    connector<object>({
      name: 'mine',
      title: 'Mine',
      paper: 'none',
      year: 2026,
      source: 'mine.ts',
      mathematics: ['y = W x'],
      towers: 'one',
      presets: { mine: { config: {}, maps: [shape], width: 8 } },
      build: (p, maps, _config, { width = 8 }) => ({
        ...mapTokens(linear(p.at('proj'), onlyMap(maps), 'c', { size: width })),
        losses: losses(p, onlyMap(maps)),
      }),
    }),
    {},
  );

/** A learned number times the mean of the map's squares, which no token reads. */
const scaled: Losses = (p, map) => ({
  squares: reduce(map.mul(map), 'b h w c -> ', 'mean').mul(p.get('temperature', '')),
  three: reduce(map.mul(0), 'b h w c -> ', 'sum').add(3),
});

test('a parameter that a loss alone reads is the connector’s', () => {
  expect([...factsOf(mine(scaled), [shape], 8).shapes.keys()].toSorted()).toEqual([
    'proj.bias',
    'proj.weight',
    'temperature',
  ]);
});

test('a loss that is not one float is refused', () => {
  const wrong = mine((_p, map) => ({ balance: reduce(map, 'b h w c -> b', 'mean') as Tensor as Tensor<'', 'f32'> }));
  expect(() => factsOf(wrong, [shape], 8)).toThrow(/mine: its loss 'balance' is not one float[^]*reduce it/);
});

test('losses of one name are added up where tokens are joined, and the same one is once', () => {
  const values = (build: (map: FeatureMap) => readonly VisualTokens[]): number => {
    const graph = trace(randomParams(1), (t) => {
      const map = t.input('map', 'b h w c', { b: 1, h: 1, w: 2, c: 1 });
      return { loss: joinTokens(build(map)).losses?.['balance'] ?? reduce(map, 'b h w c -> ', 'min') };
    });
    const { outputs } = evaluate(
      graph,
      { inputs: new Map([['map', Float64Array.of(3, 5)]]), params: () => [] },
      { precision: 'f64' },
    );
    return outputs.get('loss')?.data[0] ?? NaN;
  };
  const balance = (map: FeatureMap, by: 'sum' | 'max') => ({ balance: reduce(map, 'b h w c -> ', by) });
  expect(
    values((map) => [
      { ...mapTokens(map), losses: balance(map, 'sum') },
      { ...mapTokens(map), losses: balance(map, 'max') },
    ]),
  ).toBe(13);
  expect(
    values((map) => {
      const whole = { ...mapTokens(map), losses: balance(map, 'sum') };
      return [whole, whole];
    }),
  ).toBe(8);
});

test('tokens that are joined keep their losses', () => {
  trace(randomParams(1), (t) => {
    const map = t.input('map', 'b h w c', { b: 1, h: 2, w: 2, c: 4 });
    const made = (name: string) => ({ ...mapTokens(map), losses: { [name]: reduce(map, 'b h w c -> ', 'mean') } });
    expect(Object.keys(joinTokens([made('one'), mapTokens(map), made('two')]).losses ?? {})).toEqual(['one', 'two']);
    return { map };
  });
});

describe('in the loss of an assembled model', () => {
  const language = llama({
    model_type: 'llama',
    hidden_size: 8,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    vocab_size: 11,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 64,
  });
  // Of towers that do not learn, the maps are all that is read.
  const tower = { side: 4, map: shape } as AssembledModel['towers'][number];
  const model: AssembledModel = { language, towers: [tower], connector: mine(scaled) };
  const sizes = { batch: 1, length: 8, pictures: 1, dtype: 'f32' as const };
  const map = Float64Array.from({ length: 16 }, (_, i) => Math.sin(i));
  const inputs = new Map<string, ArrayLike<number>>([
    ['features_0', map],
    ['ids', [1, 2, 0, 0, 0, 0, 3, 4]],
    ['slots', [-1, -1, 0, 1, 2, 3, -1, -1]],
    ['labels', [-100, -100, -100, -100, -100, -100, 3, 4]],
    ['cos', Array.from({ length: 16 }, () => 1)],
    ['sin', Array.from({ length: 16 }, () => 0)],
    ['attend', [1, 1, 1, 1, 1, 1, 1, 1]],
    ['targets', [2]],
    ['rates', [0]],
  ]);
  const params = randomParams(1);
  const read = (path: string, of: number[]) =>
    path === `${connectorRoot}.temperature` ? [0.5] : params.read(path, of);
  const graphs = trainGraphs(
    params,
    { groups: [{ paths: [], lr: 0, members: [`${connectorRoot}.temperature`] }], optimizer: adamW() },
    (t, p, learns) => assembledLoss(t, p, model, { ...sizes, learns }),
  );

  test('each counts as it is once the sum is divided by the targets, and only where something learns', () => {
    const states = new Map([[`${connectorRoot}.temperature`, [0.5]]]);
    const run = (graph: typeof graphs.step) => evaluate(graph, { inputs, params: read, states }, { precision: 'f64' });
    const looked = (run(graphs.evaluate).outputs.get('loss')?.data[0] ?? NaN) / 2;
    const learned = run(graphs.step).outputs.get('metrics')?.data[0] ?? NaN;
    const squares = map.reduce((sum, x) => sum + (x * x) / map.length, 0);
    expect(learned - looked).toBeCloseTo(0.5 * squares + 3, 5);
    // Its gradient is the only one: that of what it is multiplied with.
    expect(run(graphs.step).outputs.get('metrics')?.data[1]).toBeCloseTo(squares, 5);
  });
});
