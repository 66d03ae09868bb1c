// InstructBLIP: the instruction goes through the Q-Former beside the queries, so that they know what is asked.
import {
  concat,
  gather,
  layerNorm,
  linear,
  pad,
  rearrange,
  slice,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { tokensOf, type Sequence } from '../../parts/attention.ts';
import { qFormer } from '../../parts/qformer.ts';
import { learnedTokens } from '../../parts/visual-abstractor.ts';
import { sized, type Queries } from '../../sequence/regions.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';
import { qFormerBase, type Blip2Config } from './blip-2.ts';

export interface InstructBlipConfig extends Blip2Config {
  /** Of the Q-Former's own tokenizer; with a checkpoint it may be left to that. */
  readonly vocabulary?: number | undefined;
  readonly maxPositions?: number | undefined;
}

const config = { ...qFormerBase, vocabulary: 30523, maxPositions: 512 } as const;

/** Its map has the class token among its cells. */
export const instructBlip = connector<InstructBlipConfig>({
  name: 'instructblip',
  title: 'InstructBLIP Q-Former',
  paper: 'arXiv 2305.06500',
  year: 2023,
  source: 'huggingface/transformers models/instructblip/modeling_instructblip.py InstructBlipQFormerModel',
  mathematics: [
    'r ← LN([Q ; words + positions])',
    '12 ×: r ← LN(r + SA(r)); of the queries every second: q ← LN(q + XA(q; x)); two MLPs',
    'y = W q',
  ],
  towers: 'one',
  presets: {
    'instructblip-vicuna-7b': { config, maps: [[1, 257, 1408]], width: 4096 },
    'instructblip-flan-t5-xl': { config, maps: [[1, 257, 1408]], width: 2048 },
  },
  variants: (from, tokens) => [{ ...from, queries: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, options, context) => {
    const ids = required(context, 'questionIds', 'instructblip')();
    const rows = instructedRows(p, tokensOf(onlyMap(maps)), ids, context.questionMask?.(), options);
    const results = slice(rows, 'q', { size: options.queries });
    return tokensOfQueries(linear(p.at('language_projection'), results, 'c', sized(context.width)));
  },
});

/** All rows of the Q-Former: queries, then the instruction. */
export function instructedRows(
  p: Params,
  picture: Sequence,
  ids: Tensor<'b t', 'i32'>,
  mask: Tensor<'b t', 'bool'> | undefined,
  options: InstructBlipConfig,
): Queries {
  const { queries: q, size, vocabulary, maxPositions, eps } = options;
  const c = size === undefined ? {} : { c: size };
  const learned = learnedTokens(p, 'query_tokens', picture, { q, ...c });
  const embeddings = p.at('qformer', 'embeddings');
  const table = embeddings
    .at('word_embeddings')
    .get('weight', 'v c', { ...c, ...(vocabulary === undefined ? {} : { v: vocabulary }) });
  const places = embeddings
    .at('position_embeddings')
    .get('weight', 't c', { ...c, ...(maxPositions === undefined ? {} : { t: maxPositions }) });
  const words = gather(table, ids, 'v').add(slice(places, 't', { size: ids.size('t') }));
  const start = layerNorm(embeddings.at('layernorm'), concat([learned, rearrange(words, 'b t c -> b q=(t) c')], 'q'), {
    eps,
  });
  const seen = mask === undefined ? undefined : pad(rearrange(mask, 'b t -> b n=(t)'), 'n', { before: q, value: 1 });
  return qFormer(p.at('qformer', 'encoder'), start, picture, options, { queries: q, mask: seen });
}
