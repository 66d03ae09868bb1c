// A pattern held against a tensor: which sizes it gives, and the one view that it stands for.
import {
  divideSize,
  multiplySizes,
  nearestMultiples,
  printAxes,
  printSize,
  sizesEqual,
  type Axis,
  type Size,
} from '../axis/axis.ts';
import { parsePattern, patternError, type Item, type Pattern } from '../axis/pattern.ts';
import type { DType } from '../graph/op.ts';
import { rearrange as rearrangeOp } from '../ops/view.ts';
import { apply, type Tensor } from '../tensor.ts';

/** Sizes of elementary axes, by name. */
export type Sizes = Readonly<Record<string, Size>>;

export function oneSided(op: string, text: string, x: Tensor): Pattern {
  const pattern = parsePattern(text, op, [printAxes(x.axes)]);
  if (pattern.inputs.length !== 1)
    throw patternError(
      op,
      text,
      text.indexOf(','),
      1,
      `${op} takes one tensor, ${printAxes(x.axes)}`,
      'einsum takes two',
    );
  return pattern;
}

export type Known = Map<string, Size>;

export function bind(op: string, pattern: Pattern, x: Tensor, sizes: Sizes): Known {
  const [side = []] = pattern.inputs;
  const named = new Set([...side, ...pattern.output].flatMap((item) => item.parts));
  for (const [name, size] of Object.entries(sizes)) {
    if (!named.has(name))
      throw patternError(
        op,
        pattern.text,
        0,
        pattern.text.length,
        `a size is given for '${name}', which the pattern does not have`,
        `the pattern has ${[...named].map((n) => `'${n}'`).join(', ')}`,
      );
    if (typeof size === 'number' && !(Number.isInteger(size) && size >= 0))
      throw patternError(op, pattern.text, 0, pattern.text.length, `the size of '${name}' is ${size}, no whole number`);
  }
  return bindSide(op, pattern, side, x, sizes);
}

/** The size of each elementary axis on one left side. */
/** The sizes that one side of a pattern gives the elementary axes of a tensor. Throws `OpabiniaError`. */
export function bindSide(op: string, pattern: Pattern, side: readonly Item[], x: Tensor, sizes: Sizes): Known {
  const fail = (item: Item | undefined, what: string, advice?: string) =>
    patternError(
      op,
      pattern.text,
      item?.offset ?? 0,
      item?.length ?? pattern.text.length,
      `${what}\n  operand ${describeOperand(x)}`,
      advice,
    );
  const known: Known = new Map();
  side.forEach((item, i) => {
    const axis = x.axes[i];
    if (axis === undefined)
      throw fail(item, `the pattern has ${side.length} axes, the tensor ${printAxes(x.axes)} has ${x.axes.length}`);
    if (item.name !== undefined && item.name !== axis.name)
      throw fail(
        item,
        `the pattern has '${item.name}' where the tensor ${printAxes(x.axes)} has '${axis.name}'`,
        "name the axes as the tensor does, in its order; '(m)' or 'n=(m)' renames one",
      );
    for (const [part, size] of partSizes(item, axis, sizes, fail)) known.set(part, size);
  });
  if (side.length < x.axes.length)
    throw fail(
      side.at(-1),
      `the pattern has ${side.length} axes, the tensor ${printAxes(x.axes)} has ${x.axes.length}`,
    );
  return known;
}

type Fail = (item: Item, what: string, advice?: string) => Error;

function partSizes(item: Item, axis: Axis, sizes: Sizes, fail: Fail): readonly (readonly [string, Size])[] {
  const open = item.parts.filter((part) => sizes[part] === undefined);
  const given = item.parts.reduce<Size>((size, part) => multiplySizes(size, sizes[part] ?? 1), 1);
  const product = item.parts
    .filter((part) => sizes[part] !== undefined)
    .map((part) => `${part}:${printSize(sizes[part] ?? 0)}`)
    .join(' ');
  if (open.length > 1)
    throw fail(
      item,
      `the sizes of ${open.map((part) => `'${part}'`).join(' and ')} are unknown`,
      `give all but one of them: { ${open[0]}: 2 }`,
    );
  const [rest] = open;
  if (rest === undefined) {
    if (!sizesEqual(given, axis.size))
      throw fail(
        item,
        item.parts.length === 0
          ? `'()' matches an axis of size 1, and '${axis.name}' has size ${printSize(axis.size)}`
          : `axis '${axis.name}' has size ${printSize(axis.size)}, its parts ${product} make ${printSize(given)}`,
      );
    return item.parts.map((part) => [part, sizes[part] ?? 0]);
  }
  const size = divideSize(axis.size, given);
  if (size === undefined)
    throw fail(
      item,
      `axis '${axis.name}' of size ${printSize(axis.size)} does not divide by ${product}`,
      typeof axis.size === 'number' && typeof given === 'number' && given > 0
        ? `the division must come out: the nearest sizes that do are ${nearestMultiples(axis.size, given).join(' and ')}`
        : 'the division must come out',
    );
  return item.parts.map((part) => [part, part === rest ? size : (sizes[part] ?? 0)]);
}

export function describeOperand(x: Tensor): string {
  return `${printAxes(x.axes)} ${x.dtype}${x.node.origin.path === '' ? '' : ` of ${x.node.origin.path}`}${x.node.origin.place === undefined ? '' : `  ${x.node.origin.place}`}`;
}

export function checkKept(op: string, pattern: Pattern, use: string): void {
  const right = new Set(pattern.output.flatMap((item) => item.parts));
  for (const item of pattern.inputs[0] ?? []) {
    const lost = item.parts.find((part) => !right.has(part));
    if (lost !== undefined)
      throw patternError(op, pattern.text, item.offset, item.length, `axis '${lost}' is dropped`, use);
  }
}

/** Throws where one side has a name that the other has not. Where both have one, a rename was meant. */
export function checkUnchanged(op: string, pattern: Pattern): void {
  const [left, right] = [pattern.inputs[0] ?? [], pattern.output].map((side) => side.flatMap((item) => item.parts));
  const lost = (left ?? []).filter((part) => right?.includes(part) === false);
  const fresh = (right ?? []).filter((part) => left?.includes(part) === false);
  const [[old], [named]] = [lost, fresh];
  if (old === undefined || named === undefined) {
    checkKept(op, pattern, 'use reduce');
    checkNew(op, pattern);
    return;
  }
  const item = pattern.output.find((of) => of.parts.includes(named));
  const isPair = lost.length === 1 && fresh.length === 1;
  throw patternError(
    op,
    pattern.text,
    item?.offset ?? 0,
    item?.length ?? pattern.text.length,
    isPair ? `axis '${named}' is new and '${old}' is dropped` : `axis '${named}' is new, and others are dropped`,
    isPair ? `write '${named}=(${old})' to rename it, or '${old}' in its place` : "write 'new=(old)' to rename one",
  );
}

export function checkNew(op: string, pattern: Pattern): void {
  const left = new Set(pattern.inputs[0]?.flatMap((item) => item.parts));
  for (const item of pattern.output) {
    const fresh = item.parts.find((part) => !left.has(part));
    if (fresh !== undefined)
      throw patternError(op, pattern.text, item.offset, item.length, `axis '${fresh}' is new`, 'use repeat');
  }
}

export function sizeIn(known: Known, part: string): Size {
  return known.get(part) ?? 1;
}

/** One view from the tensor's axes to the axes of the right side. */
export function view<S extends string, D extends DType>(
  op: string,
  x: Tensor,
  pattern: Pattern,
  known: Known,
): Tensor<S, D> {
  return relaid(
    op,
    x,
    (pattern.inputs[0] ?? []).map((item) => item.parts),
    pattern.output.map((item) => ({ name: item.name ?? '', parts: item.parts })),
    known,
  );
}

/** The tensor with one axis for each elementary axis of the left side. */
export function toParts<D extends DType>(
  op: string,
  x: Tensor<string, D>,
  pattern: Pattern,
  known: Known,
): Tensor<string, D> {
  const split = (pattern.inputs[0] ?? []).map((item) => item.parts);
  return relaid(
    op,
    x,
    split,
    split.flat().map((part) => ({ name: part, parts: [part] })),
    known,
  );
}

/** From elementary axes to the merged axes of the right side. */
export function merged<S extends string, D extends DType>(
  op: string,
  x: Tensor,
  output: readonly Item[],
  known: Known,
): Tensor<S, D> {
  return relaid(
    op,
    x,
    output.flatMap((item) => item.parts).map((part) => [part]),
    output.map((item) => ({ name: item.name ?? '', parts: item.parts })),
    known,
  );
}

function relaid<S extends string, D extends DType>(
  op: string,
  x: Tensor,
  split: readonly (readonly string[])[],
  merge: readonly { readonly name: string; readonly parts: readonly string[] }[],
  known: Known,
): Tensor<S, D> {
  const same =
    split.length === merge.length &&
    merge.every(
      (m, i) =>
        m.parts.length === 1 && split[i]?.length === 1 && split[i][0] === m.parts[0] && x.axes[i]?.name === m.name,
    );
  if (same) return x as Tensor<S, D>;
  return apply(op, rearrangeOp, [x], {
    split: split.map((parts) => [...parts]),
    merge: merge.map((m) => ({ name: m.name, parts: [...m.parts] })),
    sizes: Object.fromEntries(split.flat().map((part) => [part, sizeIn(known, part)])),
  });
}
