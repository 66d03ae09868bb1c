// Gemma 3n: RMSNorm, a linear map, RMSNorm without a scale. Its tower's own hard tokens go the same way with a norm of their own.
import { gather, linear, rearrange, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { norm } from '../../parts/norms.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Gemma3nConfig {
  readonly eps: number;
  /** Multiply the features by √C first, as the model around the embedder does. */
  readonly scaled: boolean;
}

export const gemma3n = connector<Gemma3nConfig>({
  name: 'gemma-3n',
  title: 'Gemma 3n',
  paper: 'https://ai.google.dev/gemma/docs/gemma-3n',
  year: 2025,
  source: 'huggingface/transformers models/gemma3n/modeling_gemma3n.py Gemma3nMultimodalEmbedder',
  mathematics: ['y = RMS(W RMS_w(√C x)),  the outer norm without a scale'],
  towers: 'one',
  presets: {
    'gemma-3n-e4b': { config: { eps: 1e-6, scaled: true }, maps: [[16, 16, 2048]], width: 2048 },
  },
  build: (p, maps, config, { width }) => {
    const map = onlyMap(maps);
    const x = config.scaled ? map.mul(Math.sqrt(map.size('c'))) : map;
    return mapTokens(embedded(p, 'soft_embedding_norm', x, config, width));
  },
});

function embedded(
  p: Params,
  path: string,
  x: FeatureMap,
  { eps }: Gemma3nConfig,
  width: number | undefined,
): FeatureMap {
  const normed = norm(p, x, { kind: 'rms', path, eps });
  const y = linear(p.at('embedding_projection'), normed, 'c', { ...sized(width), bias: false });
  return norm(p, y, { kind: 'rms-plain', path: '', eps });
}

/** Token ids of the embedder's own vocabulary, counted from its first, as the language model's vectors. */
export function gemma3nHardTokens(
  p: Params,
  ids: Tensor<'b n', 'i32'>,
  config: Gemma3nConfig,
  width?: number,
): Tensor<'b n e', Float> {
  const rows = gather(p.at('embedding').get('weight', 'v c'), ids, 'v');
  return mapTokens(
    embedded(p, 'hard_embedding_norm', rearrange(rows, 'b (h n) c -> b h w=(n) c', { h: 1 }), config, width),
  ).tokens;
}
