// Names and shapes of a language model's parameters, as its checkpoint has them.
import type { LanguageModel } from '../decoders/decoder.ts';
import { affineShapes, repeated, under, type ShapeEntry, type Shapes } from './param-shapes.ts';

/** `fused`: projections that read the same are one matrix, as Phi-3 stores them. */
export function decoderShapes({ config }: LanguageModel, fused: boolean): Shapes {
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
  return new Map([
    ['model.embed_tokens.weight', [vocabulary, hidden]],
    ...repeated(config.layers, (i) =>
      under(`model.layers.${i}`, [
        ...under('self_attn', [...attention, ...affineShapes('o_proj', [hidden, wide], attentionBias)]),
        ...under('mlp', [...gates, ...affineShapes('down_proj', [hidden, intermediate], mlpBias)]),
        ['input_layernorm.weight', [hidden]],
        ['post_attention_layernorm.weight', [hidden]],
      ]),
    ),
    ['model.norm.weight', [hidden]],
    ...(config.tied ? [] : [['lm_head.weight', [vocabulary, hidden]] as const]),
  ]);
}
