// Golden files of connectors that make one token of a square of patches.
import { concat, rearrange, repeat, slice } from '../../../dsl/index.ts';
import { mergingProjector } from '../../../models/connectors/mlp.ts';
import type { Adapters } from '../golden-build.ts';

export const adapters: Adapters = {
  /** Pictures of different sizes, their patches one behind the other. */
  'mistral3-projector': (golden) => {
    const { config } = golden;
    const [patch, merge] = [config.number('patch_size'), config.number('spatial_merge_size')];
    const rows = golden.input('features', 'n c');
    const sizes = golden.numbers('image_sizes');
    let start = 0;
    const tokens = Array.from({ length: sizes.length / 2 }, (_, i) => {
      const [h, w] = [(sizes[2 * i] ?? 0) / patch, (sizes[2 * i + 1] ?? 0) / patch];
      const flat = slice(rows, 'n', { start, size: h * w });
      start += h * w;
      const map = repeat(rearrange(flat, '(h w) c -> h w c', { h }), 'h w c -> b h w c', { b: 1 });
      const options = { merge, eps: config.number('rms_eps'), bias: config.flag('bias', true) };
      return mergingProjector(golden.params, map, options).at('b', 0);
    });
    golden.take('tokens', concat(tokens, 'n'));
  },
};
