// DINOv3's vision transformer (arXiv 2508.10104), with the names of transformers: no table of positions, rotations of the patches by their
// place between −1 and 1, registers, LayerScale, and a gated MLP in some sizes.
import { constantLike, silu } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { angleTables, gridAngles, gridPlaces, turnTokens, type GridAngles } from '../positions.ts';
import { gridOf, rootOf, type Grid } from '../tower.ts';
import { gatedTokens, geluMlp, type Tokens } from '../vit.ts';
import { gelu, linear } from '../../../dsl/index.ts';

export const dinov3: BackboneType = {
  kind: 'dinov3-vit',
  types: ['dinov3_vit'],
  unread: ['embeddings.mask_token', 'model.embeddings.mask_token'],
  read: (read) => {
    const c = read.count('hidden_size', 384);
    const config = {
      layers: read.count('num_hidden_layers', 12),
      heads: read.count('num_attention_heads', 6),
      eps: read.number('layer_norm_eps', 1e-5),
    };
    const [patch, hidden] = [read.count('patch_size', 16), read.count('intermediate_size', 1536)];
    const registers = read.number('num_register_tokens', 0) === 0 ? 0 : read.count('num_register_tokens');
    const gated = read.flag('use_gated_mlp', false);
    const [mlpBias, outBias] = [read.flag('mlp_bias', true), read.flag('proj_bias', true)];
    const qkvBias = {
      query: read.flag('query_bias', true),
      key: read.flag('key_bias', false),
      value: read.flag('value_bias', true),
    };
    const act = read.text('hidden_act', 'gelu');
    const form = act === 'silu' ? undefined : geluOf(read, 'gelu');
    const activation = (x: Tokens): Tokens => (form === undefined ? silu(x) : gelu(x, form));
    const joint = read.inner('rope_parameters');
    const theta = joint?.has('rope_theta') === true ? joint.number('rope_theta') : read.number('rope_theta', 100);
    const head = c / config.heads;
    const frequencies = Array.from({ length: head / 4 }, (_, k) => theta ** ((-4 * k) / head));
    const centre = (count: number) => (i: number) => 2 * Math.PI * ((2 * (i + 0.5)) / count - 1);
    const anglesOf = (grid: Grid): GridAngles =>
      gridAngles(gridPlaces(grid, centre(grid[0]), centre(grid[1])), frequencies);
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['', 'model'], 'embeddings.cls_token');
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const angles = anglesOf(grid);
        const first = [
          tableRows(at, 'cls_token', { n: 1, c }),
          ...(registers === 0 ? [] : [tableRows(at, 'register_tokens', { n: registers, c })]),
        ];
        const layers = root.has('model.layer.0.norm1.weight') ? root.at('model', 'layer') : root.at('layer');
        const encoded = encodeVit({
          grid,
          classTokens: 1 + registers,
          embeddings: behind(first, patchTokens(at.at('patch_embeddings'), pixels, { patch, size: c })),
          config,
          block: (i) => {
            const layer = layers.at(i);
            const [own, mlp] = [layer.at('attention'), layer.at('mlp')];
            const ends = { up: mlp.at('up_proj'), down: mlp.at('down_proj') };
            const plain = (x: Tokens): Tokens =>
              mlpBias && form !== undefined
                ? geluMlp(ends, x, hidden, form)
                : linear(ends.down, activation(linear(ends.up, x, 'c', { size: hidden, bias: mlpBias })), 'c', {
                    size: c,
                    bias: mlpBias,
                  });
            return {
              norm1: layer.at('norm1'),
              qkv: { query: own.at('q_proj'), key: own.at('k_proj'), value: own.at('v_proj') },
              qkvBias,
              out: own.at('o_proj'),
              outBias,
              norm2: layer.at('norm2'),
              mlp: (x) =>
                gated
                  ? gatedTokens({ gate: mlp.at('gate_proj'), ...ends }, x, { hidden, bias: mlpBias, activation })
                  : plain(x),
              scales: [
                layer.at('layer_scale1').get('lambda1', 'c', { c }),
                layer.at('layer_scale2').get('lambda1', 'c', { c }),
              ],
              turn: (x) => turnTokens(x, angles, 'half', 1 + registers),
            };
          },
          norm: normedBy(root.at('norm'), config.eps),
        });
        const table = (name: 'cos' | 'sin') =>
          constantLike(pixels, angleTables(angles, 'half')[name], 'n d', { n: angles.tokens, d: head }, 'f32');
        return {
          ...encoded,
          features: without(encoded.last, 1 + registers),
          named: {
            pooler_output: () => encoded.last.at('n', 0),
            rope_cos: () => table('cos'),
            rope_sin: () => table('sin'),
          },
        };
      },
    };
  },
};
