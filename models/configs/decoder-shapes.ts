// Names and shapes of a language model's parameters, as its checkpoint has them.
import type { DecoderConfig, LanguageModel } from '../decoders/decoder.ts';
import { affineShapes, repeated, under, type ShapeEntry, type Shapes } from './param-shapes.ts';

export function decoderShapes({ config, family: { fused } }: LanguageModel): Shapes {
  const { hidden, intermediate, heads, keyValueHeads, headSize, vocabulary, attentionBias, mlpBias } = config;
  const [wide, narrow] = [heads * headSize, keyValueHeads * headSize];
  const attention: readonly ShapeEntry[] = fused
    ? affineShapes('qkv_proj', [wide + 2 * narrow, hidden], attentionBias)
    : [
        ...affineShapes('q_proj', [wide, hidden], attentionBias),
        ...affineShapes('k_proj', [narrow, hidden], attentionBias),
        ...affineShapes('v_proj', [narrow, hidden], attentionBias),
      ];
  const gates: readonly ShapeEntry[] = fused
    ? affineShapes('gate_up_proj', [2 * intermediate, hidden], mlpBias)
    : [
        ...affineShapes('gate_proj', [intermediate, hidden], mlpBias),
        ...affineShapes('up_proj', [intermediate, hidden], mlpBias),
      ];
  const out = affineShapes('o_proj', [hidden, wide], config.outputBias ?? attentionBias);
  return new Map([
    ['model.embed_tokens.weight', [vocabulary, hidden]],
    ...repeated(config.layers, (i) =>
      under(`model.layers.${i}`, [
        ...under('self_attn', [...attention, ...out, ...headNorms(config, wide, narrow)]),
        ...under('mlp', [...gates, ...affineShapes('down_proj', [hidden, intermediate], mlpBias)]),
        ...layerNorms[config.norms ?? 'before'].map((name): ShapeEntry => [`${name}.weight`, [hidden]]),
      ]),
    ),
    ['model.norm.weight', [hidden]],
    ...(config.tied ? [] : [['lm_head.weight', [vocabulary, hidden]] as const]),
  ]);
}

const layerNorms = {
  before: ['input_layernorm', 'post_attention_layernorm'],
  behind: ['post_attention_layernorm', 'post_feedforward_layernorm'],
  both: ['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'],
} as const;

function headNorms({ queryKeyNorm, headSize }: DecoderConfig, wide: number, narrow: number): readonly ShapeEntry[] {
  if (queryKeyNorm === undefined) return [];
  const [query, key] = queryKeyNorm === 'head' ? [headSize, headSize] : [wide, narrow];
  return [
    ['q_norm.weight', [query]],
    ['k_norm.weight', [key]],
  ];
}
