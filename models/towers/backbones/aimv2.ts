// AIMv2 (arXiv 2411.14402), with the names of transformers: RMS norms, gated MLPs, no class token, positions learned or, where the model
// takes pictures of any size, sines and cosines.
import {
  attention,
  constantLike,
  gelu,
  linear,
  rearrange,
  reduce,
  repeat,
  rmsNorm,
  silu,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { encodeVit, type BackboneType } from '../backbone.ts';
import { patchTokens } from '../hub-layer.ts';
import { sinCosTable } from '../positions.ts';
import { gridOf, rootOf } from '../tower.ts';
import { gatedTokens, positionsFor, type Tokens } from '../vit.ts';

/** A learned query attends to all tokens; no projection of its own. */
function pooled(p: Params, x: Tokens, options: { readonly heads: number; readonly bias: boolean }): Tensor {
  const c = x.size('c');
  const split = (y: Tokens) => rearrange(y, 'b n (h d) -> b t=(n) h d', { h: options.heads });
  const query = rearrange(
    repeat(p.get('cls_token', 'one q c', { one: 1, q: 1, c }).at('one', 0), 'q c -> b q c', { b: x.sizeOf('b') }),
    'b q (h d) -> b q h d',
    { h: options.heads },
  );
  const [key, value] = ['k_proj', 'v_proj'].map((name) =>
    split(linear(p.at(name), x, 'c', { size: c, bias: options.bias })),
  );
  if (key === undefined || value === undefined) return x;
  const read = attention(query, key, value, { key: 't', along: 'd' });
  const out = linear(p.at('output_proj'), rearrange(read, 'b q h d -> b q c=(h d)'), 'c', { size: c });
  return reduce(out, 'b q c -> b c', 'mean');
}

/** Of the gate. Throws `OpabiniaError` for one that is neither silu nor a GELU. */
function gateOf(read: ConfigReader): (x: Tokens) => Tokens {
  if (read.text('hidden_act', 'silu') === 'silu') return silu;
  const form = geluOf(read, 'gelu');
  return (x) => gelu(x, form);
}

export const aimv2: BackboneType = {
  kind: 'aimv2-vit',
  types: ['aimv2_vision_model', 'aimv2'],
  unread: ['head', 'vision_model.head', 'text_model', 'visual_projection', 'text_projection', 'logit_scale'],
  read: (outer) => {
    const read = outer.inner('vision_config') ?? outer;
    const activation = gateOf(read);
    const c = read.count('hidden_size', 1024);
    const eps = read.number('rms_norm_eps', 1e-5);
    const config = { layers: read.count('num_hidden_layers', 24), heads: read.count('num_attention_heads', 8), eps };
    const [patch, image] = [read.count('patch_size', 14), read.count('image_size', 224)];
    const hidden = read.count('intermediate_size', 2816);
    const [bias, qkvBias] = [read.flag('mlp_bias', false), read.flag('qkv_bias', false)];
    const native = read.flag('is_native', false);
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['', 'vision_model'], 'embeddings.rms_norm.weight');
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const n = grid[0] * grid[1];
        const side = Math.floor(image / patch);
        const positions = native
          ? constantLike(pixels, sinCosTable(grid, c, 'column'), 'n c', { n, c }, pixels.dtype)
          : positionsFor(at.get('position_embedding.weight', 'n c', { n: side * side, c }), {
              classTokens: 0,
              grid,
              picture: [pixels.size('h'), pixels.size('w')],
            });
        const patches = patchTokens(at.at('patch_embed'), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 0,
          embeddings: rmsNorm(at.at('rms_norm'), patches, { eps }).add(positions),
          config,
          block: (i) => {
            const layer = root.at('encoder', 'layers', i);
            const [own, ffn] = [layer.at('attention'), layer.at('ffn')];
            const parts = { gate: ffn.at('gate_proj'), up: ffn.at('up_proj'), down: ffn.at('down_proj') };
            return {
              norm: 'rms',
              norm1: layer.at('rms_norm1'),
              qkv: { query: own.at('q_proj'), key: own.at('k_proj'), value: own.at('v_proj') },
              qkvBias,
              out: own.at('out_proj'),
              outBias: qkvBias,
              norm2: layer.at('rms_norm2'),
              mlp: (x) => gatedTokens(parts, x, { hidden, bias, activation }),
            };
          },
          norm: (x) => rmsNorm(root.at('rms_norm'), x, { eps }),
        });
        return {
          ...encoded,
          features: encoded.last,
          named: { pooler_output: () => pooled(root.at('head'), encoded.last, { heads: config.heads, bias: qkvBias }) },
        };
      },
    };
  },
};
