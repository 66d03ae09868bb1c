// The encoder of Segment Anything (arXiv 2304.02643), with transformers' names: attention in windows but for a few blocks, scores with a
// bias by rows and by columns that reads the query.
import {
  constantLike,
  conv2d,
  einsum,
  gather,
  layerNorm,
  pad,
  rearrange,
  repeat,
  resize,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { BackboneType } from '../backbone.ts';
import { checkPairs } from '../positions.ts';
import { gridOf, onGrid, patchConv, rootOf } from '../tower.ts';
import { geluMlp, selfAttention, type Heads, type Tokens } from '../vit.ts';
import type { FeatureMap } from '../../sequence/regions.ts';

/** Rows of a table by the distance of query and key along one axis of `size`; one that was made for `native` of them is resized. */
function distances(p: Params, name: string, size: number, native: number, d: number): Tensor<'i k d', Float> {
  const stored = p.get(name, 'm d', p.has(name) ? { d } : { m: 2 * native - 1, d });
  const map = rearrange(stored, '(h w) d -> h w c=(d)', { w: 1 });
  const wanted = 2 * size - 1;
  checkPairs(size, 4_096, 'sam');
  const resized = stored.size('m') === wanted ? map : resize(map, { height: wanted, width: 1, mode: 'bilinear' });
  const index = Float64Array.from({ length: size * size }, (_, i) => Math.floor(i / size) - (i % size) + size - 1);
  const rows = rearrange(resized, 'h w c -> m=(h w) d=(c)');
  return gather(rows, constantLike(stored, index, 'i k', { i: size, k: size }, 'i32'), 'm');
}

/** q·R_h + q·R_w, of queries that are not scaled. */
function scoreBias(p: Params, query: Heads, [rows, columns]: readonly [number, number], native: number): Tensor {
  const d = query.size('d');
  const q = rearrange(query, 'b (i j) h d -> b i j h d', { i: rows });
  const down = einsum(q, distances(p, 'rel_pos_h', rows, native, d), 'b i j h d, i k d -> b i j h k');
  const across = einsum(
    q,
    rearrange(distances(p, 'rel_pos_w', columns, native, d), 'i k d -> j=(i) l=(k) d'),
    'b i j h d, j l d -> b i j h l',
  );
  const both = repeat(down, 'b i j h k -> b i j h k l', { l: columns }).add(across);
  return rearrange(both, 'b i j h k l -> b n=(i j) h t=(k l)');
}

export const sam: BackboneType = {
  kind: 'sam-vit',
  types: ['sam_vision_model', 'sam'],
  unread: ['neck', 'vision_encoder.neck', 'prompt_encoder', 'mask_decoder', 'shared_image_embedding'],
  read: (outer) => {
    const read = outer.inner('vision_config') ?? outer;
    const c = read.count('hidden_size', 768);
    const [layers, heads] = [read.count('num_hidden_layers', 12), read.count('num_attention_heads', 12)];
    const eps = read.number('layer_norm_eps', 1e-6);
    const [patch, image] = [read.count('patch_size', 16), read.count('image_size', 1024)];
    const ratio = read.number('mlp_ratio', 4);
    const hidden = read.has('mlp_dim') ? read.count('mlp_dim') : Math.trunc(c * ratio);
    const outputs = read.count('output_channels', 256);
    const window = read.number('window_size', 14);
    const whole = read.has('global_attn_indexes') ? read.numbers('global_attn_indexes') : [2, 5, 8, 11];
    const [relative, absolute, qkvBias] = [
      read.flag('use_rel_pos', true),
      read.flag('use_abs_pos', true),
      read.flag('qkv_bias', true),
    ];
    const activation = geluOf(read, 'gelu');

    const attend = (p: Params, x: FeatureMap, side: number): FeatureMap => {
      const [h, w] = [x.size('h'), x.size('w')];
      const [rows, columns] = side === 0 ? [h, w] : [side, side];
      const native = side === 0 ? Math.floor(image / patch) : side;
      // Padding stands at the bottom and on the right, and takes part in its windows.
      const full = pad(pad(x, 'h', { after: (rows - (h % rows)) % rows }), 'w', {
        after: (columns - (w % columns)) % columns,
      });
      const tokens: Tokens = rearrange(full, 'b (y i) (x j) c -> b=(b y x) n=(i j) c', { i: rows, j: columns });
      const own = p.at('attn');
      const read = selfAttention(
        {
          norm1: p.at('layer_norm1'),
          norm2: p.at('layer_norm2'),
          qkv: own.at('qkv'),
          qkvBias,
          out: own.at('proj'),
          mlp: (y) => y,
          mask: relative ? (query) => scoreBias(own, query, [rows, columns], native) : undefined,
        },
        tokens,
        heads,
      );
      const map = rearrange(read, '(b y x) (i j) c -> b h=(y i) w=(x j) c', {
        y: full.size('h') / rows,
        x: full.size('w') / columns,
        i: rows,
        j: columns,
      });
      return slice(slice(map, 'h', { size: h }), 'w', { size: w });
    };

    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['vision_encoder', ''], 'patch_embed.projection.weight');
        const grid = gridOf(pixels, patch);
        const side = Math.floor(image / patch);
        const patches = patchConv(root.at('patch_embed', 'projection'), pixels, { patch, size: c });
        const start = absolute
          ? patches.add(root.get('pos_embed', 'one h w c', { one: 1, h: side, w: side, c }).at('one', 0))
          : patches;
        const maps: FeatureMap[] = [start];
        for (let i = 0; i < layers; i++) {
          const [at, x] = [root.at('layers', i), maps.at(-1) ?? start];
          const middle = x.add(attend(at, layerNorm(at.at('layer_norm1'), x, { eps }), whole.includes(i) ? 0 : window));
          const flat: Tokens = rearrange(layerNorm(at.at('layer_norm2'), middle, { eps }), 'b h w c -> b n=(h w) c');
          const mlp = geluMlp({ up: at.at('mlp', 'lin1'), down: at.at('mlp', 'lin2') }, flat, hidden, activation);
          maps.push(middle.add(rearrange(mlp, 'b (h w) c -> b h w c', { h: grid[0] })));
        }
        const hidden_ = maps.map((map): Tokens => rearrange(map, 'b h w c -> b n=(h w) c'));
        const [embeddings, last] = [hidden_[0], hidden_.at(-1)] as readonly [Tokens, Tokens];
        const end = maps.at(-1) ?? start;
        const neck = (): Tensor => {
          const at = root.at('neck');
          const narrow = conv2d(at.at('conv1'), end, { out: 'c', size: outputs, kernel: 1, bias: false });
          const normed = layerNorm(at.at('layer_norm1'), narrow, { eps: 1e-6 });
          const seen = conv2d(at.at('conv2'), normed, { out: 'c', size: outputs, kernel: 3, padding: 1, bias: false });
          return rearrange(layerNorm(at.at('layer_norm2'), seen, { eps: 1e-6 }), 'b h w c -> b c h w');
        };
        return {
          grid,
          classTokens: 0,
          embeddings,
          hidden: hidden_,
          last,
          features: last,
          named: {
            block1: () => hidden_[2] ?? last,
            pre_neck: () => end,
            last_hidden_state: neck,
            map: () => onGrid(end, grid),
          },
        };
      },
    };
  },
};
