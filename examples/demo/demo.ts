// The main job, `npm run demo`: a photograph through two encoders and the Spatial Vision Aggregator, compiled, run through Dawn,
// compared with the reference interpreter, explained, and drawn. Progress on stderr, results on stdout.
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compile, type Stage } from '../../compiler/compile.ts';
import { OpabiniaError, order } from '../../dsl/index.ts';
import { crop } from '../../models/sequence/masks.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { DeviceError, NoAdapterError } from '../../runtime/device/failure.ts';
import {
  backgroundOf,
  decodeImage,
  expandToSquare,
  normalize,
  resizePillow,
  type Image,
  type Rgb,
} from '../../runtime/image/image.ts';
import type { ProfileRow } from '../../runtime/device/kernel-times.ts';
import { load, type Output } from '../../runtime/program/program.ts';
import type { Values } from '../../runtime/reference/reference.ts';
import { shapesDemo } from '../shapes/demo.ts';
import { chainTable, cutTable } from './chain.ts';
import { judge, type DemoInputs } from './judge.ts';
import { demoMasks, demoParams, encoders, sva, traceDemo } from './model.ts';
import { writePicture } from './picture.ts';
import { formatCount, formatError, formatTable } from '../../dsl/text/table.ts';
import { compare } from '../../pipelines/verify/verdict.ts';

// CLIP's, as two of Cambrian-1's four towers use them.
const mean: Rgb = [0.48145466, 0.4578275, 0.40821073];
const std: Rgb = [0.26862954, 0.26130258, 0.27577711];

const began = performance.now();
const seconds = (): string => ((performance.now() - began) / 1000).toFixed(1);
const progress = (text: string): void => console.error(`[${seconds().padStart(5)} s] ${text}`);
const heading = (text: string): void => console.log(`\n${text}`);

const seed = 7;
/** Rows of the table of kernels; the others are summed in a last one. */
const slowest = 32;

type Graph = ReturnType<typeof traceDemo>;
type Params = ReturnType<typeof demoParams>;

/** The device, or undefined with one line that says why. */
async function findDevice(wanted: boolean): Promise<Device | undefined> {
  if (!wanted) return undefined;
  try {
    return await openDevice({ compileAhead: true });
  } catch (error) {
    if (!(error instanceof NoAdapterError)) throw error;
    console.log(
      `No adapter: the reference interpreter computes everything, and there is nothing to compare it with. For a GPU or lavapipe, try ${error.advice ?? '`npm run doctor`'}`,
    );
    return undefined;
  }
}

/** Compiles, loads, runs once and, when nothing else runs any more, profiles a second run. */
async function runOnDevice(
  graph: Graph,
  params: Params,
  inputs: DemoInputs,
  device: Device,
  quiet: Promise<unknown>,
): Promise<Record<string, Output>> {
  const stages: Stage[] = [];
  progress(`compiling for ${device.facts.name}`);
  const start = performance.now();
  const plan = compile(graph, deviceProfile(device), { report: (stage) => stages.push(stage) });
  heading(`The walk from function to plan, ${(performance.now() - start).toFixed(0)} ms for ${device.facts.name}`);
  console.log(chainTable(graph, stages));
  heading('Why kernels end where they do');
  console.log(cutTable(stages));

  progress(`loading ${plan.kernels.length} kernels and ${formatCount(plan.memory.parameters)}B of parameters`);
  const program = await load(plan, device, params);
  try {
    const given = Object.fromEntries(inputs);
    progress('first run: the driver compiles each kernel');
    const outputs = await program.run(given);
    progress('waiting for the interpreter, then a second run, timed');
    await quiet;
    const rows = await program.profile(given);
    heading(`Kernels of one run, the slowest ${Math.min(slowest, rows.length)} of ${rows.length}`);
    console.log(kernelTable(rows));
    return outputs;
  } finally {
    program.dispose();
  }
}

function kernelTable(rows: readonly ProfileRow[]): string {
  const line = (name: string, label: string, ms: number, flops: number, bytes: number): readonly string[] => [
    name,
    ms.toFixed(3),
    formatCount(flops),
    formatCount(bytes),
    ms > 0 ? (flops / ms / 1e6).toFixed(2) : '-',
    ms > 0 ? (bytes / ms / 1e6).toFixed(2) : '-',
    label,
  ];
  const total = (name: string, part: readonly ProfileRow[]): readonly string[] => {
    const sum = (of: (row: ProfileRow) => number): number => part.reduce((all, row) => all + of(row), 0);
    return line(
      name,
      '',
      sum((row) => row.milliseconds),
      sum((row) => row.flops),
      sum((row) => row.bytes),
    );
  };
  const numbers = ['ms', 'FLOP', 'bytes', 'GFLOP/s', 'GB/s'].map((title) => ({ title, align: 'right' as const }));
  const sorted = [...rows].sort((a, b) => b.milliseconds - a.milliseconds);
  const rest = sorted.slice(slowest);
  return formatTable(
    [{ title: 'model path' }, ...numbers, { title: 'computes' }],
    [
      ...sorted
        .slice(0, slowest)
        .map((row) => line(row.path === '' ? '-' : row.path, row.label, row.milliseconds, row.flops, row.bytes)),
      ...(rest.length === 0 ? [] : [total(`${rest.length} more`, rest)]),
      total(`all ${rows.length}`, rows),
    ],
  );
}

/** True when every output is within its bound of the interpreter's. */
function printComparison(computed: Record<string, Output>, expected: ReadonlyMap<string, Values>): boolean {
  const rows = [...expected].map(([name, values]) =>
    compare(
      name,
      values.axes.map((axis) => axis.size),
      computed[name]?.data,
      values.data,
      'f32',
    ),
  );
  heading('Every output against the reference interpreter in double precision');
  console.log(
    formatTable(
      [
        { title: 'output' },
        { title: 'shape' },
        { title: 'max |Δ|', align: 'right' },
        { title: 'bound', align: 'right' },
        { title: 'verdict' },
      ],
      rows.map((row) => [
        row.tensor,
        row.shape.join(' × '),
        formatError(row.largest),
        formatError(row.bound),
        row.verdict,
      ]),
    ),
  );
  return rows.every((row) => row.verdict === 'ok');
}

function draw(path: string, photo: Image, square: Image, attention: ArrayLike<number>, who: string): Promise<void> {
  const side = sva.groups[0];
  const { top, left, height, width } = crop(photo, side);
  const padded = Array.from({ length: side * side }, (_, q) => {
    const [row, column] = [Math.floor(q / side) - top, (q % side) - left];
    return row < 0 || row >= height || column < 0 || column >= width;
  });
  const panels = encoders.map(({ name, side: own }, k) => ({
    name,
    side: own,
    mass: Float64Array.from({ length: side * side }, (_, q) => attention[q * encoders.length + k] ?? NaN),
  }));
  return writePicture(path, {
    image: square,
    side,
    padded,
    panels,
    title: 'Spatial vision aggregator: where each query looks',
    subtitle: `group 0, layer ${sva.depth} of ${sva.depth}: ${side} × ${side} queries, one softmax over the keys of both encoders, mean of ${sva.heads} heads; weights from a seed`,
    by: `computed by ${who}`,
  });
}

interface Options {
  readonly image: string;
  readonly out: string;
  readonly reference: boolean;
  /** Of the drawn scene that is asked about. */
  readonly scene: number;
}

function readOptions(): Options {
  try {
    const { scene, ...values } = parseArgs({
      options: {
        image: {
          type: 'string',
          default: relative(process.cwd(), fileURLToPath(new URL('../photos/chelsea.png', import.meta.url))),
        },
        out: { type: 'string', default: 'out/demo.png' },
        reference: { type: 'boolean', default: process.env['OPABINIA_NO_GPU'] === '1' },
        scene: { type: 'string', default: '7' },
      },
    }).values;
    if (!/^\d{1,6}$/.test(scene)) throw new Error(`--scene ${scene}: held-out scenes are 0 to 999999`);
    return { ...values, scene: Number(scene) };
  } catch (cause) {
    throw new OpabiniaError(cause instanceof Error ? cause.message : String(cause), {
      op: 'demo',
      cause,
      advice: '--image FILE, --out FILE.png, --scene NUMBER, --reference (no GPU)',
    });
  }
}

async function main(options: Options): Promise<number> {
  progress('decoding and resizing the photograph');
  const photo = await decodeImage(options.image, { note: progress });
  const shown = crop(photo, sva.side);
  if (shown.width * shown.height === 0) {
    throw new OpabiniaError(
      `${options.image} is ${photo.width} × ${photo.height}: padded to a square, no token of a ${sva.side} × ${sva.side} grid shows it`,
      { op: 'demo', advice: `a picture less than ${sva.side} times as long as it is wide` },
    );
  }
  const square = expandToSquare(photo, backgroundOf(mean));
  const inputs = new Map<string, Float32Array | Uint8Array>(demoMasks(photo));
  encoders.forEach(({ pixels }, k) =>
    inputs.set(`picture_${k}`, normalize(resizePillow(square, pixels, pixels), mean, std, 'hwc')),
  );
  console.log(
    `${options.image}: ${photo.width} × ${photo.height}, padded to ${square.width} × ${square.height}, resized to ${encoders.map(({ pixels, side }) => `${pixels} × ${pixels} (${side} × ${side} tokens)`).join(' and ')}`,
  );

  const params = demoParams(seed);
  const graph = traceDemo(params);
  console.log(
    `two patch encoders and SVA with D = ${sva.depth} layers in G = ${sva.groups.length} query groups of ${sva.groups.map((side) => `${side} × ${side}`).join(' and ')}: ${order(graph).length} nodes`,
  );
  const device = await findDevice(!options.reference);
  progress('the reference interpreter begins, on a thread of its own');
  const judged = judge({ seed, inputs });
  // Awaited below; a failure before that must not end the process with a bare stack.
  judged.catch(() => undefined);
  const computed = device === undefined ? undefined : await runOnDevice(graph, params, inputs, device, judged);
  const expected = await judged;
  const agrees = computed === undefined || printComparison(computed, expected);

  progress('drawing');
  const attention = computed?.['attention']?.data ?? expected.get('attention')?.data ?? [];
  await draw(
    options.out,
    photo,
    square,
    Array.from(attention, Number),
    device?.facts.name ?? 'the reference interpreter',
  );
  heading(`${options.out}: the regions, and the attention each encoder receives`);
  if (device !== undefined) {
    heading(`A whole small Cambrian answers about scene ${options.scene}`);
    for (const line of await shapesDemo({ device, progress, seed: options.scene })) console.log(line);
  }
  device?.close();
  progress('done');
  return agrees ? 0 : 2;
}

try {
  process.exit(await main(readOptions()));
} catch (error) {
  console.error(error instanceof OpabiniaError ? `opabinia: ${error.message}` : error);
  process.exit(error instanceof DeviceError ? 3 : error instanceof OpabiniaError ? 1 : 2);
}
