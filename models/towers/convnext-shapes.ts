// Where checkpoints keep ConvNeXt's parts, and in which shapes: timm's names.
import { affineShapes, normShapes, repeated, under, type Shapes } from '../configs/param-shapes.ts';
import type { ConvNextConfig } from './convnext-block.ts';

/** open_clip's trunk in a full model, and a trunk by itself. */
export const convNextRoots = ['visual.trunk', 'trunk', ''] as const;
export const convNextWitness = 'stem.0.weight';

/** Prefixes of what a full open_clip checkpoint holds besides the features that a connector reads: heads, and the text's tower. */
export const convNextUnread = [
  'visual.trunk.head',
  'trunk.head',
  'head',
  'visual.head',
  'text',
  'transformer',
  'token_embedding',
  'positional_embedding',
  'ln_final',
  'text_projection',
  'logit_scale',
  'attn_mask',
];

/** Shapes by path of the trunk, as the released checkpoint has them. */
export function convNextShapes(config: ConvNextConfig, root: string = convNextRoots[0]): Shapes {
  const { depths, widths, stem, kernel, ratio } = config;
  const [first = 0, last = 0] = [widths[0], widths.at(-1)];
  return new Map(
    under(root, [
      ...affineShapes('stem.0', [first, 3, stem, stem]),
      ...normShapes('stem.1', first),
      ...repeated(depths.length, (s) => {
        const [c, before] = [widths[s] ?? 0, widths[s - 1]];
        return under(`stages.${s}`, [
          ...(before === undefined
            ? []
            : [...normShapes('downsample.0', before), ...affineShapes('downsample.1', [c, before, 2, 2])]),
          ...repeated(depths[s] ?? 0, (i) =>
            under(`blocks.${i}`, [
              ['gamma', [c]],
              ...affineShapes('conv_dw', [c, 1, kernel, kernel]),
              ...normShapes('norm', c),
              ...affineShapes('mlp.fc1', [ratio * c, c]),
              ...affineShapes('mlp.fc2', [c, ratio * c]),
            ]),
          ),
        ]);
      }),
      ...normShapes('head.norm', last),
    ]),
  );
}
