// TensorFlow.js on its WebGPU backend under Dawn in Node. It is 70 MB and no dependency of ours: it races where it is installed.
import { createRequire } from 'node:module';
import { wait } from '../../runtime/device/wait.ts';
import type { Plain, Work } from '../case.ts';
import { runnableCase } from '../cases/index.ts';
import { provideNavigator } from './navigator.ts';
import type { Job, Peer, Prepared } from './protocol.ts';
import { serve } from './serve.ts';

/** What we use of tfjs; its own types are there only where it is installed. */
interface TfTensor {
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}
interface TfBackend {
  readonly device: GPUDevice;
  endComputePassEncoder(): void;
  submitQueue(): void;
}
interface Tf {
  readonly version_core: string;
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): TfBackend;
  tidy(f: () => TfTensor): TfTensor;
  memory(): { readonly numBytes: number; readonly numBytesAllocatedInGPU?: number };
  tensor(values: Float32Array, shape: readonly number[]): TfTensor;
  transpose(x: TfTensor, order: readonly number[]): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean): TfTensor;
  softmax(x: TfTensor): TfTensor;
  add(a: TfTensor, b: TfTensor | number): TfTensor;
  sub(a: TfTensor, b: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor | number): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  erf(x: TfTensor): TfTensor;
  moments(x: TfTensor, axis: number, keepDims: boolean): { readonly mean: TfTensor; readonly variance: TfTensor };
  conv2d(x: TfTensor, filter: TfTensor, stride: number, padding: number): TfTensor;
  depthwiseConv2d(x: TfTensor, filter: TfTensor, stride: number, padding: number): TfTensor;
}

class TensorFlow implements Peer {
  #tf: Tf | undefined;
  #step: (() => TfTensor) | undefined;
  #held: readonly TfTensor[] = [];

  get #library(): Tf {
    if (this.#tf === undefined) throw new Error('tfjs is not open');
    return this.#tf;
  }

  async open() {
    await provideNavigator();
    const require = createRequire(import.meta.url);
    try {
      require.resolve('@tensorflow/tfjs-core');
      require.resolve('@tensorflow/tfjs-backend-webgpu');
    } catch {
      throw new Error(
        'tfjs is not installed: npm install --no-save --ignore-scripts @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-webgpu@4.22.0',
      );
    }
    const tf = require('@tensorflow/tfjs-core') as Tf;
    require('@tensorflow/tfjs-backend-webgpu');
    if (!(await wait(tf.setBackend('webgpu')))) throw new Error('tfjs finds no WebGPU device');
    await wait(tf.ready());
    this.#tf = tf;
    return { version: tf.version_core };
  }

  async prepare({ name, scale }: Job): Promise<Prepared> {
    const work = runnableCase(name).build(scale);
    if (work.plain === undefined) throw new Error('not written for tfjs');
    const { held, step } = recipe(this.#library, work.plain, work);
    [this.#held, this.#step] = [held, step];
    return { notes: [] };
  }

  #once(): TfTensor {
    if (this.#step === undefined) throw new Error('nothing is prepared');
    return this.#library.tidy(this.#step);
  }

  async run() {
    const result = this.#once();
    const backend = this.#library.backend();
    // A pass that is still open when the queue is submitted makes wrong results without a word.
    backend.endComputePassEncoder();
    backend.submitQueue();
    await wait(backend.device.queue.onSubmittedWorkDone());
    result.dispose();
  }

  async outputs() {
    const result = this.#once();
    const y = Float32Array.from(await wait(result.data()));
    result.dispose();
    return { y };
  }

  async drop() {
    for (const tensor of this.#held) tensor.dispose();
    [this.#held, this.#step] = [[], undefined];
  }
}

interface Recipe {
  readonly held: readonly TfTensor[];
  readonly step: () => TfTensor;
}

function recipe(tf: Tf, plain: Plain, work: Work): Recipe {
  const input = (name: string, ...shape: number[]): TfTensor => tf.tensor(asFloats(work, name), shape);
  const parameter = (path: string, ...shape: number[]): TfTensor => tf.tensor(work.source.read(path, shape), shape);
  switch (plain.op) {
    case 'linear': {
      const [x, w] = [input('x', plain.rows, plain.from), parameter('linear.weight', plain.to, plain.from)];
      return { held: [x, w], step: () => tf.matMul(x, w, false, true) };
    }
    case 'heads': {
      const { heads, rows, keys, size } = plain;
      const [q, k] = [input('q', heads, rows, size), input('k', heads, keys, size)];
      return { held: [q, k], step: () => tf.matMul(q, k, false, true) };
    }
    case 'attention': {
      const { heads, rows, size } = plain;
      const [q, k, v] = [input('q', heads, rows, size), input('k', heads, rows, size), input('v', heads, rows, size)];
      return {
        held: [q, k, v],
        step: () => tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size))), v, false, false),
      };
    }
    case 'layerNorm': {
      const { rows, columns } = plain;
      const [x, weight, bias] = [
        input('x', rows, columns),
        parameter('norm.weight', columns),
        parameter('norm.bias', columns),
      ];
      return {
        held: [x, weight, bias],
        step: () => {
          const { mean, variance } = tf.moments(x, -1, true);
          return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
        },
      };
    }
    case 'softmax': {
      const x = input('x', plain.rows, plain.columns);
      return { held: [x], step: () => tf.softmax(x) };
    }
    case 'geluBiasResidual': {
      const { rows, columns } = plain;
      const [x, bias, r] = [input('x', rows, columns), parameter('bias', columns), input('r', rows, columns)];
      return {
        held: [x, bias, r],
        step: () => {
          const h = tf.add(x, bias);
          return tf.add(tf.mul(tf.mul(h, 0.5), tf.add(tf.erf(tf.mul(h, Math.SQRT1_2)), 1)), r);
        },
      };
    }
    case 'conv': {
      const { side, from, to, kernel, stride, padding, depthwise } = plain;
      const path = depthwise ? 'dw' : 'patch';
      const [x, stored, bias] = [
        input('x', 1, side, side, from),
        parameter(`${path}.weight`, to, depthwise ? 1 : from, kernel, kernel),
        parameter(`${path}.bias`, to),
      ];
      // Filters as tfjs wants them: height, width, channels in, channels out or multiplier.
      const filter = tf.transpose(stored, depthwise ? [2, 3, 0, 1] : [2, 3, 1, 0]);
      const convolve = depthwise ? tf.depthwiseConv2d : tf.conv2d;
      return { held: [x, stored, filter, bias], step: () => tf.add(convolve(x, filter, stride, padding), bias) };
    }
    default:
      return plain satisfies never;
  }
}

function asFloats(work: Work, name: string): Float32Array {
  const values = work.inputs[name];
  if (values === undefined) throw new Error(`the case has no input '${name}'`);
  return Float32Array.from(values);
}

serve(new TensorFlow());
