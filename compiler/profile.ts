// What the compiler knows of a device: plain facts, so that a plan can be made without a GPU.
import { OpabiniaError } from '../dsl/error.ts';
import { isObject, said } from '../dsl/graph/required.ts';
import { measuredChoices } from './measured.ts';

/** A product that a subgroup makes as one instruction: m × k and k × n elements of `from`, summed in `to`. */
export interface MatrixUnit {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly from: string;
  readonly to: string;
}

export interface DeviceProfile {
  readonly name: string;
  /** A software device: its cost is loads, not arithmetic, and barriers are dear. */
  readonly software: boolean;
  /** Lanes of a subgroup when every subgroup has the same number; undefined when unknown or varying. */
  readonly subgroupSize: number | undefined;
  readonly f16: boolean;
  /** What the device has; absent: none. */
  readonly matrices?: readonly MatrixUnit[] | undefined;
  readonly maxBindings: number;
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly maxWorkgroupBytes: number;
  readonly maxWorkgroupThreads: number;
  readonly maxGrid: number;
  readonly offsetAlignment: number;
  /** For roofline estimates. */
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
  /** Those that were measured on this device, where they are not the usual ones. */
  readonly choices?: Partial<Choices>;
  /** Tiles that `tune` found to be the fastest on this device: by what a kernel computes, a tile's name (`schedule/tiles.ts`). */
  readonly tiles?: Readonly<Record<string, string>> | undefined;
}

/** Where a choice of the compiler starts to pay on a device: measured, not read off it. */
export interface Choices {
  /**
   * Tensors that reductions put into one kernel by horizontal fusion read and write together. More would save dispatches and lose
   * the overlap of what they wait for; results live at the same time.
   */
  readonly fusedTensors: number;
  /**
   * Loads of one element beyond which a value is stored rather than computed where it is read: each is an address, and the kernel's text
   * grows with it. Four corners of a bilinear sample with their coordinates are nine.
   */
  readonly loadsInPlace: number;
  /** Operations below which what reductions read in several walks is computed in each of them, rather than stored by a launch of its own. */
  readonly leastStoredWork: number;
  /**
   * Operations on an element of a product's operand that it does again for each of its tiles, rather than by a kernel of its own that stores
   * them: a tile multiplies the element with all of its columns.
   */
  readonly workBeforeProduct: number;
  /** Whether products of the same rows whose weights are quantized become one, which finds the planes of each column as it loads them. */
  readonly joinsQuantized: boolean;
  /** Results of overlapping windows that one thread computes, at most: each keeps its accumulator in registers. */
  readonly neighbours: number;
  /** Operations below which a kernel is written to be compiled fast rather than to run fast. */
  readonly leastWork: number;
  /** Re-association through attention must save this factor of the arithmetic: it gives up the one streaming kernel. */
  readonly absorptionGain: number;
  /** Bytes of a weight that is scaled or packed while it is loaded, at most. */
  readonly rewrittenBytes: number;
  /** Kernels that do not wait for one another in one dispatch, at most: a launch is saved, and the driver compiles all of their text at once. */
  readonly kernelsInDispatch: number;
  /** Workgroups of a kernel up to which an inference puts it into one dispatch with others of its template: towers of one picture, above all. */
  readonly narrowWorkgroups: number;
  /** Elements that the turns of a loop load together, at most, where the driver may unroll it. */
  readonly loadsUnrolled: number;
  /**
   * Bytes of an attention's scores up to which they are stored where the gradient reads them: three tiled products instead of streams
   * that compute each score anew, one row a thread.
   */
  readonly storedScores: number;
  /** Whether a backward pass computes again what it could keep: fewer bytes of activations for more arithmetic and launches. */
  readonly recomputes: boolean;
  /** Rows of a product from which a column operand that changes is copied into panels first, so that it is read as it lies in memory. */
  readonly panelRows: number;
  /** Rows of a product up to which its sum is split over a workgroup, on a GPU: many threads read the weights, and all rows wait for that. */
  readonly splitProductRows: number;
  /** Columns of a product in workgroup memory from which it makes the norm of its rows for itself: they are read once more, and a kernel less is launched. */
  readonly reducedRowsColumns: number;
  /** Rows of attention over many keys up to which each has a workgroup of its own, on a GPU. */
  readonly splitAttentionRows: number;
  /** Rows of attention up to which the workgroup of each is as large as the device allows. */
  readonly wideAttentionRows: number;
  /**
   * Results that a subgroup with matrix units keeps, along rows and along columns at most, in lengths of the longer side of a block: each is a
   * number of registers of every lane.
   */
  readonly matrixBlocks: number;
  /** Workgroups that a product of few rows should have, where its columns can be shared out so: each keeps some bytes of weights on their way. */
  readonly rowWorkgroups: number;
  /** Workgroups that a product in tiles should have at least: fewer leave cores idle, and smaller tiles make more. */
  readonly productWorkgroups: number;
}

/** Measured on lavapipe with two cores, where 8 tensors are the norms of four encoders; GPUs that were tried rank the alternatives alike. */
const usual: Choices = {
  fusedTensors: 8,
  loadsInPlace: 16,
  // Some microseconds of 10 TFLOP/s.
  leastStoredWork: 2 ** 24,
  // Of 128 operations, which a tile of 64 columns does with it.
  workBeforeProduct: 4,
  joinsQuantized: true,
  neighbours: 8,
  leastWork: 0,
  absorptionGain: 2,
  rewrittenBytes: Infinity,
  kernelsInDispatch: 8,
  // A launch takes an H200 2.4 µs, and attention of a tower by four rows is some three thousand workgroups.
  narrowWorkgroups: 4000,
  loadsUnrolled: Infinity,
  storedScores: 0,
  recomputes: true,
  panelRows: Infinity,
  splitProductRows: 4,
  reducedRowsColumns: 64,
  splitAttentionRows: 1024,
  // Cores of the largest cards.
  wideAttentionRows: 128,
  // Four for each core of an H200, which took 224 workgroups of one load at a time at a fifth of its memory's speed.
  rowWorkgroups: 512,
  matrixBlocks: 4,
  productWorkgroups: 96,
};

/**
 * A launch costs a software device little, and its driver compiles each load in a shader for a millisecond or more, faster than
 * in proportion to the text: a training step of 132 kernels took 33 s apart, 71 s in 66 dispatches, and 13 s apart with loops rolled.
 */
const software: Partial<Choices> = {
  kernelsInDispatch: 1,
  leastStoredWork: 0,
  workBeforeProduct: 0,
  // Lanes walk all of the branches: one row times 1024, 256 and 256 columns took 0.57 ms by three products and 1.8 by one.
  joinsQuantized: false,
  loadsUnrolled: 16,
  storedScores: 64 * 2 ** 20,
  // A step of a decoder layer of 512 tokens took 2.4 s with it and 1.8 s without, for 14 MiB of 318.
  recomputes: false,
  panelRows: 128,
  leastWork: 4e6,
};

/**
 * As the profile, but sums are made in an order that does not depend on how many rows are computed beside a row: plans for one row and for
 * many give a row the same bits. On a software device they do anyway.
 */
export function steadySums(profile: DeviceProfile): DeviceProfile {
  return { ...profile, choices: { ...profile.choices, splitProductRows: Infinity, splitAttentionRows: Infinity } };
}

export function choicesOf(profile: DeviceProfile | undefined): Choices {
  return {
    ...usual,
    ...(profile === undefined ? {} : { rewrittenBytes: rewrittenBytes(profile) }),
    ...(profile?.software === true ? software : {}),
    ...(profile === undefined ? {} : measuredChoices(profile.name)),
    ...profile?.choices,
  };
}

/** The kernel that makes a weight anew reads and writes it whole, each in as many bindings as it takes, besides a scale and the sizes of a run. */
function rewrittenBytes({ maxBindings, maxBindingBytes }: DeviceProfile): number {
  return Math.floor((maxBindings - 2) / 2) * maxBindingBytes;
}

/** Mesa lavapipe on two cores: the device of the tests. */
export const lavapipe: DeviceProfile = {
  name: 'lavapipe',
  software: true,
  subgroupSize: 8,
  f16: true,
  maxBindings: 16,
  maxBindingBytes: 134217728,
  maxBufferBytes: 1073741824,
  maxWorkgroupBytes: 32768,
  maxWorkgroupThreads: 1024,
  maxGrid: 65535,
  offsetAlignment: 256,
  flopsPerSecond: 90e9,
  bytesPerSecond: 17e9,
};

/** A desktop GPU with the limits that every WebGPU adapter of that class has. */
export const desktopGpu: DeviceProfile = {
  name: 'desktop GPU',
  software: false,
  subgroupSize: undefined,
  f16: true,
  maxBindings: 10,
  maxBindingBytes: 2147483644,
  maxBufferBytes: 2147483648,
  maxWorkgroupBytes: 32768,
  maxWorkgroupThreads: 256,
  maxGrid: 65535,
  offsetAlignment: 256,
  flopsPerSecond: 10e12,
  bytesPerSecond: 400e9,
};

/** Throws `OpabiniaError` unless this says of a device what `desktopGpu` says, with numbers where it has numbers. */
export function requireProfile(op: string, value: unknown): void {
  const needed = Object.entries(desktopGpu).filter(([key]) => key !== 'subgroupSize');
  const wrong = isObject(value) ? needed.find(([key, known]) => typeof value[key] !== typeof known) : undefined;
  if (isObject(value) && wrong === undefined) return;
  const what = isObject(value) && wrong !== undefined && !('facts' in value) && !(value instanceof Promise);
  throw new OpabiniaError(
    what
      ? `the profile's field '${wrong[0]}' is ${said(value[wrong[0]])}`
      : `the profile of a device is ${said(value)}`,
    {
      op,
      advice: `give deviceProfile(await openDevice()), or desktopGpu of 'opabinia/compiler': ${op}(graph, profile)`,
    },
  );
}
