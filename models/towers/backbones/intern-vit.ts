// InternViT (arXiv 2312.14238), with the names of its authors: LayerScale, no last norm; the 6B has RMS norms and norms of all queries and
// keys together.
import { rmsNorm, slice } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import { encodeVit, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { gridOf, rootOf } from '../tower.ts';
import { geluMlp, positionRows, positionsFor } from '../vit.ts';

export const internVit: BackboneType = {
  kind: 'intern-vit',
  types: ['intern_vit_6b'],
  unread: ['language_model', 'mlp1', 'vision_model.embeddings.position_ids'],
  read: (outer) => {
    const read = outer.inner('vision_config') ?? outer;
    const kind = read.text('norm_type', 'rms_norm');
    if (kind !== 'rms_norm' && kind !== 'layer_norm')
      throw read.wrong('norm_type', `is '${kind}'`, 'known are rms_norm, layer_norm');
    const config = {
      width: read.count('hidden_size', 3200),
      layers: read.count('num_hidden_layers', 48),
      heads: read.count('num_attention_heads', 25),
      hidden: read.count('intermediate_size', 12_800),
      image: read.count('image_size', 224),
      patch: read.count('patch_size', 14),
      eps: read.number('layer_norm_eps', 1e-6),
    };
    const { width: c, patch, eps, hidden } = config;
    const activation = geluOf(read, 'gelu');
    const [qkvBias, headNorms] = [read.flag('qkv_bias', false), read.flag('qk_normalization', true)];
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['vision_model', ''], 'embeddings.class_embedding');
        const at = root.at('embeddings');
        const grid = gridOf(pixels, patch);
        const positions = positionsFor(tableRows(at, 'position_embedding', { n: positionRows(config, 1), c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
        });
        const first = tableRows(at, 'class_embedding', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
        const patches = patchTokens(at.at('patch_embedding'), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings: behind([first], patches.add(slice(positions, 'n', { start: 1 }))),
          config,
          block: (i) => {
            const layer = root.at('encoder', 'layers', i);
            const own = layer.at('attn');
            const mlp = { up: layer.at('mlp', 'fc1'), down: layer.at('mlp', 'fc2') };
            return {
              norm: kind === 'rms_norm' ? 'rms' : 'layer',
              norm1: layer.at('norm1'),
              qkv: own.at('qkv'),
              qkvBias,
              queryKeyNorm: headNorms
                ? (of, x) => rmsNorm(own.at(of === 'query' ? 'q_norm' : 'k_norm'), x, { eps })
                : undefined,
              out: own.at('proj'),
              norm2: layer.at('norm2'),
              mlp: (x) => geluMlp(mlp, x, hidden, activation),
              scales: [layer.get('ls1', 'c', { c }), layer.get('ls2', 'c', { c })],
            };
          },
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
