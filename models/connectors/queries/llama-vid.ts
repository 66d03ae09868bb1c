// LLaMA-VID: a frame is one context token, what the question attends to in it, and a few content tokens, means of a grid.
import {
  avgPool2d,
  einsum,
  linear,
  rearrange,
  reduce,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { tokensOf } from '../../parts/attention.ts';
import { sized, type FeatureMap, type Queries } from '../../sequence/regions.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { gridTokens, joinTokens, tokensOfQueries, toLanguage, type VisualTokens } from '../visual-tokens.ts';

export interface LlamaVidConfig {
  /** Side of the grid of content tokens; 1: the mean of the frame. 0: every token of the frame. */
  readonly side: number;
}

/** The context's `question` is that of the text encoder (BERT or a Q-Former), not of the language model. */
export const llamaVid = connector<LlamaVidConfig>({
  name: 'llama-vid',
  title: 'LLaMA-VID context and content tokens',
  paper: 'arXiv 2311.17043',
  year: 2023,
  source: 'dvlab-research/LLaMA-VID llamavid/model/llamavid_arch.py token_generation',
  mathematics: [
    'context = W_v mean_q(softmax(W_q t (W_k x)ᵀ / √c) x)',
    'content = W pool(x)',
    'y = [context ; content]',
  ],
  towers: 'one',
  presets: {
    'llama-vid-7b-video': { config: { side: 1 }, maps: [[16, 16, 1408]], width: 4096 },
    'llama-vid-7b-image': { config: { side: 0 }, maps: [[16, 16, 1408]], width: 4096 },
  },
  variants: (config, tokens) => [{ ...config, side: Math.max(1, Math.round(Math.sqrt(tokens - 1))) }],
  build: (p, maps, { side }, context) => {
    const map = onlyMap(maps);
    const text = rearrange(required(context, 'question', 'llama-vid')(), 'b t e -> b q=(t) c=(e)');
    const width = sized(context.width);
    const read = linear(p.at('vlm_att_val_projector'), contextOf(p, text, map), 'c', width);
    const pooled =
      side === 0
        ? map
        : avgPool2d(map, { kernel: [Math.floor(map.size('h') / side), Math.floor(map.size('w') / side)] });
    const content: VisualTokens = gridTokens(toLanguage(linear(p.at('mm_projector'), pooled, 'c', width)));
    return joinTokens([tokensOfQueries(read), content]);
  },
});

/** What all words of the question attend to, averaged: one vector a picture. The values are the tower's own. */
function contextOf(p: Params, text: Queries, map: FeatureMap): Queries {
  const x = tokensOf(map);
  const c = x.size('c');
  const q = linear(p.at('vlm_att_projector'), text, 'c', { size: c });
  const k = linear(p.at('vlm_att_key_projector'), x, 'c', { size: c });
  const scores = einsum(q, k, 'b q c, b n c -> b q n')
    .cast('f32')
    .mul(1 / Math.sqrt(c));
  const read: Tensor<'b q c', Float> = einsum(softmax(scores, 'n').cast(x.dtype), x, 'b q n, b n c -> b q c');
  return rearrange(reduce(read, 'b q c -> b c', 'mean'), 'b (q c) -> b q c', { q: 1 });
}
