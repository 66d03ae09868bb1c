// Two small models that move tensors on and off ONNX Runtime's device: its binding for Node has no calls for that.
import { create } from '@bufbuild/protobuf';
import { NodeProtoSchema, TensorProtoSchema } from '../../compiler/export/gen/onnx_pb.js';
import { oneNodeModel } from './one-node-model.ts';
import type { Port } from './protocol.ts';

/** y = x: an input copied to the device, or an output from it, by where the session keeps its outputs. */
export function identityModel(port: Port): Uint8Array {
  return oneNodeModel({
    input: { ...port, name: 'x' },
    output: { ...port, name: 'y' },
    node: create(NodeProtoSchema, { opType: 'Identity', name: 'identity', input: ['x'], output: ['y'] }),
  });
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
  return oneNodeModel({
    input: { ...port, name: 'x' },
    output: { ...port, name: 'y', sizes: port.sizes.map(() => 1) },
    node: create(NodeProtoSchema, { opType: 'Slice', name: 'first', input: ['x', 'starts', 'ends'], output: ['y'] }),
    initializer: [ints('starts', 0), ints('ends', 1)],
  });
}
