// Identifiers of a kernel: axes keep their names, other variables say what they hold, and none hides a word of WGSL or of the kernel itself.
import { wgslWords } from './wgsl-words.ts';

/** Built-in values, as the kernels call them. */
export const builtins = {
  group: ['workgroup_id', 'vec3u'],
  groups: ['num_workgroups', 'vec3u'],
  thread: ['local_invocation_index', 'u32'],
  lane: ['subgroup_invocation_id', 'u32'],
  subgroup: ['subgroup_id', 'u32'],
} as const;

/** 0 at run time, unknown to the driver: a loop bounded by it is not unrolled, which on a software device compiles for seconds. */
export const unknownZero = 'unknown_zero';

/** The identifier of an axis: letters, digits and '_', a letter in front. */
export function axisStem(axis: string): string {
  const plain = axis.replace(/\W/g, '_');
  return /^[A-Za-z]/.test(plain) ? plain : `axis${/^_/.test(plain) ? '' : '_'}${plain}`.replace(/_+$/, '');
}

/** The identifier of an index that runs over several axes, outermost first: `batch_query`. */
export function axesStem(axes: readonly { readonly name: string }[]): string {
  return axes.length === 0 ? 'only' : axes.map(({ name }) => axisStem(name)).join('_');
}

/** Bindings (`x0`, `y1`) and their accessors, sizes of the run, helper functions. */
const own =
  /^([xy]\d+(_\d+)?|unknown_zero|(load|store)_.*|sizes?|size_.*|main|sort_key|(widen|narrow)_bf16|.*_(f32|i32|u32|bool|vec4[fiu]|vec4bool))$/;

/** Names are unique in a kernel, not in a block: shaders are read by people. */
export class Names {
  readonly #next = new Map<string, number>();
  readonly #used = new Set<string>();

  /** The stem itself where it is free, else with a number: `channel`, `channel_1`; after a word of WGSL always, `exp_0`. */
  fresh(stem: string): string {
    const base = own.test(stem) ? `axis_${stem}_index` : stem;
    const isWord = wgslWords.has(base) || base in builtins;
    for (let n = this.#next.get(base) ?? 0; ; n++) {
      const name = n === 0 && !isWord ? base : `${base}_${n}`;
      if (this.#used.has(name)) continue;
      this.#next.set(base, n + 1);
      this.#used.add(name);
      return name;
    }
  }
}
