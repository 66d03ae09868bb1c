// Golden files of connectors that average or pick neighbouring tokens.
import { rearrange } from '../../../dsl/index.ts';
import { deco } from '../../../models/connectors/pooling/deco.ts';
import { gemma3 } from '../../../models/connectors/pooling/gemma-3.ts';
import { gemma4Projected, pooledByPositions } from '../../../models/connectors/pooling/gemma-4.ts';
import { pooledFrame } from '../../../models/connectors/pooling/llava-video.ts';
import { squareMeans } from '../../../models/connectors/pooling/matryoshka.ts';
import { perceptionLm } from '../../../models/connectors/pooling/perception-lm.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'deco-avgpool': (golden) => {
    const config = { side: Math.sqrt(golden.config.number('query_num')), layers: golden.config.number('layer_num') };
    golden.takeTokens(deco.build(golden.params, [golden.gridMap()], config, {}));
  },
  'perception-lm-projector': (golden) => {
    const config = { ratio: golden.config.number('projector_pooling_ratio') };
    golden.takeTokens(perceptionLm.build(golden.params, [golden.gridMap()], config, {}));
  },
  'matryoshka-pool': (golden) => {
    for (const scale of golden.config.numbers('scales'))
      golden.take(`tokens.${scale}`, squareMeans(golden.gridMap(), scale));
  },
  'llava-next-2dpool': (golden) => {
    const stride = golden.config.number('stride');
    for (const mode of ['average', 'max', 'bilinear'] as const)
      golden.take(mode, pooledFrame(golden.gridMap(), { mode, stride }));
  },
  'gemma3-projector': (golden) => {
    const config = {
      side: Math.sqrt(golden.config.number('mm_tokens_per_image')),
      eps: golden.config.number('rms_eps', golden.config.number('layer_norm_eps', 1e-6)),
    };
    golden.takeTokens(gemma3.build(golden.params, [golden.gridMap()], config, {}));
  },
  'gemma4-position-pool': raggedGrids,
};

/** Grids of several sizes in one batch, padded at the end. */
function raggedGrids(golden: GoldenBuild): void {
  const { config } = golden;
  const positions = golden.integers('position_ids', 'b n a');
  const [x, y] = [positions.at('a', 0), positions.at('a', 1)];
  const pool = { kernel: config.number('k'), length: config.number('output_length') };
  const cells = golden.trace.iota('k', pool.length);
  const real = golden.mask('padding', 'b n').not();
  const { pooled, valid } = pooledByPositions(golden.input('features', 'b n c'), { x, y, cells }, real, pool);
  golden.take('pooled', pooled);
  golden.take('valid', valid);
  const map = rearrange(pooled, 'b (h k) c -> b h w=(k) c', { h: 1 });
  golden.take('tokens', gemma4Projected(golden.params, map, config.number('rms_eps'), undefined));
}
