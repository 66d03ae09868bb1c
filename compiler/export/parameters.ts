// Parameters as initializers: in the file that holds them, in one that is written for the model, or in the model itself.
import { create } from '@bufbuild/protobuf';
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { TensorProto_DataLocation, TensorProtoSchema, type NodeProto } from './gen/onnx_pb.js';
import { castTo, elementOf } from './maps.ts';
import type { StoredWeight, Weights } from './onnx-model.ts';
import { rawBytes, Element, property, type Writer } from './writer.ts';

const embeddedLimit = 1.5e9;

/** A parameter that gets its place when it is known in which orders it is read. */
interface Ordered {
  readonly path: string;
  readonly shape: readonly number[];
  readonly order: readonly number[];
}

export class Parameters {
  readonly #writer: Writer;
  readonly #weights: Weights;
  readonly #ordered = new Map<string, Ordered>();
  #embedded = 0;

  constructor(writer: Writer, weights: Weights) {
    this.#writer = writer;
    this.#weights = weights;
  }

  /** The tensor that holds it; a cast where its file has another dtype. */
  tensor(dtype: DType, path: string, shape: readonly number[]): string {
    if (dtype === 'f32' && this.#weights.placeInOrder !== undefined) {
      const name = this.#writer.unique(path);
      this.#ordered.set(name, { path, shape, order: shape.map((_, i) => i) });
      return name;
    }
    const stored = this.#weights.placeOf?.(path, shape);
    if (stored === undefined) return this.#inModel(dtype, path, shape);
    const name = this.#writer.unique(path);
    return this.#atPlace(name, stored, shape) === elementOf[dtype]
      ? name
      : castTo(this.#writer, name, elementOf[dtype]);
  }

  /** A parameter with its axes in another order, where it can be stored so. */
  reordered(tensor: string, order: readonly number[]): string | undefined {
    const known = this.#ordered.get(tensor);
    if (known === undefined) return undefined;
    const name = this.#writer.unique(`${tensor}|${order.join()}`);
    this.#ordered.set(name, { ...known, order: order.map((place) => known.order[place] ?? place) });
    return name;
  }

  /** Initializers of those that a node reads, now that all nodes are there. */
  finish(nodes: readonly NodeProto[]): void {
    const read = new Set(nodes.flatMap((node) => node.input));
    for (const [name, { path, shape, order }] of this.#ordered) {
      const stored = read.has(name) ? this.#weights.placeInOrder?.(path, shape, order) : undefined;
      if (stored === undefined) continue;
      const type = this.#atPlace(
        name,
        stored,
        order.map((place) => shape[place] ?? 0),
      );
      if (type !== Element.FLOAT) throw new TypeError(`${path} is to be stored in f32 where its order is chosen`);
    }
  }

  #inModel(dtype: DType, path: string, shape: readonly number[]): string {
    const bytes = rawBytes(elementOf[dtype], this.#weights.read(path, shape));
    this.#embedded += bytes.length;
    if (this.#embedded > embeddedLimit)
      throw new OpabiniaError(`the parameters are more than ${embeddedLimit} bytes, which no single model file holds`, {
        op: 'export',
        path,
        advice: 'keep them in files beside the model: export from a checkpoint directory',
      });
    return this.#writer.initializer(path, elementOf[dtype], shape, bytes);
  }

  #atPlace(name: string, stored: StoredWeight, shape: readonly number[]): Element {
    const type = ({ F64: Element.DOUBLE, F32: Element.FLOAT, F16: Element.FLOAT16, BF16: Element.BFLOAT16 } as const)[
      stored.dtype
    ];
    this.#writer.initializers.push(
      create(TensorProtoSchema, {
        name,
        dataType: type,
        dims: shape.map(BigInt),
        dataLocation: TensorProto_DataLocation.EXTERNAL,
        externalData: [
          ['location', stored.location],
          ['offset', String(stored.offset)],
          ['length', String(stored.length)],
        ].map(([key = '', value = '']) => property(key, value)),
      }),
    );
    return type;
  }
}
