// Arithmetic that never leaves the registers: multiply-adds of threads, and matrix units of subgroups.
import { enableMatrices, printMatrix } from '../../compiler/kernel/matrix-unit.ts';
import type { MatrixUnit } from '../../compiler/profile.ts';
import { each, lacksHalves, lacksMatrices, messageOf, type Section } from './section.ts';

const passes = 5;

/** Independent chains of a thread, and multiply-adds of each in a turn of the loop. */
const chains = 8;
const unrolled = 8;

const types = [
  { type: 'f32', of: 'f32', width: 1 },
  { type: 'vec2<f16>', of: 'f16', width: 2 },
  { type: 'vec4<f16>', of: 'f16', width: 4 },
  { type: 'vec4<f32>', of: 'f32', width: 4 },
] as const;

function multiplyAddWgsl({ type, of, width }: (typeof types)[number], turns: number): string {
  return `${of === 'f16' ? 'enable f16;' : ''}
@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let m = ${type}(${of}(data[0]));
  let c = ${type}(${of}(data[1]));
  ${each(chains, (i) => `var x${i} = ${type}(${of}(id.x + ${i}u));`)}
  for (var k = 0u; k < ${turns}u; k++) {
    ${each(unrolled, () => each(chains, (i) => `x${i} = fma(x${i}, m, c);`, ' '))}
  }
  let sum = ${each(chains, (i) => `x${i}`, ' + ')};
  data[id.x] = f32(sum${width > 1 ? '.x' : ''});
}`;
}

export const arithmetic: Section = {
  name: 'arithmetic',
  about: 'multiply-adds of threads, in registers',
  async *measure(gpu, quick) {
    const [groups, turns] = quick ? [16, 4] : [8192, 512];
    const data = await gpu.filled(4 * 256 * groups, 'floats');
    for (const one of types) {
      const remark = one.of === 'f16' ? lacksHalves(gpu) : undefined;
      if (remark !== undefined) {
        yield { type: one.type, remark };
        continue;
      }
      const pipeline = await gpu.pipeline(multiplyAddWgsl(one, turns));
      const ms = await gpu.time({ pipeline, groups: [gpu.group(pipeline, [data])], grid: [groups] }, passes);
      const operations = groups * 256 * turns * chains * unrolled * 2 * one.width;
      yield { type: one.type, ms, 'TFLOP/s': operations / ms / 1e9 };
    }
  },
};

/** Subgroups of a workgroup. */
const subgroups = 4;
/** Blocks of results have room for so many subgroups; those above overwrite them. */
const kept = 64;

/** `sums` blocks of results, each the sum of the same product again and again. */
function matrixWgsl(unit: MatrixUnit, sums: number, turns: number, lanes: number): string {
  // Integers of 8 bits lie packed in words.
  const stored = unit.from === 'i8' ? 'i32' : unit.from === 'u8' ? 'u32' : unit.from;
  const block = unit.m * unit.n;
  const fragment = { kind: 'fragment', unit, from: 'given', at: 'first', turned: false } as const;
  return `enable f16;
enable subgroups;
${enableMatrices}
@group(0) @binding(0) var<storage, read_write> sums: array<${unit.to}>;
@group(0) @binding(1) var<storage, read> given: array<${stored}>;
@compute @workgroup_size(${subgroups * lanes}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32) {
  let first = 0u;
  ${printMatrix({ ...fragment, name: 'rows', of: 'rows', stride: unit.k })}
  ${printMatrix({ ...fragment, name: 'columns', of: 'columns', stride: unit.n })}
  ${each(sums, (i) => printMatrix({ kind: 'sums', name: `s${i}`, unit }))}
  for (var k = 0u; k < ${turns}u; k++) {
    ${each(sums, (i) => printMatrix({ kind: 'multiply', into: `s${i}`, rows: 'rows', columns: 'columns' }))}
  }
  let into = ((group.x * ${subgroups}u + subgroup) % ${kept}u) * ${sums * block}u;
  ${each(sums, (i) => printMatrix({ kind: 'spread', into: 'sums', at: `into + ${i * block}u`, stride: unit.n, sums: `s${i}` }))}
}`;
}

/** How many blocks of sums a subgroup holds: small ones need more to keep the units busy. */
function sumsOf({ m, n, to }: MatrixUnit): readonly number[] {
  if (to !== 'f32') return [8];
  return m * n >= 256 ? [4, 8, 16] : [8, 16];
}

export const matrixUnits: Section = {
  name: 'matrix-units',
  about: 'matrix units of subgroups, in registers',
  absent: lacksMatrices,
  async *measure(gpu, quick) {
    // Workgroups enough to fill any card evenly.
    const [groups, turns] = quick ? [4, 4] : [2112, 256];
    const buffers = [gpu.buffer(2 ** 26), await gpu.filled(2 ** 22, 'halves')];
    for (const unit of gpu.facts.matrices.filter(({ from }) => ['f16', 'i8', 'u8'].includes(from)))
      for (const sums of sumsOf(unit)) {
        const { m, n, k, from, to } = unit;
        const about = { unit: `${m}x${n}x${k}`, from, to, sums };
        try {
          const pipeline = await gpu.pipeline(matrixWgsl(unit, sums, turns, gpu.lanes));
          const ms = await gpu.time({ pipeline, groups: [gpu.group(pipeline, buffers)], grid: [groups] }, passes);
          yield { ...about, ms, 'TFLOP/s': (groups * subgroups * turns * sums * 2 * m * n * k) / ms / 1e9 };
        } catch (error) {
          // Drivers list units that they then refuse.
          if (gpu.isLost) throw error;
          yield { ...about, remark: messageOf(error) };
        }
      }
  },
};
