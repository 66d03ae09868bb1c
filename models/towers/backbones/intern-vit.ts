// InternViT (arXiv 2312.14238), with the names of its authors or of transformers: LayerScale, no last norm; the 6B has RMS norms and norms of
// all queries and keys together.
import { rmsNorm, slice, type Params } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { gridOf, rootOf } from '../tower.ts';
import { geluMlp, positionRows, positionsFor, type BlockParts } from '../vit.ts';

/** Who wrote the config and named the parameters. */
interface Layout {
  readonly defaults: readonly [width: number, layers: number, heads: number, hidden: number, image: number];
  readonly norm: 'rms_norm' | 'layer_norm';
  /** Fields: biases of queries, keys and values, and whether queries and keys are normed. */
  readonly flags: readonly [qkvBias: string, headNorms: string];
  readonly headNorms: boolean;
  /** Of the norms of queries and keys, where it is not that of the others. */
  readonly headEps?: number;
  readonly roots: readonly string[];
  readonly embeddings: readonly [classToken: string, positions: string, ...patches: string[]];
  readonly block: readonly [blocks: string, norm1: string, attention: string, out: string, norm2: string];
  readonly scales: readonly [string, string];
  readonly qkv: (attention: Params) => BlockParts['qkv'];
}

const authors: Layout = {
  defaults: [3200, 48, 25, 12_800, 224],
  norm: 'rms_norm',
  flags: ['qkv_bias', 'qk_normalization'],
  headNorms: true,
  roots: ['vision_model', ''],
  embeddings: ['class_embedding', 'position_embedding', 'patch_embedding'],
  block: ['layers', 'norm1', 'attn', 'proj', 'norm2'],
  scales: ['ls1', 'ls2'],
  qkv: (p) => p.at('qkv'),
};

const hub: Layout = {
  defaults: [1024, 24, 16, 4096, 448],
  norm: 'layer_norm',
  flags: ['attention_bias', 'use_qk_norm'],
  headNorms: false,
  headEps: 1e-6,
  roots: [''],
  embeddings: ['cls_token', 'position_embeddings', 'patch_embeddings', 'projection'],
  block: ['layer', 'layernorm_before', 'attention', 'projection_layer', 'layernorm_after'],
  scales: ['lambda_1', 'lambda_2'],
  qkv: (p) => ({ query: p.at('q_proj'), key: p.at('k_proj'), value: p.at('v_proj') }),
};

const hubType = 'internvl_vision';

/** A side in pixels, which transformers writes twice. Throws `OpabiniaError` where the two differ. */
export function squareSide(read: ConfigReader, key: string, otherwise: number): number {
  const [height, width] = read.sides(key, otherwise);
  if (height === width) return height;
  throw read.wrong(key, `is ${height} × ${width}`, 'known are squares');
}

export const internVit: BackboneType = {
  kind: 'intern-vit',
  types: ['intern_vit_6b', hubType],
  unread: ['language_model', 'mlp1', 'vision_model.embeddings.position_ids', 'embeddings.mask_token'],
  read: (outer) => {
    const read = outer.inner('vision_config') ?? outer;
    const layout = read.text('model_type', '') === hubType ? hub : authors;
    const [width, layers, heads, inner, image] = layout.defaults;
    const kind = read.text('norm_type', layout.norm);
    if (kind !== 'rms_norm' && kind !== 'layer_norm')
      throw read.wrong('norm_type', `is '${kind}'`, 'known are rms_norm, layer_norm');
    read.fixed({ use_absolute_position_embeddings: true });
    const config = {
      width: read.count('hidden_size', width),
      layers: read.count('num_hidden_layers', layers),
      heads: read.count('num_attention_heads', heads),
      hidden: read.count('intermediate_size', inner),
      image: squareSide(read, 'image_size', image),
      patch: squareSide(read, 'patch_size', 14),
      eps: read.number('layer_norm_eps', 1e-6),
    };
    const { width: c, patch, eps, hidden } = config;
    const activation = geluOf(read, 'gelu');
    const [qkvBias, headNorms] = [read.flag(layout.flags[0], false), read.flag(layout.flags[1], layout.headNorms)];
    const headEps = layout.headEps ?? eps;
    // What pools the class token norms all tokens first.
    const lastNorm = !read.flag('use_mean_pooling', true);
    return {
      width: c,
      encode: (p, pixels) => {
        const [classToken, table, ...projection] = layout.embeddings;
        const root = rootOf(p, layout.roots, `embeddings.${classToken}`);
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const positions = positionsFor(tableRows(at, table, { n: positionRows(config, 1), c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
        });
        const first = tableRows(at, classToken, { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
        const patches = patchTokens(at.at(...projection), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings: behind([first], patches.add(slice(positions, 'n', { start: 1 }))),
          config,
          block: (i) => {
            const [blocks, norm1, attention, out, norm2] = layout.block;
            const layer = root.at('encoder', blocks, i);
            const own = layer.at(attention);
            const mlp = { up: layer.at('mlp', 'fc1'), down: layer.at('mlp', 'fc2') };
            const scale = (name: string) => layer.get(name, 'c', { c });
            return {
              norm1: layer.at(norm1),
              qkv: layout.qkv(own),
              out: own.at(out),
              norm2: layer.at(norm2),
              norm: kind === 'rms_norm' ? 'rms' : 'layer',
              qkvBias,
              queryKeyNorm: headNorms
                ? (of, x) => rmsNorm(own.at(of === 'query' ? 'q_norm' : 'k_norm'), x, { eps: headEps })
                : undefined,
              mlp: (x) => geluMlp(mlp, x, hidden, activation),
              scales: [scale(layout.scales[0]), scale(layout.scales[1])],
            };
          },
          norm: lastNorm ? normedBy(root.at('layernorm'), eps) : undefined,
        });
        return {
          ...encoded,
          features: without(encoded.last, 1),
          named: { pooler_output: () => encoded.last.at('n', 0) },
        };
      },
    };
  },
};
