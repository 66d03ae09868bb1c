// Q-Former (Li et al. 2023, arXiv 2301.12597, section 3.1): BERT layers with norms behind, in which queries also attend to the picture.
import { concat, layerNorm, linear, slice, type Params, type Tensor } from '../../dsl/index.ts';
import type { Queries } from '../sequence/regions.ts';
import { asTokens, projectedAttention, type Sequence } from './attention.ts';
import { activate } from './mlp.ts';

export interface QFormerConfig {
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLPs. */
  readonly intermediate: number;
  /** Every how many layers the queries attend to the picture, from the first on. */
  readonly crossEvery: number;
  readonly eps: number;
}

export interface QFormerText {
  /** How many of the rows are queries; the rest are text, which does not see the picture and has an MLP of its own. */
  readonly queries: number;
  /** True where a row may be attended to. */
  readonly mask?: Tensor<'b n', 'bool'> | undefined;
}

const names = {
  query: 'attention.query',
  key: 'attention.key',
  value: 'attention.value',
  out: 'output.dense',
} as const;

/** All layers, from rows that are normed already. `p` holds `layer.N`. */
export function qFormer(
  p: Params,
  rows: Queries,
  picture: Sequence,
  config: QFormerConfig,
  text?: QFormerText,
): Queries {
  let x = rows;
  for (let i = 0; i < config.layers; i++) {
    const layer = p.at('layer', i);
    x = attended(layer.at('attention'), x, asTokens(x), config, text?.mask);
    const count = text?.queries ?? x.size('q');
    let queries = slice(x, 'q', { size: count });
    if (i % config.crossEvery === 0) queries = attended(layer.at('crossattention'), queries, picture, config);
    const moved = fed(layer, 'intermediate_query', 'output_query', queries, config);
    x =
      count === x.size('q')
        ? moved
        : concat([moved, fed(layer, 'intermediate', 'output', slice(x, 'q', { start: count }), config)], 'q');
  }
  return x;
}

/** LN(x + attention). */
function attended(p: Params, x: Queries, context: Sequence, config: QFormerConfig, mask?: Tensor): Queries {
  const read = projectedAttention(p, x, context, context, { names, bias: true, heads: config.heads, mask });
  return layerNorm(p.at('output', 'LayerNorm'), read.add(x), { eps: config.eps });
}

/** LN(x + W₂ gelu(W₁ x)). */
function fed(p: Params, inner: string, outer: string, x: Queries, { intermediate, eps }: QFormerConfig): Queries {
  const wide = activate(linear(p.at(inner, 'dense'), x, 'c', { size: intermediate }), 'gelu');
  const out = linear(p.at(outer, 'dense'), wide, 'c', { size: x.size('c') });
  return layerNorm(p.at(outer, 'LayerNorm'), out.add(x), { eps });
}
