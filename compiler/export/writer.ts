// Collects the nodes and initializers of an ONNX graph: unique names, shared constants, and sizes that are known only at run time.
import { create } from '@bufbuild/protobuf';
import { printSize, sizeLeast, type Size, type SizeSymbol } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import {
  AttributeProto_AttributeType as Kind,
  AttributeProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataType as Element,
  TensorProtoSchema,
  type AttributeProto,
  type NodeProto,
  type StringStringEntryProto,
  type TensorProto,
} from './gen/onnx_pb.js';

export { Element };

/** Value of an attribute: bigint and bigint[] are ints, number is a float. */
export type AttrValue = number | bigint | string | readonly bigint[];

/** What all nodes say that are written for one node of our graph. */
export interface Source {
  /** Model path. */
  readonly path: string;
  readonly doc: string;
  readonly properties: readonly (readonly [key: string, value: string])[];
}

/** Opset of everything outside `com.microsoft`. */
export const opset = 20;
export const contrib = 'com.microsoft';

export function property(key: string, value: string): StringStringEntryProto {
  return create(StringStringEntryProtoSchema, { key, value: value.toWellFormed() });
}

export class Writer {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  readonly domains = new Set<string>();
  readonly #names = new Map<string, number>();
  readonly #shared = new Map<string, string>();
  readonly #symbols = new Map<string, string>();
  readonly #renamed = new Map<string, string>();
  #source: Source = { path: '', doc: '', properties: [] };

  // ---- names -----------------------------------------------------------------------------------------------------

  /** This name, or with a number behind it when it is taken; an empty one would mean «absent». */
  unique(wanted: string): string {
    const base = wanted === '' ? '_' : wanted.toWellFormed();
    let name = base;
    let count = this.#names.get(base) ?? 0;
    while (this.#names.has(name)) name = `${base}_${++count}`;
    this.#names.set(base, count);
    if (name !== base) this.#names.set(name, 0);
    return name;
  }

  // ---- nodes -----------------------------------------------------------------------------------------------------

  /** Nodes emitted by `build` belong to this node of our graph; `total` is what is counted once: FLOPs and bytes, at the last of them. */
  within(source: Source, total: Source['properties'], build: () => void): void {
    const outer = this.#source;
    const first = this.nodes.length;
    this.#source = source;
    build();
    this.#source = outer;
    if (this.nodes.length > first)
      this.nodes.at(-1)?.metadataProps.push(...total.map(([key, value]) => property(key, value)));
  }

  emit(
    opType: string,
    inputs: readonly string[],
    attrs: { readonly [name: string]: AttrValue } = {},
    domain = '',
  ): string {
    return this.emitSeveral(opType, inputs, 1, attrs, domain)[0] ?? '';
  }

  /** As `emit`; outputs that are not in `used` are left out. */
  emitSeveral(
    opType: string,
    inputs: readonly string[],
    outputs: number,
    attrs: { readonly [name: string]: AttrValue } = {},
    domain = '',
    used: (output: number) => boolean = () => true,
  ): readonly string[] {
    const { path, doc, properties } = this.#source;
    const name = this.unique(path === '' ? opType : `${path}/${opType}`);
    const names = Array.from({ length: outputs }, (_, i) =>
      !used(i) ? '' : i === 0 ? name : this.unique(`${name}:${i}`),
    );
    this.domains.add(domain);
    this.nodes.push(
      create(NodeProtoSchema, {
        name,
        opType,
        domain,
        input: [...inputs],
        output: names,
        attribute: Object.entries(attrs).map(([key, value]) => attribute(key, value)),
        docString: doc.toWellFormed(),
        metadataProps: properties.map(([key, value]) => property(key, value)),
      }),
    );
    return names;
  }

  /** Makes `tensor` an output of the graph under this name: its own where a node makes it and no other output has renamed it, else by Identity. */
  nameOutput(tensor: string, name: string): void {
    const made = this.nodes.some((node) => node.output.includes(tensor));
    if (made && !this.#renamed.has(tensor)) this.#renamed.set(tensor, name);
    else
      this.nodes.push(
        create(NodeProtoSchema, {
          name: this.unique(`${name}/Identity`),
          opType: 'Identity',
          input: [tensor],
          output: [name],
        }),
      );
  }

  /** The nodes with all names final. */
  finished(): readonly NodeProto[] {
    const final = (tensor: string): string => this.#renamed.get(tensor) ?? tensor;
    for (const node of this.nodes) {
      node.input = node.input.map(final);
      node.output = node.output.map((tensor) => final(tensor));
    }
    return this.nodes;
  }

  // ---- constants -------------------------------------------------------------------------------------------------

  initializer(name: string, type: Element, shape: readonly number[], rawData: Uint8Array): string {
    const unique = this.unique(name);
    this.initializers.push(
      create(TensorProtoSchema, { name: unique, dataType: type, dims: shape.map(BigInt), rawData }),
    );
    return unique;
  }

  /** Numbers as an initializer; equal ones are written once. */
  constant(type: Element, shape: readonly number[], values: ArrayLike<number>): string {
    const bytes = rawBytes(type, values);
    const key = `${type}|${shape.join()}|${bytes.length > 256 ? '' : bytes.join()}`;
    const known = bytes.length > 256 ? undefined : this.#shared.get(key);
    if (known !== undefined) return known;
    const text =
      values.length === 1
        ? String(values[0])
        : values.length <= 6
          ? `[${Array.from(values).join(' ')}]`
          : `of ${values.length}`;
    const name = this.initializer(`const/${(Element[type] ?? '').toLowerCase()} ${text}`, type, shape, bytes);
    if (bytes.length <= 256) this.#shared.set(key, name);
    return name;
  }

  ints(values: readonly number[]): string {
    return this.constant(Element.INT64, [values.length], values);
  }

  int(value: number): string {
    return this.constant(Element.INT64, [], [value]);
  }

  // ---- sizes -----------------------------------------------------------------------------------------------------

  /** The tensor that holds the value of a symbol, int64 of shape [1]. */
  bindSymbol(symbol: SizeSymbol, tensor: string): void {
    this.#symbols.set(symbol.name, tensor);
  }

  /** A size as an int64 tensor of shape [1]. */
  size(size: Size): string {
    if (typeof size === 'number') return this.ints([size]);
    const known = this.#shared.get(`size ${printSize(size)}`);
    if (known !== undefined) return known;
    let sum: string | undefined;
    for (const term of size.terms) {
      const product = term.symbols.map((symbol) => this.#symbol(symbol)).reduce((a, b) => this.emit('Mul', [a, b]));
      const scaled = term.times === 1 ? product : this.emit('Mul', [product, this.ints([term.times])]);
      sum = sum === undefined ? scaled : this.emit('Add', [sum, scaled]);
    }
    const total =
      sum === undefined
        ? this.ints([size.constant])
        : size.constant === 0
          ? sum
          : this.emit('Add', [sum, this.ints([size.constant])]);
    this.#shared.set(`size ${printSize(size)}`, total);
    return total;
  }

  #symbol({ name }: SizeSymbol): string {
    const tensor = this.#symbols.get(name);
    if (tensor === undefined)
      throw new OpabiniaError(`the symbol '${name}' has no value in the exported graph`, { op: 'export' });
    return tensor;
  }

  /** A size as an int64 scalar. */
  scalarSize(size: Size): string {
    return typeof size === 'number' ? this.int(size) : this.emit('Squeeze', [this.size(size), this.ints([0])]);
  }

  /** Sizes laid end to end as one int64 tensor. */
  sizes(list: readonly Size[]): string {
    const fixed = list.filter((size) => typeof size === 'number');
    return fixed.length === list.length
      ? this.ints(fixed)
      : this.emit(
          'Concat',
          list.map((size) => this.size(size)),
          { axis: 0n },
        );
  }

  /** `x` in the shape whose axes are these products of sizes. */
  reshape(x: string, axes: readonly (readonly Size[])[]): string {
    const fixed = axes.map((factors) =>
      factors.reduce<number | undefined>(
        (n, size) => (n === undefined || typeof size !== 'number' ? undefined : n * size),
        1,
      ),
    );
    const open = fixed.filter((size) => size === undefined).length;
    const filled = axes.flat().every((size) => sizeLeast(size) > 0);
    // One open axis follows from the others, unless an empty axis makes it ambiguous.
    if (open === 0 || (open === 1 && filled))
      return this.emit(
        'Reshape',
        [x, this.ints(fixed.map((size) => size ?? -1))],
        fixed.includes(0) ? { allowzero: 1n } : {},
      );
    const parts = axes.map((factors, i) =>
      fixed[i] === undefined
        ? factors.map((size) => this.size(size)).reduce((a, b) => this.emit('Mul', [a, b]))
        : this.ints([fixed[i]]),
    );
    return this.emit('Reshape', [x, this.emit('Concat', parts, { axis: 0n })], { allowzero: 1n });
  }
}

function attribute(name: string, value: AttrValue): AttributeProto {
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: Kind.FLOAT, f: value });
  if (typeof value === 'bigint') return create(AttributeProtoSchema, { name, type: Kind.INT, i: value });
  if (typeof value === 'string')
    return create(AttributeProtoSchema, { name, type: Kind.STRING, s: new TextEncoder().encode(value) });
  return create(AttributeProtoSchema, { name, type: Kind.INTS, ints: [...value] });
}

/** Little-endian bytes of numbers, as ONNX stores them. */
export function rawBytes(type: Element, values: ArrayLike<number>): Uint8Array {
  switch (type) {
    case Element.FLOAT:
      return bytes(Float32Array.from(values));
    case Element.FLOAT16:
      return bytes(Float16Array.from(values));
    case Element.INT32:
      return bytes(Int32Array.from(values));
    case Element.UINT32:
      return bytes(Uint32Array.from(values));
    case Element.INT64:
      return bytes(BigInt64Array.from(Array.from(values, BigInt)));
    case Element.BOOL:
      return Uint8Array.from(values, (x) => (x === 0 ? 0 : 1));
    default:
      throw new TypeError(`constants of ONNX type ${Element[type] ?? type} are not written`);
  }
}

function bytes(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
