// SVA through the connector's contract, of pictures that were padded to a square: golden files of Cambrian's own code in its inference
// layout, which masks the keys of the padding and leaves the padded cells out of the sequence.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gradients, reduce, slice, trace, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import { sva, type SvaConnectorConfig } from '../../models/connectors/regions/sva.ts';
import { crop, croppedPositions, gridMask, type PictureSize } from '../../models/sequence/masks.ts';
import { asSquareMap, type FeatureMap } from '../../models/sequence/regions.ts';
import { imagePlaceholder } from '../../models/sequence/collate.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { gradientTolerance } from '../../pipelines/verify/golden-gradients.ts';
import { boundF32 } from '../../pipelines/verify/verdict.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

interface Setting {
  readonly file: GoldenFile;
  readonly config: SvaConnectorConfig;
  readonly pictures: readonly PictureSize[];
  readonly towers: number;
}

const side = (tokens: number): number => Math.round(Math.sqrt(tokens));

function open(path: string): Setting {
  const file = new GoldenFile(join(import.meta.dirname, '../golden', `${path}.safetensors`));
  const { config } = file;
  const sizes = file.numbers('input.image_sizes_wh');
  return {
    file,
    pictures: [0, 1].map((i) => ({ width: sizes[2 * i] ?? 0, height: sizes[2 * i + 1] ?? 0 })),
    towers: config.numbers('aux_token_len_list').length,
    config: {
      groups: config.numbers('query_num_list').map(side),
      side: side(config.number('image_token_len')),
      depth: config.number('connector_depth'),
      heads: config.number('num_heads'),
      newline: true,
      inside: {
        start: config.number('start_of_vision_sampler_layers', 0),
        stride: config.number('stride_of_vision_sampler_layers', 1),
        count: config.number('num_of_vision_sampler_layers', 0),
      },
    },
  };
}

/** The maps of pictures `from …`, as inputs. */
function mapsOf(
  t: Trace,
  { file, towers }: Setting,
  from: number,
  b: number,
  inputs: Map<string, Numbers>,
): FeatureMap[] {
  return Array.from({ length: towers }, (_, k) => {
    const [, n = 1, c = 1] = file.shape(`input.tower_features_${k}`);
    const name = `features_${k}`;
    inputs.set(name, file.numbers(`input.tower_features_${k}`).slice(from * n * c, (from + b) * n * c));
    return asSquareMap(t.input(name, 'b n c', { b, n, c }));
  });
}

function run(
  { file }: Setting,
  make: (t: Trace, p: Params, inputs: Map<string, Numbers>) => Tensor,
): ArrayLike<number> {
  const inputs = new Map<string, Numbers>();
  const graph = trace(file.checkpoint, (t) => ({ y: make(t, t.params.at('model'), inputs) }), { unread: 'ignore' });
  const params = (path: string, shape: number[]) => file.checkpoint.read(path, shape);
  return evaluate(graph, { inputs, params }, { precision: 'f32' }).outputs.get('y')?.data ?? [];
}

/** Where picture i begins in its row of the sequences, and the rows of an output there. */
function block({ file, pictures, config }: Setting, i: number, output: string) {
  const [, ids = 0] = file.shape('input.input_ids');
  const start = file
    .numbers('input.input_ids')
    .slice(i * ids, (i + 1) * ids)
    .indexOf(imagePlaceholder);
  const [, s = 0, e = 0] = file.shape(`output.${output}`);
  const area = crop(pictures[i] ?? { width: 0, height: 0 }, config.side);
  const count = area.height * (area.width + 1);
  const all = file.numbers(`output.${output}`).slice(i * s * e, (i + 1) * s * e);
  return { start, count, s, e, area, all, rows: all.slice(start * e, (start + count) * e) };
}

function expectNear(file: GoldenFile, got: ArrayLike<number>, want: readonly number[]): void {
  expect(got.length).toBe(want.length);
  const bound = boundF32(want);
  want.forEach((x, i) =>
    expect(Math.abs((got[i] ?? NaN) - x), `${file.path}, element ${i}`).toBeLessThanOrEqual(bound),
  );
}

const files = [
  'cambrian/connector_g1_inference',
  'cambrian/connector_g3_inference',
  'cambrian/inllm_inference',
  'training/grad_connector_unpad',
];

describe.each(files)('%s', (path) => {
  const setting = open(path);
  const { file, config, pictures } = setting;

  test.each([0, 1])('picture %i alone: its part of the grid, a newline behind each row', (i) => {
    const want = block(setting, i, 'inputs_embeds');
    const picture = pictures[i] ?? { width: 0, height: 0 };
    const got = run(setting, (t, p, inputs) => {
      const { tokens, layout } = sva.build(p, mapsOf(t, setting, i, 1, inputs), config, { pictures: [picture] });
      expect(layout.filter(({ role }) => role === 'newline')).toHaveLength(want.area.height);
      return tokens;
    });
    expectNear(file, got, want.rows);
  });

  test('both at once, told what each map shows when it runs: all of the grid, the same tokens where pictures are', () => {
    const e = file.size('output.inputs_embeds', 2);
    const got = run(setting, (t, p, inputs) => {
      const maps = mapsOf(t, setting, 0, 2, inputs);
      const shown = (k: number): Tensor<'b h w', 'bool'> => {
        const h = maps[k]?.size('h') ?? 0;
        inputs.set(
          `shown_${k}`,
          pictures.flatMap((picture) => Array.from(gridMask(picture, h))),
        );
        return t.input(`shown_${k}`, 'b h w', { b: 2, h, w: h }, 'bool');
      };
      return sva.build(p, maps, { ...config, newline: false }, { shown }).tokens;
    });
    for (const i of [0, 1]) {
      const { area, rows } = block(setting, i, 'inputs_embeds');
      const cells = croppedPositions(area, config.side).flatMap((cell) =>
        Array.from({ length: e }, (_, at) => got[(i * config.side ** 2 + cell) * e + at] ?? NaN),
      );
      const columns = (area.width + 1) * e;
      expectNear(
        file,
        cells,
        rows.filter((_, at) => at % columns < area.width * e),
      );
    }
  });
});

/** What the language model's loss gives back at the pictures' places goes on through the contract, one picture after the other. */
test('gradients of pictures without their padding', () => {
  const setting = open('training/grad_connector_unpad');
  const { file, config, pictures } = setting;
  const names = file.gradients.filter((name) => /^(model\.(mm_|vision_|image_)|input\.)/.test(name));
  const given = (name: string) => file.numbers(`grad.inter.${name}`);
  const inputs = new Map<string, Numbers>();
  const graph = trace(
    file.checkpoint,
    (t) => {
      const maps = mapsOf(t, setting, 0, 2, inputs);
      const losses = pictures.map((picture, i) => {
        const { start, count, s, e } = block(setting, i, 'inputs_embeds');
        const own = maps.map((map) => slice(map, 'b', { start: i, size: 1 }));
        const { tokens } = sva.build(t.params.at('model'), own, config, { pictures: [picture] });
        inputs.set(`back_${i}`, given('inputs_embeds').slice((i * s + start) * e, (i * s + start + count) * e));
        const back = t.input(`back_${i}`, 'b n e', { b: 1, n: count, e });
        return reduce(tokens.cast('f32').mul(back), 'b n e -> ', 'sum');
      });
      const axes = (name: string) => file.shape(`grad.${name}`).map((_, axis) => `axis${axis}`);
      const wrt = names.map((name): Tensor => {
        const map = maps[Number(/^input\.tower_features_(\d)$/.exec(name)?.[1])];
        return map ?? t.params.get<string>(name, axes(name).join(' '));
      });
      const [first, second] = losses;
      if (first === undefined || second === undefined) throw new Error('there are two pictures');
      return Object.fromEntries(gradients(first.add(second), wrt).map((one, i) => [names[i] ?? '', one]));
    },
    { unread: 'ignore' },
  );
  const params = (path: string, shape: number[]) => file.checkpoint.read(path, shape);
  const { outputs } = evaluate(graph, { inputs, params }, { precision: 'f64' });
  const tolerance = gradientTolerance(file, 2e-4, 2e-6);
  expect(names).toContain('model.image_newline');
  for (const name of names) {
    const want = file.numbers(`grad.${name}`);
    const got = outputs.get(name)?.data ?? [];
    expect(got.length, name).toBe(want.length);
    const bound = tolerance(`grad.${name}`)?.absolute ?? 0;
    const off = want.reduce((most, x, i) => Math.max(most, Math.abs((got[i] ?? NaN) - x)), 0);
    expect(off, name).toBeLessThanOrEqual(bound);
  }
});

describe('inside the language model', () => {
  const setting = open('cambrian/inllm_inference');
  const { file, config, pictures } = setting;
  const places = sva.inject?.after(config, file.config.number('llm_layers')) ?? [];

  test.each([0, 1].flatMap((i) => places.map((layer, index) => ({ i, layer, index }))))(
    'picture $i behind layer $layer: cells read their regions, padding aside',
    ({ i, layer, index }) => {
      const { s, e, start, count, all: before } = block(setting, i, `hidden_0${layer}`);
      const { all: after } = block(setting, i, `hidden_0${layer + 1}`);
      const picture = pictures[i] ?? { width: 0, height: 0 };
      const got = run(setting, (t, p, inputs) => {
        const { carries = {} } = sva.build(p, mapsOf(t, setting, i, 1, inputs), config, { pictures: [picture] });
        inputs.set('hidden', before);
        // The file's stand-in for a decoder layer.
        const own = p.at('layers', layer);
        const hidden = t
          .input('hidden', 'b s e', { b: 1, s, e })
          .mul(own.get('scale', 'one').at('one', 0))
          .add(own.get('bias', 'e'));
        const slots = Array.from({ length: s }, (_, at) => (at >= start && at < start + count ? at - start : -1));
        const state = {
          hidden,
          carried: carries,
          slots: t.constant<'b s', 'i32'>(slots, 'b s', { b: 1, s }, 'i32'),
        };
        return sva.inject?.apply(p, state, config, { layer, index }).hidden ?? hidden;
      });
      // Behind the end of a shorter sample stands nothing that anybody reads.
      const length = file
        .numbers('output.attention_mask')
        .slice(i * s, (i + 1) * s)
        .filter((x) => x !== 0).length;
      expectNear(file, Array.from(got).slice(0, length * e), after.slice(0, length * e));
    },
  );

  test('whoever is not told of the padding reads it', () => {
    // The first picture shows all of the grid of queries, and of the finer grid of the second tower not the first and the last row.
    const { area, rows } = block(setting, 0, 'inputs_embeds');
    expect(area).toEqual({ top: 0, left: 0, height: 4, width: 4 });
    const got = run(setting, (t, p, inputs) => sva.build(p, mapsOf(t, setting, 0, 1, inputs), config, {}).tokens);
    expect(Math.max(...rows.map((x, at) => Math.abs(x - (got[at] ?? NaN))))).toBeGreaterThan(100 * boundF32(rows));
  });
});

describe('what cannot be built', () => {
  const setting = open('cambrian/connector_g1_inference');
  const build = (pictures: readonly PictureSize[]) => () =>
    run(setting, (t, p, inputs) => sva.build(p, mapsOf(t, setting, 0, 2, inputs), setting.config, { pictures }).tokens);

  test('pictures of one batch that show different parts', () => {
    expect(build(setting.pictures)).toThrow(/show 2×4 and 4×2 of a grid of 4×4/);
  });

  test('sizes that are not as many as the pictures', () => {
    expect(build(setting.pictures.slice(0, 1))).toThrow(/the maps show 2 pictures, and 1 sizes/);
  });
});
