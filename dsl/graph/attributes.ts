// Attributes, typed: a record says field by field what its op holds, and whoever reads gets exactly that, or an error.
import { isSymbolicSize, type Axis, type Size } from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import { isDType, type Attr, type Attrs, type DType, type Reader } from './op.ts';

/** One attribute: undefined when what stands there is something else. */
export interface Field<T> {
  readonly is: string;
  read(attr: Attr | undefined): T | undefined;
}

type Values<F> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** The reader of these fields. Attributes never change, so each is read once: an interpreter asks for every element. */
export function attributes<const F extends Readonly<Record<string, Field<unknown>>>>(
  op: string,
  fields: F,
): Reader<Values<F>> {
  const known = new WeakMap<Attrs, Values<F>>();
  return (attrs) => {
    const found = known.get(attrs);
    if (found !== undefined) return found;
    const values = Object.fromEntries(
      Object.entries(fields).map(([key, field]) => {
        const given = attrs[key];
        const value = field.read(given);
        if (value === undefined)
          throw new OpabiniaError(
            given === undefined
              ? `the attribute '${key}' is missing`
              : `the attribute '${key}' is ${typeof given === 'number' ? `${given}, which is ` : ''}not ${field.is}`,
            { op, advice: `'${key}' is ${field.is}` },
          );
        return [key, value];
      }),
    ) as Values<F>;
    known.set(attrs, values);
    return values;
  };
}

// ---- fields ---------------------------------------------------------------------------------------------------------

const isList = (attr: Attr | undefined): attr is readonly Attr[] => Array.isArray(attr);

const isRecord = (attr: Attr | undefined): attr is Attrs =>
  typeof attr === 'object' && !isList(attr) && !(attr instanceof Float64Array) && !isSymbolicSize(attr);

const isWhole = (attr: Attr | undefined): attr is number => Number.isSafeInteger(attr);

export const text: Field<string> = { is: 'a word', read: (attr) => (typeof attr === 'string' ? attr : undefined) };
export const number: Field<number> = { is: 'a number', read: (attr) => (typeof attr === 'number' ? attr : undefined) };
export const size: Field<Size> = {
  is: 'a size: a whole number, or one of symbols',
  read: (attr) =>
    isWhole(attr) || (typeof attr === 'object' && !isList(attr) && isSymbolicSize(attr)) ? attr : undefined,
};
export const numbers: Field<Float64Array> = {
  is: 'a list of numbers',
  read: (attr) => (attr instanceof Float64Array ? attr : undefined),
};
export const flag: Field<boolean> = {
  is: 'true or false',
  read: (attr) => (typeof attr === 'boolean' ? attr : undefined),
};
export const dtype: Field<DType> = { is: 'a dtype', read: (attr) => (isDType(attr) ? attr : undefined) };

/** An attribute that may be left out. */
export const otherwise = <T>(field: Field<T>, value: T): Field<T> => ({
  is: field.is,
  read: (attr) => (attr === undefined ? value : field.read(attr)),
});

const listOf = <T>(item: Field<T>, is: string): Field<readonly T[]> => ({
  is,
  read(attr) {
    if (!isList(attr)) return undefined;
    const items = attr.map((entry) => item.read(entry));
    return items.every((entry) => entry !== undefined) ? items : undefined;
  },
});

/** The names of axes. */
export const names: Field<readonly string[]> = listOf(text, 'a list of axis names');

/** For each axis the names of its parts. */
export const parts: Field<readonly (readonly string[])[]> = listOf(names, 'a list of lists of axis names');

/** Two names of axes. */
export const pair: Field<readonly [string, string]> = {
  is: 'two axis names',
  read(attr) {
    const [first, second, ...more] = names.read(attr) ?? [];
    return first === undefined || second === undefined || more.length > 0 ? undefined : [first, second];
  },
};

/** Axes with their sizes. */
export const axes: Field<readonly Axis[]> = listOf<Axis>(
  {
    is: 'an axis',
    read(attr) {
      if (!isRecord(attr)) return undefined;
      const [name, extent] = [text.read(attr['name']), size.read(attr['size'])];
      return name === undefined || extent === undefined ? undefined : { name, size: extent };
    },
  },
  'a list of axes',
);

/** One output axis of a rearrange: its name, and the elementary axes merged into it, outermost first. */
export type Merged = { readonly name: string; readonly parts: readonly string[] };

export const merges: Field<readonly Merged[]> = listOf<Merged>(
  {
    is: 'a merged axis',
    read(attr) {
      if (!isRecord(attr)) return undefined;
      const [name, inner] = [text.read(attr['name']), names.read(attr['parts'])];
      return name === undefined || inner === undefined ? undefined : { name, parts: inner };
    },
  },
  'a list of merged axes',
);

/** Sizes by name. */
export const sizes: Field<{ readonly [part: string]: Size }> = {
  is: 'a record of sizes',
  read(attr) {
    if (!isRecord(attr)) return undefined;
    const read = Object.entries(attr).map(([name, value]) => [name, size.read(value)] as const);
    return read.every((entry): entry is readonly [string, Size] => entry[1] !== undefined)
      ? Object.fromEntries(read)
      : undefined;
  },
};

// ---- what several kinds have in common ------------------------------------------------------------------------------

const readAlong = attributes('axis', { axis: text });

/** The axis that a slice, pad, flip, window, join, gather, scatter or sort goes along. */
export function alongAxis(node: { readonly attrs: Attrs }): string {
  return readAlong(node.attrs).axis;
}
