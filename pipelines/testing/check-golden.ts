// A user's own module against numbers that PyTorch made: one safetensors file with its weights, `input.NAME` and `output.NAME`.
import { OpabiniaError } from '../../dsl/error.ts';
import { gradients, trace, type DType, type Params, type Tensor } from '../../dsl/index.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../run/load.ts';
import { compareAll, exactly, onDevice, type Sameness } from './expect-same.ts';
import type { Bounded } from './bounded.ts';

/** The file, as a module sees it. */
export interface GoldenInputs {
  /** The weights: everything in the file that is neither an input nor an output. */
  readonly params: Params;
  /** `input.NAME`, with these axes in the file's order; its sizes are those of the file. */
  input<S extends string, D extends DType = 'f32'>(name: string, axes: S, dtype?: D): Tensor<S, D>;
  /** `__metadata__.config`, parsed: hyper-parameters of the module; an empty object where there is none. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Outputs by name, each compared with `output.NAME`; `loss` is what gradients are of. */
export type GoldenModule = (golden: GoldenInputs) => Readonly<Record<string, Tensor>>;

export interface GoldenOptions {
  /** By default the best device of this machine, which is closed again. `interpreter` runs without one. */
  readonly device?: Device | 'interpreter' | undefined;
  /** Largest absolute difference allowed; by default what the dtypes and the lengths of the sums allow. */
  readonly tolerance?: number | undefined;
}

/**
 * Builds a module from a file made in PyTorch and holds the interpreter and the device against the outputs in it. Throws
 * `OpabiniaError` at the first element out of bounds, for an output that the file has and the module does not, and for weights that the
 * module does not read. Gradients are compared where the file has them: `grad.PATH` of a parameter and `grad.input.NAME` of an input, by
 * the output `loss`.
 *
 * In PyTorch: `save_file({**module.state_dict(), 'input.x': x, 'output.y': module(x)}, 'golden.safetensors')`; after `loss.backward()` also
 * `'output.loss': loss` and `**{f'grad.{name}': p.grad for name, p in module.named_parameters()}`.
 *
 * @example await checkGolden(({ params, input }) => ({ y: linear(params, input('x', 'b i'), 'o') }), 'golden.safetensors');
 */
export async function checkGolden(module: GoldenModule, file: string, options: GoldenOptions = {}): Promise<Sameness> {
  const checkpoint = openCheckpoint(file);
  try {
    const inputs = new Map<string, number[]>();
    const graph = trace(
      checkpoint,
      (t) => {
        const given = new Map<string, Tensor>();
        const outputs = module({
          params: t.params,
          config: configOf(checkpoint, file),
          input<S extends string, D extends DType = 'f32'>(name: string, axes: S, dtype?: D): Tensor<S, D> {
            const shape = shapeOf(checkpoint, file, `input.${name}`, axes);
            const names = axes.split(/\s+/).filter((axis) => axis !== '');
            inputs.set(name, Array.from(checkpoint.tensor(`input.${name}`), Number));
            const sizes = Object.fromEntries(names.map((axis, i) => [axis, shape[i] ?? 1]));
            const made: Tensor = t.input<string, DType>(name, axes, sizes, dtype);
            given.set(`input.${name}`, made);
            return made as Tensor<S, D>;
          },
        });
        return { ...outputs, ...gradientsOf(checkpoint, file, outputs['loss'], t.params, given) };
      },
      { unread: ['input.', 'output.', 'grad.'] },
    );
    const exact = exactly(graph, checkpoint, Object.fromEntries(inputs), undefined);
    const expected = expectedOf(checkpoint, file, exact);
    // PyTorch rounds too: it may be as far from the exact value as a device may be, and no further.
    const interpreted = compareAll(withTolerance(exact, options.tolerance), (name) => expected.get(name) ?? [], 1, {
      op: 'checkGolden',
      where: `in ${file}`,
      other: 'is what the module gives',
      advice:
        'the module computes something else than what made the file: return what comes before as outputs too, and the first that differs says where',
    });
    if (options.device === 'interpreter') return interpreted;
    const device = options.device ?? (await openDevice());
    try {
      const program = await load(graph, device, checkpoint);
      try {
        const got = await program.run(Object.fromEntries(inputs));
        const { worst } = compareAll(exact, (name) => got[name]?.data ?? [], 1, { ...onDevice, op: 'checkGolden' });
        return { ...interpreted, worst: Math.max(interpreted.worst, worst) };
      } finally {
        program.dispose();
      }
    } finally {
      if (options.device === undefined) device.close();
    }
  } finally {
    checkpoint.close();
  }
}

function refuse(file: string, what: string, advice: string): OpabiniaError {
  return new OpabiniaError(`${file} ${what}`, { op: 'checkGolden', advice });
}

function configOf(checkpoint: Checkpoint, file: string): Readonly<Record<string, unknown>> {
  const text = checkpoint.metadata.get('config');
  if (text === undefined) return {};
  try {
    const config: unknown = JSON.parse(text);
    if (typeof config === 'object' && config !== null) return config as Readonly<Record<string, unknown>>;
  } catch {
    // Said below, as for a config of another kind.
  }
  throw refuse(file, 'has a config that is not a JSON object', "save it with metadata={'config': json.dumps(config)}");
}

function shapeOf(checkpoint: Checkpoint, file: string, name: string, axes: string): readonly number[] {
  const stored = checkpoint.stored.get(name);
  const names = [...checkpoint.stored.keys()].filter((other) => other.startsWith('input.'));
  if (stored === undefined)
    throw refuse(
      file,
      `has no tensor '${name}'`,
      names.length === 0 ? 'save the inputs as input.NAME' : `it has ${names.join(', ')}`,
    );
  const count = axes.split(/\s+/).filter((axis) => axis !== '').length;
  if (stored.shape.length === count) return stored.shape;
  throw refuse(
    file,
    `has '${name}' with ${stored.shape.length} axes, ${stored.shape.join('×')}, and '${axes}' names ${count}`,
    'name each axis once, in the order of the file',
  );
}

/** `grad.PATH` and `grad.input.NAME` of the file, as the graph has them. */
function gradientsOf(
  checkpoint: Checkpoint,
  file: string,
  loss: Tensor | undefined,
  params: Params,
  inputs: ReadonlyMap<string, Tensor>,
): Readonly<Record<string, Tensor>> {
  const names = [...checkpoint.stored.keys()].filter((name) => name.startsWith('grad.'));
  if (names.length === 0) return {};
  if (loss === undefined)
    throw refuse(file, `has '${names[0]}', and the module gives no output 'loss'`, 'return the loss as { loss }');
  const wrt = names.map((name) => {
    const path = name.slice('grad.'.length);
    const axes = checkpoint.stored.get(name)?.shape.map((_, i) => `axis${i}`) ?? [];
    return inputs.get(path) ?? params.get<string>(path, axes.join(' '));
  });
  const found: readonly Tensor[] = gradients(loss, wrt, { unused: 'zeros' });
  return Object.fromEntries(found.map((gradient, i) => [names[i] ?? '', gradient]));
}

/** `output.NAME` of every output of the module, `grad.…` of every gradient, and nothing left over. */
function expectedOf(
  checkpoint: Checkpoint,
  file: string,
  made: ReadonlyMap<string, Bounded>,
): ReadonlyMap<string, readonly number[]> {
  const names = [...checkpoint.stored.keys()];
  const stored = new Map(
    names.flatMap((name): readonly (readonly [string, string])[] =>
      name.startsWith('output.') ? [[name.slice(7), name]] : name.startsWith('grad.') ? [[name, name]] : [],
    ),
  );
  if (![...stored.values()].some((name) => name.startsWith('output.')))
    throw refuse(file, 'has no outputs', 'save them as output.NAME');
  const missing = [...stored.keys()].find((name) => !made.has(name));
  if (missing !== undefined)
    throw refuse(
      file,
      `has the output '${missing}', and the module gives ${[...made.keys()].join(', ')}`,
      'return every output of the file',
    );
  const unknown = [...made.keys()].find((name) => !stored.has(name));
  if (unknown !== undefined)
    throw refuse(file, `has no output '${unknown}'`, `it has ${[...stored.keys()].join(', ')}`);
  return new Map([...stored].map(([name, path]) => [name, Array.from(checkpoint.tensor(path), Number)]));
}

function withTolerance(
  exact: ReadonlyMap<string, Bounded>,
  tolerance: number | undefined,
): ReadonlyMap<string, Bounded> {
  if (tolerance === undefined) return exact;
  return new Map([...exact].map(([name, values]) => [name, { ...values, error: values.error.map(() => tolerance) }]));
}
