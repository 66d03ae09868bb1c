// Vision encoders: golden files of the reference implementations, other checkpoints' names, sizes at full scale, what is refused.
import { ConfigReader } from '../../models/configs/config-reader.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { fixedParams, randomParams, trace, type Params, type ParamSource, type Tensor } from '../../dsl/index.ts';
import {
  clipConfig,
  clipFeatures,
  clipLarge336,
  clipShapes,
  clipUnread,
  clipVision,
} from '../../models/towers/clip.ts';
import { convNext, convNextFeatures, convNextXxl } from '../../models/towers/convnext.ts';
import { convNextBlock } from '../../models/towers/convnext-block.ts';
import { convNextShapes, convNextUnread } from '../../models/towers/convnext-shapes.ts';
import {
  dinov2Features,
  dinov2Giant,
  dinov2Large518,
  dinov2Vision,
  type Dinov2Config,
} from '../../models/towers/dinov2.ts';
import { dinov2Shapes, dinov2Unread } from '../../models/towers/dinov2-shapes.ts';
import { countParameters, type Shapes } from '../../models/configs/param-shapes.ts';
import {
  siglipConfig,
  siglipFeatures,
  siglipSo400m384,
  siglipVision,
  type SiglipConfig,
} from '../../models/towers/siglip.ts';
import { siglipUnread } from '../../models/towers/siglip-names.ts';
import { siglipShapes } from '../../models/towers/siglip-shapes.ts';
import { channelsLast, patchConv, type Pixels } from '../../models/towers/tower.ts';
import { classTokenOf, positionsFor, type PositionResize } from '../../models/towers/vit.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { numbers, run } from '../dsl/run.ts';

const folder = join(import.meta.dirname, '../golden/models');
const files = ['clip-vit', 'siglip-vit', 'dinov2', 'dinov2-swiglu', 'convnext', 'preprocess'];
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-encoders-'));
afterAll(() => rmSync(scratch, { recursive: true }));

interface Changes {
  readonly config?: (config: Record<string, unknown>) => Record<string, unknown>;
  readonly rename?: (name: string) => string;
}

function changed(name: string, changes: Changes): string {
  const source = openCheckpoint(join(folder, `${name}.safetensors`));
  const path = join(scratch, `${Math.random().toString(36).slice(2)}.safetensors`);
  const tensors = [...source.stored.values()].map(({ name: tensor, dtype, shape }) => ({
    name: changes.rename?.(tensor) ?? tensor,
    dtype,
    shape,
    values: Array.from(source.tensor(tensor), Number),
  }));
  const metadata = Object.fromEntries(source.metadata);
  const config = JSON.parse(metadata['config'] ?? '{}') as Record<string, unknown>;
  writeSafetensors(path, tensors, { ...metadata, config: JSON.stringify(changes.config?.(config) ?? config) });
  source.close();
  return path;
}

async function wrong(path: string): Promise<readonly string[]> {
  return (await verifyFile(path, referenceBackend())).filter((row) => row.verdict !== 'ok').map((row) => row.tensor);
}

describe('golden files', () => {
  test.each(files)('%s', async (name) => {
    const rows = await verifyFile(join(folder, `${name}.safetensors`), referenceBackend());
    expect(rows.length).toBeGreaterThan(6);
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
  });

  test.each<[string, string, Changes]>([
    ['CLIP without the prefix', 'clip-vit', { rename: (n) => n.replace('vision_model.', '') }],
    ['SigLIP without the prefix', 'siglip-vit', { rename: (n) => n.replace('vision_model.', '') }],
    ['DINOv2 with a prefix', 'dinov2', { rename: (n) => (/^(input|output)/.test(n) ? n : `dinov2.${n}`) }],
    ['a ConvNeXt trunk by itself', 'convnext', { rename: (n) => n.replace('visual.trunk.', '') }],
    [
      'defaults of the classes for what a config leaves out',
      'clip-vit',
      { config: ({ hidden_act: _, layer_norm_eps: __, ...rest }) => rest },
    ],
  ])('%s', async (_what, name, changes) => expect(await wrong(changed(name, changes))).toEqual([]));

  // The bounds are worth something only if they see the mistakes that are easily made.
  test.each<[string, string, Changes, readonly string[]]>([
    [
      'another GELU in CLIP',
      'clip-vit',
      { config: (c) => ({ ...c, hidden_act: 'gelu' }) },
      ['block0', 'last_hidden_state'],
    ],
    [
      'exact instead of tanh GELU in SigLIP',
      'siglip-vit',
      { config: (c) => ({ ...c, hidden_act: 'gelu' }) },
      ['last_hidden_state'],
    ],
    ['another epsilon in DINOv2', 'dinov2', { config: (c) => ({ ...c, layer_norm_eps: 1e-5 }) }, ['block0']],
    ['another epsilon in ConvNeXt', 'convnext', { config: (c) => ({ ...c, norm_eps: 1e-6 }) }, ['stem']],
    [
      'the two resizes of positions exchanged',
      'dinov2',
      {
        rename: (n) =>
          n.replace(
            /^output\.(offset01\.)?(block0|pos_embed|last_hidden_state)$/,
            (_, offset, rest: string) => `output.${offset === undefined ? 'offset01.' : ''}${rest}`,
          ),
      },
      ['pos_embed', 'offset01.pos_embed'],
    ],
  ])('%s is seen', async (_what, name, changes, seen) =>
    expect(await wrong(changed(name, changes))).toEqual(expect.arrayContaining([...seen])),
  );

  test.each<[string, string, Changes, RegExp]>([
    [
      'an activation that no encoder has',
      'clip-vit',
      { config: (c) => ({ ...c, hidden_act: 'relu' }) },
      /activation 'relu'[^]*quick_gelu/,
    ],
    ['more layers than the file has', 'siglip-vit', { config: (c) => ({ ...c, num_hidden_layers: 4 }) }, /layers\.3/],
    [
      'fewer layers than the file has',
      'dinov2',
      { config: (c) => ({ ...c, num_hidden_layers: 2 }) },
      /not read[^]*layer\.2/,
    ],
    [
      'another picture size',
      'clip-vit',
      { config: (c) => ({ ...c, image_size: 28 }) },
      /\[37 64\][^]*n:50[^]*position_embedding/,
    ],
    ['stages of one kind only', 'convnext', { config: (c) => ({ ...c, dims: [12, 24] }) }, /4 depths and 2 dims/],
    ['an MLP of another form', 'dinov2', { config: (c) => ({ ...c, use_swiglu_ffn: true }) }, /weights_in/],
  ])('%s is refused', async (_what, name, changes, message) => {
    await expect(verifyFile(changed(name, changes), referenceBackend())).rejects.toThrow(message);
  });
});

// ---- timm's names for SigLIP -----------------------------------------------------------------------------------------

/** The golden checkpoint under the names of timm below open_clip's trunk: rows of q, k and v laid end to end. */
function timmSource(file: GoldenFile, layers: number): ParamSource {
  const tensors: Record<string, { shape: readonly number[]; values: readonly number[] }> = {};
  const put = (to: string, from: readonly string[], shape?: (joined: readonly number[]) => readonly number[]): void => {
    const [first = 0, ...rest] = file.shape(`vision_model.${from[0] ?? ''}`);
    const joined = [first * from.length, ...rest];
    tensors[`visual.trunk.${to}`] = {
      shape: shape?.(joined) ?? joined,
      values: from.flatMap((name) => file.numbers(`vision_model.${name}`)),
    };
  };
  const both = (to: string, ...from: string[]): void =>
    ['weight', 'bias'].forEach((part) => {
      put(
        `${to}.${part}`,
        from.map((name) => `${name}.${part}`),
      );
    });
  put('pos_embed', ['embeddings.position_embedding.weight'], (shape) => [1, ...shape]);
  both('patch_embed.proj', 'embeddings.patch_embedding');
  both('norm', 'post_layernorm');
  for (let i = 0; i < layers; i++) {
    const [to, from] = [`blocks.${i}`, `encoder.layers.${i}`];
    both(`${to}.norm1`, `${from}.layer_norm1`);
    both(`${to}.norm2`, `${from}.layer_norm2`);
    both(`${to}.attn.qkv`, ...['q', 'k', 'v'].map((part) => `${from}.self_attn.${part}_proj`));
    both(`${to}.attn.proj`, `${from}.self_attn.out_proj`);
    for (const part of ['fc1', 'fc2']) both(`${to}.mlp.${part}`, `${from}.mlp.${part}`);
  }
  put('attn_pool.latent', ['head.probe']);
  both('attn_pool.proj', 'head.attention.out_proj');
  both('attn_pool.norm', 'head.layernorm');
  for (const part of ['fc1', 'fc2']) both(`attn_pool.mlp.${part}`, `head.mlp.${part}`);
  for (const [part, name] of [
    ['weight', 'in_proj_weight'],
    ['bias', 'in_proj_bias'],
  ] as const) {
    const [[rows = 0, ...rest], values] = [
      file.shape(`vision_model.head.attention.${name}`),
      file.numbers(`vision_model.head.attention.${name}`),
    ];
    const third = values.length / 3;
    tensors[`visual.trunk.attn_pool.q.${part}`] = { shape: [rows / 3, ...rest], values: values.slice(0, third) };
    tensors[`visual.trunk.attn_pool.kv.${part}`] = { shape: [(rows / 3) * 2, ...rest], values: values.slice(third) };
  }
  return fixedParams(tensors);
}

describe('SigLIP with the names of timm', () => {
  const file = new GoldenFile(join(folder, 'siglip-vit.safetensors'));
  const config = siglipConfig(file.config);
  const params = timmSource(file, config.layers);
  const [b = 1, c = 3, h = 1, w = 1] = file.shape('input.pixel_values');
  const inputs = { x: file.numbers('input.pixel_values') };
  afterAll(() => file.checkpoint.close());

  test.each<[string, 'ignore' | 'error', (p: Params, x: Pixels) => Tensor]>([
    ['last_hidden_state', 'ignore', (p, x) => siglipVision(p, x, config).last],
    ['pooler_output', 'error', (p, x) => siglipVision(p, x, config).pooled()],
    // The default is the activation that timm, and so Cambrian, runs.
    ['erf.cambrian_features', 'ignore', (p, x) => siglipFeatures(p, x, without(config), { grid: [4, 4] })],
  ])('%s', (name, unread, build) => {
    const got = run((t) => build(t.params, channelsLast(t.input('x', 'b c h w', { b, c, h, w }))), {
      inputs,
      params,
      unread,
    }).data;
    const expected = file.numbers(`output.${name}`);
    expect(got.length).toBe(expected.length);
    expect(Math.max(...got.map((value, i) => Math.abs(value - (expected[i] ?? NaN))))).toBeLessThan(1e-5);
  });

  const without = ({ activation: _, ...rest }: SiglipConfig): SiglipConfig => rest;
});

// ---- positions -------------------------------------------------------------------------------------------------------

describe('positions', () => {
  /** Bicubic interpolation as PyTorch documents it, one output at a time. */
  const bicubic = (
    table: readonly number[],
    side: number,
    height: number,
    width: number,
    scale: readonly [number, number],
  ): number[] => {
    const filter = (x: number, a = -0.75): number =>
      x <= 1 ? (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1 : x < 2 ? a * x ** 3 - 5 * a * x ** 2 + 8 * a * x - 4 * a : 0;
    const clamp = (i: number) => Math.min(side - 1, Math.max(0, i));
    const out: number[] = [];
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++) {
        const [y, x] = [(i + 0.5) * scale[0] - 0.5, (j + 0.5) * scale[1] - 0.5];
        let sum = 0;
        for (let m = Math.floor(y) - 1; m <= Math.floor(y) + 2; m++)
          for (let n = Math.floor(x) - 1; n <= Math.floor(x) + 2; n++) {
            sum += filter(Math.abs(y - m)) * filter(Math.abs(x - n)) * (table[clamp(m) * side + clamp(n)] ?? NaN);
          }
        out.push(sum);
      }
    return out;
  };

  const side = 6;
  const table = numbers(side * side + 1);
  const positions = (
    height: number,
    width: number,
    picture: readonly [number, number],
    by?: PositionResize,
  ): readonly number[] =>
    run((t) =>
      positionsFor(t.constant(table, 'n c', { n: side * side + 1, c: 1 }), {
        classTokens: 1,
        grid: [height, width],
        picture,
        by,
      }),
    ).data;
  const close = (got: readonly number[], wanted: readonly number[]): void => {
    expect(got.length).toBe(wanted.length);
    got.forEach((value, i) => expect(value).toBeCloseTo(wanted[i] ?? NaN, 5));
  };

  test.each([
    [3, 5],
    [4, 4],
    [9, 2],
    [1, 1],
    [13, 7],
  ])('to a grid of %i × %i, by sizes and by offset', (height, width) => {
    const picture = [height * 14, width * 14 + 3] as const;
    close(positions(height, width, picture), [
      table[0] ?? NaN,
      ...bicubic(table.slice(1), side, height, width, [side / height, side / width]),
    ]);
    close(positions(height, width, picture, { offset: 0.1 }), [
      table[0] ?? NaN,
      ...bicubic(table.slice(1), side, height, width, [side / (height + 0.1), side / (width + 0.1)]),
    ]);
  });

  test('a square picture with the native number of patches takes the table itself; one that is not square does not', () => {
    expect(positions(6, 6, [84, 84], { offset: 0.1 })).toEqual(table);
    close(positions(6, 6, [84, 88], { offset: 0.1 }), [
      table[0] ?? NaN,
      ...bicubic(table.slice(1), side, 6, 6, [6 / 6.1, 6 / 6.1]),
    ]);
    close(positions(4, 9, [56, 126]), [table[0] ?? NaN, ...bicubic(table.slice(1), side, 4, 9, [6 / 4, 6 / 9])]);
  });

  test('a table that is not a square is refused', () => {
    expect(() =>
      run((t) =>
        positionsFor(t.constant(0, 'n c', { n: 12, c: 1 }), { classTokens: 1, grid: [2, 2], picture: [28, 28] }),
      ),
    ).toThrow(/12 positions, 1 of them/);
  });
});

// ---- full size -------------------------------------------------------------------------------------------------------

/** A checkpoint of these shapes, of which only names and sizes are ever asked. */
function shapesOnly(shapes: Shapes): ParamSource {
  return {
    dtype: 'f32',
    shape: (path) => shapes.get(path),
    names: () => shapes.keys(),
    read: () => {
      throw new Error('no values');
    },
  };
}

const picture =
  (side: number, batch = 1) =>
  (t: { input: (name: string, axes: 'b h w c', sizes: Record<string, number>) => Pixels }): Pixels =>
    t.input('x', 'b h w c', { b: batch, h: side, w: side, c: 3 });

describe('full size', () => {
  // Counts of the published checkpoints.
  test.each<[string, Shapes, number, number]>([
    ['CLIP ViT-L/14@336', clipShapes(clipLarge336), 303_507_456, 391],
    ['SigLIP SO400M/14@384, Hugging Face', siglipShapes(siglipSo400m384, 'hub'), 428_225_600, 448],
    ['DINOv2 L/14', dinov2Shapes(dinov2Large518), 304_368_640, 439],
    ['DINOv2 g/14', dinov2Shapes(dinov2Giant), 1_136_480_768, 727],
    ['ConvNeXt-XXL', convNextShapes(convNextXxl), 843_398_016, 378],
  ])('%s has as many parameters as its checkpoint', (_name, shapes, parameters, tensors) => {
    expect(countParameters(shapes)).toBe(parameters);
    expect(shapes.size).toBe(tensors);
  });

  test('timm joins the rows of q, k and v of SigLIP, and no parameter is gained or lost', () => {
    const shapes = siglipShapes(siglipSo400m384);
    expect(countParameters(shapes)).toBe(428_225_600);
    const head = [...shapes].filter(([name]) => name.includes('attn_pool'));
    expect(countParameters(shapes) - countParameters(new Map(head))).toBe(412_987_248);
  });

  // Every tensor of the checkpoint is read with its shape, and nothing else.
  test.each<[string, Shapes, number, readonly string[], (p: Params, x: Pixels) => Tensor]>([
    ['CLIP', clipShapes(clipLarge336), 336, [], (p, x) => clipVision(p, x, clipLarge336).pooled()],
    ['SigLIP', siglipShapes(siglipSo400m384), 384, [], (p, x) => siglipVision(p, x, siglipSo400m384).pooled()],
    [
      'SigLIP, Hugging Face',
      siglipShapes(siglipSo400m384, 'hub'),
      384,
      [],
      (p, x) => siglipVision(p, x, siglipSo400m384).pooled(),
    ],
    [
      'DINOv2 L',
      dinov2Shapes(dinov2Large518),
      518,
      ['embeddings.mask_token'],
      (p, x) => dinov2Vision(p, x, dinov2Large518).pooled(),
    ],
    [
      'DINOv2 g',
      dinov2Shapes(dinov2Giant),
      378,
      ['embeddings.mask_token'],
      (p, x) => dinov2Vision(p, x, dinov2Giant).pooled(),
    ],
    ['ConvNeXt', convNextShapes(convNextXxl), 1024, [], (p, x) => convNext(p, x, convNextXxl).pooled()],
  ])('%s reads all of it', (_name, shapes, side, unread, build) => {
    expect(
      trace(shapesOnly(shapes), (t) => ({ y: build(t.params, picture(side)(t)) }), { unread }).outputs.get('y')?.type
        .axes.length,
    ).toBe(2);
  });

  // Tokens and channels that Cambrian-1 takes of each tower.
  test.each<[string, Shapes, number, readonly string[], (p: Params, x: Pixels) => Tensor, readonly number[]]>([
    ['CLIP', clipShapes(clipLarge336), 336, clipUnread, (p, x) => clipFeatures(p, x, clipLarge336), [1, 24, 24, 1024]],
    [
      'SigLIP',
      siglipShapes(siglipSo400m384),
      384,
      siglipUnread,
      (p, x) => siglipFeatures(p, x, siglipSo400m384, { grid: [24, 24] }),
      [1, 24, 24, 1152],
    ],
    [
      'DINOv2 g',
      dinov2Shapes(dinov2Giant),
      378,
      dinov2Unread,
      (p, x) => dinov2Features(p, x, dinov2Giant, { grid: [24, 24] }),
      [1, 24, 24, 1536],
    ],
    [
      'ConvNeXt',
      convNextShapes(convNextXxl),
      1024,
      convNextUnread,
      (p, x) => convNextFeatures(p, x, convNextXxl, { grid: [96, 96] }),
      [1, 96, 96, 5760],
    ],
  ])('what Cambrian takes of %s', (_name, shapes, side, unread, build, sizes) => {
    const graph = trace(shapesOnly(shapes), (t) => ({ y: build(t.params, picture(side)(t)) }), { unread });
    expect(graph.outputs.get('y')?.type.axes.map((axis) => axis.size)).toEqual(sizes);
  });
});

// ---- what they compile to --------------------------------------------------------------------------------------------

describe('plans', () => {
  const dispatches = (build: (p: Params, x: Pixels) => Tensor, side = 28, channels = 3): number =>
    compile(
      trace(randomParams(1), (t) => ({
        y: build(t.params, t.input('x', 'b h w c', { b: 1, h: side, w: side, c: channels })),
      })),
      desktopGpu,
    ).dispatches.length;
  const small = { width: 64, heads: 4, hidden: 256, image: 28, patch: 4, eps: 1e-6 } as const;

  test('a layer of a vision transformer is seven kernels', () => {
    const siglip = (layers: number) => dispatches((p, x) => siglipVision(p, x, { ...small, layers }).last);
    const clip = (layers: number) =>
      dispatches((p, x) => clipVision(p, x, { ...small, layers, activation: 'quick' }).last);
    const dino = (layers: number) =>
      dispatches((p, x) => dinov2Vision(p, x, { ...small, layers, activation: 'exact' }).last);
    for (const model of [siglip, clip, dino]) expect(model(12) - model(2)).toBeLessThanOrEqual(70);
    expect(siglip(12)).toBeLessThanOrEqual(12 * 7 + 2);
  });

  test('layers that no output needs are not run', () => {
    const config = { ...small, layers: 12, activation: 'quick' } as const;
    expect(dispatches((p, x) => clipFeatures(p, x, config, { layer: 2 }))).toBe(
      dispatches((p, x) => clipFeatures(p, x, { ...config, layers: 3 })),
    );
  });

  test('a ConvNeXt block is four kernels', () => {
    expect(dispatches((p, x) => convNextBlock(p.at('blocks', 0), x, convNextXxl), 14, 64)).toBeLessThanOrEqual(4);
  });

  test('positions of another grid are made when weights are loaded', () => {
    const config: Dinov2Config = { ...small, layers: 1, activation: 'exact' };
    const at = (side: number) => dispatches((p, x) => dinov2Vision(p, x, config).last, side);
    expect(at(40)).toBe(at(28));
  });
});

// ---- options and refusals --------------------------------------------------------------------------------------------

describe('taps', () => {
  const config = {
    width: 8,
    layers: 3,
    heads: 2,
    hidden: 16,
    image: 8,
    patch: 2,
    eps: 1e-5,
    activation: 'quick',
  } as const;
  const inputs = { x: numbers(2 * 8 * 8 * 3) };
  const got = (build: (p: Params, x: Pixels) => Tensor) => run((t) => build(t.params, picture(8, 2)(t)), { inputs });

  test('layer, norm and grid', () => {
    const { data, shape } = got((p, x) => clipFeatures(p, x, config));
    expect(shape).toEqual([2, 4, 4, 8]);
    expect(data).toEqual(got((p, x) => clipFeatures(p, x, config, { layer: 2 })).data);
    expect(data).not.toEqual(got((p, x) => clipFeatures(p, x, config, { layer: -1 })).data);
    expect(got((p, x) => clipFeatures(p, x, config, { grid: [3, 2] })).shape).toEqual([2, 3, 2, 8]);
    // A norm's output has its own mean and deviation, here near 0 and 1.
    const row = got((p, x) => clipFeatures(p, x, config, { norm: true })).data.slice(0, 8);
    expect(Math.abs(row.reduce((a, v) => a + v, 0) / 8)).toBeLessThan(0.1);
  });

  test('the class token', () => {
    expect(
      got((p, x) => {
        const encoded = clipVision(p, x, config);
        return classTokenOf(encoded.last, encoded);
      }).shape,
    ).toEqual([2, 8]);
    expect(() =>
      got((p, x) => {
        const encoded = siglipVision(p, x, config);
        return classTokenOf(encoded.last, encoded);
      }),
    ).toThrow(/no class token/);
  });

  test('stages of ConvNeXt, each with its size rounded down', () => {
    const trunk = { ...convNextXxl, depths: [1, 1, 1, 1], widths: [4, 8, 12, 16] };
    const sizes = (build: (p: Params, x: Pixels) => Tensor) =>
      trace(randomParams(1), (t) => ({ y: build(t.params, t.input('x', 'b h w c', { b: 1, h: 70, w: 53, c: 3 })) }))
        .outputs.get('y')
        ?.type.axes.map((axis) => axis.size);
    [
      [17, 13, 4],
      [8, 6, 8],
      [4, 3, 12],
      [2, 1, 16],
    ].forEach((wanted, s) => expect(sizes((p, x) => convNext(p, x, trunk).stages[s] ?? x)).toEqual([1, ...wanted]));
    expect(sizes((p, x) => convNextFeatures(p, x, trunk))).toEqual([1, 17, 13, 40]);
    expect(sizes((p, x) => convNextFeatures(p, x, trunk, { stages: [-1] }))).toEqual([1, 2, 1, 16]);
    expect(() => sizes((p, x) => convNextFeatures(p, x, trunk, { stages: [4] }))).toThrow(/no stage 4: there are 4/);
    expect(() => sizes((p, x) => convNextFeatures(p, x, trunk, { stages: [] }))).toThrow(/no stage is taken/);
  });

  test('pixels beyond the last whole patch do not count', () => {
    const edge = (border: number) =>
      run((t) => {
        const x = t.constant(
          Float32Array.from({ length: 25 * 3 }, (_, i) =>
            Math.floor(i / 15) === 4 || Math.floor(i / 3) % 5 === 4 ? border : Math.sin(i),
          ),
          'b h w c',
          { b: 1, h: 5, w: 5, c: 3 },
        );
        return patchConv(t.params, x, { patch: 2, size: 4 });
      });
    expect(edge(7).shape).toEqual([1, 2, 2, 4]);
    expect(edge(7).data).toEqual(edge(-1000).data);
  });

  test.each<[string, (p: Params, x: Pixels) => Tensor, RegExp]>([
    [
      'a picture smaller than a patch',
      (p, x) => clipFeatures(p, x, { ...config, patch: 14 }),
      /8 × 8 has no whole patch of 14 × 14/,
    ],
    [
      'a layer that is not there',
      (p, x) => clipFeatures(p, x, config, { layer: 4 }),
      /no hidden state 4: there are 4[^]*from -4 to 3/,
    ],
    ['heads that do not divide the width', (p, x) => clipFeatures(p, x, { ...config, heads: 3 }), /8[^]*3/],
  ])('%s is refused', (_what, build, message) => {
    expect(() => got(build)).toThrow(message);
  });

  test('configs without fields have the defaults of their classes', () => {
    const empty = new ConfigReader({}, 'nothing');
    expect(clipConfig(empty)).toEqual({
      width: 768,
      layers: 12,
      heads: 12,
      hidden: 3072,
      image: 224,
      patch: 32,
      eps: 1e-5,
      activation: 'quick',
    });
    expect(siglipConfig(empty)).toEqual({
      width: 768,
      layers: 12,
      heads: 12,
      hidden: 3072,
      image: 224,
      patch: 16,
      eps: 1e-6,
      activation: 'tanh',
    });
  });
});
