// Golden files against the public models, on the GPU, on the reference interpreter or through ONNX Runtime.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import type { ParamSource } from '../../dsl/index.ts';
import { DeviceError } from '../../runtime/device/failure.ts';
import { formatError, formatTable } from '../../dsl/text/table.ts';
import { openBackend, referenceBackend, type Backend, type Outputs } from './backends.ts';
import { compare, type Comparison } from './verdict.ts';
import { GoldenFile, type ComputeDType } from './golden-file.ts';
import { halfBounds, halfBoundsOfRuns } from './half-bounds.ts';
import type { GoldenModel } from './kind.ts';
import { kinds } from './kinds.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface VerifyOptions {
  readonly backend?: string;
  readonly dtype?: string;
}

/**
 * Checks every `output.*` of one file, intermediates included, and its `grad.*` where its kind has gradients. Throws `OpabiniaError` for an unknown kind, a malformed file,
 * or a model that does not fit its checkpoint.
 * @example const comparisons = await verifyFile('golden.safetensors', backend)
 */
export async function verifyFile(
  path: string,
  backend: Backend,
  dtype: ComputeDType = 'f32',
): Promise<readonly Comparison[]> {
  const file = new GoldenFile(path, dtype);
  let close: (() => void) | undefined;
  try {
    const kind = kinds.get(file.kind);
    if (kind === undefined) {
      throw new OpabiniaError(`${path} is of the unknown kind '${file.kind}'`, {
        op: 'verify',
        advice: `the nearest known kinds are ${nearestNames(file.kind, kinds.keys()).join(', ')}`,
      });
    }
    const model = await kind(file);
    close = model.close;
    const once =
      model.graph === undefined
        ? new Map<string, ArrayLike<number>>()
        : await backend.run(model.graph, sourceOf(model, file), model.inputs);
    const trained = await train(model, backend, file);
    const computed = new Map([...once, ...(await holdAll(model, backend, file)), ...trained]);
    const halves = dtype === 'f16' ? await halvesOf(model, file) : new Map<string, number>();
    const outputs = file.outputs
      .filter((name) => model.beside?.(name) !== true)
      .map((name) => ({ name, stored: `output.${name}` }));
    const gradients = model.gradients === true ? file.gradients.map((name) => `grad.${name}`) : [];
    const rows = [...outputs, ...gradients.map((name) => ({ name, stored: name }))].map(({ name, stored }) => {
      const expected = file.numbers(stored);
      const shape = file.shape(stored);
      // Integers and masks made on the host are exact in either dtype, and so is what no storage of f16 leads to.
      const onHost = model.host.get(name);
      const half = halves.get(name);
      return compare(
        name,
        shape,
        onHost ?? computed.get(name),
        expected,
        onHost === undefined && model.exact?.(name) !== true && half !== 0 ? dtype : 'f32',
        model.tolerance?.(name),
        half,
      );
    });
    return [...rows, ...(model.also ?? []), ...overallOf(model, computed, halves)];
  } finally {
    close?.();
    file.checkpoint.close();
  }
}

function overallOf({ training }: GoldenModel, computed: Outputs, halves: ReadonlyMap<string, number>) {
  if (training?.overall === undefined) return [];
  const { name, expected, relative } = training.overall;
  // A relative error norm is what f16 is judged by.
  return [
    compare(name, [expected.length], computed.get(name), expected, 'f16', undefined, halves.get(name) ?? relative),
  ];
}

function sourceOf({ source }: GoldenModel, { checkpoint }: GoldenFile): ParamSource {
  return source ?? checkpoint;
}

async function halvesOf(model: GoldenModel, file: GoldenFile): Promise<ReadonlyMap<string, number>> {
  const { graph, inputs } = model;
  const source = sourceOf(model, file);
  const once =
    graph === undefined
      ? new Map<string, number>()
      : halfBounds(graph, { inputs, params: (path, shape) => source.read(path, shape) });
  const severally = await halfBoundsOfRuns(async (precision) => {
    const backend = referenceBackend(precision);
    return new Map([...(await holdAll(model, backend, file)), ...(await train(model, backend, file))]);
  });
  return new Map([...once, ...severally]);
}

async function holdAll(model: GoldenModel, backend: Backend, file: GoldenFile): Promise<Outputs> {
  const outputs = new Map<string, ArrayLike<number>>();
  for (const { graph, hold } of model.conversations ?? []) {
    const opened = await backend.open(graph, sourceOf(model, file));
    try {
      for (const [name, values] of await hold(opened.step)) outputs.set(name, values);
    } finally {
      opened.close();
    }
  }
  return outputs;
}

async function train(model: GoldenModel, backend: Backend, file: GoldenFile): Promise<Outputs> {
  const { training } = model;
  if (training === undefined) return new Map();
  if (backend.openTogether === undefined)
    throw new OpabiniaError(
      `the backend '${backend.name}' keeps no states from graph to graph, which this file needs`,
      {
        op: 'verify',
        advice: 'take --backend gpu or --backend reference',
      },
    );
  const together = await backend.openTogether(training.graphs, sourceOf(model, file), training.states);
  try {
    return await training.hold(together);
  } finally {
    together.close();
  }
}

/** Verifies files one after the other and prints a table for each; true when every output of every file is within its bound. */
export async function verify(
  paths: readonly string[],
  options: VerifyOptions,
  print: (text: string) => void,
): Promise<boolean> {
  const dtype = options.dtype ?? 'f32';
  if (dtype !== 'f32' && dtype !== 'f16')
    throw new OpabiniaError(`there is no dtype '${dtype}'`, { op: 'verify', advice: 'f32 or f16' });
  const backend = await openBackend(options.backend ?? 'gpu');
  try {
    let allOk = true;
    const crashes: unknown[] = [];
    for (const path of paths) {
      print(`${path}  (${dtype}, ${backend.name})`);
      try {
        const ok = await verifyOne(path, backend, dtype, print);
        allOk &&= ok;
      } catch (error) {
        // A mistake of ours in one file does not keep the others from being judged either; it is reported in the end.
        if (error instanceof OpabiniaError || paths.length === 1) throw error;
        print(`${String(error)}\n`);
        crashes.push(error);
      }
    }
    if (crashes.length > 0) throw crashes[0];
    return allOk;
  } finally {
    backend.close();
  }
}

async function verifyOne(
  path: string,
  backend: Backend,
  dtype: ComputeDType,
  print: (text: string) => void,
): Promise<boolean> {
  try {
    const rows = await verifyFile(path, backend, dtype);
    print(printTable(rows));
    const wrong = rows.filter((row) => row.verdict !== 'ok').length;
    print(
      wrong === 0
        ? `${plural(rows.length, 'output')} within ${rows.length === 1 ? 'its bound' : 'their bounds'}\n`
        : `${wrong} of ${plural(rows.length, 'output')} ${wrong === 1 ? 'misses its bound' : 'miss their bounds'}\n`,
    );
    if (rows.length === 0) print('the file expects no outputs: nothing was verified\n');
    return wrong === 0 && rows.length > 0;
  } catch (error) {
    // One bad file does not keep the others from being checked; a lost device does.
    if (!(error instanceof OpabiniaError) || error instanceof DeviceError) throw error;
    print(`${error.message}\n`);
    return false;
  }
}

function printTable(rows: readonly Comparison[]): string {
  const columns = [
    { title: 'tensor' },
    { title: 'shape' },
    { title: 'max |Δ|', align: 'right' },
    { title: 'relative', align: 'right' },
    { title: 'bound', align: 'right' },
    { title: 'verdict' },
  ] as const;
  return formatTable(
    columns,
    rows.map((row) => [
      row.tensor,
      `[${row.shape.join(' ')}]`,
      formatError(row.largest),
      formatError(row.relative),
      formatError(row.bound),
      row.verdict,
    ]),
  );
}
