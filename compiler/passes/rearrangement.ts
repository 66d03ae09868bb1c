// The algebra of rearrange: normal form, composition, and which output axes come from which input axes.
import { divideSize, multiplySizes, sizesEqual, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Attrs } from '../../dsl/graph/op.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import type { RearrangeAttrs } from '../../dsl/ops/view-pattern.ts';

/** A rearrange whose elementary axes are numbers 0, 1, …: names matter only where it is written back. */
export interface Form {
  readonly sizes: readonly Size[];
  /** For each input axis its parts, outermost first. */
  readonly split: readonly (readonly number[])[];
  readonly merge: readonly { readonly name: string; readonly parts: readonly number[] }[];
  /** The names the parts had. */
  readonly hints: readonly string[];
}

export function attrsOf(node: Node): RearrangeAttrs {
  return rearrange.read(node.attrs);
}

export function formOf(attrs: RearrangeAttrs): Form {
  const names = [...new Set([...attrs.split.flat(), ...attrs.merge.flatMap((merged) => merged.parts)])];
  const number = new Map(names.map((name, i) => [name, i]));
  const of = (name: string): number => number.get(name) ?? 0;
  return {
    sizes: names.map((name) => attrs.sizes[name] ?? 1),
    split: attrs.split.map((parts) => parts.map(of)),
    merge: attrs.merge.map((merged) => ({ name: merged.name, parts: merged.parts.map(of) })),
    hints: names,
  };
}

/** Parts that stay side by side become one part. */
export function coarsen(form: Form): Form {
  const follower = new Map<number, number>();
  for (const parts of form.split)
    parts.forEach((part, i) => {
      const next = parts[i + 1];
      if (next !== undefined) follower.set(part, next);
    });
  const joined = new Map<number, number>();
  for (const { parts } of form.merge)
    parts.forEach((part, i) => {
      const next = parts[i + 1];
      if (next !== undefined && follower.get(part) === next) joined.set(part, next);
    });
  const heads = new Set(form.sizes.keys());
  for (const part of joined.values()) heads.delete(part);
  const sizes = [...form.sizes];
  for (const head of heads) {
    for (let part = joined.get(head); part !== undefined; part = joined.get(part))
      sizes[head] = multiplySizes(sizes[head] ?? 1, form.sizes[part] ?? 1);
  }
  if (joined.size === 0) return form;
  const keep = (parts: readonly number[]) => parts.filter((part) => heads.has(part));
  return {
    ...form,
    sizes,
    split: form.split.map(keep),
    merge: form.merge.map((merged) => ({ name: merged.name, parts: keep(merged.parts) })),
  };
}

/** Attributes with canonical part names, so that equal rearranges are the same node. */
export function attributesOf(form: Form, axes: readonly Axis[]): Attrs {
  const names = new Map<number, string>();
  const taken = new Set<string>();
  const give = (part: number | undefined, wanted: string): void => {
    if (part === undefined || names.has(part)) return;
    let name = wanted;
    for (let n = 2; taken.has(name); n++) name = `${wanted}${n}`;
    taken.add(name);
    names.set(part, name);
  };
  form.split.forEach((parts, i) => {
    if (parts.length === 1) give(parts[0], axes[i]?.name ?? 'x');
  });
  for (const { name, parts } of form.merge) if (parts.length === 1) give(parts[0], name);
  for (const part of [...form.split.flat(), ...form.merge.flatMap((merged) => merged.parts)])
    give(part, form.hints[part] ?? 'x');
  const nameOf = (part: number): string => names.get(part) ?? 'x';
  return {
    split: form.split.map((parts) => parts.map(nameOf)),
    merge: form.merge.map((merged) => ({ name: merged.name, parts: merged.parts.map(nameOf) })),
    sizes: Object.fromEntries([...names].map(([part, name]) => [name, form.sizes[part] ?? 1])),
  };
}

/** One axis split in two ways: the parts that both splits can be made of, and which of them make each part. */
interface Refinement {
  readonly sizes: readonly Size[];
  readonly first: readonly (readonly number[])[];
  readonly second: readonly (readonly number[])[];
}

function quotient(size: Size, by: Size): Size | undefined {
  return sizesEqual(size, by) ? 1 : divideSize(size, by);
}

function refine(a: readonly Size[], b: readonly Size[]): Refinement | undefined {
  const sizes: Size[] = [];
  const first: number[][] = a.map(() => []);
  const second: number[][] = b.map(() => []);
  let [i, j] = [a.length - 1, b.length - 1];
  let [restA, restB] = [a[i], b[j]];
  const emit = (size: Size): void => {
    sizes.push(size);
    first[i]?.unshift(sizes.length - 1);
    second[j]?.unshift(sizes.length - 1);
  };
  for (;;) {
    if (restA === 1) restA = a[--i];
    else if (restB === 1) restB = b[--j];
    else if (restA === undefined || restB === undefined) break;
    else {
      const more = quotient(restA, restB);
      const less = quotient(restB, restA);
      if (more !== undefined) {
        emit(restB);
        [restA, restB] = [more, 1];
      } else if (less !== undefined) {
        emit(restA);
        [restA, restB] = [1, less];
      } else {
        return undefined;
      }
    }
  }
  return restA === undefined && restB === undefined ? { sizes, first, second } : undefined;
}

/** `second` after `first` as one rearrange, where the two ways of splitting the axes between them have common parts. */
export function compose(first: Form, second: Form): Form | undefined {
  const sizes: Size[] = [];
  const hints: string[] = [];
  const fromFirst = new Map<number, readonly number[]>();
  const fromSecond = new Map<number, readonly number[]>();
  for (const [j, merged] of first.merge.entries()) {
    const into = second.split[j] ?? [];
    const common = refine(
      merged.parts.map((part) => first.sizes[part] ?? 1),
      into.map((part) => second.sizes[part] ?? 1),
    );
    if (common === undefined) return undefined;
    const base = sizes.length;
    const shift = (parts: readonly number[] | undefined) => (parts ?? []).map((part) => part + base);
    merged.parts.forEach((part, k) => {
      fromFirst.set(part, shift(common.first[k]));
    });
    into.forEach((part, k) => {
      fromSecond.set(part, shift(common.second[k]));
    });
    sizes.push(...common.sizes);
    // A part keeps the name of the whole it is; the outermost piece of a larger part is named after it.
    for (const [part, pieces] of fromFirst) for (const piece of pieces) hints[piece] ??= first.hints[part] ?? 'x';
    for (const [part, pieces] of fromSecond)
      if (pieces.length === 1 && pieces[0] !== undefined) hints[pieces[0]] = second.hints[part] ?? 'x';
  }
  return {
    sizes,
    hints,
    split: first.split.map((parts) => parts.flatMap((part) => fromFirst.get(part) ?? [])),
    merge: second.merge.map(({ name, parts }) => ({
      name,
      parts: parts.flatMap((part) => fromSecond.get(part) ?? []),
    })),
  };
}

/** True when nothing changes: every axis stays whole, in its place, under its name. */
export function isIdentity(form: Form, axes: readonly Axis[]): boolean {
  return (
    form.merge.length === axes.length &&
    form.merge.every(
      (merged, i) =>
        merged.name === axes[i]?.name &&
        merged.parts.length === 1 &&
        form.split[i]?.length === 1 &&
        merged.parts[0] === form.split[i]?.[0],
    )
  );
}

/** True when the axes only change places: none is split, merged or renamed. */
export function isPermutation(form: Form, axes: readonly Axis[]): boolean {
  return (
    form.merge.length === axes.length &&
    form.split.every(
      (parts, i) =>
        parts.length === 1 &&
        form.merge.some(
          (merged) => merged.parts.length === 1 && merged.parts[0] === parts[0] && merged.name === axes[i]?.name,
        ),
    )
  );
}

/**
 * The output axes that are made of nothing but the input axes named, with these input axes feeding nothing else:
 * what can be taken out of the rearrange together.
 */
export function separable(
  form: Form,
  axes: readonly Axis[],
  inputs: ReadonlySet<string>,
): { readonly inputs: ReadonlySet<string>; readonly outputs: ReadonlySet<string> } {
  const taken = new Set(inputs);
  for (let changed = true; changed;) {
    changed = false;
    const parts = new Set(form.split.flatMap((list, i) => (taken.has(axes[i]?.name ?? '') ? list : [])));
    for (const merged of form.merge) {
      const mixed = merged.parts.some((part) => parts.has(part)) && !merged.parts.every((part) => parts.has(part));
      if (!mixed) continue;
      form.split.forEach((list, i) => {
        const name = axes[i]?.name ?? '';
        if (taken.has(name) && list.some((part) => merged.parts.includes(part))) {
          taken.delete(name);
          changed = true;
        }
      });
    }
  }
  const parts = new Set(form.split.flatMap((list, i) => (taken.has(axes[i]?.name ?? '') ? list : [])));
  const outputs = form.merge.filter(
    (merged) => merged.parts.length > 0 && merged.parts.every((part) => parts.has(part)),
  );
  // An input axis split into no parts has size 1 and feeds no output: it can go too.
  return { inputs: taken, outputs: new Set(outputs.map((merged) => merged.name)) };
}

/** The rearrange without some input axes and the output axes made of them. */
export function without(
  form: Form,
  axes: readonly Axis[],
  inputs: ReadonlySet<string>,
  outputs: ReadonlySet<string>,
): Form {
  return {
    ...form,
    split: form.split.filter((_, i) => !inputs.has(axes[i]?.name ?? '')),
    merge: form.merge.filter((merged) => !outputs.has(merged.name)),
  };
}
