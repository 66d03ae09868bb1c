// Weights in four bits times one vector, as every token of an answer multiplies them: ONNX Runtime's MatMulNBits beside our kernels, on the same codes.
import { create } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
} from '../../compiler/export/gen/onnx_pb.js';
import { linear, trace, type FloatSource } from '../../dsl/index.ts';
import { encodeBlocks } from '../../dsl/storage/format.ts';
import { q4_0 } from '../../dsl/storage/q4.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { benchParams, inputFacts, outputFacts, uniform, type BenchCase, type Scale, type Work } from '../case.ts';
import { oneNodeModel } from '../peers/one-node-model.ts';

const path = 'linear.weight';

function gemv(scale: Scale, full: number): Work {
  const [from, to] = scale === 'full' ? [4096, full] : [128, 96];
  const made = benchParams();
  let weights: Float32Array | undefined;
  // Panels are quantized one by one, and each asks for the matrix.
  const floats: FloatSource = {
    ...made,
    read: (name, shape) => (name === path ? (weights ??= made.read(name, shape)) : made.read(name, shape)),
  };
  const packed = quantizedSource(
    { ...floats, shape: (name) => (name === path ? [to, from] : undefined) },
    { format: 'q4' },
  );
  const graph = trace(packed, (t) => ({
    y: linear(t.params.at('linear'), t.input('x', 'n i', { n: 1, i: from }), 'o', { size: to, bias: false }),
  }));
  return {
    graph,
    source: floats,
    packed,
    inputs: { x: uniform(from, 7) },
    model: () => matMulNBits(floats.read(path, [to, from]), to, from),
  };

  function matMulNBits(weights: Float32Array, n: number, k: number): Uint8Array {
    const blocks = encodeBlocks(q4_0, weights);
    const view = new DataView(blocks.buffer);
    const { block, bytes, planes } = q4_0;
    if (planes === undefined) throw new TypeError('q4_0 has planes');
    const count = (n * k) / block;
    const [codes, scales] = [new Uint8Array((n * k) / 2), new Float32Array(count)];
    for (let b = 0; b < count; b++) {
      scales[b] = planes.scale(view, b * bytes, 0);
      // Two neighbours in a byte, the first in its lower half; a code of 8 is zero there as here.
      for (let e = 0; e < block; e += 2)
        codes[(b * block + e) / 2] = planes.code(view, b * bytes, e) | (planes.code(view, b * bytes, e + 1) << 4);
    }
    const perRow = k / block;
    const integer = (name: string, value: number) =>
      create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) });
    const [x] = inputFacts(graph);
    const [y] = outputFacts(graph);
    if (x === undefined || y === undefined) throw new TypeError('a product has an input and an output');
    return oneNodeModel({
      input: { ...x, name: x.name, sizes: x.axes.map(({ size }) => size) },
      output: { ...y, name: y.name, sizes: y.axes.map(({ size }) => size) },
      domain: 'com.microsoft',
      node: create(NodeProtoSchema, {
        opType: 'MatMulNBits',
        domain: 'com.microsoft',
        name: 'product',
        input: [x.name, 'codes', 'scales'],
        output: [y.name],
        attribute: [integer('K', k), integer('N', n), integer('bits', 4), integer('block_size', block)],
      }),
      initializer: [
        create(TensorProtoSchema, {
          name: 'codes',
          dims: [n, perRow, block / 2].map(BigInt),
          dataType: 2,
          rawData: codes,
        }),
        create(TensorProtoSchema, {
          name: 'scales',
          dims: [BigInt(n * perRow)],
          dataType: 1,
          rawData: new Uint8Array(scales.buffer),
        }),
      ],
    });
  }
}

export const quantizedCases: readonly BenchCase[] = [
  {
    name: 'q4-gemv',
    about: 'weights of 4 bits, 4096 × 4096, in blocks of 32, times a vector, f32',
    build: (scale) => gemv(scale, 4096),
  },
  {
    name: 'q4-gemv-14336',
    about: 'weights of 4 bits, 4096 × 14336, in blocks of 32, times a vector, f32',
    hardware: true,
    build: (scale) => gemv(scale, 14336),
  },
];
