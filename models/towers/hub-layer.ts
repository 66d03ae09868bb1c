// A block under the names of transformers' ViT, which MAE, I-JEPA, DPT and BEiT share, and what stands before the blocks.
import { concat, rearrange, repeat, slice, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { geluOf, type Gelu } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import { patchConv, type Pixels } from './tower.ts';
import { geluMlp, type BlockParts, type Tokens, type VitConfig } from './vit.ts';

export interface HubVitConfig extends VitConfig {
  readonly activation: Gelu;
  readonly qkvBias: boolean;
}

/** A config with the fields of `ViTConfig`; `eps` and `image` are the class's own defaults. */
export function hubVitConfig(read: ConfigReader, eps: number, image = 224): HubVitConfig {
  return {
    width: read.count('hidden_size', 768),
    layers: read.count('num_hidden_layers', 12),
    heads: read.count('num_attention_heads', 12),
    hidden: read.count('intermediate_size', 3072),
    image: read.count('image_size', image),
    patch: read.count('patch_size', 16),
    eps: read.number('layer_norm_eps', eps),
    activation: geluOf(read, 'gelu'),
    qkvBias: read.flag('qkv_bias', true),
  };
}

/** Where block `p` keeps its parts. */
export function hubLayer(p: Params, { hidden, activation, qkvBias }: HubVitConfig): BlockParts {
  const own = p.at('attention', 'attention');
  return {
    norm1: p.at('layernorm_before'),
    qkv: { query: own.at('query'), key: own.at('key'), value: own.at('value') },
    qkvBias,
    out: p.at('attention', 'output', 'dense'),
    norm2: p.at('layernorm_after'),
    mlp: (x) => geluMlp({ up: p.at('intermediate', 'dense'), down: p.at('output', 'dense') }, x, hidden, activation),
  };
}

/** Patches as tokens, row by row. */
export function patchTokens(
  p: Params,
  pixels: Pixels,
  options: { patch: number; size: number; bias?: boolean },
): Tokens {
  return rearrange(patchConv(p, pixels, options), 'b h w c -> b n=(h w) c');
}

/** Tokens of a table `1 n c` or `1 1 c`. */
export function tableRows(
  p: Params,
  name: string,
  sizes: { readonly n: number; readonly c: number },
): Tensor<'n c', Float> {
  return p.get(name, 'one n c', { one: 1, ...sizes }).at('one', 0);
}

/** Rows that are the same for every picture, in front of its tokens. */
export function behind(rows: readonly Tensor<'n c', Float>[], tokens: Tokens): Tokens {
  const b = tokens.sizeOf('b');
  return concat([...rows.map((row): Tokens => repeat(row, 'n c -> b n c', { b })), tokens], 'n');
}

/** Tokens without the first `count`. */
export function without(tokens: Tokens, count: number): Tokens {
  return count === 0 ? tokens : slice(tokens, 'n', { start: count });
}
