// A model of one node in ONNX, for what our own export does not write.
import { create, toBinary } from '@bufbuild/protobuf';
import {
  GraphProtoSchema,
  ModelProtoSchema,
  OperatorSetIdProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
  type NodeProto,
  type TensorProto,
} from '../../compiler/export/gen/onnx_pb.js';

/** ONNX's numbers of element types. */
const elements: Readonly<Record<string, number>> = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10 };

interface Value {
  readonly name: string;
  readonly dtype: string;
  readonly sizes: readonly number[];
}

export interface OneNode {
  readonly input: Value;
  readonly output: Value;
  readonly node: NodeProto;
  readonly initializer?: readonly TensorProto[] | undefined;
  /** Of the node's operator; ONNX's own where it is left out. */
  readonly domain?: string | undefined;
}

export function oneNodeModel({ input, output, node, initializer = [], domain }: OneNode): Uint8Array<ArrayBuffer> {
  const graph = create(GraphProtoSchema, {
    name: node.opType,
    node: [node],
    initializer: [...initializer],
    input: [valueInfo(input)],
    output: [valueInfo(output)],
  });
  const opset = (of: string, version: bigint) => create(OperatorSetIdProtoSchema, { domain: of, version });
  const opsetImport = [opset('', 20n), ...(domain === undefined ? [] : [opset(domain, 1n)])];
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 10n, graph, opsetImport }));
}

function valueInfo({ name, dtype, sizes }: Value) {
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
