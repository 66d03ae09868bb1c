// InternViT (arXiv 2312.14238), with the names of its authors or of transformers: LayerScale, no last norm; the 6B has RMS norms and norms of
// all queries and keys together.
import { rmsNorm, slice, type Params } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { gridOf, rootOf } from '../tower.ts';
import { geluMlp, positionRows, positionsFor, type BlockParts } from '../vit.ts';

type Places = Pick<BlockParts, 'norm1' | 'norm2' | 'qkv' | 'out'> & { readonly own: Params };

/** Who wrote the config and named the parameters. */
interface Layout {
  readonly defaults: readonly [width: number, layers: number, heads: number, hidden: number, image: number];
  readonly norm: 'rms_norm' | 'layer_norm';
  readonly qkvBias: string;
  readonly headNorms: readonly [field: string, otherwise: boolean];
  /** Of the norms of queries and keys, where it is not that of the others. */
  readonly headEps?: number;
  readonly roots: readonly string[];
  readonly classToken: string;
  readonly positions: string;
  readonly patches: readonly string[];
  readonly blocks: string;
  readonly scales: readonly [string, string];
  readonly places: (layer: Params) => Places;
}

const authors: Layout = {
  defaults: [3200, 48, 25, 12_800, 224],
  norm: 'rms_norm',
  qkvBias: 'qkv_bias',
  headNorms: ['qk_normalization', true],
  roots: ['vision_model', ''],
  classToken: 'class_embedding',
  positions: 'position_embedding',
  patches: ['patch_embedding'],
  blocks: 'layers',
  scales: ['ls1', 'ls2'],
  places: (layer) => {
    const own = layer.at('attn');
    return { own, norm1: layer.at('norm1'), qkv: own.at('qkv'), out: own.at('proj'), norm2: layer.at('norm2') };
  },
};

const hub: Layout = {
  defaults: [1024, 24, 16, 4096, 448],
  norm: 'layer_norm',
  qkvBias: 'attention_bias',
  headNorms: ['use_qk_norm', false],
  headEps: 1e-6,
  roots: [''],
  classToken: 'cls_token',
  positions: 'position_embeddings',
  patches: ['patch_embeddings', 'projection'],
  blocks: 'layer',
  scales: ['lambda_1', 'lambda_2'],
  places: (layer) => {
    const own = layer.at('attention');
    return {
      own,
      norm1: layer.at('layernorm_before'),
      qkv: { query: own.at('q_proj'), key: own.at('k_proj'), value: own.at('v_proj') },
      out: own.at('projection_layer'),
      norm2: layer.at('layernorm_after'),
    };
  },
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
    const [qkvBias, headNorms] = [read.flag(layout.qkvBias, false), read.flag(...layout.headNorms)];
    const headEps = layout.headEps ?? eps;
    // What pools the class token norms all tokens first.
    const lastNorm = !read.flag('use_mean_pooling', true);
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, layout.roots, `embeddings.${layout.classToken}`);
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const positions = positionsFor(tableRows(at, layout.positions, { n: positionRows(config, 1), c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
        });
        const first = tableRows(at, layout.classToken, { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
        const patches = patchTokens(at.at(...layout.patches), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings: behind([first], patches.add(slice(positions, 'n', { start: 1 }))),
          config,
          block: (i) => {
            const layer = root.at('encoder', layout.blocks, i);
            const { own, ...places } = layout.places(layer);
            const mlp = { up: layer.at('mlp', 'fc1'), down: layer.at('mlp', 'fc2') };
            const [first, second] = layout.scales;
            return {
              ...places,
              norm: kind === 'rms_norm' ? 'rms' : 'layer',
              qkvBias,
              queryKeyNorm: headNorms
                ? (of, x) => rmsNorm(own.at(of === 'query' ? 'q_norm' : 'k_norm'), x, { eps: headEps })
                : undefined,
              mlp: (x) => geluMlp(mlp, x, hidden, activation),
              scales: [layer.get(first, 'c', { c }), layer.get(second, 'c', { c })],
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
