// EVA-02 (arXiv 2303.11331), of CLIP and of masked images, under timm's names: rotations by row and column scaled to the grid of
// pretraining, gated MLPs, norms inside of attention and MLP where the model has them.
import { constantLike, layerNorm, reduce } from '../../../dsl/index.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { without } from '../hub-layer.ts';
import { angleTables } from '../positions.ts';
import { gridOf, rootOf } from '../tower.ts';
import { eva02Block, eva02Options } from './eva02-block.ts';
import { timmEmbeddings } from './timm-vit.ts';

export const eva02: BackboneType = {
  kind: 'eva02-vit',
  types: ['eva02_large_patch14_clip_336', 'eva02_large_patch14_448'],
  unread: [
    ...['head', 'fc_norm'].flatMap((name) => [name, `trunk.${name}`, `visual.trunk.${name}`]),
    'visual.head',
    'text',
    'logit_scale',
    'mask_token',
  ],
  read: (config) => {
    const options = eva02Options(config);
    const { width: c, heads, patch, eps } = options;
    const pooled = !options.normed;
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['visual.trunk', 'trunk', ''], 'pos_embed');
        const grid = gridOf(pixels, patch);
        const angles = options.anglesOf(grid);
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings: timmEmbeddings(root, pixels, options),
          config: options,
          block: (i) => eva02Block(root.at('blocks', i), options, angles),
          norm: pooled ? undefined : normedBy(root.at('norm'), eps),
        });
        const features = without(encoded.last, 1);
        const table = (name: 'cos' | 'sin') =>
          constantLike(
            pixels,
            angleTables(angles, 'interleaved')[name],
            'n d',
            { n: angles.tokens, d: c / heads },
            'f32',
          );
        return {
          ...encoded,
          features,
          named: {
            pooler_output: () =>
              pooled
                ? layerNorm(root.at('fc_norm'), reduce(features, 'b n c -> b c', 'mean'), { eps })
                : encoded.last.at('n', 0),
            rope_cos: () => table('cos'),
            rope_sin: () => table('sin'),
          },
        };
      },
    };
  },
};
