// Golden files of connectors that keep every token.
import { OpabiniaError } from '../../../dsl/error.ts';
import { llava } from '../../../models/connectors/pointwise/llava.ts';
import { llavaConnector, normedProjector, poolerProjector } from '../../../models/connectors/mlp.ts';
import type { Adapters } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-mlp': (golden) => {
    const type = golden.config.text('mm_projector_type');
    const layers = type === 'linear' ? 1 : Number(/^mlp([1-9]\d*)x_gelu$/.exec(type)?.[1]);
    if (!(layers >= 1)) throw new OpabiniaError(`there is no projector '${type}'`, { op: 'verify' });
    const linears = type === 'linear' ? [''] : Array.from({ length: layers }, (_, i) => 2 * i);
    golden.takeTokens(llava.build(golden.params, [golden.rowMap()], { linears }, {}));
  },
  'llava-mlp-res': (golden) =>
    golden.take(
      'tokens',
      llavaConnector(golden.config.text('mm_projector_type'), golden.params, golden.input('features', 'b n c')),
    ),
  'llava-next-pooler': (golden) => golden.take('tokens', poolerProjector(golden.params, golden.squareMap())),
  'vip-llava': (golden) =>
    golden.take(
      'tokens',
      normedProjector(golden.params, golden.input('features', 'b n c'), { eps: golden.config.number('ln_eps', 1e-5) }),
    ),
};
