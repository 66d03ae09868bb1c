// Golden kind of the connectors that SVA is compared with in Cambrian-1's own code: `linear`, `mlpNx_gelu`, `se_mlp`, `CAbstractor`, `identity`.
import { OpabiniaError } from '../../../dsl/error.ts';
import { rearrange, trace, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { cambrianConv } from '../../../models/connectors/convolutional/cambrian-conv.ts';
import { llava } from '../../../models/connectors/pointwise/llava.ts';
import { seMlp } from '../../../models/connectors/pointwise/se-mlp.ts';
import { asSquareMap } from '../../../models/sequence/regions.ts';
import { OutputRecorder } from '../golden-file.ts';
import type { Kind } from '../kind.ts';

export const baselineProjector: Kind = (file) => {
  const recorder = new OutputRecorder(file);
  const [b = 1, n = 1, c = 1] = file.shape('input.features');
  const graph = trace(
    file.checkpoint,
    (t) => {
      const features = t.input<'b n c', Float>('features', 'b n c', { b, n, c }, file.dtype);
      recorder.take('tokens', tokensOf(file.config.text('type'), t.params, features));
      return recorder.tensors;
    },
    { unread: ['input.', 'output.'] },
  );
  return { graph, inputs: new Map([['features', file.numbers('input.features')]]), host: new Map() };
};

function tokensOf(type: string, p: Params, features: Tensor<'b n c', Float>): Tensor {
  const row = rearrange(features, 'b (h n) c -> b h w=(n) c', { h: 1 });
  const layers = /^mlp([1-9]\d*)x_gelu$/.exec(type)?.[1];
  if (layers !== undefined || type === 'linear') {
    const linears = layers === undefined ? [''] : Array.from({ length: Number(layers) }, (_, i) => 2 * i);
    return llava.build(p, [row], { linears }, {}).tokens;
  }
  switch (type) {
    case 'identity':
      return features;
    case 'se_mlp':
      return seMlp.build(p, [row], { layers: 2 }, {}).tokens;
    case 'CAbstractor':
      return cambrianConv.build(p, [asSquareMap(features)], { hidden: 1024, stride: 2 }, {}).tokens;
    default:
      throw new OpabiniaError(`there is no projector '${type}'`, {
        op: 'verify',
        advice: 'linear, mlpNx_gelu, identity, se_mlp or CAbstractor',
      });
  }
}
