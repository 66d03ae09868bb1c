// ONNX export judged by ONNX Runtime: every golden file, random graphs, decode with its states, weights left in their files, errors.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportModels } from '../../pipelines/export/export-models.ts';
import { onnxBackend, runExported } from '../../pipelines/verify/onnx-runtime.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { kinds } from '../../pipelines/verify/kinds.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { type OnnxModel } from '../../compiler/export/onnx-model.ts';
import { ModelProtoSchema, TensorProto_DataLocation, type GraphProto } from '../../compiler/export/gen/onnx_pb.js';
import {
  attention,
  conv2d,
  einsum,
  maxPool2d,
  randomParams,
  rearrange,
  rmsNorm,
  softmax,
  trace,
  type Graph,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { Builder } from '../../dsl/graph/graph.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { input, typeAttrs } from '../../dsl/ops/source.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { graphArbitrary } from '../support/generate.ts';
import { block, square } from './models.ts';
import { judgeOnnx } from './onnx-judge.ts';
import { share } from '../support/share.ts';

/** `OPABINIA_ONNX_GRAPHS=500` for the nightly run; `OPABINIA_SEED` tries other graphs. */
const graphs = Number(process.env['OPABINIA_ONNX_GRAPHS'] ?? 30);
const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);

const golden = join(import.meta.dirname, '../golden');
const filesIn = (folder: string) =>
  readdirSync(join(golden, folder))
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => join(golden, folder, name));
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-onnx-test-'));
let runtime: OnnxRuntime;
beforeAll(() => {
  runtime = new OnnxRuntime();
});
afterAll(() => {
  runtime.close();
  rmSync(scratch, { recursive: true });
});

const protoOf = (model: OnnxModel): GraphProto =>
  fromBinary(ModelProtoSchema, model.bytes).graph ?? expect.fail('a model has a graph');
const embed = (source: ParamSource) => ({ weights: source });

describe('every golden file agrees on ONNX Runtime', () => {
  const fused = onnxBackend();
  const plain = onnxBackend({ plain: true });
  afterAll(() => {
    fused.close();
    plain.close();
  });
  const wrong = async (...args: Parameters<typeof verifyFile>): Promise<readonly unknown[]> => {
    const rows = await verifyFile(...args);
    expect(rows.length).toBeGreaterThan(0);
    return rows.filter((row) => row.verdict !== 'ok');
  };

  // Whole models with pictures are several graphs over the same states, which a session of ONNX Runtime does not keep for another.
  const models = filesIn('models').filter((file) => !/(?:gemma3-vl|qwen2\.5-vl|qwen3-vl|smolvlm)\./.test(file));
  const half = (rest: number): readonly string[] =>
    share(
      models.filter((_, i) => i % 2 === rest),
      models,
    );

  test.each([...half(0), ...filesIn('cambrian')])('%s', async (file) => {
    expect(await wrong(file, fused)).toEqual([]);
    expect(await wrong(file, plain)).toEqual([]);
  });

  test.each(half(1))('in f16, %s', async (file) => {
    expect(await wrong(file, fused, 'f16')).toEqual([]);
  });
});

describe(`random graphs, seed ${seed}`, () => {
  test('agree with the interpreter, with composites and without', async () => {
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(graphArbitrary(), fc.boolean(), async ({ graph, feeds }, plain) => {
        compared += (await judgeOnnx(runtime, graph, feeds, { plain })).compared;
      }),
      { numRuns: graphs, seed },
    );
    expect(compared).toBeGreaterThan(graphs);
  }, 900_000);

  test('of any names', async () => {
    await fc.assert(
      fc.asyncProperty(graphArbitrary({ names: 'hostile', maxNodes: 6 }), async ({ graph, feeds }) => {
        await judgeOnnx(runtime, graph, feeds, { plain: false });
      }),
      { numRuns: Math.ceil(graphs / 5), seed },
    );
  }, 900_000);
});

/** Those of ONNX's opset 20 that an export has any use for. A program that knows ONNX knows no other name in its domain. */
const operators = new Set(
  'Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Clip Concat Conv ConstantOfShape Cos Div Equal Erf Exp Expand Floor Gather GatherElements GatherND Gelu Greater GreaterOrEqual Identity IsInf IsNaN LayerNormalization Less LessOrEqual Log MatMul Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape ScatterElements ScatterND Shape Sigmoid Sign Sin Slice Softmax Sqrt Squeeze Sub Tanh TopK Transpose Unsqueeze Where Xor'.split(
    ' ',
  ),
);
const foreign = (model: OnnxModel): readonly string[] =>
  protoOf(model).node.flatMap(({ domain, opType }) => (domain === '' && !operators.has(opType) ? [opType] : []));

/** One block on 1 to 40 positions. */
const blockGraph = (dtype: 'f32' | 'f16' = 'f32'): Graph =>
  trace(
    { ...square(32), dtype },
    (t) => ({
      y: block(
        t.params.at('layers', 0),
        t.input('x', 'b n c', { b: 2, n: t.symbol('n', { upTo: 40 }), c: 32 }, dtype),
        4,
      ),
    }),
    { unread: 'ignore' },
  );

describe('the model', () => {
  test('names nodes by their model paths, once each, and says source line, FLOPs and bytes', () => {
    const { node } = protoOf(exportOnnx(blockGraph(), embed(square(32))));
    expect(new Set(node.map(({ name }) => name)).size).toBe(node.length);
    const projection = node.find(({ opType, name }) => opType === 'MatMul' && name.startsWith('layers.0.mlp.up/'));
    const said = new Map(projection?.metadataProps.map(({ key, value }) => [key, value]));
    // 2 rows of up to 40 positions, 32 channels to 128, a multiplication and an addition each.
    expect(said.get('flops')).toBe(String(2 * 2 * 40 * 32 * 128));
    expect(said.get('bytes')).toBe(String(4 * (2 * 40 * 32 + 32 * 128 + 2 * 40 * 128)));
    expect(said.get('source')).toMatch(/^test\/compiler\/models\.ts:\d+$/);
    expect(projection?.docString).toContain('[b:2 n:n f:128] f32');
  });

  test('has the composites that ONNX Runtime has kernels for, or only elementary operators', () => {
    const count = (model: OnnxModel, ...names: readonly string[]) =>
      names.map((name) => model.operators.get(name) ?? 0);
    const fused = ['LayerNormalization', 'SkipLayerNormalization', 'MultiHeadAttention', 'Gelu', 'Softmax'];
    for (const dtype of ['f32', 'f16'] as const)
      expect(count(exportOnnx(blockGraph(dtype), embed(square(32))), ...fused, 'Erf')).toEqual([1, 1, 1, 1, 0, 0]);
    const plain = exportOnnx(blockGraph(), { ...embed(square(32)), plain: true });
    expect(count(plain, ...fused, 'Erf')).toEqual([0, 0, 0, 0, 0, 1]);
    expect(fromBinary(ModelProtoSchema, plain.bytes).opsetImport.map(({ domain }) => domain)).toEqual(['']);
  });

  test.each([
    ['f32', false],
    ['f32', true],
    ['f16', false],
    ['f16', true],
  ] as const)(
    'of rmsNorm in %s, unit offset %o: operators of ONNX, and the numbers of the interpreter',
    async (dtype, unitOffset) => {
      const source = randomParams(5, { dtype });
      const graph = trace(source, (t) => {
        const x = t.input('x', 'b n c', { b: 2, n: 7, c: 48 }, dtype);
        const y = rmsNorm(t.params.at('a'), x, { unitOffset });
        // Along an axis that is not the last, and behind a sum, which has an operator with it.
        const across = rmsNorm(t.params.at('b'), rearrange(y, 'b n c -> c b n'), { axis: 'c' });
        return { across, sum: rmsNorm(t.params.at('c'), x.add(y), { eps: 1e-6 }) };
      });
      const round = dtype === 'f16' ? Math.f16round : Math.fround;
      const feeds = {
        inputs: new Map([['x', Float64Array.from({ length: 2 * 7 * 48 }, (_, i) => round(3 * Math.sin(i * i)))]]),
        params: (path: string) => Float64Array.from(source.read(path, [48])),
        states: new Map(),
        symbols: new Map(),
      };
      await judgeOnnx(runtime, graph, feeds, { plain: false });
      const model = exportOnnx(graph, embed(source));
      expect(foreign(model)).toEqual([]);
      expect(model.operators.get('ReduceMean')).toBeGreaterThanOrEqual(2);
    },
  );

  test.each(
    share(
      filesIn('connectors').filter((_, i) => i % 8 === 0),
      filesIn('connectors'),
    ),
  )('of %s: every operator in the name of ONNX is one of opset 20', async (path) => {
    const file = new GoldenFile(path, 'f32');
    const { graph, source, close } = (await kinds.get(file.kind)?.(file)) ?? expect.fail('an unknown kind');
    if (graph !== undefined) expect(foreign(exportOnnx(graph, embed(source ?? file.checkpoint)))).toEqual([]);
    close?.();
    file.checkpoint.close();
  });

  test('holds no number that no node reads', () => {
    for (const plain of [false, true]) {
      const { node, initializer } = protoOf(exportOnnx(blockGraph(), { ...embed(square(32)), plain }));
      const read = new Set(node.flatMap(({ input: names }) => names));
      expect(initializer.length).toBeGreaterThan(5);
      expect(initializer.map(({ name }) => name).filter((name) => !read.has(name))).toEqual([]);
    }
  });

  test('takes any value of a symbol: a dynamic dimension', async () => {
    const graph = blockGraph();
    const model = exportOnnx(graph, embed(square(32)));
    expect(protoOf(model).input[0]?.type?.value).toMatchObject({
      value: {
        shape: {
          dim: [{ value: { value: 2n } }, { value: { case: 'dimParam', value: 'n' } }, { value: { value: 32n } }],
        },
      },
    });
    const session = await runtime.open(model.bytes);
    for (const n of [1, 7, 40]) {
      const feeds = {
        inputs: new Map([['x', Float64Array.from({ length: 2 * n * 32 }, (_, i) => Math.sin(i * n))]]),
        symbols: new Map([['n', n]]),
      };
      const want = evaluate(
        graph,
        { ...feeds, params: (path, shape) => square(32).read(path, shape) },
        { precision: 'f64' },
      );
      const got = await runExported(session, model, feeds);
      want.outputs
        .get('y')
        ?.data.forEach((value, i) => expect(Math.abs((got.outputs.get('y')?.[i] ?? NaN) - value)).toBeLessThan(1e-4));
    }
    await session.close();
  });

  test('has states as inputs and outputs, and what no shape shows as an input', async () => {
    const graph = trace(randomParams(1), (t) => {
      const past = t.symbol('past', { atLeast: 0, upTo: 3 });
      const cache = t.state('cache', 'h t', { h: 2, t: 4 });
      const fresh = t.input('fresh', 'h t', { h: 2, t: 1 });
      t.update(cache, fresh, { t: past });
      return { cache: cache.mul(1) };
    });
    const model = exportOnnx(graph, embed(randomParams(1)));
    expect(new Map(model.inputs.map(({ kind, tensor }) => [tensor, kind]))).toEqual(
      new Map([
        ['fresh', 'input'],
        ['cache', 'state'],
        ['past', 'symbol'],
      ]),
    );
    // The output of the graph has the state's own name.
    expect(model.outputs.map(({ kind, tensor }) => [kind, tensor])).toEqual([
      ['output', 'cache_1'],
      ['state', 'cache.next'],
    ]);
    const session = await runtime.open(model.bytes);
    const states = new Map([['cache', Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8)]]);
    for (const [past, after] of [
      [0, [10, 2, 3, 4, 20, 6, 7, 8]],
      [3, [1, 2, 3, 10, 5, 6, 7, 20]],
    ] as const) {
      const got = await runExported(session, model, {
        inputs: new Map([['fresh', [10, 20]]]),
        states,
        symbols: new Map([['past', past]]),
      });
      expect([...(got.outputs.get('cache') ?? [])]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect([...(got.states.get('cache') ?? [])]).toEqual(after);
    }
    await session.close();
  });

  const attended = (t: Trace) => {
    const [key, value] = [
      t.input('key', 'b h t d', { b: 2, h: 3, t: 5, d: 4 }),
      t.input('value', 'b h t d', { b: 2, h: 3, t: 5, d: 4 }),
    ];
    const query = () => t.input('query', 'b h n d', { b: 2, h: 3, n: 5, d: 4 });
    const keep = () => t.input('keep', 'b t', { b: 2, t: 5 }, 'bool');
    const bias = () => t.input('bias', 'h n t', { h: 3, n: 5, t: 5 });
    return { key, value, query, keep, bias };
  };
  const along = { key: 't', along: 'd' } as const;

  test.each<readonly [string, number, (x: ReturnType<typeof attended>, t: Trace) => Tensor]>([
    ['scaled', 1, ({ key, value, query }) => attention(query(), key, value, along)],
    ['masked', 1, ({ key, value, query, keep }) => attention(query(), key, value, { ...along, mask: keep() })],
    ['causal', 1, ({ key, value, query }) => attention(query(), key, value, { ...along, causal: true })],
    [
      'masked and causal',
      1,
      ({ key, value, query, keep }) => attention(query(), key, value, { ...along, mask: keep(), causal: true }),
    ],
    [
      'biased',
      1,
      ({ key, value, query, bias }) => attention(query(), key, value, { ...along, mask: bias(), scale: 0.3 }),
    ],
    [
      'grouped',
      1,
      ({ key, value }, t) =>
        attention(t.input('grouped', 'b h r n d', { b: 2, h: 3, r: 2, n: 5, d: 4 }), key, value, {
          ...along,
          causal: 'n',
        }),
    ],
    // The operator multiplies before it adds.
    [
      'shifted, then scaled',
      0,
      ({ key, value, query, bias }) =>
        einsum(
          softmax(einsum(query(), key, 'b h n d, b h t d -> b h n t').add(bias()).mul(0.25), 't'),
          value,
          'b h n t, b h t d -> b h n d',
        ),
    ],
  ])('says attention as one operator where it can: %s', async (_what, operators, build) => {
    const graph = trace(randomParams(1), (t) => ({ y: build(attended(t), t) }));
    const random = (count: number, phase: number) =>
      Float64Array.from({ length: count }, (_, i) => Math.fround(2 * Math.sin(i * phase)));
    // All keys of one row are masked: all weigh the same.
    const inputs = new Map<string, ArrayLike<number>>([
      ['query', random(120, 1)],
      ['grouped', random(240, 1.1)],
      ['key', random(120, 2)],
      ['value', random(120, 3)],
      ['bias', random(75, 4)],
      ['keep', [1, 0, 1, 1, 0, 0, 0, 0, 0, 0]],
    ]);
    const want = evaluate(graph, { inputs, params: () => [] }, { precision: 'f64' }).outputs.get('y');
    const model = exportOnnx(graph, embed(randomParams(1)));
    expect(model.operators.get('MultiHeadAttention') ?? 0).toBe(operators);
    const session = await runtime.open(model.bytes);
    const got = (await runExported(session, model, { inputs })).outputs.get('y');
    want?.data.forEach((value, i) => expect(Math.abs((got?.[i] ?? NaN) - value)).toBeLessThan(1e-5));
    await session.close();
  });

  test('says convolutions as Conv: dense, depthwise, strided, dilated, padded', async () => {
    const source = randomParams(5);
    const graph = trace(source, (t) => {
      const x = t.input('x', 'b h w c', { b: 2, h: 9, w: 8, c: 6 });
      return {
        dense: conv2d(t.params.at('dense'), x, {
          out: 'd',
          size: 5,
          kernel: [3, 2],
          stride: [2, 1],
          padding: [1, 0],
          dilation: [1, 2],
        }),
        depthwise: conv2d(t.params.at('depthwise'), x, { out: 'c', size: 6, kernel: 5, padding: 2, groups: 6 }),
        channelsFirst: rearrange(
          conv2d(t.params.at('second'), x, { out: 'd', size: 4, kernel: 3, stride: 2 }),
          'b h w d -> d b h w',
        ),
        grouped: conv2d(t.params.at('grouped'), x, { out: 'c', size: 4, kernel: 3, padding: 1, groups: 2 }),
        pooled: maxPool2d(x, { kernel: 3, stride: 2, padding: 1 }),
      };
    });
    const feeds = {
      inputs: new Map([['x', Float64Array.from({ length: 2 * 9 * 8 * 6 }, (_, i) => Math.fround(Math.sin(i)))]]),
      params: (path: string, shape: number[]) => source.read(path, shape),
    };
    const model = exportOnnx(graph, embed(source));
    expect(model.operators.get('Conv')).toBe(3);
    const session = await runtime.open(model.bytes);
    const got = await runExported(session, model, feeds);
    for (const [name, want] of evaluate(graph, feeds, { precision: 'f64' }).outputs)
      want.data.forEach((value, i) =>
        expect(Math.abs((got.outputs.get(name)?.[i] ?? NaN) - value), name).toBeLessThan(2e-5),
      );
    await session.close();
  });
});

describe('weights', () => {
  /** A tower in the layout of Hugging Face, from a golden file. */
  function towerDirectory(name: string): string {
    const folder = join(scratch, name);
    mkdirSync(folder);
    const file = join(golden, 'models/clip-vit.safetensors');
    copyFileSync(file, join(folder, 'model.safetensors'));
    const checkpoint = openCheckpoint(file);
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({
        ...(JSON.parse(checkpoint.metadata.get('config') ?? '{}') as object),
        model_type: 'clip_vision_model',
      }),
    );
    checkpoint.close();
    return folder;
  }

  test.each(['below the model file', 'elsewhere, by a hard link'])(
    'of a directory stay in its file, %s',
    async (where) => {
      const folder = towerDirectory(where.slice(0, 5));
      const out = where.startsWith('below') ? join(folder, 'clip.onnx') : join(scratch, 'clip.onnx');
      const [exported] = await exportModels(folder, { onnx: out });
      const model = exported?.model ?? expect.fail('one graph');
      const initializers = protoOf(model).initializer.filter(
        ({ dataLocation }) => dataLocation === TensorProto_DataLocation.EXTERNAL,
      );
      expect(initializers.length).toBeGreaterThan(20);
      expect(statSync(out).size).toBeLessThan(100_000);
      const checkpoint = openCheckpoint(join(folder, 'model.safetensors'));
      const [port] = model.inputs;
      const shape = port?.axes.map((axis) => Number(axis.size)) ?? [];
      const pixels = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
        Math.fround(Math.cos(i)),
      );
      const session = await runtime.open(out);
      const got = await runExported(session, model, { inputs: new Map([['pixels', pixels]]) });
      expect(got.outputs.get('features')?.every(Number.isFinite)).toBe(true);
      // The same weights, embedded: the offsets were right to the byte.
      const { clipFeatures, clipConfig } = await import('../../models/towers/clip.ts');
      const { GoldenFile } = await import('../../pipelines/verify/golden-file.ts');
      const config = clipConfig(new GoldenFile(join(golden, 'models/clip-vit.safetensors')).config);
      const graph = trace(
        checkpoint,
        (t) => ({
          features: clipFeatures(
            t.params,
            t.input('pixels', 'b h w c', { b: 1, h: shape[1] ?? 0, w: shape[2] ?? 0, c: 3 }),
            config,
          ),
        }),
        { unread: 'ignore' },
      );
      const want = evaluate(
        graph,
        { inputs: new Map([['pixels', pixels]]), params: (path, sizes) => checkpoint.read(path, sizes) },
        { precision: 'f64' },
      );
      want.outputs
        .get('features')
        ?.data.forEach((value, i) =>
          expect(Math.abs((got.outputs.get('features')?.[i] ?? NaN) - value)).toBeLessThan(
            1e-4 * (1 + Math.abs(value)),
          ),
        );
      checkpoint.close();
      await session.close();
    },
  );

  test('of a graph of eight billion parameters: exported in seconds, nothing read', () => {
    const shapes = [4096, 14336] as const;
    const source: ParamSource = {
      dtype: 'f16',
      shape: (path) =>
        path.endsWith('down.weight')
          ? [shapes[0], shapes[1]]
          : path.endsWith('up.weight')
            ? [shapes[1], shapes[0]]
            : path.endsWith('up.bias')
              ? [shapes[1]]
              : /(bias|norm\d\.weight)$/.test(path)
                ? [shapes[0]]
                : [shapes[0], shapes[0]],
      names: () => undefined,
      read: () => expect.fail('a weight was read'),
    };
    const graph = trace(source, (t) => {
      let x = t.input('x', 'b n c', { b: 1, n: t.symbol('n', { upTo: 2048 }), c: 4096 }, 'f16');
      for (let i = 0; i < 44; i++) x = block(t.params.at('layers', i), x, 32) as typeof x;
      return { y: x };
    });
    const start = process.cpuUsage();
    let bytes = 0;
    const model = exportOnnx(graph, {
      weights: {
        read: source.read,
        placeOf: (_path, shape) => {
          const length = 2 * shape.reduce((a, b) => a * b, 1);
          bytes += length;
          return { dtype: 'F16', location: 'model.safetensors', offset: bytes - length, length };
        },
      },
    });
    expect(bytes / 2).toBeGreaterThan(8e9);
    expect(model.bytes.length).toBeLessThan(4e6);
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(10);
  });

  test('of a source file are in the model, and its graph by its name', async () => {
    const file = join(scratch, 'source.ts');
    writeFileSync(
      file,
      `import { linear, randomParams, trace } from ${JSON.stringify(join(import.meta.dirname, '../../dsl/index.ts'))};
export const params = randomParams(3);
export const small = trace(params, (t) => ({ y: linear(t.params.at('p'), t.input('x', 'b i', { b: 2, i: 3 }), 'o', { size: 4 }) }));
export function largeGraph() { return trace(params, (t) => ({ y: linear(t.params.at('p'), t.input('x', 'b i', { b: 1, i: 2100 }), 'o', { size: 2100 }) })); }`,
    );
    const exported = await exportModels(file, { onnx: join(scratch, 'source.onnx') });
    expect(new Map(exported.map(({ name, path }) => [name, path.slice(scratch.length + 1)]))).toEqual(
      new Map([
        ['largeGraph', 'source.largeGraph.onnx'],
        ['small', 'source.small.onnx'],
      ]),
    );
    expect(statSync(join(scratch, 'source.largeGraph.bin')).size).toBe(4 * (2100 * 2100 + 2100));
    expect(new Float32Array(readFileSync(join(scratch, 'source.largeGraph.bin')).buffer.slice(0, 16))[0]).toBe(
      randomParams(3).read('p.weight', [2100, 2100])[0],
    );
    for (const { path, model } of exported) {
      const session = await runtime.open(path);
      const count = Number(model.inputs[0]?.axes[0]?.size) * Number(model.inputs[0]?.axes[1]?.size);
      expect(
        (await runExported(session, model, { inputs: new Map([['x', new Float64Array(count).fill(1)]]) })).outputs
          .get('y')
          ?.every(Number.isFinite),
      ).toBe(true);
      await session.close();
    }
  });
});

describe('what is refused', () => {
  test('a function that ONNX has no operators for, by op and path', () => {
    const builder = new Builder();
    const x = builder.make(input, [], { name: 'x', ...typeAttrs([{ name: 'a', size: 2 }], 'f32') });
    const y = builder.make({ ...mapOp('exp'), name: 'bessel' }, [x], {}, { path: 'layers.3.act', place: 'model.ts:7' });
    expect(() => exportOnnx({ outputs: new Map([['y', y]]), updates: [] }, embed(randomParams(1)))).toThrow(
      /^bessel: cannot be exported to ONNX[^]*in {2}layers\.3\.act\n {2}at {2}model\.ts:7/,
    );
  });

  test('a source file without a graph, an unknown graph, a directory that is not there', async () => {
    const file = join(scratch, 'nothing.ts');
    writeFileSync(file, 'export const five = 5;');
    await expect(exportModels(file, { onnx: join(scratch, 'x.onnx') })).rejects.toThrow(/exports no graph/);
    await expect(
      exportModels(join(scratch, 'source.ts'), { onnx: join(scratch, 'x.onnx'), graph: 'smal' }),
    ).rejects.toThrow(/no graph 'smal'[^]*small/);
    await expect(exportModels(file, { onnx: join(scratch, 'no/x.onnx') })).rejects.toThrow(/no directory/);
  });
});
