// Vision transformers under transformers' ViT names: supervised ones, MAE (arXiv 2111.06377), I-JEPA (arXiv 2301.08243), the encoder of
// MiDaS 3.0 (DPT, arXiv 2103.13413). They differ in the class token, how positions are resized, and where the last norm stands.
import { constantLike } from '../../../dsl/index.ts';
import { encodeVit, normedBy, type Backbone, type BackboneType } from '../backbone.ts';
import { behind, hubLayer, hubVitConfig, patchTokens, tableRows, without, type HubVitConfig } from '../hub-layer.ts';
import { sinCosTable } from '../positions.ts';
import { gridOf, rootOf } from '../tower.ts';
import { positionRows, positionsFor, type PositionResize } from '../vit.ts';
import { slice } from '../../../dsl/index.ts';

interface Differences {
  readonly roots: readonly string[];
  /** Tokens in front of the patches, by their names. */
  readonly first: readonly string[];
  readonly by: PositionResize;
  /** Whether a connector reads what the last norm gives. */
  readonly normed: boolean;
  /** Blocks whose results a depth head reads. */
  readonly stages?: readonly number[] | undefined;
}

function backbone(config: HubVitConfig, { roots, first, by, normed, stages = [] }: Differences): Backbone {
  const { width: c, patch, image } = config;
  const classTokens = first.length;
  return {
    width: c,
    encode: (p, pixels) => {
      const root = rootOf(p, roots, 'embeddings.position_embeddings');
      const at = root.at('embeddings');
      const grid = gridOf(pixels, patch);
      const table = tableRows(at, 'position_embeddings', { n: positionRows(config, classTokens), c });
      const positions = positionsFor(table, { classTokens, grid, picture: [pixels.size('h'), pixels.size('w')], by });
      const patches = patchTokens(at.at('patch_embeddings', 'projection'), pixels, { patch, size: c });
      const embeddings =
        classTokens === 0
          ? patches.add(positions)
          : behind(
              first.map((name, start) =>
                tableRows(at, name, { n: 1, c }).add(slice(positions, 'n', { start, size: 1 })),
              ),
              patches.add(slice(positions, 'n', { start: classTokens })),
            );
      const encoded = encodeVit({
        grid,
        classTokens,
        embeddings,
        config,
        block: (i) => hubLayer(root.at('encoder', 'layer', i), config),
        norm: normedBy(root.at('layernorm'), config.eps),
      });
      const side = Math.floor(image / patch);
      return {
        ...encoded,
        features: without(normed ? encoded.last : (encoded.hidden.at(-1) ?? embeddings), classTokens),
        named: {
          sincos: () =>
            constantLike(
              pixels,
              sinCosTable([side, side], c, 'column', classTokens > 0),
              'n c',
              { n: positionRows(config, classTokens), c },
              'f32',
            ),
          ...Object.fromEntries(stages.map((block, i) => [`stage${i}`, () => encoded.hidden[block + 1] ?? embeddings])),
        },
      };
    },
  };
}

export const mae: BackboneType = {
  kind: 'mae-vit',
  types: ['vit_mae'],
  unread: ['decoder'],
  read: (config) =>
    backbone(hubVitConfig(config, 1e-12), { roots: ['vit', ''], first: ['cls_token'], by: 'sizes', normed: true }),
};

/** Supervised ones of transformers: Google's ViT, and DeiT (arXiv 2012.12877), which has a second token in front. */
const supervised = (type: 'vit' | 'deit', first: readonly string[]): BackboneType => ({
  kind: `hub-${type}`,
  types: [type],
  unread: [
    ...['classifier', 'cls_classifier', 'distillation_classifier', 'decoder'],
    ...['', `${type}.`].flatMap((root) => [`${root}pooler`, `${root}embeddings.mask_token`]),
  ],
  read: (config) => backbone(hubVitConfig(config, 1e-12), { roots: [type, ''], first, by: 'sizes', normed: true }),
});
export const hubVit = supervised('vit', ['cls_token']);
export const deit = supervised('deit', ['cls_token', 'distillation_token']);

export const ijepa: BackboneType = {
  kind: 'ijepa-vit',
  types: ['ijepa'],
  unread: ['classifier', ...['', 'ijepa.'].flatMap((root) => [`${root}embeddings.mask_token`, `${root}pooler`])],
  read: (config) =>
    backbone(hubVitConfig(config, 1e-12), { roots: ['', 'ijepa'], first: [], by: 'sizes', normed: true }),
};

export const dpt: BackboneType = {
  kind: 'dpt-vit',
  types: ['dpt'],
  unread: ['neck', 'head', 'auxiliary_head', 'dpt.pooler', 'pooler'],
  read: (config) => {
    config.fixed({ is_hybrid: false });
    if (config.has('backbone_config'))
      throw config.wrong('backbone_config', 'is of a model that is not known here', 'known is that of a BEiT');
    return backbone(hubVitConfig(config, 1e-12, 384), {
      roots: ['dpt', ''],
      first: ['cls_token'],
      by: 'bilinear',
      normed: false,
      stages: config.has('backbone_out_indices') ? config.numbers('backbone_out_indices') : [2, 5, 8, 11],
    });
  },
};
