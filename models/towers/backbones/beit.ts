// BEiT (arXiv 2106.08254) as MiDaS 3.1 has it: no positions of tokens, a bias of scores by how far patches lie apart, no biases of keys.
import {
  concat,
  constantLike,
  gather,
  rearrange,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { encodeVit, type BackboneType } from '../backbone.ts';
import { behind, hubLayer, hubVitConfig, patchTokens, tableRows, without } from '../hub-layer.ts';
import { checkPairs } from '../positions.ts';
import { gridOf, rootOf, type Grid } from '../tower.ts';
import { resizedTable } from '../vit.ts';

/** What is added to the scores of query n and key t: a table's row by their distance, and three rows of the class token's own. */
function relativeBias(p: Params, side: number, grid: Grid, heads: number): Tensor<'n t h', Float> {
  const [rows, columns] = [2 * grid[0] - 1, 2 * grid[1] - 1];
  const own = (2 * side - 1) ** 2;
  const table = p.get('relative_position_bias_table', 'k h', { k: own + 3, h: heads });
  const near = rearrange(rearrange(slice(table, 'k', { size: own }), 'k h -> k h_=(h)'), '(h w) h_ -> h w c=(h_)', {
    h: 2 * side - 1,
  });
  const patches = rearrange(resizedTable(near, [rows, columns], 'bilinear'), 'h w c -> k=(h w) h=(c)');
  const all = concat([patches, slice(table, 'k', { start: own, size: 3 })], 'k');
  const [count, last] = [grid[0] * grid[1] + 1, rows * columns + 3];
  checkPairs(count, 16_385, 'beit');
  const index = Float64Array.from({ length: count * count }, (_, i) => {
    const [n, t] = [Math.floor(i / count) - 1, (i % count) - 1];
    if (n < 0) return t < 0 ? last - 1 : last - 3;
    if (t < 0) return last - 2;
    const y = Math.floor(n / grid[1]) - Math.floor(t / grid[1]) + grid[0] - 1;
    return y * columns + (n % grid[1]) - (t % grid[1]) + grid[1] - 1;
  });
  return gather(all, constantLike(table, index, 'n t', { n: count, t: count }, 'i32'), 'k');
}

/** Throws `OpabiniaError` for a config that wants positions of tokens, or one bias for all layers: MiDaS has neither. */
export const beit: BackboneType = {
  kind: 'dpt-beit',
  types: ['beit'],
  unread: [
    ...['neck', 'head', 'auxiliary_head', 'decode_head', 'classifier', 'lm_head'],
    ...['', 'backbone.', 'beit.'].flatMap((root) =>
      ['layernorm', 'pooler', 'embeddings.mask_token'].map((name) => root + name),
    ),
  ],
  read: (outer) => {
    const read = outer.inner('backbone_config') ?? outer;
    for (const key of ['use_absolute_position_embeddings', 'use_shared_relative_position_bias'])
      if (read.flag(key, false)) throw read.wrong(key, 'is true', 'known is the BEiT of MiDaS 3.1');
    const config = { ...hubVitConfig(read, 1e-12), qkvBias: true };
    const { width: c, patch, heads } = config;
    const relative = read.flag('use_relative_position_bias', false);
    const scaled = read.number('layer_scale_init_value', 0.1) > 0;
    const side = Math.floor(config.image / patch);
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['backbone', 'beit', ''], 'embeddings.cls_token');
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const patches = patchTokens(at.at('patch_embeddings', 'projection'), pixels, { patch, size: c });
        const embeddings = behind([tableRows(at, 'cls_token', { n: 1, c })], patches);
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings,
          config,
          block: (i) => {
            const layer = root.at('encoder', 'layer', i);
            const own = layer.at('attention', 'attention', 'relative_position_bias');
            return {
              ...hubLayer(layer, config),
              qkvBias: { query: true, key: false, value: true },
              scales: scaled ? [layer.get('lambda_1', 'c', { c }), layer.get('lambda_2', 'c', { c })] : undefined,
              mask: relative ? () => relativeBias(own, side, grid, heads) : undefined,
            };
          },
        });
        return { ...encoded, features: without(encoded.last, 1) };
      },
    };
  },
};
