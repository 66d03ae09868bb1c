// Where a golden model runs: on the reference interpreter, or compiled on the GPU.
import { OpabiniaError } from '../../dsl/error.ts';
import { roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import type { ParamSource } from '../../dsl/index.ts';
import { evaluate, type Precision } from '../../runtime/reference/reference.ts';
import { order } from '../../dsl/graph/walk.ts';
import type { InitialStates } from '../../runtime/program/upload.ts';
import type { Program } from '../../runtime/program/program.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import type { Backend, Outputs } from './backend.ts';

export type { Backend, Outputs, Step, Together } from './backend.ts';

/** The interpreter, rounding after each op: to the graph's dtypes, or as told. */
export function referenceBackend(precision: Precision = 'f32'): Backend {
  return {
    name: 'reference interpreter',
    run: async (graph, source, inputs) => {
      const result = evaluate(graph, { inputs, params: (path, shape) => source.read(path, shape) }, { precision });
      return new Map([...result.outputs].map(([name, values]) => [name, values.data]));
    },
    open: async (graph, source) => {
      let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
      return {
        step: async (inputs, symbols) => {
          const result = evaluate(
            graph,
            { inputs, states, symbols, params: (path, shape) => source.read(path, shape) },
            { precision },
          );
          ({ states } = result);
          return new Map([...result.outputs].map(([name, values]) => [name, values.data]));
        },
        close: () => undefined,
      };
    },
    openTogether: async (graphs, source, initial) => {
      let states = firstStates(graphs, initial);
      return {
        steps: graphs.map((graph) => async (inputs, symbols) => {
          const result = evaluate(
            graph,
            { inputs, states, symbols, params: (path, shape) => source.read(path, shape) },
            { precision },
          );
          states = new Map([...states, ...result.states]);
          return new Map([...result.outputs].map(([name, values]) => [name, values.data]));
        }),
        state: async (name) => states.get(name) ?? [],
        close: () => undefined,
      };
    },
    close: () => undefined,
  };
}

function firstStates(graphs: readonly Graph[], initial: InitialStates): ReadonlyMap<string, ArrayLike<number>> {
  const nodes = graphs.flatMap((graph) => order(graph).filter((node) => roleOf(node) === 'state'));
  return new Map(
    nodes.flatMap((node): readonly (readonly [string, ArrayLike<number>])[] => {
      const name = nameOf(node);
      const shape = node.type.axes.map((axis) => Number(axis.size));
      return initial.has(name) ? [[name, initial.read(name, shape)]] : [];
    }),
  );
}

/** Dawn. Imported only when asked for, so that `--backend reference` works where no GPU package loads. */
export async function gpuBackend(): Promise<Backend> {
  const [{ compile, compileTogether }, dawn, { load }, { SharedBuffers }] = await Promise.all([
    import('../../compiler/compile.ts'),
    import('../../runtime/device/dawn.ts'),
    import('../../runtime/program/program.ts'),
    import('../../runtime/program/shared-buffers.ts'),
  ]);
  const device = await dawn.openDevice();
  const profile = dawn.deviceProfile(device);
  const once = async (graph: Graph, source: ParamSource, inputs: ReadonlyMap<string, Numbers>): Promise<Outputs> => {
    if (graph.outputs.size === 0) return new Map();
    const program = await load(compile(graph, profile), device, source);
    try {
      const read = inputsRead(graph);
      const outputs = await program.run(Object.fromEntries([...inputs].filter(([name]) => read.has(name))));
      return new Map(Object.entries(outputs).map(([name, output]) => [name, Float64Array.from(output.data)]));
    } finally {
      program.dispose();
    }
  };
  return {
    name: device.facts.name,
    // Intermediate activations as outputs cut kernels apart: what users run, the outputs alone, is compiled and checked by itself.
    run: async (graph, source, inputs) => {
      const [plain, inner] = split(graph, (name) => name.startsWith('inter.'));
      return new Map([...(await once(plain, source, inputs)), ...(await once(inner, source, inputs))]);
    },
    open: async (graph, source) => {
      const program = await load(compile(graph, profile), device, source);
      return {
        step: async (inputs, symbols) => {
          const outputs = await program.run(Object.fromEntries(inputs), { symbols: Object.fromEntries(symbols) });
          return new Map(Object.entries(outputs).map(([name, output]) => [name, Float64Array.from(output.data)]));
        },
        close: () => program.dispose(),
      };
    },
    openTogether: async (graphs, source, states) => {
      const shared = new SharedBuffers();
      const programs: Program[] = [];
      for (const plan of compileTogether(graphs, profile))
        programs.push(await load(plan, device, source, { shared, states }));
      return {
        steps: programs.map((program) => async (inputs, symbols) => {
          const outputs = await program.run(Object.fromEntries(inputs), { symbols: Object.fromEntries(symbols) });
          return new Map(Object.entries(outputs).map(([name, output]) => [name, Float64Array.from(output.data)]));
        }),
        state: async (name) => {
          const owner = programs.find((program) => program.plan.states.some((state) => state.name === name));
          return owner === undefined ? [] : Float64Array.from((await owner.readState(name)).data);
        },
        close: () => programs.forEach((program) => program.dispose()),
      };
    },
    close: () => device.close(),
  };
}

function split(graph: Graph, second: (name: string) => boolean): readonly [Graph, Graph] {
  const pick = (wanted: boolean): Graph => ({
    outputs: new Map([...graph.outputs].filter(([name]) => second(name) === wanted)),
    updates: [],
  });
  return [pick(false), pick(true)];
}

/** Names of the inputs that the outputs depend on. */
function inputsRead(graph: Graph): ReadonlySet<string> {
  const names = new Set<string>();
  const seen = new Set<Node>();
  const stack = [...graph.outputs.values()];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (roleOf(node) === 'input') names.add(nameOf(node));
    stack.push(...node.inputs);
  }
  return names;
}

export async function openBackend(name: string): Promise<Backend> {
  if (name === 'reference') return referenceBackend();
  if (name === 'gpu') return gpuBackend();
  // Imported only when asked for: ONNX Runtime is an optional peer.
  if (name === 'onnx') return (await import('./onnx-runtime.ts')).onnxBackend();
  throw new OpabiniaError(`there is no backend '${name}'`, { op: 'verify', advice: 'gpu, reference or onnx' });
}
