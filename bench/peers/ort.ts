// ONNX Runtime on the model we export: tensors on the device, validation off, the graph captured where it can be.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createRequire } from 'node:module';
import ort from 'onnxruntime-node';
import type { Work } from '../case.ts';
import { runnableCase } from '../cases/index.ts';
import { firstElementModel, identityModel } from './ort-models.ts';
import type { Job, Peer, PeerFacts, Port, Prepared } from './protocol.ts';

type Session = ort.InferenceSession;
type Tensors = Record<string, ort.Tensor>;
type Options = ort.InferenceSession.SessionOptions;

/** 3: errors alone. */
const quiet: Options = { logSeverityLevel: 3 };

/**
 * Where the language has Float16Array, tensors take it for float16, and the native side of the binding then sees an empty array.
 * They look for it once, at the first tensor of all.
 */
function hideFloat16Array(): void {
  const own = globalThis.Float16Array;
  Reflect.deleteProperty(globalThis, 'Float16Array');
  try {
    new ort.Tensor('float32', new Float32Array(1), [1]);
  } finally {
    globalThis.Float16Array = own;
  }
}

export class Ort implements Peer {
  readonly #provider: 'webgpu' | 'cpu';
  #session: Session | undefined;
  #inputs: Tensors = {};
  #last: Tensors = {};
  #first: Session | undefined;
  #ports: readonly Port[] = [];
  #kept: Session[] = [];

  constructor(provider: 'webgpu' | 'cpu') {
    this.#provider = provider;
  }

  get #options(): Options {
    // The names of provider options are ONNX Runtime's own; the types know those of the web only.
    return this.#provider === 'cpu'
      ? { ...quiet, executionProviders: ['cpu'] }
      : {
          ...quiet,
          executionProviders: [
            { name: 'webgpu', validationMode: 'disabled' } as ort.InferenceSession.WebGpuExecutionProviderOption,
          ],
        };
  }

  async open(): Promise<PeerFacts> {
    hideFloat16Array();
    const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
    return { version };
  }

  async prepare({ name, scale, model }: Job): Promise<Prepared> {
    if (model === undefined) throw new Error('there is no exported model');
    this.#ports = model.outputs;
    const given = hostInputs(runnableCase(name).build(scale), model.inputs);
    const notes: string[] = [];
    if (this.#provider === 'cpu') {
      this.#inputs = given;
      this.#session = await this.#create(model.path, this.#options);
      return { notes };
    }
    const [out] = model.outputs;
    if (out === undefined) throw new Error('the model has no outputs');
    const { dispatches, first } = await this.#countDispatches(model.path, given);
    for (const port of model.inputs) {
      const session = await this.#create(identityModel(port), {
        ...this.#options,
        preferredOutputLocation: 'gpu-buffer',
      });
      this.#inputs[port.name] = tensorOf(await session.run({ x: tensorOf(given, port.name) }), 'y');
    }
    this.#first = await this.#create(firstElementModel(out), this.#options);
    try {
      this.#session = await this.#create(model.path, {
        ...this.#options,
        enableGraphCapture: true,
        preferredOutputLocation: 'gpu-buffer',
      });
      await this.run();
      notes.push('graph captured');
    } catch (error) {
      notes.push(
        `graph not captured: ${(error instanceof Error ? error.message : String(error)).split('\n')[0]?.slice(0, 160) ?? ''}`,
      );
      this.#session = await this.#create(model.path, { ...this.#options, preferredOutputLocation: 'gpu-buffer' });
    }
    return { dispatches, first, notes };
  }

  async run(): Promise<void> {
    if (this.#session === undefined) throw new Error('nothing is prepared');
    const outputs = await this.#session.run(this.#inputs);
    for (const [name, tensor] of Object.entries(this.#last))
      if (tensor.location === 'gpu-buffer' && tensor !== outputs[name]) tensor.dispose();
    this.#last = { ...outputs };
    // On the GPU, `run` has only submitted: an element read back is the end of the work.
    const [out] = this.#ports;
    if (this.#first !== undefined && out !== undefined) await this.#first.run({ x: tensorOf(outputs, out.name) });
  }

  async outputs(): Promise<Readonly<Record<string, Float32Array>>> {
    await this.run();
    const read: Record<string, Float32Array> = {};
    for (const port of this.#ports) {
      const tensor = tensorOf(this.#last, port.name);
      const session = tensor.location === 'cpu' ? undefined : await this.#create(identityModel(port), this.#options);
      const host = session === undefined ? tensor : tensorOf(await session.run({ x: tensor }), 'y');
      read[port.name] = numbers(host);
    }
    return read;
  }

  async drop(): Promise<void> {
    for (const tensor of [...Object.values(this.#last), ...Object.values(this.#inputs)])
      if (tensor.location === 'gpu-buffer') tensor.dispose();
    for (const session of this.#kept) await session.release();
    this.#kept = [];
    [this.#session, this.#first, this.#last, this.#inputs] = [undefined, undefined, {}, {}];
  }

  async #create(model: string | Uint8Array, options: Options): Promise<Session> {
    const session =
      typeof model === 'string'
        ? await ort.InferenceSession.create(model, options)
        : await ort.InferenceSession.create(model, options);
    this.#kept.push(session);
    return session;
  }

  /** From ONNX Runtime's own profile of one run: an event of category Api for each program it dispatched. */
  async #countDispatches(
    path: string,
    given: Tensors,
  ): Promise<{ readonly dispatches: number; readonly first: number }> {
    const prefix = join(dirname(path), `profile-${process.pid}`);
    const session = await ort.InferenceSession.create(path, {
      ...this.#options,
      enableProfiling: true,
      profileFilePrefix: prefix,
    });
    const started = performance.now();
    let first = 0;
    try {
      await session.run(given);
      first = performance.now() - started;
    } finally {
      session.endProfiling();
      await session.release();
    }
    const files = readdirSync(dirname(path))
      .map((name) => join(dirname(path), name))
      .filter((file) => file.startsWith(prefix));
    const events = files.flatMap((file) => JSON.parse(readFileSync(file, 'utf8')) as { readonly cat?: string }[]);
    for (const file of files) rmSync(file);
    return { dispatches: events.filter((event) => event.cat === 'Api').length, first };
  }
}

function tensorOf(tensors: Readonly<Record<string, ort.Tensor>>, name: string): ort.Tensor {
  const tensor = tensors[name];
  if (tensor === undefined) throw new Error(`there is no tensor '${name}'`);
  return tensor;
}

function hostInputs(work: Work, ports: readonly Port[]): Tensors {
  return Object.fromEntries(
    ports.map(({ name, dtype, sizes, state }) => {
      const values = state === undefined ? work.inputs[name] : stateOf(work, state, dtype, sizeProduct(sizes));
      if (values === undefined) throw new Error(`the model has an input '${name}' that the case does not give`);
      return [name, hostTensor(values, sizes)];
    }),
  );
}

function stateOf(
  { source, learned = [] }: Work,
  name: string,
  dtype: string,
  count: number,
): Float32Array | Float16Array {
  const own = learned.find(({ path }) => path === name);
  if (own !== undefined) return source.read(own.path, own.shape);
  return dtype === 'f16' ? new Float16Array(count) : new Float32Array(count);
}

function hostTensor(values: Float32Array | Float16Array | Int32Array, sizes: readonly number[]): ort.Tensor {
  // Views into larger arrays are copied: the binding reads whole buffers.
  if (values instanceof Float16Array) return new ort.Tensor('float16', new Uint16Array(values.slice().buffer), sizes);
  if (values instanceof Int32Array) return new ort.Tensor('int32', values.slice(), sizes);
  return new ort.Tensor('float32', values.slice(), sizes);
}

function numbers(tensor: ort.Tensor): Float32Array {
  const { data } = tensor;
  if (data instanceof Uint16Array)
    return Float32Array.from(new Float16Array(data.buffer, data.byteOffset, data.length));
  return Float32Array.from(data as ArrayLike<number>);
}
