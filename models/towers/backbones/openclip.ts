// CLIP's vision transformer under open_clip's names: DFN (arXiv 2309.17425), LAION and others.
import {
  einsum,
  layerNorm,
  multiHeadProjections,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, without } from '../hub-layer.ts';
import { gridOf, rootOf, type Grid } from '../tower.ts';
import type { Gelu } from '../../configs/activation.ts';
import { geluMlp, positionsFor, type BlockParts, type Tokens } from '../vit.ts';

/** What open_clip can build otherwise. */
const unknown = {
  attentional_pool: false,
  final_ln_after_pool: false,
  pool_type: 'tok',
  qk_norm: false,
  scaled_cosine_attn: false,
  scale_heads: false,
  scale_attn_inner: false,
  scale_attn: false,
  scale_fc: false,
};

function block(
  p: Params,
  inside: { readonly c: number; readonly hidden: number; readonly activation: Gelu; readonly scaled: boolean },
): BlockParts {
  const { c, hidden, activation, scaled } = inside;
  const packed = (x: Tokens): readonly [Tokens, Tokens, Tokens] => {
    const { q, k, v } = multiHeadProjections(p.at('attn'), x, x, x, { heads: 1, along: 'c' });
    const whole = (y: Tensor<string, Float>): Tokens => (y as Tensor<'b n head c', Float>).at('head', 0);
    return [whole(q), whole(k), whole(v)];
  };
  return {
    norm1: p.at('ln_1'),
    qkv: packed,
    out: p.at('attn', 'out_proj'),
    norm2: p.at('ln_2'),
    mlp: (x) => geluMlp({ up: p.at('mlp', 'c_fc'), down: p.at('mlp', 'c_proj') }, x, hidden, activation),
    scales: scaled ? [p.at('ls_1').get('gamma', 'c', { c }), p.at('ls_2').get('gamma', 'c', { c })] : undefined,
  };
}

export const openClip: BackboneType = {
  kind: 'openclip-vit',
  types: ['open_clip_vit'],
  unread: [
    'transformer',
    'token_embedding',
    'positional_embedding',
    'ln_final',
    'text_projection',
    'visual.proj',
    'text',
    'logit_scale',
    'logit_bias',
    'attn_mask',
  ],
  read: (outer) => {
    const config = outer.inner('model_cfg') ?? outer;
    const vision = config.inner('vision_cfg') ?? config;
    vision.fixed(unknown);
    vision.inner('norm_kwargs')?.only(['eps']);
    const form = vision.inner('act_kwargs');
    form?.only(['approximate']);
    form?.fixed({ approximate: 'tanh' });
    const c = vision.count('width', 768);
    const patch = vision.count('patch_size', 16);
    const hidden = Math.trunc(c * vision.number('mlp_ratio', 4));
    const [height, across] = vision.sides('image_size', 224);
    const native: Grid = [Math.floor(height / patch), Math.floor(across / patch)];
    const sizes = {
      layers: vision.count('layers', 12),
      heads: Math.floor(c / vision.count('head_width', 64)),
      eps: vision.inner('norm_kwargs')?.number('eps', 1e-5) ?? 1e-5,
    };
    const activation: Gelu = config.flag('quick_gelu', false) ? 'quick' : form?.has('approximate') ? 'tanh' : 'exact';
    const inside = { c, hidden, activation, scaled: vision.has('ls_init_value') };
    const before = !vision.flag('no_ln_pre', false);
    const embedded = config.count('embed_dim', c);
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['visual', ''], 'class_embedding');
        const grid = gridOf(pixels, patch);
        const n = native[0] * native[1] + 1;
        const positions = positionsFor(root.get('positional_embedding', 'n c', { n, c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
          by: 'antialias',
          native,
        });
        const first = slice(positions, 'n', { size: 1 }).add(root.get('class_embedding', 'c', { c }));
        const patches = patchTokens(root.at('conv1'), pixels, { patch, size: c, bias: false });
        const embeddings = behind([first], patches.add(slice(positions, 'n', { start: 1 })));
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings,
          start: before ? layerNorm(root.at('ln_pre'), embeddings, { eps: sizes.eps }) : undefined,
          config: sizes,
          block: (i) => block(root.at('transformer', 'resblocks', i), inside),
          norm: normedBy(root.at('ln_post'), sizes.eps),
        });
        return {
          ...encoded,
          features: without(encoded.last, 1),
          named: {
            // Stored as it is multiplied from the right.
            pooled: () =>
              einsum(encoded.last.at('n', 0), root.get('proj', 'c e', { c, e: embedded }), 'b c, c e -> b e'),
          },
        };
      },
    };
  },
};
