// What the products of a vector and weights have in common: parts of sums brought together, and how they are timed.
import type { Gpu, Work } from './gpu.ts';
import { each, range, sumDeviation, type Row } from './section.ts';

export interface VectorSize {
  readonly outputs: number;
  readonly terms: number;
}

/** Columns of a panel: all their weights for a term lie side by side, then those for the next term. */
export const panelColumns = 64;

/** Copies of the weights that launches read in turn, so that none comes out of a cache. */
export const weightCopies = 3;

/**
 * In workgroup memory `parts`, threads of the same column are `across` apart: their sums halved again and again, `count` vectors of each, until
 * the first of them has it all. `part` is the thread's number among those of its column.
 */
export function foldParts(parts: number, across: number, threads: number, count = 1): string {
  return each(Math.log2(parts), (i) => {
    const half = parts / 2 ** (i + 1);
    const add = (v: number): string =>
      `parts[thread + ${v * threads}u] += parts[thread + ${v * threads + half * across}u];`;
    return `if (part < ${half}u) { ${each(count, add, ' ')} }\nworkgroupBarrier();`;
  });
}

/** Alone in its pass, and many in one, as where tokens are made. */
export async function timeVector(gpu: Gpu, work: Work, bytes: number): Promise<Row> {
  const ms = await gpu.time(work, 9);
  const many = await gpu.time(work, 5, 9);
  return { ms, 'GB/s': bytes / ms / 1e6, 'GB/s many': bytes / many / 1e6 };
}

/** The worst of some outputs. */
export async function vectorDeviation(
  gpu: Gpu,
  result: GPUBuffer,
  { outputs, terms }: VectorSize,
  product: (output: number, term: number) => number,
): Promise<number> {
  const got = new Float32Array(await gpu.read(result, 0, 4 * outputs));
  const some = [0, 1, 2, 3, 7, Math.floor(outputs / 2) + 21, outputs - 1];
  return Math.max(...some.map((output) => sumDeviation(got[output] ?? NaN, terms, (term) => product(output, term))));
}

/** Weights, the same in each copy. */
export function copiesOf(gpu: Gpu, bytes: number, filling: 'halves' | 'bits'): Promise<readonly GPUBuffer[]> {
  return Promise.all(range(weightCopies).map(() => gpu.filled(bytes, filling)));
}

/** Why a workgroup cannot be. */
export function workgroupMisfit(gpu: Gpu, threads: number, bytes: number): string | undefined {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = gpu.facts.limits;
  if (threads > maxComputeInvocationsPerWorkgroup) return `${threads} threads are too many`;
  return bytes > maxComputeWorkgroupStorageSize ? `${bytes} bytes of workgroup memory are too many` : undefined;
}
