// The face of the package: write a model, compile it, run it, look at what was made of it.
export * from './dsl/index.ts';
export { compile } from './compiler/compile.ts';
export type { CompileOptions } from './compiler/compile.ts';
export { explain } from './compiler/explain.ts';
export type { Plan } from './compiler/plan.ts';
export type { DeviceProfile } from './compiler/profile.ts';
export { deviceProfile, openDevice } from './runtime/device/dawn.ts';
export type { OpenOptions } from './runtime/device/dawn.ts';
export type { Device } from './runtime/device/device.ts';
export type { Input, Inputs, Output, Program, RunOptions } from './runtime/program/program.ts';
export { interpret } from './pipelines/run/interpreter.ts';
export type { Interpreter, InterpretOptions } from './pipelines/run/interpreter.ts';
export { load } from './pipelines/run/load.ts';
