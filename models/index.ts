// `opabinia/models`: towers, language models, whole models and what joins them; connectors are in `opabinia/connectors`.
export { readConfig } from './configs/read.ts';
export type { ModelConfig } from './configs/read.ts';
export { countParameters, shapedParams } from './configs/param-shapes.ts';
export { decodeGraph, prefillGraph } from './decoders/generation-graphs.ts';
export { llama } from './decoders/llama.ts';
export { phi3 } from './decoders/phi3.ts';
export { turnGraph } from './decoders/turn-graph.ts';
export { clipFeatures } from './towers/clip.ts';
export { convNextFeatures } from './towers/convnext.ts';
export { dinov2Features } from './towers/dinov2.ts';
export { siglipFeatures } from './towers/siglip.ts';
export { regionMask } from './sequence/masks.ts';
export { regionsOf } from './sequence/regions.ts';
export type { FeatureMap } from './sequence/regions.ts';
