// DINOv3's ConvNeXt (arXiv 2508.10104), with the names of transformers: the mean of the last map and its cells, under one norm.
import { concat, layerNorm, rearrange, reduce, repeat } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { BackboneType } from '../backbone.ts';
import { convNextBlock, hubBlockNames } from '../convnext-block.ts';
import { without } from '../hub-layer.ts';
import { patchConv, rootOf } from '../tower.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import type { Tokens } from '../vit.ts';

export const dinov3ConvNext: BackboneType = {
  kind: 'dinov3-convnext',
  types: ['dinov3_convnext'],
  read: (read) => {
    const widths = read.has('hidden_sizes') ? read.counts('hidden_sizes') : [96, 192, 384, 768];
    const depths = read.has('depths') ? read.counts('depths') : [3, 3, 9, 3];
    if (widths.length !== depths.length)
      throw read.wrong('depths', `has ${depths.length} entries for ${widths.length} widths`);
    const eps = read.number('layer_norm_eps', 1e-6);
    const block = { kernel: 7, ratio: 4, eps, activation: geluOf(read, 'gelu') };
    const width = widths.at(-1) ?? 0;
    return {
      width,
      encode: (p, pixels) => {
        const root = rootOf(p, ['', 'model'], 'stages.0.downsample_layers.0.weight');
        let map: FeatureMap = pixels;
        const stages: FeatureMap[] = [];
        let [stem, first] = [map, map];
        depths.forEach((depth, s) => {
          const [at, size] = [root.at('stages', s), widths[s] ?? 0];
          const down = at.at('downsample_layers');
          // The stem is normed behind its convolution, later stages before theirs.
          map =
            s === 0
              ? layerNorm(down.at(1), patchConv(down.at(0), map, { patch: 4, size }), { eps })
              : patchConv(down.at(1), layerNorm(down.at(0), map, { eps }), { patch: 2, size });
          if (s === 0) stem = map;
          for (let i = 0; i < depth; i++) {
            map = convNextBlock(at.at('layers', i), map, block, hubBlockNames);
            if (s === 0 && i === 0) first = map;
          }
          stages.push(map);
        });
        const mean = repeat(reduce(map, 'b h w c -> b c', 'mean'), 'b c -> b n c', { n: 1 });
        const cells: Tokens = rearrange(map, 'b h w c -> b n=(h w) c');
        const embeddings = concat([mean, cells], 'n');
        const last = layerNorm(root.at('layer_norm'), embeddings, { eps });
        const channelsFirst = (x: FeatureMap) => () => rearrange(x, 'b h w c -> b c h w');
        return {
          grid: [map.size('h'), map.size('w')],
          classTokens: 1,
          embeddings,
          hidden: [embeddings],
          last,
          features: without(last, 1),
          named: {
            stem: channelsFirst(stem),
            block0: channelsFirst(first),
            pooler_output: () => last.at('n', 0),
            ...Object.fromEntries(stages.map((each, s) => [`stage${s}`, channelsFirst(each)])),
          },
        };
      },
    };
  },
};
