// A rearrange's attributes as the pattern a person would write, and back: `b n (h d) -> b h n d`.
import { printSize, sizesEqual, type Axis, type Size } from '../axis/axis.ts';
import { attributes, merges, parts, sizes, type Merged } from '../graph/attributes.ts';
import type { Attr, Attrs, Read } from '../graph/op.ts';

/**
 * Splits, permutes, renames and merges axes; one to one.
 * `split`: for each input axis its elementary axes; `merge`: the output axes; `sizes`: the size of each elementary axis.
 */
export const readRearrange = attributes('rearrange', { split: parts, merge: merges, sizes });
export type RearrangeAttrs = Read<typeof readRearrange>;

const plain = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Attributes `pattern` and, where an axis is split, `sizes` of its parts; the operand's axes say the rest.
 * Undefined when the attributes are not of that form: names that are not plain words, sizes that differ from the operand's.
 */
export function writePattern(attrs: Attrs, operand: readonly Axis[]): Attrs | undefined {
  const { split, merge, sizes } = readRearrange(attrs);
  if (Object.keys(attrs).length !== 3 || split.length !== operand.length) return undefined;
  const parts = split.flat();
  const known = new Set(parts);
  if (
    known.size !== parts.length ||
    Object.keys(sizes).length !== parts.length ||
    ![...parts, ...merge.map((m) => m.name), ...merge.flatMap((m) => m.parts)].every((name) => plain.test(name))
  )
    return undefined;
  const extra: Record<string, Size> = {};
  for (const [i, names] of split.entries()) {
    const [name] = names;
    const whole = operand[i]?.size ?? 0;
    for (const part of names) {
      const size = sizes[part];
      if (size === undefined || (name !== undefined && names.length === 1 && !sizesEqual(size, whole)))
        return undefined;
      if (names.length > 1) extra[part] = size;
    }
  }
  const pattern =
    `${split.map((names) => side(names)).join(' ')} -> ${merge.map((m) => (m.parts.length === 1 && m.parts[0] === m.name ? m.name : `${m.name}=${group(m.parts)}`)).join(' ')}`.trim();
  return Object.keys(extra).length === 0 ? { pattern } : { pattern, sizes: extra };
}

const group = (names: readonly string[]): string => `(${names.join(' ')})`;
const side = (names: readonly string[]): string => (names.length === 1 ? (names[0] ?? '') : group(names));

/** The attributes that `writePattern` wrote, and those without a pattern as they are; a text says what is wrong with the pattern. */
export function readPattern(attrs: Attrs, operand: readonly Axis[]): Attrs | string {
  const text = attrs['pattern'];
  if (typeof text !== 'string') return attrs;
  const other = Object.keys(attrs).find((key) => key !== 'pattern' && key !== 'sizes');
  if (other !== undefined) return `beside a pattern there is no attribute '${other}'`;
  const [before, after, ...more] = text.split('->');
  if (before === undefined || after === undefined || more.length > 0) return `the pattern '${text}' needs one '->'`;
  const left = readSide(before);
  const right = readSide(after);
  if (left === undefined || right === undefined)
    return `the pattern '${text}' is not made of names, (groups) and name=(groups)`;
  if (left.some((item) => item.named)) return `the pattern '${text}' may name a merged axis only after '->'`;
  if (left.length !== operand.length)
    return `the pattern '${text}' has ${left.length} axes before '->', the operand has ${operand.length}`;
  if (right.some((item) => item.parts.length !== 1 && !item.named))
    return `the pattern '${text}' needs a name for the merged axis, as in q=(h w)`;
  const given = (attrs['sizes'] ?? {}) as { readonly [part: string]: Attr };
  const sizes: Record<string, Attr> = { ...given };
  for (const [i, item] of left.entries()) {
    const [name] = item.parts;
    const size = operand[i]?.size;
    if (item.parts.length === 1 && name !== undefined && size !== undefined) {
      if (sizes[name] !== undefined && sizes[name] !== size)
        return `'${name}' is the whole of an axis of size ${printSize(size)}`;
      sizes[name] = size;
    }
  }
  const all = left.flatMap((item) => item.parts);
  const stray = Object.keys(sizes).find((name) => !all.includes(name));
  if (stray !== undefined) return `sizes has '${stray}', which the pattern '${text}' does not split into`;
  const missing = all.find((name) => sizes[name] === undefined);
  if (missing !== undefined) return `the size of '${missing}' is missing, as in sizes={${missing}=2}`;
  const placed = right.flatMap((item) => item.parts);
  const odd =
    placed.find((name) => !all.includes(name)) ??
    all.find((name) => !placed.includes(name)) ??
    placed.find((name, i) => placed.indexOf(name) !== i);
  if (odd !== undefined) return `'${odd}' must stand once on each side of '->' in '${text}'`;
  return {
    split: left.map((item) => item.parts),
    merge: right.map((item): Merged & { readonly [key: string]: Attr } => ({ name: item.name, parts: item.parts })),
    sizes,
  };
}

interface Item {
  readonly name: string;
  readonly parts: readonly string[];
  readonly named: boolean;
}

function readSide(text: string): readonly Item[] | undefined {
  const items: Item[] = [];
  const rest = text.replaceAll(
    /(?:([A-Za-z_]\w*)=)?\(([\w ]*)\)|[A-Za-z_]\w*/g,
    (whole: string, name: string | undefined, inside: string | undefined) => {
      const parts = inside === undefined ? [whole] : inside.split(' ').filter((part) => part !== '');
      items.push({ name: name ?? parts[0] ?? '', parts, named: name !== undefined });
      return '';
    },
  );
  return rest.trim() === '' ? items : undefined;
}
