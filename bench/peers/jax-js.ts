// jax-js under Dawn in Node: the operation of a case in its own words, compiled by its jit.
import { createRequire } from 'node:module';
import type * as Jax from '@jax-js/jax';
import { wait } from '../../runtime/device/wait.ts';
import { inputFacts, type Plain, type PlainStep, type Work } from '../case.ts';
import { learningRate } from '../cases/training.ts';
import { runnableCase } from '../cases/index.ts';
import { stepOf } from './jax-steps.ts';
import { provideNavigator } from './navigator.ts';
import type { Job, Peer, Prepared } from './protocol.ts';
import { serve } from './serve.ts';

type Module = typeof Jax;
type JaxArray = Jax.Array;

/** Arrays are consumed by what reads them: `ref` keeps one for the next run. */
class JaxJs implements Peer {
  #jax: Module | undefined;
  #arrays: JaxArray[] = [];
  #step: ((...arrays: JaxArray[]) => JaxArray) | undefined;
  #end: (() => void) | undefined;
  #output = 'y';

  get #library(): Module {
    if (this.#jax === undefined) throw new Error('jax-js is not open');
    return this.#jax;
  }

  async open() {
    await provideNavigator();
    const name: string = '@jax-js/jax';
    this.#jax = (await import(name).catch(() => {
      throw new Error('jax-js is not installed: npm install --no-save --ignore-scripts @jax-js/jax@0.1.25');
    })) as Module;
    const found = await wait(this.#jax.init('webgpu'));
    if (!found.includes('webgpu')) throw new Error('jax-js finds no WebGPU device');
    this.#jax.defaultDevice('webgpu');
    const main = createRequire(import.meta.url).resolve(name);
    const { version } = createRequire(import.meta.url)(`${main.slice(0, main.lastIndexOf('/dist/'))}/package.json`) as {
      version: string;
    };
    return { version };
  }

  async prepare({ name, scale }: Job): Promise<Prepared> {
    const work = runnableCase(name).build(scale);
    if (work.step !== undefined) return this.#prepareStep(work, work.step);
    if (work.plain === undefined) throw new Error('not written for jax-js');
    this.#output = 'y';
    const { arrays, step } = recipe(this.#library, work.plain, work);
    const compiled = this.#library.jit(step);
    [this.#arrays, this.#step, this.#end] = [[...arrays], compiled, () => compiled.dispose()];
    await wait(this.#library.blockUntilReady(this.#arrays.map((one) => one.ref)));
    return { notes: [] };
  }

  /** Parameters and moments go from one step to the next. */
  async #prepareStep(work: Work, step: PlainStep): Promise<Prepared> {
    const { numpy: np, jit } = this.#library;
    const { learned = [] } = work;
    const facts = inputFacts(work.graph).filter(({ name }) => name !== 'rates' && name !== 'targets');
    const inputs = facts.map(({ name, dtype, axes }) => {
      const values = work.inputs[name];
      if (values === undefined) throw new Error(`the case has no input '${name}'`);
      const shape = axes.map((axis) => axis.size);
      return dtype === 'i32'
        ? np.array(Int32Array.from(values), { shape, dtype: np.int32 })
        : np.array(Float32Array.from(values), { shape });
    });
    let values = learned.map(({ path, shape }) =>
      np.array(new Float32Array(work.source.read(path, shape)), { shape: [...shape] }),
    );
    let [first, second] = [0, 1].map(() => learned.map(({ shape }) => np.zeros([...shape])));
    const paths = learned.map(({ path }) => path);
    const names = facts.map(({ name }) => name);
    const compiled = jit(stepOf(this.#library, step, paths, names, learningRate));
    this.#output = 'squares';
    this.#step = (...arrays) => {
      const [squares, ...next] = compiled(values, first ?? [], second ?? [], arrays);
      [values, first, second] = next;
      return squares;
    };
    this.#arrays = inputs;
    this.#end = () => {
      compiled.dispose();
      for (const array of [...values, ...(first ?? []), ...(second ?? [])]) array.dispose();
    };
    await wait(this.#library.blockUntilReady([...inputs, ...values].map((one) => one.ref)));
    return { notes: ["AdamW's corrections are those of the first step"] };
  }

  #once(): JaxArray {
    if (this.#step === undefined) throw new Error('nothing is prepared');
    return this.#step(...this.#arrays.map((one) => one.ref));
  }

  async run() {
    const result = this.#once();
    await wait(this.#library.blockUntilReady(result.ref));
    result.dispose();
  }

  async outputs() {
    return { [this.#output]: Float32Array.from((await wait(this.#once().data())) as ArrayLike<number>) };
  }

  async drop() {
    this.#end?.();
    for (const array of this.#arrays) array.dispose();
    [this.#arrays, this.#step, this.#end] = [[], undefined, undefined];
  }
}

interface Recipe {
  readonly arrays: readonly JaxArray[];
  readonly step: (...arrays: JaxArray[]) => JaxArray;
}

function recipe({ numpy: np, nn, lax }: Module, plain: Plain, work: Work): Recipe {
  const input = (name: string, ...shape: number[]): JaxArray => np.array(asFloats(work, name), { shape });
  const parameter = (path: string, ...shape: number[]): JaxArray =>
    np.array(new Float32Array(work.source.read(path, shape)), { shape });
  const all = (arrays: readonly JaxArray[], step: (...arrays: [JaxArray, JaxArray, JaxArray]) => JaxArray): Recipe => ({
    arrays,
    step: step as Recipe['step'],
  });
  switch (plain.op) {
    case 'linear': {
      const { rows, from, to } = plain;
      return all([input('x', rows, from), parameter('linear.weight', to, from)], (x, w) =>
        np.matmul(x, np.transpose(w)),
      );
    }
    case 'heads': {
      const { heads, rows, keys, size } = plain;
      return all([input('q', heads, rows, size), input('k', heads, keys, size)], (q, k) =>
        np.matmul(q, np.transpose(k, [0, 2, 1])),
      );
    }
    case 'attention': {
      const { heads, rows, size } = plain;
      const to = [1, 0, 2];
      return all(
        ['q', 'k', 'v'].map((name) => input(name, heads, rows, size)),
        (q, k, v) =>
          np.transpose(nn.dotProductAttention(np.transpose(q, to), np.transpose(k, to), np.transpose(v, to)), to),
      );
    }
    case 'layerNorm': {
      const { rows, columns } = plain;
      return all(
        [input('x', rows, columns), parameter('norm.weight', columns), parameter('norm.bias', columns)],
        (x, weight, bias) => nn.standardize(x, -1, { epsilon: 1e-5 }).mul(weight).add(bias),
      );
    }
    case 'softmax':
      return all([input('x', plain.rows, plain.columns)], (x) => nn.softmax(x, -1));
    case 'geluBiasResidual': {
      const { rows, columns } = plain;
      return all([input('x', rows, columns), parameter('bias', columns), input('r', rows, columns)], (x, bias, r) =>
        nn.gelu(x.add(bias), { approximate: false }).add(r),
      );
    }
    case 'conv': {
      const { side, from, to, kernel, stride, padding, depthwise } = plain;
      const path = depthwise ? 'dw' : 'patch';
      return all(
        [
          input('x', 1, side, side, from),
          parameter(`${path}.weight`, to, depthwise ? 1 : from, kernel, kernel),
          parameter(`${path}.bias`, to),
        ],
        (x, weight, bias) => {
          const channelsFirst = np.transpose(x, [0, 3, 1, 2]);
          const y = lax.convGeneralDilated(
            channelsFirst,
            weight,
            [stride, stride],
            [
              [padding, padding],
              [padding, padding],
            ],
            depthwise ? { featureGroupCount: from } : {},
          );
          return np.transpose(y, [0, 2, 3, 1]).add(bias);
        },
      );
    }
    default:
      return plain satisfies never;
  }
}

function asFloats(work: Work, name: string): Float32Array<ArrayBuffer> {
  const values = work.inputs[name];
  if (values === undefined) throw new Error(`the case has no input '${name}'`);
  return Float32Array.from(values);
}

serve(new JaxJs());
