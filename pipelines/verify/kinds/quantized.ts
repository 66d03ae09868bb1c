// Golden kinds of quantized weights: the numbers of one matrix, bit for bit, its product with five rows, and its blocks where the file has
// what they were made of.
import { einsum, OpabiniaError, trace, type ParamSource } from '../../../dsl/index.ts';
import { affine, type ScaleDType } from '../../../dsl/storage/affine.ts';
import { decodeBlocks, encodeBlocks, type StorageFormat } from '../../../dsl/storage/format.ts';
import { blockFormats, storageFormat } from '../../../dsl/storage/index.ts';
import { packedCheckpoint } from '../../../runtime/checkpoint/packed/packed-checkpoint.ts';
import { packedConfig } from '../../../runtime/checkpoint/packed/packed-config.ts';
import { storedSource } from '../../../runtime/checkpoint/packed/plane-source.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';
import { compare, type Comparison, type Tolerance } from '../verdict.ts';

const exact: Tolerance = { absolute: 0, relative: 0 };

/** `input.blocks` of one of ggml's formats. */
export const quantBlock: Kind = (file) => {
  const name = file.config.text('format');
  const format = storageFormat(name);
  if (format === undefined)
    throw new OpabiniaError(`there is no storage format '${name}'`, {
      op: 'verify',
      advice: `one of ${blockFormats.map((known) => known.name).join(', ')}`,
    });
  const bytes = Uint8Array.from(file.numbers('input.blocks'));
  const shape = file.shape('output.dequantised');
  const values = decodeBlocks(format, bytes);
  const row = bytes.length / (shape[0] ?? 1);
  const source = storedSource({
    dtype: file.dtype,
    names: () => ['layer.weight'],
    shape: (path) => (path === 'layer.weight' ? shape : undefined),
    read: () => values,
    blocks: () => ({ format, read: (first, count) => bytes.subarray(first * row, (first + count) * row) }),
  });
  return productWith(file, format, source);
};

/** `layer.*` as MLX, compressed-tensors, AWQ and GPTQ store it. */
export const quantAffine: Kind = (file) => {
  const stated = file.config.raw('checkpoint_config');
  const config = packedConfig(
    typeof stated === 'object' && stated !== null ? { ...stated } : {},
    `the config of ${file.path}`,
  );
  if (config === undefined)
    throw new OpabiniaError(`${file.path} states no quantization`, { op: 'verify', advice: 'the file may be damaged' });
  const bits = file.config.count('bits');
  return productWith(
    file,
    config.method !== 'mlx' || (bits !== 4 && bits !== 8)
      ? undefined
      : affine({
          bits,
          group: file.config.count('group_size'),
          scale: scaleOf(file.config.text('scale_dtype')),
          offset: 'bias',
        }),
    storedSource(packedCheckpoint(file.checkpoint, config)),
  );
};

function scaleOf(name: string): ScaleDType {
  return name === 'bf16' || name === 'f32' ? name : 'f16';
}

function productWith(file: GoldenFile, encoder: StorageFormat | undefined, source: ParamSource): GoldenModel {
  const graph = trace(
    source,
    (t) => {
      const weight = t.params.at('layer').get('weight', 'n k');
      const x = t.input('x', 'm k', { m: file.size('input.x', 0), k: file.size('input.x', 1) }, file.dtype);
      return { dequantised: weight, product: einsum(x, weight, 'm k, n k -> m n') };
    },
    { unread: 'ignore' },
  );
  return {
    graph,
    source,
    inputs: new Map([['x', file.numbers('input.x')]]),
    host: new Map(),
    beside: (name) => name === 'product_bound',
    tolerance: (name) =>
      name === 'product' && file.has('output.product_bound')
        ? { absolute: 0, relative: 0, each: file.numbers('output.product_bound') }
        : exact,
    ...(encoder?.encode === undefined || !file.has('input.weights') ? {} : { also: [encoded(file, encoder)] }),
  };
}

/** What our encoder makes of the file's weights, beside its blocks, or, where they lie otherwise, beside what they mean. */
function encoded(file: GoldenFile, encoder: StorageFormat): Comparison {
  const bytes = encodeBlocks(encoder, Float32Array.from(file.numbers('input.weights')));
  return file.has('input.blocks')
    ? compare('encoded', file.shape('input.blocks'), bytes, file.numbers('input.blocks'), 'f32', exact)
    : compare(
        'encoded',
        file.shape('output.dequantised'),
        decodeBlocks(encoder, bytes),
        file.numbers('output.dequantised'),
        'f32',
        exact,
      );
}
