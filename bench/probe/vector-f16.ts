// A vector times weights in f16: by rows, which subgroups sum, or by panels of columns, which threads sum.
import type { Gpu } from './gpu.ts';
import { each, lacksHalves, lacksSubgroups, measureDesigns, type Design, type Section } from './section.ts';
import {
  copiesOf,
  foldParts,
  panelColumns,
  timeVector,
  vectorDeviation,
  workgroupMisfit,
  type VectorSize,
} from './vector.ts';

interface Kernel {
  readonly how: string;
  readonly misfit: string | undefined;
  readonly wgsl: () => string;
  readonly groups: number;
  /** Where the weight of an output and a term lies. */
  readonly place: (output: number, term: number) => number;
}

/** Rows of a subgroup at once, subgroups of a workgroup, and how many of them share the same rows. */
type Rows = readonly [rows: number, subgroups: number, sharing: number];

const looped: readonly Rows[] = [
  [1, 4, 1],
  [2, 4, 1],
  [4, 4, 1],
  [1, 8, 1],
  [2, 2, 1],
  [1, 4, 2],
  [1, 4, 4],
  [1, 8, 8],
  [2, 8, 8],
  [4, 8, 8],
  [2, 1, 1],
  [8, 4, 1],
];

const writtenOut: readonly Rows[] = [
  [1, 8, 8],
  [2, 8, 8],
  [4, 8, 8],
  [1, 4, 4],
  [2, 4, 4],
  [4, 4, 4],
  [8, 8, 8],
  [1, 8, 4],
  [2, 8, 4],
  [1, 16, 8],
  [4, 16, 16],
  [2, 16, 16],
  [1, 16, 16],
];

const dotEight = `
fn dot8(a: vec4<u32>, b: vec4<u32>) -> f32 {
  let low = dot(vec4<f32>(bitcast<vec4<f16>>(a.xy)), vec4<f32>(bitcast<vec4<f16>>(b.xy)));
  return low + dot(vec4<f32>(bitcast<vec4<f16>>(a.zw)), vec4<f32>(bitcast<vec4<f16>>(b.zw)));
}`;

/** Lanes take eight terms each, subgroups that share rows take parts of them; written out, all loads come before the first sum. */
function byRows(gpu: Gpu, { outputs, terms }: VectorSize, choice: Rows, isWrittenOut: boolean): Kernel {
  const [rows, subgroups, sharing] = choice;
  const { lanes } = gpu;
  const groupRows = (subgroups / sharing) * rows;
  const share = terms / sharing / 8;
  const turns = share / lanes;
  const line = terms / 8;
  const isEven = Number.isInteger(turns) && outputs % groupRows === 0;
  const loop = `${each(rows, (i) => `var sum${i} = 0.0;`)}
  for (var k = 0u; k < ${turns}u; k++) {
    let at = first + k * ${lanes}u;
    let x = vector[at];
    ${each(rows, (i) => `sum${i} += dot8(weights[(row + ${i}u) * ${line}u + at], x);`)}
  }
  ${each(rows, (i) => `let total${i} = subgroupAdd(sum${i});`)}`;
  const out = (): string => `
  ${each(rows, (i) => each(turns, (k) => `let w${i}_${k} = weights[(row + ${i}u) * ${line}u + first + ${k * lanes}u];`))}
  ${each(turns, (k) => `let x${k} = vector[first + ${k * lanes}u];`)}
  ${each(rows, (i) => `let total${i} = subgroupAdd(${each(turns, (k) => `dot8(w${i}_${k}, x${k})`, ' + ')});`)}`;
  const straight = `if (lane == 0u) { ${each(rows, (i) => `results[row + ${i}u] = total${i};`, ' ')} }`;
  const joined = `if (lane == 0u) { ${each(rows, (i) => `parts[subgroup * ${rows}u + ${i}u] = total${i};`, ' ')} }
  workgroupBarrier();
  let thread = subgroup * ${lanes}u + lane;
  if (thread < ${groupRows}u) {
    let begin = thread / ${rows}u * ${sharing}u;
    var sum = 0.0;
    for (var i = begin; i < begin + ${sharing}u; i++) { sum += parts[i * ${rows}u + thread % ${rows}u]; }
    results[group.x * ${groupRows}u + thread] = sum;
  }`;
  return {
    how: `rows ${rows}, subgroups ${subgroups}, sharing ${sharing}${isWrittenOut ? ', written out' : ''}`,
    misfit:
      lacksSubgroups(gpu) ??
      (isEven
        ? workgroupMisfit(gpu, subgroups * lanes, sharing === 1 ? 0 : 4 * subgroups * rows)
        : 'does not divide evenly'),
    wgsl: () => `enable f16;
enable subgroups;
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> vector: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
${sharing === 1 ? '' : `var<workgroup> parts: array<f32, ${subgroups * rows}>;`}
${dotEight}
@compute @workgroup_size(${subgroups * lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let row = group.x * ${groupRows}u + subgroup / ${sharing}u * ${rows}u;
  let first = subgroup % ${sharing}u * ${share}u + lane;
  ${isWrittenOut ? out() : loop}
  ${sharing === 1 ? straight : joined}
}`,
    groups: outputs / groupRows,
    place: (output, term) => output * terms + term,
  };
}

interface Panels {
  /** Bytes of a load. */
  readonly bytes: 8 | 16;
  /** Threads side by side over columns; the others of a workgroup share their terms. */
  readonly across: number;
  readonly threads: number;
  /** Loads of a thread on their way at once. */
  readonly unroll: number;
}

const panels: readonly Panels[] = ([8, 16] as const).flatMap((bytes) =>
  (bytes === 8 ? [16, 8] : [8, 4]).flatMap((across) =>
    [256, 512, 1024].flatMap((threads) => [1, 4, 8, 16].map((unroll) => ({ bytes, across, threads, unroll }))),
  ),
);

function byPanels(gpu: Gpu, { outputs, terms }: VectorSize, { bytes, across, threads, unroll }: Panels): Kernel {
  const parts = threads / across;
  const columns = bytes / 2;
  const line = panelColumns / columns;
  const vectors = columns / 4;
  const isEven = terms % (parts * unroll) === 0 && outputs % (across * columns) === 0;
  const load = (u: number): string => `let w${u} = weights[base + (i + ${u * parts}u) * ${line}u];`;
  const add = (u: number): string => {
    const fma = (sum: string, w: string): string => `${sum} = fma(x${u}, vec4<f32>(bitcast<vec4<f16>>(${w})), ${sum});`;
    const x = `let x${u} = vec4<f32>(f32(vector[i + ${u * parts}u]));`;
    return bytes === 8 ? `${x} ${fma('s0', `w${u}`)}` : `${x} ${fma('s0', `w${u}.xy`)} ${fma('s1', `w${u}.zw`)}`;
  };
  return {
    how: `panels, ${bytes} bytes a load, across ${across}, threads ${threads}, unrolled ${unroll}`,
    misfit: isEven ? workgroupMisfit(gpu, threads, 16 * threads * vectors) : 'does not divide evenly',
    wgsl: () => `enable f16;
@group(0) @binding(0) var<storage, read> weights: array<${bytes === 8 ? 'vec2<u32>' : 'vec4<u32>'}>;
@group(0) @binding(1) var<storage, read> vector: array<f16>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;
var<workgroup> parts: array<vec4<f32>, ${threads * vectors}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let part = thread / ${across}u;
  let column = group.x * ${across}u + thread % ${across}u;
  let base = column / ${line}u * ${terms * line}u + column % ${line}u;
  ${each(vectors, (v) => `var s${v} = vec4<f32>(0.0);`)}
  for (var i = part; i < ${terms}u; i += ${parts * unroll}u) {
    ${each(unroll, load)}
    ${each(unroll, add)}
  }
  ${each(vectors, (v) => `parts[thread + ${v * threads}u] = s${v};`)}
  workgroupBarrier();
  ${foldParts(parts, across, threads, vectors)}
  if (part == 0u) { ${each(vectors, (v) => `results[column * ${vectors}u + ${v}u] = parts[thread + ${v * threads}u];`, ' ')} }
}`,
    groups: outputs / (across * columns),
    place: (output, term) =>
      (Math.floor(output / panelColumns) * terms + term) * panelColumns + (output % panelColumns),
  };
}

export const vectorF16: Section = {
  name: 'vector-f16',
  about: 'a vector times weights in f16, rows or panels of columns',
  absent: lacksHalves,
  best: 'GB/s many',
  async *measure(gpu, quick) {
    const size = quick ? { outputs: 512, terms: 1024 } : { outputs: 14336, terms: 4096 };
    const { outputs, terms } = size;
    const bytes = 2 * outputs * terms;
    const weights = await copiesOf(gpu, bytes, 'halves');
    const vector = await gpu.filled(2 * terms, 'halves', 1);
    const result = gpu.buffer(4 * outputs);
    const [some] = weights;
    if (some === undefined) return;
    const w = new Float16Array(await gpu.read(some, 0, bytes));
    const x = new Float16Array(await gpu.read(vector, 0, 2 * terms));
    const kernels = [
      ...looped.map((rows) => byRows(gpu, size, rows, false)),
      ...writtenOut.map((rows) => byRows(gpu, size, rows, true)),
      ...panels.filter(({ unroll }) => !quick || unroll === 4).map((one) => byPanels(gpu, size, one)),
    ];
    const designs = kernels.map(({ how, place, misfit, wgsl, groups }): Design => ({
      about: { how },
      misfit,
      wgsl,
      buffers: weights.map((one) => [one, vector, result]),
      grid: [groups],
      result,
      deviation: () =>
        vectorDeviation(gpu, result, size, (output, term) => (w[place(output, term)] ?? NaN) * (x[term] ?? NaN)),
      time: (work) => timeVector(gpu, work, bytes),
    }));
    yield* measureDesigns(gpu, designs);
  },
};
