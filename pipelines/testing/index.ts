// `opabinia/testing`: what tests of connectors call.
export { checkGolden } from './check-golden.ts';
export type { GoldenInputs, GoldenModule, GoldenOptions } from './check-golden.ts';
export { expectSame } from './expect-same.ts';
export type { Sameness, SameOptions, Subject } from './expect-same.ts';
export { randomInputs } from './random-inputs.ts';
