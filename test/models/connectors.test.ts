// The zoo: every golden file, every released configuration, every gradient; and what the contract refuses.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { roleOf, type Graph } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import {
  OpabiniaError,
  randomParams,
  rearrange,
  reduce,
  trace,
  type Float,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { connect, connector, isConnector, onlyMap, type ConnectorRecord } from '../../models/connectors/connector.ts';
import { cambrianConv } from '../../models/connectors/convolutional/cambrian-conv.ts';
import { llava } from '../../models/connectors/pointwise/llava.ts';
import { internvl } from '../../models/connectors/space-to-depth/internvl.ts';
import {
  describeLayout,
  gridTokens,
  joinTokens,
  mapTokens,
  markToken,
  placeholderSpan,
  queryTokens,
  rowsEndedBy,
  tokenCount,
  tokensOfRun,
} from '../../models/connectors/visual-tokens.ts';
import { regionsOf } from '../../models/sequence/regions.ts';
import { importFolder } from '../../pipelines/folder.ts';
import { languageModelNamed } from '../../pipelines/compare/language-models.ts';
import { traced } from '../../pipelines/compare/cost/measure.ts';
import { zoo } from '../../pipelines/compare/registry.ts';
import { inputSizes, sampleValues } from '../../pipelines/compare/sight/sight.ts';
import { smallGraph, smallSetting, smallWidth } from '../../pipelines/compare/sight/small.ts';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { nameOf } from '../../dsl/ops/source.ts';

const all = await zoo();
const connectors = all.map(({ connector: one }) => [one.name, one] as const);
const folder = join(import.meta.dirname, '../golden/connectors');
const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));

describe('the folders', () => {
  test('each file has one connector, named as the file', async () => {
    const modules = await importFolder(new URL('../../models/connectors/', import.meta.url));
    for (const { name, folder: family, exports } of modules) {
      if (family === '') continue;
      const found = Object.values(exports).filter(isConnector);
      expect(
        found.map((one) => one.name),
        `${family}/${name}`,
      ).toEqual([name]);
    }
  });

  test('names are distinct, and each says what it is and where it is from', () => {
    const names = connectors.map(([name]) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const [name, one] of connectors) {
      expect(one.paper, name).toMatch(/^(arXiv \d{4}\.\d{5}|https:\/\/\S+)$/);
      expect(one.mathematics.length, name).toBeGreaterThan(0);
      expect(one.mathematics.length, name).toBeLessThanOrEqual(3);
      expect(one.source, name).not.toBe('');
      expect(Object.keys(one.presets).length, name).toBeGreaterThan(0);
    }
  });
});

describe('golden files', () => {
  test('they are there', () => expect(files.length).toBe(105));

  test.each(files.flatMap((name) => (['f32', 'f16'] as const).map((dtype) => [name, dtype] as const)))(
    '%s in %s',
    async (name, dtype) => {
      const rows = await verifyFile(join(folder, name), referenceBackend(), dtype);
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    60_000,
  );
});

describe('released configurations', () => {
  const model = languageModelNamed('llama-3-8b');

  test.each(connectors)('%s compiles for a desktop GPU in each, every kernel with work of its own', (_name, one) => {
    for (const [name, preset] of Object.entries(one.presets)) {
      const around = {
        maps: preset.maps,
        towers: preset.maps.map(() => ({ heads: 16, classTokens: 1 })),
        model: { ...model, width: preset.width, layers: preset.layers ?? model.layers },
        picture: preset.picture,
        dtype: 'f16' as const,
        question: 32,
        profile: desktopGpu,
      };
      const { graph, layout, inside } = traced(one, preset.config, around);
      expect(
        graph.outputs.get('tokens')?.type.axes.map(({ size }) => size),
        name,
      ).toEqual([1, tokenCount(layout), preset.width]);
      expect(placeholderSpan(layout, { cell: 9 }), name).toHaveLength(tokenCount(layout));
      const plan = compile(graph, desktopGpu);
      expect(plan.dispatches.length, name).toBeGreaterThan(0);
      for (const { graph: layer } of inside.layers.slice(0, 1))
        expect(compile(layer, desktopGpu).dispatches.length, name).toBeGreaterThan(0);
      // Maps and views fuse into what is summed, gathered or joined: there are no more kernels than those (for a join, one a part) and the outputs.
      const anchors = order(graph).map(({ op, inputs }) =>
        op.kind === 'join' ? inputs.length : Number(['contract', 'reduce', 'gather'].includes(op.kind)),
      );
      // And a sum of more tensors than a kernel may bind is made in steps.
      const inputs = order(graph).filter((node) => roleOf(node) === 'input').length;
      expect(plan.dispatches.length, name).toBeLessThanOrEqual(
        anchors.reduce((a, n) => a + n, graph.outputs.size + Math.floor(inputs / desktopGpu.maxBindings) * 2),
      );
    }
  });
});

describe('gradients', () => {
  test.each(connectors)(
    '%s along one direction of all parameters and maps, by central differences',
    (name, one) => {
      const small = smallSetting(one);
      if (small === undefined) throw new Error(`${name} fits no small map`);
      const { graph } = smallGraph(one, small, 1, ({ tokens, carries = {} }, t) => ({
        loss: [tokens, ...Object.values(carries)]
          .filter((part) => part.axes.every(({ size }) => size !== 0))
          .map((part) => weighedSum(t, part))
          .reduce((sum, part) => sum.add(part)),
      }));
      checkGradient(graph);
    },
    60_000,
  );
});

describe('gradients inside the language model', () => {
  const inside = connectors.flatMap(([name, one]) =>
    one.inject === undefined ? [] : [[name, one, one.inject] as const],
  );

  test('of these', () => expect(inside.length).toBeGreaterThan(8));

  test.each(inside)(
    '%s at its first two layers, back to hidden states, maps and parameters, by central differences',
    (name, one, inject) => {
      const small = smallSetting(one);
      if (small === undefined) throw new Error(`${name} fits no small map`);
      const { graph } = smallGraph(one, small, 1, (made, t) => {
        // Two tokens of text, the picture, one token of text.
        const visual = tokenCount(made.layout);
        const s = visual + 3;
        const positions = Array.from({ length: s }, (_, i) => i);
        const constant = (values: readonly number[]) =>
          t.constant<'b s', 'i32'>(Float64Array.from(values), 'b s', { b: 1, s }, 'i32');
        const f = smallWidth / 2 / headsOf(small.config);
        const turned = (by: (angle: number) => number) =>
          Float64Array.from({ length: s * f }, (_, i) => by(Math.floor(i / f) * 0.3 ** (i % f)));
        const places = inject.after(small.config, 32).slice(0, 2);
        expect(places.length).toBeGreaterThan(0);
        const results = places.map((layer, index) =>
          inject.apply(
            t.params,
            {
              hidden: t.input(`hidden_${index}`, 'b s e', { b: 1, s, e: smallWidth }),
              carried: made.carries ?? {},
              slots: constant(positions.map((i) => (i >= 2 && i < 2 + visual ? i - 2 : -1))),
              pictures: () => constant(positions.map((i) => Number(i >= 2))),
              lastAttention: () => t.input(`last_${index}`, 'b s', { b: 1, s }),
              nextAttention: () => t.input(`next_${index}`, 'b s', { b: 1, s }),
              angles: () => ({
                cos: t.constant<'b s f', 'f32'>(turned(Math.cos), 'b s f', { b: 1, s, f }),
                // Both halves of a head, turned either way.
                sin: t.constant<'b s half f', 'f32'>(
                  Float64Array.from({ length: 2 * s * f }, (_, i) => {
                    const [at, half, k] = [Math.floor(i / (2 * f)), Math.floor(i / f) % 2, i % f];
                    return (half === 0 ? -1 : 1) * Math.sin(at * 0.3 ** k);
                  }),
                  'b s half f',
                  { b: 1, s, half: 2, f },
                ),
              }),
            },
            small.config,
            { layer, index },
          ),
        );
        return { loss: results.map(({ hidden }) => weighedSum(t, hidden)).reduce((sum, part) => sum.add(part)) };
      });
      checkGradient(graph);
    },
    60_000,
  );
});

/** Heads that a configuration has, of a layer as wide as the language model. */
function headsOf(config: unknown): number {
  const heads = typeof config === 'object' && config !== null && 'heads' in config ? Number(config.heads) : 1;
  return smallWidth % (2 * heads) === 0 ? heads : 1;
}

/** A sum in which each element counts differently. */
function weighedSum(t: Trace, part: Tensor): Tensor<'', 'f32'> {
  const names = part.axes.map(({ name }) => name).join(' ');
  const sizes = Object.fromEntries(part.axes.map(({ name, size }) => [name, Number(size)]));
  const count = sizeProduct(Object.values(sizes));
  const weights = t.constant<string, 'f32'>(sines(count), names, sizes);
  return reduce(part.cast('f32').mul(weights), `${names} -> `, 'sum') as Tensor<'', 'f32'>;
}

function sines(count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => Math.sin(3.33 * (i + 1)));
}

function checkGradient(graph: Graph): void {
  const source = randomParams(7);
  const nodes = order(graph);
  const named = (role: 'param' | 'input') =>
    nodes.filter((node) => roleOf(node) === role && node.type.dtype === 'f32').map((node) => nameOf(node));
  const sizes = inputSizes(graph);
  const wrt = [...named('param'), ...named('input')];
  const values = (name: string, shape: readonly number[]) =>
    sizes.has(name) ? sampleValues(name, shape) : Float64Array.from(source.read(name, shape));
  const direction = (name: string, count: number) =>
    Float64Array.from({ length: count }, (_, i) => Math.cos(7.77 * (i + 1) + name.length));
  const at = (step: number, name: string, shape: readonly number[]) => {
    const start = values(name, shape);
    const along = direction(name, start.length);
    return start.map((x, i) => x + step * (along[i] ?? 0));
  };
  const run = (of: Graph, step: number) =>
    evaluate(
      of,
      {
        inputs: new Map(
          [...sizes].map(([name, shape]) => [name, wrt.includes(name) ? at(step, name, shape) : values(name, shape)]),
        ),
        params: (name, shape) => at(step, name, shape) as unknown as Float32Array,
      },
      { precision: 'f64' },
    ).outputs;
  const loss = (by: number) => run(graph, by).get('loss')?.data[0] ?? NaN;
  const central = (step: number) => (loss(step) - loss(-step)) / (2 * step);
  // Norms of small values bend sharply: with steps ten times as large, six layers of them are not a parabola any more.
  const step = 1e-5;
  const [numeric, coarse] = [central(step), central(2 * step)];
  const whole = gradientGraph(graph, 'loss', [...new Set(wrt)]);
  let exact = 0;
  for (const [name, gradient] of run(whole, 0)) {
    if (!name.startsWith('d ')) continue;
    const along = direction(name.slice(2), gradient.data.length);
    for (let i = 0; i < along.length; i++) exact += (gradient.data[i] ?? 0) * (along[i] ?? 0);
  }
  expect(Math.abs(exact)).toBeGreaterThan(0);
  // A central difference errs by a third of what it changes when the step is doubled, and by rounding over the step.
  const rounding = (2 ** -53 * order(graph).length * Math.abs(loss(0))) / step;
  expect(Math.abs(exact - numeric)).toBeLessThanOrEqual(Math.abs(coarse - numeric) + rounding);
}

describe('layouts', () => {
  const layoutOf = (
    build: (map: Tensor<'b h w e', Float>, mark: Tensor<'e', Float>) => ReturnType<typeof gridTokens>,
  ) => {
    let made: ReturnType<typeof gridTokens> | undefined;
    const graph = trace(randomParams(1), (t) => {
      made = build(t.input('x', 'b h w e', { b: 2, h: 2, w: 3, e: 4 }), t.input('mark', 'e', { e: 4 }));
      return { tokens: made.tokens };
    });
    if (made === undefined) throw new Error('nothing was made');
    return { graph, layout: made.layout };
  };
  const x = Float64Array.from({ length: 48 }, (_, i) => i);
  const mark = Float64Array.of(-1, -2, -3, -4);

  test('a mark stands behind every row, and the layout says where', () => {
    const { graph, layout } = layoutOf((grid, own) => rowsEndedBy(grid, own));
    expect(placeholderSpan(layout, { cell: 7, newline: 8 })).toEqual([7, 7, 7, 8, 7, 7, 7, 8]);
    expect(describeLayout(layout)).toBe('2×3 with newlines');
    const { data } = evaluate(
      graph,
      {
        inputs: new Map([
          ['x', x],
          ['mark', mark],
        ]),
        params: noParams,
      },
      { precision: 'f64' },
    ).outputs.get('tokens') ?? { data: [] };
    for (let b = 0; b < 2; b++)
      for (let n = 0; n < 8; n++)
        for (let e = 0; e < 4; e++) {
          const want = n % 4 === 3 ? mark[e] : x[((b * 2 + Math.floor(n / 4)) * 3 + (n % 4)) * 4 + e];
          expect(data[(b * 8 + n) * 4 + e]).toBe(want);
        }
  });

  test('parts one behind the other, with marks between them', () => {
    const { layout } = layoutOf((grid, own) => {
      const cells = gridTokens(grid);
      const queries = queryTokens(rearrange(grid, 'b h w e -> b n=(h w) e'));
      return joinTokens([
        markToken(own, 'start', cells),
        cells,
        markToken(own, 'separator', cells),
        queries,
        markToken(own, 'end', cells),
      ]);
    });
    expect(describeLayout(layout)).toBe('start + 2×3 + separator + 6 queries + end');
    expect(tokenCount(layout)).toBe(15);
    expect(placeholderSpan(layout, { cell: 1, start: 2, separator: 3, query: 4, end: 5 }).join('')).toBe(
      '211111134444445',
    );
  });

  test('one run by itself', () => {
    const { graph } = layoutOf((grid) => ({ tokens: tokensOfRun(gridTokens(grid), 1), layout: [] }));
    expect(graph.outputs.get('tokens')?.type.axes.map(({ size }) => size)).toEqual([2, 3, 4]);
    expect(() => layoutOf((grid) => ({ tokens: tokensOfRun(gridTokens(grid), 9), layout: [] }))).toThrow(
      /2 runs, none of number 9/,
    );
  });
});

function noParams(): never {
  throw new Error('there are no parameters');
}

describe('what the contract refuses', () => {
  const record: ConnectorRecord<object> = {
    name: 'mine',
    title: 'Mine',
    paper: 'https://example.org',
    year: 2026,
    source: 'mine.ts',
    mathematics: ['y = x'],
    towers: 'many',
    presets: { one: { config: {}, maps: [[2, 3, 4]], width: 4 } },
    build: (_p, maps) => mapTokens(onlyMap(maps)),
  };
  type Build = ConnectorRecord<object>['build'];
  const built = (build: Build, sizes: readonly (readonly number[])[] = [[1, 2, 3, 4]], width = 4) =>
    trace(randomParams(1), (t) => {
      const maps = sizes.map(([b = 1, h = 1, w = 1, c = 1], k) => t.input(`m${k}`, 'b h w c', { b, h, w, c }));
      return { tokens: connector({ ...record, build }).build(t.params, maps, {}, { width }).tokens };
    });

  test('nothing that fits', () => expect(() => built(record.build)).not.toThrow());

  test('no map, and maps of different batch', () => {
    expect(() => built(record.build, [])).toThrow(/mine: there is no feature map/);
    expect(() =>
      built(record.build, [
        [1, 2, 3, 4],
        [2, 2, 3, 4],
      ]),
    ).toThrow(/map 1 has a batch of 2, and map 0 one of 1/);
  });

  test('tokens in another order of axes, and of another width', () => {
    const turned = (...[, maps]: Parameters<Build>) => {
      const made = mapTokens(onlyMap(maps));
      return { ...made, tokens: rearrange(made.tokens, 'b n e -> n b e') as Tensor as Tensor<'b n e', Float> };
    };
    expect(() => built(turned)).toThrow(/tokens are \[n:6 b:1 e:4\], and a connector gives 'b n e'[^]*rearrange/);
    expect(() => built(record.build, [[1, 2, 3, 5]])).toThrow(/5 wide, and the language model 4/);
  });

  test('a layout that does not count the tokens', () =>
    expect(() => built((_p, maps) => ({ ...mapTokens(onlyMap(maps)), layout: [{ role: 'cell', count: 5 }] }))).toThrow(
      /layout has 5 tokens, and there are 6/,
    ));

  test('a grid that does not divide, with the nearest that do', () =>
    expect(() =>
      trace(randomParams(1), (t) => ({
        tokens: internvl.build(
          t.params,
          [t.input('m', 'b h w c', { b: 1, h: 27, w: 24, c: 4 })],
          { merge: 2, version: 'v2', names: 'mlp1', eps: 1e-5 },
          { width: 8 },
        ).tokens,
      })),
    ).toThrow(/27×24 does not divide into squares of 2×2[^]*26×24 and 28×24/));

  test('regions that do not divide, with the nearest that do', () =>
    expect(() =>
      built(
        (_p, [map]) => {
          if (map === undefined) throw new Error('a map was given');
          return mapTokens(rearrange(regionsOf(map, 2), 'b q t c -> b h=(q) w=(t) c'));
        },
        [[1, 6, 7, 4]],
      ),
    ).toThrow(/side 7 does not divide into 2 × 2 regions[^]*6×6 and 8×8/));

  test('what is not tokens with their layout', () => {
    for (const made of [undefined, {}, { tokens: 3, layout: [] }, mapTokens])
      expect(() => built(() => made as never)).toThrow(
        /mine: it gave no tokens with their layout[^]*at {2}.*connectors\.test\.ts:\d+[^]*mapTokens/,
      );
    expect(() => built((_p, maps) => ({ ...mapTokens(onlyMap(maps)), layout: 3 as never }))).toThrow(
      /no tokens with their/,
    );
  });

  test('a map that does not fit is refused at the line that asked: of all connectors', async () => {
    const refused: string[] = [];
    for (const { connector: one } of await zoo())
      for (const [h, w] of [
        [1, 1],
        [5, 7],
        [13, 13],
      ] as const) {
        const [preset] = Object.values(one.presets);
        if (preset === undefined) throw new Error(`${one.name} has no preset`);
        try {
          trace(randomParams(1), (t) => {
            const maps = preset.maps.map(([, , c], i) => t.input(`m${i}`, 'b h w c', { b: 1, h, w, c }));
            return { y: one.build(t.params, maps, preset.config, { width: 64 }).tokens };
          });
        } catch (error) {
          if (!(error instanceof OpabiniaError)) throw error;
          // A function of tensors that refuses within a connector of ours says its line there.
          if (
            error.place?.startsWith('models/connectors/') !== true &&
            error.place?.startsWith('models/parts/') !== true
          )
            refused.push(`${error.place?.replace(/:\d+$/, '') ?? 'nowhere'}`);
        }
      }
    expect(refused.length).toBeGreaterThan(50);
    expect([...new Set(refused)]).toEqual(['test/models/connectors.test.ts']);
  });

  test('code that throws while it is traced: where', () =>
    expect(() =>
      built(() => {
        throw new TypeError('no such thing');
      }),
    ).toThrow(/mine: it threw while it was traced: no such thing[^]*at {2}.*connectors\.test\.ts:\d+/));

  test('one line swaps a connector', () => {
    const tokensOf = (used: ReturnType<typeof connect>) =>
      trace(randomParams(1), (t) => ({
        tokens: used.build(t.params.at('projector'), [t.input('m', 'b h w c', { b: 1, h: 4, w: 4, c: 6 })], {
          width: 8,
        }).tokens,
      }))
        .outputs.get('tokens')
        ?.type.axes.map(({ size }) => size);
    expect(tokensOf(connect(llava, { linears: [0, 2] }))).toEqual([1, 16, 8]);
    expect(tokensOf(connect(cambrianConv, { hidden: 5, stride: 2 }))).toEqual([1, 4, 8]);
  });
});
