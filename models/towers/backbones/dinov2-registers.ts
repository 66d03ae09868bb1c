// DINOv2 with registers (arXiv 2309.16588): tokens without a position between the class token and the patches, positions resized with
// antialiasing.
import { slice } from '../../../dsl/index.ts';
import { dinov2Block, dinov2Config } from '../dinov2.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { gridOf, rootOf } from '../tower.ts';
import { positionRows, positionsFor } from '../vit.ts';

export const dinov2Registers: BackboneType = {
  kind: 'dinov2-registers',
  types: ['dinov2_with_registers'],
  unread: ['embeddings.mask_token', 'dinov2_with_registers.embeddings.mask_token', 'classifier'],
  read: (read) => {
    const config = dinov2Config(read, 'antialias', 16);
    const registers = read.count('num_register_tokens', 4);
    const { width: c, patch, eps } = config;
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['', 'dinov2_with_registers'], 'embeddings.cls_token');
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const positions = positionsFor(tableRows(at, 'position_embeddings', { n: positionRows(config, 1), c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
          by: config.positions,
        });
        const first = tableRows(at, 'cls_token', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
        const patches = patchTokens(at.at('patch_embeddings', 'projection'), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 1 + registers,
          embeddings: behind(
            [first, tableRows(at, 'register_tokens', { n: registers, c })],
            patches.add(slice(positions, 'n', { start: 1 })),
          ),
          config,
          block: (i) => dinov2Block(root.at('encoder', 'layer', i), config),
          norm: normedBy(root.at('layernorm'), eps),
        });
        return {
          ...encoded,
          features: without(encoded.last, 1 + registers),
          named: { pooler_output: () => encoded.last.at('n', 0) },
        };
      },
    };
  },
};
