// What a section of the probe is, and how designs of the same work are judged and timed beside each other.
import { matrixFeature } from '../../compiler/kernel/matrix-unit.ts';
import type { Gpu, Grid, Work } from './gpu.ts';

/** Cells by the title of their column. */
export type Row = Readonly<Record<string, string | number>>;

export interface Section {
  readonly name: string;
  readonly about: string;
  /** Takes long: left out unless it is named. */
  readonly isLong?: boolean;
  /** Why there is nothing to measure on this device. */
  readonly absent?: (gpu: Gpu) => string | undefined;
  /** The column by which rows are printed, most first; those that are equal in `within` stay together. */
  readonly best?: string;
  readonly within?: string;
  readonly measure: (gpu: Gpu, quick: boolean) => AsyncIterable<Row>;
}

export const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

/** Statements, or terms, one for each number below `count`. */
export const each = (count: number, print: (i: number) => string, between = '\n'): string =>
  range(count).map(print).join(between);

// Why what needs a feature cannot be measured.

export function lacksHalves(gpu: Gpu): string | undefined {
  return gpu.has('shader-f16') ? undefined : 'the device has no shader-f16';
}

/** Of a size that kernels can be written for. */
export function lacksSubgroups(gpu: Gpu): string | undefined {
  if (!gpu.has('subgroups')) return 'the device has no subgroups';
  if (gpu.lanes === 0) return 'the subgroups of the device are of no certain size';
  return undefined;
}

export function lacksMatrices(gpu: Gpu): string | undefined {
  const has = gpu.has(matrixFeature) && gpu.facts.matrices.length > 0;
  return has ? (lacksHalves(gpu) ?? lacksSubgroups(gpu)) : 'the device has no matrix units';
}

/** One way to compute what others compute too. */
export interface Design {
  /** Cells that tell it from the others. */
  readonly about: Row;
  /** Why it cannot be on this device, or in this size. */
  readonly misfit: string | undefined;
  readonly wgsl: () => string;
  /** Those of each bind group. */
  readonly buffers: readonly (readonly GPUBuffer[])[];
  readonly grid: Grid;
  readonly result: GPUBuffer;
  /** How far some results are from what the CPU makes of them. */
  readonly deviation: () => Promise<number>;
  readonly time: (work: Work) => Promise<Row>;
}

/** Sums of f32 in any order, those of matrix units included, are far nearer than this; a wrong element is off by about 1. */
const tolerance = 0.01;

/** Compiled together, since drivers take seconds for one, on as many threads as there are. */
const batch = 64;

/** A design that is wrong, or that nothing can compile, is a row that says so. */
export async function* measureDesigns(gpu: Gpu, designs: readonly Design[]): AsyncGenerator<Row> {
  for (let first = 0; first < designs.length; first += batch) {
    const some = designs.slice(first, first + batch);
    const compiled = await Promise.all(some.map(async (design) => ({ design, made: await compiledOf(gpu, design) })));
    for (const { design, made } of compiled)
      yield { ...design.about, ...(typeof made === 'string' ? { remark: made } : await judged(gpu, design, made)) };
  }
}

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly seconds: number;
}

/** Or why not. */
async function compiledOf(gpu: Gpu, design: Design): Promise<Compiled | string> {
  if (design.misfit !== undefined) return design.misfit;
  const began = performance.now();
  try {
    const pipeline = await gpu.pipeline(design.wgsl());
    return { pipeline, seconds: (performance.now() - began) / 1000 };
  } catch (error) {
    return messageOf(error);
  }
}

async function judged(gpu: Gpu, design: Design, { pipeline, seconds }: Compiled): Promise<Row> {
  const groups = design.buffers.map((buffers) => gpu.group(pipeline, buffers));
  const work = { pipeline, groups, grid: design.grid };
  try {
    // Else one that writes nothing would be judged by what the last one wrote.
    gpu.clear(design.result);
    gpu.run(work);
    const error = await design.deviation();
    if (!(error <= tolerance)) return { error, remark: 'wrong' };
    return { ...(await design.time(work)), error, 'compile s': seconds };
  } catch (error) {
    if (gpu.isLost) throw error;
    return { remark: messageOf(error) };
  }
}

/** How far a sum of products is from its value in f64, relative to the root of the sum of their squares. */
export function sumDeviation(got: number, terms: number, term: (i: number) => number): number {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < terms; i++) {
    const value = term(i);
    sum += value;
    squares += value * value;
  }
  const off = Math.abs(got - sum) / Math.sqrt(squares);
  return Number.isNaN(off) ? Infinity : off;
}

/** In one line. */
export function messageOf(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ').trim();
  return text.length > 160 ? `${text.slice(0, 159)}…` : text;
}
