// Mistakes in the text of kernels: strides, guards, loop ends, barriers, shuffles, precision.
import type { Plan, PlanKernel } from '../../compiler/plan.ts';
import type { Mutant } from './mutants.ts';

type Edit = (text: string, plan: Plan) => string;

/** Edits the text of every kernel; `of`: what its first comment, the template, must match. */
function kernels(name: string, what: string, edit: Edit, of?: RegExp): Mutant {
  return {
    name,
    what,
    plan: (plan) => {
      let changed = false;
      const edited = plan.kernels.map((kernel): PlanKernel => {
        const template = /^\/\/ (.*)$/m.exec(kernel.wgsl)?.[1] ?? '';
        if (of !== undefined && !of.test(template)) return kernel;
        const wgsl = edit(kernel.wgsl, plan);
        if (wgsl === kernel.wgsl) return kernel;
        changed = true;
        return { ...kernel, wgsl };
      });
      return changed ? { ...plan, kernels: edited } : undefined;
    },
  };
}

const swap =
  (pattern: RegExp, by: string | ((match: string, ...groups: string[]) => string)): Edit =>
  (text) =>
    typeof by === 'string' ? text.replace(pattern, by) : text.replace(pattern, by);
const less = (n: string): string => String(Math.max(0, Number(n) - 1));

/** Keeps the ten bits of fraction of an f16 at every step. By its bits: Mesa leaves out f32(f16(x)). */
const halved =
  (variable: RegExp): Edit =>
  (text) =>
    text.replace(variable, (line, target: string, value: string) => {
      const found = new RegExp(`var ${target} = (vec4f)?[(0-9.]*0\\.0f`).exec(text);
      if (found === null) return line;
      return found[1] === undefined
        ? `${target} = bitcast<f32>(bitcast<u32>(${value}) & 0xffffe000u);`
        : `${target} = bitcast<vec4f>(bitcast<vec4u>(${value}) & vec4u(0xffffe000u));`;
    });

/** A barrier left out, or all of them. */
const withoutBarrier =
  (which: 'all' | 'first' | 'last'): Edit =>
  (text) => {
    const barrier = 'workgroupBarrier();';
    if (which === 'all') return text.replaceAll(barrier, '');
    const at = which === 'first' ? text.indexOf(barrier) : text.lastIndexOf(barrier);
    return at < 0 ? text : text.slice(0, at) + text.slice(at + barrier.length);
  };

export const kernelMutants: readonly Mutant[] = [
  kernels(
    'stride of a load',
    'an operand is read with a stride one too small',
    swap(/(let x\d+_at\w* = [^;]*?\* )(\d+)u/, (_m, head: string, n: string) => `${head}${less(n)}u`),
  ),
  kernels(
    'stride of a store',
    'a result is written with a stride one too small',
    swap(/(\by\d+\[[^\];]*?\* )(\d+)u/g, (_m, head: string, n: string) => `${head}${less(n)}u`),
  ),
  kernels(
    'no guard of the tail',
    'threads after the last item write too',
    swap(/(let (\w+) = [^;]*\bthread;\n *if \()\2 < .*\) \{/, '$1true) {'),
  ),
  kernels(
    'last item lost',
    'the last item is not computed',
    swap(
      /(let (\w+) = [^;]*\bthread;\n *if \(\2 < )(\d+)u\)/,
      (_m, head: string, _item, n: string) => `${head}${less(n)}u)`,
    ),
  ),
  kernels(
    'serial loop one short',
    'the last element of a reduction is left out',
    swap(/(for \(var (\w+) = 0u; \2 < )(\d+)u/, (_m, head: string, _index, n: string) => `${head}${less(n)}u`),
  ),
  kernels(
    'rows start one late',
    'lanes of a row start at their next element',
    swap(/for \(var (\w+) = (thread|lane);/, 'for (var $1 = $2 + 1u;'),
  ),
  kernels(
    'rows step twice as far',
    'every other stride of a row is skipped',
    swap(/(\w+) \+= (\d+)u/g, (_m, i: string, n: string) => `${i} += ${n === '1' ? 1 : 2 * Number(n)}u`),
    /^rows/,
  ),
  kernels(
    'tail of the sum lost',
    'elements after the last whole tile of a sum are left out',
    swap(
      /for \(var (\w+_start) = 0u; \w+ < (\d+)u; \w+ \+= (\d+)u\)/,
      (_m, k: string, n: string, step: string) =>
        `for (var ${k} = 0u; ${k} < ${Math.floor(Number(n) / Number(step)) * Number(step)}u; ${k} += ${step}u)`,
    ),
  ),
  kernels(
    'no zeros behind the sum',
    'what is staged beyond the end of the sum is added',
    swap(
      /(staged_(?:rows|columns)\w*\[[^;]*?\] = )select\((?:vec4f\(0\.0f\)|0\.0f), (.*), [^;]*? < [^;]*\);/g,
      '$1$2;',
    ),
  ),
  kernels(
    'no guard of rows',
    'rows behind the last are written',
    swap(/(let (\w+) = [^;]*;\n *if \()\2 < .*\) \{/g, '$1true) {'),
    /^contraction/,
  ),
  kernels(
    'lanes crossed',
    'the third and fourth of four elements change places',
    swap(/vec4f\(([^(),]*\[[^(),]*), ([^(),]*), ([^(),]*), ([^(),]*)\)/g, 'vec4f($1, $2, $4, $3)'),
  ),
  kernels('no barriers', 'no barrier in workgroup memory', withoutBarrier('all'), /^(contraction|rows)/),
  kernels(
    'no barrier before staging',
    'a tile is overwritten while others still read it',
    withoutBarrier('last'),
    /in workgroup memory/,
  ),
  kernels(
    'no barrier after writing',
    'partial results are read before all are there',
    withoutBarrier('first'),
    /^(rows|contraction of)/,
  ),
  kernels(
    'tree one level short',
    'the last level of a reduction in workgroup memory is left out',
    swap(/if \((thread|part) < 1u\)/g, 'if (false)'),
  ),
  kernels(
    'a lane of a row',
    'what the last of the threads that walk a row of a tile has summed is left out',
    swap(/of_lanes(\w*)\[thread \+ 15u\]/g, 'of_lanes$1[thread + 14u]'),
  ),
  kernels(
    'statistics of the next row',
    'a tile is staged with what the next of its rows is reduced to',
    swap(/= of_rows(\w*)\[four_rows \* 4u\]/g, '= of_rows$1[four_rows * 4u + 1u]'),
    /in workgroup memory/,
  ),
  kernels(
    'butterfly one level short',
    'neighbouring lanes do not exchange their sums',
    swap(/subgroupShuffleXor\(([^,]*), 1u\)/g, 'subgroupShuffleXor($1, 2u)'),
  ),
  kernels(
    'wrong lane',
    'a lane reads its neighbour instead',
    swap(/subgroupShuffle\(([^,]*), (\w+)\)/g, 'subgroupShuffle($1, ($2 ^ 1u))'),
  ),
  kernels('batch lost', 'every batch computes the first', swap(/\bgroup\.z\b/g, '0u')),
  kernels(
    'long grid',
    'the second dimension of a long grid is forgotten',
    swap(/\(group\.y \* groups\.x \+ group\.x\)/g, 'group.x'),
  ),
  kernels(
    'tile of columns',
    'the second tile of columns starts one late',
    swap(/group\.y \* (\d+)u/g, (_m, n: string) => `(group.y * ${n}u + group.y)`),
    /^contraction/,
  ),
  kernels('f16 products', 'a contraction accumulates in f16', halved(/\b(sum\w*) = (fma\(.*\));$/gm), /contraction/),
  kernels(
    'f16 sums',
    'a reduction accumulates in f16',
    halved(/\b(running_sum\w*) = (\(running_sum\w* \+ .*\));$/gm),
    /rows/,
  ),
  kernels('symbol at its bound', 'a symbolic size is taken at its bound', (text, plan) =>
    text.replace(/sizes\[(\d+)\]/g, (_m, i: string) => `${plan.symbols[Number(i)]?.bound ?? 0}u`),
  ),
  kernels(
    'gather short of the end',
    'positions are clamped one before the last',
    swap(/(let \w+ = (?:u32\(clamp\(.*|min\(.*)) - 1(i|u)\)/g, '$1 - 2$2)'),
  ),
  kernels(
    'concat boundary',
    'the first element of a part is not taken from it',
    swap(
      /(if \([^\n{]*? >= )(\d+)(u[^\n{]*\) \{\n(?: +let [^\n]*\n)* +concat)/g,
      (_m, head: string, n: string, tail: string) => `${head}${Number(n) + 1}${tail}`,
    ),
  ),
  kernels(
    'no rescaling',
    'the running sum of attention is not rescaled when the maximum grows',
    swap(/(let decay\w* = )exp\(.*\);/g, '$11.0f;'),
    /^attention/,
  ),
  kernels(
    'absent keys count',
    'keys behind the last weigh in',
    (text) =>
      text
        .replace(/select\(0\.0f, (exp\([^;]*\)), [^;]*\);/g, '$1;')
        .replace(/(score\w* = )select\(\(?-3[^,]*, ([^;]*), [^;,]*\);/g, '$1$2;'),
    /^attention/,
  ),
  kernels(
    'boundary of pieces',
    'the first element of the second binding is read from the first',
    swap(/if \(i < (\d+)u\)/g, (_m, n: string) => `if (i < ${Number(n) + 1}u)`),
  ),
  kernels(
    'offset of pieces',
    'the second binding is indexed from one element on',
    swap(/\[i - (\d+)u\]/g, (_m, n: string) => `[i - ${less(n)}u]`),
  ),
];
