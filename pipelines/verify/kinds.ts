// The kinds of golden files that `verify` knows. A new kind is one file in `kinds/` and one row here.
import type { Kind } from './kind.ts';
import { baselineProjector } from './kinds/baseline.ts';
import { bilinear } from './kinds/bilinear.ts';
import { connector } from './kinds/connector.ts';
import { connectorGradients } from './kinds/connector-gradients.ts';
import { languageModels } from './kinds/language-model.ts';
import { backboneKinds, clip, convNextKind, dinov2, siglip } from './kinds/encoders.ts';
import { opGradients } from './kinds/gradient-ops/index.ts';
import { ggufLanguageModel, ggufProjector } from './kinds/gguf.ts';
import { masks } from './kinds/masks.ts';
import { naflex, qwen25Tower, qwen3Tower } from './kinds/patch-towers.ts';
import { gemma3VlKind, qwen25Vl, qwen3Vl, smolVlmKind } from './kinds/whole-models.ts';
import { pipeline } from './kinds/pipeline.ts';
import { preprocess } from './kinds/preprocess.ts';
import { quantAffine, quantBlock } from './kinds/quantized.ts';
import { trainCambrian } from './kinds/train-cambrian.ts';
import { trainAccumulation, trainOptimizer } from './kinds/train-mlp.ts';
import { aggregationLayer, crossAttentionLayer, svaGradients, tokenSampler } from './kinds/sva-layers.ts';

export const kinds: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['VisionCrossAttentionLayer', crossAttentionLayer],
  ['VisionAggregationLayer', aggregationLayer],
  ['VisionTokenSampler', tokenSampler],
  ['grad.ops', opGradients],
  ['grad.sva_layer', svaGradients],
  ['grad.connector', connectorGradients],
  ['pipeline', pipeline],
  ['masks', masks],
  ['bilinear_align_corners_false', bilinear],
  ['baseline_projector', baselineProjector],
  ['preprocess', preprocess],
  ['connector', connector],
  ['clip-vit', clip],
  ['siglip-vit', siglip],
  ['siglip2-vit', siglip],
  ...backboneKinds,
  ['siglip2-naflex', naflex],
  ['qwen2.5-vl-vit', qwen25Tower],
  ['qwen3-vl-vit', qwen3Tower],
  ['dinov2', dinov2],
  ['convnext', convNextKind],
  ...languageModels,
  ['qwen2.5-vl', qwen25Vl],
  ['qwen3-vl', qwen3Vl],
  ['smolvlm', smolVlmKind],
  ['gemma3-vl', gemma3VlKind],
  ['gguf-llm', ggufLanguageModel],
  ['gguf-mmproj', ggufProjector],
  ['quant-block', quantBlock],
  ['quant-affine', quantAffine],
  ['train.adamw', trainOptimizer],
  ['train.sgd', trainOptimizer],
  ['train.lion', trainOptimizer],
  ['train.muon', trainOptimizer],
  ['train.accumulation', trainAccumulation],
  ['train.stage1', trainCambrian],
  ['train.stage2', trainCambrian],
]);
