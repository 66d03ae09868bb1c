// A process of its own for ONNX Runtime: its native threads may end it at exit, and must not take ours along.
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Reply, Request, WireTensor } from './onnx-runtime.ts';

// ONNX Runtime 1.30 sees no elements in a Float16Array. Where there is none, it takes and gives halves as Uint16Array.
const Half = Float16Array;
Reflect.deleteProperty(globalThis, 'Float16Array');
const ort = await import('onnxruntime-node');

const sessions = new Map<number, InferenceSession>();

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

function fromTensor(tensor: Tensor): Float64Array {
  const { data } = tensor;
  if (data instanceof Uint16Array && tensor.type === 'float16')
    return Float64Array.from(new Half(data.buffer, data.byteOffset, data.length));
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  if (Array.isArray(data)) throw new TypeError('a tensor of strings');
  return Float64Array.from(data);
}

async function answer(request: Request): Promise<Reply['result']> {
  switch (request.kind) {
    case 'open': {
      // One thread: the machine has other work, and sums come out in one order.
      const options = {
        executionProviders: ['cpu'],
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        logSeverityLevel: 3,
      } satisfies InferenceSession.SessionOptions;
      const session =
        typeof request.model === 'string'
          ? await ort.InferenceSession.create(request.model, options)
          : await ort.InferenceSession.create(request.model, options);
      sessions.set(request.session, session);
      return new Map();
    }
    case 'run': {
      const session = sessions.get(request.session);
      if (session === undefined) throw new Error(`there is no session ${request.session}`);
      const results = await session.run(
        Object.fromEntries([...request.feeds].map(([name, tensor]) => [name, toTensor(tensor)])),
      );
      return new Map(
        Object.entries(results).map(([name, tensor]) => [name, { dims: [...tensor.dims], data: fromTensor(tensor) }]),
      );
    }
    case 'close': {
      await sessions.get(request.session)?.release();
      sessions.delete(request.session);
      return new Map();
    }
    default:
      return request satisfies never;
  }
}

process.on('message', (request: Request) => {
  answer(request).then(
    (result) => process.send?.({ id: request.id, result } satisfies Reply),
    (error: unknown) =>
      process.send?.({ id: request.id, error: error instanceof Error ? error.message : String(error) } satisfies Reply),
  );
});
process.on('disconnect', () => process.exit(0));
