// A vision tower's weights against its config, under whichever of its names the checkpoint has.
import { nativeSide, towerShapes, type TowerConfig, type TowerKind } from '../../../models/configs/towers.ts';
import { matchTensors, type Ignored, type Match, type ShapesByName } from '../../../runtime/checkpoint/match.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Parts of whole models that no tower needs. */
const beside: Ignored = {
  text_model: 'the text tower is not used',
  ...Object.fromEntries(
    // open_clip's text tower stands beside the vision tower, where it has no place of its own.
    ['text', 'transformer', 'token_embedding', 'positional_embedding', 'ln_final', 'attn_mask'].map((name) => [
      name,
      'the text tower is not used',
    ]),
  ),
  visual_projection: 'connectors read maps, not the joint space',
  text_projection: 'connectors read maps, not the joint space',
  logit_scale: 'of the contrastive loss',
  logit_bias: 'of the contrastive loss',
  ...Object.fromEntries(
    ['visual.head', 'head', 'trunk.head', 'visual.trunk.head', 'classifier', 'vision_model.head'].map((name) => [
      name,
      'connectors read maps, not what the head makes of them',
    ]),
  ),
};
/** Parts of a tower that Cambrian never reads: a checkpoint may come without. */
const unread = /(?:^|\.)(?:attn_pool|head|mask_token|post_layernorm)(?:\.|$)/;
/** Buffers that older versions stored among the weights: they are there, and whole numbers, and not read. */
export function storedBuffers(stored: ShapesByName): Ignored {
  const names = [...stored.keys()].filter((name) => /(?:^|\.)(?:position_ids|relative_position_index)$/.test(name));
  return Object.fromEntries(names.map((name) => [name, 'a buffer that older versions stored']));
}

/** Where the names of a tower may begin, and a tensor that every tower of the kind has there. */
const places: Readonly<
  Record<TowerKind, { readonly prefixes: readonly string[]; readonly witnesses: readonly string[] }>
> = {
  clip: { prefixes: ['vision_model.', ''], witnesses: ['embeddings.class_embedding'] },
  siglip: {
    prefixes: ['visual.trunk.', 'trunk.', 'vision_model.', ''],
    witnesses: ['pos_embed', 'embeddings.position_embedding.weight'],
  },
  dinov2: { prefixes: ['dinov2.', ''], witnesses: ['embeddings.cls_token'] },
  convnext: { prefixes: ['visual.trunk.', 'trunk.', ''], witnesses: ['stem.0.weight'] },
};

/** What is missing, unexpected, transposed or misshapen. */
export function matchTower(config: TowerConfig, stored: ShapesByName): Match {
  const { prefixes, witnesses } = places[config.tower];
  const prefix = prefixes.find((candidate) => witnesses.some((name) => stored.has(candidate + name))) ?? '';
  // SigLIP comes with timm's names or with those of transformers.
  const names = config.tower === 'siglip' && !stored.has(`${prefix}pos_embed`) ? 'hub' : 'timm';
  const bare = (name: string) => name.slice(prefixes.find((candidate) => name.startsWith(candidate))?.length ?? 0);
  const wanted = new Map(
    [...towerShapes(config, names)]
      .map(([name, shape]) => [prefix + bare(name), shape] as const)
      .filter(([name]) => stored.has(name) || !unread.test(name)),
  );
  return matchTensors(wanted, stored, { ...beside, ...storedBuffers(stored) });
}

/** `clip: 24 layers of 1024, pictures of 336 × 336`. */
export function describeTower(tower: TowerConfig, side = nativeSide(tower)): string {
  const size =
    tower.tower === 'convnext'
      ? `stages of ${tower.config.depths.join(', ')} blocks, ${tower.config.widths.join(', ')} wide`
      : `${plural(tower.config.layers, 'layer')} of ${tower.config.width}`;
  return `${tower.tower}: ${size}${side === undefined ? '' : `, pictures of ${side} × ${side}`}`;
}
