// A process of its own for ONNX Runtime: its native threads may end it at exit, and must not take ours along.
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { KeptState, OpenModel, Reply, Request, Results, RunModel, WireTensor } from './wire.ts';

// ONNX Runtime 1.30 sees no elements in a Float16Array. Where there is none, it takes and gives halves as Uint16Array.
const Half = Float16Array;
Reflect.deleteProperty(globalThis, 'Float16Array');
const ort = await import('onnxruntime-node');

const sessions = new Map<number, InferenceSession>();

/** A state, and the tensor that takes its next value: the two change places, so that no run allocates one. */
interface Kept {
  current: Tensor;
  next: Tensor | undefined;
}
const states = new Map<string, Kept>();

function toTensor({ type, dims, data }: WireTensor): Tensor {
  switch (type) {
    case 'float32':
      return new ort.Tensor('float32', Float32Array.from(data), dims);
    case 'float16':
      return new ort.Tensor('float16', new Uint16Array(Half.from(data).buffer), dims);
    case 'int32':
      return new ort.Tensor('int32', Int32Array.from(data), dims);
    case 'uint32':
      return new ort.Tensor('uint32', Uint32Array.from(data), dims);
    case 'int64':
      return new ort.Tensor(
        'int64',
        BigInt64Array.from(data, (x) => BigInt(x)),
        dims,
      );
    case 'bool':
      return new ort.Tensor('bool', Uint8Array.from(data), dims);
    default:
      return type satisfies never;
  }
}

function zeros({ type, dims }: KeptState): Tensor {
  return toTensor({ type, dims, data: new Uint8Array(dims.reduce((count, size) => count * size, 1)) });
}

function fromTensor(tensor: Tensor): Float64Array {
  const { data } = tensor;
  if (data instanceof Uint16Array && tensor.type === 'float16')
    return Float64Array.from(new Half(data.buffer, data.byteOffset, data.length));
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  if (Array.isArray(data)) throw new TypeError('a tensor of strings');
  return Float64Array.from(data);
}

async function open({ model, threads, weightsInPlace }: OpenModel): Promise<InferenceSession> {
  const options = {
    executionProviders: ['cpu'],
    ...(threads === 'all' ? {} : { intraOpNumThreads: 1 }),
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    ...(weightsInPlace === true ? { extra: { session: { disable_prepacking: '1' } } } : {}),
  } satisfies InferenceSession.SessionOptions;
  return typeof model === 'string'
    ? ort.InferenceSession.create(model, options)
    : ort.InferenceSession.create(model, options);
}

async function run(session: InferenceSession, { feeds, states: own = [], outputs }: RunModel): Promise<Results> {
  const given = Object.fromEntries([...feeds].map(([name, tensor]) => [name, toTensor(tensor)]));
  // A name without a tensor: one is made.
  const wanted: Record<string, Tensor | null> = {};
  for (const name of outputs ?? session.outputNames) wanted[name] = null;
  const kept = own.map((state) => {
    const held = states.get(state.key) ?? { current: zeros(state), next: undefined };
    states.set(state.key, held);
    if (state.input !== undefined) given[state.input] = held.current;
    if (state.output !== undefined) wanted[state.output] = held.next ?? zeros(state);
    return { held, output: state.output };
  });
  const results = await session.run(given, wanted);
  for (const { held, output } of kept) {
    const written = output === undefined ? undefined : results[output];
    if (written === undefined) continue;
    held.next = held.current;
    held.current = written;
  }
  const stays = new Set(own.map(({ output }) => output));
  return new Map(
    Object.entries(results)
      .filter(([name]) => !stays.has(name))
      .map(([name, tensor]) => [name, { dims: [...tensor.dims], data: fromTensor(tensor) }]),
  );
}

async function answer(request: Request): Promise<Results> {
  switch (request.kind) {
    case 'hello':
      return new Map();
    case 'open':
      sessions.set(request.session, await open(request));
      return new Map();
    case 'run': {
      const session = sessions.get(request.session);
      if (session === undefined) throw new Error(`there is no session ${request.session}`);
      return run(session, request);
    }
    case 'forget':
      for (const key of request.keys) states.delete(key);
      return new Map();
    case 'close': {
      await sessions.get(request.session)?.release();
      sessions.delete(request.session);
      return new Map();
    }
    default:
      return request satisfies never;
  }
}

function memory(): Reply['memory'] {
  // The operating system counts the most in KiB.
  return { now: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 };
}

// One after the other: a run begins with the states that the one before it has left.
let last: Promise<void> = Promise.resolve();
process.on('message', (request: Request) => {
  last = last
    .then(() => answer(request))
    .then(
      (result): Reply => ({ id: request.id, result, memory: memory() }),
      (error: unknown): Reply => ({ id: request.id, error: error instanceof Error ? error.message : String(error) }),
    )
    .then((reply) => void process.send?.(reply));
});
process.on('disconnect', () => process.exit(0));
