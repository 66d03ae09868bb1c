// `opabinia/compiler`: from a graph to a plan, and each stage between them.
export { compile } from './compile.ts';
export type { CompileOptions, Stage } from './compile.ts';
export { flopsOf } from './cost.ts';
export { explain } from './explain.ts';
export { exportOnnx } from './export/onnx.ts';
export type { ExportOptions, OnnxModel, StoredWeight, Weights } from './export/onnx-model.ts';
export { passes } from './passes/index.ts';
export type { Plan, PlanDispatch, PlanKernel, PlanTensor } from './plan.ts';
export { desktopGpu, lavapipe } from './profile.ts';
export type { DeviceProfile } from './profile.ts';
export { runPasses } from './rewrite/pass.ts';
export type { Pass, PassReport } from './rewrite/pass.ts';
