// LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision: sizes of pictures, both sets of names, prompts with pictures, released sizes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fixedParams, trace, type Graph, type ParamSource } from '../../dsl/index.ts';
import { readLlava, type LlavaConfig } from '../../models/configs/llava.ts';
import { newlineSlot } from '../../models/sequence/collate.ts';
import { connect } from '../../models/connectors/connector.ts';
import { llava } from '../../models/connectors/pointwise/llava.ts';
import { deco } from '../../models/connectors/pooling/deco.ts';
import { paddedPositions, turnTables } from '../../models/decoders/turn-graph.ts';
import {
  anyresLayout,
  anyresPlaces,
  anyresSlots,
  bestCanvas,
  oneVisionCanvases,
  packViews,
  shrunk,
  unpadded,
  type AnyresOptions,
  type Canvas,
} from '../../models/sequence/anyres.ts';
import { languageParams, llavaNames } from '../../models/multimodal/llava/llava-names.ts';
import { llavaConfigs } from '../support/llava-configs.ts';
import { llavaDecodeGraph, llavaPrefillGraph } from '../support/llava-turns.ts';
import { llavaShapes, viewTokens } from '../../models/multimodal/llava/llava.ts';
import { mostViews } from '../../models/multimodal/llava/llava-answer.ts';
import { llavaVisionGraph } from '../../models/multimodal/llava/llava-graphs.ts';
import { layOutPrompts, viewSlots, type LlavaPrompt } from '../../models/multimodal/llava/llava-prompts.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { anyresTiles } from '../../runtime/image/anyres-tiles.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import {
  answer,
  noise,
  oldName,
  tiny,
  tinyLayers,
  tinyNext,
  tinySource,
  tinyWithClass,
  type Item,
} from '../support/llava.ts';

// ---- sizes of pictures -------------------------------------------------------------------------------------------------

const canvases: readonly Canvas[] = llavaConfigs['llava-v1.6-vicuna-7b-hf'].image_grid_pinpoints;
const next: AnyresOptions = { canvases, tile: 336, side: 24 };
const models: ReadonlyMap<string, AnyresOptions> = new Map([
  ['next', next],
  ['onevision', { canvases: oneVisionCanvases, tile: 384, side: 27 }],
]);

/**
 * Lines made once in Python with the arithmetic of transformers' functions, copied from its sources (`select_best_resolution`, `unpad_image` on a grid of numbered tokens, and the
 * processor's count): model, height, width, canvas, rows and columns that stay, number of the first token that stays (-1: none), tokens
 * in all. Many sizes were sought out because rounding decides them.
 */
const sizes = readFileSync(join(import.meta.dirname, '../golden/anyres-sizes.txt'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => {
    const [model = '', ...numbers] = line.split(' ');
    const [height = 0, width = 0, canvasHeight = 0, canvasWidth = 0, rows = 0, columns = 0, first = 0, tokens = 0] =
      numbers.map(Number);
    const options = models.get(model);
    if (options === undefined) throw new Error(line);
    return {
      options,
      picture: { height, width },
      canvas: [canvasHeight, canvasWidth] as const,
      rows,
      columns,
      first,
      tokens,
    };
  });

describe('any resolution', () => {
  test('canvas, area and tokens of every size are those of transformers', () => {
    expect(sizes.length).toBeGreaterThan(400);
    for (const { options, picture, canvas, rows, columns, first, tokens } of sizes) {
      expect(bestCanvas(picture, options.canvases)).toEqual(canvas);
      const grid = [(canvas[0] / options.tile) * options.side, (canvas[1] / options.tile) * options.side] as const;
      const area = unpadded(picture, grid);
      expect([picture, area.height, area.width]).toEqual([picture, rows, columns]);
      if (rows * columns === 0) {
        expect(() => anyresLayout(picture, options)).toThrow(/times as long as it is (high|wide)[^]*at most \d+ times/);
        continue;
      }
      expect(area.top * grid[1] + area.left).toBe(first);
      const layout = anyresLayout(picture, options);
      expect([picture, layout.tokens]).toEqual([picture, tokens]);
      expect(anyresSlots(layout, 0)).toHaveLength(tokens);
    }
  });

  test('extreme pictures are in the list, long and high', () => {
    const refused = sizes
      .filter(({ rows, columns }) => rows * columns === 0)
      .map(({ picture }) => picture.width > picture.height);
    expect(new Set(refused).size).toBe(2);
    expect(() => anyresLayout({ height: 1, width: 500 }, next)).toThrow(
      /500 × 1 is 500\.0 times as long as it is high/,
    );
  });

  test('counts that are known: a square of four tiles has 576 + 48 · 49', () => {
    expect(anyresLayout({ height: 672, width: 672 }, next)).toMatchObject({
      canvas: [672, 672],
      tiles: [2, 2],
      views: 5,
      tokens: 2928,
    });
  });

  test('a token of the area is that of its tile', () => {
    for (const picture of [
      { height: 480, width: 640 },
      { height: 300, width: 1000 },
      { height: 700, width: 200 },
    ]) {
      const layout = anyresLayout(picture, next);
      const slots = anyresSlots(layout, 3);
      expect(slots.slice(0, 576)).toEqual(Array.from({ length: 576 }, (_, i) => 3 * 576 + i));
      const rows = slots.slice(576);
      const {
        area,
        tiles: [, columns],
      } = layout;
      rows.forEach((slot, i) => {
        const [y, x] = [area.top + Math.floor(i / (area.width + 1)), area.left + (i % (area.width + 1))];
        if (i % (area.width + 1) === area.width) return expect(slot).toBe(newlineSlot);
        // Back from the slot to the place on the canvas.
        const [tile, token] = [Math.floor(slot / 576) - 4, slot % 576];
        return expect([
          Math.floor(tile / columns) * 24 + Math.floor(token / 24),
          (tile % columns) * 24 + (token % 24),
        ]).toEqual([y, x]);
      });
    }
  });

  test('tokens put together in the graph are those that the slots name', () => {
    for (const picture of [
      { height: 20, width: 24 },
      { height: 9, width: 24 },
      { height: 40, width: 12 },
    ]) {
      const layout = anyresLayout(picture, { canvases: tinyNext.canvases, tile: 12, side: 3 });
      const graph = trace(fixedParams({}), (t) => ({
        y: packViews(
          t.input('x', 'v h w e', { v: layout.views, h: 3, w: 3, e: 1 }),
          t.input('newline', 'e', { e: 1 }),
          { layout },
        ),
      }));
      const { outputs } = evaluate(
        graph,
        {
          inputs: new Map([
            ['x', Array.from({ length: layout.views * 9 }, (_, i) => i)],
            ['newline', [newlineSlot]],
          ]),
          params: () => [],
        },
        { precision: 'f64' },
      );
      expect([...(outputs.get('y')?.data ?? [])]).toEqual(anyresSlots(layout, 0));
    }
  });

  test('LLaVA-OneVision resizes what has clearly more tokens than its limit', () => {
    const area = { top: 0, left: 0, height: 162, width: 108 };
    expect(shrunk(area, 9 * 27 * 27)).toEqual([
      Math.floor(162 / Math.sqrt(24 / 9)),
      Math.floor(108 / Math.sqrt(24 / 9)),
    ]);
    expect(shrunk(area, 20 * 27 * 27)).toBeUndefined();
    // Python's `//`, which floors the exact quotient: the rounded one would be 45 of 50 rows, and 162 of 180 columns.
    expect(
      [
        [100, 90, 3000],
        [50, 162, 6561],
        [45, 180, 6561],
      ].map(([height = 0, width = 0, tokens = 0]) => shrunk({ ...area, height, width }, tokens)),
    ).toEqual([
      [57, 51],
      [44, 145],
      [40, 161],
    ]);
    // 6 rows by 4 against 6 tokens: a ratio of exactly 2, and rows whose places fall midway between two.
    const layout = { tiles: [2, 2] as const, area: { top: 0, left: 1, height: 6, width: 4 } };
    const graph = trace(fixedParams({}), (t) => ({
      y: packViews(t.input('x', 'v h w e', { v: 5, h: 3, w: 3, e: 1 }), t.input('newline', 'e', { e: 1 }), {
        layout,
        limit: 6 / 9,
      }),
    }));
    // Each token holds 10 · row + column of the canvas.
    const x = Array.from({ length: 45 }, (_, i) => {
      const [tile, token] = [Math.floor(i / 9) - 1, i % 9];
      return tile < 0 ? 0 : 10 * (3 * Math.floor(tile / 2) + Math.floor(token / 3)) + 3 * (tile % 2) + (token % 3);
    });
    const { outputs } = evaluate(
      graph,
      {
        inputs: new Map([
          ['x', x],
          ['newline', [-1]],
        ]),
        params: () => [],
      },
      { precision: 'f64' },
    );
    expect([...(outputs.get('y')?.data ?? [])].slice(9)).toEqual([6.5, 8.5, -1, 26.5, 28.5, -1, 46.5, 48.5, -1]);
  });

  test('places between tokens, mixed, are what the graph resizes', () => {
    const options = { canvases: tinyNext.canvases, tile: 12, side: 3, limit: 1 };
    for (const picture of [
      { height: 24, width: 24 },
      { height: 23, width: 9 },
      { height: 10, width: 24 },
      { height: 17, width: 24 },
    ]) {
      const layout = anyresLayout(picture, options);
      expect(layout.small).toBeDefined();
      // Each token is a number that neighbours say nothing of.
      const x = Array.from({ length: layout.views * 9 }, (_, i) => ((i * 37) % 101) - 50);
      const graph = trace(fixedParams({}), (t) => ({
        y: packViews(
          t.input('x', 'v h w e', { v: layout.views, h: 3, w: 3, e: 1 }),
          t.input('newline', 'e', { e: 1 }),
          { layout, limit: 1 },
        ),
      }));
      const { outputs } = evaluate(
        graph,
        {
          inputs: new Map([
            ['x', x],
            ['newline', [newlineSlot]],
          ]),
          params: () => [],
        },
        { precision: 'f64' },
      );
      const at = (slot: number) => x[slot] ?? NaN;
      const mixed = anyresPlaces(layout, 0).map((place) => {
        if (typeof place === 'number') return place < 0 ? place : at(place);
        const { slot, right, rightPart, below, belowPart } = place;
        const row = (first: number) => at(first) + (at(first + right) - at(first)) * rightPart * 2 ** -24;
        return row(slot) + (row(slot + below) - row(slot)) * belowPart * 2 ** -24;
      });
      const wanted = [...(outputs.get('y')?.data ?? [])];
      expect(mixed).toHaveLength(layout.tokens);
      expect(wanted).toHaveLength(layout.tokens);
      // Parts are rounded to 2⁻²⁵, and neighbours are up to 100 apart, along both axes.
      mixed.forEach((value, i) => expect(Math.abs(value - (wanted[i] ?? NaN))).toBeLessThanOrEqual(2 * 100 * 2 ** -25));
    }
  });

  test('views of all pictures: OneVision cuts the only one of a prompt alone', () => {
    const one: LlavaConfig = { ...tinyNext, type: 'llava_onevision', limit: 9 };
    const of = (config: LlavaConfig, batch: number, imageLimit: number) => mostViews(config, { batch, imageLimit });
    expect([of(tiny, 1, 3), of(tinyNext, 1, 3), of(one, 1, 1), of(one, 1, 3), of(one, 2, 3)]).toEqual([
      3, 15, 5, 7, 11,
    ]);
  });

  test('the host cuts a picture into the tiles of its layout', () => {
    for (const { options, picture } of sizes
      .filter((one) => one.options === next && one.rows * one.columns > 0)
      .slice(0, 12)) {
      const image = { ...picture, rgb: new Uint8Array(picture.width * picture.height * 3) };
      const layout = anyresLayout(picture, options);
      const cut = anyresTiles(image, options.canvases, options.tile);
      expect([cut.canvas, [cut.rows, cut.columns], cut.tiles.length]).toEqual([
        layout.canvas,
        layout.tiles,
        layout.views,
      ]);
    }
  }, 60_000);

  test.each<[string, () => unknown, RegExp]>([
    ['no canvas', () => anyresLayout({ height: 5, width: 5 }, { ...next, canvases: [] }), /image_grid_pinpoints/],
    [
      'a canvas that tiles do not fill',
      () => anyresLayout({ height: 5, width: 5 }, { ...next, canvases: [[336, 500]] }),
      /336 × 500 does not divide into tiles of 336/,
    ],
    ['no picture', () => anyresLayout({ height: 0, width: 5 }, next), /5 × 0/],
  ])('%s', (_what, make, message) => expect(make).toThrow(message));
});

// ---- names -----------------------------------------------------------------------------------------------------------

describe('both sets of names', () => {
  test('as transformers has them', () => {
    const [old, fresh] = [llavaShapes(tinyNext, 'old'), llavaShapes(tinyNext, 'new')];
    for (const name of [
      'language_model.model.layers.1.self_attn.q_proj.weight',
      'language_model.model.embed_tokens.weight',
      'language_model.lm_head.weight',
      'vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias',
      'multi_modal_projector.linear_2.bias',
      'image_newline',
    ])
      expect([...old.keys()]).toContain(name);
    for (const name of [
      'model.language_model.layers.1.self_attn.q_proj.weight',
      'model.language_model.embed_tokens.weight',
      'lm_head.weight',
      'model.vision_tower.encoder.layers.2.mlp.fc1.bias',
      'model.multi_modal_projector.linear_2.bias',
      'model.image_newline',
    ])
      expect([...fresh.keys()]).toContain(name);
    expect(new Map([...fresh].map(([name, shape]) => [oldName(name), shape]))).toEqual(old);
    expect(llavaShapes(tiny).has('image_newline')).toBe(false);
    expect([llavaNames(tinySource(tiny, 'old')), llavaNames(tinySource(tiny, 'new'))]).toEqual(['old', 'new']);
  });

  test('paths in the graph are those of the checkpoint', () => {
    trace(
      tinySource(tiny, 'new'),
      (t) => {
        const p = languageParams(t.params, 'new');
        expect([
          p.at('model', 'norm').path,
          p.at('lm_head').path,
          p.has('model.norm.weight'),
          p.has('model.normal.weight'),
        ]).toEqual(['model.language_model.norm', 'lm_head', true, false]);
        expect(p.get('model.norm.weight', 'e').size('e')).toBe(24);
        return { y: p.get('lm_head.weight', 'v e') };
      },
      { unread: 'ignore' },
    );
  });

  test.each(['old', 'new'] as const)('%s: a tensor that nobody reads, and one that is not there', (names) => {
    const source = tinySource(tiny, names);
    const more: ParamSource = {
      ...source,
      names: () => [
        ...(source.names() ?? []),
        names === 'old' ? 'multi_modal_projector.linear_3.weight' : 'model.multi_modal_projector.linear_3.weight',
      ],
    };
    expect(() => llavaVisionGraph(more, tiny, sizesOf(1))).toThrow(/not read[^]*linear_3/);
    const head = names === 'old' ? 'language_model.lm_head.weight' : 'lm_head.weight';
    const less: ParamSource = {
      ...source,
      shape: (path) => (path === head ? undefined : source.shape(path)),
      names: () => [...(source.names() ?? [])].filter((name) => name !== head),
    };
    expect(() => llavaDecodeGraph(less, tiny, sizesOf(1))).toThrow(
      new RegExp(`no tensor '${head.replaceAll('.', '\\.')}'`),
    );
  });
});

// ---- prompts with pictures -----------------------------------------------------------------------------------------------

const sizesOf = (batch: number) => ({ batch, capacity: 80, promptLimit: 72, viewLimit: 6, padded: batch > 1 });
type States = ReadonlyMap<string, ArrayLike<number>>;

/** Views, prompts, then two single tokens a row: logits of each run, `b v`. */
function converse(
  config: LlavaConfig,
  names: 'old' | 'new',
  views: readonly Float32Array[],
  prompts: readonly LlavaPrompt[],
  told: readonly (readonly number[])[],
): readonly Float64Array[] {
  const source = tinySource(config, names);
  const options = sizesOf(prompts.length);
  let states: States = new Map();
  const run = (graph: Graph, inputs: Record<string, ArrayLike<number>>, symbols: Record<string, number>) => {
    const result = evaluate(
      graph,
      {
        inputs: new Map(Object.entries(inputs)),
        symbols: new Map(Object.entries(symbols)),
        states,
        params: (path, shape) => source.read(path, shape),
      },
      { precision: 'f64' },
    );
    states = new Map([...states, ...result.states]);
    return result.outputs.get('logits')?.data ?? new Float64Array();
  };
  const vision = llavaVisionGraph(source, config, options);
  views.forEach((pixels, view) => run(vision, { pixels }, { view }));
  const batch = layOutPrompts(prompts, config, options);
  const attended = (attend: ArrayLike<number>): Record<string, ArrayLike<number>> => (options.padded ? { attend } : {});
  const { ids, slots, last } = batch;
  const results = [
    run(
      llavaPrefillGraph(source, config, options),
      {
        ids,
        slots,
        last,
        ...attended(batch.attend),
        ...turnTables(config.language.config, paddedPositions(batch.attend, batch.length)),
      },
      { s: batch.length },
    ),
  ];
  const decode = llavaDecodeGraph(source, config, options);
  const rows = prompts.map((_, b) => [...batch.attend.subarray(b * batch.length, (b + 1) * batch.length)]);
  told.forEach((tokens, step) => {
    for (const row of rows) row.push(1);
    const positions = [...last].map((at) => at + 1 + step);
    results.push(
      run(
        decode,
        { ids: tokens, ...attended(rows.flat()), ...turnTables(config.language.config, positions) },
        { past: batch.length + step },
      ),
    );
  });
  return results;
}

function close(a: ArrayLike<number>, b: ArrayLike<number>): void {
  expect(a.length).toBe(b.length);
  expect(Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] ?? NaN))))).toBeLessThan(1e-5);
}

const text = (...ids: readonly number[]): readonly Item[] => ids.map((id) => ({ id }));
const viewItems = (view: number, count: number): readonly Item[] =>
  Array.from({ length: count }, (_, token) => ({ view, token }));
const image = 49;

describe('prompts with pictures', () => {
  test.each(['old', 'new'] as const)('LLaVA-1.5, %s names: prefill and decode equal the whole at one go', (names) => {
    const views = [noise(1), noise(2)];
    const prompt = { ids: [1, 7, image, 9, image, 30], images: [viewSlots(tiny, 1), viewSlots(tiny, 0)] };
    const items = [...text(1, 7), ...viewItems(1, 9), ...text(9), ...viewItems(0, 9), ...text(30)];
    const results = converse(tiny, names, views, [prompt], [[12], [41]]);
    close(results[0] ?? [], answer(tiny, views, items));
    close(results[2] ?? [], answer(tiny, views, [...items, ...text(12, 41)]));
  });

  test('another connector is one line: tokens, parameters and prompts follow from it', () => {
    const pooled: LlavaConfig = { ...tiny, connector: connect(deco, { side: 2, layers: 2 }) };
    expect([viewTokens(tiny), viewTokens(pooled)]).toEqual([9, 4]);
    const paths = [...llavaShapes(pooled).keys()].filter((path) => path.startsWith('multi_modal_projector.'));
    expect(paths).toEqual(expect.arrayContaining(['multi_modal_projector.mlp_projector.0.weight']));
    expect(paths.some((path) => path.includes('linear_1'))).toBe(false);
    const prompt = (config: LlavaConfig): LlavaPrompt => ({ ids: [1, image, 5], images: [viewSlots(config, 0)] });
    expect(layOutPrompts([prompt(pooled)], pooled, sizesOf(1)).length).toBe(2 + 4);
    const [answered] = converse(pooled, 'old', [noise(4)], [prompt(pooled)], []);
    expect(answered?.every(Number.isFinite)).toBe(true);
    // The same connector by name is the same model.
    const named: LlavaConfig = { ...tiny, connector: connect(llava, { linears: ['linear_1', 'linear_2'] }) };
    expect(converse(named, 'old', [noise(4)], [prompt(named)], [])).toEqual(
      converse(tiny, 'old', [noise(4)], [prompt(tiny)], []),
    );
    expect(() => viewTokens({ ...tinyNext, connector: connect(deco, { side: 2, layers: 2 }) })).toThrow(/whole grids/);
  });

  test('with the class token', () => {
    expect([viewTokens(tiny), viewTokens(tinyWithClass)]).toEqual([9, 10]);
    const [result] = converse(
      tinyWithClass,
      'old',
      [noise(4)],
      [{ ids: [1, image, 5], images: [viewSlots(tinyWithClass, 0)] }],
      [],
    );
    close(result ?? [], answer(tinyWithClass, [noise(4)], [...text(1), ...viewItems(0, 10), ...text(5)]));
  });

  test('hidden states of several layers side by side', () => {
    const prompt = { ids: [1, image, 5], images: [viewSlots(tinyLayers, 0)] };
    const [result] = converse(tinyLayers, 'old', [noise(4)], [prompt], []);
    close(result ?? [], answer(tinyLayers, [noise(4)], [...text(1), ...viewItems(0, 9), ...text(5)]));
    // The projector reads twice the channels of one state.
    expect(llavaShapes(tinyLayers).get('multi_modal_projector.linear_1.weight')).toEqual([24, 32]);
    expect(tiny.layers).toEqual([-2]);
  });

  test('a batch: a wide picture in tiles, and text alone', () => {
    const layout = anyresLayout({ height: 9, width: 24 }, { canvases: tinyNext.canvases, tile: 12, side: 3 });
    expect(layout).toMatchObject({ canvas: [12, 24], views: 3, area: { top: 0, height: 3, width: 6 } });
    const views = [noise(1), noise(2), noise(3)];
    const prompts = [
      { ids: [1, image, 8], images: [anyresSlots(layout, 0)] },
      { ids: [1, 4, 6, 2], images: [] },
    ];
    const tiles = Array.from({ length: 3 }, (_, y): readonly Item[] => [
      ...viewItems(1, 9).slice(3 * y, 3 * y + 3),
      ...viewItems(2, 9).slice(3 * y, 3 * y + 3),
      'newline',
    ]).flat();
    const items = [[...text(1), ...viewItems(0, 9), ...tiles, ...text(8)], [...text(1, 4, 6, 2)]] as const;
    const results = converse(tinyNext, 'new', views, prompts, [
      [12, 13],
      [41, 42],
    ]);
    for (const b of [0, 1]) {
      const row = (step: number) => results[step]?.slice(50 * b, 50 * b + 50) ?? [];
      close(row(0), answer(tinyNext, views, items[b] ?? []));
      close(row(2), answer(tinyNext, views, [...(items[b] ?? []), ...text(12 + b, 41 + b)]));
    }
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      'a picture too few',
      () => layOutPrompts([{ ids: [1, image, image], images: [viewSlots(tiny, 0)] }], tiny, sizesOf(1)),
      /prompt 0 has 2 <image> placeholders \(token 49\) and 1 images/,
    ],
    [
      'a picture too many',
      () =>
        layOutPrompts(
          [
            { ids: [1], images: [] },
            { ids: [1, 2], images: [viewSlots(tiny, 0)] },
          ],
          tiny,
          sizesOf(1),
        ),
      /prompt 1 has 0 <image> placeholders[^]*1 images[^]*one image for each/,
    ],
    [
      'a view too many',
      () => layOutPrompts([{ ids: [image], images: [viewSlots(tiny, 6)] }], tiny, sizesOf(1)),
      /7 views, and there is room for 6/,
    ],
    ['an empty prompt', () => layOutPrompts([{ ids: [], images: [] }], tiny, sizesOf(1)), /prompt 0 is empty/],
    ['tiles with class tokens', () => viewTokens({ ...tinyNext, dropClass: false }), /'full'/],
    [
      'a hidden state that is not there',
      () => llavaVisionGraph(tinySource(tiny, 'old'), { ...tiny, layers: [-2, -9] }, sizesOf(1)),
      /no hidden state -9/,
    ],
  ])('%s', (_what, make, message) => expect(make).toThrow(message));
});

// ---- the released models -----------------------------------------------------------------------------------------------

describe('parameters of the released models', () => {
  // Vicuna 7B: per layer four square matrices, three of the MLP, two norms; embeddings and output of 32,064 rows; the last norm.
  const language = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11008 + 2 * 4096) + 2 * 32064 * 4096 + 4096;
  // The published count of CLIP ViT-L/14 at 336.
  const vision = 303_507_456;
  const projector = 1024 * 4096 + 4096 + 4096 * 4096 + 4096;

  test.each([
    ['llava-1.5-7b-hf', 'llava', 0],
    ['llava-v1.6-vicuna-7b-hf', 'llava_next', 4096],
  ] as const)('%s', (name, type, newline) => {
    const config = readLlava(llavaConfigs[name], type, name);
    const expected = language + vision + projector + newline;
    expect(expected).toBe(7_063_427_072 + newline);
    for (const names of ['old', 'new'] as const) expect(countParameters(llavaShapes(config, names))).toBe(expected);
    expect(viewTokens(config)).toBe(576);
  });

  test('the graphs read all of them, but for the tower’s last norm', () => {
    const config = readLlava(llavaConfigs['llava-v1.6-vicuna-7b-hf'], 'llava_next', 'llava-next');
    const shapes = llavaShapes(config);
    const read = new Map<string, number>();
    const source: ParamSource = {
      dtype: 'f16',
      names: () => shapes.keys(),
      read: () => new Float32Array(),
      shape: (path) => {
        const shape = shapes.get(path);
        if (shape !== undefined)
          read.set(
            path,
            shape.reduce((a, b) => a * b, 1),
          );
        return shape;
      },
    };
    const options = { batch: 1, capacity: 4096, promptLimit: 3900, viewLimit: 5 };
    llavaVisionGraph(source, config, options);
    llavaPrefillGraph(source, config, options);
    llavaDecodeGraph(source, config, options);
    expect([...shapes.keys()].filter((name) => !read.has(name))).toEqual([
      'vision_tower.vision_model.post_layernorm.weight',
      'vision_tower.vision_model.post_layernorm.bias',
    ]);
  });
});
