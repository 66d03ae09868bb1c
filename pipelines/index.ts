// `opabinia/pipelines`: what the commands do, for programs.
export { openModel } from './answer/open-model.ts';
export { Session } from './answer/session.ts';
export { assemble } from './assemble/assemble.ts';
export { checkModel } from './check/check-model.ts';
export { exportModels } from './export/export-models.ts';
export { planDirectory, planModel } from './plan/plan-model.ts';
export { interpret } from './run/interpreter.ts';
export { load } from './run/load.ts';
export { verifyFile } from './verify/verify.ts';
