// Aria: as many queries as the number of patches says, projected twice before they attend; an MLP, no residual anywhere.
import { layerNorm, linear, OpabiniaError, repeat, slice, type Params, type Tensor } from '../../../dsl/index.ts';
import { packedAttention, tokensOf, type Sequence } from '../../parts/attention.ts';
import { activate } from '../../parts/mlp.ts';
import { sized, type Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface AriaConfig {
  /** How many queries a picture of so many patches has: `[patches, queries]`. */
  readonly queriesFor: readonly (readonly [patches: number, queries: number])[];
  readonly heads: number;
  readonly eps: number;
}

export const aria = connector<AriaConfig>({
  name: 'aria',
  title: 'Aria projector',
  paper: 'arXiv 2410.05993',
  year: 2024,
  source: 'huggingface/transformers models/aria/modeling_aria.py AriaProjector',
  mathematics: ['k = W_k LN(x), v = W_v LN(x), q = W_q LN(Q)', 'r = LN(W MHA(q; k, v))', 'y = W₂ gelu_tanh(W₁ r)'],
  towers: 'one',
  presets: {
    'aria-25b-490': {
      config: {
        queriesFor: [
          [1225, 128],
          [4900, 256],
        ],
        heads: 16,
        eps: 1e-5,
      },
      maps: [[35, 35, 1152]],
      width: 2560,
    },
    'aria-25b-980': {
      config: {
        queriesFor: [
          [1225, 128],
          [4900, 256],
        ],
        heads: 16,
        eps: 1e-5,
      },
      maps: [[70, 70, 1152]],
      width: 2560,
    },
  },
  variants: (config, tokens, maps) => {
    const [rows = 1, columns = 1] = maps[0] ?? [];
    return [{ ...config, queriesFor: [[rows * columns, Math.max(1, Math.round(tokens))] as const] }];
  },
  build: (p, maps, config, { width }) => tokensOfQueries(ariaTokens(p, tokensOf(onlyMap(maps)), config, { width })),
});

/** `seen`: true where a patch may be attended to. */
export function ariaTokens(
  p: Params,
  x: Sequence,
  { queriesFor, heads, eps }: AriaConfig,
  options: { readonly width?: number | undefined; readonly seen?: Tensor<'b n', 'bool'> | undefined },
): Queries {
  const patches = x.size('n');
  const count = queriesFor.find(([of]) => of === patches)?.[1];
  if (count === undefined)
    throw new OpabiniaError(`there is no number of queries for ${patches} patches`, {
      op: 'aria',
      advice: `it is known for ${queriesFor.map(([of]) => of).join(', ')}`,
    });
  const c = x.size('c');
  const most = Math.max(...queriesFor.map(([, queries]) => queries));
  const learned = slice(p.get('query', 'q c', { q: most, c }), 'q', { size: count });
  const own = p.at('cross_attn');
  const plain = { size: c, bias: false };
  const q = linear(own.at('q_proj'), layerNorm(own.at('layer_norm'), learned, { eps }), 'c', plain);
  const kv = layerNorm(own.at('layer_norm_kv'), x, { eps });
  const [k, v] = [linear(own.at('k_proj'), kv, 'c', plain), linear(own.at('v_proj'), kv, 'c', plain)];
  const query = repeat(q, 'q c -> b q c', { b: x.sizeOf('b') });
  const read = packedAttention(own.at('multihead_attn'), query, k, v, { heads, mask: options.seen });
  const r = layerNorm(p.at('layer_norm'), linear(own.at('linear'), read, 'c', { size: c }), { eps });
  const inner = activate(
    linear(p.at('feed_forward', 'linear_in'), r, 'c', { ...sized(options.width), bias: false }),
    'gelu-tanh',
  );
  return linear(p.at('feed_forward', 'linear_out'), inner, 'c', { size: inner.size('c'), bias: false });
}
