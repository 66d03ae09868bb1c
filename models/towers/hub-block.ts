// A block of CLIP's and SigLIP's towers, which Hugging Face gives the same names.
import type { Params } from '../../dsl/index.ts';
import { affineShapes, mlpShapes, normShapes, type ShapeEntry } from '../configs/param-shapes.ts';
import type { BlockParts } from './vit.ts';

/** Where a block keeps its parts, the two maps of its MLP apart. */
export type BlockPlaces = Omit<BlockParts, 'mlp'> & { readonly up: Params; readonly down: Params };

export function hubBlock(layer: Params): BlockPlaces {
  const attend = layer.at('self_attn');
  return {
    norm1: layer.at('layer_norm1'),
    qkv: { query: attend.at('q_proj'), key: attend.at('k_proj'), value: attend.at('v_proj') },
    out: attend.at('out_proj'),
    norm2: layer.at('layer_norm2'),
    up: layer.at('mlp', 'fc1'),
    down: layer.at('mlp', 'fc2'),
  };
}

/** Shapes below the path of a block of `c` channels, `hidden` inside its MLP. */
export function hubBlockShapes(c: number, hidden: number): readonly ShapeEntry[] {
  return [
    ...normShapes('layer_norm1', c),
    ...normShapes('layer_norm2', c),
    ...['q', 'k', 'v', 'out'].flatMap((name) => affineShapes(`self_attn.${name}_proj`, [c, c])),
    ...mlpShapes('mlp', c, hidden),
  ];
}
