// Golden files of connectors that average or pick neighbouring tokens.
import { rearrange } from '../../../dsl/index.ts';
import { poolMap } from '../../../models/connectors/mlp.ts';
import type { Adapters } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-next-2dpool': (golden) => {
    for (const mode of ['average', 'max', 'bilinear'] as const) {
      const map = poolMap(golden.gridMap(), mode, golden.config.number('stride'));
      golden.take(mode, rearrange(map, 'b h w c -> b n=(h w) c'));
    }
  },
};
