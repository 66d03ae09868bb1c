// A vector times weights in codes of four bits, by panels of columns, with several ways to make numbers of the codes.
import type { Gpu } from './gpu.ts';
import { each, lacksHalves, measureDesigns, type Design, type Row, type Section } from './section.ts';
import {
  copiesOf,
  foldParts,
  panelColumns,
  timeVector,
  vectorDeviation,
  workgroupMisfit,
  type VectorSize,
} from './vector.ts';

/** Codes of a word, terms that share a scale, and vec4 of a panel's line. */
const codes = 8;
const scaled = 32;
const line = panelColumns / 4;

/**
 * Adds to `sum` what a word of eight codes for each of four columns gives: (code − 8) · scale · x.
 * @param word a vec4<u32>; @param x the j-th of eight terms of the vector, an f32; @param scale a vec4<f32>.
 */
type Decode = (word: string, x: (j: number) => string, scale: string, sum: string) => string;

/** Sums of a word apart, so that each is scaled once. */
const scaledOnce = (scale: string, sum: string, body: string): string =>
  `{ var q = vec4<f32>(0.0);\n${body}\n${sum} = fma(q, ${scale}, ${sum}); }`;

const shiftedCode = (word: string, j: number): string => `((${word} >> vec4<u32>(${4 * j}u)) & vec4<u32>(15u))`;

/** 2^23 as bits: an integer below it, put into its lowest bits, is that much more. No conversion is needed. */
const bits23 = 'vec4<u32>(0x4B000000u)';

const decoders = {
  /** By remainder, converted, each scaled. */
  'remainder, scaled each': (word, x, scale, sum) =>
    each(codes, (j) => {
      const code = `vec4<f32>((${word} >> vec4<u32>(${4 * j}u)) % vec4<u32>(16u))`;
      return `${sum} = fma(vec4<f32>(${x(j)}), (${code} - vec4<f32>(8.0)) * ${scale}, ${sum});`;
    }),
  /** Masked, converted. */
  converted: (word, x, scale, sum) =>
    scaledOnce(
      scale,
      sum,
      each(codes, (j) => {
        const code = `vec4<f32>(${shiftedCode(word, j)}) - vec4<f32>(8.0)`;
        return `q = fma(vec4<f32>(${x(j)}), ${code}, q);`;
      }),
    ),
  /** Under the exponent of 2^23 where it lies, 16^j times too large; the vector makes up for it. Only codes of the upper half are shifted. */
  'exponent in place': (word, x, scale, sum) =>
    scaledOnce(
      scale,
      sum,
      `let high = ${word} >> vec4<u32>(16u);\n${each(codes, (j) => {
        const times = 16 ** (j % 4);
        const code = `(${j < 4 ? word : 'high'} & vec4<u32>(${15 * times}u)) | ${bits23}`;
        const term = times === 1 ? x(j) : `${x(j)} * ${1 / times}`;
        return `q = fma(vec4<f32>(${term}), bitcast<vec4<f32>>(${code}) - vec4<f32>(${2 ** 23 + 8 * times}.0), q);`;
      })}`,
    ),
  /** Shifted, masked, under the exponent of 2^23. */
  'exponent, shifted': (word, x, scale, sum) =>
    scaledOnce(
      scale,
      sum,
      each(codes, (j) => {
        const code = `bitcast<vec4<f32>>(${shiftedCode(word, j)} | ${bits23}) - vec4<f32>(${2 ** 23 + 8}.0)`;
        return `q = fma(vec4<f32>(${x(j)}), ${code}, q);`;
      }),
    ),
  /** Two codes at once as halves under the exponent of 1024, where they are exact. */
  'pairs of halves': (word, x, scale, sum) =>
    scaledOnce(
      scale,
      sum,
      ['x', 'y', 'z', 'w']
        .map((part) => {
          const pair = (j: number): string =>
            `let h${j} = vec2<f32>(bitcast<vec2<f16>>(((v >> ${4 * j}u) & 0x000F000Fu) | 0x64006400u) - vec2<f16>(1032.0));
q.${part} = fma(${x(j)}, h${j}.x, fma(${x(j + 4)}, h${j}.y, q.${part}));`;
          return `{ let v = ${word}.${part};\n${each(4, pair)} }`;
        })
        .join('\n'),
    ),
} as const satisfies Readonly<Record<string, Decode>>;

interface Choice {
  readonly decode: keyof typeof decoders;
  /** Threads side by side over columns, four each; the others of a workgroup share their terms. */
  readonly across: number;
  readonly threads: number;
  /** Words of a thread on their way at once. */
  readonly unroll: number;
}

/** All shapes for the decoder that does best, some for the others. */
function choices(quick: boolean): readonly Choice[] {
  // Object.keys forgets what the keys are.
  const all = (Object.keys(decoders) as (keyof typeof decoders)[]).flatMap((decode) =>
    [16, 8, 4].flatMap((across) =>
      [128, 256, 512, 1024].flatMap((threads) => [1, 2, 4].map((unroll) => ({ decode, across, threads, unroll }))),
    ),
  );
  return all.filter(({ decode, across, threads, unroll }) =>
    quick
      ? threads === 256 && unroll === 2
      : decode === 'exponent in place' ||
        (decode === 'converted' && across === 4) ||
        (across === 16 && threads !== 128),
  );
}

/** Words: [panel][eight terms][16 × vec4]; scales: [panel][32 terms][16 × vec4]. */
function wgslOf({ terms }: VectorSize, { decode, across, threads, unroll }: Choice): string {
  const [words, scales] = [terms / codes, terms / scaled];
  const parts = threads / across;
  const at = (u: number): string => `(i + ${u * parts}u)`;
  const load = (u: number): string => `let w${u} = weights[base + ${at(u)} * ${line}u];
let g${u} = scales[scale_base + ${at(u)} / ${scaled / codes}u * ${line}u];`;
  const add = (u: number): string => {
    const x = (j: number): string => `${j < 4 ? 'xa' : 'xb'}.${'xyzw'.charAt(j % 4)}`;
    return `{ let xa = vector[${at(u)} * 2u]; let xb = vector[${at(u)} * 2u + 1u];
${decoders[decode](`w${u}`, x, `g${u}`, 'sum')} }`;
  };
  return `${decode === 'pairs of halves' ? 'enable f16;' : ''}
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> vector: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> results: array<vec4<f32>>;
var<workgroup> parts: array<vec4<f32>, ${threads}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let part = thread / ${across}u;
  let column = group.x * ${across}u + thread % ${across}u;
  let base = column / ${line}u * ${words * line}u + column % ${line}u;
  let scale_base = column / ${line}u * ${scales * line}u + column % ${line}u;
  var sum = vec4<f32>(0.0);
  for (var i = part; i < ${words}u; i += ${parts * unroll}u) {
    ${each(unroll, load)}
    ${each(unroll, add)}
  }
  parts[thread] = sum;
  workgroupBarrier();
  ${foldParts(parts, across, threads)}
  if (part == 0u) { results[column] = parts[thread]; }
}`;
}

function misfitOf(gpu: Gpu, { outputs, terms }: VectorSize, { decode, across, threads, unroll }: Choice) {
  const lack = decode === 'pairs of halves' ? lacksHalves(gpu) : undefined;
  if (lack !== undefined) return lack;
  const isEven = (terms / codes) % ((threads / across) * unroll) === 0 && outputs % (4 * across) === 0;
  return isEven ? workgroupMisfit(gpu, threads, 16 * threads) : 'does not divide evenly';
}

async function* measureSize(gpu: Gpu, size: VectorSize, quick: boolean): AsyncGenerator<Row> {
  const { outputs, terms } = size;
  const [codeBytes, scaleBytes] = [(outputs * terms) / 2, (outputs * terms * 4) / scaled];
  const weights = await copiesOf(gpu, codeBytes, 'bits');
  const scales = await gpu.filled(scaleBytes, 'floats');
  const vector = await gpu.filled(4 * terms, 'floats', 1);
  const result = gpu.buffer(4 * outputs);
  const [some] = weights;
  if (some === undefined) return;
  const w = new Uint32Array(await gpu.read(some, 0, codeBytes));
  const g = new Float32Array(await gpu.read(scales, 0, scaleBytes));
  const x = new Float32Array(await gpu.read(vector, 0, 4 * terms));
  const product = (output: number, term: number): number => {
    const panel = Math.floor(output / panelColumns);
    const within = output % panelColumns;
    const word = w[(panel * (terms / codes) + Math.floor(term / codes)) * panelColumns + within] ?? NaN;
    const scale = g[(panel * (terms / scaled) + Math.floor(term / scaled)) * panelColumns + within] ?? NaN;
    return (((word >>> (4 * (term % codes))) & 15) - 8) * scale * (x[term] ?? NaN);
  };
  const designs = choices(quick).map((choice): Design => ({
    about: { size: `${outputs}x${terms}`, ...choice },
    misfit: misfitOf(gpu, size, choice),
    wgsl: () => wgslOf(size, choice),
    buffers: weights.map((one) => [one, scales, vector, result]),
    grid: [outputs / 4 / choice.across],
    result,
    deviation: () => vectorDeviation(gpu, result, size, product),
    time: (work) => timeVector(gpu, work, codeBytes + scaleBytes),
  }));
  yield* measureDesigns(gpu, designs);
}

export const vectorQ4: Section = {
  name: 'vector-q4',
  about: 'a vector times weights in codes of four bits, by panels of columns',
  best: 'GB/s many',
  within: 'size',
  async *measure(gpu, quick) {
    const sizes = quick
      ? [[512, 1024] as const]
      : ([
          [14336, 4096],
          [4096, 4096],
          [4096, 14336],
        ] as const);
    for (const [outputs, terms] of sizes) {
      yield* measureSize(gpu, { outputs, terms }, quick);
      gpu.free();
    }
  },
};
