// Parameters as paths: `p.at('layers', 3).get('weight', 'o i')` is the tensor `layers.3.weight` of the checkpoint.
import { isAxisName } from './axis/axes.ts';
import { isSymbolicSize, printAxes, printSize, sizesEqual, type Axis, type Size } from './axis/axis.ts';
import { nearestNames, OpabiniaError, type Where } from './error.ts';
import type { Builder, Node } from './graph/graph.ts';
import type { DType } from './graph/op.ts';
import { isObject, requireOptions, requireText, said } from './graph/required.ts';
import { mapOp } from './ops/map/index.ts';
import { param, typeAttrs } from './ops/source.ts';
import { here } from './origin.ts';
import type { StorageFormat } from './storage/format.ts';
import { unpacked } from './storage/unpack.ts';
import type { Keys, Known } from './axis/argument-types.ts';
import type { Distinct } from './axis/pattern-types.ts';
import { renamed, Tensor, type Float } from './tensor.ts';

/** Where parameter values come from: a checkpoint, numbers in memory, or a seed. */
export interface ParamSource {
  /** The dtype that parameters have in the graph. */
  readonly dtype: Float;
  /** Sizes of the tensor at a path; undefined where there is none. */
  shape(path: string): readonly number[] | undefined;
  /** All paths; undefined when every path exists. */
  names(): Iterable<string> | undefined;
  /** Row-major values; words of codes (`packedAs`) as u32. */
  read(path: string, shape: readonly number[]): Float32Array | Uint32Array;
  /** The format whose planes a tensor is read as: `path#codes`, `path#scales` and others, in the shapes of `planeShapes`. */
  readonly packedAs?: ((path: string) => StorageFormat | undefined) | undefined;
  /** Whether the columns of such a tensor stand in another order in its planes; the place of each is `path#order`, u32. */
  readonly isSorted?: ((path: string) => boolean) | undefined;
  /** The dtype that a tensor is stored in. Where `dtype` is f32, a 16-bit tensor stays 16 bits wide on the device and is widened as it is read. */
  readonly storedAs?: ((path: string) => DType | undefined) | undefined;
}

/** A source that has nothing quantized in it. */
export interface FloatSource extends ParamSource {
  read(path: string, shape: readonly number[]): Float32Array;
}

/** A place in the tree of parameters. Modules take one and read below it. */
export interface Params {
  /** The place at these path segments below this one. */
  at(...path: readonly (string | number)[]): Params;
  /**
   * The tensor `name` below this path. Sizes that are left out come from the checkpoint; given ones are checked against it.
   * Throws `OpabiniaError` for a path that does not exist (with the nearest names), another rank, or another size.
   */
  get<S extends string, Z extends Readonly<Record<string, number>> = Readonly<Record<string, number>>>(
    name: string,
    axes: S & Distinct<S>,
    sizes?: Z & Known<S, Keys<Z>>,
  ): Tensor<S, Float>;
  /**
   * Whether the model has the tensor `name` below this path. Where every path could exist (random parameters), a tensor exists once it has
   * been read, and before that it is as `otherwise` says: a module asks for what is optional, so absent unless it says so.
   */
  has(name: string, otherwise?: boolean): boolean;
  readonly path: string;
}

/** Throws `OpabiniaError` for what is no place in a tree of parameters: callers may be without types. */
export function requireParams(op: string, p: unknown): void {
  if (isObject(p) && typeof p['path'] === 'string' && typeof p['get'] === 'function') return;
  throw new OpabiniaError(`the parameters are ${said(p)}`, {
    op,
    place: here().place,
    advice: "give the place of the module's: t.params.at('fc')",
  });
}

/** The parameters that a trace has read. */
export class ParamReader {
  readonly #builder: Builder;
  readonly #source: ParamSource;
  readonly #nodes = new Map<string, Node>();

  constructor(builder: Builder, source: ParamSource) {
    this.#builder = builder;
    this.#source = source;
  }

  params(path: string): Params {
    const join = (more: readonly (string | number)[]): string => [...(path === '' ? [] : [path]), ...more].join('.');
    return {
      path,
      at: (...more) => this.params(join(more)),
      has: (name, otherwise = false) => this.#has(join([name]), otherwise),
      get: <S extends string>(name: string, axes: S, sizes: Readonly<Record<string, number>> = {}) =>
        this.#get<S>(join([name]), axes, sizes),
    };
  }

  /** The paths of the source that nobody read and that lie under none of the allowed prefixes. */
  unread(allowed: readonly string[]): readonly string[] {
    const under = (path: string) =>
      allowed.some((prefix) => path === prefix || path.startsWith(prefix.endsWith('.') ? prefix : `${prefix}.`));
    // A tensor without elements, as PyTorch stores a part that a config sets to none, has nothing to be read.
    const empty = (path: string) => this.#source.shape(path)?.includes(0) === true;
    return [...(this.#source.names() ?? [])].filter((path) => !this.#nodes.has(path) && !under(path) && !empty(path));
  }

  #has(path: string, otherwise: boolean): boolean {
    if (this.#nodes.has(path) || this.#source.shape(path) !== undefined) return true;
    return this.#source.names() === undefined && otherwise;
  }

  #get<S extends string>(path: string, text: string, sizes: Readonly<Record<string, number>>): Tensor<S, Float> {
    const names = axisList('get', text, path);
    const known = this.#nodes.get(path);
    const shape = known?.type.axes.map((axis) => axis.size) ?? this.#source.shape(path);
    if (shape === undefined && this.#source.names() !== undefined) throw this.#missing(path);
    const isStored = this.#source.shape(path) !== undefined;
    const axes = statedAxes(path, names, { shape, isStored }, sizes);
    if (known !== undefined) {
      // One path is one node; other names for its axes are a view.
      const first = new Tensor<string, Float>(this.#builder, known);
      return renamed('get', first, new Map(first.axes.map((axis, i) => [axis.name, names[i] ?? axis.name])));
    }
    const { dtype } = this.#source;
    const format = this.#source.packedAs?.(path);
    if (format !== undefined) {
      const form = { format, isSorted: this.#source.isSorted?.(path) === true };
      const whole = unpacked(this.#builder, path, form, axes, dtype);
      this.#nodes.set(path, whole.node);
      return new Tensor<S, Float>(this.#builder, whole.node);
    }
    const stored = this.#source.storedAs?.(path);
    const isNarrow = dtype === 'f32' && (stored === 'f16' || stored === 'bf16');
    const raw = this.#builder.make(
      param,
      [],
      { ...typeAttrs(axes, isNarrow ? stored : dtype), name: path },
      here(path),
    );
    const node = isNarrow ? this.#builder.make(mapOp('cast'), [raw], { to: dtype }, here(path)) : raw;
    this.#nodes.set(path, node);
    return new Tensor<S, Float>(this.#builder, node);
  }

  #missing(path: string): OpabiniaError {
    const near = nearest(path, [...(this.#source.names() ?? [])]);
    return new OpabiniaError(`the checkpoint has no tensor '${path}'`, {
      op: 'get',
      path,
      place: here().place,
      advice:
        near.length === 0 ? 'the checkpoint is empty' : `did you mean ${near.map((name) => `'${name}'`).join(', ')}?`,
    });
  }
}

/** Nearest names. In a checkpoint of thousands, those of about the same length and beginning are compared. */
function nearest(path: string, names: readonly string[]): readonly string[] {
  const close =
    names.length > 2000
      ? names.filter((name) => Math.abs(name.length - path.length) <= 8 && name.slice(-3) === path.slice(-3))
      : names;
  return nearestNames(path, close.length === 0 ? names.slice(0, 2000) : close);
}

/** Names in a list such as `'o i'`. Throws for a name that stands twice or is not a name. */
export function axisList(op: string, text: string, path = ''): readonly string[] {
  requireText(op, text, 'the axes', "'b n d'");
  const names = text.split(' ').filter((name) => name !== '');
  const refuse = (what: string, advice?: string) =>
    new OpabiniaError(`${what} in '${text}'`, { op, path, place: here().place, advice });
  const wrong = names.find((name) => !isAxisName(name));
  if (wrong !== undefined)
    throw refuse(`'${wrong}' is not an axis name`, "axes are letters, digits and '_', with spaces between them");
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw refuse(`axis '${twice}' stands twice`, 'give each axis its own name');
  return names;
}

/** Thrown where nothing says how long an axis is; a function whose caller knows it by another name says that one. */
export class MissingSize extends OpabiniaError {
  readonly axis: string;

  constructor(axis: string, what: string, where: Where) {
    super(what, where);
    this.axis = axis;
  }
}

/** Runs `read`; where the size of `axis` is missing, the error names the option of `name` that gives it. */
export function withOption<T>(name: string, axis: string, option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MissingSize) || error.axis !== axis) throw error;
    throw new OpabiniaError(`the number of outputs is not known: no checkpoint says it, and no option does`, {
      op: name,
      path: error.path,
      place: error.place,
      advice: `give it: { ${option}: 64 }`,
    });
  }
}

/** The sizes of a list of axes. Throws for a missing size, a size of no axis, and for what is not a size. */
export function sizedAxes(
  op: string,
  names: readonly string[],
  sizes: Readonly<Record<string, Size>>,
  path = '',
): readonly Axis[] {
  requireOptions(op, sizes, `{ ${names.map((name) => `${name}: 2`).join(', ')} }`, 'the sizes');
  const refuse = (what: string, advice?: string) => new OpabiniaError(what, { op, path, place: here().place, advice });
  const stray = Object.keys(sizes).find((name) => !names.includes(name));
  if (stray !== undefined) throw refuse(`a size is given for '${stray}', and the axes are '${names.join(' ')}'`);
  return names.map((name) => {
    const size = sizes[name];
    if (size === undefined)
      throw new MissingSize(name, `axis '${name}' of '${names.join(' ')}' has no size`, {
        op,
        path,
        place: here().place,
        advice: `give it: { ${name}: 2 }`,
      });
    if (typeof size !== 'number' && !(isObject(size) && isSymbolicSize(size)))
      throw refuse(`the size of axis '${name}' is ${said(size)}`, 'give a number, or a symbol: n of t.symbol');
    if (typeof size === 'number' && !(Number.isInteger(size) && size >= 0))
      throw refuse(`the size of axis '${name}' is ${size}, no whole number`);
    return { name, size };
  });
}

/** One axis of this name. Throws for a list of names, and for what is not a size. */
export function oneAxis(op: string, name: string, size: Size): Axis {
  const names = axisList(op, name);
  const [axis] = names.length === 1 ? sizedAxes(op, names, { [names[0] ?? '']: size }) : [];
  if (axis === undefined)
    throw new OpabiniaError(`'${name}' is ${names.length} axes, and one is made`, {
      op,
      place: here().place,
      advice: `give one name, such as '${names[0] ?? 'n'}'`,
    });
  return axis;
}

function statedAxes(
  path: string,
  names: readonly string[],
  { shape, isStored }: { readonly shape: readonly Size[] | undefined; readonly isStored: boolean },
  sizes: Readonly<Record<string, number>>,
): readonly Axis[] {
  if (shape === undefined) return sizedAxes('get', names, sizes, path);
  const found = `[${shape.map(printSize).join(' ')}]`;
  const refuse = (what: string) =>
    new OpabiniaError(
      isStored ? `the tensor has shape ${found} in the checkpoint, ${what}` : `it was read before as ${found}, ${what}`,
      {
        op: 'get',
        path,
        place: here().place,
        advice: isStored
          ? 'the checkpoint and the config may belong to different models'
          : "one path is one parameter: give each its own, as p.at('second')",
      },
    );
  if (shape.length !== names.length)
    throw refuse(`which is ${shape.length} axes, and '${names.join(' ')}' is ${names.length}`);
  const axes = names.map((name, i) => ({ name, size: shape[i] ?? 0 }));
  const wanted = axes.map((axis) => ({ name: axis.name, size: sizes[axis.name] ?? axis.size }));
  if (axes.some((axis, i) => !sizesEqual(axis.size, wanted[i]?.size ?? -1)))
    throw refuse(`and the model wants ${printAxes(wanted)}`);
  const stray = Object.keys(sizes).find((name) => !names.includes(name));
  if (stray !== undefined) sizedAxes('get', names, sizes, path);
  return axes;
}
