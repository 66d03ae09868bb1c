// Where checkpoints keep DINOv2's parts, and in which shapes: the names of Hugging Face's Dinov2Model.
import { type PositionResize, type VitConfig, positionRows } from './vit.ts';
import type { Gelu } from '../configs/activation.ts';
import { affineShapes, mlpShapes, normShapes, repeated, under, type Shapes } from '../configs/param-shapes.ts';

export interface Dinov2Config extends VitConfig {
  /** A GELU, or SwiGLU: then `hidden` is the width after the gate. */
  readonly activation: Gelu | 'swiglu';
  readonly qkvBias?: boolean | undefined;
  /** By default with the offset of 0.1 of the original code and of the transformers that Cambrian-1 pins; newer ones go by sizes. */
  readonly positions?: PositionResize | undefined;
}

/** A model with a head on it has the prefix. */
export const dinov2Roots = ['', 'dinov2'] as const;
export const dinov2Witness = 'embeddings.cls_token';

/** Prefixes of what a checkpoint holds besides the features that a connector reads: `mask_token` serves training only. */
export const dinov2Unread = ['embeddings.mask_token', 'dinov2.embeddings.mask_token', 'classifier'];

/** Shapes by path, as the released checkpoints have them. */
export function dinov2Shapes(config: Dinov2Config, root: string = dinov2Roots[0]): Shapes {
  const { width: c, hidden, patch, activation, qkvBias } = config;
  return new Map(
    under(root, [
      ['embeddings.cls_token', [1, 1, c]],
      ['embeddings.mask_token', [1, c]],
      ['embeddings.position_embeddings', [1, positionRows(config, 1), c]],
      ...affineShapes('embeddings.patch_embeddings.projection', [c, 3, patch, patch]),
      ...normShapes('layernorm', c),
      ...repeated(config.layers, (i) =>
        under(`encoder.layer.${i}`, [
          ...normShapes('norm1', c),
          ...normShapes('norm2', c),
          ['layer_scale1.lambda1', [c]],
          ['layer_scale2.lambda1', [c]],
          ...['query', 'key', 'value'].flatMap((name) => affineShapes(`attention.attention.${name}`, [c, c], qkvBias)),
          ...affineShapes('attention.output.dense', [c, c]),
          ...(activation === 'swiglu'
            ? [...affineShapes('mlp.weights_in', [2 * hidden, c]), ...affineShapes('mlp.weights_out', [c, hidden])]
            : mlpShapes('mlp', c, hidden)),
        ]),
      ),
    ]),
  );
}
