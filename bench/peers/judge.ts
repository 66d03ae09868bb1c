// The judge's process: the interpreter's results in f64, and the exported model for the peers that run one.
import { writeFileSync } from 'node:fs';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { type Port as OnnxPort } from '../../compiler/export/onnx-model.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { costOfWork, corner, inputFacts, outputFacts, type Judged, type TensorFacts, type Work } from '../case.ts';
import { runnableCase } from '../cases/index.ts';
import type { Judgement, Port } from './protocol.ts';
import { serve, type Served } from './serve.ts';

const judge: Served = {
  open: async () => ({ version: 'this commit' }),
  prepare: () => Promise.reject(new Error('the judge runs no races')),
  run: () => Promise.reject(new Error('the judge runs no races')),
  outputs: () => Promise.reject(new Error('the judge runs no races')),
  drop: async () => undefined,
  judge: async ({ name, scale }) => {
    const work = runnableCase(name).build(scale);
    return { ...costOfWork(work), dtype: work.source.dtype, outputs: await truth(work) };
  },
  export: async ({ name, scale }, path, plain) => {
    const { graph, source, model: own } = runnableCase(name).build(scale);
    if (own !== undefined) {
      writeFileSync(path, own());
      return { path, inputs: inputFacts(graph).map(factsPort), outputs: outputFacts(graph).map(factsPort) };
    }
    const model = exportOnnx(graph, { weights: { read: (parameter, shape) => source.read(parameter, shape) }, plain });
    writeFileSync(path, model.bytes);
    return { path, inputs: model.inputs.map(portOf), outputs: model.outputs.map(portOf) };
  },
};

function factsPort({ name, dtype, axes }: TensorFacts): Port {
  return { name, dtype, state: undefined, sizes: axes.map(({ size }) => size) };
}

function portOf({ name, tensor, dtype, kind, axes }: OnnxPort): Port {
  return {
    name: tensor,
    dtype,
    state: kind === 'state' ? name : undefined,
    sizes: axes.map(({ size }) => (typeof size === 'number' ? size : 0)),
  };
}

async function truth(work: Work): Promise<Judgement['outputs']> {
  const judged: Judged = work.judged ?? { graph: work.graph, inputs: work.inputs };
  const { within } = judged;
  const outputs = judged.by === 'ort-cpu' ? await byOnnxRuntime(work, judged) : byInterpreter(work, judged);
  return outputFacts(work.graph).map(({ name, axes }) => {
    const judged = outputs.get(name);
    if (judged === undefined) throw new TypeError(`the judged graph has no output '${name}'`);
    const part = judged.axes.map((axis) => Math.min(axis.size, within?.[axis.name] ?? Infinity));
    return {
      name,
      sizes: axes.map((axis) => axis.size),
      part,
      values: corner(
        judged.data,
        judged.axes.map((axis) => axis.size),
        part,
      ),
    };
  });
}

interface Values {
  readonly data: ArrayLike<number>;
  readonly axes: readonly { readonly name: string; readonly size: number }[];
}

function byInterpreter(work: Work, { graph, inputs }: Judged): ReadonlyMap<string, Values> {
  const { outputs } = evaluate(
    graph,
    {
      inputs: new Map(Object.entries(inputs)),
      params: (path, shape) => (work.packed ?? work.source).read(path, shape),
      states: new Map((work.learned ?? []).map(({ path, shape }) => [path, work.source.read(path, shape)])),
    },
    { precision: 'f64' },
  );
  return outputs;
}

/** What we export, operator by operator; that exports say what the interpreter says is what the tests of towers hold. */
async function byOnnxRuntime({ source }: Work, { graph, inputs }: Judged): Promise<ReadonlyMap<string, Values>> {
  const model = exportOnnx(graph, {
    weights: { read: (parameter, shape) => source.read(parameter, shape) },
    plain: true,
  });
  const { default: ort } = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(model.bytes, { executionProviders: ['cpu'], logSeverityLevel: 3 });
  const sizesOf = new Map(model.inputs.map((port) => [port.tensor, portOf(port).sizes]));
  const given = await session.run(
    Object.fromEntries(
      Object.entries(inputs).map(([name, values]) => [
        name,
        new ort.Tensor('float32', Float32Array.from(values), sizesOf.get(name) ?? []),
      ]),
    ),
  );
  return new Map(
    outputFacts(graph).map(({ name, axes }) => {
      const data = given[name]?.data;
      if (!(data instanceof Float32Array)) throw new TypeError(`the exported model gives no output '${name}' in f32`);
      return [name, { data, axes }];
    }),
  );
}

serve(judge);
