// The language models: golden files, prefill and decode over one cache, padded batches, positions, and the sizes of the released models.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { fixedParams, order, randomParams, trace, type Graph, type ParamSource } from '../../dsl/index.ts';
import { decodeWithVision, embedSequence } from '../../models/multimodal/cambrian.ts';
import { regionsOf, type FeatureMap } from '../../models/sequence/regions.ts';
import { spatialVisionAggregator } from '../../models/parts/sva/aggregator.ts';
import {
  paddedPositions,
  turnGraph,
  type TurnOptions,
  type TurnSizes,
  turnTables,
} from '../../models/decoders/turn-graph.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  logitsOf,
  openTurn,
  type LanguageModel,
} from '../../models/decoders/decoder.ts';
import { llama, llamaConfigs } from '../../models/decoders/llama.ts';
import { gemma3 } from '../../models/decoders/families/gemma.ts';
import { phi3, phi3Configs } from '../../models/decoders/phi3.ts';
import { qwen2 } from '../../models/decoders/families/qwen.ts';
import { frequencies, ropeTables } from '../../models/decoders/rope.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { nameOf } from '../../dsl/ops/source.ts';

const folder = join(import.meta.dirname, '../golden/models');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-llm-'));
afterAll(() => rmSync(scratch, { recursive: true }));

// ---- golden files --------------------------------------------------------------------------------------------------

const files = [
  'llama-gqa',
  'llama3-style',
  'vicuna-style-mha',
  'yi-style',
  'phi3-style',
  'phi3-sliding',
  'phi3-longrope',
  'phi4-mini-longrope',
  'mistral',
  'mistral-sliding',
  'qwen2',
  'qwen3',
  'gemma2',
  'gemma3',
  'olmo2',
  'smollm2',
];

describe('golden files', () => {
  test.each(files)('%s', async (name) => {
    const rows = await verifyFile(join(folder, `${name}.safetensors`), referenceBackend());
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    for (const output of [
      'prefill_logits',
      'decode_logits',
      'greedy_tokens',
      'inputs_embeds_logits',
      'block0',
      'final_norm',
    ])
      expect(rows.map((row) => row.tensor)).toContain(output);
  });

  test('stored in f16: the same tokens', async () => {
    const rows = await verifyFile(join(folder, 'llama-gqa.safetensors'), referenceBackend(), 'f16');
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    expect(rows.find((row) => row.tensor === 'greedy_tokens')?.bound).toBe(0);
  });

  type Config = Record<string, unknown>;
  test.each<[string, string, (config: Config) => Config, string]>([
    ['another theta', 'llama-gqa', (config) => ({ ...config, rope_theta: 20000 }), 'layer0_k_rope'],
    ['another eps', 'vicuna-style-mha', (config) => ({ ...config, rms_norm_eps: 1e-3 }), 'final_norm'],
    ['a window wider by one key', 'phi3-sliding', (config) => ({ ...config, sliding_window: 7 }), 'prefill_logits'],
    ['a window narrower by one key', 'phi3-sliding', (config) => ({ ...config, sliding_window: 5 }), 'decode_logits'],
    [
      'long factors that begin later',
      'phi3-longrope',
      (config) => ({ ...config, original_max_position_embeddings: 64 }),
      'long.prefill_logits',
    ],
    ['no longrope', 'phi3-longrope', (config) => ({ ...config, rope_scaling: null }), 'prefill_logits'],
    ['tied embeddings where they are not', 'yi-style', (config) => ({ ...config, tie_word_embeddings: true }), ''],
  ])('found: %s', async (_what, name, change, output) => {
    const path = join(scratch, `${name}-${Math.random().toString(36).slice(2)}.safetensors`);
    const source = openCheckpoint(join(folder, `${name}.safetensors`));
    const metadata = Object.fromEntries(source.metadata);
    writeSafetensors(
      path,
      [...source.stored.values()].map(({ name: tensor, dtype, shape }) => ({
        name: tensor,
        dtype,
        shape,
        values: Array.from(source.tensor(tensor), Number),
      })),
      { ...metadata, config: JSON.stringify(change(JSON.parse(metadata['config'] ?? '{}') as Config)) },
    );
    source.close();
    if (output === '') return expect(verifyFile(path, referenceBackend())).rejects.toThrow(/lm_head/);
    const rows = await verifyFile(path, referenceBackend());
    expect(rows.find((row) => row.tensor === output)?.verdict).toBe('WRONG');
  });
});

// ---- prefill and decode --------------------------------------------------------------------------------------------

const small = {
  model_type: 'llama',
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  vocab_size: 50,
  rms_norm_eps: 1e-5,
};
const tiny = llama(small);
const source = randomParams(11);

interface Ran {
  readonly logits: Float64Array;
  readonly token: readonly number[];
  readonly states: ReadonlyMap<string, ArrayLike<number>>;
}

function run(
  graph: Graph,
  model: LanguageModel,
  feeds: Record<string, ArrayLike<number>> & { readonly positions: ArrayLike<number> },
  symbols: Record<string, number>,
  states?: Ran['states'],
  params: ParamSource = source,
): Ran {
  const { positions, ...given } = feeds;
  const { cos, sin } = turnTables(model.config, positions);
  const result = evaluate(
    graph,
    {
      inputs: new Map(Object.entries({ ...given, cos, sin })),
      symbols: new Map(Object.entries(symbols)),
      states,
      params: (path, shape) => params.read(path, shape),
    },
    { precision: 'f64' },
  );
  return {
    logits: result.outputs.get('logits')?.data ?? new Float64Array(),
    token: Array.from(result.outputs.get('token')?.data ?? []),
    states: result.states,
  };
}

/** Logits of every position, without a cache. */
function whole(model: LanguageModel, ids: readonly number[]): readonly (readonly number[])[] {
  const graph = trace(source, (t) => {
    const turn = openTurn(t, model.config, { batch: 1, length: ids.length });
    const { layer, layers } = decoderLayers(t.params.at('model'), model, turn);
    let hidden = embedTokens(t.params, model.config, t.input('ids', 'b s', { b: 1, s: ids.length }, 'i32'));
    for (let i = 0; i < layers; i++) hidden = layer(hidden, i);
    return { logits: logitsOf(t.params, model.config, finalNorm(t.params, model.config, hidden)) };
  });
  const { logits } = run(graph, model, { ids, positions: ids.map((_, i) => i) }, {});
  return ids.map((_, i) => Array.from(logits.slice(i * model.config.vocabulary, (i + 1) * model.config.vocabulary)));
}

const close = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length);
  expect(Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] ?? NaN))))).toBeLessThan(1e-6);
};
const counting = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
const ids = [3, 41, 7, 7, 19, 2, 33, 48];

/** A prompt with nothing before it. */
const prefillGraph = (params: ParamSource, model: LanguageModel, options: TurnOptions): Graph =>
  turnGraph(params, model, { ...options, past: 'none' });
/** One token behind others. */
const decodeGraph = (params: ParamSource, model: LanguageModel, sizes: TurnSizes): Graph =>
  turnGraph(params, model, { ...sizes, promptLimit: 1 });

describe('prefill and decode', () => {
  const windowed = phi3({ ...small, model_type: 'phi3', sliding_window: 3 });

  test.each([
    ['llama', tiny],
    ['phi3 with a window', windowed],
  ] as const)('%s: a prompt, then single tokens, equals the whole at once', (_name, model) => {
    const expected = whole(model, ids);
    const sizes = { batch: 1, capacity: 12 };
    const prefill = prefillGraph(source, model, { ...sizes, promptLimit: 9 });
    const decode = decodeGraph(source, model, sizes);
    let last = run(prefill, model, { ids: ids.slice(0, 5), positions: counting(0, 5) }, { s: 5 });
    close(last.logits, expected[4] ?? []);
    for (const past of [5, 6, 7]) {
      last = run(decode, model, { ids: ids.slice(past, past + 1), positions: [past] }, { past }, last.states);
      close(last.logits, expected[past] ?? []);
      expect(last.token).toEqual([last.logits.indexOf(Math.max(...last.logits))]);
    }
  });

  test('both graphs name the same states, of a constant capacity', () => {
    const states = (graph: Graph) =>
      graph.updates.map(
        ({ state }) =>
          `${nameOf(state)} ${state.type.axes.map((axis) => `${axis.name}:${String(axis.size)}`).join(' ')}`,
      );
    const sizes = { batch: 2, capacity: 12 };
    const decode = states(decodeGraph(source, tiny, sizes));
    expect(states(prefillGraph(source, tiny, { ...sizes, promptLimit: 9 }))).toEqual(decode);
    expect(decode).toEqual(['k.0', 'v.0', 'k.1', 'v.1'].map((name) => `${name} b:2 g:2 t:12 d:4`));
  });

  test('a prompt in parts, the first behind nothing', () => {
    const expected = whole(tiny, ids);
    const graph = turnGraph(source, tiny, { batch: 1, capacity: 12, promptLimit: 4 });
    const first = run(graph, tiny, { ids: ids.slice(0, 3), positions: [0, 1, 2] }, { past: 0, s: 3 });
    const second = run(graph, tiny, { ids: ids.slice(3, 7), positions: [3, 4, 5, 6] }, { past: 3, s: 4 }, first.states);
    close(first.logits, expected[2] ?? []);
    close(second.logits, expected[6] ?? []);
  });

  test('embeddings in place of ids', () => {
    const table = source.read('model.embed_tokens.weight', [50, 24]);
    const graph = prefillGraph(randomLike(['model.embed_tokens.weight']), tiny, {
      batch: 1,
      capacity: 12,
      promptLimit: 9,
      from: 'embeds',
    });
    const embeds = ids.flatMap((id) => Array.from(table.slice(24 * id, 24 * id + 24)));
    close(run(graph, tiny, { embeds, positions: counting(0, 8) }, { s: 8 }).logits, whole(tiny, ids).at(-1) ?? []);
  });

  test.each(['left', 'right'] as const)('prompts of different lengths, padded on the %s', (side) => {
    const prompts = [ids.slice(0, 5), ids.slice(2, 5)];
    const [width, vocabulary, capacity] = [5, 50, 9];
    const padded = prompts.map((prompt) =>
      side === 'left'
        ? [...Array<number>(width - prompt.length).fill(0), ...prompt]
        : [...prompt, ...Array<number>(width - prompt.length).fill(0)],
    );
    const attend = prompts.map((prompt) =>
      counting(0, width).map((i) => Number(side === 'left' ? i >= width - prompt.length : i < prompt.length)),
    );
    const sizes = { batch: 2, capacity, padded: true };
    const prefill = prefillGraph(source, tiny, { ...sizes, promptLimit: width, lastNamed: side === 'right' });
    const feeds = {
      ids: padded.flat(),
      attend: attend.flat(),
      positions: paddedPositions(attend.flat(), width),
      ...(side === 'right' ? { last: prompts.map((prompt) => prompt.length - 1) } : {}),
    };
    let last = run(prefill, tiny, feeds, { s: width });
    const decode = decodeGraph(source, tiny, sizes);
    const told = prompts.map((prompt) => [...prompt]);
    for (let step = 0; ; step++) {
      told.forEach((row, b) =>
        close(last.logits.slice(b * vocabulary, (b + 1) * vocabulary), whole(tiny, row).at(-1) ?? []),
      );
      if (step === 3) break;
      const positions = told.map((row) => row.length);
      last.token.forEach((token, b) => {
        told[b]?.push(token);
        attend[b]?.push(1);
      });
      last = run(
        decode,
        tiny,
        { ids: last.token, attend: attend.flat(), positions },
        { past: width + step },
        last.states,
      );
    }
  });

  test('tied embeddings are the output matrix', () => {
    const tied = llama({ ...small, tie_word_embeddings: true });
    const graph = prefillGraph(source, tied, { batch: 1, capacity: 12, promptLimit: 9 });
    const names = order(graph)
      .filter((node) => node.op.name === 'param')
      .map((node) => nameOf(node));
    expect(names).not.toContain('lm_head.weight');
    const asUntied: ParamSource = {
      ...source,
      read: (path, shape) => source.read(path === 'lm_head.weight' ? 'model.embed_tokens.weight' : path, shape),
    };
    const untied = prefillGraph(source, tiny, { batch: 1, capacity: 12, promptLimit: 9 });
    const feeds = { ids, positions: counting(0, 8) };
    close(run(graph, tied, feeds, { s: 8 }).logits, run(untied, tiny, feeds, { s: 8 }, undefined, asUntied).logits);
  });
});

/** Random parameters under checkpoint rules: only these names exist besides what is asked for by size. */
function randomLike(without: readonly string[]): ParamSource {
  return {
    ...source,
    shape: (path) => {
      if (without.includes(path)) throw new Error(`${path} was read`);
      return undefined;
    },
  };
}

describe('compiled', () => {
  const sizes = { batch: 1, capacity: 64 };
  test.each(
    [lavapipe, desktopGpu].flatMap((profile) =>
      (['f32', 'f16'] as const).map((dtype) => [profile.name, dtype, profile] as const),
    ),
  )('%s, %s: attention is one kernel a layer; the cache is not copied', (_name, dtype, profile) => {
    const params = randomParams(1, { dtype });
    for (const graph of [
      prefillGraph(params, tiny, { ...sizes, promptLimit: 32 }),
      decodeGraph(params, tiny, sizes),
      turnGraph(params, tiny, { ...sizes, promptLimit: 32 }),
    ]) {
      const plan = compile(graph, profile, { verify: true });
      expect(plan.dispatches.filter(({ label }) => label.startsWith('attention'))).toHaveLength(2);
      expect(plan.states.map(({ name }) => name).sort()).toEqual(['k.0', 'k.1', 'v.0', 'v.1']);
      expect(plan.dispatches.filter(({ label }) => label.startsWith('concat'))).toEqual([]);
    }
  });

  test('a prompt pays the output matrix once', () => {
    const plan = compile(prefillGraph(source, tiny, { ...sizes, promptLimit: 32 }), lavapipe);
    const head = plan.dispatches.filter(({ path, label }) => path === 'lm_head' && label.includes('contract'));
    expect(head).toHaveLength(1);
    expect(head[0]?.flops).toBeLessThan(2 * (2 * 24 * 50));
  });
});

// ---- positions -----------------------------------------------------------------------------------------------------

describe('rotary positions', () => {
  const rope = (scaling: Parameters<typeof frequencies>[0]['scaling'], rotated = 128, theta = 500000) => ({
    theta,
    rotated,
    scaling,
  });

  test('the nested layout of transformers 5 reads as the flat one of 4', () => {
    const flat = { rope_theta: 1e6, rope_local_base_freq: 5e3, rope_scaling: { rope_type: 'linear', factor: 8 } };
    const nested = {
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
        sliding_attention: { rope_type: 'default', rope_theta: 5e3 },
      },
    };
    expect(gemma3({ ...small, ...nested }).config).toEqual(gemma3({ ...small, ...flat }).config);
    const half = { partial_rotary_factor: 0.5, rope_theta: 500 };
    const joint = { rope_parameters: { rope_type: 'default', ...half } };
    expect(llama({ ...small, ...joint }).config).toEqual(llama({ ...small, ...half }).config);
    expect(llama({ ...small, ...half }).config.rope).toMatchObject({ rotated: 2, theta: 500 });
  });

  test('Llama 3.1 scaling: by wavelength, as transformers states it', () => {
    const [factor, low, high, original] = [8, 1, 4, 8192];
    const plain = frequencies(rope({ kind: 'none' }), 1);
    const scaled = frequencies(rope({ kind: 'llama3', factor, low, high, original }), 1);
    const seen = new Set<string>();
    plain.forEach((frequency, j) => {
      const wavelength = (2 * Math.PI) / frequency;
      const smooth = (original / wavelength - low) / (high - low);
      const [band, expected] =
        wavelength < original / high
          ? ['kept', frequency]
          : wavelength > original / low
            ? ['divided', frequency / factor]
            : ['between', ((1 - smooth) * frequency) / factor + smooth * frequency];
      seen.add(band as string);
      expect(scaled[j]).toBeCloseTo(expected as number, 14);
    });
    expect(seen.size).toBe(3);
  });

  test('linear scaling stretches positions', () => {
    const stretched = ropeTables(rope({ kind: 'linear', factor: 4 }), [8, 12]);
    const plain = ropeTables(rope({ kind: 'none' }), [2, 3]);
    expect(stretched).toEqual(plain);
  });

  test('large positions keep their accuracy', () => {
    const { cos, sin } = ropeTables(rope({ kind: 'none' }, 2), [7900]);
    // 7900 rad = 1257·2π + 2.0362…
    expect(cos[0]).toBeCloseTo(Math.cos(7900 - 1257 * 2 * Math.PI), 7);
    expect(sin[0]).toBeCloseTo(Math.sin(7900 - 1257 * 2 * Math.PI), 7);
  });

  test('longrope chooses by the whole length, under both spellings and in newer configs', () => {
    const lists = { short_factor: [1, 2], long_factor: [4, 8] };
    const base = {
      ...small,
      model_type: 'phi3',
      num_attention_heads: 6,
      head_dim: 4,
      max_position_embeddings: 64,
      original_max_position_embeddings: 16,
    };
    const models = [
      phi3({ ...base, rope_scaling: { type: 'su', ...lists } }),
      phi3({ ...base, rope_scaling: { rope_type: 'longrope', ...lists } }),
      phi3({ ...base, rope_parameters: { rope_theta: 10000, rope_type: 'longrope', ...lists } }),
    ];
    for (const { config } of models) {
      expect([...frequencies(config.rope, 16)]).toEqual([1, 0.01 / 2]);
      expect([...frequencies(config.rope, 17)]).toEqual([1 / 4, 0.01 / 8]);
      const amplitude = Math.sqrt(1 + Math.log(4) / Math.log(16));
      expect(ropeTables(config.rope, [0]).cos[0]).toBeCloseTo(amplitude, 6);
    }
  });

  test('padding repeats a position, on either side', () => {
    expect([...paddedPositions([0, 0, 1, 1, 1, 1, 1, 1, 0, 0], 5)]).toEqual([0, 0, 0, 1, 2, 0, 1, 2, 2, 2]);
  });
});

describe('configs', () => {
  test('absent fields take the defaults of transformers', () => {
    const { config } = llama({
      hidden_size: 64,
      intermediate_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      vocab_size: 5,
    });
    expect(config).toMatchObject({
      eps: 1e-6,
      keyValueHeads: 4,
      headSize: 16,
      tied: false,
      attentionBias: false,
      rope: { theta: 10000, scaling: { kind: 'none' } },
    });
    expect(phi3({ ...small, rms_norm_eps: null }).config).toMatchObject({ eps: 1e-5, window: undefined });
    expect(phi3({ ...small, sliding_window: 2047 }, { window: 'older' }).config.window).toBe(2048);
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      'a scaling that is not known',
      () => llama({ ...small, rope_scaling: { rope_type: 'proportional', factor: 2 } }),
      /proportional[^]*known are .*llama3/,
    ],
    [
      'heads that do not divide',
      () => llama({ ...small, num_key_value_heads: 4 }),
      /6 query heads do not divide among 4/,
    ],
    [
      'an uneven head',
      () => llama({ ...small, hidden_size: 18, num_attention_heads: 6, num_key_value_heads: 2 }),
      /3 channels/,
    ],
    [
      'a width that heads do not divide',
      () => llama({ ...small, hidden_size: 25 }),
      /'hidden_size'[^]*is 25, which 6 heads do not divide[^]*head_dim/,
    ],
    ['a missing field', () => llama({ ...small, vocab_size: undefined }), /has no 'vocab_size'/],
    ['a field of another type', () => llama({ ...small, vocab_size: '50' }), /'vocab_size'[^]*is not a number/],
    ['a misspelt field', () => llama({ ...small, hidden_size: undefined, hiden_size: 24 }), /hiden_size/],
    ['another activation', () => phi3({ ...small, hidden_act: 'gelu' }), /hidden_act[^]*gelu/],
    [
      'factors for another head',
      () => phi3({ ...small, rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1, 1] } }),
      /short_factor[^]*1 numbers[^]*2 frequencies/,
    ],
    ['an odd part of heads', () => phi3({ ...small, partial_rotary_factor: 0.75 }), /4 channels, 3 of them rotated/],
    [
      'a key of rope_parameters that would be ignored',
      () => llama({ ...small, rope_parameters: { rope_type: 'default', rope_theta: 1e4, beta_fast: 32 } }),
      /'beta_fast'[^]*rope_parameters[^]*is not known[^]*known are rope_type/,
    ],
    ['a layer of an unknown type', () => qwen2({ ...small, layer_types: ['full_attention', 'chunked'] }), /'chunked'/],
    ['no object', () => llama([]), /not a JSON object/],
    [
      'a weight of another size',
      () =>
        prefillGraph(fixedParams({ 'model.embed_tokens.weight': { shape: [49, 24], values: [] } }), tiny, {
          batch: 1,
          capacity: 4,
          promptLimit: 4,
        }),
      /49[^]*50/,
    ],
  ])('%s', (_what, make, message) => expect(make).toThrow(message));
});

// ---- the released models -------------------------------------------------------------------------------------------

/** Sizes of the parameters that a graph reads, by path. */
function parameters(graph: Graph): Map<string, number> {
  return new Map(
    order(graph)
      .filter((node) => node.op.name === 'param')
      .map((node) => [nameOf(node), node.type.axes.reduce((count, axis) => count * Number(axis.size), 1)]),
  );
}
const total = (sizes: Map<string, number>) => [...sizes.values()].reduce((sum, size) => sum + size, 0);

const released = {
  'phi3-3b': phi3(phi3Configs['Phi-3-mini-4k-instruct']),
  '8b': llama(llamaConfigs['Meta-Llama-3-8B-Instruct']),
  '13b': llama(llamaConfigs['vicuna-13b-v1.5']),
  '34b': llama(llamaConfigs['Nous-Hermes-2-Yi-34B']),
};

// Counts and numbers of tensors: sizes of the checkpoints on the hub.
describe('parameters of the released models', () => {
  test.each([
    ['phi3-3b', 3_821_079_552, 195],
    ['8b', 8_030_261_248, 291],
    ['13b', 13_015_864_320, 363],
    ['34b', 34_388_917_248, 543],
  ] as const)('language model of %s', (name, count, tensors) => {
    const read = parameters(decodeGraph(source, released[name], { batch: 1, capacity: 4096 }));
    expect(total(read)).toBe(count);
    expect(read.size).toBe(tensors);
  });

  test.each([
    ['phi3-3b', 10, 3, 3_821_079_552 + 273_397_760, 680],
    ['8b', 10, 3, 8_030_261_248 + 302_760_960, 776],
    ['13b', 10, 4, 13_015_864_320 + 334_221_312, 848],
    ['34b', 9, 7, 34_388_917_248 + 375_085_056, 993],
  ] as const)('Cambrian %s, with SVA layers inside', (name, count, stride, parametersInAll, tensors) => {
    const read = parameters(
      cambrian(
        released[name],
        { count, stride, start: 0 },
        {
          side: 24,
          aux: [
            [1152, 24],
            [1024, 24],
            [1536, 24],
            [5760, 96],
          ],
          width: 1024,
          depth: 3,
          length: 640,
        },
      ),
    );
    expect(total(read)).toBe(parametersInAll);
    expect(read.size).toBe(tensors);
  });
});

interface Vision {
  readonly side: number;
  /** Width and side of each encoder's map. */
  readonly aux: readonly (readonly [number, number])[];
  readonly width: number;
  readonly depth: number;
  readonly length: number;
}

/** Connector, decoder with SVA layers, logits of the last token: the decoder as `decodeWithVision` takes it. */
function cambrian(
  model: LanguageModel,
  schedule: { count: number; stride: number; start: number },
  { side, aux, width, depth, length }: Vision,
): Graph {
  const { config } = model;
  const shapes = new Map([
    ['model.embed_tokens.weight', [config.vocabulary, config.hidden]],
    ['model.image_newline', [config.hidden]],
  ]);
  return trace({ ...source, shape: (path) => shapes.get(path) }, (t) => {
    const p = t.params.at('model');
    const maps = aux.map(([c, h], k): FeatureMap => t.input(`tower_${k}`, 'b h w c', { b: 1, h, w: h, c }));
    const { tokens, features, context } = spatialVisionAggregator(p, maps, {
      groups: [side],
      depth,
      side,
      width,
      llmWidth: config.hidden,
    });
    const integers = (name: string) => t.input(name, 'b s', { b: 1, s: length }, 'i32');
    const embeds = embedSequence(p, tokens, { ids: integers('ids'), slots: integers('slots') });
    const turn = openTurn(t, config, { batch: 1, length });
    const outputs: Record<string, ReturnType<typeof embedSequence>> = {};
    const hidden = decodeWithVision(
      p,
      embeds,
      decoderLayers(p, model, turn),
      {
        schedule,
        sight: { context, regions: features.map((map) => regionsOf(map, side)) },
        place: t.input('place', 'b q', { b: 1, q: side * side }, 'i32'),
        slot: integers('slot'),
      },
      (path, value) => {
        if (path === 'hidden_01') outputs['first'] = value as typeof embeds;
      },
    );
    return { logits: logitsOf(t.params, config, finalNorm(t.params, config, hidden)), ...outputs };
  });
}

test('an SVA layer between decoder layers changes image tokens, and later text through attention', () => {
  const model = llama({ ...small, hidden_size: 24 });
  const vision = {
    side: 2,
    aux: [
      [6, 2],
      [5, 4],
    ] as const,
    width: 16,
    depth: 1,
    length: 9,
  };
  // Text, 2 rows of 2 image tokens and a newline, text.
  const slots = [-2, 0, 1, -1, 2, 3, -1, -2, -2];
  const inputs = new Map<string, ArrayLike<number>>(
    Object.entries({
      ids: [4, 0, 0, 0, 0, 0, 0, 9, 30],
      slots,
      place: [1, 2, 4, 5],
      slot: slots.map((slot) => (slot >= 0 ? slot : -1)),
      ...turnTables(model.config, counting(0, 9)),
      tower_0: Array.from({ length: 4 * 6 }, (_, i) => Math.sin(i * i)),
      tower_1: Array.from({ length: 16 * 5 }, (_, i) => Math.cos(3 * i * i)),
    }),
  );
  const states = (count: number) =>
    evaluate(
      cambrian(model, { start: 0, stride: 1, count }, vision),
      { inputs, params: (path, shape) => source.read(path, shape) },
      { precision: 'f64' },
    ).outputs;
  const [without, withOne] = [states(0), states(1)];
  const changed = (name: string, width: number) =>
    counting(0, 9).filter((i) =>
      counting(i * width, width).some((j) => without.get(name)?.data[j] !== withOne.get(name)?.data[j]),
    );
  expect(changed('first', 24)).toEqual([1, 2, 4, 5]);
  expect(changed('logits', 50)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});
