// Two small models that move tensors on and off ONNX Runtime's device: its binding for Node has no calls for that.
import { create, toBinary } from '@bufbuild/protobuf';
import {
  ModelProtoSchema,
  NodeProtoSchema,
  GraphProtoSchema,
  OperatorSetIdProtoSchema,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
  type NodeProto,
  type TensorProto,
} from '../../compiler/export/gen/onnx_pb.js';
import type { Port } from './protocol.ts';

/** ONNX's numbers of element types. */
const elements: Readonly<Record<string, number>> = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10 };

function value(name: string, dtype: string, sizes: readonly number[]) {
  const dim = sizes.map((size) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: 'dimValue', value: BigInt(size) } }),
  );
  const tensorType = create(TypeProto_TensorSchema, {
    elemType: elements[dtype] ?? 1,
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensorType } }),
  });
}

function model(port: Port, node: NodeProto, initializer: TensorProto[], sizes: readonly number[]): Uint8Array {
  const graph = create(GraphProtoSchema, {
    name: node.opType,
    node: [node],
    initializer,
    input: [value('x', port.dtype, port.sizes)],
    output: [value('y', port.dtype, sizes)],
  });
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 10n,
      graph,
      opsetImport: [create(OperatorSetIdProtoSchema, { domain: '', version: 20n })],
    }),
  );
}

/** y = x: an input copied to the device, or an output from it, by where the session keeps its outputs. */
export function identityModel(port: Port): Uint8Array {
  return model(
    port,
    create(NodeProtoSchema, { opType: 'Identity', name: 'identity', input: ['x'], output: ['y'] }),
    [],
    port.sizes,
  );
}

/** y = the first element of x: read, it tells that x is there. */
export function firstElementModel(port: Port): Uint8Array {
  const ints = (name: string, of: number) =>
    create(TensorProtoSchema, {
      name,
      dims: [BigInt(port.sizes.length)],
      dataType: 7,
      rawData: new Uint8Array(BigInt64Array.from(port.sizes, () => BigInt(of)).buffer),
    });
  const node = create(NodeProtoSchema, {
    opType: 'Slice',
    name: 'first',
    input: ['x', 'starts', 'ends'],
    output: ['y'],
  });
  return model(
    port,
    node,
    [ints('starts', 0), ints('ends', 1)],
    port.sizes.map(() => 1),
  );
}
