// SVA beyond the golden files: parameters of the released models, what a query can see, image tokens as static views.
import { describe, expect, test } from 'vitest';
import { order, randomParams, trace, type Graph, type Tensor } from '../../dsl/index.ts';
import { decodeWithVision, embedSequence, samplerAfter } from '../../models/multimodal/cambrian.ts';
import { channelConcat } from '../../models/parts/grids.ts';
import { layOutForInference } from '../../models/sequence/collate.ts';
import { batchMasks, crop, regionOrder } from '../../models/sequence/masks.ts';
import { imageTokens } from '../../models/sequence/newline.ts';
import { asSquareMap, regionsOf, type FeatureMap } from '../../models/sequence/regions.ts';
import { spatialVisionAggregator } from '../../models/parts/sva/aggregator.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { nameOf } from '../../dsl/ops/source.ts';

/** Shapes of the parameters that a graph reads, by path. */
function parameters(graph: Graph): Map<string, number[]> {
  return new Map(
    order(graph)
      .filter((node) => node.op.name === 'param')
      .map((node) => [nameOf(node), node.type.axes.map((axis) => Number(axis.size))]),
  );
}

function run(graph: Graph, inputs: Record<string, ArrayLike<number>>, seed = 7): Map<string, Float64Array> {
  const source = randomParams(seed);
  const { outputs } = evaluate(
    graph,
    { inputs: new Map(Object.entries(inputs)), params: (path, shape) => source.read(path, shape) },
    { precision: 'f64' },
  );
  return new Map([...outputs].map(([name, values]) => [name, values.data]));
}

const wave = (count: number, shift = 0) =>
  Float64Array.from({ length: count }, (_, i) => Math.sin(1.3 * i + shift) + Math.cos(0.37 * i * i));

describe('parameters of the released models', () => {
  // Widths of SigLIP, CLIP, DINOv2 and ConvNeXt features; sides of their grids.
  const towers = [
    [1152, 24],
    [1024, 24],
    [1536, 24],
    [5760, 96],
  ] as const;

  // Counts: sizes of the checkpoints on the hub.
  test.each([
    ['phi3-3b', 3072, 10, 273_397_760],
    ['8b', 4096, 10, 302_760_960],
    ['13b', 5120, 10, 334_221_312],
    ['34b', 7168, 9, 375_085_056],
  ] as const)(
    '%s',
    (_name, llmWidth, count, total) => {
      const graph = trace(randomParams(1), (t) => {
        const p = t.params.at('model');
        const maps = towers.map(([c, side], k): FeatureMap =>
          t.input(`tower_${k}`, 'b h w c', { b: 1, h: side, w: side, c }),
        );
        const { tokens, features, context } = spatialVisionAggregator(p, maps, {
          groups: [24],
          depth: 3,
          side: 24,
          width: 1024,
          llmWidth,
        });
        const sequence = imageTokens(tokens, p.get('image_newline', 'e', { e: llmWidth }));
        const hidden = decodeWithVision(
          p,
          sequence,
          { layers: 3 * count, layer: (h) => h },
          {
            schedule: { start: 0, stride: 3, count },
            sight: { context, regions: features.map((map) => regionsOf(map, 24)) },
            place: t.input('place', 'b q', { b: 1, q: 576 }, 'i32'),
            slot: t.input('slot', 'b s', { b: 1, s: 600 }, 'i32'),
          },
        );
        return { hidden };
      });
      const read = parameters(graph);
      expect([...read.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(total);
      const layer = (prefix: string) => [...read.keys()].filter((name) => name.startsWith(prefix)).length;
      expect(layer('model.vision_sampler_0.layers.2.')).toBe(35);
      expect(layer(`model.vision_sampler_layers.${count - 1}.layers.0.`)).toBe(35);
      // vision_query, image_newline, mm_projector (4), aux projectors (6 each), layers.
      expect(read.size).toBe(1 + 1 + 4 + 4 * 6 + (3 + count) * 35);
      expect(read.get('model.vision_sampler_0.layers.0.pos_embed_3')).toEqual([16, 1024]);
      expect(read.get('model.vision_sampler_layers.0.layers.0.proj_in.weight')).toEqual([1024, llmWidth + 1024]);
      expect(read.get('model.mm_projector_aux_3.0.weight')).toEqual([1024, 5760]);
      expect([...read.keys()].filter((name) => /pos_embed_[012]$/.test(name))).toEqual([]);
    },
    60_000,
  );
});

describe('what a query sees', () => {
  const picture = { width: 400, height: 200 };
  const [sides, queries] = [[2, 4], 2];
  const graph = trace(randomParams(1), (t) => {
    const maps = sides.map((side, k) =>
      asSquareMap(t.input(`tower_${k}`, 'b n c', { b: 1, n: side * side, c: 5 + k })),
    );
    const masks = batchMasks([picture], queries, { sides, finalSide: queries }).map((mask, k) =>
      t.input(`mask_${k}`, 'b q t', { b: 1, q: mask.queries, t: mask.tokens }, 'bool'),
    );
    const { tokens } = spatialVisionAggregator(t.params, maps, {
      groups: [queries],
      depth: 2,
      side: queries,
      width: 32,
      llmWidth: 3,
      masks: () => masks,
    });
    return { tokens };
  });
  const masks = batchMasks([picture], queries, { sides, finalSide: queries });
  const inputs = {
    tower_0: wave(4 * 5),
    tower_1: wave(16 * 6, 1),
    mask_0: masks[0]?.attend ?? [],
    mask_1: masks[1]?.attend ?? [],
  };
  const tokensOf = (tower: Float64Array) =>
    run(graph, { ...inputs, tower_1: tower }).get('tokens') ?? new Float64Array();

  test('a token changes exactly the query whose region it is in, and none if it is padding', () => {
    const before = tokensOf(inputs.tower_1);
    const regions = regionOrder(4, queries);
    for (let token = 0; token < 16; token++) {
      const changed = tokensOf(inputs.tower_1.map((v, i) => (Math.floor(i / 6) === token ? v + (i % 5) : v)));
      const moved = [0, 1, 2, 3].filter((query) =>
        [0, 1, 2].some((c) => changed[query * 3 + c] !== before[query * 3 + c]),
      );
      // 400 × 200 on 4 × 4: rows 1 and 2 show the picture.
      const shown = [1, 2].includes(Math.floor(token / 4));
      expect(moved).toEqual(shown ? [Math.floor(regions.indexOf(token) / 4)] : []);
    }
  }, 60_000);

  test('encoder 0 reaches every query, through the global context', () => {
    const before = tokensOf(inputs.tower_1);
    const after =
      run(graph, { ...inputs, tower_0: inputs.tower_0.map((v, i) => (i < 5 ? v + i : v)) }).get('tokens') ??
      new Float64Array();
    for (let query = 0; query < 4; query++) expect(after[query * 3]).not.toBe(before[query * 3]);
  });

  test('a grid that does not divide, and no encoder at all, are refused', () => {
    const build = (side: number) =>
      trace(randomParams(1), (t) => {
        const map: FeatureMap = t.input('x', 'b h w c', { b: 1, h: side, w: side, c: 8 });
        return {
          y: spatialVisionAggregator(t.params, side === 1 ? [] : [map], {
            groups: [4],
            depth: 1,
            side: 4,
            width: 16,
            llmWidth: 4,
          }).tokens,
        };
      });
    expect(() => build(6)).toThrow(/does not divide/);
    expect(() => build(1)).toThrow(/at least one feature map/);
  });
});

describe('image tokens', () => {
  const picture = { width: 900, height: 600 };
  const side = 4;

  test('static crops and slots that come in as integers give the same sequence', () => {
    const batch = layOutForInference([{ ids: [3, -200, 1], images: [0] }], [picture], { side });
    const graph = trace(randomParams(1), (t) => {
      const grid: Tensor<'b h w e', 'f32'> = t.input('grid', 'b h w e', { b: 1, h: side, w: side, e: 6 });
      t.params.at('embed_tokens').get('weight', 'v e', { v: 5, e: 6 });
      const newline = t.params.get('image_newline', 'e', { e: 6 });
      const integers = (name: string) => t.input(name, 'b s', { b: 1, s: batch.length }, 'i32');
      return {
        fixed: imageTokens(grid, newline, crop(picture, side)),
        full: imageTokens(grid, newline),
        placed: embedSequence(t.params, grid, { ids: integers('ids'), slots: integers('slots') }),
      };
    });
    const grid = wave(side * side * 6);
    const { fixed, full, placed } = Object.fromEntries(run(graph, { grid, ids: batch.ids, slots: batch.slots }));
    const table = randomParams(7).read('embed_tokens.weight', [5, 6]);
    const newline = randomParams(7).read('image_newline', [6]);
    // Rows 1 and 2 of 4 are shown.
    expect(fixed).toHaveLength(2 * 5 * 6);
    expect(full).toHaveLength(4 * 5 * 6);
    expect([...(placed ?? [])]).toEqual([...table.subarray(18, 24), ...(fixed ?? []), ...table.subarray(6, 12)]);
    expect([...(fixed?.subarray(0, 24) ?? [])]).toEqual([...grid.subarray(24, 48)]);
    expect([...(fixed?.subarray(24, 30) ?? [])]).toEqual([...newline]);
  });

  test('SVA layers follow the decoder layers that the config names', () => {
    const after = Array.from({ length: 32 }, (_, i) => samplerAfter({ start: 1, stride: 3, count: 10 }, i));
    expect(after.flatMap((j, i) => (j === undefined ? [] : [[i, j]]))).toEqual(
      Array.from({ length: 10 }, (_, j) => [1 + 3 * j, j]),
    );
  });
});

test('towers side by side: other grids are resized to the common one', () => {
  const graph = trace(randomParams(1), (t) => {
    const maps = [2, 4].map((side, k): FeatureMap => t.input(`x${k}`, 'b h w c', { b: 1, h: side, w: side, c: 1 + k }));
    return { y: channelConcat(maps, { rows: 2, columns: 2 }) };
  });
  const y = run(graph, { x0: [1, 2, 3, 4], x1: Array.from({ length: 32 }, (_, i) => i) }).get('y') ?? [];
  // Half the size without antialiasing: the mean of the two middle samples on each axis of every 2 × 2 square.
  expect([...y]).toEqual([1, 5, 6, 2, 9, 10, 3, 21, 22, 4, 25, 26]);
});
