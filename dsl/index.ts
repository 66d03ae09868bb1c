// The DSL: everything a model, a test or a tool needs of it.
export {
  addSizes,
  axisOf,
  divideSize,
  evaluateSize,
  multiplySizes,
  printAxes,
  printSize,
  sizeBound,
  sizeLeast,
  sizesEqual,
  sizeSymbols,
  subtractSizes,
} from './axis/axis.ts';
export type { SymbolicSize, Axis, Size, SizeSymbol, SymbolValues } from './axis/axis.ts';
export { OpabiniaError, nearestNames } from './error.ts';
export type { Where } from './error.ts';
export { gradients } from './gradient/gradients.ts';
export type { GradientOptions } from './gradient/gradients.ts';
export { recompute } from './gradient/recompute.ts';
export { stopGradient } from './gradient/stop-gradient.ts';
export { Builder, describe, roleOf } from './graph/graph.ts';
export { order, orderFrom, roots } from './graph/walk.ts';
export type { Graph, Node, Origin, Update } from './graph/graph.ts';
export type { Attr, Attrs, DType, Kind, Op, Shows, SourceRole, TensorType } from './graph/op.ts';
export { parse } from './text/parse.ts';
export { print } from './text/print.ts';
export { ops, opByName } from './ops/index.ts';
export { Tensor } from './tensor.ts';
export type { Float, Operand } from './tensor.ts';
export type { AxisError, Has, Last, Renamed, SetLast, Without, Words } from './axis/pattern-types.ts';
export { concat, stack } from './functions/join.ts';
export { einsum, flip, gather, pad, rearrange, reduce, repeat, slice, window } from './functions/shape.ts';
export type { Sizes } from './functions/pattern-view.ts';
export {
  abs,
  cos,
  erf,
  exp,
  floor,
  isNaN,
  log,
  neg,
  rsqrt,
  shiftRight,
  sigmoid,
  sin,
  sqrt,
  tanh,
  where,
  xor,
} from './functions/math.ts';
export { scatterAdd } from './functions/scatter.ts';
export { argmax, argsort, oneHot, sort, topK } from './functions/rank.ts';
export type { Ranked } from './functions/rank.ts';
export { gelu, logSoftmax, relu, silu, softmax } from './functions/activations.ts';
export { attention } from './functions/attention.ts';
export { linear } from './functions/linear.ts';
export { groupNorm, layerNorm, rmsNorm, standardize } from './functions/norm.ts';
export type { AttentionOptions } from './functions/attention.ts';
export { multiHeadAttention, multiHeadProjections } from './functions/multi-head-attention.ts';
export type { MultiHeadAttentionOptions, MultiHeadProjections } from './functions/multi-head-attention.ts';
export { adaptiveAvgPool2d, avgPool2d, conv2d, maxPool2d, pixelShuffle, pixelUnshuffle } from './functions/conv.ts';
export type { ConvOptions, Pair } from './functions/conv.ts';
export { convTranspose2d } from './functions/conv-transpose.ts';
export type { ConvTransposeOptions } from './functions/conv-transpose.ts';
export { cumsum } from './functions/cumsum.ts';
export { arange, constantLike, full, fullLike } from './functions/fill.ts';
export { gridSample, sampleBilinear } from './functions/sample.ts';
export type { GridSampleOptions, SampleOptions } from './functions/sample.ts';
export { crossEntropy, linearCrossEntropy } from './functions/loss.ts';
export type { CrossEntropyOptions, LinearCrossEntropyOptions } from './functions/loss.ts';
export { resize } from './functions/resize.ts';
export type { ResizeOptions } from './functions/resize.ts';
export type { Params, FloatSource, ParamSource } from './params.ts';
export { fixedParams, randomParams } from './param-sources.ts';
export { trace } from './trace.ts';
export type { Trace, TraceOptions } from './trace.ts';
