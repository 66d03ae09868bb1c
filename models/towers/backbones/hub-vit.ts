// Vision transformers under transformers' ViT names: MAE (arXiv 2111.06377), I-JEPA (arXiv 2301.08243), the encoder of MiDaS 3.0 (DPT,
// arXiv 2103.13413). They differ in the class token, how positions are resized, and where the last norm stands.
import { constantLike } from '../../../dsl/index.ts';
import { encodeVit, normedBy, type Backbone, type BackboneType } from '../backbone.ts';
import { behind, hubLayer, hubVitConfig, patchTokens, tableRows, without, type HubVitConfig } from '../hub-layer.ts';
import { sinCosTable } from '../positions.ts';
import { gridOf, rootOf } from '../tower.ts';
import { positionRows, positionsFor, type PositionResize } from '../vit.ts';
import { slice } from '../../../dsl/index.ts';

interface Differences {
  readonly roots: readonly string[];
  readonly classToken: boolean;
  readonly by: PositionResize;
  /** Whether a connector reads what the last norm gives. */
  readonly normed: boolean;
  /** Blocks whose results a depth head reads. */
  readonly stages?: readonly number[] | undefined;
}

function backbone(config: HubVitConfig, { roots, classToken, by, normed, stages = [] }: Differences): Backbone {
  const { width: c, patch, image } = config;
  const classTokens = classToken ? 1 : 0;
  return {
    width: c,
    encode: (p, pixels) => {
      const root = rootOf(p, roots, 'embeddings.position_embeddings');
      const at = root.at('embeddings');
      const grid = gridOf(pixels, patch);
      const table = tableRows(at, 'position_embeddings', { n: positionRows(config, classTokens), c });
      const positions = positionsFor(table, { classTokens, grid, picture: [pixels.size('h'), pixels.size('w')], by });
      const patches = patchTokens(at.at('patch_embeddings', 'projection'), pixels, { patch, size: c });
      const first = () => tableRows(at, 'cls_token', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
      const embeddings = classToken
        ? behind([first()], patches.add(slice(positions, 'n', { start: 1 })))
        : patches.add(positions);
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
              sinCosTable([side, side], c, 'column', classToken),
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
    backbone(hubVitConfig(config, 1e-12), { roots: ['vit', ''], classToken: true, by: 'sizes', normed: true }),
};

export const ijepa: BackboneType = {
  kind: 'ijepa-vit',
  types: ['ijepa'],
  unread: ['embeddings.mask_token', 'pooler'],
  read: (config) =>
    backbone(hubVitConfig(config, 1e-12), { roots: ['', 'ijepa'], classToken: false, by: 'sizes', normed: true }),
};

export const dpt: BackboneType = {
  kind: 'dpt-vit',
  types: ['dpt'],
  unread: ['neck', 'head', 'auxiliary_head', 'dpt.pooler'],
  read: (config) =>
    backbone(hubVitConfig(config, 1e-12), {
      roots: ['dpt', ''],
      classToken: true,
      by: 'bilinear',
      normed: false,
      stages: config.has('backbone_out_indices') ? config.numbers('backbone_out_indices') : [2, 5, 8, 11],
    }),
};
